//! One hook type's hooks, in their order, for one exchange: each let in by its plugin's gate, each with a timeout, each
//! isolated from the others. Calls plugins.

use super::{
    Pipeline,
    exchange::Exchange,
    table::Entry,
    verdict::{self, Refused},
};
use crate::{
    instance::Hook,
    link::CallError,
    slot::{Caller, Outcome, Pass, Refusal, Slot},
};
use parking_lot::Mutex;
use rockstar_core::{duration, manifest::HookType};
use rockstar_proto::{
    plugin::{Reply, reply},
    types::{Failure, failure::Class},
};
use std::{cmp::Reverse, collections::HashMap, time::Duration};
use tokio::time::Instant;

/// A hook should cost less than 1 ms.
const SLOW: Duration = Duration::from_millis(10);
const SLOW_LOG: Duration = Duration::from_secs(10);

impl Pipeline {
    /// Runs the hooks of that type. What they decide, and what fails, is kept in the exchange.
    pub(super) async fn phase(&self, kind: HookType, exchange: &mut Exchange) {
        let table = self.table();
        // Plugins whose version changed since the table was made, and whose hooks have all run.
        let mut moved: Vec<&str> = Vec::new();
        for entry in table.of(kind) {
            if kind == HookType::PreRequest && exchange.answered {
                break;
            }
            if exchange.is_late() {
                late(kind, exchange);
                break;
            }
            if self.entry(kind, entry, exchange, &moved).await {
                moved.push(entry.slot.name());
            }
        }
    }

    /// True: all hooks of that plugin have run.
    async fn entry(&self, kind: HookType, entry: &Entry, exchange: &mut Exchange, moved: &[&str]) -> bool {
        let mut retried = false;
        loop {
            let pass = match entry.slot.enter(Caller::until(exchange.deadline)).await {
                Ok(pass) => pass,
                Err(refusal) => {
                    refused(kind, &entry.slot, &refusal, exchange);
                    return false;
                }
            };
            let same = pass.instance().generation() == entry.generation;
            if !same && moved.contains(&entry.slot.name()) {
                return false;
            }
            let hooks = if same { vec![entry.hook.clone()] } else { hooks_of(&pass, kind) };
            match self.hooks(kind, &pass, &hooks, exchange).await {
                Err(Lost) if !retried => retried = true,
                _ => return !same,
            }
        }
    }

    /// The hooks of one plugin; ends early if the plugin is gone and its version before comes back.
    async fn hooks(&self, kind: HookType, pass: &Pass, hooks: &[Hook], exchange: &mut Exchange) -> Result<(), Lost> {
        for hook in hooks {
            self.hook(kind, pass, hook, exchange).await?;
            if kind == HookType::PreRequest && exchange.answered {
                break;
            }
        }
        Ok(())
    }

    async fn hook(&self, kind: HookType, pass: &Pass, hook: &Hook, exchange: &mut Exchange) -> Result<(), Lost> {
        let slot = pass.slot();
        let began = Instant::now();
        let deadline = exchange.deadline.min(began + slot.policies().hook_timeout);
        let call = exchange.call(kind, &hook.handler, hook.body);
        let reply = pass.instance().link().call(call, deadline).await;
        match reply {
            Err(CallError::TooLarge(_)) => {
                // The exchange's own fault, not the plugin's.
                exchange.refuse(verdict::too_large(kind));
                return Ok(());
            }
            Err(CallError::Unreachable(_)) if slot.lost(pass) => return Err(Lost),
            _ => {}
        }
        let took = began.elapsed();
        self.slow.note(slot, kind, took);
        match understood(kind, reply, &duration::format(deadline - began)) {
            Ok(reply) => {
                slot.record.hook(kind, took, Outcome::Success);
                exchange.take(kind, slot.name(), reply);
            }
            Err((class, text)) => {
                slot.record.hook(kind, took, Outcome::Error(&text));
                failed(kind, slot, class, text, exchange);
            }
        }
        Ok(())
    }
}

/// The process of a version on trial is gone; the version before it comes back.
struct Lost;

fn hooks_of(pass: &Pass, kind: HookType) -> Vec<Hook> {
    let mut hooks: Vec<_> =
        pass.instance().registrations().hooks.iter().filter(|hook| hook.kind == kind).cloned().collect();
    hooks.sort_by_key(|hook| (Reverse(hook.priority), hook.order));
    hooks
}

fn understood(kind: HookType, reply: Result<Reply, CallError>, limit: &str) -> Result<reply::Reply, (Class, String)> {
    match reply.map(|r| r.reply) {
        Ok(Some(reply::Reply::Failure(failure))) => Err((failure.class(), failure.text)),
        Ok(Some(reply @ (reply::Reply::Change(_) | reply::Reply::Answer(_)))) => Ok(reply),
        Ok(_) => Err((Class::Protocol, format!("plugin broke the protocol: no answer to a {kind} hook"))),
        Err(error) => Err(verdict::no_reply(kind, &error, limit)),
    }
}

fn failed(kind: HookType, slot: &Slot, class: Class, text: String, exchange: &mut Exchange) {
    let (plugin, id) = (slot.name(), &exchange.id);
    tracing::error!(plugin, hook = %kind, exchange = id, "Hook failed: {plugin} {kind}: {text}");
    let failure = Failure { class: class.into(), plugin: plugin.into(), stage: kind.name().into(), text };
    if let Some(refused) = verdict::after_failure(kind, slot.policies().failure_policy, &failure) {
        exchange.refuse(refused);
    }
    tell(kind, failure, exchange);
}

fn refused(kind: HookType, slot: &Slot, refusal: &Refusal, exchange: &mut Exchange) {
    if let Some(refused) = verdict::after_refusal(kind, slot.policies().failure_policy, refusal) {
        exchange.refuse(refused);
    }
    let failure = Failure {
        class: Class::Unreachable.into(),
        plugin: slot.name().into(),
        stage: kind.name().into(),
        text: refusal.to_string(),
    };
    tell(kind, failure, exchange);
}

/// Error hooks hear of it, except of their own failures.
fn tell(kind: HookType, failure: Failure, exchange: &mut Exchange) {
    if kind != HookType::Error {
        exchange.failures.push(failure);
    }
}

fn late(kind: HookType, exchange: &mut Exchange) {
    if matches!(kind, HookType::PreRequest | HookType::PostRequest | HookType::PreResponse) {
        exchange.refuse(Refused::unavailable("request timeout: the plugins took longer than the request may take", 1));
    }
}

/// Warns of slow hooks, but not for each request anew.
#[derive(Debug, Default)]
pub(super) struct SlowLog(Mutex<HashMap<(String, HookType), Instant>>);

impl SlowLog {
    fn note(&self, slot: &Slot, kind: HookType, took: Duration) {
        if took > SLOW && self.is_due(slot.name(), kind, Instant::now()) {
            let took = duration::format(took);
            tracing::warn!(plugin = slot.name(), hook = %kind, "Slow hook: {took} ({} {kind})", slot.name());
        }
    }

    fn is_due(&self, plugin: &str, kind: HookType, now: Instant) -> bool {
        let mut last = self.0.lock();
        let due = last.get(&(plugin.to_owned(), kind)).is_none_or(|at| now.duration_since(*at) >= SLOW_LOG);
        if due {
            last.retain(|_, at| now.duration_since(*at) < SLOW_LOG);
            last.insert((plugin.to_owned(), kind), now);
        }
        due
    }
}
