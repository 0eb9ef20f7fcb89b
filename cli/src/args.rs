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
    #[command(flatten)]
    Manage(ManageCommand),
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

/// What is asked of one running sidecar.
#[derive(Debug, Subcommand)]
pub(crate) enum ManageCommand {
    /// List the plugins of a running sidecar with version and status.
    List(ServerArgs),
    /// Show one plugin: what it is, its status, what it requires and what requires it.
    Get(NamedArgs),
    /// Load a plugin from its directory or program into a stand-alone sidecar.
    Load(LoadArgs),
    /// Have a stand-alone sidecar run the plugins of a plugins file, and no others.
    LoadConfig(LoadConfigArgs),
    /// Initialise all plugins that are loaded and not initialised yet, in order; the first failure ends it.
    Initialize(ServerArgs),
    /// Start all plugins that are initialised or stopped, in order.
    Start(ServerArgs),
    /// Stop all plugins of a stand-alone sidecar, dependents first; they stay loaded.
    Stop(ServerArgs),
    /// Unload a plugin from a stand-alone sidecar; those that require it stay.
    Unload(NamedArgs),
    /// Replace a plugin's process by a new one of what is on disk; if that fails the old version comes back.
    Reload(ReloadArgs),
    /// Show the health of one plugin or of all: status, errors, hooks.
    Health(HealthArgs),
    /// Show which plugin depends on which, and what is wrong with that.
    Graph(ServerArgs),
    /// Say why a plugin is in its status: its last error, what it lacks, who requires it.
    Why(NamedArgs),
    /// Set a plugin's error threshold in a stand-alone sidecar, instead of the configured one.
    Threshold(ThresholdArgs),
    /// Show what is measured of a plugin, its own metrics included.
    Metrics(NamedArgs),
}

// Which sidecar, and how to print. No doc comment: it would be the help of every command that takes it.
#[derive(Debug, clap::Args)]
pub(crate) struct ServerArgs {
    /// The sidecar's admin address: HOST:PORT or a URL. In a pod it is on port 9464.
    #[arg(long, env = "ROCKSTAR_ADMIN", value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub(crate) admin: String,
    /// File with the sidecar's admin token, in its run directory. One of this user on this machine is found by itself
    #[arg(long, env = "ROCKSTAR_ADMIN_TOKEN", value_name = "FILE")]
    pub(crate) token: Option<PathBuf>,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

#[derive(Debug, clap::Args)]
pub(crate) struct NamedArgs {
    /// The plugin's name.
    #[arg(value_name = "PLUGIN")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct HealthArgs {
    /// The plugin's name; all plugins if it is left out.
    #[arg(value_name = "PLUGIN")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct LoadArgs {
    /// The plugin's directory or program.
    #[arg(value_name = "PATH")]
    pub(crate) path: PathBuf,
    /// A configuration value; JSON, or else a text.
    #[arg(long = "config", value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) config: Vec<(String, serde_json::Value)>,
    /// A permission to grant: database, cache, router, config, filesystem, network or exec.
    #[arg(long = "permission", value_name = "NAME")]
    pub(crate) permissions: Vec<String>,
    /// Where it stands in the load order; higher is earlier, 100 by default.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(crate) priority: Option<i32>,
    /// Initialise and start it too, as any other that is loaded and not running.
    #[arg(long)]
    pub(crate) start: bool,
    /// Only list it, as one whose entry says enabled: false.
    #[arg(long, conflicts_with = "start")]
    pub(crate) disabled: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct LoadConfigArgs {
    /// The plugins file: .yaml, .yml, .json or .toml. The sidecar reads it; paths in it start where the sidecar does.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ReloadArgs {
    /// The plugin's name.
    #[arg(value_name = "PLUGIN")]
    pub(crate) name: String,
    /// For this reload: how long requests wait before they get 503, such as 60s.
    #[arg(long, value_name = "DURATION")]
    pub(crate) queue_timeout: Option<String>,
    /// For this reload: with so many requests waiting the next one gets 503 at once.
    #[arg(long, value_name = "N")]
    pub(crate) max_queue_size: Option<u32>,
    /// For this reload: block lets requests wait, reject answers them with 503 at once.
    #[arg(long, value_name = "STRATEGY", value_parser = ["block", "reject"])]
    pub(crate) queue_strategy: Option<String>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ThresholdArgs {
    /// The plugin's name.
    #[arg(value_name = "PLUGIN")]
    pub(crate) name: String,
    /// So many errors within the window; 100 by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_errors: Option<u32>,
    /// The window, such as 5m, which is the default.
    #[arg(long, value_name = "DURATION")]
    pub(crate) time_window: Option<String>,
    /// What follows: disable, log or alert; disable by default.
    #[arg(long, value_name = "ACTION", value_parser = ["disable", "log", "alert"])]
    pub(crate) action: Option<String>,
    /// Whether a call without an error begins the count anew; true by default.
    #[arg(long, value_name = "BOOL")]
    pub(crate) reset_on_success: Option<bool>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

fn key_value(text: &str) -> Result<(String, serde_json::Value), String> {
    let (key, value) = text.split_once('=').ok_or("it must be KEY=VALUE")?;
    let parsed = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    Ok((key.to_owned(), parsed))
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
