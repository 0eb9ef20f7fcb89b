//! A file's text → what is in it and what is wrong with it. Pure.

use super::{
    finding::{Finding, Severity},
    resource,
};
use rockstar_core::{
    document::{self, DocumentError, Format, Placed},
    manifest::{self, ManifestError},
    pluginsfile,
};
use serde::Serialize;
use serde_json::Value;

/// One document of a file.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Checked {
    /// Such as `Plugin shop/auth-plugin`.
    pub(crate) what: String,
    pub(crate) findings: Vec<Finding>,
}

impl Checked {
    fn failed(what: &str, finding: Finding) -> Self {
        Self { what: what.to_owned(), findings: vec![finding] }
    }

    pub(crate) fn is_valid(&self) -> bool {
        !self.findings.iter().any(Finding::is_error)
    }
}

/// Tells what each document is, and checks it as that.
pub(crate) fn check(text: &str, format: Format) -> Vec<Checked> {
    let documents = match document::parse_all(text, format) {
        Ok(documents) => documents,
        Err(error) => return vec![unreadable(&error)],
    };
    match documents.as_slice() {
        [] => vec![Checked::failed("file", Finding::error("", "it is empty"))],
        [one] if !is_resource(&one.value) => vec![check_file(&one.value, text, format)],
        all => all.iter().map(check_one_of_many).collect(),
    }
}

fn unreadable(error: &DocumentError) -> Checked {
    Checked::failed("file", Finding::from_text(Severity::Error, &error.to_string()))
}

fn is_resource(value: &Value) -> bool {
    value.get("apiVersion").is_some() || value.get("kind").is_some()
}

/// A manifest or a plugins file, which is the whole of its file.
fn check_file(value: &Value, text: &str, format: Format) -> Checked {
    if value.get("plugins").is_some() || format == Format::Toml {
        check_plugins_file(text, format)
    } else {
        check_manifest(text, format)
    }
}

fn check_plugins_file(text: &str, format: Format) -> Checked {
    match pluginsfile::parse(text, format) {
        Ok(parsed) => Checked {
            what: format!("plugins file, {} plugins", parsed.file.plugins.len()),
            findings: warnings(&parsed.warnings),
        },
        Err(error) => Checked::failed("plugins file", Finding::from_text(Severity::Error, &error.to_string())),
    }
}

fn check_manifest(text: &str, format: Format) -> Checked {
    match manifest::parse(text, format) {
        Ok(parsed) => Checked {
            what: format!("manifest {} v{}", parsed.manifest.name, parsed.manifest.version),
            findings: warnings(&parsed.warnings),
        },
        Err(error) => Checked::failed("manifest", manifest_error(&error)),
    }
}

/// The field is told apart from the message only where the message does not name it.
fn manifest_error(error: &ManifestError) -> Finding {
    let text = error.to_string();
    let finding = Finding::from_text(Severity::Error, &text);
    let field = if finding.message.contains(&error.field) { String::new() } else { error.field.clone() };
    Finding { field, ..finding }.at(error.place)
}

fn warnings(texts: &[String]) -> Vec<Finding> {
    texts.iter().map(|text| Finding::from_text(Severity::Warning, text)).collect()
}

fn check_one_of_many(document: &Placed) -> Checked {
    if is_resource(&document.value) {
        return resource::check(document);
    }
    let message = "expected a resource with apiVersion and kind; a manifest or plugins file is alone in its file";
    Checked::failed("document", Finding::error("", message).at(document.place("")))
}
