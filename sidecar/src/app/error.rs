//! Why the sidecar does not run. Pure.

use crate::{
    app_api::SocketError,
    control::{EndpointError, MemoryError},
    standalone::ConfigFileError,
};
use std::{io, net::SocketAddr};

#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error(transparent)]
    Config(#[from] ConfigFileError),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error(transparent)]
    Control(#[from] EndpointError),
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error("failed to listen on {address}: {cause}")]
    Admin { address: SocketAddr, cause: io::Error },
    #[error("failed to prepare {what}: {cause}")]
    Prepare { what: &'static str, cause: io::Error },
    #[error("not all plugins were loaded, and --strict is given: {0}")]
    Strict(String),
    #[error("nothing says what to run: give --config FILE or --control URL")]
    NoAuthority,
    #[error("a server ended: {0}")]
    Server(String),
}
