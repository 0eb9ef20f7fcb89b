//! The one permanent thread that starts and reaps all processes: a child is killed by the kernel when the thread that
//! started it ends, and only one place may wait for children. It watches what they take too, since it wakes anyway. Does I/O.

use super::{
    Ended, Exhaustion, Exit, Launch, LimitsNow, ProcessLimits, cleanup::Cleanup, exhaustion::Starvings,
    session::Session, session_processes as processes,
};
use parking_lot::Mutex;
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll},
    process::{Pid, WaitOptions, set_child_subreaper, wait},
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

/// How often is looked at what plugins take, and orphans are reaped.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };
/// How long killed processes have to vanish.
const END_TIMEOUT: Duration = Duration::from_secs(2);
/// Between attempts to kill what is left of a session.
const KILL_PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
const IDLE: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// Starts processes. All of them end with the last clone. At most one a program: it takes every child's end.
#[derive(Clone, Debug)]
pub struct Spawner {
    orders: Sender<Order>,
    bell: Arc<OwnedFd>,
    stub: PathBuf,
    sessions: Sessions,
    starvings: Starvings,
}

/// The sessions of which a process may live.
type Sessions = Arc<Mutex<HashMap<Pid, Arc<Session>>>>;

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
    limits: ProcessLimits,
    limits_now: LimitsNow,
    reply: oneshot::Sender<io::Result<Born>>,
}

#[derive(Debug)]
struct Born {
    child: std::process::Child,
    session: Arc<Session>,
    ended: watch::Receiver<Option<Ended>>,
}

#[derive(Debug)]
pub(super) struct Spawned {
    pub(super) session: Arc<Session>,
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
        let cleanup = Cleanup::start(&stub).map_err(warn).ok();
        let starvings = Starvings::default();
        let bell_of_reaper = Arc::clone(&bell);
        let reaper =
            Reaper { inbox, bell: bell_of_reaper, children, sessions: known, cleanup, starvings: starvings.clone() };
        std::thread::Builder::new().name("reaper".into()).spawn(move || reaper.run())?;
        Ok(Self { orders, bell, stub, sessions, starvings })
    }

    /// Notes what has run out so far.
    #[must_use]
    pub fn exhaustion(&self) -> Exhaustion {
        Exhaustion::begin(&self.starvings)
    }

    pub(super) async fn spawn(&self, launch: &Launch) -> io::Result<Spawned> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let (reply, born) = oneshot::channel();
        self.order(Order::Start(Box::new(Start {
            command: self.command(launch, theirs.into())?,
            plugin: launch.plugin.clone(),
            limits: launch.limits,
            limits_now: launch.limits_now,
            reply,
        })))?;
        let Born { mut child, session, ended } = born.await.map_err(|_| gone())??;
        let (stdout, stderr) = (child.stdout.take().ok_or_else(gone)?, child.stderr.take().ok_or_else(gone)?);
        Ok(Spawned {
            session,
            ended,
            verdict: UnixStream::from_std(ours)?,
            stdout: stdout.into(),
            stderr: stderr.into(),
        })
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
            .arg(launch.limits.descriptors.to_string())
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
        self.sessions.lock().get(&session).map(|session| session.plugin().to_owned())
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        // The last clone's channel closes right after; the thread must look.
        rustix::io::write(&*self.bell, &1u64.to_ne_bytes()).ok();
    }
}

fn warn(cause: io::Error) -> io::Error {
    tracing::warn!(%cause, "Processes that plugins have begun may outlive a sidecar that is killed: {cause}");
    cause
}

fn gone() -> io::Error {
    io::Error::other("the thread that starts processes has ended")
}

struct Reaper {
    inbox: Receiver<Order>,
    bell: Arc<OwnedFd>,
    children: HashMap<Pid, Child>,
    sessions: Sessions,
    cleanup: Option<Cleanup>,
    starvings: Starvings,
}

