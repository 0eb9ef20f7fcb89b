//! SQLite: connections to one file, each used by one thread at a time. Does I/O, off the event loop.

mod functions;
mod guard;
mod statement;
mod turns;
mod value;

use super::{DatabaseError, Done, POOL, Sink, Statement, Step};
use crate::{bounds::limits, sqlite::Threads};
use guard::{Guard, Limit};
use parking_lot::Mutex;
use rockstar_core::limits;
use std::{path::PathBuf, sync::Arc};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};
use turns::{Turn, Turns};

/// The database's file, with its connections that nobody uses.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    most: Arc<Semaphore>,
    idle: Idle,
    threads: Arc<Threads>,
    turns: Arc<Turns>,
}

type Idle = Arc<Mutex<Vec<Open>>>;

/// An open connection with what keeps plugins inside of it.
#[derive(Debug)]
struct Open {
    connection: rusqlite::Connection,
    guard: Guard,
    /// So many the file may have.
    pages: i64,
}

impl File {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            most: Arc::new(Semaphore::new(POOL)),
            idle: Idle::default(),
            threads: Arc::new(Threads::new(POOL)),
            turns: Arc::default(),
        }
    }

    #[cfg(test)]
    pub(super) fn writers(&self) -> usize {
        self.turns.writers()
    }

    pub(super) async fn connection(&self, plugin: &str) -> Result<Link, DatabaseError> {
        // It is never closed.
        let permit = Arc::clone(&self.most).acquire_owned().await.ok();
        let known = self.idle.lock().pop();
        let open = match known {
            Some(open) => open,
            None => {
                let path = self.path.clone();
                let opened = self.threads.run(move || guard::open(&path)).await;
                let opened = opened.map_err(|e| DatabaseError::Unreachable(e.to_string()))?;
                opened.map_err(|e| DatabaseError::Unreachable(e.to_string()))?
            }
        };
        let writer = Writer { plugin: plugin.to_owned(), turns: Arc::clone(&self.turns), turn: None };
        let (idle, threads) = (Arc::clone(&self.idle), Arc::clone(&self.threads));
        Ok(Link { open: Some(open), idle, threads, writer, _permit: permit })
    }
}

/// A connection in use. None: it is in the hands of another thread, or gone with it.
#[derive(Debug)]
pub(super) struct Link {
    open: Option<Open>,
    idle: Idle,
    threads: Arc<Threads>,
    writer: Writer,
    _permit: Option<OwnedSemaphorePermit>,
}

/// A connection's part in the turns at writing: it has one while a transaction is open, and else for one statement.
#[derive(Debug)]
struct Writer {
    plugin: String,
    turns: Arc<Turns>,
    turn: Option<Turn>,
}

impl Writer {
    async fn wait(&mut self, until: Instant) -> Result<(), DatabaseError> {
        let turn = timeout_at(until, self.turns.take(&self.plugin)).await;
        self.turn = Some(turn.map_err(|_| DatabaseError::Written)?);
        Ok(())
    }
}

impl Link {
    pub(super) async fn run(&mut self, mut statement: Statement, sink: &Sink) -> Result<Done, DatabaseError> {
        // However long a plugin is ready to wait: a statement keeps others from writing.
        statement.until = statement.until.min(Instant::now() + limits().duration(limits::Limit::Transaction));
        let statement = Arc::new(statement);
        if let Some(done) = self.execute(&statement, sink).await? {
            return Ok(done);
        }
        self.writer.wait(statement.until).await?;
        let done = self.execute(&statement, sink).await;
        self.writer.turn = None;
        done.map(Option::unwrap_or_default)
    }

    /// None: the statement writes, and it is not this connection's turn.
    async fn execute(&mut self, statement: &Arc<Statement>, sink: &Sink) -> Result<Option<Done>, DatabaseError> {
        let (may_write, until) = (self.writer.turn.is_some(), statement.until);
        let (statement, heard) = (Arc::clone(statement), sink.clone());
        let work = move |open: &mut Open| statement::run(&open.connection, &statement, &heard, may_write);
        self.with(until, Some(sink.clone()), work).await
    }

    pub(super) async fn control(&mut self, step: Step, until: Instant) -> Result<(), DatabaseError> {
        // The lock is taken at once, so that a transaction that reads first cannot fail when it writes.
        let sql = match step {
            Step::Begin => "BEGIN IMMEDIATE",
            Step::Commit => "COMMIT",
            Step::Rollback => "ROLLBACK",
        };
        if step == Step::Begin {
            self.writer.wait(until).await?;
        }
        let done = self.with(until, None, move |open| {
            if step == Step::Rollback && open.connection.is_autocommit() {
                return Ok(());
            }
            let done = open.guard.trusting(|| open.connection.execute_batch(sql));
            done.map_err(|e| statement::refused(&e, until))
        });
        let done = done.await;
        if self.open.as_ref().is_none_or(|open| open.connection.is_autocommit()) {
            self.writer.turn = None;
        }
        done
    }

    async fn with<T: Send + 'static>(
        &mut self,
        until: Instant,
        heard: Option<Sink>,
        work: impl FnOnce(&mut Open) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        let lost = || DatabaseError::Unreachable("the connection is closed".to_owned());
        let mut open = self.open.take().ok_or_else(lost)?;
        let worked = self.threads.run(move || {
            open.guard.limit(&open.connection, Some(Limit { until, heard }));
            let done = match guard::bound(&mut open) {
                Ok(()) => work(&mut open),
                Err(error) => Err(statement::refused(&error, until)),
            };
            open.guard.limit(&open.connection, None);
            (open, done)
        });
        let (open, done) = worked.await.map_err(|_| lost())?;
        self.open = Some(open);
        done
    }
}

impl Drop for Link {
    /// Only a connection on which nothing is left goes to the next user. Closing the others rolls back.
    fn drop(&mut self) {
        let clean = self.open.take().filter(|open| open.connection.is_autocommit() && !guard::has_temporary(open));
        self.idle.lock().extend(clean);
    }
}
