//! The handshake: connect to the plugin's socket, ask what it is, and check it against its manifest. Does I/O.

use crate::{
    failure::Class,
    link::{CallError, Link, PROTOCOL},
    peers::Peer,
    process::{Ended, Process, is_shortage},
};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rockstar_core::{duration, manifest::Manifest};
use rockstar_proto::{
    body::{CONNECTION_WINDOW, LATE_PIECES, STREAM_WINDOW},
    methods::METHODS,
    plugin::{self, Description},
};
use rustix::process::Pid;
use std::{io, path::Path, time::Duration};
use tokio::{
    net::UnixStream,
    time::{Instant, sleep, timeout_at},
};
use tonic::transport::{Channel, Endpoint, Uri};

/// Between attempts to connect.
const PAUSE: Duration = Duration::from_millis(5);

#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    #[error("plugin process ended before the handshake: {0}")]
    Ended(Ended),
    #[error("plugin did not listen on its socket within {}", duration::format(*.0))]
    NeverListened(Duration),
    #[error("failed to connect to the plugin's socket: {0}")]
    Exhausted(io::Error),
    #[error("plugin's socket is served by a process that is not the plugin's")]
    Foreign,
    #[error("plugin did not answer the handshake within {}", duration::format(*.0))]
    NeverAnswered(Duration),
    #[error("plugin does not speak the plugin protocol on its socket: {0}")]
    NoProtocol(String),
    #[error("plugin speaks version {0} of the plugin protocol, this host version {PROTOCOL}")]
    WrongProtocol(u32),
    #[error("plugin does not implement required interface: missing method {0}")]
    MissingMethod(&'static str),
    #[error("manifest mismatch: {field} is '{manifest}' in the manifest but the plugin reports '{reported}'")]
    Disagrees { field: &'static str, manifest: String, reported: String },
}

impl HandshakeError {
    #[must_use]
    pub const fn class(&self) -> Class {
        if matches!(self, Self::Exhausted(_)) { Class::Environment } else { Class::Revision }
    }

    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Ended(_) => "ExitedEarly",
            Self::NeverListened(_) | Self::NeverAnswered(_) => "HandshakeTimeout",
            Self::Exhausted(_) => "ResourcesExhausted",
            Self::Foreign | Self::NoProtocol(_) | Self::WrongProtocol(_) => "HandshakeFailed",
            Self::MissingMethod(_) => "InterfaceNotImplemented",
            Self::Disagrees { .. } => "ManifestMismatch",
        }
    }
}

/// Ends early when the process does.
pub(super) async fn shake(
    process: &Process,
    socket: &Path,
    manifest: &Manifest,
    deadline: Instant,
) -> Result<(Link, Description), HandshakeError> {
    let limit = deadline.saturating_duration_since(Instant::now());
    tokio::select! {
        biased;
        link = talk(process.session(), socket, manifest, deadline, limit) => match link {
            // A process that is ending closes its sockets first: its end says more.
            Err(HandshakeError::NoProtocol(text)) => Err(ended_soon(process, text).await),
            link => link,
        },
        ended = process.ended() => Err(HandshakeError::Ended(ended)),
    }
}

async fn ended_soon(process: &Process, text: String) -> HandshakeError {
    let soon = Instant::now() + Duration::from_millis(200);
    timeout_at(soon, process.ended()).await.map_or(HandshakeError::NoProtocol(text), HandshakeError::Ended)
}

async fn talk(
    session: Pid,
    socket: &Path,
    manifest: &Manifest,
    deadline: Instant,
    limit: Duration,
) -> Result<(Link, Description), HandshakeError> {
    let failed = |error| match error {
        CallError::Timeout => HandshakeError::NeverAnswered(limit),
        other => HandshakeError::NoProtocol(other.to_string()),
    };
    let channel = connected(session, socket, deadline, limit).await?;
    let description = Link::describe(channel.clone(), deadline).await.map_err(failed)?;
    check(&description, manifest)?;
    let bodies = connected(session, socket, deadline, limit).await?;
    let link = Link::open(channel, bodies, &description, deadline).await.map_err(failed)?;
    Ok((link, description))
}

