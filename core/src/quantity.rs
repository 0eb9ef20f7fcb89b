//! Amounts of bytes as Kubernetes writes them: `100Mi`, `1.5Gi`, `128M`, `104857600`. Pure.

const UNITS: [(&str, u64); 12] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("Ei", 1 << 60),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("", 1),
];

/// The bytes; none if it is no amount, or more than there is.
#[must_use]
pub fn parse(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
    match number.split_once('.') {
        None => number.parse::<u64>().ok()?.checked_mul(*factor),
        Some(_) => fraction(number.parse().ok()?, *factor),
    }
}

/// The shortest way to write it with a binary unit.
#[must_use]
pub fn format(bytes: u64) -> String {
    let units = [("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)];
    let unit = units.into_iter().find(|(_, factor)| bytes > 0 && bytes.is_multiple_of(*factor));
    unit.map_or_else(|| bytes.to_string(), |(name, factor)| format!("{}{name}", bytes / factor))
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn fraction(number: f64, factor: u64) -> Option<u64> {
    let bytes = (number * factor as f64).ceil();
    (bytes >= 0.0 && bytes < u64::MAX as f64).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for (bytes, text) in [(0, "0"), (1, "1"), (1 << 10, "1Ki"), (3 << 29, "1536Mi"), (250 << 10, "250Ki")] {
            assert_eq!((format(bytes).as_str(), parse(text)), (text, Some(bytes)));
        }
        for odd in ["", "Mi", "-1", "100MB", "1.2.3Mi", "99999999Ei", "1 Mi"] {
            assert_eq!(parse(odd), None, "{odd}");
        }
    }
}
