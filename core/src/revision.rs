//! A revision: the immutable part of one Plugin, and its identity. Pure.

use crate::{manifest::Manifest, permission::Permissions};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, fmt};

/// Hex digits of an identity.
const DIGITS: usize = 10;
/// A name that leaves room for the rest of an identity in a resource's name of at most 253 characters.
const LONGEST_NAME: usize = 253 - DIGITS - 1;

/// The identity of a revision: `<plugin>-<hash>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RevisionId(pub String);

impl fmt::Display for RevisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The identity of a body. It is taken from what the body means, not from how it was written: the order of keys and
/// fields at their defaults do not count. So compare a stored revision by the `id` of its decoded body, with today's
/// code, and never by the name it was stored under.
#[must_use]
pub fn id(plugin: &str, body: &Body) -> RevisionId {
    let name = plugin.char_indices().nth(LONGEST_NAME).map_or(plugin, |(end, _)| plugin.get(..end).unwrap_or(plugin));
    RevisionId(format!("{name}-{}", digest(canonical(body).as_bytes())))
}

/// The SHA-256 of some bytes, as many hex digits as an identity has.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    let hash = hex::encode(Sha256::digest(bytes));
    hash.get(..DIGITS).unwrap_or(&hash).to_owned()
}

/// JSON without spaces, keys sorted, fields at their defaults left out.
fn canonical(body: &Body) -> String {
    let mut text = String::new();
    write(&serde_json::to_value(body).unwrap_or_default(), &mut text);
    text
}

fn write(value: &Value, text: &mut String) {
    match value {
        Value::Object(fields) => {
            let sorted = fields.iter().collect::<BTreeMap<_, _>>();
            let field = |(key, value): (&String, &Value), text: &mut String| {
                text.push_str(&Value::from(key.as_str()).to_string());
                text.push(':');
                write(value, text);
            };
            list('{', '}', sorted.into_iter(), field, text);
        }
        Value::Array(items) => list('[', ']', items.iter(), write, text),
        scalar => text.push_str(&scalar.to_string()),
    }
}

fn list<T>(open: char, close: char, items: impl Iterator<Item = T>, each: impl Fn(T, &mut String), text: &mut String) {
    text.push(open);
    for (index, item) in items.enumerate() {
        if index > 0 {
            text.push(',');
        }
        each(item, text);
    }
    text.push(close);
}

/// What a sidecar needs to run one version of a plugin; another body is another process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Body {
    pub manifest: Manifest,
    pub source: Source,
    /// What the Plugin grants, before live spec and ceiling take away.
    #[serde(default, skip_serializing_if = "Permissions::is_empty")]
    pub permissions: Permissions,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Resources::is_default")]
    pub resources: Resources,
}

/// Where the plugin's files come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// An OCI artifact or image; `digest` is `sha256:…`.
    Oci { image: String, digest: String },
    /// A tar.gz, or a single file, over HTTP; `sha256` is 64 hex digits.
    Http { url: String, sha256: String },
    /// A directory or binary that the sidecar can read; copied when loaded.
    Path { path: String },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Resources {
    /// Bytes of resident memory.
    pub memory: u64,
}

impl Default for Resources {
    fn default() -> Self {
        Self { memory: 100 << 20 }
    }
}

impl Resources {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests;
