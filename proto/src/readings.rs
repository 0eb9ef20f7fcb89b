//! What routers may make of a path. They decode it or not, once or twice, resolve dot segments before or after that or
//! never, take `\` for `/`, cut `;parameters`, and ignore case. A guard must see a request if any router could take it for
//! one of the guard's, so that patterns of guards are matched on all readings. Pure.

use crate::path::covers;
use percent_encoding::percent_decode_str;
use std::collections::BTreeSet;

/// Decoding more often yields nothing that a router would do.
const MAX_DECODED: u8 = 2;
/// Beyond these bounds nobody looks closely: every pattern matches.
const MAX_READINGS: usize = 256;
const MAX_PATH: usize = 2048;

/// All readings of one path, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readings(Option<BTreeSet<String>>);

impl Readings {
    /// Reads a path as it came, without its query.
    #[must_use]
    pub fn of(path: &str) -> Self {
        if is_plain(path) {
            return Self(Some(BTreeSet::from([path.to_lowercase()])));
        }
        if path.len() > MAX_PATH {
            return Self(None);
        }
        let mut found = BTreeSet::from([(path.to_owned(), 0)]);
        let mut open = vec![(path.to_owned(), 0)];
        while let Some((text, decoded)) = open.pop() {
            for reading in steps(&text, decoded) {
                if found.len() > MAX_READINGS {
                    return Self(None);
                }
                if found.insert(reading.clone()) {
                    open.push(reading);
                }
            }
        }
        Self(Some(found.into_iter().map(|(text, _)| text.to_lowercase()).collect()))
    }

    /// Whether a guard's pattern covers any reading.
    #[must_use]
    pub fn are_covered(&self, pattern: &str) -> bool {
        let Some(readings) = &self.0 else { return true };
        let pattern = pattern.to_lowercase();
        readings.iter().any(|reading| {
            let without_slash = reading.strip_suffix('/').unwrap_or(reading);
            covers(&pattern, reading) || covers(pattern.strip_suffix('/').unwrap_or(&pattern), without_slash)
        })
    }
}

/// Nothing in it can be read in two ways.
fn is_plain(path: &str) -> bool {
    path.starts_with('/')
        && !path.contains(['%', '\\', ';', '?', '#', '\0'])
        && !path.contains("//")
        && !path.contains("/.")
}

/// What one more step of a router makes of a text.
fn steps(text: &str, decoded: u8) -> Vec<(String, u8)> {
    let mut next = Vec::new();
    if decoded < MAX_DECODED && text.contains('%') {
        next.push((percent_decode_str(text).decode_utf8_lossy().into_owned(), decoded + 1));
    }
    if text.contains('\\') {
        next.push((text.replace('\\', "/"), decoded));
    }
    if text.contains(';') {
        let cut: Vec<_> = text.split('/').map(|segment| segment.split(';').next().unwrap_or_default()).collect();
        next.push((cut.join("/"), decoded));
    }
    if let Some((before, _)) = text.split_once(['?', '#', '\0']) {
        next.push((before.to_owned(), decoded));
    }
    if text.contains("//") || !text.starts_with('/') {
        let kept: Vec<_> = text.split('/').filter(|segment| !segment.is_empty()).collect();
        let end = if text.ends_with('/') && !kept.is_empty() { "/" } else { "" };
        next.push((format!("/{}{end}", kept.join("/")), decoded));
    }
    if has_dots(text) {
        next.push((resolved(text), decoded));
    }
    next
}

fn has_dots(text: &str) -> bool {
    text.split('/').any(|segment| segment == "." || segment == "..")
}

/// Without dot segments; empty ones are kept, as some routers keep them.
fn resolved(text: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in text.split('/') {
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            _ => kept.push(segment),
        }
    }
    let path = kept.join("/");
    let ends = text.ends_with("/.") || text.ends_with("/..");
    let start = if path.starts_with('/') { "" } else { "/" };
    format!("{start}{path}{}", if ends && !path.ends_with('/') { "/" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_sees_every_spelling() {
        let inside = [
            "/hello/x",
            "/hello",
            "/hello/",
            "/HELLO/x",
            "/%68ello/x",
            "/%2568ello/x",
            "//hello/x",
            "/x/../hello/y",
            "/hello/..%2fadmin",
            "/hello/%2e%2e",
            "/hello/..%2F..%2Fetc%2Fpasswd",
            "/hello/../admin",
            "/hello;a=b/x",
            "/hello%3bx/y",
            "/x%2f..%2fhello/y",
            "\\hello\\x",
            "/%5chello/x",
            "/x/..;/hello/y",
            "/hello%3fx",
            "/./hello/x",
            "/hello%2fx",
            "/hello%252fx",
            "/x/%252e%252e/hello/y",
            "/hello/a%2f..%2f..%2fb",
            "/y/../hello%2f..%2fz",
            "hello/x",
            "/hello\0x",
        ];
        for path in inside {
            assert!(Readings::of(path).are_covered("/hello/*"), "{path}");
        }
        for path in ["/", "/hell", "/hellox", "/x/hello", "/public", "/hell%6fx", "/x/../y"] {
            assert!(!Readings::of(path).are_covered("/hello/*"), "{path}");
        }
        assert!(Readings::of("/Hello/").are_covered("/hello") && Readings::of("/hello").are_covered("/Hello/"));
        assert!(!Readings::of("/hello/x").are_covered("/hello"));
    }

    #[test]
    fn what_has_too_many_readings_is_everybodys() {
        let path = format!("/{}", "%2e%2e%3b%5c".repeat(400));
        assert!(Readings::of(&path).are_covered("/hello/*"));
        assert!(!Readings::of(&format!("/{}", "x".repeat(5000))).are_covered("/hello/*"));
    }
}
