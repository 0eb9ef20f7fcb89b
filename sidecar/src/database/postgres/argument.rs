//! Arguments as text, which the server reads by the type that it wants there. Never part of the statement. Pure.

use super::super::timestamp;
use bytes::BytesMut;
use rockstar_proto::types::{Value, value::Kind};
use std::error::Error;
use tokio_postgres::types::{Format, IsNull, Kind as Shape, ToSql, Type, to_sql_checked};

#[derive(Debug)]
pub(super) struct Argument<'a>(pub(super) &'a Value);

impl ToSql for Argument<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match text(self.0, ty) {
            Some(text) => {
                out.extend_from_slice(text.as_bytes());
                Ok(IsNull::No)
            }
            None => Ok(IsNull::Yes),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

fn text(value: &Value, ty: &Type) -> Option<String> {
    Some(match value.kind.as_ref()? {
        Kind::Null(_) => return None,
        Kind::Boolean(flag) if is_integer(ty) => u8::from(*flag).to_string(),
        Kind::Boolean(flag) => flag.to_string(),
        Kind::Integer(number) => number.to_string(),
        Kind::Number(number) if number.is_infinite() => if *number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned(),
        Kind::Number(number) => number.to_string(),
        Kind::Text(text) | Kind::Decimal(text) => text.clone(),
        Kind::Raw(bytes) => format!("\\x{}", hex::encode(bytes)),
        Kind::TimeUnixNs(at) => timestamp::text((*at).into()).unwrap_or_else(|| at.to_string()),
        Kind::DurationNs(length) if *ty == Type::INTERVAL => format!("{} microseconds", length / 1_000),
        Kind::DurationNs(length) => length.to_string(),
        Kind::List(list) => match ty.kind() {
            Shape::Array(element) => array(&list.values, element),
            _ => value.to_json().to_string(),
        },
        Kind::Map(_) => value.to_json().to_string(),
    })
}

fn is_integer(ty: &Type) -> bool {
    [Type::INT2, Type::INT4, Type::INT8].contains(ty)
}

fn array(values: &[Value], element: &Type) -> String {
    let quoted = |text: String| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let items: Vec<_> = values.iter().map(|v| text(v, element).map_or_else(|| "NULL".to_owned(), quoted)).collect();
    format!("{{{}}}", items.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_wanted_type_decides_how_a_value_is_written() {
        let list = Value::from(&json!(["a\"b", null, 1]));
        assert_eq!(text(&list, &Type::TEXT_ARRAY).unwrap(), r#"{"a\"b",NULL,"1"}"#);
        assert_eq!(text(&list, &Type::JSONB).unwrap(), r#"["a\"b",null,1]"#);
        assert_eq!(text(&Value::from(&json!(true)), &Type::INT4).unwrap(), "1");
        assert_eq!(text(&Value::from(&json!(null)), &Type::INT4), None);
        let length = Value { kind: Some(Kind::DurationNs(1_500_000)) };
        assert_eq!(text(&length, &Type::INTERVAL).unwrap(), "1500 microseconds");
        let bytes = Value { kind: Some(Kind::Raw(vec![0, 255].into())) };
        assert_eq!(text(&bytes, &Type::BYTEA).unwrap(), "\\x00ff");
    }
}
