//! What the certificates need next. Pure: times are seconds since the epoch.

use super::keyring::{self, Keyring};

const DAY: i64 = 24 * 3600;
/// A root with less time left gets a successor.
const SUCCESSION: i64 = 365 * DAY;
/// So long the successor's certificate is handed out before it signs: ConfigMaps reach their mounts in minutes.
const NOTICE: i64 = DAY;
/// A leaf with less time left is made anew: a third of its life.
const RENEWAL: i64 = 30 * DAY;

/// What is known of the certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) authority_ends: i64,
    pub(super) staged_since: Option<i64>,
    pub(super) previous_ends: Option<i64>,
    pub(super) leaf: Leaf,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leaf {
    pub(super) ends: i64,
    pub(super) names: Vec<String>,
    /// The authority of today signed it.
    pub(super) current: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Nothing,
    /// A new authority and a leaf.
    Create,
    /// A successor, that signs nothing yet.
    Stage,
    /// The successor takes over and signs a leaf.
    Promote,
    /// Another leaf by the same authority.
    Renew,
    /// The authority before is not needed any more.
    Forget,
}

impl Facts {
    pub(super) fn of(keyring: &Keyring) -> Self {
        let (leaf, authority) = (&keyring.leaf.certificate, &keyring.authority.certificate);
        Self {
            authority_ends: keyring::ends(authority),
            staged_since: keyring.next.as_ref().map(|staged| staged.since),
            previous_ends: keyring.previous.as_deref().map(keyring::ends),
            leaf: Leaf {
                ends: keyring::ends(leaf),
                names: keyring::names(leaf),
                current: keyring::signed_by(leaf, authority),
            },
        }
    }
}

/// `is_handed_out`: a successor's certificate was handed out for long enough by this process.
pub(super) fn decide(facts: Option<&Facts>, names: &[String], now: i64, is_handed_out: bool) -> Step {
    let Some(facts) = facts else { return Step::Create };
    if facts.authority_ends <= now {
        return Step::Create;
    }
    match facts.staged_since {
        Some(since) if now - since >= NOTICE && is_handed_out => return Step::Promote,
        None if facts.authority_ends - now < SUCCESSION => return Step::Stage,
        _ => {}
    }
    if !facts.leaf.serves(names, now) {
        return Step::Renew;
    }
    if facts.previous_ends.is_some_and(|end| end <= now) { Step::Forget } else { Step::Nothing }
}

impl Leaf {
    fn serves(&self, names: &[String], now: i64) -> bool {
        self.current && self.ends - now >= RENEWAL && names.iter().all(|name| self.names.contains(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn names() -> Vec<String> {
        vec!["rockstar-operator.rockstar-system.svc".into()]
    }

    fn healthy() -> Facts {
        Facts {
            authority_ends: NOW + 9 * SUCCESSION,
            staged_since: None,
            previous_ends: None,
            leaf: Leaf { ends: NOW + 60 * DAY, names: names(), current: true },
        }
    }

    fn step(change: impl FnOnce(&mut Facts)) -> Step {
        let mut facts = healthy();
        change(&mut facts);
        decide(Some(&facts), &names(), NOW, true)
    }

    #[test]
    fn nothing_is_done_without_need() {
        assert_eq!(step(|_| ()), Step::Nothing);
        assert_eq!(step(|f| f.leaf.ends = NOW + RENEWAL), Step::Nothing);
        assert_eq!(step(|f| f.leaf.names.push("another".into())), Step::Nothing);
        assert_eq!(step(|f| f.previous_ends = Some(NOW + 1)), Step::Nothing);
    }

    #[test]
    fn a_leaf_is_renewed() {
        assert_eq!(step(|f| f.leaf.ends = NOW + RENEWAL - 1), Step::Renew);
        assert_eq!(step(|f| f.leaf.ends = NOW - DAY), Step::Renew);
        assert_eq!(step(|f| f.leaf.names.clear()), Step::Renew);
        assert_eq!(step(|f| f.leaf.current = false), Step::Renew);
    }

    #[test]
    fn an_authority_has_a_successor_that_waits_until_it_is_known() {
        assert_eq!(decide(None, &names(), NOW, true), Step::Create);
        let ageing = |f: &mut Facts| f.authority_ends = NOW + SUCCESSION - 1;
        assert_eq!(step(ageing), Step::Stage);
        assert_eq!(step(|f| (ageing(f), f.staged_since = Some(NOW)).1), Step::Nothing);
        assert_eq!(step(|f| (ageing(f), f.staged_since = Some(NOW - NOTICE)).1), Step::Promote);
        assert_eq!(step(|f| f.previous_ends = Some(NOW)), Step::Forget);
        let staged = Facts { authority_ends: NOW + 1, staged_since: Some(NOW - 9 * NOTICE), ..healthy() };
        assert_eq!(decide(Some(&staged), &names(), NOW, false), Step::Nothing, "the operator was away");
    }

    #[test]
    fn an_authority_that_ended_is_replaced_at_once() {
        assert_eq!(step(|f| f.authority_ends = NOW), Step::Create);
        assert_eq!(step(|f| (f.authority_ends = NOW - 1, f.staged_since = Some(NOW - NOTICE)).0), Step::Create);
    }
}
