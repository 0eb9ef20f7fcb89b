//! Taking a plugin out, in the reference's six steps.

use super::{Manager, plugin::Plugin};
use crate::{
    running::Running,
    slot::{Stage, State},
};
use std::sync::Arc;

impl Manager {
    /// Steps 1 to 5: Stop; hooks, subscriptions and middleware go; Cleanup. Errors never interrupt it; the last one is given.
    pub(super) async fn dismantle(&self, plugin: &Plugin, mut running: Running) -> Result<(), String> {
        let slot = plugin.slot();
        let patience = slot.policies().stop_timeout;
        let stopped = running.stop(patience).await;
        // What was registered belongs to the instance, and leaves callers' sight with it.
        slot.set_stage(Stage::Retired);
        slot.set_current(None);
        self.registry.touch();
        slot.release();
        let cleaned = running.finish(patience).await;
        for error in [&stopped, &cleaned].into_iter().filter_map(|r| r.as_ref().err()) {
            slot.record.error(error);
            tracing::error!(plugin = plugin.name(), "Plugin {}: {error}", plugin.name());
        }
        stopped.and(cleaned)
    }

    /// Step 6: out of the registry.
    pub(super) fn forget(&self, plugin: &Arc<Plugin>) {
        plugin.slot().set_stage(Stage::Retired);
        plugin.slot().set_current(None);
        plugin.set_current(None);
        plugin.slot().update(|state| *state = State::default());
        plugin.slot().release();
        self.plugins.lock().retain(|_, known| !Arc::ptr_eq(known, plugin));
        self.launcher.store.forget(plugin.name());
        self.publish();
        tracing::info!(plugin = plugin.name(), "Plugin {} unloaded", plugin.name());
    }
}
