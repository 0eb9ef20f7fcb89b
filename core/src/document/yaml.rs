//! YAML 1.2 with places. Pure.

use super::{Content, DocumentError, Node, Place};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, SeqAccess},
};
use serde_json::Number;
use serde_saphyr::{Error, Location, Options, Spanned, options};
use std::fmt;

pub(super) fn parse(text: &str) -> Result<Node, DocumentError> {
    serde_saphyr::from_str_with_options::<Located>(text, strict()).map(|Located(node)| node).map_err(|e| fault(&e))
}

/// All documents; empty ones are left out.
pub(super) fn parse_all(text: &str) -> Result<Vec<Node>, DocumentError> {
    let found = serde_saphyr::from_multiple_with_options::<Located>(text, strict()).map_err(|e| fault(&e))?;
    Ok(found.into_iter().map(|Located(node)| node).collect())
}

fn strict() -> Options {
    options! { strict_booleans: true, with_snippet: false }
}

fn fault(error: &Error) -> DocumentError {
    let place = error.location().and_then(place);
    let message = match error.without_snippet() {
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("field '{key}' is given twice"),
        other => other.to_string(),
    };
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message).to_owned();
    DocumentError::Syntax { place, message }
}

fn place(location: Location) -> Option<Place> {
    let line = usize::try_from(location.line()).ok().filter(|line| *line > 0)?;
    Some(Place { line, column: usize::try_from(location.column()).ok()? })
}

struct Located(Node);

impl<'de> Deserialize<'de> for Located {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Bare>::deserialize(d)?;
        Ok(Self(Node { place: place(spanned.referenced), content: spanned.value.0 }))
    }
}

struct Bare(Content);

impl<'de> Deserialize<'de> for Bare {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(Visitor).map(Self)
    }
}

struct Visitor;

impl<'de> serde::de::Visitor<'de> for Visitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Content, E> {
        Ok(Content::Null)
    }

    fn visit_none<E>(self) -> Result<Content, E> {
        Ok(Content::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Content, E> {
        Ok(Content::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Content, E> {
        Ok(Content::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Content, E> {
        Ok(Content::Number(number.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Content, E> {
        Number::from_f64(number).map(Content::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Content, E> {
        Ok(Content::String(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Content, A::Error> {
        let mut items = Vec::new();
        while let Some(Located(node)) = seq.next_element()? {
            items.push(node);
        }
        Ok(Content::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Content, A::Error> {
        let mut fields: Vec<(String, Node)> = Vec::new();
        while let Some((Located(key), Located(node))) = map.next_entry()? {
            fields.push((key_text(key).map_err(A::Error::custom)?, node));
        }
        Ok(Content::Map(fields))
    }
}

/// Keys such as `1` or `true` are names here, as in JSON.
fn key_text(key: Node) -> Result<String, &'static str> {
    match key.content {
        Content::String(text) => Ok(text),
        Content::Number(number) => Ok(number.to_string()),
        Content::Bool(flag) => Ok(flag.to_string()),
        Content::Null => Ok("null".to_owned()),
        Content::List(_) | Content::Map(_) => Err("a field's name must be a plain word"),
    }
}
