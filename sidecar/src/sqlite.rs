//! SQLite files of the sidecar's own: how they are opened. Does I/O, and blocks.

use rusqlite::{Connection, Error, ffi};
use std::{fs, os::unix::fs::DirBuilderExt, path::Path, time::Duration};

/// How long a writer waits for another one.
const BUSY: Duration = Duration::from_secs(5);

/// Makes the file and its directory if need be. Readers and the one writer do not wait for each other.
pub(crate) fn open(path: &Path) -> Result<Connection, Error> {
    if let Some(directory) = path.parent() {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|e| cannot_open(format!("{}: {e}", directory.display())))?;
    }
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "normal")?;
    Ok(connection)
}

fn cannot_open(text: String) -> Error {
    Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CANTOPEN), Some(text))
}
