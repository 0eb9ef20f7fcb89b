//! Plugin processes: starting them through the stub, knowing when and how they end, ending them with all that they
//! started, reading what they print. Does I/O; knows nothing of plugins' calls.

pub mod cleanup;
mod disk_usage;
mod exhaustion;
mod exit;
mod limits;
mod output;
mod overrun;
mod program;
mod reaper;
pub mod sandbox;
mod session;
mod session_processes;
pub mod stub;
mod supervisor;
mod verdict;

pub use exhaustion::{Exhaustion, is_shortage};
pub use exit::{Ended, Exit};
pub use limits::{LimitsNow, ProcessLimits};
pub(crate) use output::Flood;
pub use overrun::Overrun;
pub use reaper::Spawner;
pub(crate) use session_processes::is_descendant;

use output::Tail;
use rustix::process::{Pid, Signal};
use sandbox::Confinement;
use session::Session;
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use supervisor::{Rights, Supervisor};
use tokio::{
    net::UnixStream,
    sync::{mpsc, watch},
    task::{AbortHandle, JoinHandle},
    time::{sleep, timeout},
};
use verdict::{Step, Verdict};

/// How long the stub has to become the plugin.
const EXEC_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a process has to vanish after SIGKILL before we stop waiting for it.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);
const KILL_PAUSE: Duration = Duration::from_millis(5);
/// What is still in its pipes when a process has ended is read this long; others may hold their ends open.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// What to start.
#[derive(Clone, Debug)]
pub struct Launch {
    /// For logs.
    pub plugin: String,
    pub program: PathBuf,
    pub arguments: Vec<String>,
    pub directory: PathBuf,
    /// All of the environment.
    pub environment: BTreeMap<String, String>,
    /// For it and all that it starts.
    pub limits: ProcessLimits,
    /// Says what these limits have become meanwhile.
    pub limits_now: LimitsNow,
    pub confinement: Confinement,
    /// The socket of the plugin's context, in the directory; None where it has none.
    pub host_socket: Option<PathBuf>,
}

