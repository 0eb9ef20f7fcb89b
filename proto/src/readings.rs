//! What routers may make of a path. They decode it or not, once or twice, as a whole or each segment, resolve dot segments
//! before or after that or never, take `\` for `/`, trim, cut `;parameters` and the origin of an absolute target, and ignore case. A
//! guard must see a request if any router could take it for one of the guard's, so that patterns of guards are matched on
//! all readings. Pure.

use crate::path::covers;
use percent_encoding::percent_decode_str;
use std::collections::BTreeSet;

/// Decoding more often yields nothing that a router would do.
const MAX_DECODED: u8 = 2;
/// Beyond these bounds nobody looks closely: every pattern matches.
const MAX_READINGS: usize = 256;
const MAX_PATH: usize = 2048;

/// All readings of one path, without case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readings(Option<BTreeSet<String>>);

impl Readings {
    /// Reads a path as it came, without its query.
    #[must_use]
    pub fn of(path: &str) -> Self {
        if is_plain(path) {
            return Self(Some(BTreeSet::from([without_case(path)])));
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
        Self(Some(found.into_iter().map(|(text, _)| without_case(&text)).collect()))
    }

    /// Whether a guard's pattern covers any reading.
    #[must_use]
    pub fn are_covered(&self, pattern: &str) -> bool {
        let Some(readings) = &self.0 else { return true };
        let pattern = without_case(pattern);
        readings.iter().any(|reading| {
            let without_slash = reading.strip_suffix('/').unwrap_or(reading);
            covers(&pattern, reading) || covers(pattern.strip_suffix('/').unwrap_or(&pattern), without_slash)
        })
    }
}

/// Letters that routers take for the same are the same: some compare in upper case, some in lower case.
fn without_case(text: &str) -> String {
    match text.is_ascii() {
        true => text.to_ascii_lowercase(),
        false => text.to_uppercase().to_lowercase(),
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
        next.push((decoded_by_segments(text), decoded + 1));
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
    if let Some((_, rest)) = text.split_once(':').filter(|(scheme, _)| is_scheme(scheme)) {
        let path = rest.strip_prefix("//").map_or(rest, after_authority);
        next.push((path.to_owned(), decoded));
    }
    let trimmed = text.trim_matches(|c: char| c <= ' ');
    if trimmed.len() < text.len() {
        next.push((trimmed.to_owned(), decoded));
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

/// A slash that was escaped stays so: it parts no segments.
fn decoded_by_segments(text: &str) -> String {
    let kept = text.replace("%2f", "%252F").replace("%2F", "%252F");
    percent_decode_str(&kept).decode_utf8_lossy().into_owned()
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || ['+', '-', '.'].contains(&c))
}

/// The path of `host:port/path`.
fn after_authority(text: &str) -> &str {
    text.find(['/', '\\', '?', '#']).map_or("/", |at| &text[at..])
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
            "http://host/hello/x",
            "HTTP://user:word@host:80/x/../hello/y",
            "x:hello/y",
            "/a%2fb/%2e%2e/hello/x",
            "/a%2fb/..%3bc/%2568ello/x",
            "\0/hello/x",
            "\u{b}\u{1}/hello/x ",
        ];
        for path in inside {
            assert!(Readings::of(path).are_covered("/hello/*"), "{path}");
        }
        for path in ["/", "/hell", "http://hello/x", "/x:/y", "/hellox", "/x/hello", "/public", "/hell%6fx", "/x/../y"]
        {
            assert!(!Readings::of(path).are_covered("/hello/*"), "{path}");
        }
        assert!(Readings::of("/Hello/").are_covered("/hello") && Readings::of("/hello").are_covered("/Hello/"));
        assert!(!Readings::of("/hello/x").are_covered("/hello"));
        for (path, pattern) in [("/gr%C3%BC%C3%9Fe/x", "/grüße/*"), ("/GRÜSSE/x", "/grüße/*"), ("/\u{b5}", "/\u{3bc}")]
        {
            assert!(Readings::of(path).are_covered(pattern), "{path}");
        }
    }

    #[test]
    fn what_has_too_many_readings_is_everybodys() {
        let path = format!("/{}", "%2e%2e%3b%5c".repeat(400));
        assert!(Readings::of(&path).are_covered("/hello/*"));
        assert!(!Readings::of(&format!("/{}", "x".repeat(5000))).are_covered("/hello/*"));
    }
}
