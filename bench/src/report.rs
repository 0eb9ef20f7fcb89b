//! The result as a table, absolute and as ratios. Pure.

use crate::{chain::Row, footprint::Footprint, load::Measured};
use std::fmt::Write as _;

/// The rows of a result, the subject first.
#[must_use]
pub(crate) fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| path | p50, 1 caller | p50, 64 callers | p99, 64 callers | calls/s, 1 caller | calls/s, 64 callers |\n|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let (one, many) = ends(row);
        let _ = writeln!(
            text,
            "| {} | {:.0} µs | {:.0} µs | {:.0} µs | {:.0} | {:.0} |",
            row.name, one.p50_us, many.p50_us, many.p99_us, one.per_second, many.per_second
        );
    }
    text
}

/// How the subject does beside each of the others; more is better in every column.
#[must_use]
pub(crate) fn ratios(subject: &Row, others: &[&Row]) -> String {
    let mut text = format!(
        "| {} beside | speed, 1 caller | speed, 64 callers | calls/s, 64 callers |\n|---|---|---|---|\n",
        subject.name
    );
    let (one, many) = ends(subject);
    for other in others {
        let (their_one, their_many) = ends(other);
        let _ = writeln!(
            text,
            "| {} | {:.2} | {:.2} | {:.2} |",
            other.name,
            their_one.p50_us / one.p50_us,
            their_many.p50_us / many.p50_us,
            many.per_second / their_many.per_second
        );
    }
    text
}

/// What the sidecar costs while nothing happens.
#[must_use]
pub(crate) fn footprint(found: &Footprint) -> String {
    format!(
        "| sidecar | |\n|---|---|\n| resident memory, idle, no plugin | {:.1} MiB |\n| start to ready, no plugin | {:.0} ms |\n",
        found.idle_mib, found.ready_ms
    )
}

fn ends(row: &Row) -> (Measured, Measured) {
    let at = |callers| row.measured.iter().find(|one| one.callers == callers).copied();
    (at(1).unwrap_or(EMPTY), at(64).unwrap_or(EMPTY))
}

const EMPTY: Measured = Measured { callers: 0, p50_us: 0.0, p99_us: 0.0, per_second: 0.0 };

/// Replaces what is between the markers of a page.
#[must_use]
pub(crate) fn place(page: &str, result: &str) -> Option<String> {
    const BEGIN: &str = "<!-- result: written by bench/run -->\n";
    const END: &str = "<!-- end of result -->";
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{result}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &'static str, p50_us: f64, per_second: f64) -> Row {
        let measured = [1, 64].map(|callers| Measured { callers, p50_us, p99_us: p50_us, per_second });
        Row { name, measured: measured.to_vec() }
    }

    #[test]
    fn ratios_grow_when_the_subject_is_better() {
        let text = ratios(&row("ours", 100.0, 3000.0), &[&row("theirs", 250.0, 1000.0)]);
        assert!(text.contains("| theirs | 2.50 | 2.50 | 3.00 |"), "{text}");
    }

    #[test]
    fn a_result_takes_the_place_of_the_last_one() {
        let page = "a\n<!-- result: written by bench/run -->\nold\n<!-- end of result -->\nb\n";
        let placed = place(page, "new\n").unwrap();
        assert_eq!(placed, "a\n<!-- result: written by bench/run -->\nnew\n<!-- end of result -->\nb\n");
        assert!(place("no markers", "new").is_none());
    }
}
