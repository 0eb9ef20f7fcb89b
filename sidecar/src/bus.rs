//! Events between plugins, and to and from the application: from a publisher to a bounded queue per subscriber, in order
//! and without waiting for any of them; or through NATS. Memory only; `courier` calls the plugins, `nats` the engine.

mod courier;
mod ears;
mod inbox;
mod nats;
mod receipts;

pub use courier::Undelivered;
pub use ears::{Ears, Names};
pub use inbox::{Inbox, QueuedBytes};
pub use nats::{Address, AddressError};

use crate::{
    bounds::{MAX_NAME, limits},
    registry::Registry,
    slot::Slot,
};
use arc_swap::ArcSwapOption;
use inbox::Pushed;
use nats::Nats;
use parking_lot::Mutex;
use receipts::Receipt;
use rockstar_core::{
    backends::{Backends, EventOverflow},
    limits::Limit,
};
use rockstar_proto::plugin::Event;
use std::{
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};
use tokio::task::JoinSet;

/// Events a subscriber's queue holds.
pub const MAX_EVENTS: usize = 10_000;
/// The bytes of one event, whoever publishes it: it must fit on the way to a plugin.
const MAX_EVENT: usize = 250 << 10;

const FULL: &str = "NATS does not take them in time";

/// See the module.
#[derive(Debug)]
pub struct Bus {
    registry: Arc<Registry>,
    drop_oldest: AtomicBool,
    /// The last event's number. Taken while an event goes into all queues, so that all see one order.
    sequence: Mutex<u64>,
    ears: Mutex<Vec<Weak<Ears>>>,
    /// One for each plugin whose queue is not empty; they end with the bus.
    couriers: Mutex<JoinSet<()>>,
    engine: ArcSwapOption<Nats>,
    queued: QueuedBytes,
}

/// Where an event went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// To so many subscribers of this sidecar.
    To(usize),
    ThroughNats,
}

impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::To(subscribers) => write!(f, "{subscribers} subscribers"),
            Self::ThroughNats => write!(f, "through NATS"),
        }
    }
}

/// Why an event is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    #[error("an event must have a name")]
    NoName,
    #[error("the name of an event has {0} bytes, more than the {MAX_NAME} that it may have")]
    LongName(usize),
    #[error("event '{name}' has {size} bytes, more than the {MAX_EVENT} that an event may have")]
    TooLarge { name: String, size: usize },
    #[error("event '{name}' has {size} bytes, more than the {limit} that a plugin's may have (limits.eventBytes)")]
    OverLimit { name: String, size: usize, limit: usize },
    /// Not the publisher's fault.
    #[error("event '{name}' was not taken by NATS: {why}")]
    NotTaken { name: String, why: String },
}

impl Bus {
    #[must_use]
    pub fn new(registry: Arc<Registry>) -> Arc<Self> {
        Arc::new(Self {
            registry,
            drop_oldest: AtomicBool::new(false),
            sequence: Mutex::default(),
            ears: Mutex::default(),
            couriers: Mutex::default(),
            engine: ArcSwapOption::empty(),
            queued: QueuedBytes::default(),
        })
    }

    /// What a host or a file says of events counts from now on. A wrong address leaves the engine that is in force.
    pub fn apply(self: &Arc<Self>, backends: &Backends, scope: &str) -> Result<(), AddressError> {
        self.drop_oldest.store(backends.event_overflow == EventOverflow::DropOldest, Relaxed);
        self.set_engine(backends.events.as_deref(), scope)
    }

    pub(crate) fn overflow(&self) -> EventOverflow {
        match self.drop_oldest.load(Relaxed) {
            true => EventOverflow::DropOldest,
            false => EventOverflow::DropNewest,
        }
    }

    /// From now on through the engine at that address, or in this sidecar only. `scope` counts where the address has none.
    fn set_engine(self: &Arc<Self>, address: Option<&str>, scope: &str) -> Result<(), AddressError> {
        let address = address.map(|text| Address::parse(text, scope)).transpose()?;
        if self.engine.load().as_ref().map(|nats| nats.address()) == address.as_ref() {
            return Ok(());
        }
        let start = |address| Arc::new(Nats::start(address, Arc::clone(&self.registry), Arc::downgrade(self)));
        if let Some(before) = self.engine.swap(address.map(start)) {
            before.tell_unsent();
        }
        Ok(())
    }

    /// Hands an event to all who listen to its name, and waits for none of them; only for NATS to keep it, while it is
    /// there.
    pub async fn publish(&self, event: Event) -> Result<Published, PublishError> {
        check(&event)?;
        let name = event.name.clone();
        let (published, receipt) = self.hand_out(event);
        match receipt {
            None => Ok(published),
            Some(receipt) => match receipt.wait().await {
                Ok(()) => Ok(published),
                Err(why) => Err(PublishError::NotTaken { name, why }),
            },
        }
    }

