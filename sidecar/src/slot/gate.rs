//! The gate in front of a plugin: open, or held with a bounded queue while a version is replaced. Counts the calls that
//! are inside, so that a version can be drained. An open gate costs two atomic operations a call. Memory only.

use super::Refusal;
use parking_lot::Mutex;
use rockstar_core::assignment::{Queue, QueueStrategy};
use std::{
    collections::VecDeque,
    mem,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, timeout_at},
};

/// Set while new calls queue.
const HELD: usize = 1 << (usize::BITS - 1);
/// Set with HELD until the drain is over: calls from inside the version still pass.
const DRAINING: usize = HELD >> 1;
const FLAGS: usize = HELD | DRAINING;

/// See the module.
#[derive(Debug, Default)]
pub struct Gate {
    /// Flags and the number of calls inside in one word, so that no call slips in between look and count.
    word: AtomicUsize,
    hold: Mutex<Option<Hold>>,
    /// Those whom the last release has not let out yet.
    leaving: Arc<Leaving>,
    empty: Notify,
    opened: Notify,
}

#[derive(Debug)]
struct Hold {
    queue: Queue,
    waiting: Waiting,
}

type Waiting = VecDeque<oneshot::Sender<Turn>>;

#[derive(Debug, Default)]
struct Leaving(Mutex<Waiting>);

/// Of a call that has come out of the queue: the next one comes out when this is dropped, so that each is under way
/// before those behind it. Of a call that did not wait, nothing.
#[derive(Debug, Default)]
pub struct Turn(Option<Arc<Leaving>>);

/// A call's place in the queue.
struct Place {
    turn: oneshot::Receiver<Turn>,
    timeout: Duration,
}

impl Gate {
    /// Goes through, or waits by the queue's rules; one that had its turn before, at the head of the queue. Each success
    /// is paired with one `leave`.
    pub async fn pass_in_turn(&self, mut turn: Turn, deadline: Instant, inside: bool) -> Result<Turn, Refusal> {
        while !self.try_pass(inside) {
            if let Some(place) = self.queue_up(turn.is_one())? {
                drop(mem::take(&mut turn));
                turn = self.wait(place, deadline).await?;
            }
        }
        Ok(turn)
    }

    pub fn leave(&self) {
        let before = self.word.fetch_sub(1, SeqCst);
        if before & HELD != 0 && before & !FLAGS == 1 {
            self.empty.notify_waiters();
        }
    }

    /// Queues new calls from now on. A gate that is held already keeps its queue and takes the new rules.
    pub fn hold(&self, queue: &Queue) {
        let mut hold = self.hold.lock();
        let waiting = hold.take().map_or_else(|| mem::take(&mut *self.leaving.0.lock()), |h| h.waiting);
        *hold = Some(Hold { queue: queue.clone(), waiting });
        self.word.fetch_or(FLAGS, SeqCst);
    }

    /// Waits until nobody is inside and `also` holds; false at the deadline. The draining phase goes on.
    pub async fn settle(&self, deadline: Instant, also: impl Fn() -> bool) -> bool {
        timeout_at(deadline, self.until_empty(also)).await.is_ok()
    }

    /// What else `settle` waits for may have come.
    pub fn look_again(&self) {
        self.empty.notify_waiters();
    }

    /// Waits until nobody is inside; false at the deadline. Ends the draining phase either way.
    pub async fn drain(&self, deadline: Instant) -> bool {
        let drained = timeout_at(deadline, self.until_empty(|| true)).await.is_ok();
        self.word.fetch_and(!DRAINING, SeqCst);
        drained
    }

    /// Opens the gate and lets those who wait out of the queue, one after the other. Gives their number.
    pub fn release(&self) -> usize {
        let mut hold = self.hold.lock();
        self.word.fetch_and(!FLAGS, SeqCst);
        self.opened.notify_waiters();
        let Some(hold) = hold.take() else { return 0 };
        let queued = hold.queued();
        self.leaving.0.lock().extend(hold.waiting);
        drop(Turn(Some(Arc::clone(&self.leaving))));
        queued
    }

    pub fn queued(&self) -> usize {
        self.hold.lock().as_ref().map_or(0, Hold::queued)
    }

    pub fn is_held(&self) -> bool {
        self.word.load(SeqCst) & HELD != 0
    }

    /// Waits until nothing is held, however long, without a place in the queue.
    pub async fn until_open(&self) {
        loop {
            let opened = self.opened.notified();
            if !self.is_held() {
                return;
            }
            opened.await;
        }
    }

    fn try_pass(&self, inside: bool) -> bool {
        let flags = self.word.fetch_add(1, SeqCst) & FLAGS;
        let open = flags & HELD == 0 || (inside && flags & DRAINING != 0);
        if !open {
            self.leave();
        }
        open
    }

