//! How a registry wants to be logged in to, by its `WWW-Authenticate`. Pure.

use http_auth::{ChallengeRef, parser::ChallengeParser};
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// Longer headers are not read.
const MAX_HEADER: usize = 8 << 10;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User and password.
    Basic,
    /// A token, which the server at `realm` gives.
    Bearer { realm: String, service: Option<String> },
}

impl Challenge {
    /// The one to meet; a token before a password.
    pub(super) fn find(headers: &HeaderMap) -> Option<Self> {
        let values = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let values = values.filter(|value| value.len() <= MAX_HEADER);
        let mut found = values.flat_map(|value| ChallengeParser::new(value).filter_map(Result::ok));
        let mut basic = None;
        found
            .find_map(|challenge| match Self::read(&challenge)? {
                Self::Basic => {
                    basic = Some(Self::Basic);
                    None
                }
                bearer @ Self::Bearer { .. } => Some(bearer),
            })
            .or(basic)
    }

    fn read(challenge: &ChallengeRef<'_>) -> Option<Self> {
        let parameter = |name: &str| {
            let found = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.to_unescaped())
        };
        if challenge.scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        let is_bearer = challenge.scheme.eq_ignore_ascii_case("bearer");
        let realm = parameter("realm").filter(|_| is_bearer)?;
        Some(Self::Bearer { realm, service: parameter("service") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(values: &[&str]) -> Option<Challenge> {
        let headers = values.iter().map(|value| (WWW_AUTHENTICATE, value.parse().unwrap()));
        Challenge::find(&headers.collect())
    }

    fn bearer(realm: &str, service: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned) })
    }

    #[test]
    fn a_token_goes_before_a_password() {
        assert_eq!(find(&[r#"Basic realm="r""#]), Some(Challenge::Basic));
        assert_eq!(find(&[r#"bearer realm="https://a/t",service="s""#]), bearer("https://a/t", Some("s")));
        assert_eq!(find(&[r#"Basic realm="r", Bearer realm="https://a/t""#]), bearer("https://a/t", None));
        assert_eq!(find(&[r#"Basic realm="r""#, r#"Bearer realm="https://a/t""#]), bearer("https://a/t", None));
        assert_eq!(find(&[]), None);
    }

    #[test]
    fn what_is_malformed_or_too_long_is_no_challenge() {
        for odd in ["", "Bearer", r#"Bearer service="s""#, "Negotiate", "\"", ",,,,", "Bearer realm=", "="] {
            assert_eq!(find(&[odd]), None, "{odd}");
        }
        assert_eq!(find(&[&format!(r#"Bearer realm="https://a/{}""#, "t".repeat(MAX_HEADER))]), None);
    }
}