async fn connected(session: Pid, socket: &Path, deadline: Instant, limit: Duration) -> Result<Channel, HandshakeError> {
    let connected = timeout_at(deadline, connect(session, socket)).await;
    let stream = connected.map_err(|_| HandshakeError::NeverListened(limit))??;
    let channel = timeout_at(deadline, channel(stream)).await.map_err(|_| HandshakeError::NeverAnswered(limit))?;
    channel.map_err(|cause| HandshakeError::NoProtocol(cause.to_string()))
}

/// A connection to a process of this session.
async fn connect(session: Pid, socket: &Path) -> Result<UnixStream, HandshakeError> {
    loop {
        let stream = match UnixStream::connect(socket).await {
            Ok(stream) => stream,
            Err(cause) if is_shortage(&cause) => return Err(HandshakeError::Exhausted(cause)),
            Err(_) => {
                sleep(PAUSE).await;
                continue;
            }
        };
        match Peer::of(&stream) {
            Ok(Peer::Session(other)) if other == session => return Ok(stream),
            // Bound in the plugin's place, and not taken over by it yet.
            Ok(_) if is_of_this_process(&stream) => sleep(PAUSE).await,
            _ => return Err(HandshakeError::Foreign),
        }
    }
}

fn is_of_this_process(stream: &UnixStream) -> bool {
    let pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
    pid.is_some_and(|pid| i64::from(pid) == i64::from(std::process::id()))
}

/// Of this one connection: when it is lost, so is the plugin.
async fn channel(stream: UnixStream) -> Result<Channel, tonic::transport::Error> {
    let stream = Mutex::new(Some(TokioIo::new(stream)));
    let connector = tower::service_fn(move |_: Uri| {
        let stream = stream.lock().take().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected));
        std::future::ready(stream)
    });
    Endpoint::from_static("http://localhost")
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_max_local_error_reset_streams(LATE_PIECES)
        .connect_with_connector(connector)
        .await
}

fn check(description: &Description, manifest: &Manifest) -> Result<(), HandshakeError> {
    if description.protocol != PROTOCOL {
        return Err(HandshakeError::WrongProtocol(description.protocol));
    }
    let missing = METHODS.into_iter().find(|m| !description.methods.iter().any(|d| d == m));
    if let Some(method) = missing {
        return Err(HandshakeError::MissingMethod(method));
    }
    let pairs = [
        ("name", manifest.name.clone(), description.name.clone()),
        ("version", manifest.version.to_string(), description.version.clone()),
        ("description", manifest.description.clone(), description.description.clone()),
        ("author", manifest.author.clone(), description.author.clone()),
        ("dependencies", declared(manifest), reported(&description.dependencies)),
    ];
    match pairs.into_iter().find(|(_, manifest, reported)| manifest.trim() != reported.trim()) {
        Some((field, manifest, reported)) => Err(HandshakeError::Disagrees { field, manifest, reported }),
        None => Ok(()),
    }
}

fn declared(manifest: &Manifest) -> String {
    written(manifest.dependencies.iter().map(|d| (d.name.as_str(), d.version.as_str(), d.optional)))
}

fn reported(dependencies: &[plugin::Dependency]) -> String {
    written(dependencies.iter().map(|d| (d.name.as_str(), d.version.as_str(), d.optional)))
}

/// In a fixed order, since the order says nothing.
fn written<'a>(dependencies: impl Iterator<Item = (&'a str, &'a str, bool)>) -> String {
    let mut written: Vec<_> = dependencies
        .map(|(name, version, optional)| format!("{name} {version}{}", if optional { " (optional)" } else { "" }))
        .collect();
    written.sort();
    written.join(", ")
}