    async fn until_empty(&self, also: impl Fn() -> bool) {
        loop {
            let empty = self.empty.notified();
            if self.word.load(SeqCst) & !FLAGS == 0 && also() {
                return;
            }
            empty.await;
        }
    }

    async fn wait(&self, place: Place, deadline: Instant) -> Result<Turn, Refusal> {
        let limit = Instant::now() + place.timeout;
        match timeout_at(limit.min(deadline), place.turn).await {
            Ok(turn) => Ok(turn.unwrap_or_default()),
            // Only those ahead are waited for.
            Err(_) if limit <= deadline && !self.is_held() => Ok(Turn::default()),
            Err(_) if limit <= deadline => Err(Refusal::QueueTimeout(place.timeout)),
            Err(_) => Err(Refusal::Deadline),
        }
    }

    /// None: the gate was opened in between.
    fn queue_up(&self, ahead: bool) -> Result<Option<Place>, Refusal> {
        let mut hold = self.hold.lock();
        let Some(hold) = hold.as_mut() else { return Ok(None) };
        if hold.queue.strategy == QueueStrategy::Reject {
            return Err(Refusal::Reloading);
        }
        if hold.is_full() {
            return Err(Refusal::QueueFull(hold.queue.max_size));
        }
        let (wake, turn) = oneshot::channel();
        match ahead {
            true => hold.waiting.push_front(wake),
            false => hold.waiting.push_back(wake),
        }
        Ok(Some(Place { turn, timeout: hold.queue.timeout }))
    }
}

impl Turn {
    /// Whether there may be others behind.
    #[must_use]
    pub const fn is_one(&self) -> bool {
        self.0.is_some()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(leaving) = self.0.take() else { return };
        while let Some(next) = leaving.next() {
            match next.send(Self(Some(Arc::clone(&leaving)))) {
                Ok(()) => return,
                // It gave up.
                Err(mut turn) => turn.0 = None,
            }
        }
    }
}

impl Leaving {
    fn next(&self) -> Option<oneshot::Sender<Turn>> {
        self.0.lock().pop_front()
    }
}

impl Hold {
    fn queued(&self) -> usize {
        self.waiting.iter().filter(|w| !w.is_closed()).count()
    }

    /// Those who gave up are struck off only when room is short.
    fn is_full(&mut self) -> bool {
        let max = usize::try_from(self.queue.max_size).unwrap_or(usize::MAX);
        if self.waiting.len() >= max {
            self.waiting.retain(|w| !w.is_closed());
        }
        self.waiting.len() >= max
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::Arc, time::Duration};

    impl Gate {
        async fn pass(&self, deadline: Instant, inside: bool) -> Result<Turn, Refusal> {
            self.pass_in_turn(Turn::default(), deadline, inside).await
        }
    }

    fn queue(strategy: QueueStrategy, timeout: u64, max_size: u32) -> Queue {
        Queue { strategy, timeout: Duration::from_secs(timeout), max_size }
    }

    fn far() -> Instant {
        Instant::now() + Duration::from_secs(3600)
    }

