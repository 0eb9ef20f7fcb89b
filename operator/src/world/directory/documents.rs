//! Text of YAML files to objects, with file, line and field of whatever cannot be read. Pure.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use rockstar_crds::{Plugin, PluginHost};
use serde::{Deserialize, de::DeserializeOwned};
use std::{
    fmt,
    path::{Path, PathBuf},
};

/// One object of a folder.
#[derive(Clone, Debug)]
pub(super) enum Document {
    Plugin(Box<Plugin>),
    Host(Box<PluginHost>),
    Secret(Box<Secret>),
    ConfigMap(Box<ConfigMap>),
}

/// Something in a file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub file: PathBuf,
    pub line: Option<usize>,
    /// With the field in front, where it is known.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}", self.message)
    }
}

/// What one file holds.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) documents: Vec<Document>,
    pub(super) problems: Vec<Problem>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
}

/// Reads all documents of one file; a bad one does not keep the others out.
pub(super) fn parse(file: &Path, text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    for (offset, part) in split(text) {
        match document(&part) {
            Ok(Some(document)) => parsed.documents.push(document),
            Ok(None) => {}
            Err(error) => parsed.problems.push(problem(file, offset, &error)),
        }
    }
    parsed
}

/// The documents of a stream, each with the number of lines before it.
fn split(text: &str) -> Vec<(usize, String)> {
    let mut parts = vec![(0, String::new())];
    for (number, line) in text.lines().enumerate() {
        if line == "---" || line.starts_with("--- ") {
            parts.push((number + 1, String::new()));
        } else if let Some((_, part)) = parts.last_mut() {
            part.push_str(line);
            part.push('\n');
        }
    }
    parts.retain(|(_, part)| part.lines().any(|l| !l.trim().is_empty() && !l.trim_start().starts_with('#')));
    parts
}

fn document(text: &str) -> Result<Option<Document>, serde_yaml::Error> {
    let header: Header = serde_yaml::from_str(text)?;
    let ours = header.api_version.starts_with("plugins.rockstar-framework.dev/");
    Ok(match header.kind.as_str() {
        "Plugin" if ours => Some(Document::Plugin(typed(text)?)),
        "PluginHost" if ours => Some(Document::Host(typed(text)?)),
        "Secret" => Some(Document::Secret(typed(text)?)),
        "ConfigMap" => Some(Document::ConfigMap(typed(text)?)),
        _ => None,
    })
}

fn typed<T: DeserializeOwned>(text: &str) -> Result<Box<T>, serde_yaml::Error> {
    serde_yaml::from_str(text).map(Box::new)
}

fn problem(file: &Path, offset: usize, error: &serde_yaml::Error) -> Problem {
    let location = error.location();
    let text = error.to_string();
    let suffix = location.as_ref().map(|l| format!(" at line {} column {}", l.line(), l.column())).unwrap_or_default();
    Problem {
        file: file.to_owned(),
        line: location.map(|l| l.line() + offset),
        message: text.replace(&suffix, "").trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_told_apart_and_strangers_left_out() {
        let text = "# comment\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: a}\n---\napiVersion: apps/v1\nkind: Deployment\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n";
        let parsed = parse(Path::new("x.yaml"), text);
        assert!(parsed.problems.is_empty(), "{:?}", parsed.problems);
        assert!(matches!(&parsed.documents[..], [Document::Secret(_), Document::ConfigMap(_)]));
    }

    #[test]
    fn a_problem_names_file_line_and_field() {
        let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ok}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: [1]\n";
        let parsed = parse(Path::new("x.yaml"), text);
        assert_eq!(parsed.documents.len(), 1);
        assert!(
            parsed.problems[0].to_string().starts_with("x.yaml:8: metadata.name: invalid type"),
            "{}",
            parsed.problems[0]
        );
    }

    #[test]
    fn broken_syntax_has_its_line() {
        let parsed = parse(Path::new("x.yaml"), "apiVersion: v1\nkind: [\n");
        assert!(parsed.problems[0].line.is_some(), "{:?}", parsed.problems);
    }
}
