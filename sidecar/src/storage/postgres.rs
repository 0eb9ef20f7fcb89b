//! The storage on a PostgreSQL server, in a schema of its own. Does I/O.

use super::{DEADLINE, StorageError};
use crate::{
    backends::missing,
    postgres::{Server, describe},
};
use deadpool_postgres::Object;
use std::future::Future;
use tokio::{sync::OnceCell, time::timeout};
use tokio_postgres::Error;

const POOL: usize = 4;
/// Several sidecars may do it at the same moment, which PostgreSQL does not take well without the lock.
const SCHEMA: &str = "BEGIN;
SELECT pg_advisory_xact_lock(7305808869229538419);
CREATE SCHEMA IF NOT EXISTS rockstar_storage;
CREATE TABLE IF NOT EXISTS rockstar_storage.entries (
    host text NOT NULL, plugin text NOT NULL, key text COLLATE \"C\" NOT NULL, value bytea NOT NULL,
    PRIMARY KEY (host, plugin, key)
);
COMMIT";

#[derive(Debug)]
pub struct Store {
    server: Server,
    host: String,
    prepared: OnceCell<()>,
}

impl Store {
    pub(super) fn new(address: &str, host: &str) -> Result<Self, String> {
        if let Some(why) = missing(address) {
            return Err(why);
        }
        let server = Server::new(address, POOL).map_err(|e| format!("backends.storage: {e}"))?;
        Ok(Self { server, host: host.to_owned(), prepared: OnceCell::new() })
    }

    pub(super) async fn get(&self, plugin: &str, key: &str) -> Result<Option<Vec<u8>>, StorageError> {
        let sql = "SELECT value FROM rockstar_storage.entries WHERE host = $1 AND plugin = $2 AND key = $3";
        let found = self.run(|c| async move {
            let select = c.prepare_cached(sql).await?;
            c.query_opt(&select, &[&self.host, &plugin, &key]).await
        });
        found.await?.map(|row| row.try_get(0)).transpose().map_err(|e| failed(&e))
    }

    pub(super) async fn set(&self, plugin: &str, key: &str, value: &[u8]) -> Result<(), StorageError> {
        let sql = "INSERT INTO rockstar_storage.entries VALUES ($1, $2, $3, $4)
            ON CONFLICT (host, plugin, key) DO UPDATE SET value = excluded.value";
        self.run(|c| async move {
            let insert = c.prepare_cached(sql).await?;
            c.execute(&insert, &[&self.host, &plugin, &key, &value]).await.map(drop)
        })
        .await
    }

    pub(super) async fn delete(&self, plugin: &str, key: &str) -> Result<(), StorageError> {
        let sql = "DELETE FROM rockstar_storage.entries WHERE host = $1 AND plugin = $2 AND key = $3";
        self.run(|c| async move { c.execute(sql, &[&self.host, &plugin, &key]).await.map(drop) }).await
    }

    pub(super) async fn list(&self, plugin: &str) -> Result<Vec<String>, StorageError> {
        let sql = "SELECT key FROM rockstar_storage.entries WHERE host = $1 AND plugin = $2 ORDER BY key";
        let rows = self.run(|c| async move { c.query(sql, &[&self.host, &plugin]).await }).await?;
        rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>().map_err(|e| failed(&e))
    }

    pub(super) async fn clear(&self, plugin: &str) -> Result<(), StorageError> {
        let sql = "DELETE FROM rockstar_storage.entries WHERE host = $1 AND plugin = $2";
        self.run(|c| async move { c.execute(sql, &[&self.host, &plugin]).await.map(drop) }).await
    }

    async fn run<T, F>(&self, work: impl FnOnce(Object) -> F) -> Result<T, StorageError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let done = async {
            let connection = self.server.connection().await.map_err(StorageError::Failed)?;
            let prepared = self.prepared.get_or_try_init(|| connection.batch_execute(SCHEMA)).await;
            prepared.map_err(|e| failed(&e))?;
            work(connection).await.map_err(|e| failed(&e))
        };
        timeout(DEADLINE, done).await.unwrap_or(Err(StorageError::Timeout))
    }
}

fn failed(error: &Error) -> StorageError {
    StorageError::Failed(describe(error))
}
