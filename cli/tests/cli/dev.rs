//! `rockstar dev` as the owner of processes, with programs that stand in for sidecar and application.

use crate::support::{program_with, within};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::{
    fs,
    io::Read as _,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
};
use tempfile::TempDir;

/// A session over an empty directory; whatever it starts notes its process id.
struct Session {
    files: TempDir,
    child: Child,
}

impl Session {
    fn start(sidecar: &str, app: &str) -> Self {
        let files = tempfile::tempdir().unwrap();
        let path = |name: &str| files.path().join(name);
        fs::create_dir(path("yaml")).unwrap();
        program_with(&path("sidecar"), sidecar);
        program_with(&path("app"), app);
        let child = Command::new(env!("CARGO_BIN_EXE_rockstar"))
            .args(["dev", "--instances", "2", "--sidecar"])
            .arg(path("sidecar"))
            .arg("--app")
            .arg(path("app"))
            .arg(path("yaml"))
            .env("PIDS", path("pids"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { files, child }
    }

    fn pids(&self) -> Vec<i32> {
        let text = fs::read_to_string(self.files.path().join("pids")).unwrap_or_default();
        text.lines().map(|line| line.parse().unwrap()).collect()
    }

    /// Waits until all four run.
    fn all_run(&self) -> Vec<i32> {
        within("four processes run", || self.pids().len() == 4);
        self.pids()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn wait(&mut self) -> (ExitStatus, String) {
        let mut text = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        (self.child.wait().unwrap(), text)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn gone(pids: &[i32]) -> bool {
    pids.iter().all(|pid| test_kill_process(Pid::from_raw(*pid).unwrap()).is_err() || is_zombie(*pid))
}

/// Whoever inherits it may be slow to take its status.
fn is_zombie(pid: i32) -> bool {
    fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).is_ok_and(|stat| stat.contains(") Z "))
}

const STAYS: &str = "echo $$ >>\"$PIDS\"; exec sleep 600";
const STUBBORN: &str = "trap '' TERM; echo $$ >>\"$PIDS\"; while :; do sleep 1; done";

#[test]
fn all_processes_end_with_the_session() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut session = Session::start(STAYS, STAYS);
        let pids = session.all_run();
        session.signal(signal);
        let (status, text) = session.wait();
        assert!(status.success(), "{status} {text}");
        assert!(gone(&pids));
    }
}

#[test]
fn processes_that_do_not_want_to_end_are_ended() {
    let mut session = Session::start(STUBBORN, STAYS);
    let pids = session.all_run();
    session.signal(Signal::TERM);
    assert!(session.wait().0.success());
    assert!(gone(&pids));
}

#[test]
fn all_processes_end_when_the_session_is_killed() {
    let mut session = Session::start(STUBBORN, STUBBORN);
    let pids = session.all_run();
    session.signal(Signal::KILL);
    session.wait();
    within("all are gone", || gone(&pids));
}

#[test]
fn a_sidecar_that_ends_by_itself_is_shown_with_its_last_words() {
    let mut session = Session::start("echo 'no such option' >&2; exit 3", STAYS);
    let (status, text) = session.wait();
    assert_eq!(status.code(), Some(2));
    assert!(text.contains("sidecar of instance-") && text.contains("exit status: 3"), "{text}");
    assert!(text.contains("no such option"), "{text}");
}
