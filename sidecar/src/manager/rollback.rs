//! Says what a failure means for its group: what each member returns to, who is left out, and what the journal is told. Pure.

use super::{apply::GroupOutcome, journal::Verdict, probation::ProbationId};
use crate::{
    failure::{Class, Failure},
    target::Target,
};

/// The failure of a group, and of which of its plugins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupFailure {
    pub plugin: String,
    pub failure: Failure,
}

/// Why a plugin that has nothing to go back to does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exclusion {
    /// CamelCase.
    pub reason: &'static str,
    pub message: String,
}

impl GroupFailure {
    #[must_use]
    pub fn outcome(&self) -> GroupOutcome {
        GroupOutcome::failed(&self.plugin, &self.failure)
    }

    /// Finds the target that failed among those that moved together. None: its plugin was leaving, or is not of them.
    #[must_use]
    pub fn culprit<'a>(&self, targets: &'a [Target]) -> Option<&'a Target> {
        targets.iter().find(|target| target.name() == self.plugin)
    }

    /// Judges targets that moved together. The environment's failures condemn nothing: it is tried again.
    #[must_use]
    pub fn verdict<'a>(&'a self, targets: &'a [Target]) -> Verdict<'a> {
        match (self.failure.class, self.culprit(targets)) {
            (Class::Revision, Some(culprit)) => Verdict::Failed(culprit, &self.failure),
            _ => Verdict::Undecided,
        }
    }

    /// Excludes a plugin that failed, or that requires the one that did.
    #[must_use]
    pub fn exclude_dependent(&self, plugin: &str) -> Exclusion {
        let Self { plugin: failed, failure } = self;
        let text = || format!("not started: it requires '{failed}', which failed: {failure}");
        self.exclude(plugin, "DependencyFailed", text)
    }

    /// Excludes a plugin that failed, or that moved together with the one that did.
    #[must_use]
    pub fn exclude_partner(&self, plugin: &str) -> Exclusion {
        let Self { plugin: failed, failure } = self;
        let text = || format!("not started with '{failed}', which failed: {failure}");
        self.exclude(plugin, "MovedWithFailed", text)
    }

    fn exclude(&self, plugin: &str, reason: &'static str, text: impl FnOnce() -> String) -> Exclusion {
        match plugin == self.plugin {
            true => Exclusion { reason: self.failure.reason, message: self.failure.message.clone() },
            false => Exclusion { reason, message: text() },
        }
    }
}

/// One member of a group that goes back.
#[derive(Clone, Debug)]
pub struct Return {
    pub plugin: String,
    /// What failed, or moved with what failed. None: it was leaving.
    pub target: Option<Target>,
    pub previous: Option<Target>,
    /// The version before was not stopped yet and serves on.
    pub kept: bool,
    /// The probation that its version before was part of.
    pub rejoins: Option<ProbationId>,
}

/// Lists what moved together and goes back.
#[must_use]
pub fn targets<'a>(group: impl IntoIterator<Item = &'a Return>) -> Vec<Target> {
    group.into_iter().filter_map(|member| member.target.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::target;
    use super::*;
    use crate::failure::Step;

    fn failed(failure: Failure) -> GroupFailure {
        GroupFailure { plugin: "a".to_owned(), failure }
    }

    #[test]
    fn only_a_revision_that_failed_is_condemned() {
        let targets = [target("b-2"), target("a-2")];
        let own = failed(Failure::revision(Step::Start, "StartFailed", "no"));
        assert!(matches!(own.verdict(&targets), Verdict::Failed(culprit, _) if culprit.name() == "a"));
        assert!(matches!(own.verdict(&targets[..1]), Verdict::Undecided));
        let environment = failed(Failure::environment(Step::Load, "RegistryUnavailable", "away"));
        assert!(matches!(environment.verdict(&targets), Verdict::Undecided));
    }

    #[test]
    fn who_is_left_out_is_told_why() {
        let failed = failed(Failure::revision(Step::Start, "StartFailed", "no"));
        let told = |excluded: Exclusion| format!("{}: {}", excluded.reason, excluded.message);
        assert_eq!(told(failed.exclude_dependent("a")), "StartFailed: no");
        assert_eq!(told(failed.exclude_partner("a")), "StartFailed: no");
        let dependent = "DependencyFailed: not started: it requires 'a', which failed: no";
        assert_eq!(told(failed.exclude_dependent("b")), dependent);
        assert_eq!(told(failed.exclude_partner("b")), "MovedWithFailed: not started with 'a', which failed: no");
    }
}
