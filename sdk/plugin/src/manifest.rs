//! What the SDK needs of the plugin's own manifest. The host checks it in full. Reads one file, once.

use serde::Deserialize;
use serde_json::{Map, Value};
use std::{
    collections::BTreeMap,
    env, fs, io,
    path::{Path, PathBuf},
    sync::OnceLock,
};

const FILES: [&str; 2] = ["plugin.yaml", "plugin.json"];

/// A plugin that this one needs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Dependency {
    pub name: String,
    /// The constraint, such as `>=2.0.0`.
    pub version: String,
    #[serde(default)]
    pub optional: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Manifest {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) description: String,
    pub(crate) author: String,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) config: Map<String, Value>,
    pub(crate) permissions: BTreeMap<String, bool>,
}

/// Why the plugin's manifest could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("no manifest: ROCKSTAR_PLUGIN_DIR is not set; the plugin is started by its host, not by hand")]
    NoDirectory,
    #[error("no manifest: neither plugin.yaml nor plugin.json in {0}")]
    Absent(PathBuf),
    #[error("failed to read {0}: {1}")]
    Read(PathBuf, io::Error),
    #[error("failed to parse {0}: {1}")]
    Parse(PathBuf, serde_yaml::Error),
}

/// The manifest in the directory that the host names; an empty one if there is none (see [`check`]).
pub(crate) fn current() -> &'static Manifest {
    static EMPTY: OnceLock<Manifest> = OnceLock::new();
    loaded().as_ref().unwrap_or_else(|_| EMPTY.get_or_init(Manifest::default))
}

/// Why [`current`] is empty, if it could not be read.
pub(crate) fn check() -> Result<(), &'static ManifestError> {
    loaded().as_ref().map(|_| ())
}

fn loaded() -> &'static Result<Manifest, ManifestError> {
    static LOADED: OnceLock<Result<Manifest, ManifestError>> = OnceLock::new();
    LOADED.get_or_init(|| {
        let dir = env::var_os("ROCKSTAR_PLUGIN_DIR").ok_or(ManifestError::NoDirectory)?;
        load(Path::new(&dir))
    })
}

fn load(dir: &Path) -> Result<Manifest, ManifestError> {
    let path = FILES.iter().map(|f| dir.join(f)).find(|p| p.exists());
    let path = path.ok_or_else(|| ManifestError::Absent(dir.into()))?;
    let text = fs::read_to_string(&path).map_err(|e| ManifestError::Read(path.clone(), e))?;
    // JSON is YAML too.
    serde_yaml::from_str(&text).map_err(|e| ManifestError::Parse(path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = "name: auth\nversion: 1.2.0\ndescription: d\nauthor: a\nhooks: [{type: startup}]\n\
        dependencies: [{name: cache, version: '>=2.0.0'}]\nconfig: {ttl: {type: duration, default: 24h}}\n";

    #[test]
    fn yaml_comes_before_json() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("plugin.json"), r#"{"name": "other", "version": "2.0.0"}"#).unwrap();
        assert_eq!(load(dir.path()).unwrap().name, "other");
        fs::write(dir.path().join("plugin.yaml"), YAML).unwrap();
        let manifest = load(dir.path()).unwrap();
        assert_eq!((manifest.name.as_str(), manifest.version.as_str()), ("auth", "1.2.0"));
        assert_eq!(manifest.dependencies[0].name, "cache");
        assert_eq!(manifest.config["ttl"]["default"], "24h");
    }

    #[test]
    fn an_empty_directory_is_named() {
        let dir = tempfile::tempdir().unwrap();
        assert!(load(dir.path()).unwrap_err().to_string().contains(&dir.path().display().to_string()));
    }
}
