//! What this instance should run of one plugin. Pure.

use crate::{
    artifact::{Artifact, PullSecret},
    confine,
};
use rockstar_core::{
    assignment::Assignment,
    constraint::ConstraintError,
    resolve::{Node, Set, SetMember},
    revision::{Body, RevisionId},
};
use std::sync::Arc;

/// One plugin of a desired set.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    pub assignment: Assignment,
    pub body: Arc<Body>,
    pub pull_secret: Option<Arc<PullSecret>>,
    /// The copy that runs, once one does: what lies at a path may be another version by now.
    pub pinned: Option<Artifact>,
    /// Proven elsewhere: it is not on trial here.
    pub stable: bool,
    /// Its configuration cannot be read now, and this instance has none: it is not started.
    pub unconfigured: bool,
    /// In the configuration file; 0 for all where there is none.
    pub place: usize,
}

impl Target {
    #[must_use]
    pub fn name(&self) -> &str {
        &self.assignment.plugin
    }

    #[must_use]
    pub fn version(&self) -> String {
        self.body.manifest.version.to_string()
    }

    /// That its process may use, in bytes.
    #[must_use]
    pub fn memory(&self) -> u64 {
        self.body.resources.memory
    }

    /// What resolution sees. A reload on demand counts as another revision, so that it moves; and so do other permissions
    /// that the kernel enforces, since a process is born with them.
    pub fn member(&self) -> Result<SetMember, ConstraintError> {
        let confined = confine::kernel_permissions(&self.assignment.permissions);
        let confined: String = confined.iter().map(|permission| format!("+{permission}")).collect();
        let revision = match self.assignment.reload_at.as_str() {
            "" => RevisionId(format!("{}{confined}", self.assignment.revision)),
            at => RevisionId(format!("{}{confined}@{at}", self.assignment.revision)),
        };
        let priority = self.assignment.policies.priority;
        Ok(SetMember { revision, node: Node::of(&self.body.manifest)?, priority, place: self.place })
    }
}

/// The targets that resolution can work with; manifests were checked when they were read, so that is all of them.
#[must_use]
pub fn set<'a>(targets: impl IntoIterator<Item = &'a Target>) -> Set {
    targets.into_iter().filter_map(|t| Some((t.name().to_owned(), t.member().ok()?))).collect()
}
