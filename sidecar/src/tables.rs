//! The reference's tables `plugins`, `plugin_hooks` and `plugin_metrics`: written in the background to the host's PostgreSQL
//! or to a SQLite file, in bounded steps. A database that is away delays nothing; what is lost meanwhile is reported.

mod embedded;
mod engine;
mod rows;
mod server;

use crate::{
    manager::Manager,
    slot::{Incident, Incidents},
};
use engine::{Engine, Place};
use rows::Rows;
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

const EVERY: Duration = Duration::from_secs(1);
/// After a failure.
const PAUSE: Duration = Duration::from_secs(2);
/// For one write.
const PATIENCE: Duration = Duration::from_secs(10);
/// For the last one, at the end of the sidecar.
const LAST: Duration = Duration::from_secs(2);
/// Rows of an instance that was not heard of for long are taken away by the others.
const HEARTBEAT: Duration = Duration::from_secs(60);
/// Errors in one write.
const BATCH: usize = 1000;

/// The task that writes; it ends with this.
#[derive(Debug)]
pub struct Tables {
    end: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Drop for Tables {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Tables {
    /// `instance` tells this sidecar's rows from those of others on the same database.
    #[must_use]
    pub fn start(manager: Arc<Manager>, data: &Path, instance: String) -> Self {
        let (end, ended) = oneshot::channel();
        let writer = Writer {
            incidents: Arc::clone(manager.incidents()),
            manager,
            data: data.to_owned(),
            instance,
            engine: None,
            written: None,
            pending: Vec::new(),
            trouble: false,
            lost: 0,
        };
        Self { end: Some(end), task: tokio::spawn(writer.run(ended)) }
    }

    /// Writes how it ended.
    pub async fn finish(mut self) {
        if let Some(end) = self.end.take() {
            // The task is gone only if it panicked.
            end.send(()).ok();
        }
        timeout(LAST, &mut self.task).await.ok();
    }
}

/// The name of this sidecar among others: its machine, or pod, and its socket.
#[must_use]
pub fn instance(socket: &Path) -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let socket = std::path::absolute(socket).unwrap_or_else(|_| socket.to_owned());
    format!("{}:{}", host.trim(), socket.display())
}

struct Writer {
    manager: Arc<Manager>,
    incidents: Arc<Incidents>,
    data: PathBuf,
    instance: String,
    engine: Option<(Place, Engine)>,
    /// What is there already, and since when.
    written: Option<(Rows, Instant)>,
    /// Errors on their way.
    pending: Vec<Incident>,
    trouble: bool,
    lost: u64,
}

impl Writer {
    async fn run(mut self, mut end: oneshot::Receiver<()>) {
        let mut pause = EVERY;
        loop {
            let ending = tokio::select! {
                () = sleep(pause) => false,
                _ = &mut end => true,
            };
            let outcome = match timeout(PATIENCE, self.write()).await {
                Ok(outcome) => outcome,
                Err(_) => Err("no answer in time".to_owned()),
            };
            pause = if outcome.is_ok() { EVERY } else { PAUSE };
            self.report(outcome.err());
            if ending {
                return self.leave().await;
            }
        }
    }

    /// All that differs from what is there.
    async fn write(&mut self) -> Result<(), String> {
        let rows = rows::read(&self.manager);
        loop {
            if self.pending.is_empty() {
                self.pending = self.incidents.take(BATCH);
            }
            let known = self.written.as_ref().is_some_and(|(known, at)| *known == rows && at.elapsed() < HEARTBEAT);
            if known && self.pending.is_empty() && self.is_in_place() {
                return Ok(());
            }
            let (instance, pending) = (self.instance.clone(), self.pending.clone());
            self.engine().await?.write(&instance, &rows, &pending).await?;
            self.pending.clear();
            self.written = Some((rows.clone(), Instant::now()));
        }
    }

    fn is_in_place(&self) -> bool {
        self.engine.as_ref().is_some_and(|(place, _)| *place == self.place())
    }

    fn place(&self) -> Place {
        Place::of(&self.manager.addresses(), &self.data)
    }

    async fn engine(&mut self) -> Result<&mut Engine, String> {
        let place = self.place();
        let opened = match self.engine.take().filter(|(there, _)| *there == place) {
            Some((_, engine)) => engine,
            None => Engine::open(&place).await?,
        };
        Ok(&mut self.engine.insert((place, opened)).1)
    }

    /// The first failure and the end of the trouble, and what was lost.
    fn report(&mut self, error: Option<String>) {
        match &error {
            Some(error) if !self.trouble => {
                tracing::warn!("The tables of plugins cannot be written, requests are not affected: {error}");
            }
            None if self.trouble => tracing::info!("The tables of plugins are written again"),
            _ => {}
        }
        self.trouble = error.is_some();
        if self.trouble {
            // Whatever it still says, a connection that failed once is not used again.
            (self.engine, self.written) = (None, None);
        }
        let lost = self.incidents.lost();
        if lost > self.lost {
            tracing::warn!(lost, "{} errors are missing in the table plugin_metrics", lost - self.lost);
            self.lost = lost;
        }
    }

    async fn leave(mut self) {
        let instance = self.instance.clone();
        if let Some((_, engine)) = &mut self.engine {
            engine.leave(&instance).await;
        }
    }
}
