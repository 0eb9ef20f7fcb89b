//! Values as PostgreSQL sends them, by their types. Pure.

use super::numeric;
use fallible_iterator::FallibleIterator;
use jiff::{
    Timestamp,
    civil::{Date, Time},
};
use postgres_protocol::types as wire;
use rockstar_proto::types::{List, Value, value::Kind};
use tokio_postgres::types::{FromSql, Kind as Shape, Type};

/// Seconds from 1970 to 2000, where PostgreSQL's calendar begins.
const EPOCH: i64 = 946_684_800;

/// A value as it came.
#[derive(Debug)]
pub(super) struct Raw<'a>(pub(super) &'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// Whether [`value`] knows the type; others must be cast to text.
pub(super) fn is_known(ty: &Type) -> bool {
    let scalar = [
        Type::BOOL,
        Type::INT2,
        Type::INT4,
        Type::INT8,
        Type::OID,
        Type::FLOAT4,
        Type::FLOAT8,
        Type::NUMERIC,
        Type::BYTEA,
        Type::TIMESTAMP,
        Type::TIMESTAMPTZ,
        Type::DATE,
        Type::TIME,
        Type::UUID,
        Type::JSONB,
        Type::VOID,
    ];
    match ty.kind() {
        Shape::Enum(_) => true,
        Shape::Array(element) => is_known(element),
        _ => scalar.contains(ty) || is_text(ty),
    }
}

fn is_text(ty: &Type) -> bool {
    let texts = [Type::TEXT, Type::VARCHAR, Type::BPCHAR, Type::NAME, Type::UNKNOWN, Type::JSON, Type::XML];
    texts.contains(ty) || matches!(ty.kind(), Shape::Enum(_))
}

/// None for NULL.
pub(super) fn value(ty: &Type, raw: Option<&[u8]>) -> Value {
    let Some(raw) = raw else { return Value { kind: Some(Kind::Null(true)) } };
    // What does not have the form of its type is shown as the bytes that it is.
    Value { kind: Some(kind(ty, raw).unwrap_or_else(|| Kind::Raw(raw.to_vec().into()))) }
}

fn kind(ty: &Type, raw: &[u8]) -> Option<Kind> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok().map(Kind::Text);
    if let Shape::Array(element) = ty.kind() {
        return list(element, raw);
    }
    Some(match *ty {
        Type::BOOL => Kind::Boolean(wire::bool_from_sql(raw).ok()?),
        Type::INT2 => Kind::Integer(wire::int2_from_sql(raw).ok()?.into()),
        Type::INT4 => Kind::Integer(wire::int4_from_sql(raw).ok()?.into()),
        Type::INT8 => Kind::Integer(wire::int8_from_sql(raw).ok()?),
        Type::OID => Kind::Integer(wire::oid_from_sql(raw).ok()?.into()),
        Type::FLOAT4 => Kind::Number(wire::float4_from_sql(raw).ok()?.into()),
        Type::FLOAT8 => Kind::Number(wire::float8_from_sql(raw).ok()?),
        Type::NUMERIC => Kind::Decimal(numeric::digits(raw)?),
        Type::BYTEA => Kind::Raw(raw.to_vec().into()),
        Type::TIMESTAMP | Type::TIMESTAMPTZ => moment(wire::timestamp_from_sql(raw).ok()?)?,
        Type::DATE => day(wire::date_from_sql(raw).ok()?)?,
        Type::TIME => time_of_day(wire::time_from_sql(raw).ok()?)?,
        Type::UUID => text(uuid(raw)?.as_bytes())?,
        // The first byte is the form's version.
        Type::JSONB => text(raw.get(1..)?)?,
        Type::VOID => Kind::Null(true),
        _ => text(raw)?,
    })
}

/// Moments that nanoseconds do not reach are text.
fn moment(microseconds: i64) -> Option<Kind> {
    match microseconds {
        i64::MAX => return Some(Kind::Text("infinity".to_owned())),
        i64::MIN => return Some(Kind::Text("-infinity".to_owned())),
        _ => {}
    }
    let since_1970 = microseconds.checked_add(EPOCH * 1_000_000)?;
    match since_1970.checked_mul(1_000) {
        Some(nanoseconds) => Some(Kind::TimeUnixNs(nanoseconds)),
        None => Timestamp::from_microsecond(since_1970).ok().map(|at| Kind::Text(at.to_string())),
    }
}

fn day(days: i32) -> Option<Kind> {
    match days {
        i32::MAX => return Some(Kind::Text("infinity".to_owned())),
        i32::MIN => return Some(Kind::Text("-infinity".to_owned())),
        _ => {}
    }
    let day = Date::constant(2000, 1, 1).checked_add(jiff::Span::new().try_days(days).ok()?).ok()?;
    Some(Kind::Text(day.to_string()))
}

fn time_of_day(microseconds: i64) -> Option<Kind> {
    let since = jiff::SignedDuration::from_micros(microseconds);
    Some(Kind::Text(Time::midnight().checked_add(since).ok()?.to_string()))
}

fn uuid(raw: &[u8]) -> Option<String> {
    let hex = hex::encode(<[u8; 16]>::try_from(raw).ok()?);
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    Some(parts.join("-"))
}

/// Of one dimension; the others are flattened.
fn list(element: &Type, raw: &[u8]) -> Option<Kind> {
    let array = wire::array_from_sql(raw).ok()?;
    let values = array.values().map(|item| Ok(value(element, item))).collect().ok()?;
    Some(Kind::List(List { values }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_has_its_kind() {
        let cases: [(Type, Vec<u8>, Kind); 7] = [
            (Type::INT4, 7_i32.to_be_bytes().into(), Kind::Integer(7)),
            (Type::TIMESTAMPTZ, 1_i64.to_be_bytes().into(), Kind::TimeUnixNs(EPOCH * 1_000_000_000 + 1_000)),
            (Type::TIMESTAMPTZ, i64::MAX.to_be_bytes().into(), Kind::Text("infinity".into())),
            (Type::DATE, 1_i32.to_be_bytes().into(), Kind::Text("2000-01-02".into())),
            (Type::TIME, 3_600_000_000_i64.to_be_bytes().into(), Kind::Text("01:00:00".into())),
            (Type::JSONB, b"\x01{}".to_vec(), Kind::Text("{}".into())),
            (Type::UUID, vec![0x11; 16], Kind::Text("11111111-1111-1111-1111-111111111111".into())),
        ];
        for (ty, raw, wanted) in cases {
            assert_eq!(value(&ty, Some(&raw)).kind, Some(wanted), "{ty}");
        }
        assert_eq!(value(&Type::INT4, Some(b"x")).kind, Some(Kind::Raw(b"x".to_vec().into())));
        assert!(is_known(&Type::TEXT_ARRAY) && !is_known(&Type::INET) && !is_known(&Type::INTERVAL));
    }
}
