//! The framework's configuration as plugins read it, by dotted paths: values that the operator sent, or a file, read
//! again when it changed. Does I/O.

use parking_lot::Mutex;
use rockstar_core::document::{self, Format};
use serde_json::{Map, Value};
use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    #[error("configuration key not found: '{0}'")]
    NotFound(String),
    #[error("failed to read {}: {cause}", path.display())]
    Read { path: PathBuf, cause: io::Error },
    #[error("{}: {cause}", path.display())]
    Parse { path: PathBuf, cause: String },
}

/// See the module.
#[derive(Debug)]
pub enum Configuration {
    Values(Map<String, Value>),
    File(File),
}

impl Default for Configuration {
    fn default() -> Self {
        Self::Values(Map::new())
    }
}

impl Configuration {
    /// A file without those of its sections that are not the framework's.
    #[must_use]
    pub fn file(path: &Path, hidden: &'static [&'static str]) -> Self {
        Self::File(File { path: path.to_owned(), hidden, read: Mutex::default() })
    }

    /// The value at `database.host` or `servers.0.name`.
    pub fn get(&self, key: &str) -> Result<Value, ConfigurationError> {
        match self {
            Self::Values(values) => found(values, key),
            Self::File(file) => file.get(key),
        }
    }
}

/// Read when it is asked for, and not again before it changes.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    hidden: &'static [&'static str],
    read: Mutex<Option<(Stamp, Map<String, Value>)>>,
}

/// Differs when the file does.
type Stamp = (u64, u64, Option<SystemTime>);

impl File {
    fn get(&self, key: &str) -> Result<Value, ConfigurationError> {
        let mut read = self.read.lock();
        let stamp = self.stamp()?;
        if let Some((_, values)) = read.as_ref().filter(|(seen, _)| *seen == stamp) {
            return found(values, key);
        }
        let (_, values) = read.insert((stamp, self.values()?));
        found(values, key)
    }

    fn stamp(&self) -> Result<Stamp, ConfigurationError> {
        let metadata = fs::metadata(&self.path).map_err(|cause| self.unreadable(cause))?;
        Ok((metadata.ino(), metadata.len(), metadata.modified().ok()))
    }

    fn values(&self) -> Result<Map<String, Value>, ConfigurationError> {
        let malformed = |cause: String| ConfigurationError::Parse { path: self.path.clone(), cause };
        let text = fs::read_to_string(&self.path).map_err(|cause| self.unreadable(cause))?;
        let extension = self.path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        let format = Format::from_extension(extension);
        let format = format.ok_or_else(|| malformed("the name must end in .yaml, .yml, .json or .toml".to_owned()))?;
        let documents = document::parse_all(&text, format).map_err(|e| malformed(e.to_string()))?;
        let Some(document) = documents.into_iter().next() else { return Ok(Map::new()) };
        let Value::Object(mut values) = document.value else {
            return Err(malformed("the configuration must be a mapping".to_owned()));
        };
        values.retain(|section, _| !self.hidden.contains(&section.as_str()));
        Ok(values)
    }

    fn unreadable(&self, cause: io::Error) -> ConfigurationError {
        ConfigurationError::Read { path: self.path.clone(), cause }
    }
}

fn found(values: &Map<String, Value>, key: &str) -> Result<Value, ConfigurationError> {
    let mut parts = key.split('.');
    let first = parts.next().and_then(|part| values.get(part));
    let value = parts.fold(first, |value, part| match value? {
        Value::Object(fields) => fields.get(part),
        Value::Array(items) => items.get(part.parse::<usize>().ok()?),
        _ => None,
    });
    value.cloned().ok_or_else(|| ConfigurationError::NotFound(key.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_dotted_path_leads_through_mappings_and_lists() {
        let values = json!({"database": {"host": "db", "replicas": [{"host": "r0"}]}});
        let configuration = Configuration::Values(values.as_object().unwrap().clone());
        assert_eq!(configuration.get("database.host").unwrap(), "db");
        assert_eq!(configuration.get("database.replicas.0.host").unwrap(), "r0");
        for absent in ["", "data", "database.port", "database.host.x", "database.replicas.1", "database."] {
            let error = configuration.get(absent).unwrap_err().to_string();
            assert_eq!(error, format!("configuration key not found: '{absent}'"));
        }
    }

    #[test]
    fn a_file_is_read_again_when_it_changed_and_hides_what_is_not_the_frameworks() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.yaml");
        fs::write(&path, "a: {b: 1}\nplugins: {secret: x}\n").unwrap();
        let configuration = Configuration::file(&path, &["plugins"]);
        assert_eq!(configuration.get("a.b").unwrap(), 1);
        assert!(configuration.get("plugins.secret").is_err());
        fs::write(directory.path().join("new"), "a: {b: two}\n").unwrap();
        fs::rename(directory.path().join("new"), &path).unwrap();
        assert_eq!(configuration.get("a.b").unwrap(), "two");
    }
}
