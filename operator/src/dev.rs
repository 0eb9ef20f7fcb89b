//! The operator over a directory, in this process: what `rockstar dev` runs. I/O: files and a Unix socket.

pub use crate::world::directory::{Event, Member, Problem, Snapshot};

use crate::{
    control::{
        Hub,
        server::{self, ServeError},
        service::ControlService,
    },
    driver::{Driver, Tools, clock::Clock, metrics::DriverMetrics},
    host::Bells,
    leadership::Leadership,
    world::directory::{self, Directory},
};
use prometheus::Registry;
use std::{path::PathBuf, sync::Arc};
use tokio::{
    sync::watch,
    task::{JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;

/// What to run.
#[derive(Clone, Debug)]
pub struct DirectoryOptions {
    /// The folder of YAML files.
    pub dir: PathBuf,
    /// The Unix socket on which sidecars find the control stream.
    pub listen: PathBuf,
    /// The instances there are; `Handle::set_members` changes them.
    pub members: Vec<Member>,
}

/// A running operator. Dropping it ends it.
#[derive(Debug)]
pub struct Handle {
    directory: Arc<Directory>,
    listen: PathBuf,
    stop: CancellationToken,
    tasks: JoinSet<Result<(), ServeError>>,
    _leadership: watch::Sender<Leadership>,
}

/// Reads the directory, then serves it.
///
/// # Errors
/// If the socket cannot be bound.
pub async fn start(options: DirectoryOptions) -> Result<Handle, ServeError> {
    let directory = Arc::new(Directory::new(options.dir, Bells::default()));
    directory.set_members(options.members);
    directory::read(&directory).await;
    serve(directory, options.listen)
}

/// Serves a directory that was read already.
fn serve(directory: Arc<Directory>, listen: PathBuf) -> Result<Handle, ServeError> {
    let bells = directory.bells();
    let listener = server::bind_unix(&listen)?;
    let (leadership, leading) = Leadership::alone();
    let hub = Hub::new(bells.clone());
    let service = ControlService::new(
        Arc::clone(&hub),
        Arc::clone(&directory) as _,
        Arc::clone(&directory) as _,
        leading.clone(),
    );
    let metrics = DriverMetrics::new(&Registry::new())?;
    let tools = Tools { world: Arc::clone(&directory) as _, hub, bells, metrics, clock: Clock::system() };
    let driver = Driver::new(tools, leading);
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(server::serve_unix(service, listener, stop.clone()));
    tasks.spawn(until(stop.clone(), driver.run()));
    tasks.spawn(until(stop.clone(), directory::watch(Arc::clone(&directory))));
    Ok(Handle { directory, listen, stop, tasks, _leadership: leadership })
}

async fn until(stop: CancellationToken, task: impl Future<Output = ()>) -> Result<(), ServeError> {
    tokio::select! {
        () = task => {}
        () = stop.cancelled() => {}
    }
    Ok(())
}

impl Handle {
    /// Hosts and plugins with their status, problems of files, events.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.directory.snapshot()
    }

    /// Ticks whenever the snapshot changed.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.directory.changes()
    }

    /// The instances there are now.
    pub fn set_members(&self, members: Vec<Member>) {
        self.directory.set_members(members);
    }

    /// Waits until a part of it fails, which ends it.
    ///
    /// # Errors
    /// With the part's error.
    pub async fn failed(&mut self) -> Result<(), ServeError> {
        while let Some(ended) = self.tasks.join_next().await {
            log_panic(&ended);
            if let Ok(Err(error)) = ended {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Ends it and begins anew with what is stored, as an operator's pod that was replaced does.
    ///
    /// # Errors
    /// If the socket cannot be bound.
    pub async fn restart(self) -> Result<Self, ServeError> {
        let (directory, listen) = (Arc::clone(&self.directory), self.listen.clone());
        self.stop().await;
        serve(directory, listen)
    }

    /// Ends it. Sidecars keep what they run.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            log_panic(&ended);
        }
    }
}

fn log_panic(ended: &Result<Result<(), ServeError>, JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a part of the operator ended unexpectedly");
    }
}
