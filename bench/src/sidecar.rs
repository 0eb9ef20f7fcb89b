//! A real sidecar, stand-alone, with one plugin or none. Starts it, waits until it is ready.

use crate::child::Child;
use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

const LIMIT: Duration = Duration::from_secs(20);
pub(crate) const PLUGIN: &str = "bench-plugin";

pub(crate) struct Sidecar {
    child: Child,
    pub(crate) socket: PathBuf,
    pub(crate) started_in: Duration,
    files: TempDir,
}

impl Sidecar {
    /// `plugin` is the program of the plugin, if there is to be one.
    pub(crate) async fn start(plugin: Option<&Path>) -> Result<Self> {
        let files = tempfile::tempdir()?;
        let (config, socket) = (files.path().join("plugins.json"), files.path().join("app.sock"));
        fs::write(&config, configuration(files.path(), plugin)?)?;
        let admin = format!("127.0.0.1:{}", free_port()?);
        let started = Instant::now();
        let child = Child::start([
            beside("rockstar-sidecar")?.as_os_str(),
            "--config".as_ref(),
            config.as_os_str(),
            "--socket".as_ref(),
            socket.as_os_str(),
            "--data-dir".as_ref(),
            files.path().join("data").as_os_str(),
            "--run-dir".as_ref(),
            files.path().join("run").as_os_str(),
            "--admin".as_ref(),
            admin.as_ref(),
            "--strict".as_ref(),
        ])?;
        ready(&admin, started + LIMIT).await?;
        Ok(Self { child, socket, started_in: started.elapsed(), files })
    }

    /// Where the directories of plugins' processes are.
    pub(crate) fn run_directory(&self) -> PathBuf {
        self.files.path().join("run")
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

/// A program that is built with this one.
pub(crate) fn beside(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    ensure!(path.is_file(), "{} is not there; bench/run builds it", path.display());
    Ok(path)
}

/// The plugins.json; lays out the plugin's directory where it has one.
fn configuration(files: &Path, plugin: Option<&Path>) -> Result<String> {
    let mut entries = Vec::new();
    if let Some(program) = plugin {
        let directory = files.join(PLUGIN);
        fs::create_dir(&directory)?;
        fs::copy(program, directory.join(PLUGIN)).with_context(|| format!("cannot copy {}", program.display()))?;
        fs::write(directory.join("plugin.json"), manifest().to_string())?;
        entries.push(
            json!({"name": PLUGIN, "path": directory, "crash_budget": {"max_crashes": 1_000_000, "window": "1ms"}}),
        );
    }
    Ok(json!({"plugins": {"enabled": true, "plugins": entries}}).to_string())
}

fn manifest() -> serde_json::Value {
    json!({"name": PLUGIN, "version": "1.0.0", "description": "One hook", "author": "Rockstar"})
}

async fn ready(admin: &str, end: Instant) -> Result<()> {
    while !is_ready(admin).await.unwrap_or(false) {
        ensure!(Instant::now() < end, "the sidecar does not become ready at {admin}");
        sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

async fn is_ready(admin: &str) -> Result<bool> {
    let mut stream = TcpStream::connect(admin).await?;
    stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").await?;
    let mut answer = String::new();
    timeout(LIMIT, stream.read_to_string(&mut answer)).await??;
    Ok(answer.split_whitespace().nth(1) == Some("200"))
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
