//! The one permanent thread that starts and reaps all processes: a child is killed by the kernel when the thread that
//! started it ends, and only one place may wait for children. It watches memory too, since it wakes anyway. Does I/O.

use super::{Ended, Exit, Launch, tree};
use parking_lot::Mutex;
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll},
    process::{Pid, PidfdFlags, WaitOptions, pidfd_open, set_child_subreaper, wait},
};
use std::{
    collections::{HashMap, HashSet},
    io,
    os::fd::OwnedFd,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Arc,
        mpsc::{Receiver, Sender, TryRecvError, channel},
    },
    time::{Duration, Instant},
};
use tokio::{
    net::UnixStream,
    sync::{oneshot, watch},
};

/// How often memory is looked at, and orphans are reaped.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };
/// How long killed processes have to vanish.
const END_TIMEOUT: Duration = Duration::from_secs(2);
const IDLE: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// Starts processes. All of them end with the last clone. At most one a program: it takes every child's end.
#[derive(Clone, Debug)]
pub struct Spawner {
    orders: Sender<Order>,
    bell: Arc<OwnedFd>,
    stub: PathBuf,
    sessions: Sessions,
}

/// The plugins whose processes live, by session.
type Sessions = Arc<Mutex<HashMap<Pid, String>>>;

#[derive(Debug)]
enum Order {
    Start(Box<Start>),
    /// Kill all, and start no more.
    End(oneshot::Sender<()>),
}

#[derive(Debug)]
struct Start {
    command: Command,
    plugin: String,
    memory: u64,
    reply: oneshot::Sender<io::Result<Born>>,
}

#[derive(Debug)]
struct Born {
    child: std::process::Child,
    ended: watch::Receiver<Option<Ended>>,
}

#[derive(Debug)]
pub(super) struct Spawned {
    pub(super) pid: Pid,
    pub(super) ended: watch::Receiver<Option<Ended>>,
    pub(super) verdict: UnixStream,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

impl Spawner {
    /// `stub` is the sidecar's own program.
    pub fn new(stub: PathBuf) -> io::Result<Self> {
        let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (orders, inbox) = channel();
        let sessions = Sessions::default();
        let (children, known) = (HashMap::new(), Arc::clone(&sessions));
        let reaper = Reaper { inbox, bell: Arc::clone(&bell), children, sessions: known };
        std::thread::Builder::new().name("reaper".into()).spawn(move || reaper.run())?;
        Ok(Self { orders, bell, stub, sessions })
    }

    pub(super) async fn spawn(&self, launch: &Launch) -> io::Result<Spawned> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let (reply, born) = oneshot::channel();
        self.order(Order::Start(Box::new(Start {
            command: self.command(launch, theirs.into())?,
            plugin: launch.plugin.clone(),
            memory: launch.memory,
            reply,
        })))?;
        let Born { mut child, ended } = born.await.map_err(|_| gone())??;
        let (stdout, stderr) = (child.stdout.take().ok_or_else(gone)?, child.stderr.take().ok_or_else(gone)?);
        let pid = Pid::from_child(&child);
        Ok(Spawned { pid, ended, verdict: UnixStream::from_std(ours)?, stdout: stdout.into(), stderr: stderr.into() })
    }

    /// Kills all processes; returns when they are gone.
    pub async fn end(&self) {
        let (reply, ended) = oneshot::channel();
        if self.order(Order::End(reply)).is_ok() {
            // Without an answer there is no thread any more, and so no process.
            ended.await.ok();
        }
    }

    fn order(&self, order: Order) -> io::Result<()> {
        self.orders.send(order).map_err(|_| gone())?;
        rustix::io::write(&*self.bell, &1u64.to_ne_bytes())?;
        Ok(())
    }

    /// The stub gets the socket for its verdict as stdin; the plugin gets none.
    fn command(&self, launch: &Launch, verdict: OwnedFd) -> io::Result<Command> {
        let mut command = Command::new(&self.stub);
        command
            .arg(super::stub::NAME)
            .arg(std::process::id().to_string())
            .arg(serde_json::to_string(&launch.confinement)?)
            .arg(&launch.program)
            .args(&launch.arguments)
            .env_clear()
            .envs(&launch.environment)
            .current_dir(&launch.directory)
            .stdin(verdict)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Ok(command)
    }

