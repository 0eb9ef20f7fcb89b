//! The tables on a PostgreSQL server that several instances may share. Does I/O.

use super::rows::Rows;
use crate::{postgres::parsed, slot::Incident};
use std::{
    error::Error as _,
    time::{Duration, SystemTime},
};
use tokio::{task::AbortHandle, time::Instant};
use tokio_postgres::{Client, Error, Transaction, error::SqlState};

const CONNECT: Duration = Duration::from_secs(5);
const SCHEMA: &str = include_str!("server.sql");
/// Any number will do, if no other program uses it.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7265116437)";
const RETENTION: Duration = Duration::from_secs(600);

const PLUGINS: &str = "INSERT INTO rockstar_plugins (instance, name, status, error_count, last_error, last_error_at)
SELECT $1::text, u.* FROM unnest($2::text[], $3::text[], $4::bigint[], $5::text[], $6::timestamptz[]) AS u
ON CONFLICT (instance, name) DO UPDATE SET status = excluded.status, error_count = excluded.error_count,
last_error = excluded.last_error, last_error_at = excluded.last_error_at, seen_at = now()";
const HOOKS: &str = "INSERT INTO rockstar_plugin_hooks
(instance, plugin_name, hook_type, execution_count, total_duration_ms, error_count)
SELECT $1::text, u.* FROM unnest($2::text[], $3::text[], $4::bigint[], $5::float8[], $6::bigint[]) AS u
ON CONFLICT (instance, plugin_name, hook_type) DO UPDATE SET execution_count = excluded.execution_count,
total_duration_ms = excluded.total_duration_ms, error_count = excluded.error_count";
const ERRORS: &str = "INSERT INTO plugin_metrics (instance, plugin_name, metric_name, metric_value, recorded_at)
SELECT $1::text, u.plugin, 'error', 1, u.at FROM unnest($2::text[], $3::timestamptz[]) AS u (plugin, at)";
const FORGET: &str = "DELETE FROM plugin_metrics WHERE recorded_at < now() - interval '7 days';
DELETE FROM rockstar_plugins WHERE seen_at < now() - interval '10 minutes';
DELETE FROM rockstar_plugin_hooks AS h WHERE NOT EXISTS
(SELECT FROM rockstar_plugins AS p WHERE p.instance = h.instance AND p.name = h.plugin_name)";

pub(super) struct Server {
    client: Client,
    connection: AbortHandle,
    /// When what is old was last taken away.
    forgot: Option<Instant>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Why there are no tables on a server.
enum OpenError {
    /// The role may not make them.
    Refused(String),
    Other(String),
}

impl Server {
    /// The first one that may be used.
    pub(super) async fn open(addresses: &[String]) -> Result<Self, String> {
        let mut refused = Vec::new();
        for address in addresses {
            match Self::prepare(address).await {
                Ok(server) => return Ok(server),
                Err(OpenError::Refused(text)) => refused.push(text),
                Err(OpenError::Other(text)) => return Err(text),
            }
        }
        Err(refused.join("; "))
    }

    async fn prepare(address: &str) -> Result<Self, OpenError> {
        let mut server = Self::connect(address).await.map_err(OpenError::Other)?;
        match server.make().await {
            Ok(()) => Ok(server),
            Err(e) if e.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => Err(OpenError::Refused(describe(&e))),
            Err(e) => Err(OpenError::Other(describe(&e))),
        }
    }

    async fn connect(address: &str) -> Result<Self, String> {
        let (mut config, tls) = parsed(address)?;
        config.connect_timeout(CONNECT).application_name("rockstar");
        let (client, connection) = config.connect(tls).await.map_err(|e| describe(&e))?;
        // Its end is seen by the next statement.
        let connection = tokio::spawn(async move { drop(connection.await) }).abort_handle();
        Ok(Self { client, connection, forgot: None })
    }

    async fn make(&mut self) -> Result<(), Error> {
        let transaction = self.client.transaction().await?;
        transaction.batch_execute(LOCK).await?;
        transaction.batch_execute(SCHEMA).await?;
        transaction.commit().await
    }

    pub(super) async fn write(&mut self, instance: &str, rows: &Rows, errors: &[Incident]) -> Result<(), String> {
        self.try_write(instance, rows, errors).await.map_err(|error| describe(&error))
    }

    async fn try_write(&mut self, instance: &str, rows: &Rows, errors: &[Incident]) -> Result<(), Error> {
        let transaction = self.client.transaction().await?;
        plugins(&transaction, instance, rows).await?;
        hooks(&transaction, instance, rows).await?;
        incidents(&transaction, instance, errors).await?;
        if self.forgot.is_none_or(|at| at.elapsed() >= RETENTION) {
            transaction.batch_execute(FORGET).await?;
            self.forgot = Some(Instant::now());
        }
        transaction.commit().await
    }

    pub(super) async fn leave(&self, instance: &str) {
        for table in ["rockstar_plugins", "rockstar_plugin_hooks"] {
            // What stays is taken away by others later.
            self.client.execute(&format!("DELETE FROM {table} WHERE instance = $1"), &[&instance]).await.ok();
        }
    }
}

/// The server's own words.
fn describe(error: &Error) -> String {
    match error.as_db_error() {
        Some(told) => format!("{} (SQLSTATE {})", told.message(), told.code().code()),
        None => error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}")),
    }
}

async fn plugins(transaction: &Transaction<'_>, instance: &str, rows: &Rows) -> Result<(), Error> {
    let rows = &rows.plugins;
    let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    let statuses: Vec<&str> = rows.iter().map(|row| row.status).collect();
    let errors: Vec<i64> = rows.iter().map(|row| row.errors).collect();
    let texts: Vec<Option<&str>> = rows.iter().map(|row| row.last_error.as_deref()).collect();
    let times: Vec<Option<SystemTime>> = rows.iter().map(|row| row.last_error_at).collect();
    let gone = "DELETE FROM rockstar_plugins WHERE instance = $1 AND name <> ALL ($2::text[])";
    transaction.execute(gone, &[&instance, &names]).await?;
    transaction.execute(PLUGINS, &[&instance, &names, &statuses, &errors, &texts, &times]).await.map(drop)
}

async fn hooks(transaction: &Transaction<'_>, instance: &str, rows: &Rows) -> Result<(), Error> {
    let names: Vec<&str> = rows.plugins.iter().map(|row| row.name.as_str()).collect();
    let rows = &rows.hooks;
    let plugins: Vec<&str> = rows.iter().map(|row| row.plugin.as_str()).collect();
    let hooks: Vec<&str> = rows.iter().map(|row| row.hook).collect();
    let executions: Vec<i64> = rows.iter().map(|row| row.executions).collect();
    let totals: Vec<f64> = rows.iter().map(|row| row.total_ms).collect();
    let errors: Vec<i64> = rows.iter().map(|row| row.errors).collect();
    let gone = "DELETE FROM rockstar_plugin_hooks WHERE instance = $1 AND plugin_name <> ALL ($2::text[])";
    transaction.execute(gone, &[&instance, &names]).await?;
    transaction.execute(HOOKS, &[&instance, &plugins, &hooks, &executions, &totals, &errors]).await.map(drop)
}

async fn incidents(transaction: &Transaction<'_>, instance: &str, errors: &[Incident]) -> Result<(), Error> {
    let plugins: Vec<&str> = errors.iter().map(|error| error.plugin.as_str()).collect();
    let times: Vec<SystemTime> = errors.iter().map(|error| error.at).collect();
    transaction.execute(ERRORS, &[&instance, &plugins, &times]).await.map(drop)
}
