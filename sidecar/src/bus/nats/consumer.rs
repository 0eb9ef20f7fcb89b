//! One plugin's durable consumer of one event: taken out of the stream while the plugin runs, acknowledged once its handler
//! has succeeded, delivered again a few times if not. Calls NATS and the plugin.

use super::{Connection, RETRY};
use crate::{
    bus::{Undelivered, courier, lost},
    slot::Slot,
};
use async_nats::jetstream::{
    AckKind, Message,
    consumer::{AckPolicy, Consumer, DeliverPolicy, pull},
};
use futures::TryStreamExt;
use prost::Message as _;
use rockstar_proto::plugin::Event;
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

/// A message that is not acknowledged for so long goes to another sidecar.
const ACK_WAIT: Duration = Duration::from_secs(60);
/// Deliveries of one event.
const MAX_DELIVERIES: i64 = 5;
/// A consumer that no sidecar has used for so long is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(24 * 3600);
const BATCH: usize = 16;
const PATIENCE: Duration = Duration::from_secs(2);
/// How long an event in hand waits for a plugin that went away.
const RETURN: Duration = Duration::from_secs(20);

pub(super) async fn run(connection: Connection, slot: Arc<Slot>, event: String) {
    loop {
        let Err(error) = consume(&connection, &slot, &event).await;
        tracing::debug!(plugin = slot.name(), event, "Events from NATS: {error}");
        sleep(RETRY).await;
    }
}

async fn consume(connection: &Connection, slot: &Arc<Slot>, event: &str) -> Result<Infallible, async_nats::Error> {
    until_serving(slot).await;
    let stream = connection.scope.stream(&connection.jetstream).await?;
    let consumer = stream.create_consumer(config(connection, slot.name(), event)).await?;
    tracing::info!(plugin = slot.name(), event, "Plugin {} hears {event} through NATS", slot.name());
    loop {
        until_serving(slot).await;
        for message in messages(&consumer).await? {
            handle(slot, &message).await?;
        }
    }
}

fn config(connection: &Connection, plugin: &str, event: &str) -> pull::Config {
    pull::Config {
        durable_name: Some(connection.scope.durable(plugin, event)),
        description: Some(format!("{event} for plugin {plugin}")),
        deliver_policy: DeliverPolicy::New,
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        max_deliver: MAX_DELIVERIES,
        filter_subject: connection.scope.subject(event),
        inactive_threshold: FORGOTTEN,
        ..pull::Config::default()
    }
}

/// Waits for one, and takes the others that are there.
async fn messages(consumer: &Consumer<pull::Config>) -> Result<Vec<Message>, async_nats::Error> {
    let first = consumer.batch().max_messages(1).expires(PATIENCE).messages().await?;
    let mut messages: Vec<_> = first.try_collect().await?;
    if !messages.is_empty() {
        let others = consumer.fetch().max_messages(BATCH - 1).messages().await?;
        messages.extend(others.try_collect::<Vec<_>>().await?);
    }
    Ok(messages)
}

/// While no version serves, events stay in the stream.
async fn until_serving(slot: &Slot) {
    let mut state = slot.watch();
    while !slot.is_serving() || slot.is_held() {
        // The gate has no news of its own to wait for.
        timeout(RETRY, state.changed()).await.ok();
    }
}

async fn handle(slot: &Arc<Slot>, message: &Message) -> Result<(), async_nats::Error> {
    let (sequence, attempt) = message.info().map(|info| (info.stream_sequence, info.delivered))?;
    let answer = match Event::decode(message.payload.clone()) {
        Err(error) => {
            lost(slot, 1, &format!("it cannot be read: {error}"));
            AckKind::Term
        }
        Ok(event) => {
            let event = Event { sequence, ..event };
            answer(slot, &event, attempt, in_hand(slot, &event, message).await)
        }
    };
    message.ack_with(answer).await
}

fn answer(slot: &Slot, event: &Event, attempt: i64, outcome: Result<(), Undelivered>) -> AckKind {
    match outcome {
        Ok(()) => AckKind::Ack,
        Err(_) if attempt >= MAX_DELIVERIES => {
            lost(slot, 1, &format!("{} was not taken {attempt} times", event.name));
            AckKind::Term
        }
        Err(_) => AckKind::Nak(Some(pause(attempt))),
    }
}

fn pause(attempt: i64) -> Duration {
    Duration::from_millis(200) * 3_u32.pow(u32::try_from(attempt - 1).unwrap_or_default().min(4))
}

/// Delivers, and tells the server meanwhile that the event is in good hands.
async fn in_hand(slot: &Arc<Slot>, event: &Event, message: &Message) -> Result<(), Undelivered> {
    let mut ticks = interval(ACK_WAIT / 3);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.reset();
    let mut delivery = std::pin::pin!(delivered(slot, event));
    loop {
        tokio::select! {
            outcome = &mut delivery => return outcome,
            // A server that is away hands the event out once more.
            _ = ticks.tick() => drop(message.ack_with(AckKind::Progress).await),
        }
    }
}

/// A plugin that crashed is waited for.
async fn delivered(slot: &Arc<Slot>, event: &Event) -> Result<(), Undelivered> {
    match courier::deliver(slot, event).await {
        Err(Undelivered::NotRunning) if timeout(RETURN, until_serving(slot)).await.is_ok() => {
            courier::deliver(slot, event).await
        }
        outcome => outcome,
    }
}
