//! A plugin's files, brought into the data directory and checked there: what runs is a copy that nobody else changes,
//! and that a rollback finds again. Does I/O.

mod draft;
mod error;
mod history;
mod http;
mod oci;
mod path;
mod program;
mod transfer;
mod unpack;

pub use error::ArtifactError;
pub use history::Lease;

use history::History;

use rockstar_core::{
    manifest::{self, Format, Manifest, Parsed},
    revision::Source,
};
use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The files of one version, in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// Names the copy; equal files have equal names.
    pub id: String,
    pub directory: PathBuf,
    /// The program, where the source names a file rather than a directory.
    pub program: Option<PathBuf>,
}

/// Credentials of a registry, as a docker config.
pub type PullSecret = serde_json::Value;

/// A manifest, in bytes.
const MAX_MANIFEST: u64 = 1 << 20;

const MANIFESTS: [(&str, Format); 2] = [("plugin.yaml", Format::Yaml), ("plugin.json", Format::Json)];

/// The directory of all copies.
#[derive(Clone, Debug)]
pub struct Store {
    directory: PathBuf,
    insecure: Arc<[String]>,
    history: Arc<History>,
}

impl Store {
    /// In the sidecar's data directory, which is its alone.
    pub fn open(data: &Path) -> io::Result<Self> {
        // Where a program has chosen a provider already, that one stays.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let directory = std::path::absolute(data.join("artifacts"))?;
        std::fs::create_dir_all(&directory)?;
        draft::sweep(&directory)?;
        let history = Arc::new(History::open(&directory));
        Ok(Self { directory, insecure: Arc::default(), history })
    }

    /// Registries, `HOST[:PORT]`, that are spoken to over plain HTTP; those on this machine are anyway.
    #[must_use]
    pub fn with_insecure_registries(self, registries: Vec<String>) -> Self {
        Self { insecure: registries.into(), ..self }
    }

    /// Brings an artifact here, unless it is.
    pub async fn fetch(&self, source: &Source, secret: Option<&PullSecret>) -> Result<Artifact, ArtifactError> {
        match source {
            Source::Path { path } => {
                let path = path.clone();
                self.blocking(move |store| path::fetch(store, &path)).await
            }
            Source::Http { url, sha256 } => http::fetch(self, url, sha256).await,
            Source::Oci { image, digest } => oci::fetch(self, image, digest, secret).await,
        }
    }

    /// The same, held until the lease is dropped.
    pub async fn fetch_leased(
        &self,
        source: &Source,
        secret: Option<&PullSecret>,
    ) -> Result<(Artifact, Lease), ArtifactError> {
        let _fetching = self.history.begin_fetch().await;
        let artifact = self.fetch(source, secret).await?;
        let lease = self.lease(&artifact);
        Ok((artifact, lease))
    }

    /// Keeps a copy from being removed.
    #[must_use]
    pub fn lease(&self, artifact: &Artifact) -> Lease {
        self.history.lease(&artifact.id)
    }

    /// Notes that a plugin uses a copy. Copies that no plugin's history names any more are removed.
    pub fn note_use(&self, plugin: &str, artifact: &Artifact) {
        self.history.note_use(plugin, &artifact.id);
        let (history, directory) = (Arc::clone(&self.history), self.directory.clone());
        tokio::task::spawn_blocking(move || history.remove_unused(&directory));
    }

    /// A plugin that is no more has no history.
    pub fn forget(&self, plugin: &str) {
        self.history.forget(plugin);
    }

    /// The copy of that name, if it is here. Only whole ones have a name.
    fn find(&self, id: &str) -> Option<PathBuf> {
        Some(self.directory.join(id)).filter(|directory| directory.is_dir())
    }

    /// A file without a name, gone when it is closed, whatever happens.
    fn scratch(&self) -> Result<File, ArtifactError> {
        tempfile::tempfile_in(&self.directory).map_err(ArtifactError::Store)
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> Result<T, ArtifactError> + Send + 'static,
    ) -> Result<T, ArtifactError> {
        let directory = self.directory.clone();
        let work = tokio::task::spawn_blocking(move || work(&directory));
        work.await.map_err(|cause| ArtifactError::Store(io::Error::other(cause)))?
    }
}

impl Artifact {
    /// Whether the files must hold a manifest: a program that was fetched as one file may come without.
    #[must_use]
    pub fn has_manifest(&self) -> bool {
        self.program.is_none() || MANIFESTS.iter().any(|(name, _)| self.directory.join(name).is_file())
    }

    /// Reads the manifest that lies in the artifact.
    pub fn manifest(&self) -> Result<Parsed, ArtifactError> {
        let found = MANIFESTS
            .map(|(name, format)| (self.directory.join(name), format))
            .into_iter()
            .filter(|(path, _)| path.is_file())
            .collect::<Vec<_>>();
        let Some((path, format)) = found.first() else { return Err(ArtifactError::NoManifest) };
        let unreadable = |cause| ArtifactError::Unreadable { path: path.display().to_string(), cause };
        if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_MANIFEST {
            let what = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            return Err(ArtifactError::TooLarge { what, limit: format!("{} KiB", MAX_MANIFEST >> 10) });
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let mut parsed = manifest::load(&text, *format)?;
        if found.len() > 1 {
            parsed.warnings.push("both plugin.yaml and plugin.json exist: plugin.yaml is used".to_owned());
        }
        Ok(parsed)
    }

    /// The program to run, with its arguments.
    pub fn command(&self, manifest: &Manifest) -> Result<(PathBuf, Vec<String>), ArtifactError> {
        program::find(self, manifest)
    }
}
