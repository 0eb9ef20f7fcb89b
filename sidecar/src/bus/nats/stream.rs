//! Names in NATS, and the stream that keeps the events of one scope. Names are pure; making the stream is I/O.

use async_nats::jetstream::{self, context::CreateStreamError, stream};
use sha2::{Digest, Sha256};
use std::time::Duration;

/// How long events are kept for plugins that are away.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// More are not kept, the oldest go first.
const MAX_MESSAGES: i64 = 1_000_000;
/// Of the server's 255, with room for its own.
const LONGEST_NAME: usize = 200;

/// The part of NATS that belongs to one group of sidecars.
#[derive(Debug)]
pub(super) struct Scope {
    name: String,
}

impl Scope {
    pub(super) fn new(scope: &str) -> Self {
        Self { name: short(token(scope, false)) }
    }

    /// What an event is published on.
    pub(super) fn subject(&self, event: &str) -> String {
        format!("rockstar.{}.event.{}", self.name, short(token(event, true)))
    }

    /// All events.
    pub(super) fn subjects(&self) -> String {
        format!("rockstar.{}.event.>", self.name)
    }

    /// One for each plugin and event: versions of a plugin that run at the same time may listen to different ones.
    pub(super) fn durable(&self, plugin: &str, event: &str) -> String {
        short(format!("{}--{}", token(plugin, false), token(event, false)))
    }

    /// The stream, made unless somebody made it before, perhaps with limits of their own.
    pub(super) async fn stream(&self, context: &jetstream::Context) -> Result<stream::Stream, CreateStreamError> {
        let config = stream::Config {
            name: format!("ROCKSTAR_{}", self.name),
            description: Some("Events between Rockstar plugins".to_owned()),
            subjects: vec![self.subjects()],
            max_age: KEPT,
            max_messages: MAX_MESSAGES,
            ..stream::Config::default()
        };
        context.get_or_create_stream(config).await
    }
}

/// Letters, digits, `-` and `_` stay; dots too where they part what is not empty; all else becomes `%XX`.
fn token(name: &str, dots: bool) -> String {
    let dots = dots && name.split('.').all(|part| !part.is_empty());
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => text.push(char::from(byte)),
            b'.' if dots => text.push('.'),
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text
}

/// Long names end in a digest.
fn short(name: String) -> String {
    if name.len() <= LONGEST_NAME {
        return name;
    }
    let digest = hex::encode(Sha256::digest(&name));
    format!("{}-{}", name[..LONGEST_NAME / 2].trim_end_matches('.'), &digest[..32])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_nats_allows_and_stay_apart() {
        let scope = Scope::new("shop/storefront");
        assert_eq!(scope.subject("user.created"), "rockstar.shop%2Fstorefront.event.user.created");
        assert_eq!(scope.subject("User.Created"), "rockstar.shop%2Fstorefront.event.User.Created");
        assert_eq!(scope.subject("a..b *>"), "rockstar.shop%2Fstorefront.event.a%2E%2Eb%20%2A%3E");
        assert_eq!(scope.durable("auth.plugin", "user.created"), "auth%2Eplugin--user%2Ecreated");
        let long = "x".repeat(253);
        let names: Vec<_> = ["a", "b"].map(|end| scope.durable(&format!("{long}{end}"), "e")).into();
        assert!(names[0].len() < 255 && names[0] != names[1]);
    }
}
