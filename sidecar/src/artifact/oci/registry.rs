//! A registry that has the artifact. Talks HTTP, every call with a deadline; what arrives is what its digest says.

use super::super::{
    ArtifactError,
    transfer::{self, AGENT, ANSWER, BODY, CONNECT, LARGEST, SILENCE, chain, within},
};
use futures::TryStreamExt;
use oci_client::{
    Client, Reference, RegistryOperation,
    client::{ClientConfig, ClientProtocol},
    errors::{DigestError, OciDistributionError, OciErrorCode},
    manifest::{OciDescriptor, OciImageManifest},
    secrets::RegistryAuth,
};
use std::{fs::File, io};

pub(super) struct Registry {
    client: Client,
    image: Reference,
    auth: RegistryAuth,
    name: String,
}

impl Registry {
    pub(super) async fn connect(
        image: &Reference,
        auth: RegistryAuth,
        insecure: &[String],
    ) -> Result<Self, ArtifactError> {
        let name = image.whole();
        let client = Client::try_from(config(image.registry(), insecure)).map_err(|error| failed(&name, error))?;
        let registry = Self { client, image: image.clone(), auth, name };
        let login = registry.client.auth(&registry.image, &registry.auth, RegistryOperation::Pull);
        registry.answer(login).await?;
        Ok(registry)
    }

    /// The image, for messages.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The artifact's manifest; of an index, the one for this machine.
    pub(super) async fn manifest(&self) -> Result<OciImageManifest, ArtifactError> {
        Ok(self.answer(self.client.pull_image_manifest(&self.image, &self.auth)).await?.0)
    }

    /// Each blob in a file of its own.
    pub(super) async fn blobs(
        &self,
        blobs: &[&OciDescriptor],
        scratch: impl Fn() -> Result<File, ArtifactError>,
    ) -> Result<Vec<File>, ArtifactError> {
        let mut room = LARGEST;
        let mut files = Vec::with_capacity(blobs.len());
        for blob in blobs {
            let file = scratch()?;
            room -= self.blob(blob, &file, room).await?;
            files.push(file);
        }
        Ok(files)
    }

    async fn blob(&self, blob: &OciDescriptor, file: &File, room: u64) -> Result<u64, ArtifactError> {
        transfer::fits(&self.name, u64::try_from(blob.size).unwrap_or(0), room)?;
        // Only from this registry: a descriptor's URLs may lead anywhere.
        let body = self.answer(self.client.pull_blob_stream(&self.image, blob.digest.as_str())).await?;
        let body = body.map_err(|error| broken(&self.name, error));
        within(BODY, &self.name, transfer::save(body, &self.name, file, room)).await
    }

    async fn answer<T>(&self, call: impl Future<Output = Result<T, OciDistributionError>>) -> Result<T, ArtifactError> {
        within(ANSWER, &self.name, async { call.await.map_err(|error| failed(&self.name, error)) }).await
    }
}

fn config(registry: &str, insecure: &[String]) -> ClientConfig {
    let plain = is_plain(registry, insecure);
    ClientConfig {
        protocol: if plain { ClientProtocol::Http } else { ClientProtocol::Https },
        connect_timeout: Some(CONNECT),
        read_timeout: Some(SILENCE),
        user_agent: AGENT,
        ..ClientConfig::default()
    }
}

fn is_plain(registry: &str, insecure: &[String]) -> bool {
    let host = match registry.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => host,
        _ => registry,
    };
    ["localhost", "127.0.0.1", "[::1]"].contains(&host) || insecure.iter().any(|i| i == registry || i == host)
}

