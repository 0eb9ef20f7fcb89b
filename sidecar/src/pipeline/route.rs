//! The handler of an exchange whose path a plugin serves itself. Calls plugins.

use super::{
    Pipeline,
    call::{self, Lost},
    exchange::Exchange,
    point::{Moment, Point},
    table::RouteEntry,
    verdict,
};
use crate::{
    instance::{Instance, Route},
    slot::{Pass, Refusal},
};
use rockstar_proto::types::{PathParameter, failure::Class};
use std::sync::Arc;

impl Pipeline {
    /// True: a plugin was the handler, and its response, or that of its failure, is in the exchange.
    pub(super) async fn route(&self, exchange: &mut Exchange) -> bool {
        let table = self.table();
        let Some((entry, parameters)) = table.route(exchange.method(), exchange.normal_path()) else { return false };
        if !exchange.has_body(entry.route.body) && exchange.announces_body() {
            exchange.fail(Moment::Handler, verdict::body_too_large());
            return true;
        }
        match self.served(entry, &parameters, exchange).await {
            Ok(served) => served,
            // Only what changes nothing is asked again.
            Err(Lost) if matches!(exchange.method(), "GET" | "HEAD" | "OPTIONS") => {
                let again = self.served(entry, &parameters, exchange).await;
                again.unwrap_or_else(|Lost| lost(entry, exchange))
            }
            Err(Lost) => lost(entry, exchange),
        }
    }

    async fn served(
        &self,
        entry: &RouteEntry,
        parameters: &[PathParameter],
        exchange: &mut Exchange,
    ) -> Result<bool, Lost> {
        let name = name(&entry.route);
        let point = Point::Route(&name);
        let pass = match entry.slot.enter_in_turn(exchange.caller(&entry.slot)).await {
            Ok(pass) => pass,
            Err(Refusal::Unloaded) => return Ok(false),
            Err(refusal) => {
                call::refused(point, &entry.slot, &refusal, exchange);
                return Ok(true);
            }
        };
        // A new version may not serve it any more.
        let Some(route) = current(entry, &pass) else { return Ok(false) };
        let call = exchange.route_call(&route.handler, route.body, parameters.to_vec());
        if let Some(reply) = self.call(point, &pass, call, exchange).await? {
            exchange.take(point, entry.slot.name(), reply);
        }
        Ok(true)
    }
}

fn current(entry: &RouteEntry, pass: &Pass) -> Option<Route> {
    let instance: &Arc<Instance> = pass.instance();
    if instance.generation() == entry.generation {
        return Some(entry.route.clone());
    }
    let is_same = |route: &&Route| route.method == entry.route.method && route.pattern == entry.route.pattern;
    instance.registrations().routes.iter().find(is_same).cloned()
}

fn lost(entry: &RouteEntry, exchange: &mut Exchange) -> bool {
    let name = name(&entry.route);
    let point = Point::Route(&name);
    let text = "plugin process ended while it handled the request".to_owned();
    let failure = call::failure(point, &entry.slot, Class::Unreachable, text);
    if let Some(refused) = verdict::after_failure(Moment::Handler, entry.slot.policies().failure_policy, &failure) {
        exchange.fail(Moment::Handler, refused);
    }
    call::tell(point, failure, exchange);
    true
}

fn name(route: &Route) -> String {
    format!("{} {}", route.method, route.pattern)
}
