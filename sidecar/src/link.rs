//! The connection to one plugin process: lifecycle calls, and calls of the hot path, either one gRPC call each or
//! many on one stream. Every call has a deadline. Ends with the process; never reconnects.

mod multiplex;
mod running;
mod standstill;

pub use standstill::Waiting;

use crate::ancestry::Line;
use futures::stream::{self, StreamExt};
use multiplex::Multiplex;
use prost::Message;
use rockstar_proto::{
    body::{MAX_FRAME, MAX_UPLOADS},
    plugin::{Call, Config, DescribeRequest, Description, Reply, Result as Outcome, plugin_client::PluginClient},
    types::{Chunk, Empty, Failure},
};
use running::Running;
use standstill::Standstill;
use std::{
    error::Error as _,
    future::{Future, pending, ready},
    iter::successors,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, Semaphore, SemaphorePermit, mpsc},
    time::{Instant, timeout_at},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming, TimeoutExpired, transport::Channel};

/// The protocol version that this host speaks.
pub const PROTOCOL: u32 = 1;
const DEFAULT_CONCURRENCY: usize = 256;
const LONGEST_STANDSTILL: Duration = Duration::from_secs(600);

/// Why a call got no reply. What the plugin itself answered as failure is a reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    #[error("no answer before the deadline")]
    Timeout,
    #[error("plugin process is unreachable: {0}")]
    Unreachable(String),
    /// A gRPC error of the plugin's own server, e.g. an exception in its handler.
    #[error("{0}")]
    Failed(String),
    #[error("plugin broke the protocol: {0}")]
    Protocol(String),
    #[error("message of {0} bytes is larger than {MAX_FRAME}")]
    TooLarge(usize),
    #[error("the plugin reads as many request bodies as it may: {MAX_UPLOADS}")]
    Busy,
    /// What the client did in the middle of its request's body.
    #[error("the client {0}")]
    Client(&'static str),
}

/// Why a lifecycle call failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LifecycleError {
    #[error("{}", .0.text)]
    Failed(Failure),
    #[error(transparent)]
    Call(#[from] CallError),
}

/// See the module.
#[derive(Debug)]
pub struct Link {
    client: PluginClient<Channel>,
    /// On a connection of its own.
    bodies: PluginClient<Channel>,
    /// Calls in flight.
    room: Semaphore,
    /// Those of them that read large bodies, which take their time: they have a room of their own.
    uploads: Semaphore,
    stream: Option<Multiplex>,
    ids: AtomicU64,
    running: Running,
    down: Arc<Down>,
    standstill: Arc<Standstill>,
}

/// One body's call. Dropping it ends it.
#[derive(Debug)]
pub struct Transfer {
    pub chunks: mpsc::Sender<Chunk>,
    pub answers: Streaming<Chunk>,
}

/// Whether the connection, or the process behind it, is gone.
#[derive(Debug, Default)]
struct Down {
    flag: AtomicBool,
    told: Notify,
}

impl Down {
    fn set(&self) {
        self.flag.store(true, SeqCst);
        self.told.notify_waiters();
    }

    fn get(&self) -> bool {
        self.flag.load(SeqCst)
    }

    async fn wait(&self) {
        loop {
            let told = self.told.notified();
            if self.get() {
                return;
            }
            told.await;
        }
    }
}

impl Link {
    /// Over connected channels, after the handshake; the second one is for large bodies. Opens the stream if the plugin
    /// serves it.
    pub async fn open(
        channel: Channel,
        bodies: Channel,
        description: &Description,
        deadline: Instant,
    ) -> Result<Self, CallError> {
        let (client, bodies) = (client(channel), client(bodies));
        let down = Arc::new(Down::default());
        let stream = match description.dispatch {
            true => Some(within(deadline, Multiplex::open(client.clone(), Arc::clone(&down))).await?),
            false => None,
        };
        let room = match description.max_concurrent {
            0 => DEFAULT_CONCURRENCY,
            n => usize::try_from(n).unwrap_or(DEFAULT_CONCURRENCY).min(Semaphore::MAX_PERMITS),
        };
        let (ids, standstill) = (AtomicU64::new(1), Arc::default());
        let running = Running::default();
        let (room, uploads) = (Semaphore::new(room), Semaphore::new(MAX_UPLOADS));
        Ok(Self { client, bodies, room, uploads, stream, ids, running, down, standstill })
    }

    /// The handshake's question, before there is a link.
    pub async fn describe(channel: Channel, deadline: Instant) -> Result<Description, CallError> {
        let request = DescribeRequest { protocols: vec![PROTOCOL], host_version: env!("CARGO_PKG_VERSION").to_owned() };
        let mut client = client(channel);
        within(deadline, client.describe(timed(request, deadline))).await.map(Response::into_inner)
    }

    /// Makes a call and waits for its reply; `call.id` and `call.timeout_ms` are filled in. Dropping the future cancels
    /// the call: its reply, should it come, is dropped. The deadline moves while the plugin waits for another one that
    /// is being replaced.
    pub async fn call(&self, call: Call, deadline: Instant) -> Result<Reply, CallError> {
        self.call_for(&Line::default(), call, deadline).await
    }

    /// The same for a call with ancestors, on whose behalf the plugin may call others.
    pub async fn call_for(&self, line: &Line, mut call: Call, deadline: Instant) -> Result<Reply, CallError> {
        call.id = self.ids.fetch_add(1, SeqCst);
        call.timeout_ms = left(deadline);
        let size = call.encoded_len();
        if size > MAX_FRAME {
            return Err(CallError::TooLarge(size));
        }
        let _runs = self.running.enter(call.id, line);
        let reply = self.standstill.timeout_at(deadline, pin!(self.exchange(call, deadline))).await;
        self.notice(reply.unwrap_or(Err(CallError::Timeout)))
    }

