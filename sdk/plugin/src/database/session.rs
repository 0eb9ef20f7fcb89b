//! One stream to the host's database: requests one at a time, each with its replies. Its end is the session's end.

use super::{Done, Row};
use crate::{
    HostError,
    host::{Host, answered, refusal},
};
use rockstar_proto::plugin::{
    DatabaseReply, DatabaseRequest, Statement, database_reply::Reply, database_request::Request,
};
use std::{sync::Arc, time::Duration};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

/// The host ends a statement at its deadline and says so; this is for a host that does not.
const GRACE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Session {
    requests: mpsc::Sender<DatabaseRequest>,
    replies: Streaming<DatabaseReply>,
    sequence: u32,
    /// Those of the query whose rows are read.
    columns: Arc<[String]>,
    /// For each reply.
    patience: Duration,
}

impl Session {
    pub(super) async fn open(host: &Host, allowed: Duration) -> Result<Self, HostError> {
        let (requests, outgoing) = mpsc::channel(1);
        let mut client = host.client();
        let replies = answered(client.database(ReceiverStream::new(outgoing))).await?;
        Ok(Self { requests, replies, sequence: 0, columns: Arc::default(), patience: allowed + GRACE })
    }

    /// All but a query.
    pub(super) async fn ask(&mut self, request: Request) -> Result<Done, HostError> {
        let Reply::Done(done) = self.first(request).await? else { return Err(disordered()) };
        let rows_affected = u64::try_from(done.affected).unwrap_or_default();
        Ok(Done { rows_affected, last_insert_id: done.last_id })
    }

    /// Begins a query. [`Self::row`] reads its rows; those that it does not read, the next request passes over.
    pub(super) async fn query(&mut self, statement: Statement) -> Result<(), HostError> {
        let Reply::Columns(told) = self.first(Request::Query(statement)).await? else { return Err(disordered()) };
        self.columns = told.names.into();
        Ok(())
    }

    /// The next row of the query; none after the last.
    pub(super) async fn row(&mut self) -> Result<Option<Row>, HostError> {
        match self.next().await? {
            Reply::Row(row) => Ok(Some(Row::new(Arc::clone(&self.columns), row.values))),
            Reply::Done(_) => Ok(None),
            _ => Err(disordered()),
        }
    }

    /// Sends a request, and gives the first reply to it.
    async fn first(&mut self, request: Request) -> Result<Reply, HostError> {
        self.sequence += 1;
        let request = DatabaseRequest { sequence: self.sequence, request: Some(request) };
        let sent = timeout(self.patience, self.requests.send(request)).await;
        sent.map_err(|_| HostError::Timeout)?.map_err(|_| ended())?;
        self.next().await
    }

    /// Replies to requests that were given up are skipped.
    async fn next(&mut self) -> Result<Reply, HostError> {
        loop {
            let told = timeout(self.patience, self.replies.message()).await.map_err(|_| HostError::Timeout)?;
            let reply = told.map_err(|status| refusal(&status))?.ok_or_else(ended)?;
            match reply.reply.filter(|_| reply.sequence == self.sequence) {
                Some(Reply::Failure(failure)) => return Err(failure.into()),
                Some(reply) => return Ok(reply),
                None => {}
            }
        }
    }
}

fn ended() -> HostError {
    HostError::Unreachable("the session with the database has ended".to_owned())
}

fn disordered() -> HostError {
    HostError::Data("the database's replies are out of order".to_owned())
}
