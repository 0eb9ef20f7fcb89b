//! The framework's database. A call is a session with the host; a transaction is one that stays open.

mod row;
mod session;
mod stream;
mod transaction;
mod value;

pub use row::{Row, RowError, Rows};
pub use stream::RowStream;
pub use transaction::Transaction;
pub use value::{FromSql, SqlValue};

use crate::{HostError, host::Host};
use futures::TryStreamExt;
use rockstar_proto::plugin::{Statement, database_request::Request};
use session::Session;
use std::time::Duration;

/// What a statement did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// How many rows it changed.
    pub rows_affected: u64,
    /// The key of the row that it inserted: SQLite tells it by itself, PostgreSQL if the statement ends in `RETURNING id`.
    pub last_insert_id: i64,
}

/// The framework's database; cheap to clone. Placeholders are `?` on every engine, a literal question mark is `??`.
///
/// ```
/// # use rockstar_plugin::{Result, json, params, testing::MockPluginContext};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result {
/// # let mock = MockPluginContext::new();
/// # let mock = mock.with_rows("SELECT name FROM users WHERE id = ?", ["name"], vec![[json!("ann")]]);
/// # let ctx = mock.context();
/// # let id = 7;
/// let db = ctx.database();
/// let rows = db.query("SELECT name FROM users WHERE id = ?", params![id]).await?;
/// let name: String = rows.first().ok_or("no such user")?.get("name")?;
///
/// let mut tx = db.begin().await?;
/// tx.exec("UPDATE users SET name = ? WHERE id = ?", params![name.to_uppercase(), id]).await?;
/// tx.commit().await?;
/// # let statements = mock.statements();
/// # assert_eq!((statements[1].sql.as_str(), statements[3].sql.as_str()), ("BEGIN", "COMMIT"));
/// # assert_eq!(statements[2].arguments, [json!("ANN"), json!(7)]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Database {
    host: Host,
    timeout: Duration,
}

/// Unless the plugin says otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);

impl Database {
    pub(crate) const fn new(host: Host) -> Self {
        Self { host, timeout: TIMEOUT }
    }

    /// The same, with another deadline for each statement; at first 30 s.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { host: self.host.clone(), timeout }
    }

    /// All rows of a query.
    pub async fn query(&self, sql: &str, arguments: impl Into<Vec<SqlValue>>) -> Result<Rows, HostError> {
        self.query_stream(sql, arguments).await?.try_collect().await
    }

    /// The rows of a query as they come, for more of them than should be in memory. The statement's deadline is its
    /// reader's too, and a stream that is not read keeps one of the plugin's few connections until then.
    ///
    /// ```
    /// # use rockstar_plugin::{Result, json, params, testing::MockPluginContext};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result {
    /// # let mock = MockPluginContext::new();
    /// # let mock = mock.with_rows("SELECT total FROM orders WHERE paid = ?", ["total"], vec![[json!(3)], [json!(4)]]);
    /// # let ctx = mock.context();
    /// let mut rows = ctx.database().query_stream("SELECT total FROM orders WHERE paid = ?", params![true]).await?;
    /// let mut sum = 0;
    /// while let Some(row) = rows.next().await.transpose()? {
    ///     sum += row.get::<i64>("total")?;
    /// }
    /// # assert_eq!(sum, 7);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn query_stream(
        &self,
        sql: &str,
        arguments: impl Into<Vec<SqlValue>>,
    ) -> Result<RowStream<'static>, HostError> {
        let mut session = Session::open(&self.host, self.timeout).await?;
        session.query(statement(sql, arguments, self.timeout)).await?;
        Ok(RowStream::new(session))
    }

    pub async fn exec(&self, sql: &str, arguments: impl Into<Vec<SqlValue>>) -> Result<Done, HostError> {
        let mut session = Session::open(&self.host, self.timeout).await?;
        session.ask(Request::Execute(statement(sql, arguments, self.timeout))).await
    }

    /// What is done in a transaction that is dropped without a commit, or whose plugin dies, is undone.
    pub async fn begin(&self) -> Result<Transaction, HostError> {
        Transaction::begin(Session::open(&self.host, self.timeout).await?, self.timeout).await
    }
}

fn statement(sql: &str, arguments: impl Into<Vec<SqlValue>>, timeout: Duration) -> Statement {
    Statement {
        sql: sql.to_owned(),
        arguments: arguments.into().into_iter().map(Into::into).collect(),
        timeout_ms: u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX).max(1),
    }
}

/// Arguments of a statement: `params![id, "Ada", None::<i64>]`.
#[macro_export]
macro_rules! params {
    ($($value:expr),* $(,)?) => { ::std::vec::Vec::<$crate::SqlValue>::from([$($crate::SqlValue::from($value)),*]) };
}
