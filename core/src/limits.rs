//! Bounds what one plugin may take of its sidecar: a table of limits, each with its default and its range. Pure.

use crate::{duration, hint, quantity};
use serde::Serialize;
use serde_json::{Map, Value};
use std::{collections::BTreeMap, time::Duration};

/// One bound. Its name is the field that sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limit {
    Registrations,
    RegistrationBytes,
    EventBytes,
    QueuedEventBytes,
    Cache,
    TotalCache,
    Storage,
    Database,
    Data,
    Tmp,
    Artifact,
    Threads,
    Descriptors,
    LogLines,
    LogBytes,
    Transaction,
}

/// Tells what a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Count,
    Bytes,
    Milliseconds,
}

struct Row {
    limit: Limit,
    name: &'static str,
    unit: Unit,
    default: u64,
    least: u64,
    most: u64,
}

const fn row(limit: Limit, name: &'static str, unit: Unit, default: u64, (least, most): (u64, u64)) -> Row {
    Row { limit, name, unit, default, least, most }
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Lists each limit with its default and range. The most is what the sidecar, or a message, can hold.
const ROWS: [Row; 16] = [
    row(Limit::Registrations, "registrations", Unit::Count, 1024, (1, 8192)),
    row(Limit::RegistrationBytes, "registrationBytes", Unit::Bytes, 256 * KIB, (KIB, MIB)),
    row(Limit::EventBytes, "eventBytes", Unit::Bytes, 250 * KIB, (KIB, 250 * KIB)),
    row(Limit::QueuedEventBytes, "queuedEventBytes", Unit::Bytes, 16 * MIB, (MIB, GIB)),
    row(Limit::Cache, "cache", Unit::Bytes, 8 * MIB, (64 * KIB, GIB)),
    row(Limit::TotalCache, "totalCache", Unit::Bytes, 24 * MIB, (64 * KIB, GIB)),
    row(Limit::Storage, "storage", Unit::Bytes, 64 * MIB, (64 * KIB, 64 * GIB)),
    row(Limit::Database, "database", Unit::Bytes, 256 * MIB, (MIB, 1024 * GIB)),
    row(Limit::Data, "data", Unit::Bytes, 256 * MIB, (MIB, 1024 * GIB)),
    row(Limit::Tmp, "tmp", Unit::Bytes, 64 * MIB, (MIB, 1024 * GIB)),
    row(Limit::Artifact, "artifact", Unit::Bytes, 512 * MIB, (MIB, 16 * GIB)),
    row(Limit::Threads, "threads", Unit::Count, 256, (8, 32_768)),
    row(Limit::Descriptors, "descriptors", Unit::Count, 1024, (64, 1 << 20)),
    row(Limit::LogLines, "logLines", Unit::Count, 1000, (10, 100_000)),
    row(Limit::LogBytes, "logBytes", Unit::Bytes, MIB, (16 * KIB, 64 * MIB)),
    row(Limit::Transaction, "transaction", Unit::Milliseconds, 30_000, (1000, 600_000)),
];

/// A value that a limit cannot have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    #[error("limits.{name} is '{given}'; expected {wanted} from {least} to {most}")]
    Range { name: String, given: String, wanted: &'static str, least: String, most: String },
    #[error("limits.cache is {cache}, more than limits.totalCache, which is {total}")]
    Cache { cache: String, total: String },
    #[error("limits.{name} is unknown{}; there are {}", meant(.name), names())]
    Unknown { name: String },
    #[error("limits.{name} is given twice, as {other} too")]
    Twice { name: String, other: String },
}

impl Limit {
    pub const ALL: [Self; ROWS.len()] = {
        let mut all = [Self::Registrations; ROWS.len()];
        let mut place = 0;
        while place < ROWS.len() {
            all[place] = ROWS[place].limit;
            place += 1;
        }
        all
    };

    const fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }

    /// As resources spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// As the plugins file spells it.
    #[must_use]
    pub fn file_name(self) -> String {
        let mut name = String::new();
        for letter in self.name().chars() {
            if letter.is_ascii_uppercase() {
                name.push('_');
            }
            name.push(letter.to_ascii_lowercase());
        }
        name
    }

    #[must_use]
    pub const fn default_value(self) -> u64 {
        self.row().default
    }

    /// Finds the limit of that name; a plugins file may spell it as resources do.
    pub fn of_file(name: &str) -> Result<Self, LimitError> {
        let found = Self::ALL.into_iter().find(|limit| limit.name() == name || limit.file_name() == name);
        found.ok_or_else(|| LimitError::Unknown { name: name.to_owned() })
    }

    #[must_use]
    pub const fn unit(self) -> Unit {
        self.row().unit
    }

    /// The least and the most that it may be set to.
    #[must_use]
    pub const fn range(self) -> (u64, u64) {
        (self.row().least, self.row().most)
    }

    /// Reads a value: a number, an amount like 64Mi, or a duration like 30s. `name` is how the field was spelled.
    pub fn read(self, name: &str, given: &Value) -> Result<u64, LimitError> {
        let row = self.row();
        let number = match (given, row.unit) {
            (Value::Number(number), Unit::Count | Unit::Bytes) => number.as_u64(),
            (Value::String(text), Unit::Count) => text.parse().ok(),
            (Value::String(text), Unit::Bytes) => quantity::parse(text),
            (Value::String(text), Unit::Milliseconds) => duration::parse(text).ok().map(milliseconds),
            _ => None,
        };
        number.filter(|number| (row.least..=row.most).contains(number)).ok_or_else(|| LimitError::Range {
            name: name.to_owned(),
            given: given.as_str().map_or_else(|| given.to_string(), str::to_owned),
            wanted: match row.unit {
                Unit::Count => "an integer",
                Unit::Bytes => "an amount of bytes",
                Unit::Milliseconds => "a duration",
            },
            least: self.format(row.least),
            most: self.format(row.most),
        })
    }

    /// A value as one would write it.
    #[must_use]
    pub fn format(self, value: u64) -> String {
        match self.row().unit {
            Unit::Count => value.to_string(),
            Unit::Bytes => quantity::format(value),
            Unit::Milliseconds => duration::format(Duration::from_millis(value)),
        }
    }
}

