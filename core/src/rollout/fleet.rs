//! The instances as the planner looks at them: every distinct set once, so that thousands of instances compare by number.

use super::{Input, Instance, Presence, Set};
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

/// The number of a distinct set.
pub(super) type SetId = usize;

/// Distinct sets by number, without the plugins that are being taken away.
#[derive(Debug, Default)]
pub(super) struct Sets {
    all: Vec<Arc<Set>>,
    by_address: HashMap<usize, SetId>,
    by_content: HashMap<Arc<Set>, SetId>,
    /// The plugins that are being taken away and still in some set.
    pub(super) leaving: BTreeSet<String>,
}

impl Sets {
    fn add(&mut self, set: &Arc<Set>, input: &Input) -> SetId {
        let address = Arc::as_ptr(set) as usize;
        if let Some(&id) = self.by_address.get(&address) {
            return id;
        }
        let staying = self.staying(set, input);
        let id = self.by_content.get(&staying).copied().unwrap_or_else(|| self.push(&staying));
        self.by_address.insert(address, id);
        id
    }

    fn staying(&mut self, set: &Arc<Set>, input: &Input) -> Arc<Set> {
        let leaving: Vec<_> = set.keys().filter(|plugin| !input.plugins.contains_key(*plugin)).cloned().collect();
        if leaving.is_empty() {
            return Arc::clone(set);
        }
        let mut staying = Set::clone(set);
        leaving.iter().for_each(|plugin| drop(staying.remove(plugin)));
        self.leaving.extend(leaving);
        Arc::new(staying)
    }

    fn push(&mut self, set: &Arc<Set>) -> SetId {
        self.all.push(Arc::clone(set));
        self.by_content.insert(Arc::clone(set), self.all.len() - 1);
        self.all.len() - 1
    }

    pub(super) fn get(&self, id: SetId) -> &Arc<Set> {
        &self.all[id]
    }

    /// For each set, by its number, whether the predicate holds.
    pub(super) fn that(&self, holds: impl Fn(&Set) -> bool) -> Vec<bool> {
        self.all.iter().map(|set| holds(set)).collect()
    }
}

/// One instance whose sets are numbered.
#[derive(Debug)]
pub(super) struct View<'a> {
    pub instance: &'a Instance,
    pub serving: SetId,
    pub proven: SetId,
    /// What the last plan told it.
    pub told: Option<SetId>,
    /// What it may still be busy with, besides `serving` and `told`.
    pub superseded: Vec<SetId>,
}

impl<'a> View<'a> {
    fn new(instance: &'a Instance, input: &Input, sets: &mut Sets) -> Self {
        let assigned = instance.assigned.as_ref();
        let unheard = assigned.filter(|a| instance.accepted < a.generation);
        Self {
            instance,
            serving: sets.add(&instance.serving, input),
            proven: sets.add(&instance.proven, input),
            told: assigned.map(|a| sets.add(&a.target, input)),
            superseded: unheard.map_or_else(Vec::new, |a| a.superseded.iter().map(|s| sets.add(s, input)).collect()),
        }
    }

    pub(super) fn connected(&self) -> bool {
        self.instance.presence == Presence::Connected
    }

    /// Its pod has not ended.
    pub(super) fn live(&self) -> bool {
        matches!(self.instance.presence, Presence::Connected | Presence::Away)
    }

    /// It heard what it was told and is done with it, one way or the other: it runs what it serves, nothing else.
    pub(super) fn settled(&self) -> bool {
        let heard = self.instance.assigned.as_ref().is_none_or(|a| self.instance.accepted >= a.generation);
        self.connected() && heard && !self.instance.moving
    }

    /// It is away since before this operator began: what it runs and was told nobody knows.
    pub(super) fn unknown(&self) -> bool {
        self.instance.presence == Presence::Away && self.told.is_none() && !self.instance.new
    }

    /// It is one of those that answer requests.
    pub(super) fn should_serve(&self) -> bool {
        self.live() && !self.instance.new && (self.connected() || self.instance.expected)
    }

    /// Whether it runs, or may run by now, a set that is marked.
    pub(super) fn may_run(&self, marked: &[bool]) -> bool {
        marked[self.serving] || !self.settled() && self.promised().any(|set| marked[set])
    }

    /// The sets that it was told and may be moving to.
    pub(super) fn promised(&self) -> impl Iterator<Item = SetId> + '_ {
        self.told.into_iter().chain(self.superseded.iter().copied())
    }
}

#[derive(Debug)]
pub(super) struct Fleet<'a> {
    pub sets: Sets,
    pub views: Vec<View<'a>>,
}

impl<'a> Fleet<'a> {
    pub(super) fn new(input: &'a Input) -> Self {
        let mut sets = Sets::default();
        let mut views: Vec<_> = input.instances.iter().map(|i| View::new(i, input, &mut sets)).collect();
        views.sort_by(|a, b| (&a.instance.name, &a.instance.id).cmp(&(&b.instance.name, &b.instance.id)));
        Self { sets, views }
    }

    pub(super) fn live(&self) -> impl Iterator<Item = &View<'a>> {
        self.views.iter().filter(|view| view.live())
    }
}
