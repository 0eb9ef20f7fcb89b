//! Kubernetes quantities in whole bytes, as far as memory needs them: `100Mi`, `1.5Gi`, `128M`, `104857600`. Pure.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

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

/// The bytes; none if it is no amount, none at all, or more than there is.
#[must_use]
pub fn bytes(quantity: &IntOrString) -> Option<u64> {
    match quantity {
        IntOrString::Int(n) => u64::try_from(*n).ok(),
        IntOrString::String(text) => parse(text),
    }
    .filter(|&n| n > 0)
}

fn parse(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
    match number.split_once('.') {
        None => number.parse::<u64>().ok()?.checked_mul(*factor),
        Some(_) => fraction(number.parse().ok()?, *factor),
    }
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
    fn reads_what_kubernetes_writes() {
        let cases = [
            ("100Mi", Some(100 << 20)),
            ("1.5Gi", Some(3 << 29)),
            ("128M", Some(128_000_000)),
            ("104857600", Some(104_857_600)),
            ("1k", Some(1000)),
            ("0", None),
            ("0Mi", None),
            ("-1Mi", None),
            ("", None),
            ("Mi", None),
            ("100MB", None),
            ("1.2.3Mi", None),
            ("99999999Ei", None),
        ];
        for (text, expected) in cases {
            assert_eq!(bytes(&IntOrString::String(text.into())), expected, "{text}");
        }
        assert_eq!(bytes(&IntOrString::Int(5)), Some(5));
        assert_eq!(bytes(&IntOrString::Int(-5)), None);
    }
}
