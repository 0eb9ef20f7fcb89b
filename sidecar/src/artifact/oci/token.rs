//! The token that a registry wants, from the server that it names. Talks HTTP.

use super::{
    super::{ArtifactError, transfer::unavailable},
    answer,
    login::header,
};
use reqwest::{
    Client, Url,
    header::{AUTHORIZATION, HeaderValue},
};
use serde::Deserialize;

/// An answer, in bytes.
const MAX_ANSWER: usize = 64 << 10;

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
}

/// Where the token is to be had.
#[derive(Clone, Debug)]
pub(super) struct TokenServer(Url);

impl TokenServer {
    /// The server at `realm`, unless the way to it is open to others. `registry`: who names it.
    pub(super) fn new(image: &str, realm: &str, registry: &Url, insecure: &[String]) -> Result<Self, ArtifactError> {
        let unusable = |problem: &str| ArtifactError::Unavailable { from: image.to_owned(), cause: problem.to_owned() };
        let address: Url = realm.parse().map_err(|_| unusable("the address of its token server is malformed"))?;
        let is_listed = || {
            let host = address.host_str().unwrap_or_default();
            let port = address.port_or_known_default().unwrap_or_default();
            insecure.iter().any(|listed| *listed == host || *listed == format!("{host}:{port}"))
        };
        match address.scheme() {
            "https" => Ok(Self(address)),
            "http" if address.origin() == registry.origin() || is_listed() => Ok(Self(address)),
            "http" => Err(unusable("its token server is without https, and no --insecure-registry names it")),
            _ => Err(unusable("its token server is not at an https:// address")),
        }
    }

    /// Gets a token for reading one repository.
    pub(super) async fn fetch(
        mut self,
        client: &Client,
        image: &str,
        (repository, service): (&str, Option<&str>),
        login: Option<HeaderValue>,
    ) -> Result<HeaderValue, ArtifactError> {
        self.0.query_pairs_mut().append_pair("scope", &format!("repository:{repository}:pull"));
        if let Some(service) = service {
            self.0.query_pairs_mut().append_pair("service", service);
        }
        let headers = login.map(|login| (AUTHORIZATION, login)).into_iter().collect();
        let response = client.get(self.0).headers(headers).send().await.map_err(|error| unavailable(image, error))?;
        let response = answer::accepted(image, response).await?;
        let (body, is_whole) = answer::read(image, response, MAX_ANSWER).await?;
        let problem = |problem: String| ArtifactError::Unavailable { from: image.to_owned(), cause: problem };
        if !is_whole {
            return Err(problem(format!("its token server's answer is larger than {} KiB", MAX_ANSWER >> 10)));
        }
        let token = serde_json::from_slice::<Answer>(&body).ok().and_then(|a| a.token.or(a.access_token));
        let header = token.and_then(|token| header(&format!("Bearer {token}")));
        header.ok_or_else(|| problem("its token server gave no token".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_server_is_asked_over_https_or_is_the_registry_itself_or_listed() {
        let registry: Url = "http://r.example:5000/v2/".parse().unwrap();
        let insecure = ["t.example:8080".to_owned(), "u.example".to_owned()];
        let new = |realm: &str| TokenServer::new("x", realm, &registry, &insecure).map_err(|error| error.to_string());
        for realm in
            ["https://any.example/t", "http://r.example:5000/t", "http://t.example:8080/t?a=b", "http://u.example:1/"]
        {
            assert!(new(realm).is_ok(), "{realm}");
        }
        for realm in [
            "http://r.example/t",
            "http://127.0.0.1/t",
            "http://t.example/t",
            "file:///etc/passwd",
            "ftp://r.example:5000/",
            "//r.example:5000/t",
            "",
        ] {
            let text = new(realm).unwrap_err();
            assert!(text.starts_with("failed to download x: ") && text.contains("token server"), "{text}");
        }
    }
}
