//! Version constraints: `= > >= < <= ^ ~ *` joined by commas; a bare version means exactly it. Pure.

use semver::{Comparator, Version, VersionReq};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A text that is no constraint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid version constraint: {0}")]
pub struct ConstraintError(pub String);

/// What versions are accepted; shown as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Constraint {
    text: String,
    requirement: VersionReq,
}

impl Constraint {
    /// Reads a constraint.
    pub fn parse(text: &str) -> Result<Self, ConstraintError> {
        let comparators = text.split(',').map(|part| comparator(part.trim())).collect::<Option<Vec<_>>>();
        let comparators = comparators.ok_or_else(|| ConstraintError(text.to_owned()))?.into_iter().flatten().collect();
        Ok(Self { text: text.to_owned(), requirement: VersionReq { comparators } })
    }

    /// Whether a version is accepted; a pre-release only if the constraint names one of the same X.Y.Z.
    #[must_use]
    pub fn matches(&self, version: &Version) -> bool {
        self.requirement.matches(version)
    }

    /// The text as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// `Some(None)` is `*`, which accepts all.
fn comparator(part: &str) -> Option<Option<Comparator>> {
    if part == "*" {
        return Some(None);
    }
    let numbers = part.split(['-', '+']).next().unwrap_or(part);
    // The crate also takes letters for a wildcard.
    if numbers.contains(char::is_alphabetic) {
        return None;
    }
    let bare = numbers.starts_with(|c: char| c.is_ascii_digit()) && !numbers.contains('*');
    let written = if bare { format!("={part}") } else { part.to_owned() };
    Comparator::parse(&written).ok().map(Some)
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Constraint {
    type Err = ConstraintError;

    fn from_str(text: &str) -> Result<Self, ConstraintError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Constraint {
    type Error = ConstraintError;

    fn try_from(text: String) -> Result<Self, ConstraintError> {
        Self::parse(&text)
    }
}

impl From<Constraint> for String {
    fn from(constraint: Constraint) -> Self {
        constraint.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn accepts(constraint: &str, version: &str) -> bool {
        Constraint::parse(constraint).unwrap().matches(&Version::parse(version).unwrap())
    }

    #[test]
    fn grammar() {
        let table: [(&str, &[&str], &[&str]); 16] = [
            (">=1.5.0,<3.0.0", &["1.5.0", "2.9.9"], &["1.4.9", "3.0.0"]),
            (">= 1.5.0 , < 3.0.0", &["1.5.0", "2.9.9"], &["1.4.9", "3.0.0"]),
            ("1.2.3", &["1.2.3"], &["1.2.4", "1.3.0", "1.2.3-rc.1"]),
            ("=1.2.3", &["1.2.3"], &["1.2.4"]),
            ("^1.2.3", &["1.2.3", "1.9.0"], &["1.2.2", "2.0.0"]),
            ("^0.2.3", &["0.2.9"], &["0.3.0"]),
            ("~1.2.3", &["1.2.9"], &["1.3.0"]),
            (">1.0.0", &["1.0.1"], &["1.0.0"]),
            ("<=1.0.0", &["1.0.0", "0.9.9"], &["1.0.1"]),
            ("*", &["0.0.1", "9.9.9"], &["1.0.0-rc.1"]),
            ("1.*", &["1.0.0", "1.9.9"], &["2.0.0"]),
            ("1.2.*", &["1.2.9"], &["1.3.0"]),
            (">=1.0", &["1.0.0", "1.0.10"], &["0.9.9"]),
            ("*,>=2.0.0", &["2.0.0"], &["1.0.0"]),
            (">=2.0.0-rc.1", &["2.0.0-rc.1", "2.0.0-rc.2", "2.0.0", "3.0.0"], &["2.0.0-beta", "3.0.0-rc.1"]),
            (">=1.0.0", &["1.0.0+build.5"], &["2.0.0-rc.1"]),
        ];
        for (constraint, yes, no) in table {
            for version in yes {
                assert!(accepts(constraint, version), "{constraint} should accept {version}");
            }
            for version in no {
                assert!(!accepts(constraint, version), "{constraint} should not accept {version}");
            }
        }
    }

    #[test]
    fn refuses_what_is_no_constraint() {
        for text in [
            "",
            " ",
            ">=abc",
            "=>1.0",
            "1.0.0 ||",
            "1.0.0 || 2.0.0",
            ">=1.0.0,",
            ",",
            ">=1.0.0 <2.0.0",
            "v1.0.0",
            "==1.0.0",
            "1.x",
            ">=",
            ">=*",
            "01.2.3",
            "latest",
        ] {
            assert_eq!(Constraint::parse(text), Err(ConstraintError(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn is_shown_as_written() {
        let text = ">= 1.5.0 , <3.0.0";
        assert_eq!(Constraint::parse(text).unwrap().to_string(), text);
        assert_eq!(serde_json::to_value(Constraint::parse(text).unwrap()).unwrap(), text);
    }

    proptest! {
        #[test]
        fn a_bare_version_is_exact(a in 0..4_u64, b in 0..4_u64, c in 0..4_u64, x in 0..4_u64, y in 0..4_u64, z in 0..4_u64) {
            let same = (a, b, c) == (x, y, z);
            prop_assert_eq!(accepts(&format!("{a}.{b}.{c}"), &format!("{x}.{y}.{z}")), same);
        }

        #[test]
        fn never_panics(text in "[=<>^~*,. 0-9a-z-]{0,30}") {
            let _ = Constraint::parse(&text);
        }
    }
}
