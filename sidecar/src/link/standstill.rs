//! Time in which a plugin waits for another one that is being replaced: the deadlines of calls into it do not run then,
//! so that nobody is charged for somebody else's reload. Memory only.

use parking_lot::Mutex;
use std::{future::Future, pin::Pin, sync::Arc, time::Duration};
use tokio::time::{Instant, timeout_at};

/// How soon a deadline that stood still is looked at again.
const LOOK: Duration = Duration::from_millis(10);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Standstill(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    waiting: usize,
    since: Option<Instant>,
    /// Before `since`.
    total: Duration,
}

/// One call that waits.
#[derive(Debug)]
pub struct Waiting(Arc<Standstill>);

impl Standstill {
    pub(super) fn begin(this: &Arc<Self>) -> Waiting {
        let mut state = this.0.lock();
        state.waiting += 1;
        state.since.get_or_insert_with(Instant::now);
        drop(state);
        Waiting(Arc::clone(this))
    }

    fn so_far(&self) -> Duration {
        let state = self.0.lock();
        state.total + state.since.map(|since| since.elapsed()).unwrap_or_default()
    }

    /// None at the deadline, which moves by the time that stood still meanwhile.
    pub(super) async fn timeout_at<T>(
        &self,
        deadline: Instant,
        mut future: Pin<&mut impl Future<Output = T>>,
    ) -> Option<T> {
        let before = self.so_far();
        let mut until = deadline;
        loop {
            if let Ok(output) = timeout_at(until, future.as_mut()).await {
                return Some(output);
            }
            let moved = deadline + self.so_far().saturating_sub(before);
            if moved <= until {
                return None;
            }
            until = moved.max(Instant::now() + LOOK);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut state = self.0.0.lock();
        state.waiting -= 1;
        if state.waiting == 0 {
            let stood = state.since.take().map(|since| since.elapsed());
            state.total += stood.unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{future::pending, pin::pin};
    use tokio::time::sleep;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_passes() {
        let (standstill, began) = (Standstill::default(), Instant::now());
        assert_eq!(standstill.timeout_at(began + seconds(5), pin!(pending::<()>())).await, None);
        assert_eq!(began.elapsed(), seconds(5));
    }

    #[tokio::test(start_paused = true)]
    async fn it_moves_by_the_time_that_stood_still_once_however_many_wait() {
        let (standstill, began) = (Arc::new(Standstill::default()), Instant::now());
        let waiter = Arc::clone(&standstill);
        let waits = tokio::spawn(async move {
            sleep(seconds(2)).await;
            let _both = (Standstill::begin(&waiter), Standstill::begin(&waiter));
            sleep(seconds(8)).await;
        });
        assert_eq!(standstill.timeout_at(began + seconds(5), pin!(pending::<()>())).await, None);
        assert!((seconds(13)..seconds(14)).contains(&began.elapsed()), "{:?}", began.elapsed());
        waits.await.unwrap();
        // A later call begins anew.
        let began = Instant::now();
        assert_eq!(standstill.timeout_at(began + seconds(5), pin!(pending::<()>())).await, None);
        assert_eq!(began.elapsed(), seconds(5));
    }

    #[tokio::test(start_paused = true)]
    async fn what_answers_in_time_is_given() {
        let standstill = Arc::new(Standstill::default());
        let _waits = Standstill::begin(&standstill);
        let late = pin!(async {
            sleep(seconds(60)).await;
            7
        });
        let answer = standstill.timeout_at(Instant::now() + seconds(5), late);
        assert_eq!(answer.await, Some(7));
    }
}
