//! Brings events to one plugin: one after another, let in by its gate, each with a timeout. Calls plugins.

use super::lost;
use crate::{
    ancestry::Line,
    instance::Instance,
    link::CallError,
    slot::{Caller, Outcome, Pass, Refusal, Slot},
};
use futures::future::join_all;
use rockstar_core::duration;
use rockstar_proto::plugin::{Call, Event, Reply, call, reply};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// Longer than any replacement of a version takes.
const FAR: Duration = Duration::from_secs(3600);

/// Why no handler took an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undelivered {
    #[error("the plugin does not run")]
    NotRunning,
    /// The handler's error; it is recorded already.
    #[error("{0}")]
    Failed(String),
}

/// Serves a plugin's inbox until it is empty. In process an event is delivered at most once.
pub(super) async fn run(slot: Arc<Slot>) {
    while let Some(event) = slot.inbox.take() {
        if deliver(&slot, &event).await == Err(Undelivered::NotRunning) {
            lost(&slot, slot.inbox.clear() + 1, "it does not run");
        }
    }
}

/// Calls the plugin's handlers of that event, once a version serves.
pub(super) async fn deliver(slot: &Arc<Slot>, event: &Event) -> Result<(), Undelivered> {
    loop {
        // Not in the queue of requests, whose rules are not for events.
        slot.until_open().await;
        match slot.enter(Caller::until(Instant::now() + FAR)).await {
            Ok(pass) => return handle(&pass, event).await,
            Err(Refusal::Down { .. } | Refusal::Unloaded) => return Err(Undelivered::NotRunning),
            Err(_) => {}
        }
    }
}

async fn handle(pass: &Pass, event: &Event) -> Result<(), Undelivered> {
    let registered = pass.instance().registrations();
    let handlers = registered.subscriptions.iter().filter(|s| s.event == event.name);
    let outcomes = join_all(handlers.map(|s| one(pass, &s.handler, event))).await;
    outcomes.into_iter().collect()
}

async fn one(pass: &Pass, handler: &str, event: &Event) -> Result<(), Undelivered> {
    let (slot, instance) = (pass.slot(), pass.instance());
    let limit = slot.policies().hook_timeout;
    let call = Call { handler: handler.to_owned(), call: Some(call::Call::Event(event.clone())), ..Call::default() };
    let line = Line::default();
    let _inside = line.enter(instance.generation());
    let reply = instance.link().call_for(&line, call, Instant::now() + limit).await;
    if matches!(reply, Err(CallError::Unreachable(_))) {
        // Later events wait for the version before, should it come back.
        slot.lost(pass);
    }
    let outcome = understood(&event.name, reply, limit);
    slot.traffic.handled(outcome.is_ok());
    tell(slot, instance, &event.name, outcome.as_ref().err());
    outcome.map_err(Undelivered::Failed)
}

fn understood(event: &str, reply: Result<Reply, CallError>, limit: Duration) -> Result<(), String> {
    match reply.map(|r| r.reply) {
        Ok(Some(reply::Reply::Failure(failure))) => Err(failure.text),
        Ok(_) => Ok(()),
        Err(CallError::Timeout) => {
            let limit = duration::format(limit);
            Err(format!("event handler timeout: handler of {event} exceeded {limit} timeout"))
        }
        Err(error) => Err(error.to_string()),
    }
}

fn tell(slot: &Slot, instance: &Instance, event: &str, error: Option<&String>) {
    let plugin = slot.name();
    slot.record.call(error.map_or(Outcome::Success, |text| Outcome::Error(text)));
    match error {
        Some(error) => {
            tracing::error!(plugin, event, "Event handler failed: {plugin} {event}: {error}");
        }
        None => instance.debug(&format!("Event received: {event}")),
    }
}
