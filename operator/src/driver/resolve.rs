//! Second step: which revisions fit together. Pure.

use super::catalog::{Candidate, Catalog, Entry, nodes};
use crate::world::Revision;
use rockstar_core::{
    resolve::{self, Input, Member, Node, Resolution},
    revision::RevisionId,
    rollout::{Set, State},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// What a plugin's spec asked for before is not taken away by an edit that cannot be had: it has proven itself somewhere, or
/// there is no set yet that did. It is no stable revision either: it falls where what it needs is not there.
fn works_somewhere(plugin: &str, state: &State) -> bool {
    state.stable.is_none() || state.trials.get(plugin).is_some_and(|trial| trial.proof.is_some())
}

/// The target that the plugins ask for, with what is known of failures and of what is stable. Those that are `held` stay as
/// they are, and so does a stable revision whose content nobody knows.
#[must_use]
pub fn resolve(
    framework: &semver::Version,
    catalog: &Catalog,
    held: &BTreeSet<String>,
    state: &State,
    known: &BTreeMap<RevisionId, Arc<Revision>>,
) -> Resolution {
    let sets = Sets::new(state, known);
    let mut members: BTreeMap<String, Member> = BTreeMap::new();
    for entry in catalog.entries.values().filter(|entry| entry.is_wanted() && !held.contains(&entry.name)) {
        let priority = entry.object.spec.priority;
        members.insert(entry.name.clone(), sets.member(&entry.name, sets.asked(entry), priority, false));
    }
    for name in held {
        members.insert(name.clone(), sets.member(name, sets.in_target(name), 0, true));
    }
    let mut input = Input { framework: framework.clone(), plugins: members };
    let mut verdicts = BTreeMap::new();
    loop {
        let mut resolution = resolve::resolve(&input);
        // One that fell to nothing is looked at once more with what it ran before; the verdict is that of its spec.
        let fell = |name: &&String| !verdicts.contains_key(*name) && !resolution.target.contains_key(*name);
        let again: Vec<_> = input.plugins.keys().filter(fell).cloned().collect();
        let again: Vec<_> = again.into_iter().filter_map(|name| Some((sets.before(&name)?, name))).collect();
        if again.is_empty() {
            resolution.verdicts.extend(verdicts);
            return resolution;
        }
        for (before, name) in again {
            verdicts.extend(resolution.verdicts.remove_entry(&name));
            if let Some(member) = input.plugins.get_mut(&name) {
                member.candidate = Some(before);
            }
        }
    }
}

/// The sets of the state, with the nodes of their revisions that are known.
struct Sets<'a> {
    state: &'a State,
    known: &'a BTreeMap<RevisionId, Arc<Revision>>,
    stable: BTreeMap<String, Node>,
    target: BTreeMap<String, Node>,
}

impl<'a> Sets<'a> {
    fn new(state: &'a State, known: &'a BTreeMap<RevisionId, Arc<Revision>>) -> Self {
        let of = |set: &Option<Set>| nodes(set.iter().flatten(), known);
        Self { state, known, stable: of(&state.stable), target: of(&state.target) }
    }

    fn stable(&self, plugin: &str) -> Option<&RevisionId> {
        self.state.stable.as_ref()?.get(plugin)
    }

    fn target(&self, plugin: &str) -> Option<&RevisionId> {
        self.state.target.as_ref()?.get(plugin)
    }

    fn in_target(&self, plugin: &str) -> Option<(RevisionId, Node)> {
        Some((self.target(plugin)?.clone(), self.target.get(plugin)?.clone()))
    }

    /// Returns the revision that ran of a plugin without a stable one, if it works.
    fn before(&self, plugin: &str) -> Option<(RevisionId, Node)> {
        let works = self.stable(plugin).is_none() && works_somewhere(plugin, self.state);
        self.in_target(plugin).filter(|(id, _)| works && !self.has_failed(plugin, id))
    }

