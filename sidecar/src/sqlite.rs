//! SQLite files of the sidecar's own: how they are opened. Does I/O, and blocks.

mod threads;

pub(crate) use threads::Threads;

use rusqlite::{Connection, Error, ffi};
use std::{fs, os::unix::fs::DirBuilderExt, path::Path, sync::Once, time::Duration};

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
    keep_temporary_files(&connection, path)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "normal")?;
    Ok(connection)
}

/// Sorting needs files beyond the cache; a pod with a read-only root has no /tmp. The setting is the whole process's, and
/// the first file's directory is as good as any: it is in the data volume.
fn keep_temporary_files(connection: &Connection, path: &Path) -> Result<(), Error> {
    static ONCE: Once = Once::new();
    let Some(directory) = path.parent().filter(|_| !ONCE.is_completed()) else { return Ok(()) };
    let directory = std::path::absolute(directory).map_err(|e| cannot_open(e.to_string()))?;
    let mut set = Ok(());
    ONCE.call_once(|| {
        set = connection.pragma_update(None, "temp_store_directory", directory.to_string_lossy().as_ref())
    });
    set
}

fn cannot_open(text: String) -> Error {
    Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CANTOPEN), Some(text))
}
