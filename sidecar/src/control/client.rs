//! The control stream, opened again and again: with full jitter, so that a thousand sidecars do not come at once. I/O: gRPC.

use super::{
    follow::Follower,
    memory::Memory,
    report::{hello, report},
};
use crate::readiness::Readiness;
use hyper_util::rt::TokioIo;
use rand::Rng;
use rockstar_proto::control::{
    FromInstance, Report, ToInstance, control_client::ControlClient, from_instance, to_instance,
};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    net::UnixStream,
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Status, Streaming,
    metadata::MetadataValue,
    transport::{Certificate, Channel, ClientTlsConfig, Uri},
};

const CONNECT: Duration = Duration::from_secs(5);
const ATTACH: Duration = Duration::from_secs(15);
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const SEND: Duration = Duration::from_secs(5);
/// How often the state is compared with what was last reported.
const LOOK: Duration = Duration::from_millis(250);
/// The operator gives up a sidecar that is silent for longer.
const REPORT_AT_LEAST: Duration = Duration::from_secs(10);
const FIRST_BACKOFF: Duration = Duration::from_millis(250);
/// Whoever takes over counts an instance as away until it is back.
const LAST_BACKOFF: Duration = Duration::from_secs(10);
/// A stream that lived so long was a good one: begin anew with the shortest pause.
const HEALTHY: Duration = Duration::from_secs(30);
const QUEUE: usize = 16;
/// A snapshot of 256 plugins with all their bodies.
const MAX_MESSAGE: usize = 64 << 20;

/// Where the operator is, and how to tell it apart from others.
#[derive(Clone, Debug)]
pub struct Endpoint {
    place: Place,
    ca: Option<PathBuf>,
    token: Option<PathBuf>,
}

