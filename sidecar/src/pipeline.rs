//! Leads the application's exchanges through hooks, middleware and routes of all plugins: one task an exchange, streams
//! that carry many of them, and a pair of unary calls for simple clients. Calls plugins through their links.

mod call;
mod change;
mod exchange;
mod listening;
mod parked;
mod phase;
mod point;
mod route;
pub(crate) mod routes;
mod service;
mod stages;
mod stream;
mod table;
mod task;
mod transfer;
mod unary;
mod verdict;

pub use service::service;
pub use table::Table;

use crate::{ancestry::Ancestry, registry::Registry};
use arc_swap::ArcSwap;
use exchange::Exchange;
use parking_lot::Mutex;
use rockstar_proto::app::Enter;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};
use tokio::sync::{Semaphore, watch};
use transfer::Transfers;

/// Exchanges whose post_response hooks run at once; those beyond go without, counted.
const POST_RESPONSE: usize = 1024;

/// See the module.
#[derive(Debug)]
pub struct Pipeline {
    registry: Arc<Registry>,
    version: watch::Receiver<u64>,
    ready: watch::Receiver<bool>,
    table: ArcSwap<Table>,
    making: Mutex<()>,
    parked: unary::Parked,
    ancestry: Arc<Ancestry>,
    transfers: Arc<Transfers>,
    post_response: Semaphore,
    skipped: AtomicU64,
    slow: call::SlowLog,
    /// Tells this process's exchanges from those of another one.
    prefix: u32,
    next: AtomicU64,
}

impl Pipeline {
    #[must_use]
    pub fn new(registry: Arc<Registry>) -> Arc<Self> {
        Arc::new(Self {
            version: registry.version(),
            ready: registry.ready(),
            registry,
            table: ArcSwap::default(),
            making: Mutex::default(),
            parked: unary::Parked::default(),
            ancestry: Arc::default(),
            transfers: Arc::default(),
            post_response: Semaphore::new(POST_RESPONSE),
            skipped: AtomicU64::new(0),
            slow: call::SlowLog::default(),
            prefix: rand::random(),
            next: AtomicU64::new(1),
        })
    }

    /// The table of hooks that is right now; made anew after each change of the registry.
    pub fn table(&self) -> Arc<Table> {
        let table = self.table.load_full();
        if table.version() == *self.version.borrow() { table } else { self.remake() }
    }

    fn remake(&self) -> Arc<Table> {
        let _one = self.making.lock();
        // Read before the slots: what changes in between makes another version.
        let version = *self.version.borrow();
        let table = self.table.load_full();
        if table.version() == version {
            return table;
        }
        let table = Arc::new(Table::new(version, &self.registry.slots()));
        self.table.store(Arc::clone(&table));
        table
    }

    #[must_use]
    pub const fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    fn exchange(&self, enter: Enter) -> Exchange {
        let id = format!("{:08x}-{:x}", self.prefix, self.next.fetch_add(1, Relaxed));
        Exchange::new(self.ancestry.born(&id, &enter.parent), enter)
    }
}
