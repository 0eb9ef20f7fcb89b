//! SQLite's functions that take the product of their arguments' lengths, in one step that nothing interrupts: here in linear
//! time. The others of the kind are denied. Pure.

use memchr::memmem;
use rusqlite::{
    Connection, Error,
    functions::{Context, FunctionFlags},
    types::{ToSqlOutput, Value, ValueRef},
};
use std::{borrow::Cow, collections::HashSet};

/// The longest text or blob that a plugin's SQL can make or read.
pub(super) const MAX_VALUE: usize = 1 << 20;
/// Merging objects compares each name with each.
pub(super) const DENIED: [&str; 3] = ["load_extension", "json_patch", "jsonb_patch"];

type Output = ToSqlOutput<'static>;

pub(super) fn install(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
    connection.create_scalar_function("instr", 2, flags, instr)?;
    connection.create_scalar_function("replace", 3, flags, replace)?;
    connection.create_scalar_function("trim", 2, flags, |given| trim(given, true, true))?;
    connection.create_scalar_function("ltrim", 2, flags, |given| trim(given, true, false))?;
    connection.create_scalar_function("rtrim", 2, flags, |given| trim(given, false, true))
}

/// Where the second is in the first, from 1: in bytes of two blobs, else in characters. 0: nowhere.
fn instr(given: &Context<'_>) -> rusqlite::Result<Option<i64>> {
    let (ValueRef::Blob(hay), ValueRef::Blob(needle)) = (given.get_raw(0), given.get_raw(1)) else {
        let (Some(hay), Some(needle)) = (bytes(given.get_raw(0)), bytes(given.get_raw(1))) else { return Ok(None) };
        let found = memmem::find(&hay, &needle);
        let before = found.and_then(|at| hay.get(..at)).map(characters);
        return Ok(Some(before.map_or(0, |count| count + 1)));
    };
    Ok(Some(memmem::find(hay, needle).map_or(0, |at| i64::try_from(at).unwrap_or(i64::MAX) + 1)))
}

fn replace(given: &Context<'_>) -> rusqlite::Result<Output> {
    let (Some(text), Some(from)) = (bytes(given.get_raw(0)), bytes(given.get_raw(1))) else { return Ok(null()) };
    if from.is_empty() {
        return Ok(text_of(text.into_owned()));
    }
    let Some(to) = bytes(given.get_raw(2)) else { return Ok(null()) };
    let (mut replaced, mut rest) = (Vec::new(), 0);
    for at in memmem::find_iter(&text, from.as_ref()) {
        replaced.extend_from_slice(text.get(rest..at).unwrap_or_default());
        replaced.extend_from_slice(&to);
        rest = at + from.len();
        if replaced.len() > MAX_VALUE {
            return Err(Error::UserFunctionError("string or blob too big".into()));
        }
    }
    replaced.extend_from_slice(text.get(rest..).unwrap_or_default());
    Ok(text_of(replaced))
}

/// Without the characters of the second argument at its ends.
fn trim(given: &Context<'_>, left: bool, right: bool) -> rusqlite::Result<Output> {
    let (Some(text), Some(set)) = (bytes(given.get_raw(0)), bytes(given.get_raw(1))) else { return Ok(null()) };
    let (text, set) = (String::from_utf8_lossy(&text), String::from_utf8_lossy(&set));
    let set: HashSet<char> = set.chars().collect();
    let mut trimmed: &str = &text;
    if left {
        trimmed = trimmed.trim_start_matches(|c| set.contains(&c));
    }
    if right {
        trimmed = trimmed.trim_end_matches(|c| set.contains(&c));
    }
    Ok(text_of(trimmed.as_bytes().to_vec()))
}

/// A value as SQLite reads it as text; none of NULL.
fn bytes(value: ValueRef<'_>) -> Option<Cow<'_, [u8]>> {
    match value {
        ValueRef::Null => None,
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(Cow::Borrowed(bytes)),
        ValueRef::Integer(number) => Some(Cow::Owned(number.to_string().into_bytes())),
        ValueRef::Real(number) => Some(Cow::Owned(format!("{number:?}").into_bytes())),
    }
}

/// Every byte but those that go on with a character.
fn characters(bytes: &[u8]) -> i64 {
    let count = bytes.iter().filter(|byte| **byte & 0xc0 != 0x80).count();
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn text_of(bytes: Vec<u8>) -> Output {
    ToSqlOutput::Owned(Value::Text(String::from_utf8_lossy(&bytes).into_owned()))
}

const fn null() -> Output {
    ToSqlOutput::Owned(Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_answer_as_sqlites_own() {
        let (ours, theirs) = (Connection::open_in_memory().unwrap(), Connection::open_in_memory().unwrap());
        install(&ours).unwrap();
        let values = ["NULL", "''", "'a'", "'aaa'", "'äöü'", "'ö'", "x'6162'", "x'62'", "12", "2", "1.5", "' b a '"];
        let one = |connection: &Connection, sql: &str| {
            connection.query_row(&format!("SELECT {sql}"), [], |row| row.get::<_, Value>(0)).unwrap()
        };
        let mut checked = 0;
        for a in values {
            for b in values {
                for call in [
                    format!("instr({a}, {b})"),
                    format!("trim({a}, {b})"),
                    format!("ltrim({a}, {b})"),
                    format!("rtrim({a}, {b})"),
                    format!("replace({a}, {b}, 'ß')"),
                    format!("replace('aab', {a}, {b})"),
                ] {
                    assert_eq!(one(&ours, &call), one(&theirs, &call), "{call}");
                    checked += 1;
                }
            }
        }
        assert_eq!(checked, 6 * values.len() * values.len());
    }
}
