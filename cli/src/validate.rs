//! `rockstar validate`: files are checked as the sidecar, the API server and the operator would. Reads files, prints.

mod document;
mod finding;
mod plugin;
mod report;
mod resource;
mod schema;

use crate::args::ValidateArgs;
use document::Checked;
use rockstar_core::document::Format;
use serde::Serialize;
use std::{
    fs, io,
    io::Read as _,
    path::{Path, PathBuf},
    process::ExitCode,
};
use thiserror::Error;

/// More is no configuration.
const LARGEST: u64 = 16 << 20;
const STDIN: &str = "-";

#[derive(Debug, Error)]
enum FileError {
    #[error("{path}: {error}")]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("{0}: larger than 16 MiB, which no configuration is")]
    TooLarge(PathBuf),
    #[error("{0}: unknown extension; expected .yaml, .yml, .json or .toml")]
    Extension(PathBuf),
}

/// A file with its documents.
#[derive(Debug, Serialize)]
struct Report {
    file: PathBuf,
    documents: Vec<Checked>,
}

impl Report {
    fn is_valid(&self) -> bool {
        self.documents.iter().all(Checked::is_valid)
    }
}

pub(crate) fn run(args: &ValidateArgs) -> anyhow::Result<ExitCode> {
    let reports = args.files.iter().map(|path| check_file(path)).collect::<Result<Vec<_>, _>>()?;
    report::print(&reports, args.output)?;
    Ok(if reports.iter().all(Report::is_valid) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn check_file(path: &Path) -> Result<Report, FileError> {
    let format = format(path)?;
    let text = read(path).map_err(|error| FileError::Unreadable { path: path.to_owned(), error })?;
    if text.len() as u64 > LARGEST {
        return Err(FileError::TooLarge(path.to_owned()));
    }
    Ok(Report { file: path.to_owned(), documents: document::check(&text, format) })
}

/// The standard input is YAML, and so may be JSON.
fn format(path: &Path) -> Result<Format, FileError> {
    if path.as_os_str() == STDIN {
        return Ok(Format::Yaml);
    }
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.and_then(Format::from_extension).ok_or_else(|| FileError::Extension(path.to_owned()))
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    if path.as_os_str() == STDIN {
        io::stdin().take(LARGEST + 1).read_to_string(&mut text)?;
    } else {
        fs::File::open(path)?.take(LARGEST + 1).read_to_string(&mut text)?;
    }
    Ok(text)
}
