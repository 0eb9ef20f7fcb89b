//! One pass of one host's pipeline, step by step. I/O: that of the steps.
//!
//! Nothing is told that was not stored; where nothing can be stored, instances that come are told what is. What is taken away
//! waits for no pass; a pass that tells more than may be any more takes it back at once.

use super::{
    Tools,
    catalog::{self, Catalog},
    fleet,
    memory::Memory,
    observe::{self, Observed},
    persist,
    plan::{self, Decision, Settings},
    publish, report, withdraw,
};
use crate::{
    control::{Attached, Hub},
    host::HostKey,
    world::{World, WriteError},
};
use rockstar_core::rollout::Assignment;
use rockstar_crds::PluginHost;
use std::{collections::BTreeMap, sync::Arc};

/// What a pass leads to.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The host is gone, and so is everything that belongs to it.
    Gone,
    /// Nothing more to do until a bell rings, or this time (milliseconds since the epoch) comes.
    Wait(Option<i64>),
}

/// Runs the pipeline once.
pub async fn pass(tools: &Tools, host: &HostKey, memory: &mut Memory) -> Result<Outcome, WriteError> {
    let world = tools.world.as_ref();
    if world.is_held(&host.namespace) {
        return Ok(Outcome::Wait(None));
    }
    let Some(observed) = observe::observe(world, &tools.hub, &tools.clock, host).await else {
        return Ok(Outcome::Gone);
    };
    let Some(object) = observed.view.host.clone() else {
        return Ok(Outcome::Wait(None));
    };
    meet(world, host, &object, memory).await?;
    memory.hear(&observed);
    let settings = match plan::settings(&object.spec) {
        Ok(settings) => settings,
        Err(error) => {
            let report = report::unusable(&object, &error, &observed.view.plugins, observed.now);
            return Ok(Outcome::Wait(report::write(tools, host, &observed, memory, report).await));
        }
    };
    let (catalog, decision) = decide(world, host, &observed, &settings, memory).await;
    let stored = store(world, host, memory, &decision).await;
    if let Err(error) = stored {
        tell_what_is_stored(&tools.hub, host, &observed, &settings, &catalog, memory);
        withdraw::take_away(tools, host);
        return Err(error);
    }
    memory.recovery = memory.recovery.stored();
    tell(&tools.hub, host, &observed, &settings, &catalog, &decision, memory);
    withdraw::take_away(tools, host);
    let composed = report::compose(&observed, &settings, &catalog, &decision, memory);
    let composed = match memory.recovery.is_under_way() {
        true => report::recovering(&observed, &catalog, composed),
        false => composed,
    };
    let unwritten = report::write(tools, host, &observed, memory, composed).await;
    persist::clean_up(world, host, &observed, memory).await;
    let next = decision.plan.next_deadline.into_iter().chain(memory.recovery.deadline()).chain(unwritten);
    Ok(Outcome::Wait(next.min()))
}

/// Another object of the same name is another host: what is stored of it is the only truth.
async fn meet(world: &dyn World, host: &HostKey, object: &PluginHost, memory: &mut Memory) -> Result<(), WriteError> {
    let uid = object.metadata.uid.clone().unwrap_or_default();
    if memory.uid.as_ref().is_some_and(|known| *known != uid) {
        *memory = recall(world, host).await?;
    }
    memory.uid = Some(uid);
    Ok(())
}

/// Decides; once more where a revision turns out not to be storable.
async fn decide(
    world: &dyn World,
    host: &HostKey,
    observed: &Observed,
    settings: &Settings,
    memory: &mut Memory,
) -> (Catalog, Decision) {
    loop {
        let catalog = read_catalog(observed, memory);
        let decision = plan::decide(observed, settings, &catalog, memory);
        let state = &decision.plan.state;
        if !persist::save_revisions(world, host, observed, &catalog, memory, state).await {
            return (catalog, decision);
        }
    }
}

fn read_catalog(observed: &Observed, memory: &mut Memory) -> Catalog {
    let catalog = catalog::catalog(&observed.view, &observed.values, &memory.unstored);
    let candidates = catalog.entries.values().filter_map(|e| e.candidate.as_ref().ok().or(e.unconfigured.as_ref()));
    for candidate in candidates {
        memory.known.entry(candidate.revision.id.clone()).or_insert_with(|| Arc::clone(&candidate.revision));
    }
    catalog
}

/// Another writer's rollout is taken up, and decided on anew.
async fn store(world: &dyn World, host: &HostKey, memory: &mut Memory, decision: &Decision) -> Result<(), WriteError> {
    let stored = persist::save_rollout(world, host, memory, &decision.plan.state).await;
    if matches!(stored, Err(WriteError::Conflict { .. })) {
        memory.restart_from(world.rollout(host).await?);
    }
    stored
}

fn tell(
    hub: &Hub,
    host: &HostKey,
    observed: &Observed,
    settings: &Settings,
    catalog: &Catalog,
    decision: &Decision,
    memory: &mut Memory,
) {
    let assignments = &decision.plan.assignments;
    let publications = publish::publications(observed, settings, catalog, assignments, memory);
    memory.assigned.extend(decision.plan.assignments.iter().map(|(uid, a)| (uid.clone(), a.clone())));
    publish::publish(hub, host, observed, memory, &publications);
    // Who is not back yet would be missing in the count.
    if !memory.recovery.is_under_way() {
        let served = fleet::served(observed);
        memory.keep_ready = fleet::keeps_ready(&decision.instances, &served, memory.keep_ready);
        for instance in &observed.attached {
            hub.keep_ready(host, &instance.uid, memory.keep_ready && served.contains(&instance.uid));
        }
    }
}

/// Instances that come while nothing can be stored are told what is.
fn tell_what_is_stored(
    hub: &Hub,
    host: &HostKey,
    observed: &Observed,
    settings: &Settings,
    catalog: &Catalog,
    memory: &mut Memory,
) {
    let state = &memory.state;
    let Some(set) = state.stable.as_ref().or(state.target.as_ref()).cloned().map(Arc::new) else { return };
    let fallback = Arc::new(state.stable.clone().unwrap_or_default());
    let assignment = Assignment { target: set, fallback, generation: state.plan_generation, superseded: Vec::new() };
    let is_new = |instance: &&Attached| instance.report.host_uid != observed.host_uid();
    let new = observed.attached.iter().filter(is_new).map(|instance| (instance.uid.clone(), assignment.clone()));
    let assignments: BTreeMap<_, _> = new.collect();
    let publications = publish::publications(observed, settings, catalog, &assignments, memory);
    memory.assigned.extend(assignments);
    publications.iter().for_each(|(uid, publication)| hub.publish(host, uid, publication));
}

/// For a loop that begins: what is stored is the only truth.
pub async fn recall(world: &dyn World, host: &HostKey) -> Result<Memory, WriteError> {
    Ok(Memory { state: world.rollout(host).await?, ..Memory::default() })
}
