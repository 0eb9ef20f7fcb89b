//! Rows that are read as they come. I/O: that of their session.

use super::{Row, session::Session};
use crate::HostError;
use futures::{
    StreamExt,
    stream::{self, BoxStream, Stream},
};
use std::{
    borrow::BorrowMut,
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

/// The rows of a query, one by one. The database is not asked for many more than are read. Dropped, it ends the query;
/// in a transaction the next statement passes over the rows that are left.
pub struct RowStream<'a>(BoxStream<'a, Result<Row, HostError>>);

impl fmt::Debug for RowStream<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RowStream").finish()
    }
}

impl Stream for RowStream<'_> {
    type Item = Result<Row, HostError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(cx)
    }
}

impl<'a> RowStream<'a> {
    /// Of a session in which a query has begun: its own, or a transaction's.
    pub(super) fn new(session: impl BorrowMut<Session> + Send + 'a) -> Self {
        Self(stream::try_unfold(session, read).boxed())
    }

    /// The next row; none after the last.
    pub async fn next(&mut self) -> Option<Result<Row, HostError>> {
        self.0.next().await
    }
}

async fn read<S: BorrowMut<Session>>(mut session: S) -> Result<Option<(Row, S)>, HostError> {
    let row = session.borrow_mut().row().await?;
    Ok(row.map(|row| (row, session)))
}

#[cfg(test)]
mod tests {
    use crate::{params, testing::MockPluginContext};
    use serde_json::json;

    #[tokio::test]
    async fn a_transaction_passes_over_rows_that_nobody_reads() {
        let many = (0..1000).map(|i| [json!(i)]).collect();
        let mock = MockPluginContext::new().with_rows("many", ["i"], many);
        let mock = mock.with_rows("one", ["name"], vec![[json!("ann")]]);
        let mut tx = mock.context().database().begin().await.unwrap();
        let mut rows = tx.query_stream("many", params![]).await.unwrap();
        assert_eq!(rows.next().await.unwrap().unwrap().get("i"), Ok(0_i64));
        drop(rows);
        let rows = tx.query("one", params![]).await.unwrap();
        assert_eq!(rows[0].get("name"), Ok("ann".to_owned()));
        assert_eq!(rows.len(), 1);
        tx.commit().await.unwrap();
    }
}
