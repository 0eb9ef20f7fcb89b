//! Tasks that each serve a connection, in a bounded number: where there is no room, the one that has been idle the longest
//! ends, so that nobody who only holds a connection open keeps others out. No I/O of its own.

use parking_lot::Mutex;
use std::{future::Future, sync::Arc, time::Duration};
use tokio::{
    task::{AbortHandle, JoinSet},
    time::{Instant, timeout},
};

#[derive(Debug)]
pub(crate) struct Connections {
    tasks: JoinSet<()>,
    open: Vec<(AbortHandle, Activity)>,
    max: usize,
}

/// Whether something is under way on a connection, and since when nothing is.
#[derive(Clone, Debug)]
pub(crate) struct Activity(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    busy: usize,
    idle_since: Instant,
}

/// Something is under way until this is dropped.
#[derive(Debug)]
pub(crate) struct Busy(Activity);

impl Activity {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(State { busy: 0, idle_since: Instant::now() })))
    }

    pub(crate) fn begin(&self) -> Busy {
        self.0.lock().busy += 1;
        Busy(self.clone())
    }

    /// None: something is under way.
    fn idle_since(&self) -> Option<Instant> {
        let state = self.0.lock();
        (state.busy == 0).then_some(state.idle_since)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.0.0.lock();
        state.busy -= 1;
        state.idle_since = Instant::now();
    }
}

impl Connections {
    pub(crate) fn new(max: usize) -> Self {
        Self { tasks: JoinSet::new(), open: Vec::new(), max }
    }

    /// Serves one more. Where all are busy it is turned away.
    pub(crate) fn add<F: Future<Output = ()> + Send + 'static>(&mut self, serve: impl FnOnce(Activity) -> F) {
        while self.tasks.try_join_next().is_some() {}
        if self.open.len() >= self.max {
            self.open.retain(|(task, _)| !task.is_finished());
        }
        if self.open.len() >= self.max && !self.end_idle() {
            return;
        }
        let activity = Activity::new();
        let task = self.tasks.spawn(serve(activity.clone()));
        self.open.push((task, activity));
    }

    fn end_idle(&mut self) -> bool {
        let idle = self.open.iter().enumerate().filter_map(|(at, (_, activity))| Some((activity.idle_since()?, at)));
        let Some((_, at)) = idle.min() else { return false };
        let (task, _) = self.open.swap_remove(at);
        task.abort();
        true
    }

    /// Waits for all to end. Returns whether they did in time.
    pub(crate) async fn end(mut self, limit: Duration) -> bool {
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        timeout(limit, ended).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use tokio::sync::mpsc;

    #[tokio::test(start_paused = true)]
    async fn the_one_that_is_idle_the_longest_makes_room() {
        let (ended, mut ends) = mpsc::unbounded_channel();
        let mut connections = Connections::new(3);
        let mut add = async |name: &'static str, is_busy: bool| {
            let ended = ended.clone();
            connections.add(|activity| async move {
                let _end = Guard(name, ended);
                let _busy = is_busy.then(|| activity.begin());
                pending::<()>().await;
            });
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        add("busy", true).await;
        add("old", false).await;
        add("new", false).await;
        add("another", true).await;
        assert_eq!(ends.recv().await, Some("old".to_owned()));
        add("last", true).await;
        assert_eq!(ends.recv().await, Some("new".to_owned()));
        add("turned away", false).await;
        assert!(ends.try_recv().is_err(), "all are busy");
    }

    struct Guard(&'static str, mpsc::UnboundedSender<String>);

    impl Drop for Guard {
        fn drop(&mut self) {
            drop(self.1.send(self.0.to_owned()));
        }
    }
}
