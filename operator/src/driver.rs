//! One pipeline per PluginHost: observe → resolve → plan → persist → publish → report. Each step is a file here; only
//! the first and the last ones do I/O. This file starts and ends the loops of the hosts.

mod backends;
pub mod catalog;
pub mod clock;
#[cfg(test)]
mod fixtures;
pub mod fleet;
mod host_loop;
pub mod memory;
pub mod metrics;
pub mod observe;
pub mod pass;
pub mod persist;
pub mod plan;
pub mod publish;
pub mod report;
pub mod resolve;
pub mod withdraw;

use self::report::Lacking;
use crate::{
    control::Hub,
    host::{Bells, HostKey},
    leadership::Leadership,
    world::World,
};
use clock::Clock;
use metrics::DriverMetrics;
use rockstar_crds::names;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::watch,
    task::AbortHandle,
    time::{sleep, timeout},
};

const LIST_INTERVAL: Duration = Duration::from_secs(30);
/// Between two looks at the list, so that an applied folder is one look.
const LIST_PAUSE: Duration = Duration::from_millis(50);

/// What every pass works with.
#[derive(Clone)]
pub struct Tools {
    pub world: Arc<dyn World>,
    pub hub: Arc<Hub>,
    pub bells: Bells,
    pub metrics: DriverMetrics,
    pub clock: Clock,
}

impl std::fmt::Debug for Tools {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tools").field("hub", &self.hub).finish_non_exhaustive()
    }
}

/// Decides for all hosts of a world while it leads.
#[derive(Clone, Debug)]
pub struct Driver {
    tools: Tools,
    leadership: watch::Receiver<Leadership>,
}

/// The loops that run; dropping it ends them.
#[derive(Default)]
struct Loops(HashMap<HostKey, AbortHandle>);

impl Drop for Loops {
    fn drop(&mut self) {
        self.0.values().for_each(AbortHandle::abort);
    }
}

impl Driver {
    #[must_use]
    pub const fn new(tools: Tools, leadership: watch::Receiver<Leadership>) -> Self {
        Self { tools, leadership }
    }

    /// Runs until dropped; the loops of the hosts end with it. The world must be in sync before.
    pub async fn run(mut self) {
        loop {
            if self.leadership.wait_for(Leadership::is_leading).await.is_err() {
                return;
            }
            let mut leadership = self.leadership.clone();
            tokio::select! {
                () = self.lead() => {}
                _ = leadership.wait_for(|l| !l.is_leading()) => {}
            }
        }
    }

    async fn lead(&self) {
        let mut loops = Loops::default();
        let mut lacking = Lacking::default();
        let list = self.tools.bells.list();
        loop {
            self.start_loops(&mut loops);
            self.settle_orphans(&mut lacking).await;
            sleep(LIST_PAUSE).await;
            drop(timeout(LIST_INTERVAL, list.notified()).await);
        }
    }

    fn start_loops(&self, loops: &mut Loops) {
        loops.0.retain(|_, handle| !handle.is_finished());
        for host in self.tools.world.hosts() {
            loops
                .0
                .entry(host.clone())
                .or_insert_with(|| tokio::spawn(host_loop::run(self.tools.clone(), host)).abort_handle());
        }
    }

    /// Plugins whose host is not there say so; an earlier version's finalizer keeps none of them.
    async fn settle_orphans(&self, lacking: &mut Lacking) {
        let now = self.tools.clock.now();
        let mut statuses = BTreeMap::new();
        for plugin in self.tools.world.orphans() {
            let namespace = plugin.metadata.namespace.clone().unwrap_or_default();
            let host = HostKey::new(namespace, plugin.spec.host.clone());
            let is_held = plugin.metadata.finalizers.iter().flatten().any(|f| f == names::UNLOAD_FINALIZER);
            let name = plugin.metadata.name.clone().unwrap_or_default();
            let key = format!("{}/{name}", host.namespace);
            let status = report::orphan(&plugin, &key, lacking, now);
            let written = match is_held {
                true => self.tools.world.remove_finalizer(&plugin).await,
                false if plugin.status.as_ref() == Some(&status) => Ok(()),
                false => self.tools.world.report_plugin(&host, &name, &status).await,
            };
            statuses.insert(key, status);
            if let Err(error) = written {
                tracing::warn!(%host, %error, "failed to report a plugin without its host");
            }
        }
        lacking.note(&statuses, now);
    }
}
