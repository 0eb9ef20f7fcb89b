//! Threads for SQL, apart from the runtime's: whatever runs on them, the sidecar's end does not wait for it.

use parking_lot::Mutex;
use std::{
    io,
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};
use tokio::{runtime::Handle, sync::oneshot};

type Job = Box<dyn FnOnce() + Send>;

/// At most so many threads, started when they are needed. Jobs beyond that wait.
#[derive(Debug)]
pub(crate) struct Threads {
    jobs: Sender<Job>,
    inbox: Arc<Mutex<Receiver<Job>>>,
    state: Arc<Mutex<State>>,
    most: usize,
}

#[derive(Debug, Default)]
struct State {
    threads: usize,
    /// Jobs that wait or run.
    jobs: usize,
}

impl Threads {
    pub(crate) fn new(most: usize) -> Self {
        let (jobs, inbox) = channel();
        Self { jobs, inbox: Arc::new(Mutex::new(inbox)), state: Arc::default(), most }
    }

    /// Runs the work on one of the threads. If nobody waits for it any more it is done all the same.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        let (done, result) = oneshot::channel();
        let (runtime, state) = (Handle::current(), Arc::clone(&self.state));
        self.begin()?;
        let job = move || {
            let _context = runtime.enter();
            let finished = Finished(state);
            let outcome = work();
            drop(finished);
            done.send(outcome).ok();
        };
        self.jobs.send(Box::new(job)).map_err(|_| lost())?;
        result.await.map_err(|_| lost())
    }

    fn begin(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        state.jobs += 1;
        if state.jobs > state.threads && state.threads < self.most {
            let inbox = Arc::clone(&self.inbox);
            thread::Builder::new().name("sql".into()).spawn(move || work(&inbox))?;
            state.threads += 1;
        }
        Ok(())
    }
}

/// A job that is counted until this is dropped.
struct Finished(Arc<Mutex<State>>);

impl Drop for Finished {
    fn drop(&mut self) {
        self.0.lock().jobs -= 1;
    }
}

fn lost() -> io::Error {
    io::Error::other("the thread for SQL has ended")
}

/// Ends with the last sender.
fn work(inbox: &Mutex<Receiver<Job>>) {
    loop {
        let job = inbox.lock().recv();
        let Ok(job) = job else { return };
        // A job that panics takes no thread along.
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[tokio::test]
    async fn jobs_have_a_thread_each_up_to_the_bound() {
        let threads = Threads::new(3);
        let barrier = Arc::new(std::sync::Barrier::new(3));
        let job = || {
            let barrier = Arc::clone(&barrier);
            threads.run(move || {
                barrier.wait();
                thread::current().id()
            })
        };
        let (a, b, c) = tokio::try_join!(job(), job(), job()).unwrap();
        assert_eq!(HashSet::from([a, b, c]).len(), 3);
        for _ in 0..10 {
            assert!([a, b, c].contains(&threads.run(|| thread::current().id()).await.unwrap()));
        }
    }

    #[tokio::test]
    async fn a_panic_is_an_error_of_its_job_alone() {
        let threads = Threads::new(1);
        threads.run(|| assert_eq!(1, 2)).await.unwrap_err();
        assert_eq!(threads.run(|| 7).await.unwrap(), 7);
    }
}
