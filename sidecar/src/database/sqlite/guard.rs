//! What plugin SQL may not do on a SQLite connection: reach other files, loosen the engine's own defences, control
//! transactions, run without end. Does I/O.

use super::{
    Open, Sink,
    functions::{self, MAX_VALUE},
};
use crate::{bounds::limits, sqlite};
use parking_lot::Mutex;
use rockstar_core::limits;
use rusqlite::{
    Connection,
    config::DbConfig,
    hooks::{AuthAction, AuthContext, Authorization},
    limits::Limit as Size,
};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::Instant;

/// Those that only tell of the schema.
const PRAGMAS: [&str; 10] = [
    "table_info",
    "table_xinfo",
    "table_list",
    "index_list",
    "index_info",
    "index_xinfo",
    "foreign_key_list",
    "foreign_key_check",
    "function_list",
    "collation_list",
];
/// Steps of SQLite's machine between two looks at the clock.
const STEPS: i32 = 10_000;
/// Texts of statements, in bytes, and their programs, in steps.
const MAX_SQL: i32 = 1 << 20;
const MAX_PROGRAM: i32 = 250_000;
/// Patterns of LIKE and GLOB: comparing takes the product of both lengths, in one step.
const MAX_LIKE_PATTERN: i32 = 256;
const MAX_TRIGGER_DEPTH: i32 = 32;
/// A page of the file.
const PAGE: u64 = 4 << 10;
/// How long a writer waits for another one, if its deadline is not nearer.
const BUSY: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Guard {
    trusted: Arc<AtomicBool>,
    limit: Arc<Mutex<Option<Limit>>>,
}

/// When a statement ends at the latest.
#[derive(Debug)]
pub(super) struct Limit {
    pub(super) until: Instant,
    pub(super) heard: Option<Sink>,
}

impl Limit {
    fn is_over(&self) -> bool {
        Instant::now() >= self.until || self.heard.as_ref().is_some_and(Sink::is_closed)
    }
}

pub(super) fn open(path: &Path) -> rusqlite::Result<Open> {
    let mut connection = sqlite::open(path)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    let limits = [
        (Size::SQLITE_LIMIT_LENGTH, i32::try_from(MAX_VALUE).unwrap_or(i32::MAX)),
        (Size::SQLITE_LIMIT_ATTACHED, 0),
        (Size::SQLITE_LIMIT_SQL_LENGTH, MAX_SQL),
        (Size::SQLITE_LIMIT_VDBE_OP, MAX_PROGRAM),
        (Size::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, MAX_LIKE_PATTERN),
        (Size::SQLITE_LIMIT_TRIGGER_DEPTH, MAX_TRIGGER_DEPTH),
    ];
    for (which, most) in limits {
        connection.set_limit(which, most)?;
    }
    functions::install(&connection)?;
    let guard = Guard::default();
    let trusted = Arc::clone(&guard.trusted);
    connection.authorizer(Some(move |asked: AuthContext<'_>| match trusted.load(Relaxed) || is_harmless(&asked) {
        true => Authorization::Allow,
        false => Authorization::Deny,
    }))?;
    let limit = Arc::clone(&guard.limit);
    connection.progress_handler(STEPS, Some(move || limit.lock().as_ref().is_some_and(Limit::is_over)))?;
    let mut open = Open { connection, guard, pages: 0 };
    bound(&mut open)?;
    Ok(open)
}

/// Lets the file grow as far as is allowed now.
pub(super) fn bound(open: &mut Open) -> rusqlite::Result<()> {
    let pages = i64::try_from(limits().get(limits::Limit::Database) / PAGE).unwrap_or(i64::MAX);
    if open.pages != pages {
        open.guard.trusting(|| open.connection.pragma_update(None, "max_page_count", pages))?;
        open.pages = pages;
    }
    Ok(())
}

fn is_harmless(asked: &AuthContext<'_>) -> bool {
    match asked.action {
        AuthAction::Attach { .. }
        | AuthAction::Detach { .. }
        | AuthAction::Transaction { .. }
        | AuthAction::Savepoint { .. }
        | AuthAction::Unknown { .. } => false,
        AuthAction::Function { function_name } => {
            !functions::DENIED.iter().any(|denied| function_name.eq_ignore_ascii_case(denied))
        }
        AuthAction::Pragma { pragma_name, .. } => PRAGMAS.iter().any(|known| pragma_name.eq_ignore_ascii_case(known)),
        _ => true,
    }
}

impl Guard {
    /// For the sidecar's own statements.
    pub(super) fn trusting<T>(&self, work: impl FnOnce() -> T) -> T {
        self.trusted.store(true, Relaxed);
        let done = work();
        self.trusted.store(false, Relaxed);
        done
    }

    pub(super) fn limit(&self, connection: &Connection, limit: Option<Limit>) {
        if let Some(limit) = &limit {
            let left = limit.until.saturating_duration_since(Instant::now());
            // It fails only for durations that are too long.
            let _ = connection.busy_timeout(left.min(BUSY));
        }
        *self.limit.lock() = limit;
    }
}

/// What one user made for itself the next one must not see.
pub(super) fn has_temporary(open: &Open) -> bool {
    let count = "SELECT count(*) FROM sqlite_temp_schema";
    open.connection.query_row(count, [], |row| row.get(0)).map_or(true, |count: i64| count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_cannot_leave_the_database() {
        let directory = tempfile::tempdir().unwrap();
        let open = open(&directory.path().join("x.sqlite")).unwrap();
        let elsewhere = directory.path().join("elsewhere.sqlite");
        let denied = [
            format!("ATTACH '{}' AS x", elsewhere.display()),
            "DETACH main".to_owned(),
            format!("VACUUM INTO '{}'", elsewhere.display()),
            "VACUUM".to_owned(),
            "SELECT load_extension('x')".to_owned(),
            "PRAGMA journal_mode = off".to_owned(),
            "PRAGMA writable_schema = 1".to_owned(),
            "PRAGMA temp_store_directory = '/tmp'".to_owned(),
            "UPDATE sqlite_schema SET sql = ''".to_owned(),
            "BEGIN".to_owned(),
            "SAVEPOINT x".to_owned(),
            "SELECT zeroblob(1000000000)".to_owned(),
            "SELECT json_patch('{}', '{}')".to_owned(),
            format!("SELECT 'a' LIKE '{}'", "%a".repeat(129)),
            format!("SELECT '{}'", "x".repeat(1 << 20)),
        ];
        for sql in denied {
            assert!(open.connection.execute_batch(&sql).is_err(), "{sql}");
        }
        assert!(!elsewhere.exists());
        open.connection.execute_batch("CREATE TABLE t (a); PRAGMA table_info(t)").unwrap();
        assert!(!has_temporary(&open));
        open.connection.execute_batch("CREATE TEMP TABLE u (a)").unwrap();
        assert!(has_temporary(&open));
    }
}