/// Why a process did not start.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    #[error("failed to start a process for the plugin: {0}")]
    Spawn(#[source] io::Error),
    #[error("failed to execute {}: {cause}{hint}", program.display())]
    Execute { program: PathBuf, cause: io::Error, hint: String },
    #[error("failed to enter the sandbox: {0}")]
    Confine(#[source] io::Error),
    #[error("plugin process did not begin within {}s", EXEC_TIMEOUT.as_secs())]
    Slow,
}

/// Ends a process from outside of its lifecycle.
#[derive(Clone, Debug)]
pub struct Killer {
    session: Arc<Session>,
    ended: watch::Receiver<Option<Ended>>,
}

impl Killer {
    /// Kills the process and its descendants, unless it has ended.
    pub fn kill(&self) {
        if self.ended.borrow().is_none() {
            self.session.kill();
        }
    }
}

/// A process that runs, or ran, with all its descendants. Dropping it kills them.
#[derive(Debug)]
pub struct Process {
    session: Arc<Session>,
    ended: watch::Receiver<Option<Ended>>,
    tail: Arc<Tail>,
    readers: Vec<JoinHandle<()>>,
    disk_watch: AbortHandle,
    supervisor: Option<Supervisor>,
}

impl Process {
    /// Starts a process. It begins a session of its own, and dies with the sidecar.
    pub async fn start(spawner: &Spawner, launch: &Launch) -> Result<Self, SpawnError> {
        let spawned = spawner.spawn(launch).await.map_err(SpawnError::Spawn)?;
        let tail = Arc::new(Tail::default());
        let readers = output::read(&launch.plugin, spawned.stdout, spawned.stderr, &tail).map_err(SpawnError::Spawn)?;
        let disk_watch =
            disk_usage::watch(Arc::clone(&spawned.session), launch.directory.clone(), launch.limits, launch.limits_now);
        let mut process = Self {
            session: spawned.session,
            ended: spawned.ended,
            tail,
            readers,
            disk_watch: tokio::spawn(disk_watch).abort_handle(),
            supervisor: None,
        };
        match timeout(EXEC_TIMEOUT, process.executed(launch, &spawned.verdict)).await {
            Err(_) => Err(SpawnError::Slow),
            Ok(Err(cause)) => Err(SpawnError::Spawn(cause)),
            Ok(Ok(Some((step, cause)))) => Err(failed(step, cause, &launch.program)),
            Ok(Ok(None)) => Ok(process),
        }
    }

    /// Until the plugin's program begins. The kernel already asks whether it may.
    async fn executed(&mut self, launch: &Launch, socket: &UnixStream) -> io::Result<Option<(Step, io::Error)>> {
        let (mut verdict, mut failure) = (Verdict::default(), Vec::new());
        while verdict::take(socket, &mut verdict, &mut failure).await? {
            if let Some(listener) = verdict.listener.take() {
                self.supervisor = Some(Supervisor::start(listener, self.session.leader(), Rights::new(launch)?)?);
            }
        }
        Ok(verdict.failure)
    }

    /// It has become the plugin: from now on it starts no program, unless it has the permission `exec`.
    pub fn settle(&self) {
        self.supervisor.iter().for_each(Supervisor::settle);
    }

    /// How often it tried to start a program without permission. None: it has it, or the kernel does not tell.
    #[must_use]
    pub fn refused(&self) -> Option<watch::Receiver<u64>> {
        self.supervisor.as_ref().filter(|s| !s.allows_programs()).map(Supervisor::refused)
    }

    /// Connections to the plugin's context that the sidecar makes in the plugin's place. Gives them once; none where
    /// the kernel does not ask.
    pub fn take_connections(&mut self) -> Option<mpsc::Receiver<UnixStream>> {
        self.supervisor.as_mut().and_then(Supervisor::take_connections)
    }

    #[must_use]
    pub fn killer(&self) -> Killer {
        Killer { session: Arc::clone(&self.session), ended: self.ended.clone() }
    }

    /// The process id of the leader, which is the id of the session too.
    #[must_use]
    pub fn session(&self) -> Pid {
        self.session.leader()
    }

    #[must_use]
    pub fn has_ended(&self) -> Option<Ended> {
        *self.ended.borrow()
    }

    /// Waits until the process ends; ready at once if it has.
    pub fn ended(&self) -> impl Future<Output = Ended> + use<> {
        let mut ended = self.ended.clone();
        async move {
            let waited = ended.wait_for(Option::is_some).await.ok().and_then(|e| *e);
            // The reaper is gone only when the whole sidecar ends, and takes all processes with it.
            waited.unwrap_or(Ended { exit: Exit::Signal(Signal::KILL.as_raw()), overrun: None })
        }
    }

    /// Asks the process to end, and after `patience` makes it. Nothing of its session is left afterwards.
    pub async fn end(&self, patience: Duration) {
        if self.has_ended().is_none() {
            self.session.terminate();
            timeout(patience, self.ended()).await.ok();
        }
        self.kill().await;
    }

    /// Kills the process and its descendants, and waits until it is gone.
    pub async fn kill(&self) {
        self.session.kill();
        let gone = async {
            self.ended().await;
            while !self.session.kill() {
                sleep(KILL_PAUSE).await;
            }
        };
        timeout(KILL_TIMEOUT, gone).await.ok();
    }

    /// Resident bytes of the process and its descendants.
    #[must_use]
    pub fn resident(&self) -> u64 {
        self.session.resident()
    }

    /// The last lines on stderr, for texts of failures. After the end it waits a moment for what is in the pipe.
    pub async fn last_lines(&mut self) -> Vec<String> {
        if self.has_ended().is_some() {
            let readers = self.readers.iter_mut().filter(|r| !r.is_finished());
            timeout(LAST_WORDS, futures::future::join_all(readers)).await.ok();
        }
        self.tail.lines()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.session.kill();
        self.readers.iter().for_each(JoinHandle::abort);
        self.disk_watch.abort();
    }
}

fn failed(step: Step, cause: io::Error, program: &Path) -> SpawnError {
    match step {
        Step::Begin => SpawnError::Spawn(cause),
        Step::Confine => SpawnError::Confine(cause),
        Step::Execute => refused(program, cause),
    }
}

fn refused(program: &Path, cause: io::Error) -> SpawnError {
    let hint = match cause.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error()) {
        true => format!(": {}", program::explain(program)),
        false => String::new(),
    };
    SpawnError::Execute { program: program.to_owned(), cause, hint }
}
