//! Plugin processes: starting them through the stub, knowing when and how they end, ending them with all that they
//! started, reading what they print. Does I/O; knows nothing of plugins' calls.

mod exit;
mod output;
mod program;
mod reaper;
pub mod stub;
mod tree;

pub use exit::{Ended, Exit};
pub(crate) use output::Flood;
pub use reaper::Spawner;

use output::Tail;
use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{io::AsyncReadExt, net::unix::pipe, sync::watch, task::JoinHandle, time::timeout};

/// How long the stub has to become the plugin.
const EXEC_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a process has to vanish after SIGKILL before we stop waiting for it.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);
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
    /// Bytes of resident memory, children included.
    pub memory: u64,
}

/// Why a process did not start.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    #[error("failed to start a process for the plugin: {0}")]
    Spawn(#[source] io::Error),
    #[error("failed to execute {}: {cause}{hint}", program.display())]
    Execute { program: PathBuf, cause: io::Error, hint: String },
    #[error("plugin process did not begin within {}s", EXEC_TIMEOUT.as_secs())]
    Slow,
}

/// A process that runs, or ran, with all its descendants. Dropping it kills them.
#[derive(Debug)]
pub struct Process {
    session: Pid,
    ended: watch::Receiver<Option<Ended>>,
    tail: Arc<Tail>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    /// Starts a process. It begins a session of its own, and dies with the sidecar.
    pub async fn start(spawner: &Spawner, launch: &Launch) -> Result<Self, SpawnError> {
        let spawned = spawner.spawn(launch).await.map_err(SpawnError::Spawn)?;
        let tail = Arc::new(Tail::default());
        let readers = output::read(&launch.plugin, spawned.stdout, spawned.stderr, &tail).map_err(SpawnError::Spawn)?;
        let process = Self { session: spawned.pid, ended: spawned.ended, tail, readers };
        executed(spawned.verdict, launch).await?;
        Ok(process)
    }

    /// The process id of the leader, which is the id of the session too.
    #[must_use]
    pub const fn session(&self) -> Pid {
        self.session
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
            waited.unwrap_or(Ended { exit: Exit::Signal(Signal::KILL.as_raw()), out_of_memory: None })
        }
    }

    /// Asks the process to end, and after `patience` makes it. Nothing of its session is left afterwards.
    pub async fn end(&self, patience: Duration) {
        if self.has_ended().is_none() {
            kill_process_group(self.session, Signal::TERM).ok();
            timeout(patience, self.ended()).await.ok();
        }
        self.kill().await;
    }

    /// Kills the process and its descendants, and waits until it is gone.
    pub async fn kill(&self) {
        tree::kill(self.session);
        timeout(KILL_TIMEOUT, self.ended()).await.ok();
        // What was being started while the first round ran.
        tree::kill(self.session);
    }

    /// Resident bytes of the process and its descendants.
    #[must_use]
    pub fn resident(&self) -> u64 {
        tree::resident(self.session)
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
        tree::kill(self.session);
        self.readers.iter().for_each(JoinHandle::abort);
    }
}

/// The stub writes an error number if it cannot become the program; else the pipe just closes.
async fn executed(verdict: pipe::Receiver, launch: &Launch) -> Result<(), SpawnError> {
    let mut verdict = verdict;
    let mut error = Vec::new();
    match timeout(EXEC_TIMEOUT, verdict.read_to_end(&mut error)).await {
        Err(_) => Err(SpawnError::Slow),
        Ok(Err(cause)) => Err(SpawnError::Spawn(cause)),
        Ok(Ok(_)) => match <[u8; 4]>::try_from(error.as_slice()) {
            Ok(number) => Err(refused(&launch.program, io::Error::from_raw_os_error(i32::from_le_bytes(number)))),
            Err(_) => Ok(()),
        },
    }
}

fn refused(program: &Path, cause: io::Error) -> SpawnError {
    let hint = match cause.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error()) {
        true => format!(": {}", program::explain(program)),
        false => String::new(),
    };
    SpawnError::Execute { program: program.to_owned(), cause, hint }
}
