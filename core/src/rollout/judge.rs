//! What the reports say of revisions: which are proven, which are condemned, which are stable from now on.

use super::{
    Change, Event, Failed, Failure, FailureClass, FailureNote, Input, Presence, Proof, SHOWN, Set, State, Trial,
    fleet::{Fleet, View},
    groups::{change_groups, replaced},
};

/// The plugins that the spec no longer has leave every set.
pub(super) fn take_away(state: &mut State, input: &Input) {
    let wanted = |plugin: &String| input.plugins.contains_key(plugin);
    let sets = [state.stable.as_mut(), state.target.as_mut(), state.settling.as_mut().map(|s| &mut s.target)];
    sets.into_iter().flatten().for_each(|set| set.retain(|plugin, _| wanted(plugin)));
    state.trials.retain(|plugin, _| wanted(plugin));
    state.failed.retain(|plugin, _| wanted(plugin));
    state.attempts.retain(|plugin, _| wanted(plugin));
    state.tokens.retain(|plugin, _| wanted(plugin));
}

/// A plugin whose spec or `retry` changed starts with a clean record. Its instances are told anew, so that those that it
/// troubles try again, and all acknowledge what is in force now.
pub(super) fn forget(state: &mut State, input: &Input) {
    for (plugin, token) in &input.plugins {
        let condemned = state.failed.get(plugin).is_some_and(|failed| failed.token != *token);
        // Waits for the end of the recovery: a failure that is heard until then belongs to the attempt that the token ends.
        let may_renew = !input.recovering;
        let struck = may_renew && state.trials.get_mut(plugin).is_some_and(|trial| renew(trial, token));
        if condemned {
            state.failed.remove(plugin);
        }
        let is_new = state.tokens.get(plugin).is_some_and(|handled| handled != token);
        if !input.recovering {
            state.tokens.insert(plugin.clone(), token.clone());
        }
        if condemned || struck || is_new && !input.recovering {
            state.attempts.insert(plugin.clone(), state.plan_generation + 1);
        }
    }
}

fn renew(trial: &mut Trial, token: &str) -> bool {
    if trial.token == token {
        return false;
    }
    token.clone_into(&mut trial.token);
    (trial.since, trial.proven, trial.stalled) = (None, 0, false);
    !std::mem::take(&mut trial.strikes).is_empty()
}

/// Notes first proofs, and who tries what nobody has proven yet.
pub(super) fn prove(state: &mut State, fleet: &Fleet<'_>, input: &Input, events: &mut Vec<Event>) {
    let gated = state.stable.is_some();
    for (plugin, trial) in &mut state.trials {
        let marked = fleet.sets.that(|set| set.get(plugin) == Some(&trial.revision));
        if let Some(instance) = note_proof(trial, fleet, &marked, input.now) {
            trial.since = Some(input.now);
            events.push(Event::CanaryProven { plugin: plugin.clone(), revision: trial.revision.clone(), instance });
        }
        trial.canary = match trial.canary.take() {
            canary if gated && trial.proof.is_none() => still_canary(canary, fleet, &marked),
            _ => None,
        };
    }
}

/// The name of the instance that proved it first, if it did so just now.
fn note_proof(trial: &mut Trial, fleet: &Fleet<'_>, marked: &[bool], now: i64) -> Option<String> {
    // Where pods stay, one that ends has not outlived any grace period.
    let pods_end = fleet.live().all(|v| v.instance.transient);
    let by_ended_pod = || fleet.views.iter().find(|v| pods_end && ended_well(v) && marked[v.serving]);
    let youngest = || fleet.views.iter().map(|v| v.instance.created).max();
    let by_living = || fleet.views.iter().find(|v| v.live() && marked[v.serving] && marked[v.proven]);
    match &mut trial.proof {
        Some(proof) => {
            proof.by_ended_pod = proof.by_ended_pod || by_ended_pod().is_some();
            if proof.youngest == i64::MAX {
                proof.youngest = youngest().unwrap_or(i64::MAX);
            }
            None
        }
        none => {
            let ended = by_ended_pod();
            let prover = ended.or_else(by_living)?;
            let youngest = youngest().unwrap_or(i64::MAX);
            *none = Some(Proof { at: now, by_ended_pod: ended.is_some(), youngest });
            Some(prover.instance.name.clone())
        }
    }
}

fn ended_well(view: &View<'_>) -> bool {
    view.instance.presence == Presence::Succeeded
}

