//! Who moves now: the window, the canary, `paused`, `partition`, and turns for instances that wait out their environment.

use super::{
    Down, FailureClass, Input, OnFailure, Presence, Set, State, Trial,
    fleet::{Fleet, SetId, View},
    groups::{change_groups, replaced},
};
use crate::revision::RevisionId;
use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet, HashMap},
    rc::Rc,
    sync::Arc,
};

/// So long an instance may wait out an environment failure before another one that had one gets its turn.
const TURN: i64 = 30_000;

/// What the instances are told from now on.
#[derive(Debug, Default)]
pub(super) struct Moves {
    /// In the order of the fleet's views.
    pub told: Vec<Option<Arc<Set>>>,
    /// `paused` or `partition` kept an upgrade back, and nothing else is under way.
    pub held: bool,
    /// When an instance's turn ends.
    pub turn_ends: Option<i64>,
}

/// One change group on the way from an instance's set to the target.
#[derive(Debug)]
struct Step {
    members: Vec<String>,
    /// The members that move to a revision on trial; without any the step goes back to what is stable.
    trials: Vec<String>,
    /// It would leave a condemned revision, and the policy says to halt.
    halted: bool,
    /// Something that is not stable is there also once all that goes back, or leaves in this step, is gone.
    holds: bool,
}

/// The way from one set to the target.
#[derive(Debug)]
struct Route {
    base: Arc<Set>,
    steps: Vec<Step>,
}

/// Why an instance may or may not take a step.
#[derive(Debug, PartialEq, Eq)]
enum Gate {
    Open,
    Shut,
    /// By `paused` or `partition`.
    Held,
    /// Another instance tries it first.
    Taken(String),
}

/// Instances that would move if those that wait out their environment let go.
#[derive(Debug, Default)]
struct Queue {
    denied: usize,
    /// Canaries that others would like to be, and whether one of these has room for it as it is.
    contested: BTreeMap<String, bool>,
}

impl Queue {
    /// Whether `id` should let go for somebody in this queue: only where that one could move then. `frees`: it makes room.
    fn claims(&self, id: &str, frees: bool) -> bool {
        frees && self.denied > 0 || self.contested.get(id).is_some_and(|has_room| frees || *has_room)
    }

    fn contest(&mut self, canary: String, has_room: bool) {
        *self.contested.entry(canary).or_default() |= has_room;
    }

    fn served(&mut self, id: &str) {
        self.denied = self.denied.saturating_sub(1);
        self.contested.remove(id);
    }
}

#[derive(Debug)]
struct Candidate {
    index: usize,
    rank: u8,
    /// Its environment failed it for something in the target: the plan generation that it was last told, for the one that
    /// waits longest goes first.
    hindered: Option<i64>,
    route: Rc<Route>,
}

/// What the window still admits.
#[derive(Debug)]
struct Budget {
    window: usize,
    in_flight: usize,
    /// Away since before the operator restarted: what they are doing nobody knows.
    unknown: usize,
    counted: usize,
    holders: usize,
    may_hold: usize,
    /// A trial begins in an instance where it costs nothing.
    begins_free: bool,
}

const DOWN: u8 = 0;
const IN_FLIGHT: u8 = 1;
const GOES_BACK: u8 = 2;
const NEW: u8 = 3;
const SERVES: u8 = 4;
const UNAVAILABLE: u8 = 5;

impl Budget {
    /// An instance that is down because of what is replaced costs nothing; one that moves already no more than it does,
    /// but while more are in flight than should be (they start again, say) none of them begins a trial.
    fn take(&mut self, rank: u8, begins_trial: bool) -> bool {
        let admitted = self.has_room(rank, begins_trial);
        match rank {
            DOWN => self.begins_free |= begins_trial,
            IN_FLIGHT => {}
            _ if admitted => {
                self.in_flight += 1;
                self.counted += usize::from(rank != UNAVAILABLE);
            }
            _ => {}
        }
        admitted
    }

