//! Whom a registry is to take us for, from a docker configuration. Pure.

use super::super::{ArtifactError, PullSecret};
use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use oci_client::{Reference, secrets::RegistryAuth};
use serde_json::Value;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// `docker login` calls Docker's own registry by its old names.
const DOCKER: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/// The login for an image; one for a longer path goes first. A secret that does not know the registry is no login.
pub(super) fn find(secret: Option<&PullSecret>, image: &Reference) -> Result<RegistryAuth, ArtifactError> {
    let Some(secret) = secret else { return Ok(RegistryAuth::Anonymous) };
    let unusable = |problem| ArtifactError::Secret { registry: image.registry().to_owned(), problem };
    // The older form, kubernetes.io/dockercfg, has no `auths` around.
    let logins = secret.get("auths").unwrap_or(secret).as_object();
    let logins = logins.ok_or_else(|| unusable("it is not a docker configuration"))?;
    let fitting = logins.iter().filter_map(|(key, login)| Some((fit(key, image)?, login)));
    match fitting.max_by_key(|(length, _)| *length) {
        Some((_, login)) => read(login).ok_or_else(|| unusable("its entry has neither user and password nor auth")),
        None => Ok(RegistryAuth::Anonymous),
    }
}

/// How much of the image's name a key covers, if it does.
fn fit(key: &str, image: &Reference) -> Option<usize> {
    let key = key.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
    let (host, path) = key.split_once('/').unwrap_or((key, ""));
    let path = if path == "v1" || path == "v2" { "" } else { path };
    let same = host == image.registry() || [host, image.registry()].iter().all(|h| DOCKER.contains(h));
    let rest = image.repository().strip_prefix(path)?;
    (same && (path.is_empty() || rest.is_empty() || rest.starts_with('/'))).then_some(path.len())
}

fn read(login: &Value) -> Option<RegistryAuth> {
    let text = |key: &str| login.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    if let (Some(user), Some(password)) = (text("username"), text("password")) {
        return Some(RegistryAuth::Basic(user.to_owned(), password.to_owned()));
    }
    let decoded = String::from_utf8(BASE64.decode(text("auth")?.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some(RegistryAuth::Basic(user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn login(secret: &Value, image: &str) -> RegistryAuth {
        find(Some(secret), &image.parse().unwrap()).unwrap()
    }

    fn basic(user: &str, password: &str) -> RegistryAuth {
        RegistryAuth::Basic(user.to_owned(), password.to_owned())
    }

    #[test]
    fn the_registry_and_the_longest_path_decide() {
        let secret = json!({"auths": {
            "r.example:5000": {"auth": "dTpwOnE="},
            "https://r.example:5000/team/": {"username": "team", "password": "t"},
            "https://index.docker.io/v1/": {"auth": "aHViOmg"},
        }});
        assert_eq!(login(&secret, "r.example:5000/a"), basic("u", "p:q"));
        assert_eq!(login(&secret, "r.example:5000/team/a"), basic("team", "t"));
        assert_eq!(login(&secret, "r.example:5000/teams/a"), basic("u", "p:q"));
        assert_eq!(login(&secret, "auth"), basic("hub", "h"));
        assert_eq!(login(&secret, "r.example/a"), RegistryAuth::Anonymous);
        assert_eq!(login(&json!({"r.example": {"auth": "dTpw"}}), "r.example/a"), basic("u", "p"));
    }

    #[test]
    fn a_secret_that_cannot_be_used_says_so_and_keeps_its_values() {
        let problem = |secret: Value| find(Some(&secret), &"r.example/a".parse().unwrap()).unwrap_err().to_string();
        let text = "the pull secret cannot be used for r.example: its entry has neither user and password nor auth";
        assert_eq!(problem(json!({"auths": {"r.example": {"auth": "!!"}}})), text);
        assert_eq!(problem(json!({"auths": {"r.example": {"username": "u"}}})), text);
        assert!(problem(json!("text")).ends_with("it is not a docker configuration"));
    }
}
