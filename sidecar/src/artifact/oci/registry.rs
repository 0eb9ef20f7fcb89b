//! A registry that has the artifact. Talks HTTP: every call has a deadline, every answer a bound, and what arrives is
//! what its digest says. (`oci-client` reads answers without a bound, and follows every redirect.)

use super::{
    super::{
        ArtifactError,
        transfer::{self, ANSWER, BODY, largest, unavailable, within},
    },
    answer,
    challenge::Challenge,
    digest::Hasher,
    login, manifest,
    token::TokenServer,
};
use futures::TryStreamExt;
use oci_client::{
    Reference,
    manifest::{OciDescriptor, OciImageManifest, OciManifest},
    secrets::RegistryAuth,
};
use parking_lot::Mutex;
use reqwest::{
    Client, Response, StatusCode, Url,
    header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue},
};
use std::{fs::File, time::Duration};

/// A manifest, in bytes.
const MAX_MANIFEST: usize = 1 << 20;
const ANYTHING: &str = "*/*";

pub(super) struct Registry {
    client: Client,
    /// What its addresses begin with.
    base: Url,
    image: Reference,
    auth: RegistryAuth,
    /// Registries that are spoken to over plain HTTP.
    insecure: Vec<String>,
    authorization: Mutex<Option<HeaderValue>>,
    name: String,
    answer_timeout: Duration,
}

impl Registry {
    pub(super) async fn connect(
        image: &Reference,
        auth: RegistryAuth,
        insecure: &[String],
    ) -> Result<Self, ArtifactError> {
        let registry = Self::new(image, auth, insecure)?;
        registry.begin().await?;
        Ok(registry)
    }

    fn new(image: &Reference, auth: RegistryAuth, insecure: &[String]) -> Result<Self, ArtifactError> {
        let name = image.whole();
        let scheme = if is_plain(image.registry(), insecure) { "http" } else { "https" };
        let base = address(&name, &format!("{scheme}://{}/v2/", image.resolve_registry()))?;
        let client = transfer::client().map_err(|error| unavailable(&name, error))?;
        Ok(Self {
            client,
            base,
            image: image.clone(),
            auth,
            insecure: insecure.to_vec(),
            authorization: Mutex::default(),
            name,
            answer_timeout: ANSWER,
        })
    }

    /// The image, for messages.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The artifact's manifest; of an index, the one for this machine.
    pub(super) async fn manifest(&self) -> Result<OciImageManifest, ArtifactError> {
        let digest = self.image.digest().unwrap_or_default();
        let index = match manifest::parse(&self.name, &self.document(digest).await?)? {
            OciManifest::Image(manifest) => return Ok(manifest),
            OciManifest::ImageIndex(index) => index,
        };
        let digest = manifest::for_this_machine(&self.name, &index)?;
        match manifest::parse(&self.name, &self.document(&digest).await?)? {
            OciManifest::Image(manifest) => Ok(manifest),
            OciManifest::ImageIndex(_) => Err(ArtifactError::Platform { image: self.name.clone() }),
        }
    }

    /// Each blob in a file of its own.
    pub(super) async fn blobs(
        &self,
        blobs: &[&OciDescriptor],
        scratch: impl Fn() -> Result<File, ArtifactError>,
    ) -> Result<Vec<File>, ArtifactError> {
        let mut room = largest();
        let mut files = Vec::with_capacity(blobs.len());
        for blob in blobs {
            let file = scratch()?;
            room -= self.blob(blob, &file, room).await?;
            files.push(file);
        }
        Ok(files)
    }

    async fn document(&self, digest: &str) -> Result<Vec<u8>, ArtifactError> {
        let mut hasher = self.hasher(digest)?;
        let read = async {
            let response = self.get(&format!("manifests/{digest}"), &manifest::accept()).await?;
            answer::read(&self.name, response, MAX_MANIFEST).await
        };
        let (document, is_whole) = within(self.answer_timeout, &self.name, read).await?;
        if !is_whole {
            let what = format!("the manifest of {}", self.name);
            return Err(ArtifactError::TooLarge { what, limit: format!("{} KiB", MAX_MANIFEST >> 10) });
        }
        hasher.update(&document);
        self.check(hasher, digest)?;
        Ok(document)
    }

