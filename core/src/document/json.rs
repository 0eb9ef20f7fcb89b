//! JSON with places: raw values are slices of the text, and so tell where they stand. Pure.

use super::{Content, DocumentError, Lines, Node, Place};
use serde::{Deserialize, Deserializer, de::MapAccess};
use serde_json::value::RawValue;
use std::{collections::BTreeSet, fmt};

/// Deeper texts are no configuration, and would exhaust the stack.
const DEEPEST: usize = 64;

pub(super) fn parse(text: &str) -> Result<Node, DocumentError> {
    let raw = serde_json::from_str::<&RawValue>(text).map_err(|e| syntax(&e, None))?;
    Reader { text, lines: Lines::new(text) }.node(raw, DEEPEST)
}

struct Reader<'a> {
    text: &'a str,
    lines: Lines<'a>,
}

impl<'a> Reader<'a> {
    fn node(&self, raw: &'a RawValue, depth: usize) -> Result<Node, DocumentError> {
        let place = self.place(raw);
        let fault = |e: serde_json::Error| syntax(&e, Some(place));
        let Some(below) = depth.checked_sub(1) else {
            return Err(DocumentError::Syntax { place: Some(place), message: "nested too deeply".to_owned() });
        };
        let content = match raw.get().as_bytes().first() {
            Some(b'{') => self.map(serde_json::from_str(raw.get()).map_err(fault)?, below)?,
            Some(b'[') => self.list(serde_json::from_str(raw.get()).map_err(fault)?, below)?,
            Some(b'"') => Content::String(serde_json::from_str(raw.get()).map_err(fault)?),
            Some(b't' | b'f') => Content::Bool(serde_json::from_str(raw.get()).map_err(fault)?),
            Some(b'n') => Content::Null,
            _ => Content::Number(serde_json::from_str(raw.get()).map_err(fault)?),
        };
        Ok(Node { place: Some(place), content })
    }

    fn list(&self, items: Vec<&'a RawValue>, depth: usize) -> Result<Content, DocumentError> {
        items.into_iter().map(|raw| self.node(raw, depth)).collect::<Result<_, _>>().map(Content::List)
    }

    fn map(&self, fields: Fields<'a>, depth: usize) -> Result<Content, DocumentError> {
        let mut seen = BTreeSet::new();
        for (key, raw) in &fields.0 {
            if !seen.insert(key) {
                let message = format!("field '{key}' is given twice");
                return Err(DocumentError::Syntax { place: Some(self.place(raw)), message });
            }
        }
        let nodes = fields.0.into_iter().map(|(key, raw)| Ok((key, self.node(raw, depth)?)));
        nodes.collect::<Result<_, _>>().map(Content::Map)
    }

    fn place(&self, raw: &RawValue) -> Place {
        let offset = (raw.get().as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        self.lines.place(offset)
    }
}

/// An object's fields in the order of the text.
struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }

        d.deserialize_map(Visitor)
    }
}

fn syntax(error: &serde_json::Error, place: Option<Place>) -> DocumentError {
    let own = Place { line: error.line(), column: error.column().max(1) };
    let text = error.to_string();
    let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message).to_owned();
    DocumentError::Syntax { place: Some(place.unwrap_or(own)), message }
}
