//! What is done about plugins that exceed their error threshold: stopped and shown as disabled, or reported.

use super::{Manager, ManagerError, Verdict, alert, plugin::Plugin, wave::retire};
use crate::slot::{Alarm, Incidents, Stage, Status};
use rockstar_core::assignment::{ErrorThreshold, ThresholdAction};
use std::sync::{Arc, Weak};
use tokio::{task::JoinSet, time::Instant};

/// Looks after alarms until the manager is gone, and ends what it began with itself.
pub(super) async fn guard(manager: Weak<Manager>, incidents: Arc<Incidents>) {
    let mut tasks = JoinSet::new();
    loop {
        incidents.exceeded().await;
        let Some(manager) = manager.upgrade() else { return };
        while tasks.try_join_next().is_some() {}
        for plugin in manager.all().into_values() {
            if let Some(alarm) = plugin.slot().record.threshold.take_alarm() {
                act(&manager, plugin, alarm, &mut tasks);
            }
        }
    }
}

fn act(manager: &Arc<Manager>, plugin: Arc<Plugin>, alarm: Alarm, tasks: &mut JoinSet<()>) {
    match alarm.rule.action {
        ThresholdAction::Log => {}
        ThresholdAction::Alert => {
            tasks.spawn(alert::post(plugin.name().to_owned(), alarm));
        }
        ThresholdAction::Disable => {
            let manager = Arc::clone(manager);
            tasks.spawn(async move { manager.disable(&plugin).await });
        }
    }
}

impl Manager {
    /// For one plugin, instead of what is configured.
    pub fn set_error_threshold(&self, name: &str, rule: ErrorThreshold) -> Result<(), ManagerError> {
        let plugin = self.plugin(name).ok_or_else(|| ManagerError::NotFound(name.to_owned()))?;
        plugin.slot().record.threshold.set(rule);
        Ok(())
    }

    /// Its process is stopped; what is known of it stays, and requests follow its failure policy until it is reloaded.
    async fn disable(&self, plugin: &Plugin) {
        let mut work = plugin.lock().await;
        let slot = plugin.slot();
        // A new version may have taken its place meanwhile.
        if !slot.record.threshold.is_tripped() {
            return;
        }
        work.watcher = None;
        if work.leave_probation() {
            let current: Vec<_> = plugin.current().iter().map(|target| (**target).clone()).collect();
            self.journal.ends(&current, Verdict::Undecided);
        }
        if let Some(running) = &work.running {
            running.instance().set_on_trial(false);
        }
        let policies = slot.policies();
        slot.hold(&policies.reload.queue);
        slot.drain(Instant::now() + policies.hook_timeout.min(policies.reload.drain_timeout)).await;
        slot.set_stage(Stage::Down);
        slot.update(|state| {
            state.enabled = false;
            state.status = Status::Error;
            state.disabled_by_threshold = true;
            "DisabledByErrorThreshold".clone_into(&mut state.reason);
        });
        slot.release();
        self.registry.touch();
        let name = plugin.name();
        tracing::info!(plugin = name, "Plugin {name} automatically disabled due to error threshold");
        if let Some(running) = work.running.take() {
            retire(plugin, running).await;
        }
    }
}
