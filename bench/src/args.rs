//! What the command line says.

use crate::load::Window;
use clap::{Parser, Subcommand};
use std::{ffi::OsString, path::PathBuf, time::Duration};

#[derive(Debug, Parser)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Measure everything and print the result.
    Run(RunArgs),
    /// Kill a plugin's process again and again, and print what the sidecar holds.
    Kills {
        #[arg(long, default_value_t = 1000)]
        count: usize,
    },
    /// Become another program that ends with its parent.
    #[command(hide = true)]
    Become {
        parent: u32,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
    /// The raw chain's plugin.
    #[command(hide = true)]
    Leaf { socket: PathBuf },
    /// The raw chain's middle.
    #[command(hide = true)]
    Relay { socket: PathBuf, plugin: PathBuf },
}

#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// The program built from bench/go-plugin.
    #[arg(long)]
    pub(crate) go_plugin: PathBuf,
    /// The page that takes the result.
    #[arg(long)]
    pub(crate) page: Option<PathBuf>,
    /// Seconds that are counted, for each chain and number of callers.
    #[arg(long, default_value_t = 5)]
    pub(crate) seconds: u64,
}

impl RunArgs {
    pub(crate) fn window(&self) -> Window {
        Window { warm_up: Duration::from_secs(1), counted: Duration::from_secs(self.seconds) }
    }
}
