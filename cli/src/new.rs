//! `rockstar new`: a crate that is a plugin, with its manifest, a test against a host in memory, and what is needed to run
//! it. Writes files into a directory of its own.

mod name;

use crate::args::NewArgs;
use anyhow::Context as _;
use name::Name;
use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};
use thiserror::Error;

const SDK_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Where each file goes, and what is in it.
const TEMPLATE: [(&str, &str); 8] = [
    ("Cargo.toml", include_str!("new/template/Cargo.toml.in")),
    (".gitignore", "/target\n/dist\n"),
    ("README.md", include_str!("new/template/README.md.in")),
    ("plugin.yaml", include_str!("new/template/plugin.yaml.in")),
    ("plugins.yaml", include_str!("new/template/plugins.yaml.in")),
    ("dev/host.yaml", include_str!("new/template/host.yaml.in")),
    ("dev/plugin.yaml", include_str!("new/template/resource.yaml.in")),
    ("src/main.rs", include_str!("new/template/main.rs.in")),
];

#[derive(Debug, Error)]
enum NewError {
    #[error("{0}: exists already; choose another name, or another directory with --path")]
    Exists(PathBuf),
    #[error("{0}: no Cargo.toml of rockstar-plugin there; --sdk is the directory sdk/plugin of a checkout")]
    NoSdk(PathBuf),
    #[error("{path}: {error}")]
    Write { path: PathBuf, error: io::Error },
}

pub(crate) fn run(args: &NewArgs) -> anyhow::Result<ExitCode> {
    let name = Name::parse(&args.name)?;
    let directory = args.path.clone().unwrap_or_else(|| PathBuf::from(name.text()));
    let sdk = args.sdk.as_deref().map(dependency).transpose()?;
    write(&directory, &name, &sdk.unwrap_or_else(|| format!("\"{SDK_VERSION}\"")))
        .with_context(|| format!("cannot make plugin '{}'", name.text()))?;
    println!("Made plugin '{}' in {}. Next:\n", name.text(), directory.display());
    println!("  cd {}\n  cargo test", directory.display());
    println!("\nREADME.md says how to run it beside an application.");
    Ok(ExitCode::SUCCESS)
}

/// A checkout of the SDK as cargo names it.
fn dependency(sdk: &Path) -> Result<String, NewError> {
    let found =
        fs::read_to_string(sdk.join("Cargo.toml")).is_ok_and(|text| text.contains("name = \"rockstar-plugin\""));
    match sdk.canonicalize() {
        Ok(path) if found => Ok(format!("{{ path = {:?} }}", path.display().to_string())),
        _ => Err(NewError::NoSdk(sdk.to_owned())),
    }
}

/// Nothing of it exists before; what a failure leaves is taken away again.
fn write(directory: &Path, name: &Name, sdk: &str) -> Result<(), NewError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error: io::Error| match error.kind() {
            io::ErrorKind::AlreadyExists => NewError::Exists(path),
            _ => NewError::Write { path, error },
        }
    };
    fs::create_dir(directory).map_err(failed(directory))?;
    let written = TEMPLATE.iter().try_for_each(|(file, text)| {
        let path = directory.join(file);
        let folder = path.parent().unwrap_or(directory);
        fs::create_dir_all(folder).and_then(|()| fs::write(&path, filled(text, name, sdk))).map_err(failed(&path))
    });
    if written.is_err() {
        // The error that is reported says more than one of taking away.
        let _ = fs::remove_dir_all(directory);
    }
    written
}

fn filled(text: &str, name: &Name, sdk: &str) -> String {
    text.replace("{{name}}", name.text()).replace("{{type}}", &name.of_type()).replace("{{sdk}}", sdk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_places_are_filled() {
        let name = Name::parse("my-plugin").unwrap();
        for (file, text) in TEMPLATE {
            let filled = filled(text, &name, "\"1\"");
            assert!(!filled.contains("{{"), "{file}: {filled}");
        }
    }
}
