//! A place in a document with its path, and what is expected there. Pure.

use super::{Content, DocumentError, Node, Place};
use crate::{duration, hint};
use serde_json::{Map, Value};
use std::time::Duration;

/// Texts up to here are repeated in errors.
const SHORT: usize = 40;

#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    node: &'a Node,
    path: String,
}

impl<'a> Cursor<'a> {
    pub(crate) const fn root(node: &'a Node) -> Self {
        Self { node, path: String::new() }
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) const fn place(&self) -> Option<Place> {
        self.node.place
    }

    pub(crate) const fn content(&self) -> &'a Content {
        &self.node.content
    }

    /// The path of a field here, whether it is there or not.
    pub(crate) fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// A field of this map; null counts as left out.
    pub(crate) fn field(&self, name: &str) -> Option<Self> {
        let Content::Map(fields) = &self.node.content else { return None };
        let (_, node) = fields.iter().find(|(key, node)| key == name && node.content != Content::Null)?;
        Some(Self { node, path: self.path_of(name) })
    }

    /// All fields of this map.
    pub(crate) fn fields(&self) -> Result<Vec<(&'a str, Self)>, DocumentError> {
        let Content::Map(fields) = &self.node.content else { return Err(self.expected("an object")) };
        Ok(fields.iter().map(|(key, node)| (key.as_str(), Self { node, path: self.path_of(key) })).collect())
    }

    /// Checks that this is a map, and reports fields that are not known.
    pub(crate) fn expect_fields(&self, known: &[&str], warnings: &mut Vec<String>) -> Result<(), DocumentError> {
        for (name, cursor) in self.fields()? {
            if !known.contains(&name) {
                let place = cursor.place().map(|place| format!("{place}: ")).unwrap_or_default();
                warnings.push(format!("{place}{}", hint::unknown("field", &cursor.path, known.iter().copied())));
            }
        }
        Ok(())
    }

    pub(crate) fn items(&self) -> Result<Vec<Self>, DocumentError> {
        let Content::List(items) = &self.node.content else { return Err(self.expected("an array")) };
        let item = |(index, node)| Self { node, path: format!("{}[{index}]", self.path) };
        Ok(items.iter().enumerate().map(item).collect())
    }

    pub(crate) fn text(&self) -> Result<&'a str, DocumentError> {
        match &self.node.content {
            Content::String(text) => Ok(text),
            other => Err(self.fault("a string", kind(other).to_owned())),
        }
    }

    pub(crate) fn flag(&self) -> Result<bool, DocumentError> {
        match self.node.content {
            Content::Bool(flag) => Ok(flag),
            _ => Err(self.expected("true or false")),
        }
    }

    pub(crate) fn integer<T: TryFrom<i64>>(&self, wanted: &'static str) -> Result<T, DocumentError> {
        let number = match &self.node.content {
            Content::Number(number) => number.as_i64(),
            _ => None,
        };
        number.and_then(|n| T::try_from(n).ok()).ok_or_else(|| self.expected(wanted))
    }

    pub(crate) fn duration(&self) -> Result<Duration, DocumentError> {
        let wanted = "a duration like 100ms, 30s or 1h30m";
        let Content::String(text) = &self.node.content else { return Err(self.expected(wanted)) };
        duration::parse(text).map_err(|_| self.expected(wanted))
    }

    pub(crate) fn texts(&self) -> Result<Vec<String>, DocumentError> {
        self.items()?.iter().map(|item| item.text().map(str::to_owned)).collect()
    }

    pub(crate) fn value(&self) -> Value {
        self.node.into()
    }

    pub(crate) fn values(&self) -> Result<Map<String, Value>, DocumentError> {
        match self.value() {
            Value::Object(map) => Ok(map),
            _ => Err(self.expected("an object")),
        }
    }

    /// The error for what stands here; shows a short text, so only for fields that hold no secrets.
    pub(crate) fn expected(&self, wanted: &'static str) -> DocumentError {
        let found = match &self.node.content {
            Content::String(text) if text.chars().count() <= SHORT => format!("'{text}'"),
            Content::Number(number) => number.to_string(),
            other => kind(other).to_owned(),
        };
        self.fault(wanted, found)
    }

    fn fault(&self, wanted: &'static str, found: String) -> DocumentError {
        let field = if self.path.is_empty() { "(top level)" } else { &self.path };
        DocumentError::WrongType { place: self.node.place, field: field.to_owned(), wanted, found }
    }
}

fn kind(content: &Content) -> &'static str {
    match content {
        Content::Null => "null",
        Content::Bool(_) => "a boolean",
        Content::Number(number) if number.is_f64() => "a float",
        Content::Number(_) => "an integer",
        Content::String(_) => "a string",
        Content::List(_) => "an array",
        Content::Map(_) => "an object",
    }
}