    const fn has_room(&self, rank: u8, begins_trial: bool) -> bool {
        match rank {
            DOWN => true,
            IN_FLIGHT => !begins_trial || self.in_flight + self.unknown <= self.window,
            UNAVAILABLE => self.in_flight + self.unknown < self.window,
            // Going back does not wait for instances that are away.
            GOES_BACK => self.in_flight < self.window,
            _ => self.counted < self.window,
        }
    }
}

/// Decides for every instance; names the canaries in `state`.
pub(super) fn decide(state: &mut State, input: &Input, fleet: &Fleet<'_>) -> Moves {
    let Some(target) = state.target.clone().map(Arc::new) else {
        return Moves { told: vec![None; fleet.views.len()], ..Moves::default() };
    };
    if state.stable.is_none() {
        let told = |view: &View<'_>| (view.connected() || view.told.is_some()).then(|| Arc::clone(&target));
        return Moves { told: fleet.views.iter().map(told).collect(), ..Moves::default() };
    }
    Mover::new(state, input, fleet, target).run()
}

struct Mover<'a> {
    state: &'a mut State,
    input: &'a Input,
    fleet: &'a Fleet<'a>,
    target: Arc<Set>,
    /// By set and whether it is completed.
    routes: HashMap<(SetId, bool), Rc<Route>>,
    /// By route and the steps taken.
    mixed: HashMap<(*const Route, Vec<usize>), Arc<Set>>,
    on_trial: Vec<bool>,
    /// Marks the sets with anything that is not stable, which the partition keeps from the other instances.
    holding: Vec<bool>,
    /// Lists the revisions on trial that run in their canary.
    tried: BTreeSet<RevisionId>,
    unproven: HashMap<(SetId, SetId), bool>,
    budget: Budget,
    /// Without and with a recent environment failure.
    queues: [Queue; 2],
    held: bool,
    told: Vec<Option<Arc<Set>>>,
    turn_ends: Option<i64>,
}

impl<'a> Mover<'a> {
    fn new(state: &'a mut State, input: &'a Input, fleet: &'a Fleet<'a>, target: Arc<Set>) -> Self {
        let tries = |set: &Set| state.trials.iter().any(|(p, t)| set.get(p) == Some(&t.revision));
        let on_trial = fleet.sets.that(tries);
        // Revisions that an earlier target left behind count, too.
        let is_stable = |stable: &Set, set: &Set| set.iter().all(|(p, revision)| stable.get(p) == Some(revision));
        let holding = fleet.sets.that(|set| tries(set) || state.stable.as_ref().is_some_and(|s| !is_stable(s, set)));
        let runs = |trial: &&Trial| {
            let canary = fleet.views.iter().find(|view| Some(&view.instance.id) == trial.canary.as_ref());
            canary.is_some_and(|view| fleet.sets.get(view.serving).values().any(|r| *r == trial.revision))
        };
        let tried = state.trials.values().filter(runs).map(|trial| trial.revision.clone()).collect();
        let desired = fleet.live().count();
        let budget = Budget {
            window: input.policy.max_unavailable.of(desired).max(1),
            in_flight: 0,
            unknown: 0,
            counted: 0,
            holders: fleet.live().filter(|view| view.may_run(&holding) || view.unknown()).count(),
            may_hold: desired.saturating_sub(input.policy.partition.of(desired)),
            begins_free: false,
        };
        Self {
            state,
            input,
            fleet,
            target,
            routes: HashMap::new(),
            mixed: HashMap::new(),
            on_trial,
            holding,
            tried,
            unproven: HashMap::new(),
            budget,
            queues: [Queue::default(), Queue::default()],
            held: false,
            told: vec![None; fleet.views.len()],
            turn_ends: None,
        }
    }

