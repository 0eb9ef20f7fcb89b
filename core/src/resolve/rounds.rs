//! The rounds in which candidates fall back until what is left fits together. Pure.

mod faults;

use super::{
    Input, ResolveError, Standing,
    cycle::{self, Knot},
    order::{self, Edges},
    plugin::{Choice, Edge, Plugin},
};
use crate::revision::RevisionId;
use semver::Version;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

/// Falls until nothing is left to fall. Who made another fall and fell itself is refused from the start, and it begins anew.
pub(super) fn settle(input: &Input) -> Settled<'_> {
    let mut settled = Settled::new(input);
    loop {
        settled.run();
        let culprits = settled.askers.iter().filter(|asker| !settled.is_candidate(**asker)).copied();
        let culprits = culprits.collect::<BTreeSet<_>>();
        if culprits.is_empty() {
            return settled;
        }
        settled.refused.extend(culprits);
        settled.reset();
    }
}

/// The state of the rounds; positions are in the order of the names.
#[derive(Debug)]
pub(super) struct Settled<'a> {
    framework: &'a Version,
    plugins: Vec<Plugin<'a>>,
    /// Who needs it, in either revision.
    dependents: Edges,
    standings: Vec<Standing>,
    /// Candidates that may not be tried.
    refused: BTreeSet<usize>,
    /// Whose needs made another fall in this run.
    askers: BTreeSet<usize>,
    /// Why each fell, as it looked then.
    causes: BTreeMap<usize, Vec<ResolveError>>,
    ranks: Vec<(Reverse<i32>, usize)>,
    /// Of the last look at the cycles, and so of the result.
    order: Vec<usize>,
}

/// What one look at the needs of some plugins found.
#[derive(Debug, Default)]
struct Round {
    /// They fall, for nobody can meet a need of theirs.
    falls: BTreeSet<usize>,
    /// A need of theirs would be met if another fell.
    asks: BTreeSet<usize>,
}

impl<'a> Settled<'a> {
    fn new(input: &'a Input) -> Self {
        let positions = input.plugins.keys().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
        let plugins = input.plugins.iter().map(|(name, member)| Plugin::new(name, member, &positions));
        let plugins = plugins.collect::<Vec<_>>();
        let needed = plugins.iter().map(|plugin| plugin.all_targets().collect()).collect();
        let mut settled = Self {
            framework: &input.framework,
            dependents: order::dependents(&needed),
            standings: Vec::new(),
            refused: BTreeSet::new(),
            askers: BTreeSet::new(),
            causes: BTreeMap::new(),
            ranks: input.plugins.values().map(|member| (Reverse(member.priority), member.place)).collect(),
            order: Vec::new(),
            plugins,
        };
        settled.reset();
        settled
    }

    fn reset(&mut self) {
        let start = |(at, plugin): (usize, &Plugin<'_>)| match plugin.candidate {
            Some(_) if !self.refused.contains(&at) => Standing::Candidate,
            _ => plugin.fallback(),
        };
        self.standings = self.plugins.iter().enumerate().map(start).collect();
        self.askers.clear();
        self.causes.retain(|at, _| self.refused.contains(at));
    }

    fn run(&mut self) {
        let mut dirty = (0..self.plugins.len()).collect::<BTreeSet<_>>();
        let mut asks = BTreeSet::new();
        loop {
            let round = self.look(&dirty);
            asks.extend(round.asks);
            let falls = match round.falls.is_empty() {
                false => round.falls,
                true => self.asked(std::mem::take(&mut asks)),
            };
            let falls = if falls.is_empty() { self.in_cycles() } else { falls };
            if falls.is_empty() {
                return;
            }
            dirty = self.fall(&falls);
        }
    }

    /// Judges the needs of some plugins in the present state.
    fn look(&self, dirty: &BTreeSet<usize>) -> Round {
        let mut round = Round::default();
        for at in dirty {
            let (hopeless, hopeful) = self.unmet(*at);
            if hopeless && self.is_candidate(*at) {
                round.falls.insert(*at);
            } else if hopeful {
                round.asks.insert(*at);
            }
        }
        round
    }

    /// Whether it has needs that nobody can meet, and such that another could meet by falling.
    fn unmet(&self, at: usize) -> (bool, bool) {
        let Some(choice) = self.choice(at) else { return (false, false) };
        let (mut hopeless, mut hopeful) = (!self.fits_framework(choice), false);
        for edge in self.unmet_needs(at, choice) {
            let helped = self.would_help(at, edge).is_some();
            hopeful |= helped;
            hopeless |= !helped;
        }
        (hopeless, hopeful)
    }

