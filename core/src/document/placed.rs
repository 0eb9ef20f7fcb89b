//! Whole documents for tools that look at them as values: each knows where its fields stand. Pure.

use super::{Content, DocumentError, Format, Node, Place, json, toml, yaml};
use serde_json::Value;
use std::collections::BTreeMap;

/// A document's values, and the places of its fields by path: `spec.dependencies[1].name`.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    pub value: Value,
    places: BTreeMap<String, Place>,
}

impl Placed {
    /// Of the field, or of the nearest thing around it that is there.
    #[must_use]
    pub fn place(&self, field: &str) -> Option<Place> {
        let mut path = field;
        loop {
            if let Some(place) = self.places.get(path) {
                return Some(*place);
            }
            path = match path.rfind(['.', '[']) {
                Some(end) => &path[..end],
                None if path.is_empty() => return None,
                None => "",
            };
        }
    }
}

impl From<Node> for Placed {
    fn from(node: Node) -> Self {
        let mut places = BTreeMap::new();
        collect(&node, String::new(), &mut places);
        Self { value: (&node).into(), places }
    }
}

fn collect(node: &Node, path: String, places: &mut BTreeMap<String, Place>) {
    match &node.content {
        Content::Map(fields) => {
            for (name, field) in fields {
                let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                collect(field, below, places);
            }
        }
        Content::List(items) => {
            for (index, item) in items.iter().enumerate() {
                collect(item, format!("{path}[{index}]"), places);
            }
        }
        _ => {}
    }
    if let Some(place) = node.place {
        places.insert(path, place);
    }
}

/// Every document of a text; YAML may hold many. Empty ones are left out.
pub fn parse_all(text: &str, format: Format) -> Result<Vec<Placed>, DocumentError> {
    let nodes = match format {
        Format::Yaml => yaml::parse_all(text)?,
        Format::Json => vec![json::parse(text)?],
        Format::Toml => vec![toml::parse(text)?],
    };
    Ok(nodes.into_iter().map(Placed::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: usize, column: usize) -> Option<Place> {
        Some(Place { line, column })
    }

    #[test]
    fn fields_have_places_and_absent_ones_those_around_them() {
        let text = "name: a\ndependencies:\n  - name: b\n    version: 1\n  - {name: c}\n";
        let documents = parse_all(text, Format::Yaml).unwrap();
        let found = &documents[0];
        assert_eq!(found.place("dependencies[0].version"), at(4, 14));
        assert_eq!(found.place("dependencies[1].version"), found.place("dependencies[1]"));
        assert_eq!(found.place("nothing.there"), found.place(""));
        assert_eq!(found.value["dependencies"][1]["name"], "c");
    }

    #[test]
    fn each_document_of_a_text_is_its_own() {
        let found = parse_all("# first\n---\na: 1\n---\n---\nb: 2\n", Format::Yaml).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].place("a"), found[1].place("b")), (at(3, 4), at(6, 4)));
    }

    #[test]
    fn json_and_toml_are_one_document() {
        let json = parse_all("{\n\t\"a\": {\"b\": 1}\n}", Format::Json).unwrap();
        assert_eq!(json[0].place("a.b").map(|place| place.line), Some(2));
        let toml = parse_all("[a]\nb = 1\n", Format::Toml).unwrap();
        assert_eq!(toml[0].place("a.b").map(|place| place.line), Some(2));
    }

    #[test]
    fn a_broken_document_says_where() {
        let error = parse_all("a: 1\n---\nb: [1\nc: 2\n", Format::Yaml).unwrap_err();
        assert!(error.place().is_some_and(|place| place.line >= 3), "{error}");
    }
}