    fn hand_out(&self, mut event: Event) -> (Published, Option<Receipt>) {
        let mut sequence = self.sequence.lock();
        *sequence += 1;
        event.sequence = *sequence;
        if let Some(nats) = &*self.engine.load() {
            return (Published::ThroughNats, self.through(nats, event));
        }
        let plugins = self.to_plugins(&event);
        (Published::To(plugins + self.to_application(&event)), None)
    }

    fn through(&self, nats: &Nats, event: Event) -> Option<Receipt> {
        let source = event.source.clone();
        let (dropped, receipt) = nats.publish(event, self.overflow(), &self.queued);
        if dropped > 0 {
            unpublished(&self.registry, &source, dropped, FULL);
        }
        receipt
    }

    /// Waits until NATS has what was published, though not for long.
    pub async fn finish(&self) {
        if let Some(nats) = self.engine.load_full() {
            nats.finish().await;
        }
    }

    fn to_plugins(&self, event: &Event) -> usize {
        let slots = self.registry.slots();
        let listening = slots.values().filter(|slot| listens(slot, &event.name));
        listening.map(|slot| self.post(slot, event.clone())).count()
    }

    fn post(&self, slot: &Arc<Slot>, event: Event) {
        let Pushed { dropped, idle } = slot.inbox.push(event, self.overflow(), &self.queued);
        if !dropped.is_empty() {
            lost(slot, dropped.len(), "its queue of events is full");
        }
        if idle {
            let mut couriers = self.couriers.lock();
            while couriers.try_join_next().is_some() {}
            couriers.spawn(courier::run(Arc::clone(slot)));
        }
    }

    /// Hears events until dropped.
    pub fn listen(&self, names: Names) -> Arc<Ears> {
        let ears = Arc::new(Ears::new(names));
        self.ears.lock().push(Arc::downgrade(&ears));
        ears
    }

    fn to_application(&self, event: &Event) -> usize {
        let mut all = self.ears.lock();
        all.retain(|ears| ears.strong_count() > 0);
        let listening = all.iter().filter_map(Weak::upgrade).filter(|ears| ears.want(&event.name));
        listening.map(|ears| ears.hear(event.clone(), self.overflow(), &self.queued)).count()
    }
}

/// Checks an event of a plugin. What the application publishes is not the plugins', and their limit does not count for it.
pub(crate) fn check_plugin_event(event: &Event) -> Result<(), PublishError> {
    check(event)?;
    let (size, limit) = (size(event), limits().size(Limit::EventBytes));
    match size > limit {
        true => Err(PublishError::OverLimit { name: event.name.clone(), size, limit }),
        false => Ok(()),
    }
}

fn size(event: &Event) -> usize {
    event.name.len() + event.data.len()
}

fn check(event: &Event) -> Result<(), PublishError> {
    let size = size(event);
    match event.name.is_empty() {
        true => Err(PublishError::NoName),
        false if event.name.len() > MAX_NAME => Err(PublishError::LongName(event.name.len())),
        false if size > MAX_EVENT => Err(PublishError::TooLarge { name: event.name.clone(), size }),
        false => Ok(()),
    }
}

/// Only plugins that run receive; one that is being replaced is as good as running.
fn listens(slot: &Slot, event: &str) -> bool {
    (slot.is_serving() || slot.is_held())
        && slot.current().is_some_and(|i| i.registrations().subscriptions.iter().any(|s| s.event == event))
}

/// Counts events that a plugin will not see, and says so now and then.
pub(crate) fn lost(slot: &Slot, count: usize, why: &str) {
    let total = slot.traffic.dropped(count);
    if is_news(total, count) {
        tracing::warn!(
            plugin = slot.name(),
            total,
            "Events for plugin {} were dropped, {total} so far: {why}",
            slot.name()
        );
    }
}

/// Counts events of a plugin, or of the application, that the engine will not get.
pub(crate) fn unpublished(registry: &Registry, source: &str, count: usize, why: &str) {
    let total = registry.get(source).map(|slot| slot.traffic.unpublished(count));
    if total.is_none_or(|total| is_news(total, count)) {
        tracing::warn!(plugin = source, "Events were not published: {why}");
    }
}

/// At the first, and whenever the number has doubled.
fn is_news(total: u64, added: usize) -> bool {
    let before = total.saturating_sub(u64::try_from(added).unwrap_or_default());
    before == 0 || before.ilog2() < total.ilog2()
}

#[cfg(test)]
mod tests;
