//! Events through NATS, so that plugins of different sidecars hear each other: published into a JetStream stream, taken by
//! each plugin's durable consumers at least once. Does I/O, in tasks that end with it.

mod address;
mod consumer;
mod outbox;
mod stream;
mod supervisor;

pub use address::{Address, AddressError};

use super::{
    Bus, FULL, Inbox, QueuedBytes,
    inbox::Pushed,
    receipts::{Receipt, Receipts},
};
use crate::registry::Registry;
use async_nats::{Client, ConnectOptions, Event as Occurrence, connection::State, jetstream};
use futures::StreamExt;
use prost::Message;
use rockstar_core::backends::EventOverflow;
use rockstar_proto::plugin::Event;
use std::{
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};
use stream::Scope;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);
/// For JetStream to answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_millis(500);
/// After three without an answer the server is away.
const PING: Duration = Duration::from_secs(5);
/// What the end of the sidecar waits for the last events to be taken.
const LAST: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug)]
pub(super) struct Nats {
    address: Address,
    outbox: Arc<Outbox>,
    _tasks: JoinSet<()>,
}

/// What is published, on its way into the stream.
#[derive(Debug, Default)]
struct Outbox {
    inbox: Inbox,
    receipts: Arc<Receipts>,
    /// Events that the server does not have yet.
    unsent: watch::Sender<usize>,
    /// Once it was there.
    client: OnceLock<Client>,
}

/// What the tasks share.
#[derive(Clone, Debug)]
struct Connection {
    client: Client,
    jetstream: jetstream::Context,
    scope: Arc<Scope>,
}

impl Nats {
    /// Begins to connect; what is published meanwhile waits.
    pub(super) fn start(address: Address, registry: Arc<Registry>, bus: Weak<Bus>) -> Self {
        let outbox = Arc::new(Outbox::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(run(address.clone(), registry, bus, Arc::clone(&outbox)));
        Self { address, outbox, _tasks: tasks }
    }

    pub(super) const fn address(&self) -> &Address {
        &self.address
    }

    /// Gives how many events found no room, and what to wait for, unless the event waits for a server that is away.
    pub(super) fn publish(
        &self,
        event: Event,
        overflow: EventOverflow,
        queued: &QueuedBytes,
    ) -> (usize, Option<Receipt>) {
        let own = event.sequence;
        let receipt = Receipts::expect(&self.outbox.receipts, own);
        self.outbox.unsent.send_modify(|unsent| *unsent += 1);
        let Pushed { dropped, .. } = self.outbox.inbox.push(event, overflow, queued);
        for event in &dropped {
            self.outbox.receipts.give(*event, Err(FULL.to_owned()));
        }
        self.outbox.done(dropped.len());
        let is_awaited = dropped.contains(&own) || self.outbox.is_taken();
        (dropped.len(), is_awaited.then_some(receipt))
    }

    pub(super) async fn finish(&self) {
        let mut unsent = self.outbox.unsent.subscribe();
        if timeout(LAST, unsent.wait_for(|unsent| *unsent == 0)).await.is_err() {
            self.tell_unsent();
        }
    }

    /// What it has not taken is lost with it.
    pub(super) fn tell_unsent(&self) {
        let unsent = *self.outbox.unsent.borrow();
        if unsent > 0 {
            tracing::error!("{unsent} events were lost: NATS at {} had not taken them at the end", self.address);
        }
    }
}

impl Outbox {
    fn is_connected(&self) -> bool {
        self.client.get().is_some_and(|client| client.connection_state() == State::Connected)
    }

    /// Whether the server is there and takes events.
    fn is_taken(&self) -> bool {
        self.is_connected() && !self.receipts.are_late()
    }

    fn done(&self, count: usize) {
        self.unsent.send_modify(|unsent| *unsent = unsent.saturating_sub(count));
    }
}

async fn run(address: Address, registry: Arc<Registry>, bus: Weak<Bus>, outbox: Arc<Outbox>) {
    let connection = connect(&address).await;
    let _ = outbox.client.set(connection.client.clone());
    let sent = outbox::run(&connection, &outbox, &registry);
    tokio::join!(sent, hear(&connection, bus), supervisor::run(&connection, &registry));
}

/// The first connection, however long it takes; the client connects again by itself.
async fn connect(address: &Address) -> Connection {
    let options = || {
        ConnectOptions::new()
            .name("rockstar-sidecar")
            // A server's word must not lead the credentials to others than the address names.
            .ignore_discovered_servers()
            .connection_timeout(CONNECTION_TIMEOUT)
            .ping_interval(PING)
            .reconnect_delay_callback(|attempt| {
                LONGEST_PAUSE.min(Duration::from_millis(50) * u32::try_from(attempt).unwrap_or(u32::MAX).min(100))
            })
            .event_callback(|occurrence| async move { tell(&occurrence) })
    };
    let mut told = String::new();
    let client = loop {
        match options().connect(address.servers()).await {
            Ok(client) => break client,
            Err(error) => {
                note(&mut told, format!("Events cannot go through NATS at {address}: {error}"));
                sleep(RETRY).await;
            }
        }
    };
    let mut jetstream = jetstream::new(client.clone());
    jetstream.set_timeout(REQUEST_TIMEOUT);
    Connection { client, jetstream, scope: Arc::new(Scope::new(address.scope())) }
}

/// Each trouble once, however often it is tried.
fn note(told: &mut String, text: String) {
    if *told != text {
        tracing::error!("{text}");
        *told = text;
    }
}

fn tell(occurrence: &Occurrence) {
    match occurrence {
        Occurrence::Connected => tracing::info!("Connected to NATS"),
        Occurrence::Disconnected => tracing::warn!("The connection to NATS is lost; events wait until it is back"),
        other => tracing::debug!("NATS: {other}"),
    }
}

/// What the application listens to: at most once, and by every sidecar.
async fn hear(connection: &Connection, bus: Weak<Bus>) {
    loop {
        match connection.client.subscribe(connection.scope.subjects()).await {
            Ok(mut messages) => {
                while let Some(message) = messages.next().await {
                    let Some(bus) = bus.upgrade() else { return };
                    if let Ok(event) = Event::decode(message.payload) {
                        bus.to_application(&event);
                    }
                }
            }
            Err(error) => tracing::warn!("The application cannot hear events through NATS yet: {error}"),
        }
        sleep(RETRY).await;
    }
}
