//! Whom a registry takes us for: what `docker login` left behind. Reads the docker configuration, may run its helper.

use docker_credential::{CredentialRetrievalError, DockerCredential, get_credential};
use oci_client::secrets::RegistryAuth;
use std::{io, time::Duration};
use thiserror::Error;
use tokio::{task::spawn_blocking, time::timeout};

/// A helper may ask its user, but not for ever.
const DEADLINE: Duration = Duration::from_secs(60);

#[derive(Debug, Error)]
pub(crate) enum CredentialError {
    #[error("docker credentials for {registry}: {error}")]
    Unusable { registry: String, error: CredentialRetrievalError },
    #[error(
        "docker credentials for {0}: an identity token cannot be used; log in with user and password or access token"
    )]
    IdentityToken(String),
    #[error("docker credentials for {0}: the helper did not answer within a minute")]
    TimedOut(String),
    #[error(transparent)]
    Task(#[from] io::Error),
}

pub(crate) async fn find(registry: &str) -> Result<RegistryAuth, CredentialError> {
    let server = server(registry).to_owned();
    let found = timeout(DEADLINE, spawn_blocking(move || get_credential(&server)))
        .await
        .map_err(|_| CredentialError::TimedOut(registry.to_owned()))?
        .map_err(io::Error::other)?;
    choose(registry, found)
}

/// The name under which `docker login` keeps a registry.
fn server(registry: &str) -> &str {
    match registry {
        "docker.io" => "https://index.docker.io/v1/",
        other => other,
    }
}

fn choose(
    registry: &str,
    found: Result<DockerCredential, CredentialRetrievalError>,
) -> Result<RegistryAuth, CredentialError> {
    use CredentialRetrievalError as Lack;
    match found {
        Ok(DockerCredential::UsernamePassword(user, password)) => Ok(RegistryAuth::Basic(user, password)),
        Ok(DockerCredential::IdentityToken(_)) => Err(CredentialError::IdentityToken(registry.to_owned())),
        Err(Lack::NoCredentialConfigured | Lack::ConfigNotFound | Lack::ConfigReadError) => Ok(RegistryAuth::Anonymous),
        Err(Lack::HelperFailure { stdout, .. }) if stdout.contains("credentials not found") => {
            Ok(RegistryAuth::Anonymous)
        }
        Err(error) => Err(CredentialError::Unusable { registry: registry.to_owned(), error }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_login_means_anonymous() {
        let found = choose("r.example", Err(CredentialRetrievalError::NoCredentialConfigured)).unwrap();
        assert_eq!(found, RegistryAuth::Anonymous);
    }

    #[test]
    fn a_helper_that_knows_nothing_means_anonymous() {
        let (helper, stderr) = ("x".to_owned(), String::new());
        let stdout = "credentials not found in native keychain".to_owned();
        let found =
            choose("r.example", Err(CredentialRetrievalError::HelperFailure { helper, stdout, stderr })).unwrap();
        assert_eq!(found, RegistryAuth::Anonymous);
    }

    #[test]
    fn a_login_is_used_and_a_token_refused() {
        let login = DockerCredential::UsernamePassword("me".into(), "secret".into());
        assert_eq!(choose("r", Ok(login)).unwrap(), RegistryAuth::Basic("me".into(), "secret".into()));
        assert!(choose("r", Ok(DockerCredential::IdentityToken("t".into()))).is_err());
    }

    #[test]
    fn docker_hub_has_a_name_of_its_own() {
        assert_eq!(server("docker.io"), "https://index.docker.io/v1/");
        assert_eq!(server("localhost:5000"), "localhost:5000");
    }
}
