//! First step: everything that a pass decides on, taken at one moment. I/O: reads of values; the rest is in memory.

use super::{catalog, clock::Clock};
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

impl Observed {
    /// Returns namespace and name of the PluginHost's object, as snapshots say them. None: it is not there.
    #[must_use]
    pub fn host_name(&self) -> Option<String> {
        let meta = &self.view.host.as_ref()?.metadata;
        let part = |part: &Option<String>| part.clone().unwrap_or_default();
        Some(format!("{}/{}", part(&meta.namespace), part(&meta.name)))
    }

    /// Returns the uid of the PluginHost's object; empty if it is not there.
    #[must_use]
    pub fn host_uid(&self) -> &str {
        self.view.host.as_ref().and_then(|host| host.metadata.uid.as_deref()).unwrap_or_default()
    }
}

/// None: there is no such host, and nothing that belongs to it.
pub async fn observe(world: &dyn World, hub: &Hub, clock: &Clock, host: &HostKey) -> Option<Observed> {
    let view = world.view(host)?;
    let references = catalog::references(&view);
    let values = if references.is_empty() { Values::new() } else { world.values(&host.namespace, &references).await };
    Some(Observed { view, attached: hub.attached(host), values, now: clock.now() })
}
