//! A plugin's configuration against the schema of its manifest: defaults in, types checked. Pure.

use crate::{
    duration, hint,
    manifest::{ConfigKey, ConfigType},
};
use indexmap::IndexMap;
use serde_json::{Map, Value};
use std::fmt;

/// A configuration that the schema refuses. Values are never shown: they may be secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("Configuration key missing and no default value provided: {key}")]
    Missing { key: String },
    #[error("invalid configuration value: '{key}' must be of type {wanted}, found {found}")]
    WrongType { key: String, wanted: ConfigType, found: Found },
    #[error("invalid config schema: default of '{key}' must be of type {wanted}, found {found}")]
    WrongDefault { key: String, wanted: ConfigType, found: Found },
}

/// What a plugin gets, with what its operator should look at.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Applied {
    pub values: Map<String, Value>,
    pub warnings: Vec<String>,
}

/// What stands where another type was wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Null,
    Boolean,
    Integer,
    Float,
    String,
    Array,
    Object,
    /// A string where a duration was wanted.
    NoDuration,
}

/// Puts defaults in and checks types. A key given as null counts as left out; keys that the schema lacks are kept.
pub fn apply(schema: &IndexMap<String, ConfigKey>, given: &Map<String, Value>) -> Result<Applied, ConfigError> {
    let mut values = given.clone();
    for (key, rule) in schema {
        match given.get(key).filter(|value| !value.is_null()) {
            Some(value) => check_value(key, rule, value)?,
            None => fill(&mut values, key, rule)?,
        }
    }
    let unknown = given.keys().filter(|key| !schema.contains_key(*key));
    let warnings = unknown.map(|key| hint::unknown("configuration key", key, schema.keys().map(String::as_str)));
    Ok(Applied { warnings: warnings.collect(), values })
}

/// Checks that each default is of its key's own type.
pub fn check_defaults(schema: &IndexMap<String, ConfigKey>) -> Result<(), ConfigError> {
    schema.iter().try_for_each(|(key, rule)| check_default(key, rule))
}

fn fill(values: &mut Map<String, Value>, key: &str, rule: &ConfigKey) -> Result<(), ConfigError> {
    check_default(key, rule)?;
    values.remove(key);
    match &rule.default {
        Some(default) => drop(values.insert(key.to_owned(), default.clone())),
        None if rule.required => return Err(ConfigError::Missing { key: key.to_owned() }),
        None => {}
    }
    Ok(())
}

fn check_value(key: &str, rule: &ConfigKey, value: &Value) -> Result<(), ConfigError> {
    let wrong = |found| ConfigError::WrongType { key: key.to_owned(), wanted: rule.kind, found };
    mismatch(rule.kind, value).map_or(Ok(()), |found| Err(wrong(found)))
}

fn check_default(key: &str, rule: &ConfigKey) -> Result<(), ConfigError> {
    let wrong = |found| ConfigError::WrongDefault { key: key.to_owned(), wanted: rule.kind, found };
    let found = rule.default.as_ref().and_then(|value| mismatch(rule.kind, value));
    found.map_or(Ok(()), |found| Err(wrong(found)))
}

/// What was found, where it is not of the type.
fn mismatch(kind: ConfigType, value: &Value) -> Option<Found> {
    let found = Found::of(value);
    let fits = match kind {
        ConfigType::String => found == Found::String,
        ConfigType::Integer => found == Found::Integer,
        ConfigType::Float => matches!(found, Found::Integer | Found::Float),
        ConfigType::Boolean => found == Found::Boolean,
        ConfigType::Array => found == Found::Array,
        ConfigType::Object => found == Found::Object,
        ConfigType::Duration => return no_duration(value, found),
    };
    (!fits).then_some(found)
}

fn no_duration(value: &Value, found: Found) -> Option<Found> {
    match value.as_str().map(duration::parse) {
        Some(Ok(_)) => None,
        Some(Err(_)) => Some(Found::NoDuration),
        None => Some(found),
    }
}

impl Found {
    fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(_) => Self::Boolean,
            Value::Number(number) if number.is_f64() => Self::Float,
            Value::Number(_) => Self::Integer,
            Value::String(_) => Self::String,
            Value::Array(_) => Self::Array,
            Value::Object(_) => Self::Object,
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Float => "float",
            Self::String => "string",
            Self::Array => "array",
            Self::Object => "object",
            Self::NoDuration => "a string that is no duration (write it like 30s or 1h30m)",
        })
    }
}

#[cfg(test)]
mod tests;