/// The canary while it may still run the revision; else whoever already does, be it from an earlier attempt.
fn still_canary(canary: Option<String>, fleet: &Fleet<'_>, marked: &[bool]) -> Option<String> {
    let holds = |v: &&View<'_>| v.live() && v.may_run(marked);
    let told = |v: &&View<'_>| v.live() && v.told.is_some_and(|set| marked[set]);
    let canary = canary.and_then(|id| fleet.views.iter().find(|v| v.instance.id == id));
    // One that was told and serves another set is failing; its failure's record is on the way.
    let kept = canary.filter(|v| v.live() && !v.settled() || holds(v) || told(v));
    kept.or_else(|| fleet.views.iter().find(holds)).map(|v| v.instance.id.clone())
}

/// Notes the revision failures of the trials.
pub(super) fn strike(state: &mut State, input: &Input, fleet: &Fleet<'_>) {
    let enough = (input.policy.failure_threshold as usize).max(SHOWN);
    for view in &fleet.views {
        for failure in &view.instance.failures {
            if counts(failure, state)
                && let Some(trial) = state.trials.get_mut(&failure.plugin)
            {
                note_strike(trial, view, failure, enough);
            }
        }
    }
}

/// One an instance; a failure with a known culprit in place of one without. No more are kept than condemn.
fn note_strike(trial: &mut Trial, view: &View<'_>, failure: &Failure, enough: usize) {
    let room = trial.strikes.len() < enough;
    match trial.strikes.get_mut(&view.instance.id) {
        Some(known) if known.shared && !failure.shared => *known = note(failure, &view.instance.name),
        Some(_) => {}
        None if room => drop(trial.strikes.insert(view.instance.id.clone(), note(failure, &view.instance.name))),
        None => {}
    }
}

fn counts(failure: &Failure, state: &State) -> bool {
    let tried = state.trials.get(&failure.plugin).is_some_and(|trial| trial.revision == failure.revision);
    let since = state.attempts.get(&failure.plugin).copied().unwrap_or_default();
    let since = state.trials.get(&failure.plugin).map_or(since, |trial| trial.generation.max(since));
    tried && failure.class == FailureClass::Revision && failure.plan_generation >= since
}

pub(super) fn note(failure: &Failure, pod: &str) -> FailureNote {
    FailureNote {
        pod: pod.to_owned(),
        revision: failure.revision.clone(),
        class: failure.class,
        reason: failure.reason.clone(),
        message: failure.message.clone(),
        at: failure.at,
        shared: failure.shared,
    }
}

/// Ends the trials that failed: by the canary, or in enough instances. A failure without a known culprit condemns nobody.
/// While there is nothing to go back to, a Closed plugin stays, as down.
pub(super) fn condemn(state: &mut State, input: &Input, fleet: &Fleet<'_>, events: &mut Vec<Event>) {
    let gated = state.stable.is_some();
    let threshold = (input.policy.failure_threshold as usize).min(fleet.live().count()).max(1);
    let condemned = state.trials.extract_if(.., |plugin, trial| {
        let needed = if gated && trial.proof.is_none() { 1 } else { threshold };
        let strikes = trial.strikes.values().filter(|note| !note.shared).count();
        (gated || !input.closed.contains(plugin)) && strikes >= needed
    });
    for (plugin, trial) in condemned {
        let failed = failed(trial, input.now);
        events.push(failed_event(&plugin, &failed));
        state.failed.insert(plugin, failed);
    }
}

fn failed(trial: Trial, now: i64) -> Failed {
    let failures: Vec<_> = trial.strikes.into_values().take(SHOWN).collect();
    let first = failures.iter().min_by_key(|note| note.at);
    Failed {
        revision: trial.revision,
        reason: first.map(|note| note.reason.clone()).unwrap_or_default(),
        message: first.map(|note| note.message.clone()).unwrap_or_default(),
        at: now,
        token: trial.token,
        failures,
        rolled_back: false,
    }
}

fn failed_event(plugin: &str, failed: &Failed) -> Event {
    Event::RevisionFailed {
        plugin: plugin.to_owned(),
        revision: failed.revision.clone(),
        reason: failed.reason.clone(),
        message: failed.message.clone(),
        instances: failed.failures.iter().map(|note| note.pod.clone()).collect(),
    }
}

/// Says once that nobody runs a condemned revision any more.
pub(super) fn note_return(state: &mut State, fleet: &Fleet<'_>, events: &mut Vec<Event>) {
    for (plugin, failed) in state.failed.iter_mut().filter(|(_, failed)| !failed.rolled_back) {
        let marked = fleet.sets.that(|set| set.get(plugin) == Some(&failed.revision));
        failed.rolled_back = !fleet.live().any(|view| view.may_run(&marked) || view.unknown());
        if failed.rolled_back {
            let to = state.stable.as_ref().and_then(|stable| stable.get(plugin)).cloned();
            events.push(Event::RolledBack { plugin: plugin.clone(), revision: failed.revision.clone(), to });
        }
    }
}

