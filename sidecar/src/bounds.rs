//! What one plugin may take of the sidecar: beyond it the plugin hears an error, and nobody else is hurt. Bounds that can be
//! set are those of `rockstar_core::limits`; the others are what a message or the sidecar can hold. Memory only.

use arc_swap::ArcSwap;
use rockstar_core::limits::Limits;
use std::sync::{Arc, LazyLock};

/// Of this process, which is one sidecar.
static LIMITS: LazyLock<ArcSwap<Limits>> = LazyLock::new(ArcSwap::default);

/// The bounds in force.
pub fn limits() -> Arc<Limits> {
    LIMITS.load_full()
}

/// Puts bounds in force, as the operator or the plugins file has them. Those of processes count for the next ones.
pub fn set_limits(limits: Limits) {
    LIMITS.store(Arc::new(limits));
}

/// A name: of an event, middleware, a service, a method.
pub const MAX_NAME: usize = 256;
/// What comes back in `Call.handler`: SDKs make it of a name and a number.
pub const MAX_HANDLER: usize = 512;
/// A pattern of a path, or a description.
pub const MAX_PATTERN: usize = 1024;
/// What applications are told of all plugins' interests.
pub const MAX_INTEREST_BYTES: usize = 2 << 20;

/// What keeping an entry of the cache costs.
pub const CACHE_ENTRY_OVERHEAD: usize = 300;

/// Connections to a context, and calls on each at once.
pub const MAX_CONNECTIONS: usize = 8;
pub const MAX_STREAMS: u32 = 64;
/// Bytes of messages on their way to a context, and as many on their way back.
pub const MAX_BYTES_IN_FLIGHT: usize = 16 << 20;
/// A message for the cache, the storage or the database; and any other one.
pub const MAX_VALUE_MESSAGE: usize = 4 << 20;
pub const MAX_MESSAGE: usize = 256 << 10;
/// Rows of a statement that the plugin has not read yet.
pub const MAX_ROW_BYTES: usize = 1 << 20;

/// Admin connections at once, over all peers.
pub const MAX_ADMIN_CONNECTIONS: usize = 64;