    fn run(mut self) -> Moves {
        let (mut candidates, mut waiting) = (Vec::new(), Vec::new());
        for index in 0..self.fleet.views.len() {
            if let Some(candidate) = self.look_at(index) {
                let waits = self.fleet.views[index].instance.waiting.is_some();
                if waits { waiting.push(candidate) } else { candidates.push(candidate) }
            }
        }
        // Nothing that its environment does to others keeps an instance from going back.
        let turn = |c: &Candidate| c.hindered.filter(|_| !c.route.goes_back());
        candidates.sort_by_key(|c| (turn(c), c.rank, c.index));
        candidates.iter().for_each(|candidate| self.serve(candidate));
        waiting.sort_by_key(|c| (self.fleet.views[c.index].instance.waiting, c.index));
        waiting.iter().for_each(|candidate| self.serve_waiting(candidate));
        let idle = self.budget.in_flight == 0 && !self.budget.begins_free;
        Moves { told: self.told, held: self.held && idle, turn_ends: self.turn_ends }
    }

    /// Counts the instance against the window; returns it if anything of it differs from the target.
    fn look_at(&mut self, index: usize) -> Option<Candidate> {
        let view = &self.fleet.views[index];
        if !view.live() {
            return None;
        }
        let in_flight = self.in_flight(view);
        let unavailable = unavailable(view);
        self.budget.in_flight += usize::from(in_flight);
        let Some(route) = self.route_of(view) else {
            self.budget.unknown += usize::from(unavailable);
            self.budget.counted += usize::from(in_flight || unavailable);
            return None;
        };
        let down = !view.instance.ready && route.replaces_any(&view.instance.down);
        let costs = !down || self.keeps_unproven(view, &route);
        self.budget.counted += usize::from((in_flight || unavailable) && costs);
        // It goes on with what the operator before has told it.
        if self.input.recovering && view.instance.moving && view.told.is_none() {
            self.budget.counted += usize::from(in_flight || unavailable);
            return None;
        }
        self.told[index] = Some(Arc::clone(&route.base));
        // One that comes from elsewhere has the stable set first: it could go back to nothing else.
        let is_foreign = view.instance.accepted == 0 && !view.instance.new;
        if !view.connected() || route.steps.is_empty() || is_foreign {
            return None;
        }
        let rank = match view {
            _ if down => DOWN,
            _ if in_flight => IN_FLIGHT,
            _ if route.goes_back() => GOES_BACK,
            v if v.instance.new => NEW,
            _ if unavailable => UNAVAILABLE,
            _ => SERVES,
        };
        Some(Candidate { index, rank, hindered: self.hindered(view), route })
    }

    /// It moves, may move, or runs something on trial that it has not proven.
    fn in_flight(&mut self, view: &View<'_>) -> bool {
        if self.waits_for_newcomers(view) {
            return self.unproven(view);
        }
        let moves_to = |set: SetId| set != view.serving && (!view.instance.new || self.on_trial[set]);
        let moving = view.instance.moving && !view.instance.new;
        !view.settled() && (moving || view.promised().any(moves_to)) || self.unproven(view)
    }

    /// All that it still moves is new, and waits out an environment failure: it serves as before, and costs nothing.
    fn waits_for_newcomers(&self, view: &View<'_>) -> bool {
        let busy = &view.instance.busy;
        let is_new = |plugin: &String| self.state.stable.as_ref().is_some_and(|stable| !stable.contains_key(plugin));
        view.instance.waiting.is_some() && !busy.is_empty() && busy.iter().all(is_new)
    }

    /// It runs something that is neither stable nor proven there, be it of a target before.
    fn unproven(&mut self, view: &View<'_>) -> bool {
        if let Some(known) = self.unproven.get(&(view.serving, view.proven)) {
            return *known;
        }
        let unproven = self.on_trial_in(view).next().is_some();
        self.unproven.insert((view.serving, view.proven), unproven);
        unproven
    }

    /// Tells whether something that no step replaces stays on trial there.
    fn keeps_unproven(&self, view: &View<'_>, route: &Route) -> bool {
        self.on_trial_in(view).any(|plugin| !route.steps.iter().any(|step| step.members.contains(plugin)))
    }

