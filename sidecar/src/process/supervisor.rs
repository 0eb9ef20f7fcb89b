//! Answers the kernel about calls of a plugin's processes that the filter leaves to the sidecar: starting programs (yes
//! while the plugin's first process still becomes the plugin, no from then on), attributes of files, connections, signals.
//! What is done is done by the sidecar itself, on what it has looked up itself: what a pointer of the caller leads to may
//! change at any time. Does I/O; one call of a plugin at a time.

mod attributes;
mod caller;
mod pace;
mod signals;
mod sockets;
mod territory;

use super::{
    Launch,
    sandbox::{Confinement, DATA, TEMPORARY},
};
use caller::Caller;
use pace::Pace;
use rockstar_seccomp::{Listener, Next, Request};
use rustix::{io::Errno, process::Pid};
use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};
use territory::Territory;
use tokio::{
    io::{Interest, unix::AsyncFd},
    net::UnixStream,
    sync::{mpsc, watch},
    task::{AbortHandle, spawn_blocking},
};

/// Connections to the plugin's own context that the sidecar has made for it and that nobody has taken yet.
const MAX_CONNECTIONS: usize = 8;

/// What the sidecar's answers depend on.
#[derive(Clone, Debug)]
pub(super) struct Rights {
    pub(super) territory: Territory,
    /// Connections to other families than Unix sockets pass.
    pub(super) network: bool,
    /// The kernel does not ask about programs.
    pub(super) exec: bool,
}

impl Rights {
    pub(super) fn new(launch: &Launch) -> io::Result<Self> {
        let Confinement { volumes, network, exec, .. } = &launch.confinement;
        let volumes = volumes.iter().filter(|volume| !volume.read_only);
        let volumes: Vec<_> = volumes.map(|volume| volume.path.as_path()).collect();
        let host = launch.host_socket.as_deref();
        let territory = Territory::new(&launch.directory, &[DATA, TEMPORARY], &volumes, host)?;
        Ok(Self { territory, network: *network, exec: *exec })
    }
}

/// What comes of a call.
enum Answer {
    /// It goes on as if there were no filter.
    Pass,
    /// It has been made, with this result.
    Done(i64),
}

type Outcome = Result<Answer, Errno>;

/// Ends with itself; what would be asked fails then.
#[derive(Debug)]
pub(super) struct Supervisor {
    settled: Arc<AtomicBool>,
    refused: watch::Receiver<u64>,
    connections: Option<mpsc::Receiver<UnixStream>>,
    exec: bool,
    task: AbortHandle,
}

impl Supervisor {
    pub(super) fn start(listener: Listener, session: Pid, rights: Rights) -> io::Result<Self> {
        #[expect(deprecated, reason = "the other constructor is unsafe; a listener's descriptor is its own for life")]
        let listener = Arc::new(AsyncFd::with_interest(listener, Interest::READABLE)?);
        let (sender, refused) = watch::channel(0);
        let (host, connections) = mpsc::channel(MAX_CONNECTIONS);
        let (settled, exec) = (Arc::new(AtomicBool::new(false)), rights.exec);
        let calls = Arc::new(Calls { listener, session, rights, host, settled: Arc::clone(&settled), refused: sender });
        let task = tokio::spawn(calls.answer_all()).abort_handle();
        Ok(Self { settled, refused, connections: Some(connections), exec, task })
    }

    /// The process is the plugin now, and stays it.
    pub(super) fn settle(&self) {
        self.settled.store(true, SeqCst);
    }

    /// It may start programs without asking.
    pub(super) const fn allows_programs(&self) -> bool {
        self.exec
    }

    /// How many attempts to start a program were refused.
    pub(super) fn refused(&self) -> watch::Receiver<u64> {
        self.refused.clone()
    }

    /// The plugin's connections to its context, as the sidecar makes them. Gives them once.
    pub(super) fn take_connections(&mut self) -> Option<mpsc::Receiver<UnixStream>> {
        self.connections.take()
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Calls {
    listener: Arc<AsyncFd<Listener>>,
    session: Pid,
    rights: Rights,
    host: mpsc::Sender<UnixStream>,
    settled: Arc<AtomicBool>,
    refused: watch::Sender<u64>,
}

impl Calls {
    async fn answer_all(self: Arc<Self>) {
        let mut pace = Pace::new();
        while let Ok(mut ready) = self.listener.readable().await {
            let answered = match self.listener.get_ref().next() {
                Ok(Next::Request(request)) => {
                    pace.wait().await;
                    self.answer(request).await
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

    async fn answer(self: &Arc<Self>, request: Request) -> io::Result<()> {
        let outcome = match request.call {
            "execve" | "execveat" => self.execute(request),
            _ => {
                // Files may be slow; other tasks go on meanwhile.
                let (calls, runtime) = (Arc::clone(self), tokio::runtime::Handle::current());
                let made = spawn_blocking(move || {
                    let _entered = runtime.enter();
                    calls.make(request)
                });
                made.await.unwrap_or(Err(Errno::PERM))
            }
        };
        let listener = self.listener.get_ref();
        match outcome {
            Ok(Answer::Pass) => listener.allow(request),
            Ok(Answer::Done(value)) => listener.succeed(request, value),
            Err(error) => listener.refuse(request, error),
        }
    }

    fn execute(&self, request: Request) -> Outcome {
        if !self.settled.load(SeqCst) && self.is_of_leader(request) {
            return Ok(Answer::Pass);
        }
        self.refused.send_modify(|count| *count += 1);
        Err(Errno::PERM)
    }

    /// Whether it is the plugin's first process itself that turns into another program; its children never may.
    fn is_of_leader(&self, request: Request) -> bool {
        Path::new(&format!("/proc/{}/task/{}", self.session.as_raw_nonzero(), request.thread)).exists()
    }

    fn make(&self, request: Request) -> Outcome {
        let caller = Caller::new(self.listener.get_ref(), request);
        match request.call {
            "connect" => sockets::connect(&caller, &self.rights, self.session, &self.host),
            "socket" => sockets::socket(&caller),
            "bind" => sockets::bind(&caller, &self.rights),
            "kill" => signals::kill(&caller, self.session),
            _ => attributes::change(&caller, &self.rights.territory),
        }
    }
}