    /// Not more than its descriptor says: anything else would not have its digest.
    async fn blob(&self, blob: &OciDescriptor, file: &File, room: u64) -> Result<u64, ArtifactError> {
        let size = u64::try_from(blob.size).unwrap_or(0);
        transfer::fits(&self.name, size, room)?;
        let mut hasher = self.hasher(&blob.digest)?;
        // Only from this registry: a descriptor's URLs may lead anywhere.
        let asked = format!("blobs/{}", blob.digest);
        let response = within(self.answer_timeout, &self.name, self.get(&asked, ANYTHING)).await?;
        let body = response.bytes_stream().inspect_ok(|chunk| hasher.update(chunk));
        let body = body.map_err(|error| unavailable(&self.name, error));
        let saved = within(BODY, &self.name, transfer::save(body, &self.name, file, size)).await;
        let saved = saved.map_err(|error| match error {
            ArtifactError::TooLarge { .. } => self.mismatch(&blob.digest),
            other => other,
        })?;
        self.check(hasher, &blob.digest)?;
        Ok(saved)
    }

    /// Logs in, if the registry wants that.
    async fn begin(&self) -> Result<(), ArtifactError> {
        let begin = async {
            let response = self.send(&self.base, ANYTHING).await?;
            self.log_in(response.headers()).await
        };
        within(self.answer_timeout, &self.name, begin).await.map(|_| ())
    }

    /// Asks for something of the image, once more where the login has run out.
    async fn get(&self, what: &str, accept: &str) -> Result<Response, ArtifactError> {
        let address = address(&self.name, &format!("{}{}/{what}", self.base, self.image.repository()))?;
        let response = self.send(&address, accept).await?;
        let has_run_out = response.status() == StatusCode::UNAUTHORIZED && self.log_in(response.headers()).await?;
        let response = if has_run_out { self.send(&address, accept).await? } else { response };
        answer::accepted(&self.name, response).await
    }

    async fn send(&self, address: &Url, accept: &str) -> Result<Response, ArtifactError> {
        let mut request = self.client.get(address.clone()).header(ACCEPT, accept);
        if let Some(authorization) = self.authorization.lock().clone() {
            request = request.header(AUTHORIZATION, authorization);
        }
        request.send().await.map_err(|error| unavailable(&self.name, error))
    }

    /// Gives the registry what it wants to be asked with. False: that is nothing, or nothing that we have.
    async fn log_in(&self, headers: &HeaderMap) -> Result<bool, ArtifactError> {
        let login = login::basic(&self.auth);
        let authorization = match Challenge::find(headers) {
            None => None,
            Some(Challenge::Basic) => login,
            Some(Challenge::Bearer { realm, service }) => {
                let server = TokenServer::new(&self.name, &realm, &self.base, &self.insecure)?;
                let scope = (self.image.repository(), service.as_deref());
                Some(server.fetch(&self.client, &self.name, scope, login).await?)
            }
        };
        let is_logged_in = authorization.is_some();
        *self.authorization.lock() = authorization;
        Ok(is_logged_in)
    }

    fn hasher(&self, digest: &str) -> Result<Hasher, ArtifactError> {
        let problem = || "it names something by what is no digest; expected sha256:…".to_owned();
        Hasher::of(digest).ok_or_else(|| ArtifactError::Unusable { what: self.name.clone(), problem: problem() })
    }

    fn check(&self, hasher: Hasher, digest: &str) -> Result<(), ArtifactError> {
        if hasher.matches(digest) { Ok(()) } else { Err(self.mismatch(digest)) }
    }

    fn mismatch(&self, digest: &str) -> ArtifactError {
        ArtifactError::Digest { what: self.name.clone(), expected: digest.to_owned() }
    }
}

fn address(name: &str, text: &str) -> Result<Url, ArtifactError> {
    let unusable =
        |error| ArtifactError::Unusable { what: name.to_owned(), problem: format!("its name is malformed: {error}") };
    text.parse().map_err(unusable)
}

fn is_plain(registry: &str, insecure: &[String]) -> bool {
    let host = match registry.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => host,
        _ => registry,
    };
    ["localhost", "127.0.0.1", "[::1]"].contains(&host) || insecure.iter().any(|i| i == registry || i == host)
}

#[cfg(test)]
mod tests;
