//! Real processes through the real stub.
#![allow(clippy::unwrap_used, clippy::panic)]

use rockstar_sidecar::process::{
    Ended, Exit, Launch, Overrun, Process, ProcessLimits, SpawnError, Spawner, sandbox::Confinement,
};
use std::{
    path::Path,
    sync::{
        LazyLock,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

const PLENTY: ProcessLimits =
    ProcessLimits { memory: 1 << 30, threads: 256, descriptors: 1024, data: 256 << 20, tmp: 64 << 20 };

fn spawner() -> &'static Spawner {
    static SPAWNER: LazyLock<Spawner> =
        LazyLock::new(|| Spawner::new(env!("CARGO_BIN_EXE_rockstar-sidecar").into()).unwrap());
    &SPAWNER
}

/// What is in a process's directory counts for it.
static EMPTY: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());

fn shell(script: &str) -> Launch {
    Launch {
        plugin: "p".into(),
        program: "/bin/sh".into(),
        arguments: vec!["-c".into(), script.into()],
        directory: EMPTY.path().into(),
        environment: [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into(),
        limits: PLENTY,
        limits_now: std::convert::identity,
        confinement: Confinement::default(),
        host_socket: None,
    }
}

fn limited(script: &str, limits: ProcessLimits) -> Launch {
    Launch { limits, ..shell(script) }
}

fn ended(exit: Exit) -> Ended {
    Ended { exit, overrun: None }
}

/// Waits, at most 10 s, until the process is no more.
async fn gone(pid: &str) {
    for _ in 0..1000 {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if stat.is_empty() || stat.contains(") Z ") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("process {pid} is still there");
}

#[tokio::test]
async fn exit_code_and_last_lines_are_known() {
    let mut process = Process::start(spawner(), &shell("echo one >&2; echo two >&2; exit 3")).await.unwrap();
    assert_eq!(process.ended().await, ended(Exit::Code(3)));
    assert_eq!(process.last_lines().await, ["one", "two"]);
    assert_eq!(process.ended().await.to_string(), "exit code 3");
}

#[tokio::test]
async fn the_environment_is_clean_and_stdin_empty() {
    let mut process = Process::start(spawner(), &shell("env | grep -v -e ^PWD -e ^_ -e SHLVL >&2; cat")).await.unwrap();
    assert_eq!(process.ended().await.exit, Exit::Code(0));
    assert_eq!(process.last_lines().await, ["PATH=/usr/bin:/bin"]);
}

#[tokio::test]
async fn a_signal_is_named() {
    let process = Process::start(spawner(), &shell("kill -SEGV $$")).await.unwrap();
    assert_eq!(process.ended().await.to_string(), "signal 11 (SIGSEGV)");
}

#[tokio::test]
async fn what_cannot_be_executed_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let spawner = spawner();
    let own = std::fs::read(env!("CARGO_BIN_EXE_rockstar-sidecar")).unwrap();
    let foreign = [&own[..18], &[0xb7, 0], &own[20..64]].concat();
    let cases = [
        ("absent", None, "No such file"),
        ("plain", Some((0o644, &b"#!/bin/sh"[..])), "Permission denied"),
        ("text", Some((0o755, b"hello")), "Exec format error (os error 8): it is neither a program nor a script"),
        ("foreign", Some((0o755, &foreign)), "the program is built for aarch64, this machine is x86_64"),
    ];
    for (name, file, text) in cases {
        let program = directory.path().join(name);
        if let Some((mode, bytes)) = file {
            write(&program, bytes, mode);
        }
        let error = Process::start(spawner, &Launch { program, ..shell("") }).await.unwrap_err();
        assert!(matches!(error, SpawnError::Execute { .. }) && error.to_string().contains(text), "{error}");
    }
}

fn write(path: &Path, bytes: &[u8], mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, bytes).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn descendants_end_with_their_plugin() {
    let script =
        "(trap '' TERM; sleep 1000) & echo $! >&2; setsid sh -c 'echo $$ >&2; exec sleep 1000' & exec sleep 1000";
    let mut process = Process::start(spawner(), &shell(script)).await.unwrap();
    let children = lines(&mut process, 2).await;
    process.end(Duration::from_millis(100)).await;
    assert!(process.has_ended().is_some());
    for child in children {
        gone(&child).await;
    }
}

async fn lines(process: &mut Process, count: usize) -> Vec<String> {
    for _ in 0..1000 {
        let lines = process.last_lines().await;
        if lines.len() >= count {
            return lines;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("fewer lines on stderr");
}

#[tokio::test]
async fn dropping_the_process_kills_it() {
    let process = Process::start(spawner(), &shell("exec sleep 1000")).await.unwrap();
    let pid = process.session().as_raw_nonzero().to_string();
    drop(process);
    gone(&pid).await;
}

#[tokio::test]
async fn too_much_memory_is_the_end() {
    let script = "x=$(head -c 200000000 /dev/zero | tr '\\0' x); sleep 1000";
    let process =
        Process::start(spawner(), &limited(script, ProcessLimits { memory: 50 << 20, ..PLENTY })).await.unwrap();
    assert_eq!(process.ended().await.to_string(), "out of memory: more than 50 MiB resident");
}

/// The directory that a process with `data/` and `tmp/` starts in.
fn private() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for inner in ["data", "tmp"] {
        std::fs::create_dir(directory.path().join(inner)).unwrap();
    }
    directory
}

#[tokio::test]
async fn what_fills_the_disk_is_ended_and_what_keeps_to_its_share_is_not() {
    let limits = ProcessLimits { data: 2 << 20, tmp: 1 << 20, ..PLENTY };
    let (data, tmp) = (Overrun::Data(2 << 20), Overrun::Temporary(1 << 20));
    let many = "cd tmp; for d in 1 2 3 4 5 6 7 8; do for n in 1 2 3 4 5 6 7 8; do mkdir -p $d/$n/1/2/3/4; done; done";
    let cases = [
        ("head -c 4M /dev/urandom > data/a", data),
        ("mkdir -p data/a/b; head -c 4M /dev/urandom > data/a/b/c", data),
        ("head -c 2M /dev/urandom > tmp/a", tmp),
        // It has no name any more, and is not closed.
        ("exec 3> tmp/a; rm tmp/a; head -c 2M /dev/urandom >&3", tmp),
        (many, tmp),
    ];
    for (script, overrun) in cases {
        let directory = private();
        let script = format!("{script}; sleep 1000");
        let launch = Launch { directory: directory.path().into(), ..limited(&script, limits) };
        let ended = Process::start(spawner(), &launch).await.unwrap().ended().await;
        assert_eq!((ended.exit, ended.overrun), (Exit::Signal(9), Some(overrun)), "{script}");
    }
    let directory = private();
    let script = "head -c 1500k /dev/urandom > data/a; head -c 700k /dev/urandom > tmp/a; sleep 3";
    let launch = Launch { directory: directory.path().into(), ..limited(script, limits) };
    assert_eq!(Process::start(spawner(), &launch).await.unwrap().ended().await, ended(Exit::Code(0)));
}

#[tokio::test]
async fn what_starts_too_many_threads_is_ended_and_others_are_excused_for_it() {
    let before = spawner().exhaustion();
    let script = "n=0; while [ $n -lt 40 ]; do sleep 1000 & n=$((n + 1)); done; wait";
    let launch = limited(script, ProcessLimits { threads: 30, ..PLENTY });
    let ended = Process::start(spawner(), &launch).await.unwrap().ended().await;
    assert_eq!((ended.exit, ended.overrun), (Exit::Signal(9), Some(Overrun::Threads(30))));
    assert_eq!(ended.to_string(), "too many threads: more than 30 (limits.threads)");
    assert!(before.has_happened(false));
}

#[tokio::test]
async fn descriptors_are_bounded_for_each_process_and_for_all() {
    let limits = ProcessLimits { descriptors: 40, ..PLENTY };
    let mut process = Process::start(spawner(), &limited("ulimit -n >&2; ulimit -Hn >&2", limits)).await.unwrap();
    assert_eq!(process.ended().await.exit, Exit::Code(0));
    assert_eq!(process.last_lines().await, ["40", "40"]);
    let script = "exec 3</dev/null 4</dev/null 5</dev/null 6</dev/null; n=0; \
                  while [ $n -lt 8 ]; do sleep 1000 & n=$((n + 1)); done; wait";
    let ended = Process::start(spawner(), &limited(script, limits)).await.unwrap().ended().await;
    assert_eq!(ended.overrun, Some(Overrun::Descriptors(40)));
    assert_eq!(ended.to_string(), "too many open files: more than 40 descriptors (limits.descriptors)");
}

#[tokio::test]
async fn what_is_raised_counts_for_a_process_that_runs() {
    static RAISED: AtomicBool = AtomicBool::new(true);
    let limits_now = |began: ProcessLimits| match RAISED.load(SeqCst) {
        true => ProcessLimits { tmp: 8 << 20, threads: 60, ..began },
        false => began,
    };
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("tmp")).unwrap();
    let script = "head -c 3000000 /dev/zero > tmp/a; i=0; while [ $i -lt 40 ]; do sleep 60 & i=$((i+1)); done; \
                  touch tmp/begun; sleep 60";
    let launch = Launch {
        directory: directory.path().into(),
        limits_now,
        ..limited(script, ProcessLimits { tmp: 1 << 20, threads: 30, ..PLENTY })
    };
    let process = Process::start(spawner(), &launch).await.unwrap();
    while !directory.path().join("tmp/begun").exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Longer than between two looks at threads and at the disk.
    let early = tokio::time::timeout(Duration::from_secs(3), process.ended()).await;
    assert!(early.is_err(), "{early:?}");
    RAISED.store(false, SeqCst);
    let ended = tokio::time::timeout(Duration::from_secs(30), process.ended()).await.unwrap();
    assert!(matches!(ended.overrun, Some(Overrun::Threads(30) | Overrun::Temporary(1_048_576))), "{ended:?}");
}