    /// Lists the plugins whose revision there is neither stable nor proven.
    fn on_trial_in(&self, view: &View<'_>) -> impl Iterator<Item = &String> {
        let (serving, proven) = (self.fleet.sets.get(view.serving), self.fleet.sets.get(view.proven));
        let unproven = serving.iter().filter(move |(plugin, revision)| proven.get(*plugin) != Some(revision));
        unproven.filter(|(plugin, revision)| !self.is_stable(plugin, revision)).map(|(plugin, _)| plugin)
    }

    fn is_stable(&self, plugin: &str, revision: &RevisionId) -> bool {
        self.state.stable.as_ref().and_then(|set| set.get(plugin)) == Some(revision)
    }

    /// From what the instance runs, or was told if it is on the way there.
    fn route_of(&mut self, view: &View<'_>) -> Option<Rc<Route>> {
        let done = view.settled() || view.instance.waiting.is_some() && view.connected();
        match view.told {
            Some(told) if !(done || view.connected() && self.tries_for_another(view, told)) => {
                Some(self.route(told, false))
            }
            None if !view.connected() => None,
            _ => Some(self.route(view.serving, true)),
        }
    }

    /// Tells whether it was told, before anything was stable, what another one tries alone now.
    fn tries_for_another(&self, view: &View<'_>, told: SetId) -> bool {
        let (told, serving) = (self.fleet.sets.get(told), self.fleet.sets.get(view.serving));
        let begins = |plugin: &&String| {
            let revision = self.state.trials.get(*plugin).map(|trial| &trial.revision);
            told.get(*plugin) == revision && serving.get(*plugin) != revision
        };
        self.tried_by_others(view, told.keys().filter(begins)).next().is_some()
    }

    fn route(&mut self, from: SetId, complete: bool) -> Rc<Route> {
        if let Some(route) = self.routes.get(&(from, complete)) {
            return Rc::clone(route);
        }
        let route = Rc::new(self.new_route(from, complete));
        self.routes.insert((from, complete), Rc::clone(&route));
        route
    }

    fn new_route(&self, from: SetId, complete: bool) -> Route {
        let mut base = Set::clone(self.fleet.sets.get(from));
        if complete {
            base = self.completed(base);
        }
        let groups = change_groups(&base, &self.target, &self.input.requires);
        let mut steps: Vec<_> = groups.into_iter().map(|members| self.step(members, &base)).collect();
        steps.extend(self.ways_back(&base, &steps));
        let going_back = steps.iter().filter(|step| step.goes_back()).flat_map(|step| step.members.iter().cloned());
        let without = replaced(&base, &going_back.collect::<Vec<_>>(), &self.target);
        for step in &mut steps {
            let leaves = |plugin: &String| step.members.contains(plugin) && !self.target.contains_key(plugin);
            step.holds = without.iter().any(|(plugin, revision)| !self.is_stable(plugin, revision) && !leaves(plugin));
        }
        Route { base: Arc::new(base), steps }
    }

    /// Nothing of the stable set may be missing, whatever it has of other revisions.
    fn completed(&self, mut base: Set) -> Set {
        let Some(stable) = &self.state.stable else { return base };
        for group in change_groups(&base, stable, &self.input.requires) {
            if group.iter().any(|plugin| !base.contains_key(plugin)) {
                base = replaced(&base, &group, stable);
            }
        }
        base
    }

