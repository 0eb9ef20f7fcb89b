//! Middleware on its way out: its second half, in reverse order, with the handler's response; or none, if there is no
//! response. Calls plugins.

use super::{Pipeline, call::Lost, exchange::Exchange, point::Point, verdict};
use crate::{
    ancestry::Inside,
    instance::{Instance, Middleware},
    slot::{self, Pass, Slot},
};
use bytes::Bytes;
use rockstar_proto::types::failure::Class;
use std::sync::Arc;

const REPLACED: &str = "plugin was replaced while the request was in its handler";

/// Middleware that waits for the handler. While it does, its version is not stopped, up to the drain timeout.
#[derive(Debug)]
pub(super) struct Parked {
    at: slot::Parked,
    middleware: Middleware,
    state: Bytes,
    _inside: Inside,
}

impl Parked {
    pub(super) fn new(pass: &Pass, middleware: Middleware, state: Bytes, exchange: &Exchange) -> Self {
        let inside = exchange.enter(pass.instance().generation());
        Self { at: pass.park(), middleware, state, _inside: inside }
    }

    pub(super) const fn wants_body(&self) -> bool {
        self.middleware.body
    }

    /// What is called to come out: of another version only if it can know what this one left in its state.
    fn heir(&self, instance: &Instance) -> Option<Middleware> {
        if instance.generation() == self.at.generation() {
            return Some(self.middleware.clone());
        }
        let registrations = instance.registrations();
        let same = registrations.middleware.iter().find(|m| m.name == self.middleware.name);
        same.filter(|m| !m.request_only && !self.state.is_empty()).cloned()
    }
}

impl Pipeline {
    /// All middleware out, the innermost first.
    pub(super) async fn outward(&self, exchange: &mut Exchange) {
        while let Some(parked) = exchange.parked.pop() {
            if exchange.is_late() {
                super::call::late(exchange);
                exchange.parked.push(parked);
                return self.abandon(exchange).await;
            }
            self.leave(&parked, exchange).await;
        }
    }

    async fn leave(&self, parked: &Parked, exchange: &mut Exchange) {
        let (slot, point) = (parked.at.slot(), Point::Leave(&parked.middleware.name));
        let pass = match slot.enter_in_turn(exchange.caller(slot)).await {
            Ok(pass) => pass,
            Err(refusal) => return super::call::refused(point, slot, &refusal, exchange),
        };
        let Some(heir) = parked.heir(pass.instance()) else {
            return replaced(point, slot, exchange);
        };
        let call = exchange.leave_call(&heir.handler, heir.body, parked.state.clone(), false);
        match self.call(point, &pass, call, exchange).await {
            Ok(Some(reply)) => exchange.take(point, slot.name(), reply),
            Ok(None) => {}
            Err(Lost) => replaced(point, slot, exchange),
        }
    }

    /// There will be no response. What middleware says to that is of no use to anybody.
    pub(super) async fn abandon(&self, exchange: &mut Exchange) {
        while let Some(parked) = exchange.parked.pop() {
            let slot = parked.at.slot();
            let Ok(pass) = slot.enter(exchange.caller(slot)).await else { continue };
            if let Some(heir) = parked.heir(pass.instance()) {
                let call = exchange.leave_call(&heir.handler, false, parked.state.clone(), true);
                let deadline = exchange.deadline.min(tokio::time::Instant::now() + slot.policies().hook_timeout);
                if let Err(error) = pass.instance().link().call(call, deadline).await {
                    tracing::debug!(plugin = slot.name(), "middleware did not hear of its exchange's end: {error}");
                }
            }
        }
    }
}

/// Nobody is left who could come out: not an error of the plugin's, but it did not see the response.
fn replaced(point: Point<'_>, slot: &Arc<Slot>, exchange: &mut Exchange) {
    let failure = super::call::failure(point, slot, Class::Unreachable, REPLACED.into());
    if let Some(refused) = verdict::after_failure(point.moment(), slot.policies().failure_policy, &failure) {
        exchange.fail(point.moment(), refused);
    }
    super::call::tell(point, failure, exchange);
}