struct Child {
    session: Arc<Session>,
    limits: ProcessLimits,
    limits_now: LimitsNow,
    ended: watch::Sender<Option<Ended>>,
}

impl Reaper {
    fn run(mut self) {
        if let Err(cause) = set_child_subreaper(Some(rustix::process::getpid())) {
            tracing::warn!(%cause, "processes that a plugin leaves behind may survive it");
        }
        while self.take_orders() {
            self.reap();
            self.watch_usage();
            self.sleep();
        }
        self.end();
    }

    fn end(&mut self) {
        let until = Instant::now() + END_TIMEOUT;
        self.children.values().for_each(|child| {
            child.session.kill();
        });
        self.reap();
        while !self.sessions.lock().is_empty() && Instant::now() < until {
            self.sleep();
            self.reap();
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

    fn start(&mut self, Start { mut command, plugin, limits, limits_now, reply }: Start) {
        // Held meanwhile: nobody may ask about a session that began and is not noted yet.
        let mut sessions = self.sessions.lock();
        let born = command.spawn().map(|child| {
            let (sender, ended) = watch::channel(None);
            let pid = Pid::from_child(&child);
            let session = Arc::new(Session::new(plugin, pid));
            sessions.insert(pid, Arc::clone(&session));
            let child_of = Child { session: Arc::clone(&session), limits, limits_now, ended: sender };
            self.children.insert(pid, child_of);
            Born { child, session, ended }
        });
        drop(sessions);
        if let (Ok(born), Some(cleanup)) = (&born, &mut self.cleanup) {
            cleanup.add(born.session.leader()).map_err(warn).ok();
        }
        // Our copy of the stub's end must close, or the verdict never ends.
        drop(command);
        if let Err(Ok(born)) = reply.send(born) {
            born.session.kill();
        }
    }

    fn reap(&mut self) {
        let before = self.children.len();
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            let Some(exit) = Exit::of(status) else { continue };
            // Others are orphans of plugins, ours by the subreaper's duty.
            if let Some(child) = self.children.remove(&pid) {
                child.session.set_reaped();
                child.ended.send_replace(Some(Ended { exit, overrun: child.session.overrun() }));
            }
        }
        if self.children.len() < before {
            let own = self.cleanup.as_ref().map(Cleanup::process);
            processes::kill_strays(|pid| self.children.contains_key(&pid) || Some(pid) == own);
        }
        self.forget_gone();
    }

    /// Kills what the ends of plugins have left, until nobody is left: until then their sessions are theirs.
    fn forget_gone(&mut self) {
        let mut gone = Vec::new();
        self.sessions.lock().retain(|leader, session| {
            let is_gone = session.is_reaped() && session.kill();
            gone.extend(is_gone.then_some(*leader));
            !is_gone
        });
        for leader in gone {
            if let Some(cleanup) = &mut self.cleanup {
                cleanup.remove(leader).map_err(warn).ok();
            }
        }
    }

    fn watch_usage(&self) {
        if self.children.is_empty() {
            return;
        }
        let usages = processes::usages(&self.children.keys().copied().collect::<HashSet<_>>());
        for (session, usage) in usages {
            let Some(child) = self.children.get(&session) else { continue };
            let Some(overrun) = (child.limits_now)(child.limits).passed(&usage) else { continue };
            if overrun.starves_others() && child.session.overrun().is_none() {
                self.starvings.add();
            }
            child.session.end_for(overrun);
        }
    }

    fn sleep(&self) {
        let lives = self.children.values().filter_map(|child| child.session.life());
        let mut fds: Vec<_> =
            std::iter::once(&*self.bell).chain(lives).map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        let patience = match self.sessions.lock().len() {
            0 => IDLE,
            sessions if sessions > self.children.len() => KILL_PAUSE,
            _ => TICK,
        };
        // An interrupted sleep is a short one.
        poll(&mut fds, Some(&patience)).ok();
        rustix::io::read(&*self.bell, &mut [0u8; 8]).ok();
    }
}
