//! What the tests of the command share. Starts processes, and ends them.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Runs `rockstar` to its end, with an empty home.
pub(crate) fn rockstar(args: &[&str]) -> Output {
    let home = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_rockstar"))
        .args(args)
        .env_clear()
        .env("HOME", home.path())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A directory that holds a plugin.
pub(crate) fn plugin(name: &str, version: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let manifest = format!("name: {name}\nversion: {version}\ndescription: A test\nauthor: Me <me@example.com>\n");
    fs::write(dir.path().join("plugin.yaml"), manifest).unwrap();
    program(&dir.path().join(name), 0o755);
    dir
}

pub(crate) fn program(path: &Path, mode: u32) {
    fs::write(path, "#!/bin/sh\nexit 0\n").unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A shell script.
pub(crate) fn program_with(path: &Path, script: &str) {
    fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Waits for something to come true, not for ever.
pub(crate) fn within(what: &str, mut is: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(30);
    while !is() {
        assert!(Instant::now() < limit, "not within 30 s: {what}");
        sleep(Duration::from_millis(20));
    }
}

/// An OCI registry on a free loopback port (Debian's docker-registry); it ends with this value.
pub(crate) struct Registry {
    child: Child,
    pub(crate) address: String,
    files: TempDir,
}

impl Registry {
    pub(crate) fn start() -> Self {
        let files = tempfile::tempdir().unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let config = files.path().join("config.yml");
        let storage = files.path().display();
        fs::write(
            &config,
            format!("version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {storage}}}}}\nhttp: {{addr: \"{address}\"}}\n"),
        )
        .unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry: install Debian's package of that name");
        let this = Self { child, address, files };
        this.wait();
        this
    }

    fn wait(&self) {
        within("docker-registry listens", || TcpStream::connect(&self.address).is_ok());
    }

    /// Where it keeps what it has.
    pub(crate) fn files(&self) -> &Path {
        self.files.path()
    }

    /// What it answers, over plain HTTP.
    pub(crate) fn get(&self, path: &str, accept: &str) -> Vec<u8> {
        use std::io::{Read as _, Write as _};
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\nAccept: {accept}\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let head = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        assert!(answer.starts_with(b"HTTP/1.0 200"), "{path}: {}", String::from_utf8_lossy(&answer));
        answer.split_off(head + 4)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
