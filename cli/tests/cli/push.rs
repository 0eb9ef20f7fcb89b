//! `rockstar push` against a real registry.

use crate::support::{Registry, plugin, program, rockstar, stderr, stdout};
use flate2::read::GzDecoder;
use serde_json::Value;
use std::{fs, path::Path};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn push(dir: &Path, reference: &str) -> (Option<i32>, String, String) {
    let output = rockstar(&["push", dir.to_str().unwrap(), reference]);
    (output.status.code(), stdout(&output), stderr(&output))
}

#[test]
fn the_artifact_has_the_documented_form() {
    let registry = Registry::start();
    let dir = plugin("auth-plugin", "1.2.0");
    fs::write(dir.path().join("words.txt"), "data").unwrap();
    let reference = format!("{}/plugins/auth:1.2.0", registry.address);

    let (code, out, err) = push(dir.path(), &reference);
    assert_eq!(code, Some(0), "{err}");
    let last = out.lines().last().unwrap();
    let digest = last.strip_prefix(&format!("{reference}@")).unwrap();

    let manifest: Value =
        serde_json::from_slice(&registry.get(&format!("/v2/plugins/auth/manifests/{digest}"), MANIFEST)).unwrap();
    assert_eq!(manifest["artifactType"], "application/vnd.rockstar.plugin.v1");
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.rockstar.plugin.manifest.v1+json");
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 1);
    assert_eq!(manifest["layers"][0]["mediaType"], "application/vnd.rockstar.plugin.files.v1.tar+gzip");

    let blob = |descriptor: &Value| {
        registry.get(&format!("/v2/plugins/auth/blobs/{}", descriptor["digest"].as_str().unwrap()), "*/*")
    };
    let config: Value = serde_json::from_slice(&blob(&manifest["config"])).unwrap();
    assert_eq!((&config["name"], &config["version"]), (&"auth-plugin".into(), &"1.2.0".into()));
    let files = blob(&manifest["layers"][0]);
    let mut tar = tar::Archive::new(GzDecoder::new(files.as_slice()));
    let names: Vec<_> = tar.entries().unwrap().map(|e| e.unwrap().path().unwrap().display().to_string()).collect();
    assert_eq!(names, ["auth-plugin", "plugin.yaml", "words.txt"]);
}

#[test]
fn the_same_directory_has_the_same_digest() {
    let registry = Registry::start();
    let (one, two) = (plugin("auth-plugin", "1.2.0"), plugin("auth-plugin", "1.2.0"));
    let reference = format!("{}/auth", registry.address);
    let first = push(one.path(), &reference);
    let second = push(two.path(), &reference);
    assert_eq!((first.0, second.0), (Some(0), Some(0)), "{}{}", first.2, second.2);
    assert_eq!(first.1, second.1);
    assert!(first.1.starts_with(&format!("{reference}:1.2.0@sha256:")), "{}", first.1);
    assert!(second.2.contains("has these files already"), "{}", second.2);
}

#[test]
fn a_directory_that_is_no_plugin_is_not_sent() {
    let bad = |change: &dyn Fn(&Path)| {
        let dir = plugin("auth-plugin", "1.2.0");
        change(dir.path());
        // Nothing listens there: a push that is tried ends with another code.
        let (code, _, err) = push(dir.path(), "127.0.0.1:1/auth");
        assert_eq!(code, Some(1), "{err}");
        err
    };
    assert!(bad(&|dir| fs::remove_file(dir.join("plugin.yaml")).unwrap()).contains("no plugin.yaml or plugin.json"));
    assert!(bad(&|dir| fs::remove_file(dir.join("auth-plugin")).unwrap()).contains("plugin file not found"));
    assert!(bad(&|dir| program(&dir.join("auth-plugin"), 0o644)).contains("not executable"));
    let err = bad(&|dir| fs::write(dir.join("plugin.yaml"), "name: auth-plugin\nversion: 1.2.0\n").unwrap());
    assert!(err.contains("plugin.yaml") && err.contains("missing required field: description"), "{err}");
}

#[test]
fn a_registry_that_is_away_is_named() {
    let dir = plugin("auth-plugin", "1.2.0");
    let (code, out, err) = push(dir.path(), "127.0.0.1:1/auth");
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(err.contains("127.0.0.1:1") && err.contains("logging in"), "{err}");
}
