//! From the bounded queue into the stream, in order, again and again until the server has it. Calls NATS.

use super::{Connection, Outbox, RETRY};
use crate::registry::Registry;
use async_nats::jetstream::{context::PublishErrorKind, message::PublishMessage};
use futures::future::join_all;
use prost::Message;
use rockstar_proto::plugin::Event;
use std::{convert::Infallible, time::Duration};
use tokio::time::sleep;

/// Events on their way at a time.
const WINDOW: usize = 64;
const LOOK: Duration = Duration::from_millis(50);

/// What became of one event.
enum Sent {
    Yes(u64),
    Again(Event),
    /// The server will never take it.
    Never(Event, String),
}

pub(super) async fn run(connection: &Connection, outbox: &Outbox, registry: &Registry) -> Infallible {
    // Tells this sidecar's events from those of others, so that one sent twice is kept once.
    let origin = format!("{:016x}", rand::random::<u64>());
    let mut waiting = Vec::new();
    loop {
        if waiting.is_empty() {
            waiting.push(outbox.inbox.next().await);
        }
        waiting.extend(std::iter::from_fn(|| outbox.inbox.take()).take(WINDOW.saturating_sub(waiting.len())));
        while !outbox.is_connected() {
            sleep(LOOK).await;
        }
        waiting = send(connection, &origin, waiting, outbox, registry).await;
        if !waiting.is_empty() {
            if let Err(error) = connection.scope.stream(&connection.jetstream).await {
                tracing::warn!("Events wait: their stream in NATS is not there: {error}");
            }
            sleep(RETRY).await;
        }
    }
}

/// Gives those that must be sent again.
async fn send(
    connection: &Connection,
    origin: &str,
    events: Vec<Event>,
    outbox: &Outbox,
    registry: &Registry,
) -> Vec<Event> {
    let mut sending = Vec::with_capacity(events.len());
    for event in events {
        let message = PublishMessage::build().payload(event.encode_to_vec().into());
        let message = message.message_id(format!("{origin}-{}", event.sequence));
        let accepted = connection.jetstream.send_publish(connection.scope.subject(&event.name), message).await;
        sending.push(async move {
            let taken = match accepted {
                Ok(accepted) => accepted.await.map(drop),
                Err(error) => Err(error),
            };
            let sent = match taken {
                Ok(()) => Sent::Yes(event.sequence),
                Err(error) if error.kind() == PublishErrorKind::MaxPayloadExceeded => {
                    Sent::Never(event, error.to_string())
                }
                Err(_) => Sent::Again(event),
            };
            outbox.told(sent, registry)
        });
    }
    join_all(sending).await.into_iter().flatten().collect()
}

impl Outbox {
    /// Tells who waits for it; gives the event if it must be sent again, which nobody waits for.
    fn told(&self, sent: Sent, registry: &Registry) -> Option<Event> {
        self.receipts.set_late(matches!(sent, Sent::Again(_)));
        let (sequence, outcome) = match sent {
            Sent::Yes(sequence) => (sequence, Ok(())),
            Sent::Again(event) => {
                self.receipts.give(event.sequence, Ok(()));
                return Some(event);
            }
            Sent::Never(event, error) => {
                super::super::unpublished(registry, &event.source, 1, &error);
                (event.sequence, Err(error))
            }
        };
        self.receipts.give(sequence, outcome);
        self.done(1);
        None
    }
}
