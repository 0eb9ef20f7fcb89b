//! A replica of the operator: the product's pipeline with a memory of its own, woken as the product's loops are.

use crate::api::{Client, Store};
use futures::FutureExt;
use parking_lot::Mutex;
use rockstar_operator::{
    control::Hub,
    driver::{
        Tools,
        clock::Clock,
        memory::Memory,
        metrics::DriverMetrics,
        pass::{self, Outcome},
        withdraw,
    },
    host::{Bells, HostKey},
    world::WriteError,
};
use std::{collections::BTreeMap, sync::Arc};

/// Longer than the product's, so that a burst of reports is one pass.
const SHORTEST_PAUSE: i64 = 200;
const IDLE: i64 = 30_000;
const FIRST_BACKOFF: i64 = 500;
const LONGEST_BACKOFF: i64 = 30_000;

/// The loop of one host.
#[derive(Debug, Default)]
struct Loop {
    memory: Option<Memory>,
    next_at: i64,
    earliest: i64,
    backoff: i64,
    failed: bool,
}

#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) hub: Arc<Hub>,
    pub(crate) bells: Bells,
    tools: Tools,
    loops: BTreeMap<HostKey, Loop>,
    pub(crate) passes: usize,
}

impl Replica {
    /// `wall` is what its machine's clock shows.
    pub(crate) fn new(store: &Arc<Mutex<Store>>, wall: i64) -> Self {
        let bells = Bells::default();
        let hub = Hub::new(bells.clone());
        let tools = Tools {
            world: Arc::new(Client(Arc::clone(store))),
            hub: Arc::clone(&hub),
            bells: bells.clone(),
            metrics: DriverMetrics::new(&prometheus::Registry::new()).unwrap(),
            clock: Clock::starting_at(wall),
        };
        Self { hub, bells, tools, loops: BTreeMap::new(), passes: 0 }
    }

    pub(crate) fn next_event(&self) -> i64 {
        self.loops.values().map(|l| l.next_at).min().unwrap_or(i64::MAX)
    }

    /// Starts and ends loops as hosts come and go.
    pub(crate) fn list(&mut self, now: i64) {
        for host in self.tools.world.hosts() {
            self.loops.entry(host).or_insert_with(|| Loop { next_at: now, backoff: FIRST_BACKOFF, ..Loop::default() });
        }
    }

    /// Runs the passes that are due; true if there was one.
    pub(crate) fn run(&mut self, now: i64) -> bool {
        let hosts: Vec<HostKey> = self.loops.keys().cloned().collect();
        let mut ran = false;
        for host in hosts {
            let Some(own) = self.loops.get_mut(&host) else { continue };
            if self.bells.withdrawals_of(&host).notified().now_or_never().is_some() {
                withdraw::take_away(&self.tools, &host);
                ran = true;
            }
            // A failed pass is sat out.
            if self.bells.of(&host).notified().now_or_never().is_some() && !own.failed {
                own.next_at = own.next_at.min(own.earliest.max(now));
            }
            if own.next_at > now {
                continue;
            }
            ran = true;
            self.passes += 1;
            self.pass(&host, now);
        }
        ran
    }

    /// One pass, whatever the time is: what a process does that wakes up.
    pub(crate) fn pass(&mut self, host: &HostKey, now: i64) {
        let Some(own) = self.loops.get_mut(host) else { return };
        let outcome = run_pass(&self.tools, host, own);
        own.earliest = now + SHORTEST_PAUSE;
        own.failed = matches!(outcome, Err(WriteError::Failed { .. } | WriteError::Gone { .. }));
        match outcome {
            Ok(Outcome::Gone) => {
                self.loops.remove(host);
                self.hub.close_host(host);
                self.bells.forget(host);
            }
            Ok(Outcome::Wait(deadline)) => {
                own.backoff = FIRST_BACKOFF;
                let clock = self.tools.clock.now();
                let wait = deadline.map_or(IDLE, |at| (at - clock).max(0) + 1).min(IDLE);
                own.next_at = now + wait.max(SHORTEST_PAUSE);
            }
            Err(WriteError::Conflict { .. }) => own.next_at = now + SHORTEST_PAUSE,
            Err(_) => {
                own.next_at = now + own.backoff;
                own.backoff = (own.backoff * 2).min(LONGEST_BACKOFF);
            }
        }
    }

    pub(crate) fn hosts(&self) -> Vec<HostKey> {
        self.loops.keys().cloned().collect()
    }
}

fn run_pass(tools: &Tools, host: &HostKey, own: &mut Loop) -> Result<Outcome, WriteError> {
    if own.memory.is_none() {
        let recalled = pass::recall(tools.world.as_ref(), host).now_or_never().expect("a store that answers at once");
        own.memory = match recalled {
            Err(WriteError::Gone { .. }) => Some(Memory::default()),
            recalled => Some(recalled?),
        };
    }
    let memory = own.memory.get_or_insert_default();
    pass::pass(tools, host, memory).now_or_never().expect("a store that answers at once")
}
