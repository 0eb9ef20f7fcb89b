//! First step: everything that a pass decides on, taken at one moment. I/O: reads of values; the rest is in memory.

use super::catalog;
use crate::{
    control::{Attached, Hub},
    host::HostKey,
    world::{Values, View, World},
};

/// One moment of a host.
#[derive(Clone, Debug)]
pub struct Observed {
    pub view: View,
    pub attached: Vec<Attached>,
    pub values: Values,
    /// Milliseconds since the epoch.
    pub now: i64,
}

/// None: there is no such host.
pub async fn observe(world: &dyn World, hub: &Hub, host: &HostKey) -> Option<Observed> {
    let view = world.view(host)?;
    let references = catalog::references(&view);
    let values = if references.is_empty() { Values::new() } else { world.values(&host.namespace, &references).await };
    Some(Observed { view, attached: hub.attached(host), values, now: now() })
}

fn now() -> i64 {
    k8s_openapi::jiff::Timestamp::now().as_millisecond()
}
