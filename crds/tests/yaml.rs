//! The checked-in YAML is what the types say.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use rockstar_crds::yaml;
use std::{fs, path::Path};

fn check(directory: &str, files: [(&str, String); 2]) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    for (name, text) in files {
        let path = directory.join(name);
        let old = fs::read_to_string(&path).unwrap_or_default();
        assert!(old == text, "{} is stale: run `just gen`", path.display());
    }
}

#[test]
fn checked_in_yaml_is_current() {
    check("yaml", yaml::files().unwrap());
}

#[test]
fn the_charts_templates_are_current() {
    check("../charts/rockstar/templates/crds", yaml::templates().unwrap());
    assert!(yaml::files().unwrap().iter().all(|(_, text)| !text.contains("{{")), "Helm would read it");
}
