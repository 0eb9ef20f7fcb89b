//! Moments as nanoseconds since 1970, and as text that sorts as they do. Pure.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

/// `2026-01-02T03:04:05.000000006Z`. None: it is before the year 1 or after 9999.
pub(super) fn text(nanoseconds: i128) -> Option<String> {
    Timestamp::from_nanosecond(nanoseconds).ok().map(|at| format!("{at:.9}"))
}

/// What [`text`] gives, and what SQL functions do: `2026-01-02 03:04:05`, which is UTC.
pub(super) fn nanoseconds(text: &str) -> Option<i64> {
    let civil = || text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
    let at = text.parse::<Timestamp>().ok().or_else(civil)?;
    i64::try_from(at.as_nanosecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_they_are_written_and_as_sql_writes_them() {
        let at = 1_700_000_000_123_456_789;
        assert_eq!(text(at.into()).unwrap(), "2023-11-14T22:13:20.123456789Z");
        assert_eq!(nanoseconds(&text(at.into()).unwrap()), Some(at));
        assert_eq!(nanoseconds("2023-11-14 22:13:20"), Some(1_700_000_000_000_000_000));
        assert_eq!(nanoseconds("2023-11-15T00:13:20+02:00"), Some(1_700_000_000_000_000_000));
        assert_eq!(nanoseconds("soon"), None);
    }
}
