//! What is done about processes that end or hang by themselves: in the grace period the group goes back, later the
//! same version is started again, with growing pauses and a budget.

use super::{
    Manager,
    plugin::{Plugin, Work},
    serve::Entry,
    trial::Trial,
};
use crate::{
    failure::{Class, Failure, Step},
    instance::{Generation, Instance},
    process::Ended,
};
use rockstar_core::duration;
use std::{
    future::Future,
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until},
};

const PING_EVERY: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// A process that closed its connection is about to end.
const END_FOLLOWS: Duration = Duration::from_millis(500);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// More crashes than this in the window disable the plugin.
const BUDGET: u32 = 5;
const WINDOW: Duration = Duration::from_secs(300);

/// What the keeper is told.
#[derive(Debug)]
pub(super) enum Event {
    Lost { plugin: String, generation: Generation, cause: String },
    Again { plugin: String },
    Trial(Arc<Trial>),
}

/// Crashes of one plugin, and how long to wait after the last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Crashes {
    count: u32,
    since: Option<Instant>,
}

impl Crashes {
    /// The pause before the next start; None when the budget is spent.
    fn note(&mut self, now: Instant) -> Option<Duration> {
        if self.since.is_none_or(|since| now.duration_since(since) > WINDOW) {
            *self = Self { count: 0, since: Some(now) };
        }
        self.count += 1;
        (self.count <= BUDGET).then(|| self.pause())
    }

    fn pause(self) -> Duration {
        FIRST_PAUSE.saturating_mul(1 << self.count.saturating_sub(1).min(16)).min(LONGEST_PAUSE)
    }
}

/// Handles events one task each, and ends them with itself.
pub(super) async fn keep(manager: Weak<Manager>, mut inbox: mpsc::Receiver<Event>) {
    let mut tasks = JoinSet::new();
    while let Some(event) = inbox.recv().await {
        let Some(manager) = manager.upgrade() else { return };
        while tasks.try_join_next().is_some() {}
        tasks.spawn(manager.handle(event));
    }
}

/// Ends when the plugin's process does, or stops answering; says how.
pub(super) async fn until_lost(instance: &Instance, ended: impl Future<Output = Ended>) -> String {
    tokio::pin!(ended);
    tokio::select! {
        ended = &mut ended => ended.to_string(),
        () = instance.link().lost() => match tokio::time::timeout(END_FOLLOWS, ended).await {
            Ok(ended) => ended.to_string(),
            Err(_) => "its connection was lost".to_owned(),
        },
        () = silence(instance) => format!("no answer to a ping within {}", duration::format(PING_TIMEOUT)),
    }
}

async fn silence(instance: &Instance) {
    let mut ticks = interval(PING_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let answer = instance.link().ping(Instant::now() + PING_TIMEOUT).await;
        if matches!(answer, Err(crate::link::CallError::Timeout)) {
            return;
        }
    }
}

impl Manager {
    async fn handle(self: Arc<Self>, event: Event) {
        match event {
            Event::Lost { plugin, generation, cause } => self.lost(&plugin, generation, cause).await,
            Event::Again { plugin } => self.again(&plugin).await,
            Event::Trial(trial) => {
                sleep_until(trial.until).await;
                self.prove(trial).await;
            }
        }
    }

    async fn lost(&self, name: &str, generation: Generation, cause: String) {
        let Some(plugin) = self.plugin(name) else { return };
        let mut work = plugin.lock().await;
        let Some(running) = work.running.as_mut().filter(|r| r.instance().generation() == generation) else { return };
        let message = format!("plugin process ended unexpectedly: {cause}{}", running.last_lines().await);
        tracing::error!(plugin = name, "Plugin {name} crashed: {message}");
        plugin.down(&message);
        let trial = work.trial.clone().filter(|t| self.journal.gives_up() || t.previous(name).is_some());
        match trial {
            Some(trial) => {
                drop(work);
                let failure = Failure::revision(Step::Grace, "CrashedInGracePeriod", message);
                self.fall_back(trial, name, failure).await;
            }
            None => {
                work.running = None;
                work.watcher = None;
                self.try_again(&plugin, &mut work);
                self.open(&plugin);
            }
        }
    }

    /// Has the plugin started again after a pause, if its budget allows.
    pub(super) fn try_again(&self, plugin: &Plugin, work: &mut Work) {
        let name = plugin.name().to_owned();
        let Some(pause) = work.crashes.note(Instant::now()) else {
            tracing::error!("Plugin {name} disabled: more than {BUDGET} crashes in {}", duration::format(WINDOW));
            plugin.slot().update(|state| state.enabled = false);
            return;
        };
        tracing::info!("Plugin {name} starts again in {}", duration::format(pause));
        let events = self.events.clone();
        // Ends after the pause at the latest.
        tokio::spawn(async move {
            sleep(pause).await;
            events.send(Event::Again { plugin: name }).await.ok();
        });
    }

    async fn again(&self, name: &str) {
        let Some(plugin) = self.plugin(name) else { return };
        let mut work = plugin.lock().await;
        // Another version, or nothing, took its place meanwhile.
        let wanted = work.running.is_none() && !plugin.slot().state().disabled_by_threshold;
        let Some(target) = plugin.current().filter(|_| wanted) else { return };
        match self.bring_up(&plugin, &target).await {
            Ok(running) => {
                plugin.slot().update(|state| state.restarts += 1);
                let target = (*target).clone();
                self.enter(vec![Entry { plugin, work, running: Some(running), target, on_trial: false }]).await;
            }
            Err(failure) => {
                tracing::error!(plugin = name, "Plugin {name} did not start again: {failure}");
                plugin.down(&failure.message);
                if failure.class == Class::Environment {
                    work.crashes = Crashes { count: work.crashes.count.saturating_sub(1), ..work.crashes };
                }
                self.try_again(&plugin, &mut work);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_until_the_budget_is_spent_and_time_restores_it() {
        let (mut crashes, now) = (Crashes::default(), Instant::now());
        let pauses: Vec<_> = (0..6).map(|_| crashes.note(now).map(|p| p.as_millis())).collect();
        assert_eq!(pauses, [Some(100), Some(200), Some(400), Some(800), Some(1600), None]);
        assert_eq!(crashes.note(now + WINDOW * 2), Some(FIRST_PAUSE));
    }
}
