//! What a check found, and where. Pure.

use rockstar_core::document::{Place, Placed};
use serde::{Serialize, Serializer};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    Error,
    Warning,
}

/// One thing to mend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    #[serde(serialize_with = "place", skip_serializing_if = "Option::is_none")]
    pub(crate) place: Option<Place>,
    /// Empty where it concerns the whole, or where the message names it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) field: String,
    pub(crate) message: String,
}

impl Finding {
    pub(crate) fn error(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, place: None, field: field.into(), message: message.into() }
    }

    pub(crate) fn warning(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(field, message) }
    }

    pub(crate) fn at(self, place: Option<Place>) -> Self {
        Self { place, ..self }
    }

    /// With the place of its field.
    pub(crate) fn in_document(self, document: &Placed) -> Self {
        Self { place: document.place(&self.field), ..self }
    }

    /// From a text that may begin with its place.
    pub(crate) fn from_text(severity: Severity, text: &str) -> Self {
        let (place, message) = Place::leading(text);
        Self { severity, place, field: String::new(), message: message.to_owned() }
    }

    pub(crate) fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

fn place<S: Serializer>(place: &Option<Place>, s: S) -> Result<S::Ok, S::Error> {
    let fields = place.iter().flat_map(|place| [("line", place.line), ("column", place.column)]);
    s.collect_map(fields)
}
