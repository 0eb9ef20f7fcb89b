//! A Redis server from the system's packages on a free port of the loopback, ended with the test.

use crate::authority::Authority;
use std::{
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

const STEP: Duration = Duration::from_millis(20);
const STEPS: usize = 1_500;
/// Ports are found free and may be taken before the server has them.
const ATTEMPTS: usize = 5;

pub(crate) struct Redis {
    process: Child,
    port: u16,
    scheme: &'static str,
}

impl Redis {
    pub(crate) fn start() -> Self {
        (0..ATTEMPTS).find_map(|_| Self::attempt(None)).expect("Redis does not start")
    }

    /// Speaks nothing but TLS.
    pub(crate) fn secured(authority: &Authority) -> Self {
        (0..ATTEMPTS).find_map(|_| Self::attempt(Some(authority))).expect("Redis does not start")
    }

    fn attempt(authority: Option<&Authority>) -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (scheme, listens) = match authority {
            None => ("redis", vec!["--port".into(), port.to_string()]),
            Some(authority) => ("rediss", tls(authority, port)),
        };
        let process = Command::new("redis-server")
            .args(listens)
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("no redis-server: install the package redis-server");
        let mut redis = Self { process, port, scheme };
        for _ in 0..STEPS {
            if redis.process.try_wait().unwrap().is_some() {
                return None;
            }
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(redis);
            }
            std::thread::sleep(STEP);
        }
        None
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }
}

fn tls(authority: &Authority, port: u16) -> Vec<String> {
    let file = |what| authority.of_server(what).display().to_string();
    let options = [
        ("--port", "0".to_owned()),
        ("--tls-port", port.to_string()),
        ("--tls-cert-file", file("crt")),
        ("--tls-key-file", file("key")),
        ("--tls-auth-clients", "no".to_owned()),
    ];
    options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
