//! Answers the kernel when a plugin without the permission `exec` starts a program: yes while its own process is still
//! becoming the plugin, no from then on. Does I/O.

use rockstar_seccomp::{Listener, Next, Request};
use rustix::process::Pid;
use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::watch,
    task::AbortHandle,
};

/// Ends with itself; programs cannot be started any more then.
#[derive(Debug)]
pub(super) struct Guard {
    settled: Arc<AtomicBool>,
    refused: watch::Receiver<u64>,
    task: AbortHandle,
}

impl Guard {
    pub(super) fn start(listener: Listener, leader: Pid) -> io::Result<Self> {
        #[expect(deprecated, reason = "the other constructor is unsafe; a listener's descriptor is its own for life")]
        let listener = AsyncFd::with_interest(listener, Interest::READABLE)?;
        let (sender, refused) = watch::channel(0);
        let settled = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(answer(listener, leader, Arc::clone(&settled), sender)).abort_handle();
        Ok(Self { settled, refused, task })
    }

    /// The process is the plugin now, and stays it.
    pub(super) fn settle(&self) {
        self.settled.store(true, SeqCst);
    }

    /// How many attempts were refused.
    pub(super) fn refused(&self) -> watch::Receiver<u64> {
        self.refused.clone()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(listener: AsyncFd<Listener>, leader: Pid, settled: Arc<AtomicBool>, refused: watch::Sender<u64>) {
    while let Ok(mut ready) = listener.readable().await {
        let answered = match listener.get_ref().next() {
            Ok(Next::Request(request)) if !settled.load(SeqCst) && is_of(leader, request) => {
                listener.get_ref().allow(request)
            }
            Ok(Next::Request(request)) => {
                refused.send_modify(|count| *count += 1);
                listener.get_ref().refuse(request)
            }
            Ok(Next::Nothing) => {
                ready.clear_ready();
                Ok(())
            }
            Ok(Next::Over) => return,
            Err(cause) => Err(cause),
        };
        if let Err(cause) = answered {
            tracing::error!(%cause, "The kernel's questions about a plugin are not answered any more: {cause}");
            return;
        }
    }
}

/// Whether it is the process itself that turns into another program; its children never may.
fn is_of(leader: Pid, request: Request) -> bool {
    Path::new(&format!("/proc/{}/task/{}", leader.as_raw_nonzero(), request.thread)).exists()
}