    fn unmet_needs<'s>(&'s self, at: usize, choice: &'s Choice<'a>) -> impl Iterator<Item = Edge<'a>> + use<'s, 'a> {
        self.needs_of(at, choice).filter(|edge| !edge.need.is_met(self.version(edge.to)))
    }

    /// Those that fall because the present needs of the asking plugins ask for it.
    fn asked(&mut self, asking: BTreeSet<usize>) -> BTreeSet<usize> {
        let mut falls = BTreeSet::new();
        for at in asking {
            let Some(choice) = self.choice(at) else { continue };
            let helpers = self.unmet_needs(at, choice).filter_map(|edge| self.would_help(at, edge)).collect::<Vec<_>>();
            if !helpers.is_empty() && self.is_candidate(at) {
                self.askers.insert(at);
            }
            falls.extend(helpers);
        }
        falls
    }

    /// The changed members of all cycles.
    fn in_cycles(&mut self) -> BTreeSet<usize> {
        let edges = self.edges();
        let (order, stuck) = order::sort(&edges, &self.ranks);
        self.order = order;
        let knots = cycle::knots(&edges, &stuck);
        knots.iter().flat_map(|knot| self.blame(knot)).collect()
    }

    /// Dependencies that are present of those that are.
    fn edges(&self) -> Edges {
        let targets = |at| {
            let needs = self.choice(at).into_iter().flat_map(|choice| &choice.needs);
            needs.filter_map(|edge| edge.to.filter(|to| self.choice(*to).is_some())).collect()
        };
        (0..self.plugins.len()).map(targets).collect()
    }

    fn blame(&mut self, knot: &Knot) -> Vec<usize> {
        let changed = knot.members.iter().copied().filter(|at| self.is_candidate(*at)).collect::<Vec<_>>();
        for at in &changed {
            let own = knot.paths.iter().find(|path| path.contains(at)).or(knot.paths.first());
            let error = own.map(|path| ResolveError::circular(path.iter().filter_map(|at| self.name(*at))));
            self.causes.insert(*at, error.into_iter().collect());
        }
        changed
    }

    /// Lets them fall, and tells whose needs must be looked at again.
    fn fall(&mut self, falls: &BTreeSet<usize>) -> BTreeSet<usize> {
        for at in falls {
            if !self.causes.contains_key(at) {
                self.causes.insert(*at, self.faults_of_candidate(*at));
            }
        }
        for at in falls {
            let fallback = self.plugins.get(*at).map_or(Standing::Absent, Plugin::fallback);
            if let Some(standing) = self.standings.get_mut(*at) {
                *standing = fallback;
            }
        }
        let dependents = falls.iter().filter_map(|at| self.dependents.get(*at)).flatten();
        dependents.chain(falls).copied().collect()
    }

    /// The plugin that would meet the need if it fell back. A stable revision stays without what it needs, but not beside a
    /// version of it that it refuses.
    fn would_help(&self, asks: usize, edge: Edge<'a>) -> Option<usize> {
        let at = edge.to.filter(|at| self.is_candidate(*at))?;
        let stable = self.plugins.get(at).and_then(|plugin| plugin.stable.as_ref());
        let bears_absence = stable.is_none() && self.standings.get(asks) == Some(&Standing::Stable);
        (bears_absence || edge.need.is_met(stable.map(|choice| &choice.node.version))).then_some(at)
    }

    /// Without those on itself: they are cycles. What cannot be read is taken for what is needed.
    fn needs_of<'s>(&'s self, at: usize, choice: &'s Choice<'a>) -> impl Iterator<Item = Edge<'a>> + use<'s, 'a> {
        let is_opaque = |to: usize| self.plugins.get(to).is_some_and(|plugin| plugin.member.opaque.is_some());
        choice.needs.iter().copied().filter(move |edge| edge.to != Some(at) && !edge.to.is_some_and(is_opaque))
    }

    fn fits_framework(&self, choice: &Choice<'_>) -> bool {
        choice.node.framework.as_ref().is_none_or(|constraint| constraint.matches(self.framework))
    }

    fn is_candidate(&self, at: usize) -> bool {
        self.standings.get(at) == Some(&Standing::Candidate)
    }

    fn choice(&self, at: usize) -> Option<&Choice<'a>> {
        let plugin = self.plugins.get(at)?;
        match self.standings.get(at)? {
            Standing::Candidate => plugin.candidate.as_ref(),
            Standing::Stable => plugin.stable.as_ref(),
            Standing::Absent => None,
        }
    }

    fn version(&self, at: Option<usize>) -> Option<&Version> {
        at.and_then(|at| self.choice(at)).map(|choice| &choice.node.version)
    }

    fn name(&self, at: usize) -> Option<&'a str> {
        self.plugins.get(at).map(|plugin| plugin.name)
    }
}

/// What the result is read from.
impl<'a> Settled<'a> {
    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.plugins.iter().map(|plugin| plugin.name)
    }

    /// As the caller sees it: the stable revision is the candidate where the spec has not changed.
    pub(super) fn standing(&self, at: usize) -> Standing {
        let standing = self.standings.get(at).copied().unwrap_or(Standing::Absent);
        let unchanged = self.plugins.get(at).is_some_and(Plugin::is_unchanged);
        if unchanged { Standing::Candidate } else { standing }
    }

    pub(super) fn target(&self) -> BTreeMap<String, RevisionId> {
        let chosen = |(at, plugin): (usize, &Plugin<'_>)| {
            let revision = self.choice(at).map(|choice| choice.revision).or(plugin.member.opaque.as_ref());
            revision.map(|revision| (plugin.name.to_owned(), revision.clone()))
        };
        self.plugins.iter().enumerate().filter_map(chosen).collect()
    }

    pub(super) fn load_order(&self) -> Vec<String> {
        let present = self.order.iter().filter(|at| self.choice(**at).is_some());
        present.filter_map(|at| self.name(*at).map(str::to_owned)).collect()
    }
}
