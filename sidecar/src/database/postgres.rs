//! PostgreSQL: pooled connections under the role of the address. Does I/O.

mod argument;
mod decode;
mod numeric;
mod placeholders;
mod statement;

use super::{DatabaseError, Done, POOL, Sink, Statement, Step};
use crate::{
    backends::missing,
    postgres::{Server, describe},
};
use deadpool_postgres::Object;
use std::{future::Future, time::Duration};
use tokio::{
    sync::OnceCell,
    time::{Instant, timeout, timeout_at},
};

const SUPERUSER: &str = "StorageIsolated=False: the role of backends.database is a superuser, so that a plugin's SQL \
    reaches everything on the server; give plugins a role that is none";
/// For telling the server that nobody waits any more.
const CANCEL: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Engine {
    server: Server,
    strict: bool,
    checked: OnceCell<()>,
}

impl Engine {
    pub(super) fn new(address: &str, strict: bool) -> Result<Self, String> {
        if let Some(why) = missing(address) {
            return Err(why);
        }
        let server = Server::new(address, POOL).map_err(|e| format!("backends.database: {e}"))?;
        Ok(Self { server, strict, checked: OnceCell::new() })
    }

    pub(super) async fn connection(&self) -> Result<Link, DatabaseError> {
        let client = self.server.connection().await.map_err(DatabaseError::Unreachable)?;
        self.checked.get_or_try_init(|| self.check(&client)).await?;
        Ok(Link { client: Some(client), server: self.server.clone(), failed: None })
    }

    /// A superuser's SQL reaches everything on the server: other databases, files, programs.
    async fn check(&self, client: &Object) -> Result<(), DatabaseError> {
        let is_superuser = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user";
        let row = client.query_one(is_superuser, &[]).await.map_err(|e| DatabaseError::Unreachable(describe(&e)))?;
        match row.try_get(0).unwrap_or(true) {
            true if self.strict => Err(DatabaseError::Refused(SUPERUSER.to_owned())),
            true => {
                tracing::warn!("{SUPERUSER}");
                Ok(())
            }
            false => Ok(()),
        }
    }
}

/// A connection in use. What a plugin leaves on it is cleared before its next use.
#[derive(Debug)]
pub(super) struct Link {
    /// None: it was closed.
    client: Option<Object>,
    server: Server,
    /// Why the open transaction cannot be committed any more.
    failed: Option<String>,
}

impl Link {
    pub(super) async fn run(&mut self, statement: Statement, sink: &Sink) -> Result<Done, DatabaseError> {
        let client = self.client.as_ref().ok_or_else(closed)?;
        let running = statement::run(client, &statement, sink);
        let done = until(running, statement.until, sink).await;
        if let Err(DatabaseError::Refused(text)) = &done {
            self.failed.get_or_insert_with(|| text.clone());
        }
        self.settle(done).await
    }

    pub(super) async fn control(&mut self, step: Step, until: Instant) -> Result<(), DatabaseError> {
        let failed = self.failed.take();
        let (sql, failed) = match step {
            Step::Begin => ("BEGIN", None),
            // To a COMMIT after a failure PostgreSQL answers with a rollback, and no error.
            Step::Commit if failed.is_some() => ("ROLLBACK", failed),
            Step::Commit => ("COMMIT", None),
            Step::Rollback => ("ROLLBACK", None),
        };
        let client = self.client.as_ref().ok_or_else(closed)?;
        let done = timeout_at(until, client.batch_execute(sql)).await;
        let done = done.map_or(Err(DatabaseError::Deadline), |done| done.map_err(|e| refused(&e)));
        self.settle(done).await?;
        failed.map_or(Ok(()), |text| Err(DatabaseError::RolledBack(format!("a statement in it failed: {text}"))))
    }

    /// A statement that was left alone is cancelled, and its connection closed, which rolls back.
    async fn settle<T>(&mut self, done: Result<T, DatabaseError>) -> Result<T, DatabaseError> {
        if matches!(done, Err(DatabaseError::Deadline | DatabaseError::Unheard | DatabaseError::Unreachable(_)))
            && let Some(client) = self.client.take()
        {
            // If it is not heard, the server notices the closed connection when it next writes to it.
            let _ = timeout(CANCEL, client.cancel_token().cancel_query(self.server.tls())).await;
            drop(Object::take(client));
        }
        done
    }
}

async fn until<T>(
    running: impl Future<Output = Result<T, DatabaseError>>,
    until: Instant,
    sink: &Sink,
) -> Result<T, DatabaseError> {
    tokio::select! {
        done = timeout_at(until, running) => done.unwrap_or(Err(DatabaseError::Deadline)),
        () = sink.closed() => Err(DatabaseError::Unheard),
    }
}

fn closed() -> DatabaseError {
    DatabaseError::Unreachable("the connection is closed".to_owned())
}

fn refused(error: &tokio_postgres::Error) -> DatabaseError {
    match error.is_closed() {
        true => DatabaseError::Unreachable(describe(error)),
        false => DatabaseError::Refused(describe(error)),
    }
}
