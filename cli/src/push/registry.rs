//! The registry that takes the artifact. Talks HTTP, every call with a deadline.

use super::{archive::Archive, artifact, artifact::Artifact, credentials, credentials::CredentialError, size};
use crate::terminal::progress;
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use oci_client::{
    Client, ParseError, Reference, RegistryOperation,
    client::{ClientConfig, ClientProtocol},
    errors::OciDistributionError,
};
use semver::Version;
use std::{fs::File, time::Duration};
use thiserror::Error;
use tokio::time::timeout;
use tokio_util::io::ReaderStream;

const CONNECT: Duration = Duration::from_secs(10);
/// Without a byte from the registry.
const SILENCE: Duration = Duration::from_secs(60);
/// For a call that carries no files.
const CALL: Duration = Duration::from_secs(120);
const CHUNK: usize = 1 << 20;

#[derive(Debug, Error)]
pub(crate) enum RegistryError {
    #[error("'{reference}' is not a reference ({error}); expected REGISTRY/REPOSITORY[:TAG]")]
    Reference { reference: String, error: ParseError },
    #[error("'{0}' names a digest, but the digest comes from the push; leave it out")]
    Digest(String),
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    #[error("cannot use registry {registry}: {error}")]
    Client { registry: String, error: OciDistributionError },
    #[error("registry {registry} did not answer within {} s while {step}", CALL.as_secs())]
    TimedOut { registry: String, step: &'static str },
    #[error("registry {registry}, {step}: {}", chain(error))]
    Failed { registry: String, step: &'static str, error: OciDistributionError },
}

/// Where to push; without a tag the plugin's version is the tag.
pub(crate) fn target(text: &str, version: &Version) -> Result<Reference, RegistryError> {
    let parsed: Reference =
        text.parse().map_err(|error| RegistryError::Reference { reference: text.to_owned(), error })?;
    if parsed.digest().is_some() {
        return Err(RegistryError::Digest(text.to_owned()));
    }
    if text.rsplit('/').next().is_some_and(|last| last.contains(':')) {
        return Ok(parsed);
    }
    // A tag has no `+`.
    let tag = version.to_string().replace('+', "_");
    Ok(Reference::with_tag(parsed.registry().to_owned(), parsed.repository().to_owned(), tag))
}

pub(crate) struct Registry {
    client: Client,
    target: Reference,
}

impl Registry {
    pub(crate) async fn connect(target: &Reference, insecure: bool) -> Result<Self, RegistryError> {
        let registry = target.registry().to_owned();
        let auth = credentials::find(&registry).await?;
        let client = Client::try_from(config(target, insecure))
            .map_err(|error| RegistryError::Client { registry: registry.clone(), error })?;
        let this = Self { client, target: target.clone() };
        let login = this.client.auth(target, &auth, RegistryOperation::Push);
        this.call("logging in", login).await?;
        Ok(this)
    }

    /// Files, then the manifest: what a manifest names is always there.
    pub(crate) async fn push(&self, artifact: &Artifact, files: Archive) -> Result<(), RegistryError> {
        self.push_files(files).await?;
        let config = self.client.push_blob(&self.target, artifact.config.clone(), &artifact.config_digest);
        self.call("sending the plugin's manifest", config).await?;
        let kind = http::HeaderValue::from_static(artifact::MANIFEST_TYPE);
        let manifest = self.client.push_manifest_raw(&self.target, artifact.manifest.clone(), kind);
        self.call("sending the artifact's manifest", manifest).await?;
        Ok(())
    }

    async fn push_files(&self, files: Archive) -> Result<(), RegistryError> {
        let exists = self.client.blob_exists(&self.target, &files.digest);
        if self.call("asking for the files", exists).await? {
            eprintln!("the registry has these files already");
            return Ok(());
        }
        let (digest, total) = (files.digest, files.bytes);
        let body = counted(files.file, total);
        // The silence limit of the client is the deadline: files may be of any size.
        let sent = self.client.push_blob_stream(&self.target, body, &digest, Some(total)).await;
        sent.map_err(|error| self.failed("sending the files", error))?;
        Ok(())
    }

    async fn call<T>(
        &self,
        step: &'static str,
        call: impl Future<Output = Result<T, OciDistributionError>>,
    ) -> Result<T, RegistryError> {
        let registry = || self.target.registry().to_owned();
        let answer = timeout(CALL, call).await.map_err(|_| RegistryError::TimedOut { registry: registry(), step })?;
        answer.map_err(|error| self.failed(step, error))
    }

    fn failed(&self, step: &'static str, error: OciDistributionError) -> RegistryError {
        RegistryError::Failed { registry: self.target.registry().to_owned(), step, error }
    }
}

fn config(target: &Reference, insecure: bool) -> ClientConfig {
    let plain = insecure || is_local(target.registry());
    ClientConfig {
        protocol: if plain { ClientProtocol::Http } else { ClientProtocol::Https },
        connect_timeout: Some(CONNECT),
        read_timeout: Some(SILENCE),
        user_agent: concat!("rockstar/", env!("CARGO_PKG_VERSION")),
        ..ClientConfig::default()
    }
}

fn is_local(registry: &str) -> bool {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    host == "localhost" || host == "127.0.0.1"
}

/// The file's bytes; tells how far they are.
fn counted(file: File, total: u64) -> impl Stream<Item = Result<Bytes, OciDistributionError>> + Send + 'static {
    let mut sent = 0;
    ReaderStream::with_capacity(tokio::fs::File::from_std(file), CHUNK).map(move |chunk| {
        let chunk = chunk?;
        sent += chunk.len() as u64;
        progress(&format!("sending {} of {}", size(sent), size(total)), sent >= total);
        Ok(chunk)
    })
}

/// The whole cause: reqwest keeps it in sources.
fn chain(error: &OciDistributionError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tagged(text: &str) -> String {
        target(text, &"1.2.0+build".parse().unwrap()).unwrap().to_string()
    }

    #[test]
    fn the_version_is_the_tag_unless_given() {
        assert_eq!(tagged("localhost:5000/auth"), "localhost:5000/auth:1.2.0_build");
        assert_eq!(tagged("localhost:5000/auth:latest"), "localhost:5000/auth:latest");
        assert_eq!(tagged("registry.example/a/b"), "registry.example/a/b:1.2.0_build");
    }

    #[test]
    fn bad_references_say_what_is_expected() {
        let version = Version::new(1, 0, 0);
        let error = target("Not A Ref", &version).unwrap_err().to_string();
        assert!(error.contains("'Not A Ref'") && error.contains("REGISTRY/REPOSITORY"), "{error}");
        let digest = format!("r.example/a@sha256:{}", "0".repeat(64));
        assert!(target(&digest, &version).unwrap_err().to_string().contains("leave it out"));
    }

    #[test]
    fn plain_http_is_for_this_machine() {
        assert!(is_local("localhost") && is_local("127.0.0.1:5000"));
        assert!(!is_local("localhost.example:5000") && !is_local("registry.example"));
    }
}
