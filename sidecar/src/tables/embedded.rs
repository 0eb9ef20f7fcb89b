//! The tables in a SQLite file of this sidecar. Does I/O, on a thread for what blocks.

use super::rows::Rows;
use crate::slot::Incident;
use jiff::{Timestamp, tz::TimeZone};
use parking_lot::Mutex;
use rusqlite::{Connection, Error, Transaction, params};
use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::task::spawn_blocking;

const BUSY: Duration = Duration::from_secs(5);
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS plugins (
    name TEXT PRIMARY KEY, status TEXT NOT NULL, error_count INTEGER NOT NULL, last_error TEXT, last_error_at TEXT);
CREATE TABLE IF NOT EXISTS plugin_hooks (
    plugin_name TEXT NOT NULL, hook_type TEXT NOT NULL, execution_count INTEGER NOT NULL,
    total_duration_ms REAL NOT NULL, error_count INTEGER NOT NULL, PRIMARY KEY (plugin_name, hook_type));
CREATE TABLE IF NOT EXISTS plugin_metrics (
    plugin_name TEXT NOT NULL, metric_name TEXT NOT NULL, metric_value REAL NOT NULL, recorded_at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS plugin_metrics_of_plugin ON plugin_metrics (plugin_name, metric_name, recorded_at);
";
/// A week, and no more than so many rows.
const FORGET: &str = "
DELETE FROM plugin_metrics WHERE recorded_at < datetime('now', '-7 days');
DELETE FROM plugin_metrics WHERE rowid <= (SELECT max(rowid) FROM plugin_metrics) - 100000;
";
const PLUGIN: &str = "INSERT INTO plugins VALUES (?1, ?2, ?3, ?4, ?5)";
const HOOK: &str = "INSERT INTO plugin_hooks VALUES (?1, ?2, ?3, ?4, ?5)";
const ERROR: &str = "INSERT INTO plugin_metrics VALUES (?1, 'error', 1, ?2)";

pub(super) struct Embedded(Arc<Mutex<Connection>>);

impl Embedded {
    pub(super) async fn open(path: PathBuf) -> Result<Self, String> {
        let open = move || {
            let connection = Connection::open(&path)?;
            connection.busy_timeout(BUSY)?;
            // Readers and the one writer do not wait for each other.
            connection.pragma_update(None, "journal_mode", "wal")?;
            connection.pragma_update(None, "synchronous", "normal")?;
            connection.execute_batch(SCHEMA)?;
            Ok::<_, Error>(connection)
        };
        let opened = spawn_blocking(open).await.map_err(|e| e.to_string())?;
        opened.map(|connection| Self(Arc::new(Mutex::new(connection)))).map_err(|e| e.to_string())
    }

    pub(super) async fn write(&self, rows: Rows, errors: Vec<Incident>) -> Result<(), String> {
        let connection = Arc::clone(&self.0);
        let write = move || {
            let mut connection = connection.lock();
            let transaction = connection.transaction()?;
            replace(&transaction, &rows)?;
            add(&transaction, &errors)?;
            transaction.commit()
        };
        spawn_blocking(write).await.map_err(|e| e.to_string())?.map_err(|e: Error| e.to_string())
    }
}

fn replace(transaction: &Transaction<'_>, rows: &Rows) -> Result<(), Error> {
    transaction.execute_batch("DELETE FROM plugins; DELETE FROM plugin_hooks;")?;
    for row in &rows.plugins {
        let at = row.last_error_at.map(text);
        transaction.execute(PLUGIN, params![row.name, row.status, row.errors, row.last_error, at])?;
    }
    for row in &rows.hooks {
        transaction.execute(HOOK, params![row.plugin, row.hook, row.executions, row.total_ms, row.errors])?;
    }
    Ok(())
}

fn add(transaction: &Transaction<'_>, errors: &[Incident]) -> Result<(), Error> {
    let mut insert = transaction.prepare_cached(ERROR)?;
    for error in errors {
        insert.execute(params![error.plugin, text(error.at)])?;
    }
    if errors.is_empty() { Ok(()) } else { transaction.execute_batch(FORGET) }
}

/// As SQLite's own functions write times, in UTC, so that they can be compared.
fn text(at: SystemTime) -> String {
    let at = Timestamp::try_from(at).unwrap_or_default().to_zoned(TimeZone::UTC);
    at.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::rows::{HookRow, PluginRow};

    fn one<T: rusqlite::types::FromSql>(file: &Connection, sql: &str) -> (String, T) {
        file.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
    }

    #[tokio::test]
    async fn the_references_queries_run_on_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("monitoring.db");
        let tables = Embedded::open(path.clone()).await.unwrap();
        let plugin = |name: &str, status, errors| PluginRow {
            name: name.to_owned(),
            status,
            errors,
            last_error: None,
            last_error_at: None,
        };
        let hook = HookRow { plugin: "a".into(), hook: "pre_request", executions: 4, total_ms: 10.0, errors: 1 };
        let rows = Rows { plugins: vec![plugin("a", "error", 2), plugin("b", "running", 0)], hooks: vec![hook] };
        let error = Incident { plugin: "a".into(), at: SystemTime::now() };
        let old = Incident { plugin: "a".into(), at: SystemTime::UNIX_EPOCH };
        tables.write(rows.clone(), vec![old, error.clone()]).await.unwrap();
        tables.write(rows, vec![error]).await.unwrap();
        let read = Connection::open(path).unwrap();
        let status: (String, i64) = one(&read, "SELECT name, error_count FROM plugins WHERE status != 'running'");
        assert_eq!(status, ("a".to_owned(), 2));
        let average: (String, f64) =
            one(&read, "SELECT plugin_name, total_duration_ms / execution_count FROM plugin_hooks");
        assert_eq!(average, ("a".to_owned(), 2.5));
        let trend: (String, i64) = one(
            &read,
            "SELECT plugin_name, COUNT(*) FROM plugin_metrics WHERE metric_name = 'error' \
             AND recorded_at > datetime('now', '-1 hour') GROUP BY plugin_name",
        );
        assert_eq!(trend, ("a".to_owned(), 2), "the old one is gone");
    }
}
