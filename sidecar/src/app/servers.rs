//! The servers of a sidecar, as one set of tasks that ends with it. Does I/O.

use super::AppError;
use crate::{
    admin::{self, Admin, Announcement, Token},
    app_api::{self, Socket},
    args::Arguments,
    authority::Authority,
    manager::Manager,
    readiness::Readiness,
};
use std::{fmt::Display, future::Future, sync::Arc};
use tokio::{net::TcpListener, task::JoinSet};

/// Tasks none of which should end by itself.
#[derive(Debug, Default)]
pub(super) struct Servers {
    tasks: JoinSet<Result<(), String>>,
    announcement: Option<Announcement>,
}

impl Servers {
    /// Serves the application and the administrator.
    pub(super) async fn start(
        arguments: &Arguments,
        manager: &Arc<Manager>,
        authority: Authority,
        readiness: Arc<Readiness>,
        token: Token,
    ) -> Result<Self, AppError> {
        let standalone = arguments.config.is_some();
        let address = arguments.admin();
        let listener = TcpListener::bind(address).await.map_err(|cause| AppError::Admin { address, cause })?;
        let bound = listener.local_addr().unwrap_or(address);
        let socket = Socket::bind(&arguments.socket(), standalone).await?;
        tracing::info!("Serving the application on {}, admin on http://{bound}", arguments.socket().display());
        let mut servers = Self::default();
        if standalone {
            servers.announcement = announced(&token, bound.port());
        }
        let (manager, token) = (Arc::clone(manager), Arc::new(token));
        let admin = Admin { manager: Arc::clone(&manager), authority: authority.clone(), readiness, token, standalone };
        servers.add("admin", admin::serve(listener, admin));
        servers.add("application", app_api::serve(socket, manager, authority));
        Ok(servers)
    }

    pub(super) fn add<E: Display>(
        &mut self,
        name: &'static str,
        server: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        self.tasks.spawn(async move { server.await.map_err(|error| format!("{name}: {error}")) });
    }

    /// Returns when any of them does.
    pub(super) async fn ended(&mut self) -> AppError {
        match self.tasks.join_next().await {
            Some(Ok(Err(text))) => AppError::Server(text),
            Some(Err(error)) => AppError::Server(error.to_string()),
            Some(Ok(Ok(()))) | None => AppError::Server("nothing was wrong with it".to_owned()),
        }
    }
}

/// Without it the command line must be given the token's file.
fn announced(token: &Token, port: u16) -> Option<Announcement> {
    let announced = token.announce(port);
    announced
        .inspect_err(|cause| tracing::warn!(%cause, "The command line does not find the admin token: {cause}"))
        .ok()
}
