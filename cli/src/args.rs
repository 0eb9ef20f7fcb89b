//! What the command line says. The only place that reads arguments and their environment.

use crate::bound;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use std::{ffi::OsString, path::PathBuf};

/// Plugins for applications on Kubernetes: make them, check them, publish them, try them on this machine.
#[derive(Debug, Parser)]
#[command(name = "rockstar", version, arg_required_else_help = true, max_term_width = 120)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    New(NewArgs),
    Dev(DevArgs),
    Validate(ValidateArgs),
    Push(PushArgs),
    Version(VersionArgs),
    /// Become another program that ends with its parent.
    #[command(name = bound::SUBCOMMAND, hide = true)]
    BoundExec {
        parent: u32,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
}

/// Make a new plugin: a crate that builds, with its manifest and a test.
///
/// The crate takes rockstar-plugin from its registry; --sdk takes it from a checkout instead.
#[derive(Debug, clap::Args)]
pub(crate) struct NewArgs {
    /// Name of the plugin and of the crate: small letters, digits and dashes, such as my-plugin.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Directory to make; NAME by default. Must not exist.
    #[arg(long, value_name = "DIR")]
    pub(crate) path: Option<PathBuf>,
    /// The SDK's directory in a checkout: …/sdk/plugin.
    #[arg(long, value_name = "DIR")]
    pub(crate) sdk: Option<PathBuf>,
}

/// Run a directory of Plugins and a PluginHost on this machine: the operator's logic, sidecars with real plugin
/// processes, and an application beside each. No cluster is needed.
///
/// Shows what runs until Ctrl-C. A file that is added, changed or removed is rolled out as a cluster would.
#[derive(Debug, clap::Args)]
pub(crate) struct DevArgs {
    /// Directory with YAML of Plugins, a PluginHost, Secrets and ConfigMaps.
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
    /// How many instances to run.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=32))]
    pub(crate) instances: u8,
    /// Play a good and a bad upgrade of the quickstart by itself, on a copy, and end; the last line is served=N failed=N.
    #[arg(long)]
    pub(crate) demo: bool,
    /// Keep the session's files and logs.
    #[arg(long)]
    pub(crate) keep: bool,
    /// The sidecar; rockstar-sidecar beside this program by default.
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) sidecar: Option<PathBuf>,
    /// The application; demo-app beside this program by default. Told by ADDR where to listen.
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) app: Option<PathBuf>,
}

/// Check manifests, plugins.{yaml,json,toml} and Plugin or PluginHost resources, without a cluster.
///
/// Exits with 0 if all files are valid (warnings allowed), 1 if one is not, 2 if one cannot be read.
#[derive(Debug, clap::Args)]
pub(crate) struct ValidateArgs {
    /// Files to check; what each one holds is told from its content. `-` is the standard input.
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// How to print what was found.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

/// Publish a plugin's directory as an OCI artifact.
///
/// Progress goes to the standard error; the last line on the standard output is REF@sha256:…, for `source.oci`.
#[derive(Debug, clap::Args)]
pub(crate) struct PushArgs {
    /// Directory with plugin.yaml or plugin.json and the plugin's program.
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
    /// Where to: REGISTRY/REPOSITORY[:TAG]; the tag defaults to the manifest's version.
    #[arg(value_name = "REF")]
    pub(crate) reference: String,
    /// Speak plain http to the registry, as is always done with localhost and 127.0.0.1.
    #[arg(long)]
    pub(crate) insecure: bool,
}

/// Print the version of this program and of the resources that it knows.
#[derive(Debug, clap::Args)]
pub(crate) struct VersionArgs {
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Text,
    Json,
}

impl Args {
    /// Parses the command line; under kubectl the help speaks of `kubectl rockstar`.
    pub(crate) fn from_command_line() -> Self {
        let mut command = Self::command();
        if called_by_kubectl() {
            command = command.bin_name("kubectl rockstar");
        }
        let matches = command.get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

fn called_by_kubectl() -> bool {
    let program = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    program.file_stem().is_some_and(|stem| stem == "kubectl-rockstar" || stem == "kubectl_rockstar")
}
