//! Writes `proto/src/generated` from the .proto files, with no protoc. Its test says whether what is checked in is current.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

const FILES: [&str; 4] = [
    "rockstar/types/v1/types.proto",
    "rockstar/app/v1/app.proto",
    "rockstar/plugin/v1/plugin.proto",
    "rockstar/control/v1/control.proto",
];

fn main() -> Result<()> {
    generate(&checked_in())
}

fn proto() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn checked_in() -> PathBuf {
    proto().join("src/generated")
}

fn generate(out: &Path) -> Result<()> {
    std::fs::create_dir_all(out).with_context(|| format!("failed to create {}", out.display()))?;
    let descriptors = protox::compile(FILES, [proto()])?;
    let config = tonic_prost_build::configure().bytes(".").emit_rerun_if_changed(false).out_dir(out);
    config.compile_fds(descriptors).context("failed to generate code")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeMap, fs};

    fn texts(dir: &Path) -> BTreeMap<String, String> {
        let entries = fs::read_dir(dir).unwrap().map(Result::unwrap);
        entries.map(|e| (e.file_name().into_string().unwrap(), fs::read_to_string(e.path()).unwrap())).collect()
    }

    #[test]
    fn checked_in_code_is_current() {
        let fresh = tempfile::tempdir().unwrap();
        generate(fresh.path()).unwrap();
        let (fresh, old) = (texts(fresh.path()), texts(&checked_in()));
        assert!(fresh.keys().eq(old.keys()), "files differ: run `just gen`");
        for (name, text) in &fresh {
            assert!(old[name] == *text, "{name} is stale: run `just gen`");
        }
    }
}
