//! The command line. No I/O.

use crate::process::sandbox::Volume;
use clap::{Parser, ValueEnum};
use rockstar_core::duration;
use semver::Version;
use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// Hosts plugins beside an application.
#[derive(Debug, Parser)]
#[command(name = "rockstar-sidecar", version)]
pub struct Arguments {
    /// Run the plugins of this file (.yaml, .json or .toml), without an operator
    #[arg(long, env = "ROCKSTAR_CONFIG", value_name = "FILE", conflicts_with = "control")]
    pub config: Option<PathBuf>,
    /// Run what the operator at this address says: https://HOST:PORT, or unix:/PATH
    #[arg(long, env = "ROCKSTAR_CONTROL", value_name = "URL", required_unless_present = "config")]
    pub control: Option<String>,
    /// CA certificates that the operator is checked against
    #[arg(long, env = "ROCKSTAR_CONTROL_CA", value_name = "FILE")]
    pub control_ca: Option<PathBuf>,
    /// Bearer token for the operator
    #[arg(long, env = "ROCKSTAR_CONTROL_TOKEN", value_name = "FILE")]
    pub control_token: Option<PathBuf>,
    /// Unix socket for the application [default: ./rockstar.sock, with --control /run/rockstar/app/app.sock]
    #[arg(long, env = "ROCKSTAR_SOCKET", value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Private directory for what lives as long as the sidecar, and without --control for plugin processes [default: a temporary one, with --control /run/rockstar]
    #[arg(long, env = "ROCKSTAR_RUN_DIR", value_name = "DIR")]
    pub run_dir: Option<PathBuf>,
    /// Directory for artifacts and state, and with --control for plugin processes [default: in the run directory, with --control /var/lib/rockstar]
    #[arg(long, env = "ROCKSTAR_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Address of metrics, health and admin [default: 127.0.0.1:8080, with --control 0.0.0.0:9464]
    #[arg(long, env = "ROCKSTAR_ADMIN", value_name = "ADDR")]
    pub admin: Option<SocketAddr>,
    /// End with an error if any plugin fails to load at the start
    #[arg(long, env = "ROCKSTAR_STRICT")]
    pub strict: bool,
    #[arg(long, env = "ROCKSTAR_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// Registry that is spoken to over plain HTTP; localhost always is
    #[arg(
        long = "insecure-registry",
        env = "ROCKSTAR_INSECURE_REGISTRIES",
        value_name = "HOST[:PORT]",
        value_delimiter = ','
    )]
    pub insecure_registries: Vec<String>,
    /// Version that plugins' `framework` constraints are checked against, unless the file or the operator says
    #[arg(long, env = "ROCKSTAR_FRAMEWORK_VERSION", value_name = "X.Y.Z", default_value = "1.0.0")]
    pub framework_version: Version,
    /// Directory that plugins with the permission `filesystem` may use; DIR:ro to read only
    #[arg(long = "volume", env = "ROCKSTAR_VOLUMES", value_name = "DIR[:ro]", value_delimiter = ',')]
    pub volumes: Vec<Volume>,
    /// Bytes of memory that the sidecar and its plugins may use together: no plugin starts whose limit goes beyond
    #[arg(long, env = "ROCKSTAR_MEMORY_LIMIT", value_name = "BYTES")]
    pub memory_limit: Option<u64>,
    /// File that says at the end what served, for the pod's status; only written if it is there
    #[arg(long, env = "ROCKSTAR_TERMINATION_LOG", value_name = "FILE", default_value = "/dev/termination-log")]
    pub termination_log: PathBuf,
    /// How long the sidecar has from the end of its pod to its own
    #[arg(long, env = "ROCKSTAR_GRACE_PERIOD", value_name = "DURATION", default_value = "30s", value_parser = duration::parse)]
    pub grace_period: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Json,
    Text,
}

impl Arguments {
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| self.either("rockstar.sock", "/run/rockstar/app/app.sock").into())
    }

    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin.unwrap_or_else(|| match self.config.is_some() {
            true => SocketAddr::from(([127, 0, 0, 1], 8080)),
            false => SocketAddr::from(([0, 0, 0, 0], 9464)),
        })
    }

    const fn either(&self, alone: &'static str, controlled: &'static str) -> &'static str {
        if self.config.is_some() { alone } else { controlled }
    }
}
