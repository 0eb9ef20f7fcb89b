//! A plugin that tries to get out: each change of its configuration brings `attempts`, and it prints what came of each.

mod calls;
mod context;
mod files;
mod raw;

use rockstar_plugin::{Plugin, PluginConfig, PluginContext, Result, Value, async_trait};
use std::{
    fs,
    io::{self, Read, Write},
    net::{TcpStream, UdpSocket},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    process::{Command, ExitCode, Stdio},
    thread,
    time::Duration,
};

/// How long a peer has to close or answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// What a client of gRPC says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

struct Hostile;

#[async_trait]
impl Plugin for Hostile {
    async fn initialize(&mut self, _: PluginContext) -> Result {
        Ok(())
    }

    async fn stop(&mut self) -> Result {
        println!("[{}] stopped", self.name());
        Ok(())
    }

    async fn on_config_change(&mut self, config: PluginConfig) -> Result {
        let name = self.name();
        let round = config.integer("round").unwrap_or_default();
        let attempts: Vec<String> =
            config.array("attempts").unwrap_or_default().iter().filter_map(Value::as_str).map(str::to_owned).collect();
        thread::spawn(move || {
            for attempt in attempts {
                let outcome = match attempted(&attempt) {
                    Ok(()) => "done".to_owned(),
                    Err(error) => error.to_string(),
                };
                println!("[{name} {round}] {attempt} -> {outcome} |");
            }
        });
        Ok(())
    }
}

fn attempted(attempt: &str) -> io::Result<()> {
    let (verb, rest) = attempt.split_once(' ').unwrap_or((attempt, ""));
    match verb {
        "read" => fs::read(rest).map(|_| ()),
        "write" => fs::write(rest, "x"),
        "own" => own(),
        "tcp" => TcpStream::connect(rest).map(|_| ()),
        "udp" => UdpSocket::bind("127.0.0.1:0").map(|_| ()),
        "socket" => calls::socket(number(rest)?),
        "io_uring" => calls::io_uring(),
        "x32" => calls::x32_socket(),
        "run" => run(rest),
        "written" => written(),
        "memfd" => calls::run_from_memory("/usr/bin/true", false),
        "memfd-execveat" => calls::run_from_memory("/usr/bin/true", true),
        "session" => calls::in_child(rest),
        "undumpable" => calls::undumpable(),
        "signal" => calls::signal(number(rest)?),
        "call" => raw::call(rest),
        "fd" => raw::call_on_file(rest),
        "attributes" => files::own_attributes(rest),
        "chmod-link" => files::chmod_through_link(rest),
        "socket-names" => files::socket_names(),
        "datagram" => files::datagram(rest),
        "list" => fs::read_dir(rest).map(|_| ()),
        "abstract" => abstract_socket(rest),
        "reach" => UnixStream::connect(rest).map(|_| ()),
        "own-socket" => own_socket(),
        "watch" => calls::watch(rest),
        "hop" => calls::hop(number(rest)?),
        "end-child" => calls::end_child(),
        "connect" => first_byte(UnixStream::connect(rest)?, PREFACE),
        "http" => first_byte(
            TcpStream::connect(rest)?,
            b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        ),
        "use" => context::use_without_asking(rest),
        "fork" => calls::leave_orphans(),
        "flood" => flood(number(rest)?),
        "leak" => leak(number(rest)?),
        _ => Err(io::Error::other("no such attempt")),
    }
}

fn number(text: &str) -> io::Result<i32> {
    text.parse().map_err(io::Error::other)
}

fn own() -> io::Result<()> {
    for file in ["data/file", "tmp/file"] {
        fs::write(file, "x")?;
        fs::rename(file, format!("{file}2"))?;
        fs::read(format!("{file}2"))?;
        fs::remove_file(format!("{file}2"))?;
    }
    fs::create_dir_all("data/a/b")?;
    fs::rename("data/a/b", "tmp/b")?;
    fs::remove_dir("tmp/b")
}

fn abstract_socket(name: &str) -> io::Result<()> {
    use std::os::linux::net::SocketAddrExt;
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    UnixStream::connect_addr(&address).map(|_| ())
}

/// A socket that it serves itself.
fn own_socket() -> io::Result<()> {
    fs::remove_file("data/own.sock").ok();
    let listener = UnixListener::bind("data/own.sock")?;
    let mut near = UnixStream::connect("data/own.sock")?;
    let (mut far, _) = listener.accept()?;
    near.write_all(b"ping")?;
    let mut said = [0; 4];
    far.read_exact(&mut said)?;
    if &said == b"ping" { Ok(()) } else { Err(io::Error::other("another one's words")) }
}

fn run(line: &str) -> io::Result<()> {
    let mut words = line.split(' ');
    let status = Command::new(words.next().unwrap_or_default())
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(status.to_string())) }
}

/// A script of its own making.
fn written() -> io::Result<()> {
    fs::write("data/script", "#!/bin/sh\n")?;
    fs::set_permissions("data/script", fs::Permissions::from_mode(0o755))?;
    run("data/script")
}

/// An error unless the peer says something.
fn first_byte(mut stream: impl Read + Write, hello: &[u8]) -> io::Result<()> {
    let closed = || io::Error::other("closed");
    stream.write_all(hello).map_err(|_| closed())?;
    match stream.read(&mut [0]) {
        Ok(0) => Err(closed()),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Err(closed()),
        Err(error) => Err(error),
    }
}

/// Megabytes of output.
fn flood(megabytes: i32) -> io::Result<()> {
    let line = format!("{}\n", "flood ".repeat(170));
    let mut output = io::stdout().lock();
    for _ in 0..u64::from(megabytes.unsigned_abs()) * 1024 {
        output.write_all(line.as_bytes())?;
    }
    drop(output);
    // What is printed right after is dropped as part of it.
    thread::sleep(Duration::from_secs(3));
    Ok(())
}

/// Megabytes of memory, and keeps them.
fn leak(megabytes: i32) -> io::Result<()> {
    for _ in 0..megabytes {
        std::mem::forget(vec![1_u8; 1 << 20]);
        thread::sleep(Duration::from_millis(1));
    }
    thread::sleep(PATIENCE);
    Ok(())
}

fn main() -> ExitCode {
    rockstar_plugin::run(Hostile)
}
