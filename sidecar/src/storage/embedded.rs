//! The storage in a file of the data directory. Does I/O, off the event loop.

use super::{DEADLINE, StorageError};
use crate::sqlite;
use bytes::Bytes;
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, params};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::{task::spawn_blocking, time::timeout};

const TABLE: &str = "CREATE TABLE IF NOT EXISTS entries (
    plugin TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (plugin, key)
) WITHOUT ROWID";

#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    connection: Arc<Mutex<Option<Connection>>>,
}

impl Store {
    pub(super) fn new(data: &Path) -> Self {
        Self { path: data.join("storage").join("storage.sqlite"), connection: Arc::default() }
    }

    pub(super) async fn get(&self, plugin: &str, key: &str) -> Result<Option<Vec<u8>>, StorageError> {
        let (plugin, key) = (plugin.to_owned(), key.to_owned());
        self.run(move |c| {
            let mut select = c.prepare_cached("SELECT value FROM entries WHERE plugin = ? AND key = ?")?;
            select.query_row(params![plugin, key], |row| row.get(0)).optional()
        })
        .await
    }

    pub(super) async fn set(&self, plugin: &str, key: &str, value: Bytes) -> Result<(), StorageError> {
        let (plugin, key) = (plugin.to_owned(), key.to_owned());
        self.run(move |c| {
            let mut insert = c.prepare_cached("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)")?;
            insert.execute(params![plugin, key, &*value]).map(drop)
        })
        .await
    }

    pub(super) async fn delete(&self, plugin: &str, key: &str) -> Result<(), StorageError> {
        let (plugin, key) = (plugin.to_owned(), key.to_owned());
        self.run(move |c| c.execute("DELETE FROM entries WHERE plugin = ? AND key = ?", params![plugin, key])).await?;
        Ok(())
    }

    pub(super) async fn list(&self, plugin: &str) -> Result<Vec<String>, StorageError> {
        let plugin = plugin.to_owned();
        self.run(move |c| {
            let mut select = c.prepare_cached("SELECT key FROM entries WHERE plugin = ? ORDER BY key")?;
            select.query_map([plugin], |row| row.get(0))?.collect()
        })
        .await
    }

    pub(super) async fn clear(&self, plugin: &str) -> Result<(), StorageError> {
        let plugin = plugin.to_owned();
        self.run(move |c| c.execute("DELETE FROM entries WHERE plugin = ?", [plugin])).await?;
        Ok(())
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StorageError> {
        let (path, connection) = (self.path.clone(), Arc::clone(&self.connection));
        let done = spawn_blocking(move || {
            let mut connection = connection.lock();
            let open = match connection.take() {
                Some(open) => open,
                None => open(&path)?,
            };
            work(connection.insert(open))
        });
        match timeout(DEADLINE, done).await {
            Ok(Ok(done)) => done.map_err(|e| StorageError::Failed(e.to_string())),
            Ok(Err(lost)) => Err(StorageError::Failed(lost.to_string())),
            Err(_) => Err(StorageError::Timeout),
        }
    }
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let connection = sqlite::open(path)?;
    connection.execute(TABLE, [])?;
    Ok(connection)
}
