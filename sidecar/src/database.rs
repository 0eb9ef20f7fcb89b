//! The framework's database as plugins use it: statements with bound arguments, streamed rows, transactions. SQLite in the
//! data directory, or PostgreSQL. A plugin never has more than its share of the connections. Does I/O.

mod error;
mod postgres;
mod quota;
mod session;
mod sink;
mod sqlite;
mod timestamp;

pub use error::DatabaseError;
pub use session::{Gate, Session};
pub use sink::{Replies, Sink, replies};

use quota::{Quota, Share};
use rockstar_proto::types::Value;
use std::path::Path;
use tokio::time::{Instant, timeout_at};

/// Connections to one database; a plugin has at most a quarter of them.
const POOL: usize = 16;

/// What to execute, and until when.
#[derive(Clone, Debug)]
pub struct Statement {
    pub sql: String,
    pub arguments: Vec<Value>,
    pub until: Instant,
}

/// What a statement did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    pub affected: i64,
    /// The key of the row that was inserted last, where the engine tells.
    pub last_id: i64,
}

/// See the module.
#[derive(Debug)]
pub struct Database {
    engine: Engine,
    quota: Quota,
}

#[derive(Debug)]
enum Engine {
    Sqlite(sqlite::File),
    Postgres(postgres::Engine),
    /// Its address is no good.
    Unusable(String),
}

impl Database {
    /// `postgres://…`, `sqlite:PATH`, or in a file of the data directory. `strict`: a superuser's address is refused.
    #[must_use]
    pub fn new(address: Option<&str>, data: &Path, strict: bool) -> Self {
        let engine = match address {
            None => Engine::Sqlite(sqlite::File::new(data.join("database").join("database.sqlite"))),
            Some(address) => match address.strip_prefix("sqlite:") {
                Some(path) => Engine::Sqlite(sqlite::File::new(path.strip_prefix("//").unwrap_or(path).into())),
                None => postgres::Engine::new(address, strict).map_or_else(refused, Engine::Postgres),
            },
        };
        Self { engine, quota: Quota::new(POOL / 4) }
    }

    /// One that answers everything with this error.
    #[must_use]
    pub fn unusable(error: String) -> Self {
        Self { engine: refused(error), quota: Quota::new(POOL / 4) }
    }

    /// A connection for a plugin; it gets no more than its share.
    pub async fn connect(&self, plugin: &str, until: Instant) -> Result<Connection, DatabaseError> {
        let connected = async {
            let share = self.quota.share(plugin).await;
            let link = match &self.engine {
                Engine::Sqlite(file) => Link::Sqlite(file.connection(plugin).await?),
                Engine::Postgres(engine) => Link::Postgres(engine.connection().await?),
                Engine::Unusable(error) => return Err(DatabaseError::Unreachable(error.clone())),
            };
            Ok(Connection { link, _share: share })
        };
        timeout_at(until, connected).await.unwrap_or(Err(DatabaseError::Busy))
    }
}

fn refused(error: String) -> Engine {
    tracing::error!("Plugins have no database: {error}");
    Engine::Unusable(error)
}

/// A connection in a plugin's hands. Dropped in the middle of a transaction it rolls back.
#[derive(Debug)]
pub struct Connection {
    link: Link,
    _share: Share,
}

#[derive(Debug)]
enum Link {
    Sqlite(sqlite::Link),
    Postgres(postgres::Link),
}

impl Connection {
    /// Runs to the end, to the statement's deadline, or until nobody listens to the sink any more.
    pub async fn run(&mut self, statement: Statement, sink: &Sink) -> Result<Done, DatabaseError> {
        match &mut self.link {
            Link::Sqlite(link) => link.run(statement, sink).await,
            Link::Postgres(link) => link.run(statement, sink).await,
        }
    }

    pub async fn control(&mut self, step: Step, until: Instant) -> Result<(), DatabaseError> {
        match &mut self.link {
            Link::Sqlite(link) => link.control(step, until).await,
            Link::Postgres(link) => link.control(step, until).await,
        }
    }
}

/// A step of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Begin,
    Commit,
    Rollback,
}

/// Statements that would begin or end transactions behind the session's back.
fn controls_transactions(sql: &str) -> bool {
    const WORDS: [&str; 8] = ["begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release"];
    let word = first_word(sql);
    let prepared = word.eq_ignore_ascii_case("prepare") && second_word(sql).eq_ignore_ascii_case("transaction");
    prepared || WORDS.iter().any(|w| word.eq_ignore_ascii_case(w))
}

fn first_word(sql: &str) -> &str {
    let sql = without_comments(sql);
    &sql[..sql.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(sql.len())]
}

fn second_word(sql: &str) -> &str {
    let sql = without_comments(sql);
    first_word(&sql[first_word(sql).len()..])
}

/// What comes after leading blanks, comments and empty statements.
fn without_comments(sql: &str) -> &str {
    let mut rest = sql;
    loop {
        let trimmed = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ';');
        rest = if let Some(comment) = trimmed.strip_prefix("--") {
            comment.split_once('\n').map_or("", |(_, after)| after)
        } else if trimmed.starts_with("/*") {
            after_block(trimmed)
        } else {
            return trimmed;
        };
    }
}

/// Comments in comments count: PostgreSQL nests them.
fn after_block(sql: &str) -> &str {
    let (mut depth, mut at) = (0_u32, 0);
    while at < sql.len() {
        match sql.as_bytes().get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    sql.get(at..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_are_not_controlled_by_statements() {
        for sql in ["BEGIN", " -- x\n commit;", "/* a /* b */ */ROLLBACK TO x", ";;start transaction", "End"] {
            assert!(controls_transactions(sql), "{sql}");
        }
        assert!(controls_transactions("PREPARE TRANSACTION 'x'"));
        for sql in ["SELECT 1", "beginning", "PREPARE x AS SELECT 1", "-- begin", "/* open", "", "INSERT INTO commits"]
        {
            assert!(!controls_transactions(sql), "{sql}");
        }
    }
}
