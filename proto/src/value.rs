//! Values on the wire and JSON values, one into the other. Integers stay integers.

use crate::types::{List, Map, Value, value::Kind};
use prost::Message;
use serde_json::Value as Json;

impl From<&Json> for Value {
    fn from(json: &Json) -> Self {
        Self { kind: Some(kind(json)) }
    }
}

fn kind(json: &Json) -> Kind {
    match json {
        Json::Null => Kind::Null(true),
        Json::Bool(b) => Kind::Boolean(*b),
        Json::Number(n) => n.as_i64().map_or_else(|| Kind::Number(n.as_f64().unwrap_or(f64::NAN)), Kind::Integer),
        Json::String(s) => Kind::Text(s.clone()),
        Json::Array(a) => Kind::List(List { values: a.iter().map(Value::from).collect() }),
        Json::Object(o) => Kind::Map(Map::from(o)),
    }
}

impl From<&serde_json::Map<String, Json>> for Map {
    fn from(object: &serde_json::Map<String, Json>) -> Self {
        Self { values: object.iter().map(|(k, v)| (k.clone(), Value::from(v))).collect() }
    }
}

impl Value {
    /// As JSON. Raw bytes become an array of numbers, times and durations nanoseconds, a decimal its digits.
    #[must_use]
    pub fn to_json(&self) -> Json {
        match &self.kind {
            None | Some(Kind::Null(_)) => Json::Null,
            Some(Kind::Boolean(b)) => Json::Bool(*b),
            Some(Kind::Integer(i) | Kind::TimeUnixNs(i) | Kind::DurationNs(i)) => Json::from(*i),
            Some(Kind::Number(n)) => Json::from(*n),
            Some(Kind::Text(s) | Kind::Decimal(s)) => Json::from(s.as_str()),
            Some(Kind::Raw(b)) => Json::from(b.to_vec()),
            Some(Kind::List(l)) => Json::Array(l.values.iter().map(Self::to_json).collect()),
            Some(Kind::Map(m)) => Json::Object(m.to_json()),
        }
    }

    /// The form in which fields of type bytes carry a value.
    #[must_use]
    pub fn encode(&self) -> bytes::Bytes {
        self.encode_to_vec().into()
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decoded(bytes: bytes::Bytes) -> Result<Self, prost::DecodeError> {
        Self::decode(bytes)
    }
}

impl Map {
    /// As a JSON object.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Map<String, Json> {
        self.values.iter().map(|(k, v)| (k.clone(), v.to_json())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_survives_the_wire() {
        let json = json!({"a": [1, -7, 1.5, "x", null, true], "big": i64::MAX, "nested": {"b": {}}});
        let bytes = Value::from(&json).encode();
        assert_eq!(Value::decode(bytes).unwrap().to_json(), json);
    }
}
