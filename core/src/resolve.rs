//! Which revisions of a host's plugins fit together, in which order they load, and why one is held back. Pure.

mod check;
mod cycle;
mod error;
mod groups;
mod order;
mod plugin;
mod rounds;
mod verdict;

pub use check::{check, graph};
pub use error::ResolveError;
pub use groups::{ChangeGroup, change_groups, change_groups_before};
pub use order::load_order;
pub use verdict::{Standing, Verdict};

use crate::{
    constraint::{Constraint, ConstraintError},
    manifest::Manifest,
    revision::RevisionId,
};
use semver::Version;
use std::collections::BTreeMap;

/// What resolution needs to know of one version of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub version: Version,
    pub dependencies: Vec<Need>,
    /// On the framework's version.
    pub framework: Option<Constraint>,
}

/// A dependency with its constraint read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    pub name: String,
    pub constraint: Constraint,
    pub optional: bool,
}

/// A plugin in a set that is to run together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetMember {
    pub revision: RevisionId,
    pub node: Node,
    /// Higher loads first, among plugins that do not depend on each other.
    pub priority: i32,
    /// In the file; 0 for all where there is none, so that names decide.
    pub place: usize,
}

/// Plugins by name. Disabled and unloaded ones are not in it, and so satisfy nobody.
pub type Set = BTreeMap<String, SetMember>;

/// A plugin with the revision that is wanted and the one that is known to work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Of the spec; none where it is invalid or has failed.
    pub candidate: Option<(RevisionId, Node)>,
    /// What ran and proved itself.
    pub stable: Option<(RevisionId, Node)>,
    /// The revision that runs although its manifest cannot be read any more; it stays, and meets every need.
    pub opaque: Option<RevisionId>,
    pub priority: i32,
    pub place: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    pub framework: Version,
    pub plugins: BTreeMap<String, Member>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    pub target: BTreeMap<String, RevisionId>,
    pub load_order: Vec<String>,
    /// One for each plugin of the input.
    pub verdicts: BTreeMap<String, Verdict>,
}

/// Finds the target: each plugin's candidate where it fits, else its stable revision, else nothing.
///
/// In rounds, each computed from one state, so that no order matters. Whoever has a need that nobody can meet by falling
/// back falls back; when no such plugin is left, those fall back whose stable revision meets a need; then the changed
/// members of cycles. Who made another fall back and could not stay itself is not asked again. A stable revision is
/// never taken away here: it stays, with its verdict, even if what it needs was removed.
#[must_use]
pub fn resolve(input: &Input) -> Resolution {
    let settled = rounds::settle(input);
    Resolution { target: settled.target(), load_order: settled.load_order(), verdicts: verdict::verdicts(&settled) }
}

impl Node {
    /// Of a manifest whose constraints were checked when it was read.
    pub fn of(manifest: &Manifest) -> Result<Self, ConstraintError> {
        let need = |d: &crate::manifest::Dependency| {
            Ok(Need { name: d.name.clone(), constraint: d.constraint()?, optional: d.optional })
        };
        Ok(Self {
            version: manifest.version.clone(),
            dependencies: manifest.dependencies.iter().map(need).collect::<Result<_, _>>()?,
            framework: manifest.framework_constraint()?,
        })
    }
}

#[cfg(test)]
mod tests;