/// Makes stable what every instance proved, a change group at a time; the first set as a whole. Nothing is promoted while
/// an instance that serves is away, for what it runs nobody knows.
pub(super) fn promote(state: &mut State, input: &Input, fleet: &Fleet<'_>, events: &mut Vec<Event>) {
    let Some(target) = state.target.clone() else { return };
    let on_trial = fleet.sets.that(|set| state.trials.iter().any(|(p, t)| set.get(p) == Some(&t.revision)));
    if fleet.live().any(|view| is_missed(view, &on_trial)) {
        return;
    }
    let mut stable = state.stable.clone().unwrap_or_default();
    let groups = change_groups(&stable, &target, &input.requires);
    let (proven, open): (Vec<_>, Vec<_>) = groups.into_iter().partition(|g| promotable(g, &target, state, fleet));
    let whole = open.is_empty() && (!proven.is_empty() || runs_nothing(fleet));
    if state.stable.is_none() && !whole {
        return promote_first(state, input, fleet, events, &open, proven);
    }
    for group in proven {
        events.push(Event::Promoted { plugins: changes(&group, &stable, &target) });
        stable = replaced(&stable, &group, &target);
        group.iter().for_each(|plugin| drop(state.trials.remove(plugin)));
    }
    state.stable = Some(stable);
}

/// The first set is late: what works somewhere is stable from now on, so that it is changed with care. Not while a Closed
/// plugin works nowhere: pods would serve without it.
fn promote_first(
    state: &mut State,
    input: &Input,
    fleet: &Fleet<'_>,
    events: &mut Vec<Event>,
    open: &[Vec<String>],
    mut proven: Vec<Vec<String>>,
) {
    let Some(target) = state.target.clone().filter(|_| state.stalled && fleet.live().any(View::connected)) else {
        return;
    };
    let has_proof = |plugin: &String| state.trials.get(plugin).is_some_and(|trial| trial.proof.is_some());
    let works = |group: &&Vec<String>| group.iter().filter(|p| target.contains_key(*p)).all(has_proof);
    let is_closed = |group: &Vec<String>| group.iter().any(|p| target.contains_key(p) && input.closed.contains(p));
    if open.iter().any(|group| is_closed(group) && !works(&group)) {
        return;
    }
    proven.extend(open.iter().filter(works).cloned());
    if proven.is_empty() {
        return;
    }
    let mut stable = Set::new();
    for group in proven {
        events.push(Event::Promoted { plugins: changes(&group, &stable, &target) });
        stable = replaced(&stable, &group, &target);
        group.iter().for_each(|plugin| drop(state.trials.remove(plugin)));
    }
    state.stable = Some(stable);
}

/// An instance that serves, or may run something on trial, is away: it may be the one that fails.
fn is_missed(view: &View<'_>, on_trial: &[bool]) -> bool {
    let may_fail = !view.instance.new && (view.unknown() || view.may_run(on_trial));
    !view.connected() && (view.instance.expected || may_fail)
}

/// An instance proved the set that has no plugin.
fn runs_nothing(fleet: &Fleet<'_>) -> bool {
    fleet.views.iter().any(|v| v.instance.accepted > 0 && v.settled() && v.instance.serving.is_empty())
}

fn promotable(group: &[String], target: &Set, state: &State, fleet: &Fleet<'_>) -> bool {
    let wanted = group.iter().filter(|plugin| target.contains_key(*plugin));
    let proofs: Option<Vec<_>> = wanted.map(|p| state.trials.get(p)?.proof.as_ref()).collect();
    let Some(proofs) = proofs else { return false };
    let as_in_target = fleet.sets.that(|set| group.iter().all(|plugin| set.get(plugin) == target.get(plugin)));
    let by_ended_pods = proofs.iter().all(|proof| proof.by_ended_pod);
    if !by_ended_pods && !fleet.live().any(View::connected) {
        return false;
    }
    fleet.live().filter(|view| view.connected()).all(|view| {
        let proven = as_in_target[view.serving] && as_in_target[view.proven];
        proven || proofs.iter().all(|proof| need_not_wait(view, proof))
    })
}

/// Instances born after the first proof need not be waited for while they serve nobody, or if pods here end anyway.
fn need_not_wait(view: &View<'_>, proof: &Proof) -> bool {
    let ends = proof.by_ended_pod && view.instance.transient;
    view.instance.created > proof.youngest && (ends || view.instance.new)
}

pub(super) fn changes(plugins: &[String], from: &Set, to: &Set) -> Vec<Change> {
    let change = |plugin: &String| Change {
        plugin: plugin.clone(),
        from: from.get(plugin).cloned(),
        to: to.get(plugin).cloned(),
    };
    plugins.iter().map(change).collect()
}