    /// Makes a step of its own for each group that leads from the base to the stable set and agrees with the target: going
    /// back need not wait for what is new beside it, though both are one group on the way to the target.
    fn ways_back(&self, base: &Set, steps: &[Step]) -> Vec<Step> {
        let Some(stable) = self.state.stable.as_ref().filter(|_| steps.iter().any(Step::tries)) else {
            return Vec::new();
        };
        let goes_otherwise = |group: &[String]| {
            let mut plain = steps.iter().filter(|step| !step.tries());
            plain.any(|step| step.members.iter().any(|plugin| group.contains(plugin)))
        };
        let agrees = |group: &[String]| group.iter().all(|plugin| stable.get(plugin) == self.target.get(plugin));
        let groups = change_groups(base, stable, &self.input.requires).into_iter();
        groups.filter(|g| agrees(g) && !goes_otherwise(g)).map(|members| self.step(members, base)).collect()
    }

    fn step(&self, members: Vec<String>, base: &Set) -> Step {
        let trials: Vec<_> = members.iter().filter(|p| self.state.trials.contains_key(*p)).cloned().collect();
        let condemned = |p: &String| self.state.failed.get(p).is_some_and(|f| base.get(p) == Some(&f.revision));
        let halt = self.input.policy.on_failure == OnFailure::Halt;
        Step { halted: halt && trials.is_empty() && members.iter().any(condemned), members, trials, holds: false }
    }

    fn hindered(&self, view: &View<'_>) -> Option<i64> {
        let environment = view.instance.failures.iter().filter(|f| f.class == FailureClass::Environment);
        let fails = environment.into_iter().any(|f| self.target.get(&f.plugin) == Some(&f.revision));
        fails.then(|| view.instance.assigned.as_ref().map_or(view.instance.accepted, |told| told.generation))
    }

    fn serve(&mut self, candidate: &Candidate) {
        let view = &self.fleet.views[candidate.index];
        let queue = usize::from(candidate.hindered.is_some());
        let (steps, taken) = self.open_steps(candidate);
        self.contest(candidate, queue, taken);
        let route = &candidate.route;
        let told_so = |step: &usize| route.steps[*step].is_told(view, &self.target);
        let tries = |step: &usize| route.steps[*step].tries();
        let begins_trial = steps.iter().any(|step| self.begins_trial(view, &route.steps[*step]));
        // Going back admits no trial beside a full window.
        let steps: Vec<usize> = match candidate.rank {
            GOES_BACK if begins_trial && !self.budget.has_room(SERVES, true) => {
                steps.into_iter().filter(|step| !tries(step)).collect()
            }
            _ => steps,
        };
        let nobody_minds = view.instance.new && !steps.iter().any(tries);
        if steps.iter().all(told_so) || nobody_minds || self.budget.take(candidate.rank, begins_trial) {
            return self.tell(candidate, steps);
        }
        self.queues[queue].denied += 1;
        let moves_anyway = view.instance.new || candidate.rank == IN_FLIGHT;
        let free = |step: &usize| told_so(step) || moves_anyway && !tries(step);
        let steps = steps.into_iter().filter(free).collect();
        self.tell(candidate, steps);
    }

    /// An instance whose environment fails keeps its turn until another one could use it.
    fn serve_waiting(&mut self, candidate: &Candidate) {
        let view = &self.fleet.views[candidate.index];
        let id = &view.instance.id;
        let turn_ends = view.instance.waiting.unwrap_or(self.input.now) + TURN;
        let (mut steps, taken) = self.open_steps(candidate);
        let gives_up = steps.iter().any(|step| candidate.route.steps[*step].tries());
        let frees = gives_up && self.in_flight(view) && !self.unproven(view);
        let [fresh, hindered] = &mut self.queues;
        let over = fresh.claims(id, frees) || hindered.claims(id, frees) && turn_ends <= self.input.now;
        if over {
            fresh.served(id);
            hindered.served(id);
        } else if hindered.claims(id, frees) {
            self.turn_ends = Some(self.turn_ends.map_or(turn_ends, |other| other.min(turn_ends)));
        }
        self.contest(candidate, 1, taken);
        steps.retain(|step| !over || !candidate.route.steps[*step].tries());
        // What it does not try yet needs room like anybody's.
        let begins = |step: &usize| self.begins_trial(view, &candidate.route.steps[*step]);
        let fresh: Vec<usize> = steps.iter().copied().filter(begins).collect();
        if !fresh.is_empty() && !self.budget.take(candidate.rank, true) {
            steps.retain(|step| !fresh.contains(step));
        }
        self.tell(candidate, steps);
    }

