//! The processes of a session: one permanent thread starts them, watches them and ends them. They end with this
//! process however it ends: each is bound to the thread that started it.

use crate::bound;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{File, OpenOptions},
    io,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

/// How often the thread looks for processes that have ended.
const LOOK: Duration = Duration::from_millis(50);
/// What a process gets to end by itself.
const GRACE: Duration = Duration::from_secs(8);
/// Requests under way, and exits not yet heard.
const QUEUE: usize = 64;

#[derive(Debug, Error)]
pub(crate) enum ChildError {
    #[error("cannot start {program}: {error}")]
    Start { program: String, error: io::Error },
    #[error("the thread that starts processes has ended")]
    Ended,
}

/// What to start.
#[derive(Debug)]
pub(crate) struct Program {
    /// As it is called in messages.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: BTreeMap<OsString, OsString>,
    /// Takes both outputs.
    pub(crate) log: PathBuf,
}

/// A process that ended although nobody asked it to.
#[derive(Debug)]
pub(crate) struct Exited {
    pub(crate) name: String,
    pub(crate) log: PathBuf,
    pub(crate) status: ExitStatus,
}

enum Order {
    Start(Program, oneshot::Sender<Result<(), ChildError>>),
    End,
}

/// Owns the thread; dropping it ends the processes and waits for them.
#[derive(Debug)]
pub(crate) struct Children {
    orders: SyncSender<Order>,
    thread: Option<JoinHandle<()>>,
}

impl Children {
    /// The second value tells of processes that end by themselves.
    pub(crate) fn new() -> io::Result<(Self, mpsc::Receiver<Exited>)> {
        let (orders, taken) = sync_channel(QUEUE);
        let (exits, exited) = mpsc::channel(QUEUE);
        let keeper = Keeper { running: Vec::new(), exits };
        let thread = thread::Builder::new().name("children".into()).spawn(move || keeper.run(&taken))?;
        Ok((Self { orders, thread: Some(thread) }, exited))
    }

    pub(crate) async fn start(&self, program: Program) -> Result<(), ChildError> {
        let (answer, answered) = oneshot::channel();
        self.orders.try_send(Order::Start(program, answer)).map_err(|_| ChildError::Ended)?;
        answered.await.map_err(|_| ChildError::Ended)?
    }

    /// Ends all, last started first, and waits for them; call it where it may block.
    pub(crate) fn end(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        // Refused only if the thread has ended.
        let _ = self.orders.send(Order::End);
        let _ = thread.join();
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        self.end();
    }
}

struct Running {
    name: String,
    log: PathBuf,
    child: Child,
}

struct Keeper {
    running: Vec<Running>,
    exits: mpsc::Sender<Exited>,
}

impl Keeper {
    fn run(mut self, orders: &Receiver<Order>) {
        loop {
            match orders.recv_timeout(LOOK) {
                Ok(Order::Start(program, answer)) => drop(answer.send(self.start(program))),
                Err(RecvTimeoutError::Timeout) => self.look(),
                Ok(Order::End) | Err(RecvTimeoutError::Disconnected) => return self.end(),
            }
        }
    }

    fn start(&mut self, program: Program) -> Result<(), ChildError> {
        let child = spawn(&program)
            .map_err(|error| ChildError::Start { program: program.path.display().to_string(), error })?;
        self.running.push(Running { name: program.name, log: program.log, child });
        Ok(())
    }

    /// Reaps those that have ended.
    fn look(&mut self) {
        let exits = self.exits.clone();
        self.running.retain_mut(|running| {
            let Ok(Some(status)) = running.child.try_wait() else { return true };
            let exited = Exited { name: running.name.clone(), log: running.log.clone(), status };
            // Nobody listens any more while all is being ended.
            let _ = exits.try_send(exited);
            false
        });
    }

    fn end(&mut self) {
        for running in self.running.iter().rev() {
            // It may have ended by itself.
            let _ = kill_process(Pid::from_child(&running.child), Signal::TERM);
        }
        let limit = Instant::now() + GRACE;
        while !self.running.is_empty() && Instant::now() < limit {
            thread::sleep(LOOK / 5);
            self.look();
        }
        for running in &mut self.running {
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }
}

/// In a process group of its own: the terminal's Ctrl-C is for this process alone.
fn spawn(program: &Program) -> io::Result<Child> {
    let log = log(&program.log)?;
    Command::new(std::env::current_exe()?)
        .arg(bound::SUBCOMMAND)
        .arg(std::process::id().to_string())
        .arg(&program.path)
        .args(&program.args)
        .envs(&program.env)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
}

fn log(path: &std::path::Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}