    /// The plugin whose session this is.
    #[must_use]
    pub fn plugin_of(&self, session: Pid) -> Option<String> {
        self.sessions.lock().get(&session).cloned()
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        // The last clone's channel closes right after; the thread must look.
        rustix::io::write(&*self.bell, &1u64.to_ne_bytes()).ok();
    }
}

fn gone() -> io::Error {
    io::Error::other("the thread that starts processes has ended")
}

struct Reaper {
    inbox: Receiver<Order>,
    bell: Arc<OwnedFd>,
    children: HashMap<Pid, Child>,
    sessions: Sessions,
}

struct Child {
    /// Readable when the process has ended.
    life: Option<OwnedFd>,
    memory: u64,
    killed_for_memory: bool,
    ended: watch::Sender<Option<Ended>>,
}

impl Reaper {
    fn run(mut self) {
        if let Err(cause) = set_child_subreaper(Some(rustix::process::getpid())) {
            tracing::warn!(%cause, "processes that a plugin leaves behind may survive it");
        }
        while self.take_orders() {
            self.reap();
            self.watch_memory();
            self.sleep();
        }
        self.end();
    }

    fn end(&mut self) {
        let until = Instant::now() + END_TIMEOUT;
        self.children.keys().for_each(|session| tree::kill(*session));
        while !self.children.is_empty() && Instant::now() < until {
            self.reap();
            self.sleep();
        }
    }

    /// False when nobody is left to order.
    fn take_orders(&mut self) -> bool {
        loop {
            match self.inbox.try_recv() {
                Ok(Order::Start(start)) => self.start(*start),
                Ok(Order::End(done)) => {
                    self.end();
                    let _ = done.send(());
                    return false;
                }
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn start(&mut self, Start { mut command, plugin, memory, reply }: Start) {
        // Held meanwhile: nobody may ask about a session that began and is not noted yet.
        let mut sessions = self.sessions.lock();
        let born = command.spawn().map(|child| {
            let (sender, ended) = watch::channel(None);
            let pid = Pid::from_child(&child);
            sessions.insert(pid, plugin);
            let life = pidfd_open(pid, PidfdFlags::empty()).ok();
            self.children.insert(pid, Child { life, memory, killed_for_memory: false, ended: sender });
            Born { child, ended }
        });
        drop(sessions);
        // Our copy of the stub's end must close, or the verdict never ends.
        drop(command);
        if let Err(Ok(born)) = reply.send(born) {
            tree::kill(Pid::from_child(&born.child));
        }
    }

    fn reap(&mut self) {
        let before = self.children.len();
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            let Some(exit) = Exit::of(status) else { continue };
            // Others are orphans of plugins, ours by the subreaper's duty.
            if let Some(child) = self.children.remove(&pid) {
                let out_of_memory = child.killed_for_memory.then_some(child.memory);
                child.ended.send_replace(Some(Ended { exit, out_of_memory }));
            }
        }
        if self.children.len() < before {
            tree::kill_strays(|pid| self.children.contains_key(&pid));
            self.sessions.lock().retain(|session, _| self.children.contains_key(session));
        }
    }

    fn watch_memory(&mut self) {
        if self.children.is_empty() {
            return;
        }
        let residents = tree::residents(&self.children.keys().copied().collect::<HashSet<_>>());
        for (session, resident) in residents {
            let Some(child) = self.children.get_mut(&session) else { continue };
            if resident > child.memory {
                child.killed_for_memory = true;
                tree::kill(session);
            }
        }
    }

    fn sleep(&self) {
        let lives = self.children.values().filter_map(|c| c.life.as_ref());
        let mut fds: Vec<_> =
            std::iter::once(&*self.bell).chain(lives).map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        let patience = if self.children.is_empty() { IDLE } else { TICK };
        // An interrupted sleep is a short one.
        poll(&mut fds, Some(&patience)).ok();
        rustix::io::read(&*self.bell, &mut [0u8; 8]).ok();
    }
}
