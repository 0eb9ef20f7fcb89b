//! A sidecar under an operator: the control stream, the newest snapshot, and what of it runs. With the operator away it
//! goes on with what it knows, also through its own restart. Does I/O: gRPC, and a private directory.

mod client;
#[doc(hidden)]
pub mod desired;
#[doc(hidden)]
pub mod follow;
#[doc(hidden)]
pub mod ledger;
mod memory;
mod report;

pub use client::{Endpoint, EndpointError};
pub use follow::Follower;
pub use memory::{Memory, MemoryError};
