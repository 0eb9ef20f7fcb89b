//! Values in and out of a database. Pure.

use crate::{
    Value,
    value::{moment, time},
};
use rockstar_proto::types::{self, value::Kind};
use std::time::{Duration, SystemTime};

/// An argument of a statement, or a cell of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum SqlValue {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    Time(SystemTime),
    /// Exact, as it is written.
    Decimal(String),
    Duration(Duration),
    /// Lists and mappings.
    Json(Value),
}

impl SqlValue {
    /// Bytes become an array of numbers, times and durations nanoseconds, a decimal its digits.
    #[must_use]
    pub fn to_json(&self) -> Value {
        types::Value::from(self.clone()).to_json()
    }
}

impl From<SqlValue> for types::Value {
    fn from(value: SqlValue) -> Self {
        let kind = match value {
            SqlValue::Null => Kind::Null(true),
            SqlValue::Bool(flag) => Kind::Boolean(flag),
            SqlValue::Integer(number) => Kind::Integer(number),
            SqlValue::Float(number) => Kind::Number(number),
            SqlValue::Text(text) => Kind::Text(text),
            SqlValue::Bytes(bytes) => Kind::Raw(bytes.into()),
            SqlValue::Time(at) => time(at),
            SqlValue::Decimal(digits) => Kind::Decimal(digits),
            SqlValue::Duration(length) => Kind::DurationNs(i64::try_from(length.as_nanos()).unwrap_or(i64::MAX)),
            SqlValue::Json(json) => return Self::from(&json),
        };
        Self { kind: Some(kind) }
    }
}

impl From<types::Value> for SqlValue {
    fn from(value: types::Value) -> Self {
        match value.kind {
            None | Some(Kind::Null(_)) => Self::Null,
            Some(Kind::Boolean(flag)) => Self::Bool(flag),
            Some(Kind::Integer(number)) => Self::Integer(number),
            Some(Kind::Number(number)) => Self::Float(number),
            Some(Kind::Text(text)) => Self::Text(text),
            Some(Kind::Raw(bytes)) => Self::Bytes(bytes.into()),
            Some(Kind::TimeUnixNs(at)) => Self::Time(moment(at)),
            Some(Kind::Decimal(digits)) => Self::Decimal(digits),
            Some(Kind::DurationNs(length)) => Self::Duration(Duration::from_nanos(length.unsigned_abs())),
            Some(Kind::List(_) | Kind::Map(_)) => Self::Json(value.to_json()),
        }
    }
}

macro_rules! argument {
    ($($from:ty => |$value:ident| $to:expr;)*) => {
        $(impl From<$from> for SqlValue {
            fn from($value: $from) -> Self {
                $to
            }
        })*
    };
}

argument! {
    bool => |value| Self::Bool(value);
    i16 => |value| Self::Integer(value.into());
    i32 => |value| Self::Integer(value.into());
    i64 => |value| Self::Integer(value);
    u16 => |value| Self::Integer(value.into());
    u32 => |value| Self::Integer(value.into());
    f32 => |value| Self::Float(value.into());
    f64 => |value| Self::Float(value);
    &str => |value| Self::Text(value.to_owned());
    String => |value| Self::Text(value);
    &String => |value| Self::Text(value.clone());
    &[u8] => |value| Self::Bytes(value.to_vec());
    Vec<u8> => |value| Self::Bytes(value);
    SystemTime => |value| Self::Time(value);
    Duration => |value| Self::Duration(value);
    Value => |value| Self::from(types::Value::from(&value));
}

impl<T: Into<Self>> From<Option<T>> for SqlValue {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A type that a cell can be read as.
pub trait FromSql: Sized {
    /// For error texts.
    const NAME: &'static str;

    /// None: the cell is of another type.
    fn from_sql(value: &SqlValue) -> Option<Self>;
}

impl FromSql for bool {
    const NAME: &'static str = "a boolean";

    fn from_sql(value: &SqlValue) -> Option<Self> {
        match value {
            SqlValue::Bool(flag) => Some(*flag),
            SqlValue::Integer(number @ (0 | 1)) => Some(*number == 1),
            _ => None,
        }
    }
}

impl FromSql for i64 {
    const NAME: &'static str = "an integer";

    fn from_sql(value: &SqlValue) -> Option<Self> {
        match value {
            SqlValue::Integer(number) => Some(*number),
            SqlValue::Decimal(digits) => digits.parse().ok(),
            _ => None,
        }
    }
}

/// Large integers lose their last digits, as everywhere.
impl FromSql for f64 {
    const NAME: &'static str = "a number";

    fn from_sql(value: &SqlValue) -> Option<Self> {
        match value {
            SqlValue::Float(number) => Some(*number),
            SqlValue::Integer(number) => Some(*number as Self),
            SqlValue::Decimal(digits) => digits.parse().ok(),
            _ => None,
        }
    }
}

impl FromSql for String {
    const NAME: &'static str = "text";

    fn from_sql(value: &SqlValue) -> Option<Self> {
        match value {
            SqlValue::Text(text) | SqlValue::Decimal(text) => Some(text.clone()),
            _ => None,
        }
    }
}

impl FromSql for Vec<u8> {
    const NAME: &'static str = "bytes";

    fn from_sql(value: &SqlValue) -> Option<Self> {
        match value {
            SqlValue::Bytes(bytes) => Some(bytes.clone()),
            _ => None,
        }
    }
}

impl FromSql for SystemTime {
    const NAME: &'static str = "a time";

    fn from_sql(value: &SqlValue) -> Option<Self> {
        match value {
            SqlValue::Time(at) => Some(*at),
            _ => None,
        }
    }
}

impl FromSql for Value {
    const NAME: &'static str = "a value";

    fn from_sql(value: &SqlValue) -> Option<Self> {
        Some(value.to_json())
    }
}

impl<T: FromSql> FromSql for Option<T> {
    const NAME: &'static str = T::NAME;

    fn from_sql(value: &SqlValue) -> Option<Self> {
        match value {
            SqlValue::Null => Some(None),
            value => T::from_sql(value).map(Some),
        }
    }
}
