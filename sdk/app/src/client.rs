//! The connections to the sidecar: a few streams of exchanges and one of interests, each reconnecting by itself.

use crate::{
    events::Events,
    interests::{Knowledge, Lease, Set},
    lane::Lane,
    services::Services,
};
use arc_swap::ArcSwapOption;
use futures::future::BoxFuture;
use http::Uri;
use hyper_util::rt::TokioIo;
use rand::Rng;
use rockstar_proto::{
    app::{InterestSet, Seen, pipeline_client::PipelineClient},
    body::{CONNECTION_WINDOW, LATE_PIECES, STREAM_WINDOW},
};
use std::{
    future::Future,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread::available_parallelism,
    time::Duration,
};
use tokio::{
    net::UnixStream,
    sync::{mpsc, watch},
    task::AbortHandle,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};
use tower::service_fn;

const CONNECT: Duration = Duration::from_secs(2);
const FIRST_RETRY: Duration = Duration::from_millis(20);
const LAST_RETRY: Duration = Duration::from_secs(1);
const MAX_LANES: usize = 4;
/// How often the sidecar is asked whether the interests are still in force.
const PING: Duration = Duration::from_millis(250);

/// The way to one sidecar; clones share it, the last one closes it.
#[derive(Clone, Debug)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// For single calls; connects when it is used.
    channel: Channel,
    /// For large bodies; the same.
    bodies: Channel,
    lanes: Lanes,
    knowledge: watch::Receiver<Knowledge>,
    tasks: Vec<AbortHandle>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

#[derive(Clone, Debug)]
struct Lanes {
    places: Arc<[ArcSwapOption<Lane>]>,
    turn: Arc<AtomicUsize>,
    changed: watch::Sender<()>,
}

impl Client {
    /// Begins to connect to the sidecar's Unix socket. Must be called inside a tokio runtime.
    #[must_use]
    pub fn new(socket: impl AsRef<Path>) -> Self {
        let socket: Arc<Path> = socket.as_ref().into();
        let lanes = Lanes::new(available_parallelism().map_or(1, usize::from).min(MAX_LANES));
        let (sender, knowledge) = watch::channel(Knowledge::default());
        let channel = endpoint().connect_with_connector_lazy(service_fn(dial(&socket)));
        let bodies = endpoint().initial_stream_window_size(STREAM_WINDOW);
        let bodies = bodies.initial_connection_window_size(CONNECTION_WINDOW);
        let bodies = bodies.connect_with_connector_lazy(service_fn(dial(&socket)));
        let mut tasks: Vec<_> = (0..lanes.places.len())
            .map(|place| tokio::spawn(keep_lane(socket.clone(), lanes.clone(), place)).abort_handle())
            .collect();
        tasks.push(tokio::spawn(keep_interests(socket, sender)).abort_handle());
        Self(Arc::new(Inner { channel, bodies, lanes, knowledge, tasks }))
    }

    /// The events between plugins.
    #[must_use]
    pub fn events(&self) -> Events {
        Events::new(self.channel())
    }

    /// The services that plugins export.
    #[must_use]
    pub fn services(&self) -> Services {
        Services::new(self.channel())
    }

    /// For calls that are no exchanges.
    pub(crate) fn channel(&self) -> Channel {
        self.0.channel.clone()
    }

    /// For large bodies, which hold up nothing else there.
    pub(crate) fn bodies(&self) -> PipelineClient<Channel> {
        PipelineClient::new(self.0.bodies.clone())
    }

    pub(crate) fn knowledge(&self) -> watch::Ref<'_, Knowledge> {
        self.0.knowledge.borrow()
    }

    /// Waits until it is known what is in force, or that it is not, but not for long.
    pub(crate) async fn sure(&self, patience: Duration) {
        let mut knowledge = self.0.knowledge.clone();
        // The sender lives as long as this client.
        let _ = timeout(patience, knowledge.wait_for(|k| !k.is_doubtful(std::time::Instant::now()))).await;
    }

    /// A stream, waiting for one as long as it takes.
    pub(crate) async fn lane(&self) -> Arc<Lane> {
        let mut changed = self.0.lanes.changed.subscribe();
        loop {
            changed.mark_unchanged();
            if let Some(lane) = self.0.lanes.pick() {
                return lane;
            }
            // The sender lives as long as this client.
            let _ = changed.changed().await;
        }
    }
}

