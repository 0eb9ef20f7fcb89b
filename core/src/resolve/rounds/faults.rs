//! Why a plugin stands where it does, told of the present state, so that texts fit the result. Pure.

use super::{Choice, ResolveError, Settled};
use std::collections::BTreeSet;

impl<'a> Settled<'a> {
    /// Why the candidate is not in the result.
    pub(in crate::resolve) fn faults_of_fallen(&self, at: usize) -> Vec<ResolveError> {
        if self.is_candidate(at) { Vec::new() } else { self.faults_of_candidate(at) }
    }

    /// Why a candidate cannot stand in the present state; as it looked when it fell, where that is past.
    pub(super) fn faults_of_candidate(&self, at: usize) -> Vec<ResolveError> {
        let Some(candidate) = self.plugins.get(at).and_then(|plugin| plugin.candidate.as_ref()) else {
            return Vec::new();
        };
        let fallen = !self.is_candidate(at);
        let cause = self.causes.get(&at).filter(|_| fallen).cloned().unwrap_or_default();
        if cause.iter().any(|error| matches!(error, ResolveError::Circular { .. })) {
            return cause;
        }
        let mut faults = self.faults_of(at, candidate);
        faults.extend(self.objections(at, candidate));
        if faults.is_empty() { cause } else { faults }
    }

    /// What a revision lacks that stays although something it needs was taken away; a candidate would have fallen.
    pub(in crate::resolve) fn faults_of_stable(&self, at: usize) -> Vec<ResolveError> {
        let stable = self.choice(at).filter(|_| !self.is_candidate(at));
        stable.map(|choice| self.faults_of(at, choice)).unwrap_or_default()
    }

    fn faults_of(&self, at: usize, choice: &Choice<'a>) -> Vec<ResolveError> {
        let name = self.name(at).unwrap_or_default();
        let framework = choice.node.framework.as_ref().filter(|_| !self.fits_framework(choice));
        let framework = framework.map(|constraint| ResolveError::Framework {
            plugin: name.to_owned(),
            constraint: constraint.to_string(),
            found: self.framework.clone(),
        });
        let needs = self.needs_of(at, choice).filter_map(|edge| edge.need.fault(name, self.version(edge.to)));
        framework.into_iter().chain(needs).collect()
    }

    /// What present plugins need otherwise than the candidate has it.
    fn objections(&self, at: usize, candidate: &Choice<'_>) -> Vec<ResolveError> {
        let dependents = self.dependents.get(at).into_iter().flatten().copied().collect::<BTreeSet<_>>();
        let of = |from: usize| {
            let choice = self.choice(from).filter(|_| from != at);
            let needs = choice.into_iter().flat_map(|choice| &choice.needs).filter(move |edge| edge.to == Some(at));
            needs.filter_map(move |edge| edge.need.fault(self.name(from)?, Some(&candidate.node.version)))
        };
        dependents.into_iter().flat_map(of).collect()
    }
}
