//! The control stream: which instances are attached, what each last said, what each is to be told.
//! `hub` and `mailbox` hold the state without I/O; `service` is the gRPC server; `identity` says whose stream it is.

pub mod hub;
pub mod identity;
pub mod mailbox;
mod pacing;
pub mod publication;
pub mod server;
pub mod service;

pub use hub::{Attached, Hub};
pub use identity::{Authenticator, Identity, IdentityError};
pub use publication::Publication;
