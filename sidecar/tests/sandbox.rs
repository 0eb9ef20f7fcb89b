//! Programs of each kind under the sandbox, and what they are kept from, without a plugin around them.
#![allow(clippy::unwrap_used, clippy::panic)]

use rockstar_sidecar::process::{
    Exit, Launch, Process, ProcessLimits, Spawner,
    sandbox::{Confinement, Parts, Volume},
};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
    time::Duration,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_rockstar-sidecar");

/// Found before the spawner takes every child's end.
static PARTS: LazyLock<Parts> = LazyLock::new(|| Parts::find(Path::new(PROGRAM)).unwrap());
static GO: LazyLock<Vec<PathBuf>> = LazyLock::new(|| ["0", "1"].into_iter().filter_map(build_go).collect());
static SPAWNER: LazyLock<Spawner> = LazyLock::new(|| {
    LazyLock::force(&PARTS);
    LazyLock::force(&GO);
    Spawner::new(PROGRAM.into()).unwrap()
});

/// A plugin's private directory.
struct Scene {
    directory: tempfile::TempDir,
    confinement: Confinement,
}

impl Scene {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for inner in ["data", "tmp", "artifact", "volume"] {
            fs::create_dir(directory.path().join(inner)).unwrap();
        }
        let artifact = directory.path().join("artifact");
        Self { directory, confinement: Confinement { parts: *PARTS, artifact, ..Confinement::default() } }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A program of the plugin's own.
    fn program(&self, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let program = self.path("artifact/program");
        fs::write(&program, text).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        program
    }

    async fn start(&self, program: &Path, arguments: &[&str]) -> Process {
        let environment =
            [("PATH", "/usr/local/bin:/usr/bin:/bin".to_owned()), ("HOME", self.path("data").display().to_string())];
        let launch = Launch {
            plugin: "p".into(),
            program: program.into(),
            arguments: arguments.iter().map(|&a| a.to_owned()).collect(),
            directory: self.directory.path().into(),
            environment: environment.map(|(key, value)| (key.to_owned(), value)).into(),
            limits: ProcessLimits { memory: 1 << 30, threads: 256, descriptors: 1024, data: 256 << 20, tmp: 64 << 20 },
            limits_now: std::convert::identity,
            confinement: self.confinement.clone(),
            host_socket: None,
        };
        Process::start(&SPAWNER, &launch).await.unwrap()
    }

    /// Runs it to its end; gives what it printed on stderr.
    async fn run(&self, program: &Path, arguments: &[&str]) -> Vec<String> {
        let mut process = self.start(program, arguments).await;
        let ended = tokio::time::timeout(Duration::from_secs(60), process.ended()).await.unwrap();
        let lines = process.last_lines().await;
        assert_eq!(ended.exit, Exit::Code(0), "{lines:?}");
        lines
    }
}

/// Says that this machine lacks what a test needs. CI's must not.
fn skipped(why: &str) {
    assert!(env::var_os("CI").is_none(), "with CI set no test may be skipped: {why}");
    eprintln!("SKIPPED: {why}");
}

/// Says why, if this kernel enforces too little for a test.
fn enforced() -> bool {
    let missing = PARTS.missing();
    if !missing.is_empty() {
        skipped(&format!("this kernel does not enforce the sandbox: {}", missing.join("; ")));
    }
    missing.is_empty()
}

fn found(program: &str) -> Option<PathBuf> {
    let found = ["/usr/bin", "/usr/local/bin", "/usr/local/go/bin"].iter().map(|d| Path::new(d).join(program));
    let found = found.into_iter().find(|p| p.is_file());
    if found.is_none() {
        skipped(&format!("there is no {program} on this machine"));
    }
    found
}

