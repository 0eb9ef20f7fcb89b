//! The events that wait for one subscriber, in order and bounded in number and size. Memory only.

use super::MAX_EVENTS;
use crate::bounds::limits;
use parking_lot::Mutex;
use rockstar_core::{backends::EventOverflow, limits::Limit};
use rockstar_proto::plugin::Event;
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};
use tokio::sync::Notify;

/// See the module.
#[derive(Debug, Default)]
pub struct Inbox {
    queue: Mutex<Queue>,
    arrived: Notify,
}

/// The bytes of the events in all queues.
#[derive(Clone, Debug, Default)]
pub struct QueuedBytes(Arc<AtomicUsize>);

impl QueuedBytes {
    /// Counts an event that goes into a queue of `own` bytes, unless that queue leaves others too little: at most three
    /// times as much as is free.
    fn reserve(&self, size: usize, own: usize) -> Option<Reserved> {
        let total = self.0.fetch_add(size, SeqCst) + size;
        let reserved = Reserved { size, all: self.clone() };
        let free = limits().size(Limit::QueuedEventBytes).checked_sub(total)?;
        (own + size <= 3 * free).then_some(reserved)
    }
}

/// Bytes that are counted until this is dropped.
#[derive(Debug)]
struct Reserved {
    size: usize,
    all: QueuedBytes,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.all.0.fetch_sub(self.size, SeqCst);
    }
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<(Event, Reserved)>,
    bytes: usize,
    /// Somebody takes events out.
    served: bool,
}

/// What putting in an event led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pushed {
    /// The numbers of events that found no room, be it this one or older ones.
    pub(super) dropped: Vec<u64>,
    /// Nobody took events out so far: the caller must see to it that somebody does.
    pub(super) idle: bool,
}

impl Inbox {
    pub(super) fn push(&self, event: Event, overflow: EventOverflow, queued: &QueuedBytes) -> Pushed {
        let mut queue = self.queue.lock();
        let dropped = queue.push(event, overflow, queued);
        let idle = !queue.served && !queue.events.is_empty();
        queue.served |= idle;
        self.arrived.notify_one();
        Pushed { dropped, idle }
    }

    /// The oldest. None: whoever asks serves it no more.
    pub(super) fn take(&self) -> Option<Event> {
        let mut queue = self.queue.lock();
        let event = queue.pop();
        queue.served = event.is_some();
        event
    }

    /// The oldest, once there is one. One reader at a time.
    pub(super) async fn next(&self) -> Event {
        loop {
            let arrived = self.arrived.notified();
            if let Some(event) = self.queue.lock().pop() {
                return event;
            }
            arrived.await;
        }
    }

    /// Forgets all; gives their number.
    pub(super) fn clear(&self) -> usize {
        let mut queue = self.queue.lock();
        queue.bytes = 0;
        std::mem::take(&mut queue.events).len()
    }
}

impl Queue {
    fn push(&mut self, event: Event, overflow: EventOverflow, queued: &QueuedBytes) -> Vec<u64> {
        let size = size(&event);
        let mut dropped = Vec::new();
        let reserved = loop {
            let has_place = self.events.len() < MAX_EVENTS;
            if let Some(reserved) = has_place.then(|| queued.reserve(size, self.bytes)).flatten() {
                break reserved;
            }
            let oldest = if overflow == EventOverflow::DropNewest { None } else { self.pop() };
            dropped.push(oldest.as_ref().unwrap_or(&event).sequence);
            if oldest.is_none() {
                return dropped;
            }
        };
        self.bytes += size;
        self.events.push_back((event, reserved));
        dropped
    }

    fn pop(&mut self) -> Option<Event> {
        let (event, _reserved) = self.events.pop_front()?;
        self.bytes -= size(&event);
        Some(event)
    }
}

/// What an event costs beside its texts and data.
const EVENT_OVERHEAD: usize = 150;

fn size(event: &Event) -> usize {
    EVENT_OVERHEAD + event.name.len() + event.source.len() + event.data.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_BYTES: usize = 16 << 20;

    fn event(sequence: u64, size: usize) -> Event {
        Event { data: vec![0; size].into(), sequence, ..Event::default() }
    }

    fn filled(overflow: EventOverflow) -> (Vec<u64>, usize) {
        let (inbox, queued) = (Inbox::default(), QueuedBytes::default());
        let dropped =
            (0..MAX_EVENTS as u64 + 5).map(|n| inbox.push(event(n, 1), overflow, &queued).dropped.len()).sum();
        (std::iter::from_fn(|| inbox.take()).map(|e| e.sequence).collect(), dropped)
    }

    #[test]
    fn the_newest_or_the_oldest_go_when_it_is_full() {
        let all = MAX_EVENTS as u64;
        assert_eq!(filled(EventOverflow::DropNewest), ((0..all).collect(), 5));
        assert_eq!(filled(EventOverflow::DropOldest), ((5..all + 5).collect(), 5));
    }

    #[test]
    fn one_queue_leaves_room_for_others_and_all_have_a_bound() {
        let queued = QueuedBytes::default();
        let inboxes: Vec<_> = (0..50).map(|_| Inbox::default()).collect();
        let size = 64 << 10;
        let fill = |inbox: &Inbox| {
            (0..MAX_BYTES / size)
                .filter(|_| inbox.push(event(1, size), EventOverflow::DropNewest, &queued).dropped.is_empty())
                .count()
        };
        let held: Vec<_> = inboxes.iter().map(fill).collect();
        assert_eq!((held[0], held[1]), (191, 48), "three quarters of what is free");
        assert!(queued.0.load(SeqCst) <= MAX_BYTES);
        let dropped = inboxes[0].push(event(2, size), EventOverflow::DropOldest, &queued).dropped;
        assert!(!dropped.is_empty());
        for inbox in &inboxes {
            inbox.clear();
        }
        assert_eq!(queued.0.load(SeqCst), 0);
    }

    #[test]
    fn one_who_serves_it_is_called_for_once() {
        let inbox = Inbox::default();
        let queued = QueuedBytes::default();
        let idle = |n| inbox.push(event(n, 1), EventOverflow::DropNewest, &queued).idle;
        assert!(idle(1));
        assert!(!idle(2));
        assert!(inbox.take().is_some() && inbox.take().is_some() && inbox.take().is_none());
        assert!(idle(3));
    }
}
