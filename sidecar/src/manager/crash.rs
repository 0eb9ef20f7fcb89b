//! What is done about processes that end or hang by themselves: in the grace period the group goes back, later the
//! same version is started again, with growing pauses and a budget.

use super::{
    Manager,
    budget::{Crashes, Restart},
    plugin::{Plugin, Watcher, Work},
    probation::ProbationId,
    rollback::GroupFailure,
    serve::Entry,
    withdraw::clear_interrupted,
};
use crate::{
    failure::{Class, Failure, Step},
    instance::{Generation, Instance},
    process::Ended,
    target::Target,
};
use rockstar_core::{
    duration,
    text::{MAX_LOGGED, bounded},
};
use std::{
    future::Future,
    sync::{Arc, Weak},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    sync::{OwnedMutexGuard, mpsc},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until},
};

const PING_EVERY: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// A process that closed its connection is about to end.
const END_FOLLOWS: Duration = Duration::from_millis(500);

/// What the keeper is told.
#[derive(Debug)]
pub(super) enum Event {
    Lost {
        plugin: String,
        generation: Generation,
        cause: String,
    },
    Again {
        plugin: String,
    },
    /// A process was ended for what it must not have any more; its plugin is still locked.
    Renewed {
        plugin: Arc<Plugin>,
        work: OwnedMutexGuard<Work>,
    },
    /// A version that was started again has outlived its grace period.
    Outlived {
        plugin: String,
        generation: Generation,
    },
    /// The grace period of those that moved together ends then.
    GraceOver {
        id: ProbationId,
        until: Instant,
    },
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

fn now_unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl Manager {
    async fn handle(self: Arc<Self>, event: Event) {
        match event {
            Event::Lost { plugin, generation, cause } => self.lost(&plugin, generation, cause).await,
            Event::Again { plugin } => self.again(&plugin).await,
            Event::Renewed { plugin, work } => self.start_again(plugin, work).await,
            Event::Outlived { plugin, generation } => self.outlived_restart(&plugin, generation).await,
            Event::GraceOver { id, until } => {
                sleep_until(until).await;
                self.end_probation(id).await;
            }
        }
    }

    async fn lost(&self, name: &str, generation: Generation, cause: String) {
        let Some(plugin) = self.plugin(name) else { return };
        let mut work = plugin.lock().await;
        let Some(running) = work.running.as_mut().filter(|r| r.instance().generation() == generation) else { return };
        let last_lines = running.last_lines().await;
        let message = format!("plugin process ended unexpectedly: {cause}{last_lines}");
        let failure = running.judge(Failure::revision(Step::Grace, "CrashedInGracePeriod", message));
        if clear_interrupted(&plugin, &mut work) {
            return self.start_again(plugin, work).await;
        }
        tracing::error!(plugin = name, "Plugin {name} crashed: {}", bounded(&failure.message, MAX_LOGGED));
        plugin.down("Crashed", &failure.message);
        let (current, gives_up) = (plugin.current(), self.journal.gives_up());
        let fails = |id: &ProbationId| self.probations.lock().fail(*id, name, current.as_deref(), gives_up);
        match work.probation.filter(fails) {
            Some(id) => {
                drop(work);
                self.roll_back(id, &GroupFailure { plugin: name.to_owned(), failure }).await;
            }
            None => {
                work.running = None;
                work.watcher = None;
                self.try_again(&plugin, &mut work, failure.class);
                self.open(&plugin);
            }
        }
    }

    /// Has the plugin started again after a pause. What its surroundings cause counts as no crash.
    pub(super) fn try_again(&self, plugin: &Plugin, work: &mut Work, class: Class) {
        let name = plugin.name().to_owned();
        let budget = plugin.slot().policies().crash_budget.clone();
        let mut crashes = self.crashes(plugin);
        let restart = match class {
            Class::Revision => crashes.crashed(&budget, now_unix_ms()),
            Class::Environment => crashes.waits(),
        };
        self.journal.keep_crashes(&name, crashes);
        let pause = restart.pause();
        match restart {
            Restart::After(_) => tracing::info!("Plugin {name} starts again in {}", duration::format(pause)),
            Restart::Once(_) => {
                let (most, window) = (budget.max_crashes, duration::format(budget.window));
                let next = duration::format(pause);
                tracing::error!("Plugin {name} disabled: more than {most} crashes in {window}; one start in {next}");
                plugin.slot().update(|state| {
                    state.enabled = false;
                    "CrashBudgetExhausted".clone_into(&mut state.reason);
                });
            }
        }
        self.after(pause, Event::Again { plugin: name }, work);
    }

    /// Starts a plugin that is down without waiting for the end of its pause.
    pub(super) async fn start_again_now(&self, plugin: &Plugin) {
        self.events.send(Event::Again { plugin: plugin.name().to_owned() }).await.ok();
    }

    /// Sends an event after a pause, unless the plugin's work takes another turn before.
    fn after(&self, pause: Duration, event: Event, work: &mut Work) {
        let events = self.events.clone();
        let task = tokio::spawn(async move {
            sleep(pause).await;
            events.send(event).await.ok();
        });
        work.restart = Some(Watcher(task.abort_handle()));
    }

    /// What is known of the crashes of what should run.
    fn crashes(&self, plugin: &Plugin) -> Crashes {
        let attempt = plugin.current().map(|target| Plugin::attempt(&target)).unwrap_or_default();
        self.journal.crashes(plugin.name()).of(&attempt)
    }

    pub(super) fn outlived(&self, plugin: &Plugin) {
        let mut crashes = self.crashes(plugin);
        crashes.outlived();
        self.journal.keep_crashes(plugin.name(), crashes);
    }

    async fn outlived_restart(&self, name: &str, generation: Generation) {
        let Some(plugin) = self.plugin(name) else { return };
        let work = plugin.lock().await;
        if work.running.as_ref().is_some_and(|running| running.instance().generation() == generation) {
            self.outlived(&plugin);
        }
    }

    /// Tells whether a version that starts again is on probation. If its probation was over while it was down, it has outlived
    /// nothing, and gets one of its own.
    async fn resume_probation(&self, work: &mut Work, target: &Target) -> bool {
        if target.stable {
            return false;
        }
        let ended = work.probation.and_then(|id| self.probations.lock().ended(id, target.name()));
        if let Some(unproven) = work.unproven.take().or(ended) {
            let until = Instant::now() + target.assignment.policies.reload.grace_period;
            let id = self.probations.lock().open_alone(unproven);
            work.probation = Some(id);
            self.events.send(Event::GraceOver { id, until }).await.ok();
        }
        work.probation.is_some()
    }

    async fn again(&self, name: &str) {
        let Some(plugin) = self.plugin(name) else { return };
        let work = plugin.lock().await;
        self.start_again(plugin, work).await;
    }

    /// Starts a plugin that is down, unless another version, or nothing, took its place meanwhile.
    async fn start_again(&self, plugin: Arc<Plugin>, mut work: OwnedMutexGuard<Work>) {
        let (name, slot) = (plugin.name().to_owned(), plugin.slot());
        let wanted = work.running.is_none() && !slot.state().disabled_by_threshold && !slot.is_withdrawn();
        let Some(target) = plugin.current().filter(|_| wanted) else { return };
        match self.bring_up(&plugin, &target).await {
            Ok(running) => {
                plugin.slot().update(|state| state.restarts += 1);
                let target = (*target).clone();
                let on_trial = self.resume_probation(&mut work, &target).await;
                let grace = target.assignment.policies.reload.grace_period;
                let generation = running.instance().generation();
                self.after(grace, Event::Outlived { plugin: name, generation }, &mut work);
                self.enter(vec![Entry { plugin, work, running: Some(running), target, on_trial }]).await;
            }
            Err(failure) => {
                tracing::error!(plugin = name, "Plugin {name} did not start again: {failure}");
                plugin.down(failure.reason, &failure.message);
                self.try_again(&plugin, &mut work, failure.class);
                self.open(&plugin);
            }
        }
    }
}