fn failed(image: &str, error: OciDistributionError) -> ArtifactError {
    use OciDistributionError as Oci;
    let from = image.to_owned();
    match error {
        Oci::DigestError(error) => mismatch(image, &error),
        Oci::RequestError(error) => transfer::unavailable(image, error),
        Oci::ServerError { code: 404, .. } => ArtifactError::NotFound(from),
        Oci::ImageManifestNotFoundError(_) => ArtifactError::Platform { image: from },
        Oci::UnauthorizedError { .. } | Oci::AuthenticationFailure(_) | Oci::ServerError { code: 403, .. } => {
            ArtifactError::Denied { from, cause: chain(&error) }
        }
        Oci::RegistryError { ref envelope, .. } => {
            let has = |codes: &[OciErrorCode]| envelope.errors.iter().any(|e| codes.contains(&e.code));
            match () {
                () if has(&ABSENT) => ArtifactError::NotFound(from),
                () if has(&DENIED) => ArtifactError::Denied { from, cause: chain(&error) },
                () => ArtifactError::Unavailable { from, cause: chain(&error) },
            }
        }
        // The digest was right, so that is what was published.
        Oci::ManifestParsingError(_)
        | Oci::VersionedParsingError(_)
        | Oci::UnsupportedMediaTypeError(_)
        | Oci::UnsupportedSchemaVersionError(_) => ArtifactError::Unusable { what: from, problem: chain(&error) },
        error => ArtifactError::Unavailable { from, cause: chain(&error) },
    }
}

const ABSENT: [OciErrorCode; 5] = [
    OciErrorCode::BlobUnknown,
    OciErrorCode::ManifestBlobUnknown,
    OciErrorCode::ManifestUnknown,
    OciErrorCode::NameUnknown,
    OciErrorCode::NotFound,
];
const DENIED: [OciErrorCode; 2] = [OciErrorCode::Unauthorized, OciErrorCode::Denied];

fn mismatch(image: &str, error: &DigestError) -> ArtifactError {
    let what = image.to_owned();
    match error {
        DigestError::VerificationError { expected, .. } => ArtifactError::Digest { what, expected: expected.clone() },
        error => ArtifactError::Unusable { what, problem: error.to_string() },
    }
}

/// A body that ended early, or was another than its digest says.
fn broken(image: &str, error: io::Error) -> ArtifactError {
    match error.downcast::<DigestError>() {
        Ok(error) => mismatch(image, &error),
        Err(error) => match error.downcast::<reqwest::Error>() {
            Ok(error) => transfer::unavailable(image, error),
            Err(error) => ArtifactError::Unavailable { from: image.to_owned(), cause: chain(&error) },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_machine_and_for_the_listed() {
        let insecure = ["r.example:5000".to_owned(), "dev.example".to_owned()];
        let plain = |registry| is_plain(registry, &insecure);
        for registry in ["localhost", "127.0.0.1:5000", "[::1]", "[::1]:5000", "r.example:5000", "dev.example:1"] {
            assert!(plain(registry), "{registry}");
        }
        for registry in ["localhost.example", "r.example", "r.example:5001", "127.0.0.2", "[::2]:5000"] {
            assert!(!plain(registry), "{registry}");
        }
    }

    #[test]
    fn what_the_registry_says_tells_who_is_to_blame() {
        use crate::failure::Class::{Environment, Revision};
        let server = |code| OciDistributionError::ServerError { code, url: String::new(), message: String::new() };
        let errors = r#"{"errors": [{"code": "CODE"}]}"#;
        let registry = |code| OciDistributionError::RegistryError {
            envelope: serde_json::from_str(&errors.replace("CODE", code)).unwrap(),
            url: String::new(),
        };
        let cases = [
            (server(404), Revision, "ArtifactNotFound"),
            (registry("MANIFEST_UNKNOWN"), Revision, "ArtifactNotFound"),
            (server(503), Environment, "ArtifactUnavailable"),
            (registry("TOOMANYREQUESTS"), Environment, "ArtifactUnavailable"),
            (registry("DENIED"), Environment, "ArtifactAccessDenied"),
            (OciDistributionError::UnauthorizedError { url: String::new() }, Environment, "ArtifactAccessDenied"),
            (OciDistributionError::ImageManifestNotFoundError(String::new()), Environment, "PlatformUnsupported"),
            (OciDistributionError::UnsupportedSchemaVersionError(1), Revision, "ArtifactInvalid"),
        ];
        for (error, class, reason) in cases {
            let error = failed("x", error);
            assert_eq!((error.class(), error.reason()), (class, reason), "{error}");
        }
    }
}
