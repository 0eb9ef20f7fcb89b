//! One call of a plugin for an exchange: with a timeout, counted, and its failure turned into what it means for the
//! exchange. Calls plugins.

use super::{
    Pipeline,
    exchange::Exchange,
    point::{Moment, Point},
    transfer::upload_of,
    verdict::{self, Refused},
};
use crate::{
    link::CallError,
    slot::{Outcome, Pass, Refusal, Slot, Turn},
};
use parking_lot::Mutex;
use rockstar_core::{duration, manifest::HookType};
use rockstar_proto::{
    plugin::{Call, Reply, reply},
    types::{Failure, failure::Class},
};
use std::{
    collections::HashMap,
    future::Future,
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};
use tokio::time::Instant;

/// A hook should cost less than 1 ms.
const SLOW: Duration = Duration::from_millis(10);
const SLOW_LOG: Duration = Duration::from_secs(10);

/// The process of a version on trial is gone; the version before it comes back.
pub(super) struct Lost;

impl Pipeline {
    /// None: it failed, and the exchange knows what of it.
    pub(super) async fn call(
        &self,
        point: Point<'_>,
        pass: &Pass,
        call: Call,
        exchange: &mut Exchange,
    ) -> Result<Option<reply::Reply>, Lost> {
        let slot = pass.slot();
        let began = Instant::now();
        let deadline = exchange.deadline.min(began + slot.policies().hook_timeout);
        let inside = exchange.enter(pass.instance().generation());
        let (link, line) = (pass.instance().link(), exchange.line());
        let reply = match upload_of(&call) {
            None => in_turn(pass.turn(), pin!(link.call_for(line, call, deadline))).await,
            Some(id) => {
                let limit = slot.policies().hook_timeout;
                // Seldom, and large.
                in_turn(pass.turn(), Box::pin(self.transfers.call(link, line, call, id, limit)).as_mut()).await
            }
        };
        drop(inside);
        match reply {
            Err(CallError::TooLarge(_)) => {
                // The exchange's own fault, not the plugin's.
                exchange.fail(point.moment(), verdict::too_large(point.moment()));
                return Ok(None);
            }
            Err(error @ (CallError::Busy | CallError::Client(_))) => {
                // Nor is this.
                exchange.fail(point.moment(), verdict::no_body(&error));
                return Ok(None);
            }
            Err(CallError::Unreachable(_)) if slot.lost(pass) => return Err(Lost),
            _ => {}
        }
        let took = began.elapsed();
        if point.moment() != Moment::Handler {
            self.slow.note(slot, point, took);
        }
        match understood(point, reply, deadline - began) {
            Ok(mut reply) => {
                exchange.offered(self.transfers.adopt(&mut reply, pass));
                count(point, slot, took, Outcome::Success);
                Ok(Some(reply))
            }
            Err((class, text)) => {
                count(point, slot, took, Outcome::Error(&text));
                failed(point, slot, class, text, exchange);
                Ok(None)
            }
        }
    }
}

/// Those behind in the queue go on once this call is in line for the plugin.
async fn in_turn<T>(turn: Turn, mut call: Pin<&mut impl Future<Output = T>>) -> T {
    if turn.is_one() {
        let first = futures::poll!(call.as_mut());
        drop(turn);
        if let Poll::Ready(reply) = first {
            return reply;
        }
    }
    call.await
}

fn understood(
    point: Point<'_>,
    reply: Result<Reply, CallError>,
    limit: Duration,
) -> Result<reply::Reply, (Class, String)> {
    use reply::Reply::{Answer, Change, Failure, Next};
    match reply.map(|r| r.reply) {
        Ok(Some(Failure(failure))) => Err((failure.class(), failure.text)),
        Ok(Some(reply @ (Change(_) | Answer(_)))) => Ok(reply),
        Ok(Some(next @ Next(_))) if matches!(point, Point::Enter(_)) => Ok(next),
        Ok(Some(Next(_))) => Err((Class::Protocol, format!("plugin broke the protocol: next from {point}"))),
        Ok(_) => Err((Class::Protocol, format!("plugin broke the protocol: no answer from {point}"))),
        Err(error) => Err(verdict::no_reply(point, &error, limit)),
    }
}

fn count(point: Point<'_>, slot: &Slot, took: Duration, outcome: Outcome<'_>) {
    match (point, outcome) {
        (Point::Hook(kind), outcome) => slot.record.hook(kind, took, outcome),
        (_, outcome) => slot.record.call(outcome),
    }
}

fn failed(point: Point<'_>, slot: &Slot, class: Class, text: String, exchange: &mut Exchange) {
    let (plugin, id) = (slot.name(), exchange.id());
    match point {
        Point::Hook(kind) => {
            tracing::error!(plugin, hook = %kind, exchange = id, "Hook failed: {plugin} {kind}: {text}")
        }
        _ => tracing::error!(plugin, stage = %point, exchange = id, "Call failed: {plugin} {point}: {text}"),
    }
    let failure = failure(point, slot, class, text);
    if let Some(refused) = verdict::after_failure(point.moment(), slot.policies().failure_policy, &failure) {
        exchange.fail(point.moment(), refused);
    }
    tell(point, failure, exchange);
}

/// The gate did not let the exchange in.
pub(super) fn refused(point: Point<'_>, slot: &Slot, refusal: &Refusal, exchange: &mut Exchange) {
    if let Some(refused) = verdict::after_refusal(point.moment(), slot.policies().failure_policy, refusal) {
        exchange.fail(point.moment(), refused);
    }
    tell(point, failure(point, slot, Class::Unreachable, refusal.to_string()), exchange);
}

pub(super) fn failure(point: Point<'_>, slot: &Slot, class: Class, text: String) -> Failure {
    Failure { class: class.into(), plugin: slot.name().into(), stage: point.to_string(), text }
}

/// Error hooks hear of it, except of their own failures.
pub(super) fn tell(point: Point<'_>, failure: Failure, exchange: &mut Exchange) {
    if point != Point::Hook(HookType::Error) {
        exchange.failures.push(failure);
    }
}

/// The time for the plugins is over before all were asked.
pub(super) fn late(exchange: &mut Exchange) {
    exchange.refuse(Refused::unavailable("request timeout: the plugins took longer than the request may take", 1));
}

/// Warns of slow hooks, but not for each request anew.
#[derive(Debug, Default)]
pub(super) struct SlowLog(Mutex<HashMap<(String, String), Instant>>);

impl SlowLog {
    fn note(&self, slot: &Slot, point: Point<'_>, took: Duration) {
        if took > SLOW && self.is_due(slot.name(), point, Instant::now()) {
            let took = duration::format(took);
            tracing::warn!(plugin = slot.name(), hook = %point, "Slow hook: {took} ({} {point})", slot.name());
        }
    }

    fn is_due(&self, plugin: &str, point: Point<'_>, now: Instant) -> bool {
        let mut last = self.0.lock();
        let key = (plugin.to_owned(), point.to_string());
        let due = last.get(&key).is_none_or(|at| now.duration_since(*at) >= SLOW_LOG);
        if due {
            last.retain(|_, at| now.duration_since(*at) < SLOW_LOG);
            last.insert(key, now);
        }
        due
    }
}
