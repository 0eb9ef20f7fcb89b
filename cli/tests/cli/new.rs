//! `rockstar new`: the crate that it makes builds, passes its own test, and is valid; bad names and places are refused.

use crate::support::{rockstar, stderr, stdout};
use std::{fs, path::Path, process::Command};

fn made(name: &str, directory: &Path, more: &[&str]) -> std::process::Output {
    let path = directory.to_str().unwrap();
    rockstar(&[&["new", name, "--path", path], more].concat())
}

/// cargo in the new crate: with the SDK and the locked dependencies of this checkout, and what was built of them already.
fn cargo(directory: &Path, command: &str) -> std::process::Output {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    fs::copy(checkout.join("Cargo.lock"), directory.join("Cargo.lock")).unwrap();
    let target = Path::new(env!("CARGO_BIN_EXE_rockstar")).ancestors().nth(2).unwrap();
    Command::new(env!("CARGO"))
        .args([command, "--offline", "--quiet", "--target-dir"])
        .arg(target)
        .args(["--config", &format!("patch.crates-io.rockstar-plugin.path={:?}", checkout.join("sdk/plugin"))])
        .args(["--config", "profile.dev.debug='line-tables-only'", "--config", "profile.dev.package.'*'.debug=false"])
        .current_dir(directory)
        .output()
        .unwrap()
}

#[test]
fn a_new_plugin_passes_its_own_tests() {
    let dir = tempfile::tempdir().unwrap();
    let plugin = dir.path().join("greeting-plugin");
    let output = made("greeting-plugin", &plugin, &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output).contains("cargo test"), "{}", stdout(&output));
    let tested = cargo(&plugin, "test");
    assert!(tested.status.success(), "{}{}", stdout(&tested), stderr(&tested));
    assert!(stdout(&tested).contains("2 passed"), "{}", stdout(&tested));
}

#[test]
fn a_new_plugin_is_valid() {
    let dir = tempfile::tempdir().unwrap();
    let plugin = dir.path().join("p");
    assert!(made("my-plugin", &plugin, &[]).status.success());
    let files = ["plugin.yaml", "plugins.yaml", "dev/host.yaml", "dev/plugin.yaml"].map(|file| plugin.join(file));
    let files: Vec<_> = files.iter().map(|file| file.to_str().unwrap()).collect();
    let output = rockstar(&[&["validate"], &files[..]].concat());
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
    assert!(!stdout(&output).contains("warning"), "{}", stdout(&output));
}

#[test]
fn the_sdk_of_a_checkout_is_named_by_its_path() {
    let dir = tempfile::tempdir().unwrap();
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("sdk/plugin");
    let plugin = dir.path().join("p");
    assert!(made("my-plugin", &plugin, &["--sdk", sdk.to_str().unwrap()]).status.success());
    let manifest = fs::read_to_string(plugin.join("Cargo.toml")).unwrap();
    assert!(manifest.contains(&format!("rockstar-plugin = {{ path = {:?} }}", sdk.to_str().unwrap())), "{manifest}");
    let output = made("my-plugin", &dir.path().join("q"), &["--sdk", "/nowhere"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("/nowhere: no Cargo.toml of rockstar-plugin there"), "{}", stderr(&output));
    assert!(!dir.path().join("q").exists());
}

#[test]
fn what_exists_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("mine"), "x").unwrap();
    for place in [dir.path().to_owned(), dir.path().join("mine")] {
        let output = made("my-plugin", &place, &[]);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(&format!("{}: exists already", place.display())), "{}", stderr(&output));
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_bad_name_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["My Plugin", "../escape", "match", "1st"] {
        let output = made(name, &dir.path().join("p"), &[]);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(&format!("'{name}' cannot be a plugin's name")), "{}", stderr(&output));
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