    /// Lets spawned tasks run until they wait.
    async fn settle() {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_gate_lets_all_through() {
        let gate = Gate::default();
        gate.pass(far(), false).await.unwrap();
        gate.pass(far(), false).await.unwrap();
        gate.leave();
        gate.leave();
        assert!(gate.drain(Instant::now()).await);
    }

    #[tokio::test(start_paused = true)]
    async fn queued_calls_pass_in_order_after_release() {
        let gate = Arc::new(Gate::default());
        let order = Arc::new(Mutex::new(vec![]));
        gate.hold(&queue(QueueStrategy::Block, 30, 1000));
        let mut callers = vec![];
        for n in 0..200 {
            let (gate, order) = (Arc::clone(&gate), Arc::clone(&order));
            callers.push(tokio::spawn(async move {
                let turn = gate.pass(far(), false).await.unwrap();
                // None comes out before the one ahead says so, however long that takes.
                for _ in 0..n % 7 {
                    tokio::task::yield_now().await;
                }
                order.lock().push(n);
                drop(turn);
            }));
            settle().await;
        }
        callers.remove(100).abort();
        settle().await;
        assert_eq!(gate.release(), 199);
        for caller in callers {
            caller.await.unwrap();
        }
        assert_eq!(*order.lock(), (0..200).filter(|n| *n != 100).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_dropped_with_its_turn_ends_nobody_elses() {
        let gate = Arc::new(Gate::default());
        gate.hold(&Queue::default());
        let enter = |gate: &Arc<Gate>| {
            let gate = Arc::clone(gate);
            tokio::spawn(async move { gate.pass(far(), false).await.map(drop) })
        };
        let (first, second) = (enter(&gate), enter(&gate));
        settle().await;
        assert_eq!(gate.release(), 2);
        // It has its turn and has not run yet.
        first.abort();
        second.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_only_for_those_ahead_does_not_time_out() {
        let gate = Arc::new(Gate::default());
        gate.hold(&queue(QueueStrategy::Block, 1, 1000));
        let enter = |gate: &Arc<Gate>| {
            let gate = Arc::clone(gate);
            tokio::spawn(async move { gate.pass(far(), false).await })
        };
        let (first, second) = (enter(&gate), enter(&gate));
        settle().await;
        gate.release();
        let _turn = first.await.unwrap().unwrap();
        second.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_gate_that_is_held_again_keeps_the_order() {
        let gate = Arc::new(Gate::default());
        let order = Arc::new(Mutex::new(vec![]));
        gate.hold(&Queue::default());
        let mut callers = vec![];
        for n in 0..20 {
            let (gate, order) = (Arc::clone(&gate), Arc::clone(&order));
            callers.push(tokio::spawn(async move {
                let _turn = gate.pass(far(), false).await.unwrap();
                order.lock().push(n);
            }));
            settle().await;
        }
        gate.release();
        gate.hold(&Queue::default());
        // The first one of the queue has not run yet, and somebody new comes before it does.
        let last = gate.pass(far(), false);
        tokio::pin!(last);
        assert!(futures::poll!(&mut last).is_pending());
        settle().await;
        assert_eq!((gate.queued(), order.lock().len()), (21, 0));
        gate.release();
        last.await.unwrap();
        order.lock().push(20);
        for caller in callers {
            caller.await.unwrap();
        }
        assert_eq!(*order.lock(), (0..=20).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_at_the_queue_timeout_with_its_text() {
        let gate = Gate::default();
        gate.hold(&queue(QueueStrategy::Block, 1, 1000));
        let refusal = gate.pass(far(), false).await.unwrap_err();
        assert_eq!(refusal.to_string(), "request timeout: plugin reload exceeded queue timeout (1s)");
        gate.hold(&Queue::default());
        let refusal = gate.pass(far(), false).await.unwrap_err();
        assert_eq!(refusal.to_string(), "request timeout: plugin reload exceeded queue timeout (30s)");
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_at_the_callers_deadline() {
        let gate = Gate::default();
        gate.hold(&Queue::default());
        let refusal = gate.pass(Instant::now() + Duration::from_secs(2), false).await.unwrap_err();
        assert_eq!(refusal, Refusal::Deadline);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_refuses_at_once_and_forgets_those_who_left() {
        let gate = Arc::new(Gate::default());
        gate.hold(&queue(QueueStrategy::Block, 30, 2));
        let callers: Vec<_> = (0..2)
            .map(|_| {
                let gate = Arc::clone(&gate);
                tokio::spawn(async move { gate.pass(far(), false).await.map(drop) })
            })
            .collect();
        settle().await;
        assert_eq!(gate.pass(far(), false).await.unwrap_err(), Refusal::QueueFull(2));
        callers[0].abort();
        settle().await;
        let third = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.pass(far(), false).await.map(drop) }
        });
        settle().await;
        assert_eq!(gate.release(), 2);
        third.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_the_opening_is_not_in_the_queue() {
        let gate = Arc::new(Gate::default());
        gate.hold(&queue(QueueStrategy::Reject, 1, 0));
        let waiting = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.until_open().await }
        });
        settle().await;
        assert!(!waiting.is_finished());
        assert_eq!(gate.release(), 0);
        waiting.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn reject_refuses_at_once() {
        let gate = Gate::default();
        gate.hold(&queue(QueueStrategy::Reject, 30, 1000));
        assert_eq!(gate.pass(far(), false).await.unwrap_err(), Refusal::Reloading);
    }

    #[tokio::test(start_paused = true)]
    async fn drain_waits_for_those_inside_and_gives_up_at_its_deadline() {
        let gate = Arc::new(Gate::default());
        gate.pass(far(), false).await.unwrap();
        gate.hold(&Queue::default());
        assert!(!gate.drain(Instant::now() + Duration::from_secs(5)).await);
        let draining = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.drain(far()).await }
        });
        settle().await;
        assert!(!draining.is_finished());
        gate.leave();
        assert!(draining.await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_from_inside_passes_while_draining_and_not_after() {
        let gate = Gate::default();
        gate.hold(&queue(QueueStrategy::Reject, 30, 1000));
        gate.pass(far(), true).await.unwrap();
        gate.leave();
        assert!(gate.drain(far()).await);
        assert_eq!(gate.pass(far(), true).await.unwrap_err(), Refusal::Reloading);
    }
}
