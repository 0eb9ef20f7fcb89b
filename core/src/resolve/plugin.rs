//! A plugin of the input with what it may run, its needs tied to the plugins that they name. Pure.

use super::{Member, Need, Node, Standing};
use crate::revision::RevisionId;
use std::collections::HashMap;

/// Of the plugins, by name.
pub(super) type Positions<'a> = HashMap<&'a str, usize>;

#[derive(Debug)]
pub(super) struct Plugin<'a> {
    pub(super) name: &'a str,
    pub(super) member: &'a Member,
    /// Absent where it is the stable revision anyway.
    pub(super) candidate: Option<Choice<'a>>,
    pub(super) stable: Option<Choice<'a>>,
}

#[derive(Debug)]
pub(super) struct Choice<'a> {
    pub(super) revision: &'a RevisionId,
    pub(super) node: &'a Node,
    pub(super) needs: Vec<Edge<'a>>,
}

/// A need with the position of the plugin that it names, if there is such a one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edge<'a> {
    pub(super) need: &'a Need,
    pub(super) to: Option<usize>,
}

impl<'a> Plugin<'a> {
    pub(super) fn new(name: &'a str, member: &'a Member, positions: &Positions<'_>) -> Self {
        let changed = member.candidate.as_ref().filter(|candidate| !is_stable(member, &candidate.0));
        let choice = |option: &'a (RevisionId, Node)| Choice::new(option, positions);
        Self { name, member, candidate: changed.map(choice), stable: member.stable.as_ref().map(choice) }
    }

    pub(super) fn is_unchanged(&self) -> bool {
        self.candidate.is_none() && self.member.candidate.is_some()
    }

    pub(super) const fn fallback(&self) -> Standing {
        if self.stable.is_some() { Standing::Stable } else { Standing::Absent }
    }

    pub(super) fn all_targets(&self) -> impl Iterator<Item = usize> {
        let choices = self.candidate.iter().chain(&self.stable);
        choices.flat_map(|choice| &choice.needs).filter_map(|edge| edge.to)
    }
}

impl<'a> Choice<'a> {
    pub(super) fn new((revision, node): &'a (RevisionId, Node), positions: &Positions<'_>) -> Self {
        let edge = |need: &'a Need| Edge { need, to: positions.get(need.name.as_str()).copied() };
        Self { revision, node, needs: node.dependencies.iter().map(edge).collect() }
    }
}

fn is_stable(member: &Member, revision: &RevisionId) -> bool {
    member.stable.as_ref().is_some_and(|(stable, _)| stable == revision)
}
