//! A YAML, JSON or TOML text as one tree of values that know their place in it, and a cursor that decodes it.
//! Pure: texts in, values out.

mod cursor;
mod json;
mod placed;
mod toml;
mod yaml;

pub(crate) use cursor::Cursor;
pub use placed::{Placed, parse_all};

use serde_json::{Number, Value};
use std::fmt;

/// How a text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Yaml,
    Json,
    Toml,
}

/// Where something stands in a text; both count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

/// A text that cannot be decoded. The place is unknown where the values came without a text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    #[error("{}{message}", prefix(.place))]
    Syntax { place: Option<Place>, message: String },
    #[error("{}field '{field}' must be {wanted}, found {found}", prefix(.place))]
    WrongType { place: Option<Place>, field: String, wanted: &'static str, found: String },
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) place: Option<Place>,
    pub(crate) content: Content,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Content {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl Format {
    /// By the extension of a file's name, `yaml`, `yml`, `json` or `toml`.
    #[must_use]
    pub fn from_extension(extension: &str) -> Option<Self> {
        match extension {
            "yaml" | "yml" => Some(Self::Yaml),
            "json" => Some(Self::Json),
            "toml" => Some(Self::Toml),
            _ => None,
        }
    }
}

impl DocumentError {
    /// Where the fault stands.
    #[must_use]
    pub const fn place(&self) -> Option<Place> {
        match self {
            Self::Syntax { place, .. } | Self::WrongType { place, .. } => *place,
        }
    }
}

impl Place {
    /// Splits off the place with which warnings and errors begin.
    #[must_use]
    pub fn leading(text: &str) -> (Option<Self>, &str) {
        let split = || {
            let (line, rest) = text.strip_prefix("line ")?.split_once(", column ")?;
            let (column, rest) = rest.split_once(": ")?;
            Some((Self { line: line.parse().ok()?, column: column.parse().ok()? }, rest))
        };
        split().map_or((None, text), |(place, rest)| (Some(place), rest))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

fn prefix(place: &Option<Place>) -> String {
    place.map(|place| format!("{place}: ")).unwrap_or_default()
}

/// Reads a text into a tree.
pub(crate) fn parse(text: &str, format: Format) -> Result<Node, DocumentError> {
    match format {
        Format::Yaml => yaml::parse(text),
        Format::Json => json::parse(text),
        Format::Toml => toml::parse(text),
    }
}

impl From<&Value> for Node {
    fn from(value: &Value) -> Self {
        let content = match value {
            Value::Null => Content::Null,
            Value::Bool(flag) => Content::Bool(*flag),
            Value::Number(number) => Content::Number(number.clone()),
            Value::String(text) => Content::String(text.clone()),
            Value::Array(items) => Content::List(items.iter().map(Self::from).collect()),
            Value::Object(fields) => Content::Map(fields.iter().map(|(key, v)| (key.clone(), v.into())).collect()),
        };
        Self { place: None, content }
    }
}

impl From<&Node> for Value {
    fn from(node: &Node) -> Self {
        match &node.content {
            Content::Null => Self::Null,
            Content::Bool(flag) => Self::Bool(*flag),
            Content::Number(number) => Self::Number(number.clone()),
            Content::String(text) => Self::String(text.clone()),
            Content::List(items) => Self::Array(items.iter().map(Self::from).collect()),
            Content::Map(fields) => Self::Object(fields.iter().map(|(key, v)| (key.clone(), v.into())).collect()),
        }
    }
}

/// Finds line and column of a byte offset.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, starts }
    }

    fn place(&self, offset: usize) -> Place {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = line.checked_sub(1).and_then(|index| self.starts.get(index)).copied().unwrap_or(0);
        let before = self.text.get(start..offset).unwrap_or_default();
        Place { line, column: before.chars().count() + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_back_from_a_text() {
        let place = Place { line: 12, column: 3 };
        assert_eq!(Place::leading(&format!("{place}: unknown field 'a: b'")), (Some(place), "unknown field 'a: b'"));
        assert_eq!(Place::leading("line up"), (None, "line up"));
    }
}