    /// Notes whose turn the candidate would like to have.
    fn contest(&mut self, candidate: &Candidate, queue: usize, canaries: Vec<String>) {
        let has_room = self.budget.has_room(candidate.rank, true);
        canaries.into_iter().for_each(|canary| self.queues[queue].contest(canary, has_room));
    }

    /// Tells whether the step would put something on trial that the instance neither runs nor was told.
    fn begins_trial(&self, view: &View<'_>, step: &Step) -> bool {
        step.tries() && !self.holds_trials(view, step)
    }

    /// Gives the steps that it may take, and the canaries that keep it from others.
    fn open_steps(&mut self, candidate: &Candidate) -> (Vec<usize>, Vec<String>) {
        let view = &self.fleet.views[candidate.index];
        let (mut open, mut taken) = (Vec::new(), Vec::new());
        let mut suspected = self.has_unproven_suspect(view);
        for (index, step) in candidate.route.steps.iter().enumerate() {
            match self.gate(view, step) {
                // One of them is the culprit: each is tried alone.
                Gate::Open if self.is_suspect(step) && !self.holds_trials(view, step) && suspected => {}
                Gate::Open => {
                    suspected |= self.is_suspect(step);
                    open.push(index);
                }
                Gate::Shut => {}
                Gate::Held => self.held = true,
                Gate::Taken(by) => taken.push(by),
            }
        }
        (open, taken)
    }

    /// It runs all that the step moves to, or was told to.
    fn holds_trials(&self, view: &View<'_>, step: &Step) -> bool {
        step.trials.iter().filter_map(|plugin| Some((plugin, self.state.trials.get(plugin)?))).all(|(plugin, trial)| {
            let has = |set: SetId| self.fleet.sets.get(set).get(plugin) == Some(&trial.revision);
            has(view.serving) || !view.settled() && view.promised().any(has)
        })
    }

    /// Sidecars ended uncleanly while it was on trial beside others.
    fn is_suspect(&self, step: &Step) -> bool {
        let trials = step.trials.iter().filter_map(|plugin| self.state.trials.get(plugin));
        trials.flat_map(|trial| trial.strikes.values()).any(|note| note.shared)
    }

    /// The instance tries one of the suspects now.
    fn has_unproven_suspect(&self, view: &View<'_>) -> bool {
        let (serving, proven) = (self.fleet.sets.get(view.serving), self.fleet.sets.get(view.proven));
        self.state.trials.iter().any(|(plugin, trial)| {
            let suspect = trial.strikes.values().any(|note| note.shared);
            let runs = |set: &Set| set.get(plugin) == Some(&trial.revision);
            suspect && runs(serving) && !runs(proven)
        })
    }

    fn gate(&self, view: &View<'_>, step: &Step) -> Gate {
        if step.trials.is_empty() {
            return if step.halted { Gate::Shut } else { Gate::Open };
        }
        if self.input.recovering {
            return Gate::Shut;
        }
        // One that never came to run what it was told takes up nothing else, nor one that goes back to what is stable.
        let holder = step.holds && self.holding[view.serving] || self.holds_trials(view, step);
        if self.input.policy.paused {
            return Gate::Held;
        }
        match self.budget.holders.cmp(&self.budget.may_hold) {
            Ordering::Less => {}
            _ if holder => {}
            Ordering::Equal => return self.waiting_holder(view, step).map_or(Gate::Held, Gate::Taken),
            Ordering::Greater => return Gate::Held,
        }
        let mut trials = step.trials.iter().filter_map(|p| self.state.trials.get(p));
        let fails = |trial: &Trial| trial.strikes.get(&view.instance.id).is_some_and(|note| !note.shared);
        if trials.any(fails) {
            return Gate::Shut;
        }
        let others = || self.tried_by_others(view, &step.trials);
        // A canary that runs what it tries has no turn to give up.
        if others().any(|(trial, _)| self.tried.contains(&trial.revision)) {
            return Gate::Shut;
        }
        others().next().map_or(Gate::Open, |(_, canary)| Gate::Taken(canary.clone()))
    }

