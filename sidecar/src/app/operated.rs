//! A sidecar whose operator says what to run. Does I/O.

use super::{AppError, Core, Paths, servers::Servers, signals::stopped};
use crate::{
    admin::Token,
    args::Arguments,
    authority::Authority,
    control::{Endpoint, Follower, Memory},
    readiness::Readiness,
    registry::Registry,
    tables::{self, Tables},
};
use rockstar_core::termination::Termination;
use std::{
    fs::OpenOptions,
    io::{ErrorKind, Write},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

/// What stopping the plugins may take of the pod's grace period.
const MOST_FOR_STOPPING: Duration = Duration::from_secs(10);
/// How often open streams are looked for.
const LOOK: Duration = Duration::from_millis(100);

pub(super) async fn run(arguments: &Arguments, url: &str) -> Result<(), AppError> {
    let endpoint = Endpoint::new(url, arguments.control_ca.clone(), arguments.control_token.clone())?;
    let paths = Paths::new(arguments)?;
    let memory = Memory::open(&paths.run)?;
    let Core { manager, framework, .. } = Core::new(arguments, &paths, Box::new(Arc::clone(&memory)))?;
    let (host, told) = watch::channel(String::new());
    let readiness = Arc::new(Readiness::new(memory.served()));
    let token = Token::create(&paths.run).map_err(|cause| AppError::Prepare { what: "the admin token", cause })?;
    let authority = Authority::Operator(told);
    let mut servers = Servers::start(arguments, &manager, authority, Arc::clone(&readiness), token).await?;
    let tables = Tables::start(Arc::clone(&manager), &paths.data, tables::instance(&arguments.socket()));
    let follower = Follower::new(Arc::clone(&manager), framework, Arc::clone(&memory), host);
    let outcome = tokio::select! {
        error = servers.ended() => Err(error),
        () = async { tokio::join!(follower.run(), endpoint.attach(&follower, &readiness), note_served(&readiness, &memory)); } => Ok(()),
        () = stopped() => Ok(()),
    };
    tokio::select! {
        () = served(arguments, manager.registry(), &readiness) => {}
        _ = servers.ended() => {}
    }
    leave(&arguments.termination_log, &follower.termination());
    memory.close();
    manager.shut_down().await;
    tokio::join!(manager.shared().bus.finish(), tables.finish());
    outcome
}

/// Notes that this instance was ready, for a sidecar after this one.
async fn note_served(readiness: &Readiness, memory: &Memory) {
    readiness.until_served().await;
    memory.serves();
}

/// Leaves the message of the container's end. Where nobody asks for one, there is no file.
fn leave(path: &Path, message: &Termination) {
    let written = OpenOptions::new().write(true).truncate(true).open(path);
    let written = written.and_then(|mut file| file.write_all(message.encode().as_bytes()));
    match written {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            tracing::warn!("failed to write {}: {error}", path.display());
        }
        _ => {}
    }
}

/// Waits until the application has closed its streams, or until there is just time left to stop the plugins.
async fn served(arguments: &Arguments, registry: &Registry, readiness: &Readiness) {
    let (now, grace) = (Instant::now(), arguments.grace_period);
    let until = readiness.ending_since(now, grace) + grace.saturating_sub(MOST_FOR_STOPPING.min(grace / 3));
    let closed = async {
        while !registry.audience().is_empty() {
            sleep(LOOK).await;
        }
    };
    if timeout(until.saturating_duration_since(now), closed).await.is_err() {
        tracing::warn!("Stopping while the application is still connected: the pod's grace period ends");
    }
}
