//! One plugin's session: its requests in order, one at a time, and the transaction that it holds. Whatever ends the
//! session without a commit rolls back. I/O: that of the engine.

use super::{Connection, Database, DatabaseError, Done, Replies, Sink, Statement, Step};
use crate::bounds::limits;
use futures::{Stream, StreamExt};
use rockstar_core::{duration, limits::Limit};
use rockstar_proto::{
    plugin::{DatabaseRequest, Statement as Asked, database_request::Request},
    types::Failure,
};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, timeout_at};
use tonic::Status;

/// A transaction in which nothing happens keeps others waiting no longer than this.
const IDLE: Duration = Duration::from_secs(30);
const USUAL: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(600);
/// For the end of a transaction.
const ENDING: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug)]
pub struct Session<G> {
    database: Arc<Database>,
    plugin: String,
    gate: G,
    transaction: Transaction,
    idle: Duration,
    /// How long the whole of a transaction may be that begins now: nobody else writes meanwhile.
    allowed: fn() -> Duration,
    /// The same of the one that began last.
    longest: Duration,
}

#[derive(Debug, Default)]
enum Transaction {
    #[default]
    None,
    /// Until when at the latest.
    Open(Box<Connection>, Instant),
    /// Rolled back without the plugin's doing, and it has not heard of it.
    Lost(String),
}

/// Who may go on, and what its failures look like.
pub trait Gate: Send + Sync {
    /// Asked before every request.
    fn allowed(&self) -> Result<(), Failure>;

    fn failure(&self, error: &DatabaseError) -> Failure;
}

impl<G: Gate> Session<G> {
    pub fn new(database: Arc<Database>, plugin: &str, gate: G) -> Self {
        Self {
            database,
            plugin: plugin.to_owned(),
            gate,
            transaction: Transaction::None,
            idle: IDLE,
            allowed: || limits().duration(Limit::Transaction),
            longest: Duration::ZERO,
        }
    }

    /// Serves until the requests end or nobody listens any more.
    pub async fn serve(
        mut self,
        mut requests: impl Stream<Item = Result<DatabaseRequest, Status>> + Unpin,
        replies: Replies,
    ) {
        loop {
            let next = tokio::select! {
                next = self.next(&mut requests) => next,
                () = replies.closed() => None,
            };
            let Some(request) = next else { break };
            let rows = matches!(request.request, Some(Request::Query(_)));
            let sink = Sink { replies: replies.clone(), sequence: request.sequence, rows };
            let outcome = self.answer(request, &sink).await;
            if sink.end(outcome, Instant::now() + IDLE).await.is_err() {
                break;
            }
        }
        if let Transaction::Open(mut connection, _) = self.transaction {
            // If that fails, the connection is closed, which rolls back as well.
            let _ = connection.control(Step::Rollback, Instant::now() + ENDING).await;
        }
    }

    /// The next request; a transaction that idles meanwhile is rolled back.
    async fn next(
        &mut self,
        requests: &mut (impl Stream<Item = Result<DatabaseRequest, Status>> + Unpin),
    ) -> Option<DatabaseRequest> {
        if let Transaction::Open(_, until) = self.transaction {
            let idle = Instant::now() + self.idle;
            match timeout_at(idle.min(until), requests.next()).await {
                Ok(next) => return next?.ok(),
                Err(_) if until <= idle => self.lose(self.too_long()).await,
                Err(_) => self.lose(format!("it was idle for {}s", self.idle.as_secs())).await,
            }
        }
        requests.next().await?.ok()
    }

    fn too_long(&self) -> String {
        format!(
            "it was open for {}, the longest that a transaction may be (limits.transaction)",
            duration::format(self.longest)
        )
    }

    async fn lose(&mut self, why: String) {
        if let Transaction::Open(mut connection, _) = std::mem::replace(&mut self.transaction, Transaction::Lost(why)) {
            let _ = connection.control(Step::Rollback, Instant::now() + ENDING).await;
        }
    }

    async fn answer(&mut self, request: DatabaseRequest, sink: &Sink) -> Result<Done, Failure> {
        self.gate.allowed()?;
        let done = match request.request {
            Some(Request::Query(asked) | Request::Execute(asked)) => self.run(asked, sink).await,
            Some(Request::Begin(_)) => self.begin().await,
            Some(Request::Commit(_)) => self.commit().await,
            Some(Request::Rollback(_)) => self.rollback().await,
            None => Err(DatabaseError::Refused("the request is empty".to_owned())),
        };
        done.map_err(|error| self.gate.failure(&error))
    }

    async fn run(&mut self, asked: Asked, sink: &Sink) -> Result<Done, DatabaseError> {
        if super::controls_transactions(&asked.sql) {
            return Err(DatabaseError::Control);
        }
        let until = Instant::now() + allowance(asked.timeout_ms);
        let statement = Statement { sql: asked.sql, arguments: asked.arguments, until };
        match &mut self.transaction {
            Transaction::Lost(why) => Err(DatabaseError::RolledBack(why.clone())),
            Transaction::None => {
                let mut connection = self.database.connect(&self.plugin, until).await?;
                connection.run(statement, sink).await
            }
            Transaction::Open(connection, longest) => {
                let longest = *longest;
                let statement = Statement { until: until.min(longest), ..statement };
                let done = connection.run(statement, sink).await;
                if longest <= Instant::now() {
                    self.lose(self.too_long()).await;
                } else if matches!(done, Err(DatabaseError::Deadline | DatabaseError::Unreachable(_))) {
                    self.lose("a statement in it was interrupted at its deadline or lost its connection".into()).await;
                }
                done
            }
        }
    }

    async fn begin(&mut self) -> Result<Done, DatabaseError> {
        if matches!(self.transaction, Transaction::Open(..)) {
            return Err(DatabaseError::Begun);
        }
        let until = Instant::now() + USUAL;
        let mut connection = self.database.connect(&self.plugin, until).await?;
        connection.control(Step::Begin, until).await?;
        self.longest = (self.allowed)();
        self.transaction = Transaction::Open(Box::new(connection), Instant::now() + self.longest);
        Ok(Done::default())
    }

    async fn commit(&mut self) -> Result<Done, DatabaseError> {
        match std::mem::take(&mut self.transaction) {
            Transaction::None => Err(DatabaseError::NotBegun),
            Transaction::Lost(why) => Err(DatabaseError::RolledBack(why)),
            Transaction::Open(mut connection, _) => {
                connection.control(Step::Commit, Instant::now() + USUAL).await.map(|()| Done::default())
            }
        }
    }

    /// After the end of the transaction it does nothing, so that it can be written down once for all ways out.
    async fn rollback(&mut self) -> Result<Done, DatabaseError> {
        if let Transaction::Open(mut connection, _) = std::mem::take(&mut self.transaction) {
            connection.control(Step::Rollback, Instant::now() + ENDING).await?;
        }
        Ok(Done::default())
    }
}

fn allowance(timeout_ms: u32) -> Duration {
    match timeout_ms {
        0 => USUAL,
        asked => Duration::from_millis(asked.into()).min(LONGEST),
    }
}

#[cfg(test)]
mod tests;
