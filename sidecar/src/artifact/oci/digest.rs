//! Whether content is what its digest says. Pure.

use sha2::{Digest as _, Sha256, Sha512};

/// Hashes content as it comes.
#[derive(Clone, Debug)]
pub(super) enum Hasher {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    /// For content of that digest. None: it is malformed, or of another algorithm.
    pub(super) fn of(digest: &str) -> Option<Self> {
        let (algorithm, hex) = digest.split_once(':')?;
        let is_hex = hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        match (algorithm, hex.len()) {
            ("sha256", 64) if is_hex => Some(Self::Sha256(Sha256::new())),
            ("sha512", 128) if is_hex => Some(Self::Sha512(Sha512::new())),
            _ => None,
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Sha512(hash) => hash.update(bytes),
        }
    }

    /// Whether all that came has that digest.
    pub(super) fn matches(self, digest: &str) -> bool {
        let actual = match self {
            Self::Sha256(hash) => format!("sha256:{}", hex::encode(hash.finalize())),
            Self::Sha512(hash) => format!("sha512:{}", hex::encode(hash.finalize())),
        };
        actual == digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_what_its_digest_says() {
        let digests = [
            format!("sha256:{}", hex::encode(Sha256::digest("content"))),
            format!("sha512:{}", hex::encode(Sha512::digest("content"))),
        ];
        for digest in digests {
            let mut hasher = Hasher::of(&digest).unwrap();
            hasher.update(b"con");
            assert!(!hasher.clone().matches(&digest));
            hasher.update(b"tent");
            assert!(hasher.matches(&digest));
        }
    }

    #[test]
    fn what_is_no_digest_is_not_asked_for() {
        let odd = ["", "sha256", "sha256:", "sha256:../../x", &format!("md5:{}", "a".repeat(64))];
        for text in odd.iter().map(|text| (*text).to_owned()).chain([
            format!("sha256:{}", "A".repeat(64)),
            format!("sha256:{}", "a".repeat(65)),
            format!("sha512:{}", "a".repeat(64)),
            format!("sha256:{}/", "a".repeat(63)),
        ]) {
            assert!(Hasher::of(&text).is_none(), "{text}");
        }
    }
}
