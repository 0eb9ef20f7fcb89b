//! The loop of one host: wakes on changes, on reports and on deadlines, and runs a pass. One loop a host, so that no two
//! passes of a host ever overlap; beside them, what is taken away is told. I/O: that of the passes.

use super::{
    Tools,
    memory::Memory,
    pass::{self, Outcome},
    withdraw,
};
use crate::{
    host::HostKey,
    world::{World, WriteError},
};
use std::time::Duration;
use tokio::{
    sync::Notify,
    time::{Instant, sleep, sleep_until, timeout},
};

/// Values that may change unseen are read again so often.
const VALUES_INTERVAL: Duration = Duration::from_secs(4);
/// Without any news.
const IDLE_INTERVAL: Duration = Duration::from_secs(30);
/// Between two passes, so that a burst of reports is one pass.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// Runs until the host is gone.
pub(super) async fn run(tools: Tools, host: HostKey) {
    tokio::select! {
        () = run_passes(&tools, &host) => {}
        () = withdraw::run(&tools, &host) => {}
    }
    tools.hub.close_host(&host);
    tools.bells.forget(&host);
    // It may have come back meanwhile.
    tools.bells.ring_list();
}

async fn run_passes(tools: &Tools, host: &HostKey) {
    let bell = tools.bells.of(host);
    let mut backoff = Backoff::default();
    let mut memory = recall(tools.world.as_ref(), host, &mut backoff).await;
    loop {
        let began = Instant::now();
        let outcome = pass::pass(tools, host, &mut memory).await;
        tools.metrics.passed(began.elapsed().as_secs_f64(), is_failure(&outcome), &tools.hub);
        match outcome {
            Ok(Outcome::Gone) => return,
            Ok(Outcome::Wait(deadline)) => {
                backoff.reset();
                let wait = until(deadline, tools.clock.now(), tools.world.polls_values());
                sleep(began.elapsed().max(SHORTEST_PAUSE)).await;
                rung(&bell, began + wait).await;
            }
            Err(error) => {
                let wait = backoff.after(host, &error);
                // The bell does not shorten this wait.
                sleep_until(began + wait.max(SHORTEST_PAUSE)).await;
            }
        }
    }
}

const fn is_failure(outcome: &Result<Outcome, WriteError>) -> bool {
    matches!(outcome, Err(WriteError::Failed { .. } | WriteError::Gone { .. }))
}

async fn recall(world: &dyn World, host: &HostKey, backoff: &mut Backoff) -> Memory {
    loop {
        match pass::recall(world, host).await {
            Ok(memory) => return memory,
            Err(WriteError::Gone { .. }) => return Memory::default(),
            Err(error) => sleep(backoff.after(host, &error)).await,
        }
    }
}

fn until(deadline: Option<i64>, now: i64, polls_values: bool) -> Duration {
    let idle = if polls_values { VALUES_INTERVAL } else { IDLE_INTERVAL };
    deadline.map_or(idle, |at| Duration::from_millis(u64::try_from(at - now).unwrap_or(0) + 1).min(idle))
}

async fn rung(bell: &Notify, latest: Instant) {
    let left = latest.saturating_duration_since(Instant::now());
    if timeout(left, bell.notified()).await.is_err() {
        sleep_until(latest).await;
    }
}

/// Doubles with each failure in a row. A conflict is no failure: it is looked at again at once.
#[derive(Debug)]
struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(FIRST_BACKOFF)
    }
}

impl Backoff {
    const fn reset(&mut self) {
        self.0 = FIRST_BACKOFF;
    }

    fn after(&mut self, host: &HostKey, error: &WriteError) -> Duration {
        if matches!(error, WriteError::Conflict { .. }) {
            tracing::debug!(%host, %error, "looking again");
            return Duration::ZERO;
        }
        let wait = self.0;
        self.0 = (wait * 2).min(LONGEST_BACKOFF);
        tracing::warn!(%host, %error, retry_in = ?wait, "a pass failed");
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        control::{Hub, Identity, identity::Membership},
        driver::{Clock, DriverMetrics},
        host::Bells,
        world::{Note, Revision, ValueRef, Values, View},
    };
    use async_trait::async_trait;
    use rockstar_core::{revision::RevisionId, rollout::State};
    use rockstar_crds::{Plugin, PluginHost, PluginHostStatus, PluginStatus};
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    /// Refuses the rollout's state, as an API server does that forbids it.
    #[derive(Default)]
    struct Forbidding {
        attempts: AtomicU32,
    }

    impl Membership for Forbidding {
        fn host_of(&self, _: &Identity) -> Option<HostKey> {
            None
        }
    }

    #[async_trait]
    impl World for Forbidding {
        fn hosts(&self) -> Vec<HostKey> {
            vec![HostKey::new("shop", "storefront")]
        }

        fn view(&self, _: &HostKey) -> Option<View> {
            let auth = super::super::fixtures::plugin("auth", "1.0.0", serde_json::json!({}));
            Some(super::super::fixtures::observed([auth]).view)
        }

        fn orphans(&self) -> Vec<Arc<Plugin>> {
            vec![]
        }

        async fn values(&self, _: &str, _: &[ValueRef]) -> Values {
            Values::new()
        }

        async fn rollout(&self, _: &HostKey) -> Result<State, WriteError> {
            Ok(State::default())
        }

        async fn save_rollout(&self, _: &HostKey, _: &State, _: &State) -> Result<(), WriteError> {
            self.attempts.fetch_add(1, Ordering::Relaxed);
            Err(WriteError::Failed { object: "PluginHost shop/storefront".into(), cause: "forbidden".into() })
        }

        async fn save_revision(&self, _: &PluginHost, _: &Plugin, _: &Revision) -> Result<(), WriteError> {
            Ok(())
        }

        async fn delete_revision(&self, _: &HostKey, _: &RevisionId) -> Result<(), WriteError> {
            Ok(())
        }

        async fn report_host(&self, _: &HostKey, _: &PluginHostStatus) -> Result<(), WriteError> {
            Ok(())
        }

        async fn report_plugin(&self, _: &HostKey, _: &str, _: &PluginStatus) -> Result<(), WriteError> {
            Ok(())
        }

        async fn remove_finalizer(&self, _: &Plugin) -> Result<(), WriteError> {
            Ok(())
        }

        async fn tell(&self, _: &HostKey, _: Note) {}

        fn polls_values(&self) -> bool {
            false
        }
    }

    #[tokio::test(start_paused = true)]
    async fn c7_a_failing_pass_backs_off_in_spite_of_bells() {
        let (world, bells) = (Arc::new(Forbidding::default()), Bells::default());
        let host = HostKey::new("shop", "storefront");
        let tools = Tools {
            world: Arc::clone(&world) as _,
            hub: Hub::new(bells.clone()),
            bells: bells.clone(),
            metrics: DriverMetrics::new(&prometheus::Registry::new()).unwrap(),
            clock: Clock::starting_at(0),
        };
        let ring = async {
            for _ in 0..600 {
                bells.ring(&host);
                sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::select! {
            () = run_passes(&tools, &host) => {}
            () = ring => {}
        }
        let attempts = world.attempts.load(Ordering::Relaxed);
        // At 0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5 s, and 30 s after that not again.
        assert!((3..=7).contains(&attempts), "{attempts} in a minute");
    }
}
