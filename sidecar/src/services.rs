//! Services that plugins export to each other and to the application: found in the registry, called through the
//! exporter's gate, so that a handle outlives the version that it was made for. Calls plugins.

mod error;

pub use error::ServiceError;

use crate::{
    ancestry::Line,
    instance::{Instance, Service},
    link::CallError,
    registry::Registry,
    slot::{Caller, Outcome, Slot},
};
use bytes::Bytes;
use rockstar_core::duration;
use rockstar_proto::plugin::{Call, Invocation, Reply, call, reply};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// Waiting at a gate ends by the queue's own rules, long before.
const FAR: Duration = Duration::from_secs(600);

/// Who calls.
#[derive(Clone, Copy, Debug)]
pub enum Client<'a> {
    Application,
    /// With the line of the call on whose behalf it calls.
    Plugin(&'a Slot, &'a Instance, &'a Line),
}

/// A service that can be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    pub plugin: String,
    pub service: String,
    pub description: String,
}

/// All services of plugins that run, in load order.
#[must_use]
pub fn list(registry: &Registry) -> Vec<Offer> {
    let slots = registry.slots();
    let running = slots.values().filter(|slot| is_there(slot));
    let offers = running.filter_map(|slot| Some((slot.name().to_owned(), slot.current()?.registrations())));
    let of = |(plugin, registered): (String, Arc<_>)| {
        let offer =
            |s: &Service| Offer { plugin: plugin.clone(), service: s.name.clone(), description: s.description.clone() };
        let registered: &crate::instance::Registrations = &registered;
        registered.services.iter().map(offer).collect::<Vec<_>>()
    };
    offers.flat_map(of).collect()
}

/// Says whether the service can be called now, or will be once its plugin's new version serves.
pub fn find(registry: &Registry, client: Client<'_>, plugin: &str, service: &str) -> Result<(), ServiceError> {
    let missing = || ServiceError::NotFound { plugin: plugin.to_owned(), service: service.to_owned() };
    let slot = registry.get(plugin).ok_or_else(missing)?;
    let instance = match client.passes_by(&slot) {
        true => ready(&slot),
        false => slot.current().filter(|_| is_there(&slot)),
    };
    instance.filter(|i| handler(i, service).is_some()).map(drop).ok_or_else(missing)
}

/// Calls a method. While the exporter is being replaced, the call waits, and the caller's own time stands still.
pub async fn invoke(registry: &Registry, client: Client<'_>, wanted: &Invocation) -> Result<Bytes, ServiceError> {
    let missing = || ServiceError::NotFound { plugin: wanted.plugin.clone(), service: wanted.service.clone() };
    let slot = registry.get(&wanted.plugin).ok_or_else(missing)?;
    if client.passes_by(&slot) {
        let instance = ready(&slot).ok_or_else(missing)?;
        return call(&slot, &instance, client, wanted).await;
    }
    let mut retried = false;
    loop {
        let pass = client.enter(&slot).await.map_err(|refusal| ServiceError::refused(wanted, refusal))?;
        match call(&slot, pass.instance(), client, wanted).await {
            // The version before comes back.
            Err(ServiceError::Call { error: CallError::Unreachable(_), .. }) if slot.lost(&pass) && !retried => {
                retried = true;
            }
            outcome => return outcome,
        }
    }
}

/// As the wire says it.
#[must_use]
pub fn reply(outcome: Result<Bytes, ServiceError>) -> reply::Reply {
    match outcome {
        Ok(result) => reply::Reply::Result(result),
        Err(error) => reply::Reply::Failure(error.failure()),
    }
}

