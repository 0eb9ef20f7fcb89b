//! One statement on a SQLite connection. Does I/O, and blocks.

use super::{
    super::{DatabaseError, Done, Sink, Statement, first_word},
    value,
};
use crate::bounds::limits;
use rockstar_core::limits::Limit;
use rusqlite::{Connection, Error, ErrorCode};
use tokio::{runtime::Handle, time::Instant};

/// None: it writes, and may not.
pub(super) fn run(
    connection: &Connection,
    statement: &Statement,
    sink: &Sink,
    may_write: bool,
) -> Result<Option<Done>, DatabaseError> {
    let until = statement.until;
    let refused = |error: Error| refused(&error, until);
    let before = connection.total_changes();
    let mut prepared = connection.prepare(&statement.sql).map_err(refused)?;
    if !may_write && !prepared.readonly() {
        return Ok(None);
    }
    let (wanted, given) = (prepared.parameter_count(), statement.arguments.len());
    if wanted != given {
        return Err(DatabaseError::Arguments { wanted, given });
    }
    for (index, argument) in statement.arguments.iter().enumerate() {
        prepared.raw_bind_parameter(index + 1, value::bound(argument)).map_err(refused)?;
    }
    let columns: Vec<_> = prepared.columns().map(|c| named(c.name(), c.decl_type())).collect();
    let (names, types): (Vec<_>, Vec<_>) = columns.iter().cloned().unzip();
    // The thread is made for waiting: a slow reader slows the statement.
    let runtime = Handle::current();
    runtime.block_on(sink.columns(names, types, until))?;
    let mut rows = prepared.raw_query();
    while let Some(row) = rows.next().map_err(refused)? {
        let cell =
            |(index, (_, declared)): (usize, &(String, String))| row.get_ref(index).map(|v| value::read(v, declared));
        let cells = columns.iter().enumerate().map(cell).collect::<Result<_, _>>().map_err(refused)?;
        runtime.block_on(sink.row(cells, until))?;
    }
    Ok(Some(done(connection, before, &statement.sql)))
}

fn named(name: &str, declared: Option<&str>) -> (String, String) {
    (name.to_owned(), declared.unwrap_or_default().to_lowercase())
}

/// What SQLite counts is the last statement that changed anything, which may be an older one.
fn done(connection: &Connection, before: u64, sql: &str) -> Done {
    if connection.total_changes() == before {
        return Done::default();
    }
    let inserts = ["insert", "replace", "with"].iter().any(|word| first_word(sql).eq_ignore_ascii_case(word));
    let last_id = if inserts { connection.last_insert_rowid() } else { 0 };
    Done { affected: i64::try_from(connection.changes()).unwrap_or(i64::MAX), last_id }
}

pub(super) fn refused(error: &Error, until: Instant) -> DatabaseError {
    match error.sqlite_error_code() {
        Some(ErrorCode::OperationInterrupted) if Instant::now() < until => DatabaseError::Unheard,
        Some(ErrorCode::OperationInterrupted) => DatabaseError::Deadline,
        Some(ErrorCode::DiskFull) => DatabaseError::Full(limits().format(Limit::Database)),
        Some(ErrorCode::DatabaseBusy) if Instant::now() >= until => DatabaseError::Deadline,
        _ => DatabaseError::Refused(error.to_string()),
    }
}
