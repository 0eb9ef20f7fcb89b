//! `rockstar.control.v1.Control`: one conversation per sidecar. I/O: gRPC.

use super::{
    hub::{Hub, Session},
    identity::{Authenticator, Identity, IdentityError, Membership},
    mailbox::{Carried, Letter},
    pacing::Pacer,
};
use crate::{host::HostKey, leadership::Leadership};
use async_trait::async_trait;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use rand::Rng;
use rockstar_proto::control::{
    FromInstance, Hello, Moved, Report, ToInstance, control_server::Control, from_instance::Message, to_instance,
};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, timeout_at},
};
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap};

/// A sidecar that says nothing for so long is gone; it reports at least every 10 s.
const SILENCE: Duration = Duration::from_secs(35);
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a new pod may take to appear in the watch after its sidecar came.
const POD_SEEN_TIMEOUT: Duration = Duration::from_secs(5);
const POD_SEEN_INTERVAL: Duration = Duration::from_millis(100);
const ADMISSION_INTERVAL: Duration = Duration::from_millis(2);
const ADMITTED_AT_ONCE: usize = 32;
const ADMISSION_QUEUE: usize = 2_000;
const STRANGER_INTERVAL: Duration = Duration::from_millis(20);
const STRANGERS_AT_ONCE: usize = 8;
const STRANGER_QUEUE: usize = 256;
const MAX_UNSEEN: usize = 1_024;
/// How long a sidecar is kept waiting for a leader to be known; it waits 15 s for its stream.
const MIN_PATIENCE: Duration = Duration::from_secs(5);
const MAX_PATIENCE: Duration = Duration::from_secs(12);

/// The service.
#[derive(Clone)]
pub struct ControlService {
    hub: Arc<Hub>,
    authenticator: Arc<dyn Authenticator>,
    membership: Arc<dyn Membership>,
    leadership: watch::Receiver<Leadership>,
    /// For pods that are known as some host's.
    members: Arc<Pacer>,
    /// For all others.
    strangers: Arc<Pacer>,
    /// Places for those whose pod has yet to appear.
    unseen: Arc<Semaphore>,
}

impl std::fmt::Debug for ControlService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ControlService").field("streams", &self.hub.streams()).finish_non_exhaustive()
    }
}

impl ControlService {
    #[must_use]
    pub fn new(
        hub: Arc<Hub>,
        authenticator: Arc<dyn Authenticator>,
        membership: Arc<dyn Membership>,
        leadership: watch::Receiver<Leadership>,
    ) -> Self {
        Self {
            hub,
            authenticator,
            membership,
            leadership,
            members: Arc::new(Pacer::new(ADMISSION_INTERVAL, ADMITTED_AT_ONCE, ADMISSION_QUEUE)),
            strangers: Arc::new(Pacer::new(STRANGER_INTERVAL, STRANGERS_AT_ONCE, STRANGER_QUEUE)),
            unseen: Arc::new(Semaphore::new(MAX_UNSEEN)),
        }
    }

    /// Those whose pod is known have a queue of their own, so that strangers delay none of them. Nobody holds a turn
    /// while its pod has yet to appear.
    async fn identify(&self, token: &str) -> Result<(Identity, HostKey), Status> {
        let claimed = self.authenticator.claimed(token);
        let is_known = match &claimed {
            Some(pod) => self.host_of(pod).await.is_some(),
            None => false,
        };
        let lane = if is_known { &self.members } else { &self.strangers };
        let pod = {
            let _turn = lane.turn().await.ok_or_else(|| Status::unavailable("too many sidecars wait; try again"))?;
            self.authenticator.identify(token).await.map_err(refusal)?
        };
        let host = match claimed {
            Some(_) => self.membership.host_of(&pod),
            None => self.host_of(&pod).await,
        };
        let label = rockstar_crds::names::HOST_LABEL;
        let unknown = || format!("pod {}/{} is not known as a pod with the label {label}", pod.namespace, pod.pod);
        let host = host.ok_or_else(|| Status::failed_precondition(unknown()))?;
        Ok((pod, host))
    }

    /// Waits for a new pod to appear, if not too many wait already.
    async fn host_of(&self, pod: &Identity) -> Option<HostKey> {
        if let Some(host) = self.membership.host_of(pod) {
            return Some(host);
        }
        let _place = self.unseen.try_acquire().ok()?;
        let give_up = Instant::now() + POD_SEEN_TIMEOUT;
        while Instant::now() < give_up {
            tokio::time::sleep(POD_SEEN_INTERVAL).await;
            if let Some(host) = self.membership.host_of(pod) {
                return Some(host);
            }
        }
        None
    }

    /// Where to go instead; None: this replica leads. While nobody does, the answer is held back: it would only make all
    /// sidecars ask again at once.
    async fn elsewhere(&self) -> Option<String> {
        let mut leadership = self.leadership.clone();
        let is_known = |now: &Leadership| !matches!(now, Leadership::Following { address } if address.is_empty());
        let patience = rand::rng().random_range(MIN_PATIENCE..MAX_PATIENCE);
        drop(tokio::time::timeout(patience, leadership.wait_for(is_known)).await);
        match &*self.leadership.borrow() {
            Leadership::Leading => None,
            Leadership::Following { address } => Some(address.clone()),
        }
    }
}