    /// Lists those of the plugins' trials that nobody has proven and another instance tries, with that one.
    fn tried_by_others<'b>(
        &'b self,
        view: &'b View<'_>,
        plugins: impl IntoIterator<Item = &'b String>,
    ) -> impl Iterator<Item = (&'b Trial, &'b String)> {
        let trials = plugins.into_iter().filter_map(|plugin| self.state.trials.get(plugin));
        let unproven = trials.filter(|trial| trial.proof.is_none());
        let tried = unproven.filter_map(|trial| Some((trial, trial.canary.as_ref()?)));
        tried.filter(|(_, canary)| **canary != view.instance.id)
    }

    /// Finds the step's canary that waits out its environment and keeps by that alone what the partition leaves to one.
    fn waiting_holder(&self, view: &View<'_>, step: &Step) -> Option<String> {
        let waits = |id: &&String| {
            let canary = self.fleet.views.iter().find(|other| other.instance.id == **id);
            canary.is_some_and(|other| other.instance.waiting.is_some() && !self.holding[other.serving])
        };
        self.tried_by_others(view, &step.trials).map(|(_, canary)| canary).find(waits).cloned()
    }

    fn tell(&mut self, candidate: &Candidate, steps: Vec<usize>) {
        let view = &self.fleet.views[candidate.index];
        let trials = || steps.iter().flat_map(|step| &candidate.route.steps[*step].trials);
        if trials().next().is_some() && !view.may_run(&self.holding) && !view.unknown() {
            self.budget.holders += 1;
        }
        for plugin in trials() {
            if let Some(trial) = self.state.trials.get_mut(plugin).filter(|trial| trial.proof.is_none()) {
                trial.canary = Some(view.instance.id.clone());
            }
        }
        self.told[candidate.index] = Some(self.with_steps(&candidate.route, steps));
    }

    fn with_steps(&mut self, route: &Rc<Route>, steps: Vec<usize>) -> Arc<Set> {
        if steps.len() == route.steps.len() {
            return Arc::clone(&self.target);
        }
        let target = &self.target;
        let mixed = self.mixed.entry((Rc::as_ptr(route), steps));
        let set = mixed.or_insert_with_key(|(_, steps)| {
            let members = steps.iter().flat_map(|step| route.steps[*step].members.iter().cloned());
            Arc::new(replaced(&route.base, &members.collect::<Vec<_>>(), target))
        });
        Arc::clone(set)
    }
}

impl Route {
    fn replaces_any(&self, plugins: &BTreeMap<String, Down>) -> bool {
        self.steps.iter().flat_map(|step| &step.members).any(|plugin| plugins.contains_key(plugin))
    }

    fn goes_back(&self) -> bool {
        self.steps.iter().any(Step::goes_back)
    }
}

impl Step {
    const fn tries(&self) -> bool {
        !self.trials.is_empty()
    }

    const fn goes_back(&self) -> bool {
        !self.tries() && !self.halted
    }

    /// The instance was told to go back so already; it is not told otherwise for want of room.
    fn is_told(&self, view: &View<'_>, target: &Set) -> bool {
        let told = view.instance.assigned.as_ref().map(|a| &a.target);
        let agrees = |told: &Arc<Set>| self.members.iter().all(|p| told.get(p) == target.get(p));
        self.trials.is_empty() && told.is_some_and(agrees)
    }
}

fn unavailable(view: &View<'_>) -> bool {
    !view.instance.new && (view.instance.presence == Presence::Away || !view.instance.ready)
}
