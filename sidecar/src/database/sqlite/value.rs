//! Values as SQLite keeps them: it has five types, the rest goes by what the column was declared as. Pure.

use super::super::timestamp;
use rockstar_proto::types::{Value, value::Kind};
use rusqlite::types::{Value as Bound, ValueRef};

/// As an argument.
pub(super) fn bound(value: &Value) -> Bound {
    match &value.kind {
        None | Some(Kind::Null(_)) => Bound::Null,
        Some(Kind::Boolean(flag)) => Bound::Integer((*flag).into()),
        Some(Kind::Integer(number) | Kind::DurationNs(number)) => Bound::Integer(*number),
        Some(Kind::Number(number)) => Bound::Real(*number),
        Some(Kind::Text(text) | Kind::Decimal(text)) => Bound::Text(text.clone()),
        Some(Kind::Raw(bytes)) => Bound::Blob(bytes.to_vec()),
        Some(Kind::TimeUnixNs(at)) => timestamp::text((*at).into()).map_or(Bound::Integer(*at), Bound::Text),
        Some(Kind::List(_) | Kind::Map(_)) => Bound::Text(value.to_json().to_string()),
    }
}

/// From a row; `declared` is the column's type in lower case, empty for expressions.
pub(super) fn read(value: ValueRef<'_>, declared: &str) -> Value {
    Value { kind: Some(kind(value, declared)) }
}

fn kind(value: ValueRef<'_>, declared: &str) -> Kind {
    match value {
        ValueRef::Null => Kind::Null(true),
        ValueRef::Integer(number @ (0 | 1)) if declared.starts_with("bool") => Kind::Boolean(number == 1),
        ValueRef::Integer(number) if is_decimal(declared) => Kind::Decimal(number.to_string()),
        ValueRef::Integer(number) => Kind::Integer(number),
        ValueRef::Real(number) if is_decimal(declared) => Kind::Decimal(number.to_string()),
        ValueRef::Real(number) => Kind::Number(number),
        ValueRef::Text(bytes) => text(&String::from_utf8_lossy(bytes), declared),
        ValueRef::Blob(bytes) => Kind::Raw(bytes.to_vec().into()),
    }
}

fn text(text: &str, declared: &str) -> Kind {
    let is_time = declared.starts_with("timestamp") || declared.starts_with("datetime");
    match is_time.then(|| timestamp::nanoseconds(text)).flatten() {
        Some(at) => Kind::TimeUnixNs(at),
        None if is_decimal(declared) => Kind::Decimal(text.to_owned()),
        None => Kind::Text(text.to_owned()),
    }
}

fn is_decimal(declared: &str) -> bool {
    declared.starts_with("numeric") || declared.starts_with("decimal")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_column_is_declared_as_decides() {
        assert_eq!(kind(ValueRef::Integer(1), "boolean"), Kind::Boolean(true));
        assert_eq!(kind(ValueRef::Integer(1), "integer"), Kind::Integer(1));
        assert_eq!(kind(ValueRef::Real(12.5), "numeric(10,2)"), Kind::Decimal("12.5".into()));
        let at = Value { kind: Some(Kind::TimeUnixNs(1_700_000_000_000_000_001)) };
        let Bound::Text(stored) = bound(&at) else { panic!("a moment is kept as text") };
        assert_eq!(kind(ValueRef::Text(stored.as_bytes()), "timestamptz"), at.kind.unwrap());
        assert_eq!(kind(ValueRef::Text(b"soon"), "timestamp"), Kind::Text("soon".into()));
    }
}
