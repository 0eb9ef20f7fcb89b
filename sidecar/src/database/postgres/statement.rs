//! One statement on a PostgreSQL connection, its rows passed on as they come. Does I/O.

use super::{
    super::{DatabaseError, Done, Sink, Statement, first_word},
    argument::Argument,
    decode::{self, Raw},
    placeholders, refused,
};
use deadpool_postgres::Object;
use futures::{TryStreamExt, pin_mut};
use rockstar_proto::types::{Value, value::Kind};
use tokio_postgres::{Client, Row, Statement as Prepared};

pub(super) async fn run(client: &Object, statement: &Statement, sink: &Sink) -> Result<Done, DatabaseError> {
    let client: &Client = client;
    let sql = placeholders::numbered(&statement.sql);
    let prepared = client.prepare(&sql).await.map_err(|e| refused(&e))?;
    let (wanted, given) = (prepared.params().len(), statement.arguments.len());
    if wanted != given {
        return Err(DatabaseError::Arguments { wanted, given });
    }
    let prepared = readable(client, &sql, prepared).await?;
    let arguments = statement.arguments.iter().map(Argument);
    let rows = client.query_raw(&prepared, arguments).await.map_err(|e| refused(&e))?;
    pass_on(&prepared, rows, statement, sink).await
}

async fn pass_on(
    prepared: &Prepared,
    rows: tokio_postgres::RowStream,
    statement: &Statement,
    sink: &Sink,
) -> Result<Done, DatabaseError> {
    let columns = prepared.columns().iter();
    let (names, types) = columns.map(|c| (c.name().to_owned(), c.type_().name().to_owned())).unzip();
    sink.columns(names, types, statement.until).await?;
    pin_mut!(rows);
    let mut first = None;
    while let Some(row) = rows.try_next().await.map_err(|e| refused(&e))? {
        let cells = cells(&row).map_err(|e| refused(&e))?;
        first.get_or_insert_with(|| cells.first().cloned());
        sink.row(cells, statement.until).await?;
    }
    let changes = ["select", "show", "values", "table", "explain"];
    let reads = changes.iter().any(|word| first_word(&statement.sql).eq_ignore_ascii_case(word));
    let affected = if reads { 0 } else { rows.rows_affected().unwrap_or_default() };
    let last_id = if reads { 0 } else { returned_id(first.flatten()) };
    Ok(Done { affected: i64::try_from(affected).unwrap_or(i64::MAX), last_id })
}

/// What `INSERT … RETURNING id` returned.
fn returned_id(first: Option<Value>) -> i64 {
    match first.and_then(|value| value.kind) {
        Some(Kind::Integer(id)) => id,
        _ => 0,
    }
}

fn cells(row: &Row) -> Result<Vec<Value>, tokio_postgres::Error> {
    let cell = |index: usize| {
        let raw: Option<Raw<'_>> = row.try_get(index)?;
        Ok(decode::value(row.columns()[index].type_(), raw.map(|raw| raw.0)))
    };
    (0..row.len()).map(cell).collect()
}

/// Columns of types that are not known here are cast to text, where the statement can be a part of another one.
async fn readable(client: &Client, sql: &str, prepared: Prepared) -> Result<Prepared, DatabaseError> {
    let unknown = prepared.columns().iter().any(|column| !decode::is_known(column.type_()));
    let is_query = ["select", "with", "values", "table"].iter().any(|word| first_word(sql).eq_ignore_ascii_case(word));
    if !unknown || !is_query {
        return Ok(prepared);
    }
    let names: Vec<_> = (1..=prepared.columns().len()).map(|n| format!("c{n}")).collect();
    let shown = prepared.columns().iter().zip(&names).map(|(column, name)| {
        let cast = if decode::is_known(column.type_()) { "" } else { "::text" };
        format!("{name}{cast} AS \"{}\"", column.name().replace('"', "\"\""))
    });
    let shown: Vec<_> = shown.collect();
    let body = sql.trim_end_matches(|c: char| c.is_whitespace() || c == ';');
    let wrapped = format!("SELECT {} FROM ({body}\n) AS q({})", shown.join(", "), names.join(", "));
    // One that cannot be wrapped, as it changes data, shows those columns as bytes.
    Ok(client.prepare(&wrapped).await.unwrap_or(prepared))
}
