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