fn names() -> String {
    ROWS.iter().map(|row| row.name).collect::<Vec<_>>().join(", ")
}

fn meant(name: &str) -> String {
    let likely = hint::nearest(name, ROWS.iter().map(|row| row.name));
    likely.map(|likely| format!(" (did you mean {likely}?)")).unwrap_or_default()
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The bounds in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "BTreeMap<String, u64>")]
pub struct Limits([u64; ROWS.len()]);

impl Default for Limits {
    fn default() -> Self {
        Self(Limit::ALL.map(Limit::default_value))
    }
}

impl Limits {
    /// Reads what a resource sets; what it leaves out keeps its default.
    pub fn read(given: &Map<String, Value>) -> Result<Self, LimitError> {
        let mut limits = Self::default();
        for (name, value) in given {
            let limit = Limit::ALL.into_iter().find(|limit| limit.name() == name);
            let limit = limit.ok_or_else(|| LimitError::Unknown { name: name.clone() })?;
            limits.set(limit, limit.read(name, value)?);
        }
        limits.check()
    }

    /// Reads what an operator of any version says: a limit that is not known here is left out, one out of range is kept in
    /// it, and one that cannot be read has its default. No limit depends on how another one reads.
    #[must_use]
    pub fn told(json: &[u8]) -> Self {
        let told: Map<String, Value> = serde_json::from_slice(json).unwrap_or_default();
        let mut limits = Self::default();
        for limit in Limit::ALL {
            let (least, most) = limit.range();
            if let Some(value) = told.get(limit.name()).and_then(Value::as_u64) {
                limits.set(limit, value.clamp(least, most));
            }
        }
        limits
    }

    /// Refuses what does not fit together.
    pub fn check(self) -> Result<Self, LimitError> {
        let (cache, total) = (self.get(Limit::Cache), self.get(Limit::TotalCache));
        match cache > total {
            true => Err(LimitError::Cache { cache: quantity::format(cache), total: quantity::format(total) }),
            false => Ok(self),
        }
    }

    pub fn set(&mut self, limit: Limit, value: u64) {
        self.0[limit as usize] = value;
    }

    #[must_use]
    pub const fn get(&self, limit: Limit) -> u64 {
        self.0[limit as usize]
    }

    /// Gives the limit as a size in memory.
    #[must_use]
    pub fn size(&self, limit: Limit) -> usize {
        usize::try_from(self.get(limit)).unwrap_or(usize::MAX)
    }