impl Lanes {
    fn new(count: usize) -> Self {
        let places = (0..count).map(|_| ArcSwapOption::empty()).collect();
        Self { places, turn: Arc::default(), changed: watch::Sender::new(()) }
    }

    fn pick(&self) -> Option<Arc<Lane>> {
        let turn = self.turn.fetch_add(1, Relaxed);
        (0..self.places.len()).find_map(|n| self.places[turn.wrapping_add(n) % self.places.len()].load_full())
    }

    fn set(&self, place: usize, lane: Option<Arc<Lane>>) {
        self.places[place].store(lane);
        self.changed.send_replace(());
    }
}

async fn keep_lane(socket: Arc<Path>, lanes: Lanes, place: usize) {
    keep("exchanges", || async {
        let (lane, answers) = opened(async { Lane::open(connect(&socket).await?).await }).await?;
        lanes.set(place, Some(lane.clone()));
        lane.read(answers).await;
        lanes.set(place, None);
        Ok(())
    })
    .await;
}

async fn keep_interests(socket: Arc<Path>, knowledge: watch::Sender<Knowledge>) {
    keep("interests", || async {
        let (seen, outgoing) = mpsc::channel(4);
        let mut lease = Lease::begun(std::time::Instant::now());
        let open = async { connect(&socket).await?.interests(ReceiverStream::new(outgoing)).await };
        let mut sets = opened(open).await?.into_inner();
        let mut pings = interval(PING);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let said = tokio::select! {
                set = sets.message() => match set {
                    Ok(Some(set)) => in_force(&knowledge, set, &mut lease),
                    _ => break,
                },
                _ = pings.tick() => lease.ask(std::time::Instant::now()),
            };
            if let Some(said) = said
                && seen.send(said).await.is_err()
            {
                break;
            }
        }
        knowledge.send_modify(|k| k.current = false);
        Ok(())
    })
    .await;
}

/// Gives what the sidecar must be told.
fn in_force(knowledge: &watch::Sender<Knowledge>, set: InterestSet, lease: &mut Lease) -> Option<Seen> {
    let until = lease.answered(set.pong);
    let (version, same) = (set.version, set.pong != 0);
    lease.version = version;
    knowledge.send_modify(|k| {
        k.current = true;
        k.until = until;
        if !same {
            k.set = Some(Arc::new(Set::new(set)));
        }
    });
    (!same).then_some(Seen { version, ping: 0 })
}

/// Opens the stream again and again; pauses grow while the sidecar cannot be reached.
async fn keep<F: Future<Output = Result<(), Status>>>(what: &str, open: impl Fn() -> F) {
    let mut pause = FIRST_RETRY;
    loop {
        let begun = Instant::now();
        match open().await {
            Ok(()) => tracing::info!("connection to the sidecar ended ({what}), reconnecting"),
            Err(status) => tracing::debug!("failed to reach the sidecar ({what}): {}", status.message()),
        }
        pause = if begun.elapsed() > LAST_RETRY { FIRST_RETRY } else { (pause * 2).min(LAST_RETRY) };
        sleep(jittered(pause)).await;
    }
}

/// Many applications lose one sidecar at the same moment; they need not come back at the same one.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.5..1.0))
}

async fn opened<T>(open: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    timeout(CONNECT, open).await.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer from the sidecar")))
}

/// Any host name will do: it is not looked up.
fn endpoint() -> Endpoint {
    Endpoint::from_static("http://localhost").http2_max_local_error_reset_streams(LATE_PIECES)
}

fn dial(socket: &Path) -> impl Fn(Uri) -> BoxFuture<'static, io::Result<TokioIo<UnixStream>>> + Clone + use<> {
    let socket: PathBuf = socket.into();
    move |_| {
        let socket = socket.clone();
        Box::pin(async move { UnixStream::connect(socket).await.map(TokioIo::new) })
    }
}

async fn connect(socket: &Path) -> Result<PipelineClient<Channel>, Status> {
    let channel = endpoint().connect_with_connector(service_fn(dial(socket))).await;
    channel.map(PipelineClient::new).map_err(|e| Status::unavailable(e.to_string()))
}
