//! What the framework offers to all plugins of this sidecar: the registry, and the services behind the plugin context.
//! Made once, shared by every context. Memory only; the parts do their own I/O.

use crate::{backends::Backends, registry::Registry};
use std::sync::Arc;

#[derive(Debug)]
pub struct Framework {
    pub registry: Arc<Registry>,
    pub backends: Backends,
}