fn refusal(error: IdentityError) -> Status {
    match error {
        IdentityError::Refused(_) | IdentityError::NotAPod => Status::unauthenticated(error.to_string()),
        IdentityError::Review(_) | IdentityError::Timeout => Status::unavailable(error.to_string()),
    }
}

fn bearer(metadata: &MetadataMap) -> Result<&str, Status> {
    let value = metadata.get("authorization").and_then(|v| v.to_str().ok());
    value.and_then(|v| v.strip_prefix("Bearer ")).ok_or_else(|| Status::unauthenticated("no bearer token"))
}

fn moved(address: String) -> ToInstance {
    ToInstance { message: Some(to_instance::Message::Moved(Moved { address })) }
}

#[async_trait]
impl Control for ControlService {
    type AttachStream = BoxStream<'static, Result<ToInstance, Status>>;

    async fn attach(&self, request: Request<Streaming<FromInstance>>) -> Result<Response<Self::AttachStream>, Status> {
        if let Some(address) = self.elsewhere().await {
            return Ok(Response::new(stream::iter([Ok(moved(address))]).boxed()));
        }
        let (pod, host) = self.identify(bearer(request.metadata())?).await?;
        let opening = Opening {
            hub: Arc::clone(&self.hub),
            host,
            pod,
            inbound: request.into_inner(),
            leadership: self.leadership.clone(),
        };
        Ok(Response::new(stream::unfold(Conversation::Opening(Box::new(opening)), Conversation::step).boxed()))
    }
}

enum Conversation {
    Opening(Box<Opening>),
    Open(Box<Open>),
    Over,
}

/// Before Hello.
struct Opening {
    hub: Arc<Hub>,
    host: HostKey,
    pod: Identity,
    inbound: Streaming<FromInstance>,
    leadership: watch::Receiver<Leadership>,
}

/// After Hello. Ends when the stream is dropped.
struct Open {
    session: Session,
    inbound: Streaming<FromInstance>,
    leadership: watch::Receiver<Leadership>,
    carried: Carried,
    silent_until: Instant,
}

type Said = Result<ToInstance, Status>;

impl Conversation {
    async fn step(self) -> Option<(Said, Self)> {
        match self {
            Self::Opening(opening) => match opening.hello().await {
                Ok(open) => Self::talk(Box::new(open)).await,
                Err(status) => Some((Err(status), Self::Over)),
            },
            Self::Open(open) => Self::talk(open).await,
            Self::Over => None,
        }
    }

    async fn talk(mut open: Box<Open>) -> Option<(Said, Self)> {
        match open.next().await? {
            Ok((said, true)) => Some((Ok(said), Self::Over)),
            Ok((said, false)) => Some((Ok(said), Self::Open(open))),
            Err(status) => Some((Err(status), Self::Over)),
        }
    }
}

impl Opening {
    async fn hello(mut self: Box<Self>) -> Result<Open, Status> {
        let first = timeout_at(Instant::now() + HELLO_TIMEOUT, self.inbound.message()).await;
        let message = first.map_err(|_| Status::deadline_exceeded("no Hello within 10 s"))??;
        match message.and_then(|m| m.message) {
            Some(Message::Hello(hello)) => Ok(self.open(hello)),
            _ => Err(Status::invalid_argument("the first message must be Hello")),
        }
    }

    fn open(self, hello: Hello) -> Open {
        tracing::debug!(host = %self.host, pod = %self.pod.pod, version = %hello.sidecar_version, "sidecar attached");
        let mut carried = Carried::default();
        carried.heard(&Report { revisions: hello.revisions.clone(), ..Report::default() });
        Open {
            session: self.hub.attach(self.host, self.pod, hello),
            inbound: self.inbound,
            leadership: self.leadership,
            carried,
            silent_until: Instant::now() + SILENCE,
        }
    }
}

impl Open {
    /// The next thing to say, and whether it is the last; None when the instance is gone.
    async fn next(&mut self) -> Option<Result<(ToInstance, bool), Status>> {
        loop {
            tokio::select! {
                letter = self.session.mailbox.next() => return Some(Ok(self.say(letter))),
                address = lost(&mut self.leadership) => return Some(Ok((moved(address), true))),
                heard = timeout_at(self.silent_until, self.inbound.message()) => match heard {
                    Ok(Ok(Some(message))) => self.hear(message),
                    Ok(Ok(None) | Err(_)) => return None,
                    Err(_) => return Some(Err(Status::deadline_exceeded("no report for 35 s"))),
                },
            }
        }
    }

    fn say(&mut self, letter: Letter) -> (ToInstance, bool) {
        let last = matches!(letter, Letter::Moved(_));
        (self.carried.encode(letter), last)
    }

    fn hear(&mut self, message: FromInstance) {
        self.silent_until = Instant::now() + SILENCE;
        match message.message {
            Some(Message::Report(report)) => self.report(report),
            Some(Message::Failure(record)) => self.session.failure(record),
            Some(Message::Hello(_)) | None => tracing::debug!("a sidecar said Hello twice, or something unknown"),
        }
    }

    fn report(&mut self, report: Report) {
        self.carried.heard(&report);
        self.session.report(report);
    }
}

/// Waits until this replica leads no more; the address of the one that does.
async fn lost(leadership: &mut watch::Receiver<Leadership>) -> String {
    match leadership.wait_for(|l| !l.is_leading()).await.as_deref() {
        Ok(Leadership::Following { address }) => address.clone(),
        Ok(Leadership::Leading) | Err(_) => String::new(),
    }
}
