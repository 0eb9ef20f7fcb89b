//! Who serves which route, also while nothing of it is in force yet: a route belongs to one plugin. Memory only.

use crate::{
    bounds::MAX_INTEREST_BYTES,
    context::check_room,
    instance::{Instance, Route},
    pipeline::routes::Routes,
};
use parking_lot::Mutex;
use std::sync::{Arc, Weak};

/// The processes that registered anything.
#[derive(Debug, Default)]
pub struct RouteBook(Mutex<Vec<Weak<Instance>>>);

impl RouteBook {
    /// Gives the route to that process, unless another plugin or the process itself has it. Gives what
    /// `Instance::edit` does.
    pub(crate) fn claim(&self, instance: &Arc<Instance>, route: Route) -> Result<bool, String> {
        let mut holders = self.0.lock();
        holders.retain(|holder| holder.strong_count() > 0);
        let mut taken = Routes::default();
        for holder in holders.iter().filter_map(Weak::upgrade).filter(|holder| rivals(holder, instance)) {
            for route in holder.routes() {
                // They were taken one after another.
                taken.insert(&route.method, &route.pattern, ()).ok();
            }
        }
        taken.insert(&route.method, &route.pattern, ()).map_err(|error| error.to_string())?;
        let in_force = instance.edit(|registrations| {
            registrations.routes.push(route);
            check_room(registrations)
        })?;
        Ok(in_force)
    }

    /// Refuses what would make the interests of all plugins more than an application is told.
    pub(crate) fn has_room(&self, instance: &Arc<Instance>, added: usize) -> Result<(), String> {
        let mut holders = self.0.lock();
        holders.retain(|holder| holder.strong_count() > 0);
        if !holders.iter().any(|holder| holder.as_ptr() == Arc::as_ptr(instance)) {
            holders.push(Arc::downgrade(instance));
        }
        let counted = holders.iter().filter_map(Weak::upgrade).filter(|holder| rivals(holder, instance));
        let bytes: usize = counted.map(|holder| holder.interest_bytes()).sum();
        match bytes + added > MAX_INTEREST_BYTES {
            true => {
                Err(format!("route patterns are too large: those of all plugins may have {MAX_INTEREST_BYTES} bytes"))
            }
            false => Ok(()),
        }
    }
}

/// A plugin's other version gives way to this one; so does what has ended.
fn rivals(holder: &Instance, instance: &Instance) -> bool {
    let other = holder.plugin() != instance.plugin() && !holder.link().is_down();
    other || holder.generation() == instance.generation()
}