#[derive(Clone, Debug)]
enum Place {
    Unix(PathBuf),
    Network { uri: Uri, host: String },
}

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    #[error("'{0}' is no address of an operator: give https://HOST:PORT or unix:/PATH")]
    Address(String),
    #[error("failed to read {}: {cause}", path.display())]
    File { path: PathBuf, cause: std::io::Error },
    #[error("{} holds no token", .0.display())]
    Token(PathBuf),
    #[error("failed to connect: {0}")]
    Connect(#[from] tonic::transport::Error),
    #[error("the operator refused: {} ({:?})", .0.message(), .0.code())]
    Refused(#[from] Status),
    #[error("the operator did not answer within {0:?}")]
    Timeout(Duration),
    #[error("the stream ended")]
    Ended,
}

/// How a conversation ended, if not by an error.
enum End {
    /// The lease is elsewhere.
    Moved(String),
}

impl Endpoint {
    /// `ca` and `token` are read anew for each connection: both are rotated.
    pub fn new(url: &str, ca: Option<PathBuf>, token: Option<PathBuf>) -> Result<Self, EndpointError> {
        let wrong = || EndpointError::Address(url.to_owned());
        let place = match url.strip_prefix("unix:") {
            Some(path) if !path.is_empty() => Place::Unix(path.into()),
            Some(_) => return Err(wrong()),
            None => {
                let uri: Uri = url.parse().map_err(|_| wrong())?;
                let host = uri.host().filter(|_| uri.scheme_str() == Some("https")).ok_or_else(wrong)?.to_owned();
                Place::Network { uri, host }
            }
        };
        Ok(Self { place, ca, token })
    }

    /// Talks to the operator until aborted.
    pub async fn attach(&self, follower: &Follower, readiness: &Readiness) {
        let (mut backoff, mut moved) = (FIRST_BACKOFF, None);
        loop {
            let began = Instant::now();
            match self.converse(follower, readiness, moved.take()).await {
                Ok(End::Moved(address)) => {
                    tracing::debug!("the operator's lease is at '{address}'");
                    moved = Some(address).filter(|a| !a.is_empty());
                }
                Err(error) => tracing::warn!("no stream to the operator, going on with what is known: {error}"),
            }
            readiness.end_stream(std::time::Instant::now());
            backoff = if began.elapsed() >= HEALTHY { FIRST_BACKOFF } else { (backoff * 2).min(LAST_BACKOFF) };
            let limit = if moved.is_some() { FIRST_BACKOFF } else { backoff };
            sleep(rand::rng().random_range(Duration::ZERO..=limit)).await;
        }
    }

    async fn converse(
        &self,
        follower: &Follower,
        readiness: &Readiness,
        moved: Option<String>,
    ) -> Result<End, EndpointError> {
        let channel = self.connect(moved).await?;
        let mut client = ControlClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
        let (outbox, messages) = mpsc::channel(QUEUE);
        let mut request = Request::new(ReceiverStream::new(messages));
        if let Some(token) = self.bearer().await? {
            request.metadata_mut().insert("authorization", token);
        }
        let mut talk = Talk { follower, readiness, outbox, last: None, told: BTreeSet::new(), at: Instant::now() };
        talk.hello().await?;
        let attached = timeout(ATTACH, client.attach(request)).await.map_err(|_| EndpointError::Timeout(ATTACH))?;
        talk.go(attached?.into_inner()).await
    }

    async fn connect(&self, moved: Option<String>) -> Result<Channel, EndpointError> {
        let connecting = async {
            match &self.place {
                Place::Unix(path) => unix(path.clone()).await,
                Place::Network { uri, host } => self.network(uri, host, moved).await,
            }
        };
        timeout(CONNECT, connecting).await.map_err(|_| EndpointError::Timeout(CONNECT))?
    }

    /// Whatever the address, the certificate is that of the service.
    async fn network(&self, uri: &Uri, host: &str, moved: Option<String>) -> Result<Channel, EndpointError> {
        let uri = match moved {
            Some(address) => format!("https://{address}").parse().map_err(|_| EndpointError::Address(address))?,
            None => uri.clone(),
        };
        let mut tls = ClientTlsConfig::new().domain_name(host);
        if let Some(path) = &self.ca {
            tls = tls.ca_certificate(Certificate::from_pem(read(path).await?));
        }
        let endpoint = Channel::builder(uri).http2_keep_alive_interval(KEEP_ALIVE).keep_alive_while_idle(true);
        Ok(endpoint.tls_config(tls)?.connect().await?)
    }

    async fn bearer(&self) -> Result<Option<MetadataValue<tonic::metadata::Ascii>>, EndpointError> {
        let Some(path) = &self.token else { return Ok(None) };
        let bytes = read(path).await?;
        let token = String::from_utf8_lossy(&bytes);
        let value = format!("Bearer {}", token.trim());
        value.parse().map(Some).map_err(|_| EndpointError::Token(path.clone()))
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, EndpointError> {
    tokio::fs::read(path).await.map_err(|cause| EndpointError::File { path: path.to_owned(), cause })
}

async fn unix(path: PathBuf) -> Result<Channel, EndpointError> {
    let connector = tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    Ok(Channel::from_static("http://localhost").connect_with_connector(connector).await?)
}

/// One open stream.
struct Talk<'a> {
    follower: &'a Follower,
    readiness: &'a Readiness,
    outbox: mpsc::Sender<FromInstance>,
    last: Option<Report>,
    /// Ids of failures that were sent on this stream.
    told: BTreeSet<String>,
    at: Instant,
}

impl Talk<'_> {
    fn memory(&self) -> &Memory {
        self.follower.memory()
    }

    fn report(&self) -> Report {
        let progress = self.follower.progress().borrow().clone();
        report(self.follower.manager(), self.memory(), self.readiness, &progress)
    }

    async fn hello(&mut self) -> Result<(), EndpointError> {
        let report = self.report();
        let hello = hello(report.clone(), self.memory());
        self.told.extend(hello.failures.iter().map(|f| f.id.clone()));
        self.last = Some(report);
        self.send(from_instance::Message::Hello(hello)).await
    }

    async fn go(&mut self, mut inbox: Streaming<ToInstance>) -> Result<End, EndpointError> {
        let (mut progress, mut changes) = (self.follower.progress(), self.memory().changes());
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                message = inbox.message() => match message?.ok_or(EndpointError::Ended)?.message {
                    Some(to_instance::Message::Moved(moved)) => return Ok(End::Moved(moved.address)),
                    Some(message) => self.hear(message),
                    None => {}
                },
                Ok(()) = progress.changed() => self.tell().await?,
                Ok(()) = changes.changed() => self.tell().await?,
                _ = look.tick() => self.tell().await?,
            }
        }
    }

    fn hear(&self, message: to_instance::Message) {
        match message {
            to_instance::Message::Snapshot(snapshot) => {
                if let Err(error) = self.memory().keep(snapshot) {
                    tracing::warn!("a snapshot is refused: {error}");
                }
            }
            to_instance::Message::FailureSeen(seen) => self.memory().heard(&seen.ids),
            to_instance::Message::KeepReady(keep) => self.readiness.keep(keep.keep),
            to_instance::Message::Withdraw(withdraw) => {
                if let Err(error) = self.memory().withdraw(&withdraw) {
                    tracing::warn!(
                        "a withdrawal is in force, but a restart of this sidecar would not know of it: {error}"
                    );
                }
            }
            to_instance::Message::Moved(_) => {}
        }
    }

    /// Failures first: a report without its failure would look like a plain return.
    async fn tell(&mut self) -> Result<(), EndpointError> {
        for failure in self.memory().records() {
            if self.told.insert(failure.id.clone()) {
                self.send(from_instance::Message::Failure(failure)).await?;
            }
        }
        let report = self.report();
        if self.last.as_ref() == Some(&report) && self.at.elapsed() < REPORT_AT_LEAST {
            return Ok(());
        }
        self.at = Instant::now();
        self.last = Some(report.clone());
        self.send(from_instance::Message::Report(report)).await
    }

    async fn send(&self, message: from_instance::Message) -> Result<(), EndpointError> {
        let sending = self.outbox.send(FromInstance { message: Some(message) });
        let sent = timeout(SEND, sending).await.map_err(|_| EndpointError::Timeout(SEND))?;
        sent.map_err(|_| EndpointError::Ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_https_or_a_socket() {
        for right in ["https://rockstar-operator.rockstar-system.svc:9443", "unix:/tmp/control.sock"] {
            Endpoint::new(right, None, None).unwrap();
        }
        for wrong in ["http://host:1", "unix:", "host:9443", ""] {
            let error = Endpoint::new(wrong, None, None).unwrap_err();
            assert!(error.to_string().contains("give https://HOST:PORT or unix:/PATH"), "{error}");
        }
    }
}
