//! What the framework offers to all plugins of this sidecar: the registry, and the services behind the plugin context.
//! Made once, shared by every context. Memory only; the parts do their own I/O.

mod routes;

pub use routes::RouteBook;

use crate::{backends::Backends, bus::Bus, registry::Registry};
use std::sync::Arc;

#[derive(Debug)]
pub struct Framework {
    pub registry: Arc<Registry>,
    pub routes: RouteBook,
    pub bus: Arc<Bus>,
    pub backends: Backends,
}
