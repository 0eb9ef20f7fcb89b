//! The events that wait for one subscriber, in order and bounded in number and size. Memory only.

use super::{MAX_BYTES, MAX_EVENTS};
use parking_lot::Mutex;
use rockstar_core::backends::EventOverflow;
use rockstar_proto::plugin::Event;
use std::collections::VecDeque;
use tokio::sync::Notify;

/// See the module.
#[derive(Debug, Default)]
pub struct Inbox {
    queue: Mutex<Queue>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<Event>,
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
    pub(super) fn push(&self, event: Event, overflow: EventOverflow) -> Pushed {
        let mut queue = self.queue.lock();
        let dropped = queue.push(event, overflow);
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
    fn push(&mut self, event: Event, overflow: EventOverflow) -> Vec<u64> {
        let size = size(&event);
        let mut dropped = Vec::new();
        while self.events.len() >= MAX_EVENTS || self.bytes + size > MAX_BYTES {
            let oldest = if overflow == EventOverflow::DropNewest { None } else { self.pop() };
            dropped.push(oldest.as_ref().unwrap_or(&event).sequence);
            if oldest.is_none() {
                return dropped;
            }
        }
        self.bytes += size;
        self.events.push_back(event);
        dropped
    }

    fn pop(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        self.bytes -= size(&event);
        Some(event)
    }
}

fn size(event: &Event) -> usize {
    event.name.len() + event.source.len() + event.data.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(sequence: u64, size: usize) -> Event {
        Event { data: vec![0; size].into(), sequence, ..Event::default() }
    }

    fn filled(overflow: EventOverflow) -> (Vec<u64>, usize) {
        let inbox = Inbox::default();
        let dropped = (0..MAX_EVENTS as u64 + 5).map(|n| inbox.push(event(n, 1), overflow).dropped.len()).sum();
        (std::iter::from_fn(|| inbox.take()).map(|e| e.sequence).collect(), dropped)
    }

    #[test]
    fn the_newest_or_the_oldest_go_when_it_is_full() {
        let all = MAX_EVENTS as u64;
        assert_eq!(filled(EventOverflow::DropNewest), ((0..all).collect(), 5));
        assert_eq!(filled(EventOverflow::DropOldest), ((5..all + 5).collect(), 5));
    }

    #[test]
    fn bytes_are_bounded_too() {
        let inbox = Inbox::default();
        let big = MAX_BYTES / 4;
        let dropped: usize = (0..6).map(|n| inbox.push(event(n, big), EventOverflow::DropOldest).dropped.len()).sum();
        assert_eq!(dropped, 2);
        assert_eq!(inbox.clear(), 4);
        assert!(inbox.push(event(9, MAX_BYTES), EventOverflow::DropNewest).dropped.is_empty());
        assert_eq!(inbox.push(event(10, MAX_BYTES), EventOverflow::DropNewest).dropped, [10]);
        assert_eq!(inbox.push(event(11, MAX_BYTES), EventOverflow::DropOldest).dropped, [9]);
    }

    #[test]
    fn one_who_serves_it_is_called_for_once() {
        let inbox = Inbox::default();
        let idle = |n| inbox.push(event(n, 1), EventOverflow::DropNewest).idle;
        assert!(idle(1));
        assert!(!idle(2));
        assert!(inbox.take().is_some() && inbox.take().is_some() && inbox.take().is_none());
        assert!(idle(3));
    }
}