    fn has_failed(&self, plugin: &str, id: &RevisionId) -> bool {
        self.state.failed.get(plugin).is_some_and(|failed| failed.revision == *id)
    }

    /// Returns the revision that the spec asks for. One whose configuration alone is at fault stays where it runs already.
    fn asked(&self, entry: &Entry) -> Option<(RevisionId, Node)> {
        let runs = |c: &&Candidate| self.target(&entry.name) == Some(&c.revision.id);
        let candidate = entry.candidate.as_ref().ok().or_else(|| entry.unconfigured.as_ref().filter(runs))?;
        Some((candidate.revision.id.clone(), candidate.node.clone()))
    }

    fn member(&self, plugin: &str, candidate: Option<(RevisionId, Node)>, priority: i32, held: bool) -> Member {
        let runs = self.stable(plugin).or_else(|| self.target(plugin).filter(|_| held));
        let stable = self.stable(plugin).cloned().zip(self.stable.get(plugin).cloned());
        Member {
            opaque: runs.filter(|id| !self.known.contains_key(*id)).cloned(),
            candidate: candidate.filter(|(id, _)| !self.has_failed(plugin, id)),
            stable,
            priority,
            place: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            catalog,
            fixtures::{needs, observed, plugin},
        },
        *,
    };
    use crate::world::Values;
    use rockstar_core::rollout::{Proof, Trial};
    use serde_json::{Value, json};

    /// Plugins that are on trial and have proven themselves somewhere, then other ones in their place.
    fn target_after(before: &[Value], after: &[Value], gone: &[&str]) -> Vec<String> {
        let read =
            |plugins: &[Value]| catalog::catalog(&observed(plugins.to_vec()).view, &Values::new(), &BTreeMap::new());
        let first = read(before);
        let candidates = first.entries.values().filter_map(|entry| entry.candidate.as_ref().ok());
        let known = candidates.map(|c| (c.revision.id.clone(), Arc::clone(&c.revision))).collect::<BTreeMap<_, _>>();
        let set: Set = known.values().map(|r| (r.plugin.clone(), r.id.clone())).collect();
        let trial = |revision: &RevisionId| Trial {
            revision: revision.clone(),
            token: String::new(),
            canary: None,
            proof: Some(Proof { at: 0, by_ended_pod: false, youngest: 0 }),
            strikes: BTreeMap::new(),
            generation: 0,
            since: None,
            proven: 1,
            stalled: false,
        };
        let trials = set.iter().map(|(plugin, revision)| (plugin.clone(), trial(revision))).collect();
        let mut state = State { stable: Some(Set::new()), target: Some(set), trials, ..State::default() };
        gone.iter().for_each(|plugin| drop(state.target.as_mut().unwrap().remove(*plugin)));
        let framework = "1.5.0".parse().unwrap();
        let resolution = resolve(&framework, &read(after), &BTreeSet::new(), &state, &known);
        resolution
            .target
            .into_iter()
            .filter(|(p, id)| state.target.as_ref().unwrap().get(p) == Some(id))
            .map(|(p, _)| p)
            .collect()
    }

    #[test]
    fn an_edit_that_cannot_be_had_takes_nothing_away_that_works() {
        let good = plugin("a", "1.0.0", json!({}));
        let bad = plugin("a", "one", json!({}));
        let lonely = plugin("a", "2.0.0", needs("nobody"));
        assert_eq!(target_after(std::slice::from_ref(&good), &[bad], &[]), ["a"]);
        assert_eq!(target_after(&[good], &[lonely], &[]), ["a"]);
    }

    #[test]
    fn what_works_somewhere_falls_with_what_it_needs() {
        let both = [plugin("a", "1.0.0", needs("b")), plugin("b", "1.0.0", json!({}))];
        assert_eq!(target_after(&both, &both, &[]), ["a", "b"]);
        assert_eq!(target_after(&both, &both[..1], &["b"]), Vec::<String>::new());
    }
}