impl Client<'_> {
    /// A plugin that starts or stops may call what started before it, or stops after it, while the application may not:
    /// both move together, and waiting at the gate would never end.
    fn passes_by(self, target: &Slot) -> bool {
        match self {
            Self::Application => false,
            Self::Plugin(slot, instance, _) => {
                let serves =
                    slot.is_serving() && slot.current().is_some_and(|i| i.generation() == instance.generation());
                !serves && (target.is_held() || !target.is_serving())
            }
        }
    }

    async fn enter(self, target: &Arc<Slot>) -> Result<crate::slot::Pass, crate::slot::Refusal> {
        let deadline = Instant::now() + FAR;
        match self {
            Self::Application => target.enter(Caller::until(deadline)).await,
            Self::Plugin(_, instance, line) => {
                let _waits = instance.link().waits();
                let own = instance.generation();
                let inside = target.current().map(|current| current.generation());
                let inside = inside.filter(|target| *target == own || line.is_inside(*target));
                target.enter(Caller { deadline, inside }).await
            }
        }
    }

    /// Of its call.
    fn line(self) -> Line {
        match self {
            Self::Application => Line::default(),
            Self::Plugin(_, _, line) => line.child(),
        }
    }
}

/// It runs, or is being replaced.
fn is_there(slot: &Slot) -> bool {
    slot.is_serving() || slot.is_held()
}

/// The version that has started, whether or not it is in front of the application.
fn ready(slot: &Slot) -> Option<Arc<Instance>> {
    let serving = || slot.current().filter(|_| slot.is_serving());
    slot.started().or_else(serving).filter(|i| !i.link().is_down())
}

fn handler(instance: &Instance, service: &str) -> Option<String> {
    instance.registrations().services.iter().find(|s| s.name == service).map(|s| s.handler.clone())
}

/// Calls the service, and counts the outcome.
async fn call(
    slot: &Slot,
    instance: &Instance,
    client: Client<'_>,
    wanted: &Invocation,
) -> Result<Bytes, ServiceError> {
    let line = client.line();
    let Some(handler) = handler(instance, &wanted.service) else {
        return Err(ServiceError::NotFound { plugin: wanted.plugin.clone(), service: wanted.service.clone() });
    };
    let limit = slot.policies().hook_timeout;
    let invocation = call::Call::Invoke(wanted.clone());
    let call = Call { handler, call: Some(invocation), ..Call::default() };
    let _inside = line.enter(instance.generation());
    let reply = instance.link().call_for(&line, call, Instant::now() + limit).await;
    let outcome = understood(wanted, reply, limit);
    slot.traffic.called(&wanted.service, outcome.is_ok());
    record(slot, instance, client, wanted, outcome.as_ref().err());
    outcome
}

fn understood(wanted: &Invocation, reply: Result<Reply, CallError>, limit: Duration) -> Result<Bytes, ServiceError> {
    match reply.map(|r| r.reply) {
        Ok(Some(reply::Reply::Result(result))) => Ok(result),
        Ok(Some(reply::Reply::Failure(failure))) => Err(ServiceError::returned(wanted, failure)),
        Ok(_) => Err(ServiceError::call(wanted, CallError::Protocol("no result of a service call".to_owned()), limit)),
        Err(error) => Err(ServiceError::call(wanted, error, limit)),
    }
}

/// Counts an error for whoever can do something about it: what a plugin asks for, and is refused or not answered in time,
/// is that plugin's. It could get another one disabled otherwise.
fn record(slot: &Slot, instance: &Instance, client: Client<'_>, wanted: &Invocation, error: Option<&ServiceError>) {
    let Invocation { service, method, .. } = wanted;
    match error {
        // The caller's own fault, and told to it.
        Some(ServiceError::Call { error: CallError::TooLarge(_), .. }) => {}
        Some(error) => {
            let blamed = match client {
                Client::Plugin(caller, ..) if error.is_callers() => caller,
                _ => slot,
            };
            blamed.record.call(Outcome::Error(&error.to_string()));
            let plugin = blamed.name();
            tracing::error!(
                plugin,
                service,
                method,
                "Service call failed: {} {service}.{method}: {error}",
                slot.name()
            );
        }
        None => {
            slot.record.call(Outcome::Success);
            instance.debug(&format!("Service called: {service}.{method}"));
        }
    }
}

/// How long a call may take, in words.
fn limited(limit: Duration) -> String {
    duration::format(limit)
}
