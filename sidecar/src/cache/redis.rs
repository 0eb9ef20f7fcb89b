//! The cache on a Redis or Valkey server: one connection, made when the address is known and made anew when it breaks.
//! Does I/O.

use super::CacheError;
use crate::backends::missing;
use bytes::Bytes;
use fred::{
    prelude::{Builder, Client, ClientLike, Config, EventInterface, Expiration, KeysInterface, ReconnectPolicy},
    types::ConnectHandle,
};
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};
use tokio::task::JoinHandle;

/// A cache that is slower than this helps nobody.
const DEADLINE: Duration = Duration::from_secs(2);
/// The server may be shared with others.
const PREFIX: &str = "rockstar:cache:";

/// See the module.
#[derive(Debug)]
pub struct Server {
    client: Client,
    connection: ConnectHandle,
    /// Why there is no connection, when there is none.
    trouble: Arc<Mutex<String>>,
    listener: JoinHandle<Result<(), fred::error::Error>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.connection.abort();
        self.listener.abort();
    }
}

impl Server {
    /// `redis://USER:PASSWORD@HOST:PORT/DATABASE`, or `rediss://` for TLS.
    pub(super) fn new(address: &str) -> Result<Self, String> {
        if let Some(why) = missing(address) {
            return Err(why);
        }
        let schemes = ["redis://", "rediss://", "valkey://", "valkeys://", "redis-cluster://", "rediss-cluster://"];
        if !schemes.iter().any(|scheme| address.starts_with(scheme)) {
            return Err("backends.cache: the address must begin with redis://".to_owned());
        }
        let wrong = |e: fred::error::Error| format!("backends.cache: the address is not valid: {}", e.details());
        let mut config = Config::from_url(address).map_err(wrong)?;
        config.fail_fast = false;
        let mut builder = Builder::from_config(config);
        builder.set_policy(ReconnectPolicy::new_exponential(0, 100, 5_000, 2));
        builder.with_performance_config(|performance| performance.default_command_timeout = DEADLINE);
        builder.with_connection_config(|connection| {
            connection.connection_timeout = DEADLINE;
            connection.internal_command_timeout = DEADLINE;
            connection.max_command_buffer_len = 10_000;
            connection.unresponsive.max_timeout = Some(DEADLINE * 2);
        });
        let client = builder.build().map_err(wrong)?;
        let trouble = Arc::<Mutex<String>>::default();
        let listener = client.on_error({
            let trouble = Arc::clone(&trouble);
            move |(error, _)| {
                note(&trouble, error.to_string());
                async { Ok(()) }
            }
        });
        let connection = client.connect();
        Ok(Self { client, connection, trouble, listener })
    }

    /// A command that waited in vain for a connection does not know what for.
    fn failed(&self, error: fred::error::Error) -> CacheError {
        let trouble = self.trouble.lock();
        match self.client.is_connected() || trouble.is_empty() {
            true => CacheError::Failed(error.to_string()),
            false => CacheError::Failed(format!("{error}: {trouble}")),
        }
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<Bytes>, CacheError> {
        self.client.get(named(key)).await.map_err(|e| self.failed(e))
    }

    pub(super) async fn set(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> Result<(), CacheError> {
        // A time to live of 0 is an error there.
        let ttl = ttl.map(|ttl| Expiration::PX(i64::try_from(ttl.as_millis().max(1)).unwrap_or(i64::MAX)));
        self.client.set::<(), _, _>(named(key), value, ttl, None, false).await.map_err(|e| self.failed(e))
    }

    pub(super) async fn delete(&self, key: &str) -> Result<(), CacheError> {
        self.client.del::<(), _>(named(key)).await.map_err(|e| self.failed(e))
    }
}

fn named(key: &str) -> String {
    format!("{PREFIX}{key}")
}

/// Each trouble once, however often it is tried.
fn note(trouble: &Mutex<String>, text: String) {
    let mut trouble = trouble.lock();
    if *trouble != text {
        tracing::warn!("The server of the cache cannot be reached: {text}");
        *trouble = text;
    }
}
