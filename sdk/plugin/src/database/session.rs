//! One stream to the host's database: requests one at a time, each with its replies. Its end is the session's end.

use super::{Done, Row, Rows};
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
    patience: Duration,
}

impl Session {
    pub(super) async fn open(host: &Host, allowed: Duration) -> Result<Self, HostError> {
        let (requests, outgoing) = mpsc::channel(1);
        let mut client = host.client();
        let replies = answered(client.database(ReceiverStream::new(outgoing))).await?;
        Ok(Self { requests, replies, sequence: 0, patience: allowed + GRACE })
    }

    pub(super) async fn query(&mut self, statement: Statement) -> Result<Rows, HostError> {
        self.ask(Request::Query(statement)).await.map(|(rows, _)| rows)
    }

    pub(super) async fn ask(&mut self, request: Request) -> Result<(Rows, Done), HostError> {
        let patience = self.patience;
        timeout(patience, self.exchange(request)).await.unwrap_or(Err(HostError::Timeout))
    }

    async fn exchange(&mut self, request: Request) -> Result<(Rows, Done), HostError> {
        self.sequence += 1;
        let request = DatabaseRequest { sequence: self.sequence, request: Some(request) };
        self.requests.send(request).await.map_err(|_| ended())?;
        let (mut columns, mut rows) = (Arc::default(), Vec::new());
        loop {
            match self.next().await? {
                Reply::Columns(told) => columns = Arc::from(told.names),
                Reply::Row(row) => rows.push(Row::new(Arc::clone(&columns), row.values)),
                Reply::Done(done) => {
                    let rows_affected = u64::try_from(done.affected).unwrap_or_default();
                    return Ok((rows, Done { rows_affected, last_insert_id: done.last_id }));
                }
                Reply::Failure(failure) => return Err(failure.into()),
            }
        }
    }

    /// Replies to requests that were given up are skipped.
    async fn next(&mut self) -> Result<Reply, HostError> {
        loop {
            let reply = self.replies.message().await.map_err(|status| refusal(&status))?.ok_or_else(ended)?;
            if let (true, Some(reply)) = (reply.sequence == self.sequence, reply.reply) {
                return Ok(reply);
            }
        }
    }
}

fn ended() -> HostError {
    HostError::Unreachable("the session with the database has ended".to_owned())
}
