//! Kubernetes quantities in whole bytes, given as text or as a number. Pure.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use rockstar_core::quantity;

/// The bytes; none if it is no amount, none at all, or more than there is.
#[must_use]
pub fn bytes(quantity: &IntOrString) -> Option<u64> {
    match quantity {
        IntOrString::Int(n) => u64::try_from(*n).ok(),
        IntOrString::String(text) => quantity::parse(text),
    }
    .filter(|&n| n > 0)
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
