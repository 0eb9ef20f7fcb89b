//! Real processes through the real stub.
#![allow(clippy::unwrap_used, clippy::panic)]

use rockstar_sidecar::process::{Ended, Exit, Launch, Process, SpawnError, Spawner, sandbox::Confinement};
use std::{path::Path, sync::LazyLock, time::Duration};

const PLENTY: u64 = 1 << 30;

fn spawner() -> &'static Spawner {
    static SPAWNER: LazyLock<Spawner> =
        LazyLock::new(|| Spawner::new(env!("CARGO_BIN_EXE_rockstar-sidecar").into()).unwrap());
    &SPAWNER
}

fn shell(script: &str) -> Launch {
    Launch {
        plugin: "p".into(),
        program: "/bin/sh".into(),
        arguments: vec!["-c".into(), script.into()],
        directory: "/tmp".into(),
        environment: [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into(),
        memory: PLENTY,
        confinement: Confinement::default(),
        host_socket: None,
    }
}

fn ended(exit: Exit) -> Ended {
    Ended { exit, out_of_memory: None }
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
    let process = Process::start(spawner(), &Launch { memory: 50 << 20, ..shell(script) }).await.unwrap();
    assert_eq!(process.ended().await.to_string(), "out of memory: more than 50 MiB resident");
}
