//! One pass of one host's pipeline, step by step. I/O: that of the steps.

use super::{
    Tools,
    catalog::{self, Catalog},
    fleet,
    memory::Memory,
    observe::{self, Observed},
    persist,
    plan::{self, Decision, Settings},
    publish, release, report,
};
use crate::{
    control::Hub,
    host::HostKey,
    world::{World, WriteError},
};
use std::sync::Arc;

/// What a pass leads to.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The host is gone.
    Gone,
    /// Nothing more to do until a bell rings, or this time (milliseconds since the epoch) comes.
    Wait(Option<i64>),
}

/// Runs the pipeline once.
pub async fn pass(tools: &Tools, host: &HostKey, memory: &mut Memory) -> Result<Outcome, WriteError> {
    let world = tools.world.as_ref();
    let Some(observed) = observe::observe(world, &tools.hub, host).await else { return Ok(Outcome::Gone) };
    let uid = &observed.view.host.metadata.uid;
    if memory.uid.get_or_insert_with(|| uid.clone().unwrap_or_default()) != uid.as_deref().unwrap_or_default() {
        return Ok(Outcome::Gone);
    }
    memory.hear(&observed);
    let settings = match plan::settings(&observed) {
        Ok(settings) => settings,
        Err(error) => {
            let report = report::unusable(&observed, &error);
            report::write(tools, host, &observed, memory, report).await?;
            return Ok(Outcome::Wait(None));
        }
    };
    let catalog = read_catalog(&observed, memory);
    let decision = plan::decide(&observed, &settings, &catalog, memory);
    store(world, host, &observed, &catalog, &decision, memory).await?;
    tell(&tools.hub, host, &observed, &settings, &catalog, &decision, memory);
    let composed = report::compose(&observed, &settings, &catalog, &decision, memory);
    let reported = report::write(tools, host, &observed, memory, composed).await;
    let released = release::release(world, &observed, &catalog, &decision).await?;
    reported?;
    Ok(Outcome::Wait(decision.plan.next_deadline.into_iter().chain(released).min()))
}

/// Who requires whom is read from what runs; before anything does, from what is to run.
fn read_catalog(observed: &Observed, memory: &mut Memory) -> Catalog {
    let state = &memory.state;
    let sets = state.target.iter().chain(&state.stable).flatten();
    let running = catalog::nodes(sets, &memory.known);
    let catalog = catalog::catalog(&observed.view, &observed.values, &running);
    for candidate in catalog.entries.values().filter_map(|e| e.candidate.as_ref().ok()) {
        memory.known.entry(candidate.revision.id.clone()).or_insert_with(|| Arc::clone(&candidate.revision));
    }
    catalog
}

/// Another writer's rollout is taken up, and decided on anew.
async fn store(
    world: &dyn World,
    host: &HostKey,
    observed: &Observed,
    catalog: &Catalog,
    decision: &Decision,
    memory: &mut Memory,
) -> Result<(), WriteError> {
    let stored = persist::persist(world, host, &observed.view, catalog, memory, &decision.plan.state).await;
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
    let publications = publish::publications(observed, settings, catalog, decision, memory);
    memory.assigned.extend(decision.plan.assignments.iter().map(|(uid, a)| (uid.clone(), a.clone())));
    publish::publish(hub, host, observed, memory, &publications);
    let keep = fleet::panics(&decision.instances);
    observed.attached.iter().for_each(|instance| hub.keep_ready(host, &instance.uid, keep));
}

/// For a loop that begins: what is stored is the only truth.
pub async fn recall(world: &dyn World, host: &HostKey) -> Result<Memory, WriteError> {
    Ok(Memory { state: world.rollout(host).await?, ..Memory::default() })
}
