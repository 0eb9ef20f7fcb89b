//! In which namespaces the operator may act: those that it can read, and that no other operator owns. What runs in the
//! others stays as it is. No I/O.

use crate::host::Bells;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tokio::time::Instant;

/// Cheap to clone; all clones are the same.
#[derive(Clone, Debug)]
pub struct Namespaces {
    state: Arc<Mutex<State>>,
    bells: Bells,
}

/// Whose a namespace is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Ours, by a claim that nobody else may take before this.
    Us { until: Instant },
    /// Another operator's, NAMESPACE/RELEASE.
    Other(String),
    /// Nobody's, as far as we can tell.
    Nobody,
}

#[derive(Debug, Default)]
struct State {
    /// Why objects cannot be read, by namespace and kind.
    unreadable: BTreeMap<String, BTreeMap<String, String>>,
    owners: BTreeMap<String, Owner>,
    /// Namespaces are acted in without a claim.
    unclaimed: bool,
}

/// How many namespaces are held, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    pub unreadable: usize,
    pub owned_by_others: usize,
}

impl Namespaces {
    /// Namespaces that must be claimed before anything is done in them.
    #[must_use]
    pub fn claimed(bells: Bells) -> Self {
        Self { state: Arc::default(), bells }
    }

    /// For an operator without a rival.
    #[must_use]
    pub fn unclaimed(bells: Bells) -> Self {
        let state = State { unclaimed: true, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)), bells }
    }

    #[must_use]
    pub fn bells(&self) -> Bells {
        self.bells.clone()
    }

    /// Notes that the objects of a kind cannot be read, or (None) that they can again. Returns whether that is news.
    pub fn set_unreadable(&self, namespace: &str, kind: &str, why: Option<String>) -> bool {
        let news = {
            let mut state = self.state.lock();
            let kinds = state.unreadable.entry(namespace.to_owned()).or_default();
            let was_readable = !kinds.contains_key(kind);
            let is_readable = why.is_none();
            match why {
                Some(why) => drop(kinds.insert(kind.to_owned(), why)),
                None => drop(kinds.remove(kind)),
            }
            state.unreadable.retain(|_, kinds| !kinds.is_empty());
            was_readable != is_readable
        };
        if news {
            self.ring(namespace);
        }
        news
    }

    /// Notes whose a namespace is. Returns whether another operator turned out to own it.
    pub fn set_owner(&self, namespace: &str, owner: Owner) -> bool {
        let before = self.state.lock().owners.insert(namespace.to_owned(), owner.clone());
        let is_ours = |owner: &Owner| matches!(owner, Owner::Us { .. });
        if before.as_ref().is_some_and(is_ours) != is_ours(&owner) {
            self.ring(namespace);
        }
        matches!(owner, Owner::Other(_)) && before != Some(owner)
    }

    /// Forgets the owners of all other namespaces.
    pub fn retain_owners(&self, namespaces: &BTreeSet<String>) {
        self.state.lock().owners.retain(|namespace, _| namespaces.contains(namespace));
    }

    /// Whether what runs in a namespace must stay as it is.
    #[must_use]
    pub fn is_held(&self, namespace: &str) -> bool {
        let state = self.state.lock();
        state.unreadable.contains_key(namespace) || !state.owns(namespace)
    }

    /// Whether a namespace may be written to, readable or not.
    #[must_use]
    pub fn owns(&self, namespace: &str) -> bool {
        self.state.lock().owns(namespace)
    }

    /// The other operator that owns a namespace.
    #[must_use]
    pub fn other_owner(&self, namespace: &str) -> Option<String> {
        match self.state.lock().owners.get(namespace) {
            Some(Owner::Other(holder)) => Some(holder.clone()),
            _ => None,
        }
    }

    #[must_use]
    pub fn held(&self) -> Held {
        let state = self.state.lock();
        let others = state.owners.values().filter(|owner| matches!(owner, Owner::Other(_)));
        Held { unreadable: state.unreadable.len(), owned_by_others: others.count() }
    }

    fn ring(&self, namespace: &str) {
        self.bells.ring_namespace(namespace);
        self.bells.ring_list();
    }
}

impl State {
    fn owns(&self, namespace: &str) -> bool {
        match self.owners.get(namespace) {
            Some(Owner::Us { until }) => Instant::now() < *until,
            _ => self.unclaimed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_namespace_is_held_until_all_its_kinds_can_be_read() {
        let namespaces = Namespaces::unclaimed(Bells::default());
        assert!(!namespaces.is_held("shop"));
        assert!(namespaces.set_unreadable("shop", "Pod", Some("forbidden".into())));
        assert!(!namespaces.set_unreadable("shop", "Pod", Some("forbidden".into())), "known already");
        assert!(namespaces.set_unreadable("shop", "Plugin", Some("forbidden".into())));
        assert!(namespaces.set_unreadable("shop", "Pod", None));
        assert!(namespaces.is_held("shop") && !namespaces.is_held("crm"));
        assert_eq!(namespaces.held(), Held { unreadable: 1, owned_by_others: 0 });
        assert!(namespaces.set_unreadable("shop", "Plugin", None));
        assert!(!namespaces.is_held("shop"));
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_valid_claim_lets_act() {
        let namespaces = Namespaces::claimed(Bells::default());
        assert!(namespaces.is_held("shop"), "nobody looked yet");
        namespaces.set_owner("shop", Owner::Us { until: Instant::now() + Duration::from_secs(40) });
        assert!(!namespaces.is_held("shop"));
        tokio::time::advance(Duration::from_secs(41)).await;
        assert!(namespaces.is_held("shop"), "the claim lapsed");
        assert!(namespaces.set_owner("shop", Owner::Other("ops/b".into())));
        assert!(!namespaces.set_owner("shop", Owner::Other("ops/b".into())), "said already");
        assert_eq!(namespaces.other_owner("shop").as_deref(), Some("ops/b"));
    }
}