/// Without and with cgo: static, and linked to the C library.
fn build_go(cgo: &str) -> Option<PathBuf> {
    let source = r#"package main

import (
	"fmt"
	"net"
	"os"
)

func main() {
	listener, err := net.Listen("unix", "plugin.sock")
	if err == nil {
		go net.Dial("unix", "plugin.sock")
		_, err = listener.Accept()
	}
	if err == nil {
		err = os.WriteFile("data/file", []byte("x"), 0o600)
	}
	if _, denied := net.Dial("udp", "127.0.0.1:53"); denied == nil {
		err = fmt.Errorf("UDP works")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Fprintln(os.Stderr, "started")
}
"#;
    let go = found("go")?;
    let directory = tempfile::tempdir().unwrap().keep();
    fs::write(directory.join("main.go"), source).unwrap();
    let build = Command::new(go)
        .args(["build", "-o", "program", "main.go"])
        .env("CGO_ENABLED", cgo)
        .env("GOFLAGS", "-mod=mod")
        .current_dir(&directory)
        .status();
    assert!(build.unwrap().success());
    Some(directory.join("program"))
}

/// Listens, connects, uses its directories and threads; fails at what it must not do.
const PYTHON: &str = r#"
import os, socket, sys, threading
listener = socket.socket(socket.AF_UNIX); listener.bind("plugin.sock"); listener.listen()
thread = threading.Thread(target=lambda: socket.socket(socket.AF_UNIX).connect("plugin.sock")); thread.start()
listener.accept(); thread.join()
for name in ("data/file", "tmp/file"):
    with open(name, "w") as file: file.write("x")
    os.rename(name, name + "2"); os.remove(name + "2")
import ssl, json, hashlib, ctypes
print("started", file=sys.stderr)
"#;

const NODE: &str = r#"
const net = require("net"), fs = require("fs");
fs.writeFileSync("data/file", "x");
const server = net.createServer(() => { server.close(); console.error("started"); process.exit(0); });
server.listen("plugin.sock", () => net.connect("plugin.sock"));
"#;

const JAVA: &str = r#"
import java.net.*; import java.nio.*; import java.nio.channels.*; import java.nio.file.*;
public class Program {
    public static void main(String[] arguments) throws Exception {
        Thread[] threads = new Thread[8];
        for (int i = 0; i < threads.length; i++) {
            threads[i] = new Thread(() -> { for (int j = 0; j < 200; j++) { byte[] bytes = new byte[100_000]; } });
            threads[i].start();
        }
        for (Thread thread : threads) thread.join();
        var server = ServerSocketChannel.open(StandardProtocolFamily.UNIX);
        server.bind(UnixDomainSocketAddress.of("plugin.sock"));
        var client = SocketChannel.open(UnixDomainSocketAddress.of("plugin.sock"));
        server.accept().write(ByteBuffer.wrap("x".getBytes()));
        if (client.read(ByteBuffer.allocate(1)) != 1) throw new Exception("nothing read");
        Path file = Files.writeString(Path.of("data/file"), "x");
        Files.copy(file, Path.of("data/copy"), StandardCopyOption.COPY_ATTRIBUTES);
        System.gc();
        System.err.println("started");
    }
}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn python_node_go_and_java_start() {
    LazyLock::force(&SPAWNER);
    for network in [false, true] {
        let mut scene = Scene::new();
        scene.confinement.network = network;
        if let Some(python) = found("python3") {
            assert_eq!(scene.run(&python, &["-c", PYTHON]).await, ["started"]);
        }
        fs::remove_file(scene.path("plugin.sock")).ok();
        if let Some(node) = found("node") {
            assert_eq!(scene.run(&node, &["-e", NODE]).await, ["started"]);
        }
        fs::remove_file(scene.path("plugin.sock")).ok();
        if let Some(java) = found("java") {
            fs::write(scene.path("artifact/Program.java"), JAVA).unwrap();
            let lines = scene.run(&java, &["artifact/Program.java"]).await;
            assert_eq!(lines.last().map(String::as_str), Some("started"), "{lines:?}");
        }
    }
    if found("python3").is_some() {
        let scene = Scene::new();
        let program = scene.program(&format!("#!/usr/bin/env python3\n{PYTHON}"));
        assert_eq!(scene.run(&program, &[]).await, ["started"], "through env");
    }
    for go in GO.iter() {
        let scene = Scene::new();
        let program = scene.program("");
        fs::copy(go, &program).unwrap();
        match PARTS.filter {
            true => assert_eq!(scene.run(&program, &[]).await, ["started"]),
            false => skipped("without seccomp Go's UDP socket works"),
        }
    }
}

/// Runs a shell of its own that tries something; the shell's builtins only, unless the test is about programs.
async fn shell(scene: &Scene, script: &str) -> String {
    scene
        .run(Path::new("/bin/sh"), &["-c", &format!("{{ {script} ; }} 2>/dev/null && echo yes >&2 || echo no >&2")])
        .await
        .join(",")
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_its_own_unless_volumes_are_granted() {
    if !enforced() {
        return;
    }
    let mut scene = Scene::new();
    fs::write(scene.path("artifact/file"), "x\n").unwrap();
    fs::write(scene.path("volume/file"), "x").unwrap();
    let volume = scene.path("volume").display().to_string();
    // Its own directory is the parent of all these here, and readable; so the volume is looked for from outside.
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("file"), "x\n").unwrap();
    let outside = elsewhere.path().display().to_string();
    for (script, can) in [
        ("echo x > data/new", "yes"),
        ("echo x > tmp/new", "yes"),
        ("read x < artifact/file", "yes"),
        ("echo x > artifact/file", "no"),
        ("echo x > file", "no"),
        ("read x < /etc/passwd", "no"),
        ("read x < /etc/hosts", "yes"),
        ("echo x > /tmp/rockstar-test-file", "no"),
        (&format!("read x < {outside}/file"), "no"),
        (&format!("echo x > {volume}/file"), "no"),
    ] {
        assert_eq!(shell(&scene, script).await, can, "{script}");
    }
    scene.confinement.volumes = vec![Volume { path: elsewhere.path().into(), read_only: false }];
    assert_eq!(shell(&scene, &format!("read x < {outside}/file && echo x > {outside}/new")).await, "yes");
    assert_eq!(shell(&scene, "read x < /etc/passwd").await, "no", "other files stay closed");
    scene.confinement.volumes = vec!["/etc:ro".parse().unwrap()];
    assert_eq!(shell(&scene, "read x < /etc/passwd").await, "yes");
    assert_eq!(shell(&scene, "echo x > /etc/rockstar-test-file").await, "no");
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_are_its_own_unless_exec_is_granted() {
    if !enforced() {
        return;
    }
    let mut scene = Scene::new();
    let other = scene.program("#!/bin/sh\n");
    let other = other.display().to_string();
    for script in ["/bin/true", "/lib64/ld-linux-x86-64.so.2 /bin/true", "/bin/sh -c :", &other] {
        assert_eq!(shell(&scene, script).await, "no", "{script}");
    }
    scene.confinement.exec = true;
    for script in ["/bin/true", "/bin/sh -c :", &other] {
        assert_eq!(shell(&scene, script).await, "yes", "{script}");
    }
    let written = "echo '#!/bin/sh' > data/script && /bin/chmod 755 data/script && data/script";
    assert_eq!(shell(&scene, written).await, "no", "nothing that can be written can be executed");
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_programs_are_counted_and_the_leader_becomes_another_only_before_it_is_settled() {
    if !enforced() {
        return;
    }
    let scene = Scene::new();
    let script = "until [ -e data/go ]; do :; done; exec /bin/sh -c :";
    let process = scene.start(Path::new("/bin/sh"), &["-c", script]).await;
    fs::write(scene.path("data/go"), "").unwrap();
    assert_eq!(ended(&process).await, Exit::Code(0), "it may still become another program");
    fs::remove_file(scene.path("data/go")).unwrap();
    let process = scene.start(Path::new("/bin/sh"), &["-c", &format!("/bin/sh -c :; {script}")]).await;
    let mut refused = process.refused().unwrap();
    refused.wait_for(|count| *count == 1).await.unwrap();
    process.settle();
    fs::write(scene.path("data/go"), "").unwrap();
    assert_ne!(ended(&process).await, Exit::Code(0));
    assert_eq!(*refused.borrow_and_update(), 2);
}

async fn ended(process: &Process) -> Exit {
    tokio::time::timeout(Duration::from_secs(60), process.ended()).await.unwrap().exit
}

const COPIES: &str = r#"
import os, shutil, stat, sys, tarfile, tempfile
os.makedirs("data/from/inner", mode=0o750)
with open("data/from/file", "w") as file: file.write("x")
os.chmod("data/from/file", 0o640)
os.utime("data/from/file", (1, 2))
shutil.copy("data/from/file", "data/copied"); shutil.copy2("data/from/file", "data/copied2")
shutil.copytree("data/from", "data/tree")
os.symlink("file", "data/tree/link")
os.utime("data/tree/link", (3, 4), follow_symlinks=False)
with tarfile.open("tmp/archive", "w") as archive: archive.add("data/tree", "tree")
with tarfile.open("tmp/archive") as archive: archive.extractall("data/unpacked")
for path in ("data/copied2", "data/tree/file", "data/unpacked/tree/file"):
    found = os.stat(path)
    assert stat.S_IMODE(found.st_mode) == 0o640 and found.st_mtime == 2, path
assert stat.S_IMODE(os.stat("data/unpacked/tree/inner").st_mode) == 0o750
assert os.lstat("data/tree/link").st_mtime == 4
with tempfile.NamedTemporaryFile(dir="tmp") as file: os.fchmod(file.fileno(), 0o600)
descriptor = os.open("data/copied", os.O_RDONLY); os.fchmod(descriptor, 0o400)
os.chmod(f"/proc/self/fd/{descriptor}", 0o444)
assert stat.S_IMODE(os.stat("data/copied").st_mode) == 0o444
print("copied", file=sys.stderr)
"#;

const COPIES_NODE: &str = r#"
const fs = require("fs");
fs.mkdirSync("data/from/inner", { recursive: true });
fs.writeFileSync("data/from/file", "x");
fs.chmodSync("data/from/file", 0o640);
fs.utimesSync("data/from/file", 1, 2);
fs.cpSync("data/from", "data/to", { recursive: true, preserveTimestamps: true });
const found = fs.statSync("data/to/file");
if ((found.mode & 0o777) !== 0o640 || found.mtimeMs !== 2000) throw new Error(JSON.stringify(found));
console.error("copied");
"#;

const COPIES_SHELL: &str =
    "set -e; mkdir -p data/a/b; echo x > data/a/f; chmod 640 data/a/f; touch -d @2 data/a/f data/a/b
    cp -p data/a/f data/g; cp -a data/a data/h; tar -C data -cf tmp/t a; mkdir data/u; tar -C data/u -xpf tmp/t
    install -m 600 data/a/f data/i; mv data/g tmp/g
    test $(stat -c %a%Y tmp/g) = 6402; test $(stat -c %a%Y data/h/f) = 6402; test $(stat -c %a%Y data/u/a/f) = 6402
    test $(stat -c %Y data/u/a/b) = 2; test $(stat -c %a data/i) = 600; echo copied >&2";

#[tokio::test(flavor = "multi_thread")]
async fn files_are_copied_with_their_attributes() {
    LazyLock::force(&SPAWNER);
    if let Some(python) = found("python3") {
        assert_eq!(Scene::new().run(&python, &["-c", COPIES]).await, ["copied"]);
    }
    if let Some(node) = found("node") {
        assert_eq!(Scene::new().run(&node, &["-e", COPIES_NODE]).await, ["copied"]);
    }
    let mut scene = Scene::new();
    scene.confinement.exec = true;
    assert_eq!(scene.run(Path::new("/bin/sh"), &["-c", COPIES_SHELL]).await, ["copied"]);
}

const WATCHES: &str = r#"
const fs = require("fs");
const watcher = fs.watch("data", () => { watcher.close(); console.error("seen"); process.exit(0); });
fs.writeFileSync("data/file", "x");
"#;

#[tokio::test(flavor = "multi_thread")]
async fn files_are_watched_with_filesystem() {
    LazyLock::force(&SPAWNER);
    let Some(node) = found("node") else { return };
    let mut scene = Scene::new();
    scene.confinement.filesystem = true;
    assert_eq!(scene.run(&node, &["-e", WATCHES]).await, ["seen"]);
}

const CHILDREN: &str = r#"
import os, signal, subprocess, sys, threading
child = subprocess.Popen(["/bin/sleep", "1000"]); child.kill()
assert child.wait() == -9
child = subprocess.Popen(["/bin/sh", "-c", "/bin/sleep 1000 & wait"]); child.terminate()
assert child.wait() == -15
assert subprocess.run(["/bin/echo", "x"], capture_output=True).stdout == b"x\n"
os.kill(os.getpid(), 0); signal.pthread_kill(threading.get_ident(), 0); os.kill(0, 0)
for target in (os.getppid(), 1, -1):
    try: os.kill(target, 0)
    except PermissionError: continue
    if target != -1: sys.exit(f"{target} can be signalled")
print("ended", file=sys.stderr)
"#;

/// By Landlock, and by the sidecar where Landlock does not confine signals.
#[tokio::test(flavor = "multi_thread")]
async fn children_are_signalled_and_nobody_else() {
    if !enforced() {
        return;
    }
    let Some(python) = found("python3") else { return };
    for landlock in [PARTS.landlock, 5] {
        let mut scene = Scene::new();
        scene.confinement.exec = true;
        scene.confinement.parts.landlock = landlock;
        assert_eq!(scene.run(&python, &["-c", CHILDREN]).await, ["ended"], "Landlock {landlock}");
    }
}

/// As netty's epoll transport does.
const WATCHED_FIRST: &str = r#"
import select, socket, sys
listener = socket.socket(socket.AF_UNIX); listener.bind("plugin.sock"); listener.listen()
client = socket.socket(socket.AF_UNIX); client.setblocking(False)
poll = select.epoll(); poll.register(client, select.EPOLLOUT | select.EPOLLET); poll.poll(0)
client.connect("plugin.sock")
print("seen" if poll.poll(1) else "not seen", file=sys.stderr)
client.send(b"x"); assert listener.accept()[0].recv(1) == b"x"
"#;

/// What the sidecar connects takes the descriptor's place; Landlock leaves it as it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_is_watched_before_it_connects_is_watched_on_with_landlock_alone() {
    if !enforced() {
        return;
    }
    let Some(python) = found("python3") else { return };
    let expected = if PARTS.landlock >= 9 { "seen" } else { "not seen" };
    assert_eq!(Scene::new().run(&python, &["-c", WATCHED_FIRST]).await, [expected]);
}
