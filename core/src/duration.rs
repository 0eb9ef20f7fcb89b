//! Durations as Go writes them: `100ms`, `30s`, `1h30m`. Pure.

use std::time::Duration;

const NANOS_PER_SECOND: u128 = 1_000_000_000;
/// Go's largest duration, a little over 292 years.
const LONGEST: u128 = i64::MAX as u128;
/// More digits than nanoseconds can tell apart.
const FRACTION_DIGITS: usize = 18;

/// A text that is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid duration '{0}': write it like 100ms, 30s, 5m or 1h30m")]
pub struct DurationError(pub String);

/// Reads a duration; negative ones are refused, as nothing here can wait for less than nothing.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    nanos(text).map(from_nanos).ok_or_else(|| DurationError(text.to_owned()))
}

/// Writes a duration so that `parse` and Go read it back, without parts that are zero: `5m` rather than `5m0s`.
#[must_use]
pub fn format(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => with_fraction(nanos, 1_000, "µs"),
        1_000_000..NANOS_PER_SECOND => with_fraction(nanos, 1_000_000, "ms"),
        _ => clock(nanos),
    }
}

fn clock(nanos: u128) -> String {
    let minute = 60 * NANOS_PER_SECOND;
    let (hours, minutes, rest) = (nanos / (60 * minute), nanos / minute % 60, nanos % minute);
    let mut text = String::new();
    if hours > 0 {
        text.push_str(&format!("{hours}h"));
    }
    if minutes > 0 {
        text.push_str(&format!("{minutes}m"));
    }
    if rest > 0 {
        text.push_str(&with_fraction(rest, NANOS_PER_SECOND, "s"));
    }
    text
}

fn with_fraction(nanos: u128, unit: u128, name: &str) -> String {
    let (whole, rest) = (nanos / unit, nanos % unit);
    if rest == 0 {
        return format!("{whole}{name}");
    }
    let digits = unit.ilog10() as usize;
    let fraction = format!("{rest:0digits$}");
    format!("{whole}.{}{name}", fraction.trim_end_matches('0'))
}

fn nanos(text: &str) -> Option<u128> {
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    if unsigned == "0" {
        return Some(0);
    }
    let mut rest = unsigned;
    let mut total = 0_u128;
    while !rest.is_empty() {
        let (part, tail) = part(rest)?;
        total = total.checked_add(part).filter(|sum| *sum <= LONGEST)?;
        rest = tail;
    }
    (!unsigned.is_empty()).then_some(total)
}

/// One number with its unit, and what follows.
fn part(text: &str) -> Option<(u128, &str)> {
    let is_number = |c: char| c.is_ascii_digit() || c == '.';
    let (number, rest) = text.split_at(text.find(|c| !is_number(c))?);
    let (name, rest) = rest.split_at(rest.find(is_number).unwrap_or(rest.len()));
    Some((scaled(number, unit(name)?)?, rest))
}

fn unit(name: &str) -> Option<u128> {
    Some(match name {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => NANOS_PER_SECOND,
        "m" => 60 * NANOS_PER_SECOND,
        "h" => 3_600 * NANOS_PER_SECOND,
        _ => return None,
    })
}

fn scaled(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let fraction = fraction.get(..FRACTION_DIGITS).unwrap_or(fraction);
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let whole = u128::from(digits(whole)?).checked_mul(unit)?;
    whole.checked_add(u128::from(digits(fraction)?) * unit / scale)
}

fn digits(text: &str) -> Option<u64> {
    if text.is_empty() { Some(0) } else { text.parse().ok() }
}

fn from_nanos(nanos: u128) -> Duration {
    let seconds = u64::try_from(nanos / NANOS_PER_SECOND).unwrap_or(u64::MAX);
    let rest = u32::try_from(nanos % NANOS_PER_SECOND).unwrap_or(0);
    Duration::new(seconds, rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_go_reads() {
        let table = [
            ("0", 0),
            ("0s", 0),
            ("24h", 86_400_000_000_000),
            ("30s", 30_000_000_000),
            ("5m", 300_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("100ms", 100_000_000),
            ("1.5s", 1_500_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("+2s", 2_000_000_000),
            ("7ns", 7),
            ("7us", 7_000),
            ("7µs", 7_000),
            ("0.25h", 900_000_000_000),
            ("1h0m0.000000001s", 3_600_000_000_001),
            ("0.3333333333333333333333h", 1_199_999_999_999),
        ];
        for (text, nanos) in table {
            assert_eq!(parse(text).map(|d| d.as_nanos()), Ok(nanos), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest() {
        for text in
            ["", "30", "1d", "abc", "-1s", "+", ".", ".s", "1.2.3s", "1 s", " 1s", "s", "1h30", "99999999h", "1e3s"]
        {
            let error = parse(text).unwrap_err();
            assert_eq!(error.to_string(), format!("invalid duration '{text}': write it like 100ms, 30s, 5m or 1h30m"));
        }
    }

    #[test]
    fn writes_without_zero_parts() {
        let table = [
            ("0", "0s"),
            ("300s", "5m"),
            ("90m", "1h30m"),
            ("24h", "24h"),
            ("1500ms", "1.5s"),
            ("100ms", "100ms"),
            ("1500us", "1.5ms"),
            ("1500ns", "1.5µs"),
            ("12ns", "12ns"),
            ("3661.05s", "1h1m1.05s"),
        ];
        for (text, written) in table {
            assert_eq!(format(parse(text).unwrap()), written);
        }
    }

    proptest! {
        #[test]
        fn round_trip(nanos in 0..i64::MAX as u64) {
            let duration = Duration::from_nanos(nanos);
            prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }

        #[test]
        fn never_panics(text in "[0-9.hmsnuµ+-]{0,40}") {
            let _ = parse(&text);
        }
    }
}