    async fn exchange(&self, call: Call, deadline: Instant) -> Result<Reply, CallError> {
        let _room = self.room.acquire().await.map_err(|_| CallError::Timeout)?;
        match &self.stream {
            Some(stream) => stream.call(call).await,
            None => {
                // What the plugin's server goes by must not end a call whose deadline moves.
                let request = timed(call, deadline + LONGEST_STANDSTILL);
                let mut client = self.client.clone();
                // Large, and not for those who are in a hurry.
                let reply = Box::pin(client.handle(request)).await;
                reply.map(Response::into_inner).map_err(|status| broken(&status))
            }
        }
    }

    /// Opens the call that carries this body, one way or the other.
    pub async fn transfer(&self, id: u64, deadline: Instant) -> Result<Transfer, CallError> {
        let (chunks, outgoing) = mpsc::channel(1);
        let named = stream::once(ready(Chunk { transfer: id, ..Chunk::default() }));
        let mut client = self.bodies.clone();
        let call = client.transfer(named.chain(ReceiverStream::new(outgoing)));
        let answers = self.notice(within(deadline, call).await)?.into_inner();
        Ok(Transfer { chunks, answers })
    }

    /// None: the plugin reads as many bodies as it may.
    #[must_use]
    pub fn room_for_upload(&self) -> Option<SemaphorePermit<'_>> {
        self.uploads.try_acquire().ok()
    }

    /// Waits for that time, which moves as deadlines do.
    pub async fn until(&self, deadline: Instant) {
        self.standstill.timeout_at(deadline, pin!(pending::<()>())).await;
    }

    /// Where a call comes from that runs in the plugin.
    #[must_use]
    pub fn line(&self, call: u64) -> Option<Line> {
        self.running.line(call)
    }

    /// The plugin waits for another one that is being replaced, until this is dropped.
    #[must_use]
    pub fn waits(&self) -> Waiting {
        Standstill::begin(&self.standstill)
    }

    #[must_use]
    pub fn is_down(&self) -> bool {
        self.down.get()
    }

    /// The process is gone, or about to be.
    pub fn set_down(&self) {
        self.down.set();
    }

    /// Returns when the process or the connection to it is gone.
    pub async fn lost(&self) {
        self.down.wait().await;
    }

    pub async fn initialize(&self, config: Config, deadline: Instant) -> Result<(), LifecycleError> {
        let mut client = self.client.clone();
        self.outcome(within(deadline, client.initialize(timed(config, deadline))).await)
    }

    pub async fn start(&self, deadline: Instant) -> Result<(), LifecycleError> {
        let mut client = self.client.clone();
        self.outcome(within(deadline, client.start(timed(Empty {}, deadline))).await)
    }

    pub async fn stop(&self, deadline: Instant) -> Result<(), LifecycleError> {
        let mut client = self.client.clone();
        self.outcome(within(deadline, client.stop(timed(Empty {}, deadline))).await)
    }

    pub async fn cleanup(&self, deadline: Instant) -> Result<(), LifecycleError> {
        let mut client = self.client.clone();
        self.outcome(within(deadline, client.cleanup(timed(Empty {}, deadline))).await)
    }

    pub async fn on_config_change(&self, config: Config, deadline: Instant) -> Result<(), LifecycleError> {
        let mut client = self.client.clone();
        self.outcome(within(deadline, client.on_config_change(timed(config, deadline))).await)
    }

    pub async fn ping(&self, deadline: Instant) -> Result<(), CallError> {
        let mut client = self.client.clone();
        let answer = within(deadline, client.ping(timed(Empty {}, deadline))).await.map(|_| ());
        self.notice(answer)
    }

    fn outcome(&self, answer: Result<Response<Outcome>, CallError>) -> Result<(), LifecycleError> {
        match self.notice(answer)?.into_inner().failure {
            Some(failure) => Err(LifecycleError::Failed(failure)),
            None => Ok(()),
        }
    }

    fn notice<T>(&self, answer: Result<T, CallError>) -> Result<T, CallError> {
        if matches!(answer, Err(CallError::Unreachable(_))) {
            self.set_down();
        }
        answer
    }
}

fn client(channel: Channel) -> PluginClient<Channel> {
    PluginClient::new(channel).max_decoding_message_size(4 * MAX_FRAME).max_encoding_message_size(4 * MAX_FRAME)
}

async fn within<T>(deadline: Instant, call: impl Future<Output = Result<T, Status>>) -> Result<T, CallError> {
    match timeout_at(deadline, call).await {
        Err(_) => Err(CallError::Timeout),
        Ok(answer) => answer.map_err(|status| broken(&status)),
    }
}

fn broken(status: &Status) -> CallError {
    // Only what the transport made up has a source; the rest came from the plugin.
    let text = status.message().to_owned();
    match status.code() {
        // The transport's own clock, which tells the plugin how long it has, may ring first.
        _ if successors(status.source(), |&e| e.source()).any(|e| e.is::<TimeoutExpired>()) => CallError::Timeout,
        _ if status.source().is_some() => CallError::Unreachable(text),
        Code::Unavailable => CallError::Unreachable(text),
        Code::DeadlineExceeded => CallError::Timeout,
        Code::Unimplemented => CallError::Protocol(format!("not implemented: {text}")),
        _ => CallError::Failed(text),
    }
}

/// Tells the plugin how long it has, as stock gRPC does.
fn timed<T>(message: T, deadline: Instant) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(Duration::from_millis(u64::from(left(deadline))));
    request
}

fn left(deadline: Instant) -> u32 {
    let left = deadline.saturating_duration_since(Instant::now());
    u32::try_from(left.as_millis()).unwrap_or(u32::MAX).max(1)
}
