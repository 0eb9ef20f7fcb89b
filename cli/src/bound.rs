//! A program that ends with its parent: this process binds itself to it, then becomes the program. Runs before anything else.

use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use std::{ffi::OsString, os::unix::process::CommandExt as _, process::Command};
use thiserror::Error;

/// The hidden subcommand.
pub(crate) const SUBCOMMAND: &str = "bound-exec";

#[derive(Debug, Error)]
pub(crate) enum BoundError {
    #[error("cannot bind to the parent process: {0}")]
    Bind(rustix::io::Errno),
    #[error("the parent process has ended")]
    Orphan,
    #[error("no program given")]
    NoProgram,
    #[error("cannot run {program}: {error}")]
    Exec { program: String, error: std::io::Error },
}

/// Returns only if it failed.
pub(crate) fn run(parent: u32, command: &[OsString]) -> BoundError {
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return BoundError::Bind(error);
    }
    // It may have ended before it was bound to.
    if getppid().is_none_or(|now| now.as_raw_nonzero().get().unsigned_abs() != parent) {
        return BoundError::Orphan;
    }
    let Some((program, args)) = command.split_first() else { return BoundError::NoProgram };
    let error = Command::new(program).args(args).exec();
    BoundError::Exec { program: program.display().to_string(), error }
}
