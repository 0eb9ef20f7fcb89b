//! A session with an open transaction.

use super::{Done, RowStream, Rows, SqlValue, session::Session, statement};
use crate::HostError;
use futures::TryStreamExt;
use rockstar_proto::{plugin::database_request::Request, types::Empty};
use std::time::Duration;

/// Several statements, all of which happen or none. Dropped without a commit, it is rolled back. It may be idle for 30 s.
#[derive(Debug)]
pub struct Transaction {
    session: Session,
    timeout: Duration,
}

impl Transaction {
    pub(super) async fn begin(mut session: Session, timeout: Duration) -> Result<Self, HostError> {
        session.ask(Request::Begin(Empty {})).await?;
        Ok(Self { session, timeout })
    }

    pub async fn query(&mut self, sql: &str, arguments: impl Into<Vec<SqlValue>>) -> Result<Rows, HostError> {
        self.query_stream(sql, arguments).await?.try_collect().await
    }

    /// As [`Database::query_stream`](super::Database::query_stream), but the rows that are not read are fetched all the
    /// same: the next statement passes over them.
    pub async fn query_stream(
        &mut self,
        sql: &str,
        arguments: impl Into<Vec<SqlValue>>,
    ) -> Result<RowStream<'_>, HostError> {
        self.session.query(statement(sql, arguments, self.timeout)).await?;
        Ok(RowStream::new(&mut self.session))
    }

    pub async fn exec(&mut self, sql: &str, arguments: impl Into<Vec<SqlValue>>) -> Result<Done, HostError> {
        self.session.ask(Request::Execute(statement(sql, arguments, self.timeout))).await
    }

    pub async fn commit(&mut self) -> Result<(), HostError> {
        self.session.ask(Request::Commit(Empty {})).await.map(drop)
    }

    /// After a commit it does nothing.
    pub async fn rollback(&mut self) -> Result<(), HostError> {
        self.session.ask(Request::Rollback(Empty {})).await.map(drop)
    }
}