    #[must_use]
    pub const fn duration(&self, limit: Limit) -> Duration {
        Duration::from_millis(self.get(limit))
    }

    /// A value as one would write it.
    #[must_use]
    pub fn format(&self, limit: Limit) -> String {
        limit.format(self.get(limit))
    }
}

impl From<Limits> for BTreeMap<String, u64> {
    fn from(limits: Limits) -> Self {
        Limit::ALL.into_iter().map(|limit| (limit.name().to_owned(), limits.get(limit))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(given: Value) -> Result<Limits, String> {
        Limits::read(given.as_object().unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn rows_are_in_the_order_of_limits_and_defaults_are_in_range() {
        for (place, row) in ROWS.iter().enumerate() {
            assert_eq!(row.limit as usize, place);
            assert!((row.least..=row.most).contains(&row.default), "{}", row.name);
        }
        assert_eq!(Limit::QueuedEventBytes.file_name(), "queued_event_bytes");
        assert!(Limits::default().check().is_ok());
    }

    #[test]
    fn amounts_durations_and_numbers_are_read() {
        let limits = read(json!({"storage": "1Mi", "threads": 10, "transaction": "1m", "tmp": 2_000_000})).unwrap();
        let found = [Limit::Storage, Limit::Threads, Limit::Transaction, Limit::Tmp, Limit::Data];
        assert_eq!(found.map(|limit| limits.get(limit)), [1 << 20, 10, 60_000, 2_000_000, 256 << 20]);
        assert_eq!(Limits::told(&serde_json::to_vec(&limits).unwrap()), limits);
    }

    #[test]
    fn what_is_silly_is_refused_with_what_would_do() {
        let threads = "expected an integer from 8 to 32768";
        let storage = "expected an amount of bytes from 64Ki to 64Gi";
        for (given, text) in [
            (json!({"threads": 0}), format!("limits.threads is '0'; {threads}")),
            (json!({"threads": -1}), format!("limits.threads is '-1'; {threads}")),
            (json!({"threads": 1.5}), format!("limits.threads is '1.5'; {threads}")),
            (json!({"storage": "0"}), format!("limits.storage is '0'; {storage}")),
            (json!({"storage": "1Ti"}), format!("limits.storage is '1Ti'; {storage}")),
            (json!({"storage": "much"}), format!("limits.storage is 'much'; {storage}")),
            (json!({"storage": null}), format!("limits.storage is 'null'; {storage}")),
            (
                json!({"eventBytes": "1Mi"}),
                "limits.eventBytes is '1Mi'; expected an amount of bytes from 1Ki to 250Ki".to_owned(),
            ),
            (json!({"transaction": "0s"}), "limits.transaction is '0s'; expected a duration from 1s to 10m".to_owned()),
            (json!({"cache": "32Mi"}), "limits.cache is 32Mi, more than limits.totalCache, which is 24Mi".to_owned()),
        ] {
            assert_eq!(read(given).unwrap_err(), text);
        }
        let unknown = |given: Value| read(given).unwrap_err();
        let known = "; there are registrations, registrationBytes, ";
        assert!(
            unknown(json!({"treads": 1})).starts_with("limits.treads is unknown (did you mean threads?); there are")
        );
        assert!(unknown(json!({"zzz": 1})).starts_with(&format!("limits.zzz is unknown{known}")));
        assert!(unknown(json!({"log_lines": 30})).starts_with("limits.log_lines is unknown (did you mean logLines?)"));
    }

    #[test]
    fn what_another_version_says_is_kept_in_range() {
        let limits = Limits::told(br#"{"threads": 0, "unheard": 5, "storage": 1}"#);
        assert_eq!((limits.get(Limit::Threads), limits.get(Limit::Storage)), (8, 64 << 10));
        let limits =
            Limits::told(br#"{"threads": 20, "storage": "64Gi", "tmp": -1, "data": {"soft": 1}, "unheard": []}"#);
        let found = [Limit::Threads, Limit::Storage, Limit::Tmp, Limit::Data].map(|limit| limits.get(limit));
        assert_eq!(found, [20, 64 << 20, 64 << 20, 256 << 20]);
        assert_eq!(Limits::told(b"[]"), Limits::default());
        assert_eq!(Limits::told(b""), Limits::default());
    }
}
