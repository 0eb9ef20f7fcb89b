//! Everything that runs for one `rockstar dev`: the operator in this process, sidecars and applications beside it.

use super::{
    children::{Children, Exited},
    instance::Instance,
    ports,
};
use crate::args::DevArgs;
use anyhow::{Context as _, Result, ensure};
use rockstar_operator::dev::{self, DirectoryOptions, Handle, Snapshot};
use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Mutex,
};
use tempfile::TempDir;
use tokio::{
    sync::{mpsc, watch},
    task::spawn_blocking,
};
use tracing_subscriber::EnvFilter;

/// What to run.
#[derive(Debug)]
pub(super) struct Options {
    directory: PathBuf,
    instances: usize,
    sidecar: PathBuf,
    app: PathBuf,
}

impl Options {
    pub(super) fn new(args: &DevArgs, directory: &Path) -> Result<Self> {
        let directory = directory.canonicalize().with_context(|| directory.display().to_string())?;
        ensure!(directory.is_dir(), "{}: not a directory; expected one with YAML files", directory.display());
        Ok(Self {
            directory,
            instances: usize::from(args.instances),
            sidecar: program(args.sidecar.as_deref(), "rockstar-sidecar", "--sidecar")?,
            app: program(args.app.as_deref(), "demo-app", "--app")?,
        })
    }
}

/// The given program, or the one beside this one.
fn program(given: Option<&Path>, name: &str, flag: &str) -> Result<PathBuf> {
    let path = match given {
        Some(path) => path.to_owned(),
        None => std::env::current_exe()?.with_file_name(name),
    };
    path.canonicalize().with_context(|| format!("{}: build it, or name it with {flag}", path.display()))
}

/// A running session. Dropping it ends it without waiting for the operator.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) instances: Vec<Instance>,
    operator: Handle,
    children: Children,
    run: TempDir,
}

impl Session {
    /// The second value tells of processes that end by themselves.
    pub(super) async fn start(options: Options) -> Result<(Self, mpsc::Receiver<Exited>)> {
        let run = tempfile::Builder::new().prefix("rockstar-dev-").tempdir().context("no directory for the session")?;
        log_to(&run.path().join("operator.log"))?;
        let instances = instances(options.instances, run.path())?;
        let control = run.path().join("control.sock");
        let members = instances.iter().map(Instance::member).collect();
        let operator =
            dev::start(DirectoryOptions { dir: options.directory, listen: control.clone(), members }).await?;
        let (children, exited) = Children::new()?;
        for instance in &instances {
            instance.prepare().with_context(|| format!("no directory for {}", instance.name))?;
            children.start(instance.sidecar(&options.sidecar, &control)).await?;
            children.start(instance.application(&options.app)).await?;
        }
        Ok((Self { instances, operator, children, run }, exited))
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        self.operator.snapshot()
    }

    /// Ticks whenever the snapshot changed.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.operator.changes()
    }

    /// Where logs and files of this session are.
    pub(super) fn directory(&self) -> &Path {
        self.run.path()
    }

    /// Ends processes, then the operator; keeps the files if asked to.
    pub(super) async fn end(self, keep: bool) -> Result<()> {
        let Self { operator, mut children, run, .. } = self;
        spawn_blocking(move || children.end()).await?;
        operator.stop().await;
        if keep {
            eprintln!("kept: {}", run.keep().display());
        }
        Ok(())
    }
}

fn instances(count: usize, run: &Path) -> Result<Vec<Instance>> {
    let ports = ports::free(count * 2).context("no free port on 127.0.0.1")?;
    let (apps, admins) = ports.split_at(count);
    let addresses = apps.iter().zip(admins);
    Ok(addresses.enumerate().map(|(index, (app, admin))| Instance::new(index + 1, run, *app, *admin)).collect())
}

/// The operator's log, out of the way of the table.
fn log_to(path: &Path) -> Result<()> {
    let file = File::create(path).with_context(|| path.display().to_string())?;
    let filter = EnvFilter::try_from_env("ROCKSTAR_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(Mutex::new(file));
    // Only the first session of a process logs; there is one.
    let _ = subscriber.try_init();
    Ok(())
}
