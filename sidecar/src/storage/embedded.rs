//! The storage in a file of the data directory. Does I/O, off the event loop.

use super::{DEADLINE, MAX_KEYS, StorageError};
use crate::{
    bounds::limits,
    sqlite::{self, Threads},
};
use bytes::Bytes;
use parking_lot::Mutex;
use rockstar_core::limits::Limit;
use rusqlite::{Connection, OptionalExtension, params};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::time::timeout;

/// One works, the others wait for the file.
const THREADS: usize = 4;
const TABLE: &str = "CREATE TABLE IF NOT EXISTS entries (
    plugin TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (plugin, key)
) WITHOUT ROWID";

#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    open: Arc<Mutex<Option<Open>>>,
    threads: Threads,
}

/// The file with what each plugin has in it, as far as that was asked for.
#[derive(Debug)]
struct Open {
    connection: Connection,
    used: HashMap<String, usize>,
}

impl Open {
    /// The bytes that a plugin's entries take.
    fn used(&mut self, plugin: &str) -> rusqlite::Result<usize> {
        if let Some(used) = self.used.get(plugin) {
            return Ok(*used);
        }
        let sum = "SELECT coalesce(sum(length(CAST(key AS BLOB)) + length(value)), 0), count(*) \
                   FROM entries WHERE plugin = ?";
        let (bytes, entries) = self.connection.query_row(sum, [plugin], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let used = unsigned(bytes) + unsigned(entries) * overhead(plugin);
        self.used.insert(plugin.to_owned(), used);
        Ok(used)
    }

    /// The bytes that one entry takes; 0 where there is none.
    fn size(&self, plugin: &str, key: &str) -> rusqlite::Result<usize> {
        let size = "SELECT length(CAST(key AS BLOB)) + length(value) FROM entries WHERE plugin = ? AND key = ?";
        let mut select = self.connection.prepare_cached(size)?;
        let bytes: Option<i64> = select.query_row(params![plugin, key], |row| row.get(0)).optional()?;
        Ok(bytes.map_or(0, |bytes| unsigned(bytes) + overhead(plugin)))
    }

    fn set(&mut self, plugin: &str, key: &str, value: &[u8]) -> Result<(), Fault> {
        let before = self.used(plugin)?.saturating_sub(self.size(plugin, key)?);
        let used = before + key.len() + value.len() + overhead(plugin);
        let limits = limits();
        if used > limits.size(Limit::Storage) {
            return Err(Fault::Full(limits.format(Limit::Storage)));
        }
        let mut insert = self.connection.prepare_cached("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)")?;
        insert.execute(params![plugin, key, value])?;
        self.used.insert(plugin.to_owned(), used);
        Ok(())
    }

    fn delete(&mut self, plugin: &str, key: &str) -> rusqlite::Result<()> {
        let used = self.used(plugin)?.saturating_sub(self.size(plugin, key)?);
        self.connection.execute("DELETE FROM entries WHERE plugin = ? AND key = ?", params![plugin, key])?;
        self.used.insert(plugin.to_owned(), used);
        Ok(())
    }

    /// As many keys as fit into a message.
    fn list(&self, plugin: &str) -> Result<Vec<String>, Fault> {
        let mut select = self.connection.prepare_cached("SELECT key FROM entries WHERE plugin = ? ORDER BY key")?;
        let (mut keys, mut bytes) = (Vec::new(), 0);
        for key in select.query_map([plugin], |row| row.get::<_, String>(0))? {
            let key = key?;
            bytes += key.len() + KEY_OVERHEAD;
            if bytes > MAX_KEYS {
                return Err(Fault::ManyKeys);
            }
            keys.push(key);
        }
        Ok(keys)
    }
}

/// What an entry takes in the file beside its key and value: the plugin's name, and the engine's own.
const fn overhead(plugin: &str) -> usize {
    plugin.len() + 32
}

fn unsigned(number: i64) -> usize {
    usize::try_from(number).unwrap_or_default()
}

/// What a key costs in a message beside its bytes.
const KEY_OVERHEAD: usize = 6;

/// What went wrong under the lock.
enum Fault {
    Full(String),
    ManyKeys,
    Engine(rusqlite::Error),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Engine(error)
    }
}

impl Store {
    pub(super) fn new(data: &Path) -> Self {
        Self { path: data.join("storage").join("storage.sqlite"), open: Arc::default(), threads: Threads::new(THREADS) }
    }

    pub(super) async fn get(&self, plugin: &str, key: &str) -> Result<Option<Vec<u8>>, StorageError> {
        let (plugin, key) = (plugin.to_owned(), key.to_owned());
        self.run(move |open| {
            let mut select =
                open.connection.prepare_cached("SELECT value FROM entries WHERE plugin = ? AND key = ?")?;
            Ok(select.query_row(params![plugin, key], |row| row.get(0)).optional()?)
        })
        .await
    }

    pub(super) async fn set(&self, plugin: &str, key: &str, value: Bytes) -> Result<(), StorageError> {
        let (plugin, key) = (plugin.to_owned(), key.to_owned());
        self.run(move |open| open.set(&plugin, &key, &value)).await
    }

    pub(super) async fn delete(&self, plugin: &str, key: &str) -> Result<(), StorageError> {
        let (plugin, key) = (plugin.to_owned(), key.to_owned());
        self.run(move |open| Ok(open.delete(&plugin, &key)?)).await
    }

    pub(super) async fn list(&self, plugin: &str) -> Result<Vec<String>, StorageError> {
        let plugin = plugin.to_owned();
        self.run(move |open| open.list(&plugin)).await
    }

    pub(super) async fn clear(&self, plugin: &str) -> Result<(), StorageError> {
        let plugin = plugin.to_owned();
        self.run(move |open| {
            open.connection.execute("DELETE FROM entries WHERE plugin = ?", [&plugin])?;
            open.used.remove(&plugin);
            Ok(())
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Open) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StorageError> {
        let (path, file) = (self.path.clone(), Arc::clone(&self.open));
        let done = self.threads.run(move || {
            let mut file = file.lock();
            let open = match file.take() {
                Some(open) => open,
                None => Open { connection: open(&path)?, used: HashMap::new() },
            };
            work(file.insert(open))
        });
        match timeout(DEADLINE, done).await {
            Ok(Ok(Err(Fault::Full(limit)))) => Err(StorageError::Full(limit)),
            Ok(Ok(Err(Fault::ManyKeys))) => Err(StorageError::ManyKeys),
            Ok(Ok(Err(Fault::Engine(error)))) => Err(StorageError::Failed(error.to_string())),
            Ok(Ok(Ok(done))) => Ok(done),
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
