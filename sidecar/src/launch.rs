//! From a target to a process that has shaken hands: its private directory, its start, the handshake and what is checked
//! in it. Does I/O; holds nothing up, for the version before still serves.

mod directory;
mod handshake;

pub use directory::{PrivateDirectory, sweep};
pub use handshake::HandshakeError;

use crate::{
    artifact::{Artifact, Lease, Store},
    bounds,
    confine::{self, Confiner},
    context,
    failure::{Class, Failure, Step},
    framework::Framework,
    instance::{Instance, Parts},
    link::Link,
    peers,
    process::{
        Exhaustion, Launch, Process, ProcessLimits, SpawnError, Spawner, is_shortage,
        sandbox::{DATA, TEMPORARY},
    },
    slot::{Listed, Slot},
    target::Target,
};
use futures::{StreamExt, stream};
use rockstar_core::{
    config,
    limits::Limit,
    manifest::{self, Manifest, Parsed},
    permission::{self, Permission, PermissionError},
    text::{MAX_FAILURE, bounded},
};
use rockstar_proto::plugin::Description;
use serde_json::{Map, Value};
use std::{collections::BTreeMap, io::ErrorKind, path::Path, sync::Arc, time::Duration};
use tokio::{task::AbortHandle, time::Instant};
use tokio_stream::wrappers::ReceiverStream;

/// How long each step may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub handshake: Duration,
    pub initialize: Duration,
    pub start: Duration,
    pub config_change: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            initialize: Duration::from_secs(60),
            start: Duration::from_secs(60),
            config_change: Duration::from_secs(10),
        }
    }
}

/// What launching needs of the sidecar.
#[derive(Debug)]
pub struct Launcher {
    pub spawner: Spawner,
    pub store: Store,
    /// The private directories are made here.
    pub run: std::path::PathBuf,
    pub limits: Limits,
    /// What this sidecar and its plugins may use together, in bytes; None: as much as there is.
    pub memory: Option<u64>,
    pub framework: Arc<Framework>,
    pub confiner: Arc<Confiner>,
}

/// A plugin's process with all that belongs to it. Dropping it ends all of it at once.
#[derive(Debug)]
pub struct Launched {
    pub instance: Arc<Instance>,
    pub process: Process,
    pub artifact: Artifact,
    exhaustion: Exhaustion,
    _lease: Lease,
    context: AbortHandle,
    _listed: Listed,
    _directory: PrivateDirectory,
}

impl Launched {
    /// Whose fault a failure is: where threads or descriptors ran out meanwhile for all, it may be another plugin's.
    #[must_use]
    pub fn judge(&self, failure: Failure) -> Failure {
        judged(failure, &self.process, &self.exhaustion)
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        self.instance.link().set_down();
        self.context.abort();
    }
}

impl Launcher {
    /// Brings up a process of the target, up to the handshake.
    pub async fn launch(&self, target: &Target, slot: &Arc<Slot>) -> Result<Launched, Failure> {
        let (artifact, lease) = match &target.pinned {
            Some(artifact) => (artifact.clone(), self.store.lease(artifact)),
            None => self.store.fetch_leased(&target.body.source, target.pull_secret.as_deref()).await?,
        };
        self.store.note_use(slot.name(), &artifact);
        let manifest = agreed(&artifact, target)?;
        let (program, arguments) =
            artifact.command(&manifest).map_err(|error| error.as_given(&artifact, &target.body.source))?;
        check_strings(target, &program, &arguments)?;
        let confinement = self.confiner.confine(slot.name(), &artifact, &target.assignment.permissions)?;
        let exhaustion = self.spawner.exhaustion();
        let directory = PrivateDirectory::new(&self.run).map_err(disk)?;
        let listener = directory.listen().map_err(disk)?;
        let launch = Launch {
            plugin: slot.name().to_owned(),
            program,
            arguments,
            environment: environment(target, &artifact, directory.path()),
            directory: directory.path().to_owned(),
            limits: limits(target),
            limits_now: raised,
            confinement,
            host_socket: Some(directory.host_socket()),
        };
        let mut process = Process::start(&self.spawner, &launch).await.map_err(not_started)?;
        let listed = slot.list(confine::kernel_permissions(&target.assignment.permissions), process.killer());
        note_refusals(&process, slot);
        let deadline = Instant::now() + self.limits.handshake;
        let (link, description) =
            match handshake::shake(&process, &directory.plugin_socket(), &manifest, deadline).await {
                Ok(link) => link,
                Err(error) => {
                    let failure = with_last_lines(error, &mut process).await;
                    return Err(judged(failure, &process, &exhaustion));
                }
            };
        process.settle();
        // It may have removed it itself.
        directory.remove_plugin_socket().ok();
        let manifest = Arc::new(with_schema(manifest, &description));
        let instance = Arc::new(instance(target, manifest, link)?);
        let (name, spawner) = (slot.name().to_owned(), self.spawner.clone());
        let made = process.take_connections().map(ReceiverStream::new);
        let connections = peers::of_session(listener, process.session(), name, spawner);
        let connections = stream::select(connections, stream::iter(made).flatten().map(Ok));
        let context = context::serve(connections, Arc::clone(&instance), Arc::clone(slot), Arc::clone(&self.framework));
        let (_lease, _listed, _directory) = (lease, listed, directory);
        Ok(Launched { instance, process, artifact, exhaustion, _lease, context, _listed, _directory })
    }
}

/// The kernel lets a plugin fail at starting programs; here it becomes an error of the plugin that somebody sees. Ends with
/// the process.
fn note_refusals(process: &Process, slot: &Arc<Slot>) {
    let Some(mut refused) = process.refused() else { return };
    let slot = Arc::clone(slot);
    tokio::spawn(async move {
        let mut noted = 0;
        while refused.changed().await.is_ok() {
            let count = *refused.borrow_and_update();
            let denied = PermissionError::Denied { plugin: slot.name().to_owned(), permission: Permission::Exec };
            let text = denied.to_string();
            (noted..count).for_each(|_| slot.record.error(&text));
            noted = count;
            tracing::error!(plugin = slot.name(), permission = %Permission::Exec, "{text}");
        }
    });
}

/// The manifest to go by: the declared one, which the artifact's own must not contradict.
fn agreed(artifact: &Artifact, target: &Target) -> Result<Manifest, Failure> {
    let declared = &target.body.manifest;
    if artifact.has_manifest() {
        same(artifact.manifest()?, target)?;
    }
    permission::check_declared(declared, &target.assignment.permissions)
        .map_err(|error| Failure::revision(Step::Load, "PermissionMismatch", error))?;
    Ok(declared.clone())
}

fn same(parsed: Parsed, target: &Target) -> Result<(), Failure> {
    warn(&target.assignment.plugin, &parsed.warnings);
    let (own, declared) = (parsed.manifest, &target.body.manifest);
    let pairs =
        [("name", own.name, declared.name.clone()), ("version", own.version.to_string(), declared.version.to_string())];
    for (field, own, declared) in pairs {
        if own != declared {
            let text = format!("manifest mismatch: {field} is '{declared}' as declared but '{own}' in the artifact");
            return Err(Failure::revision(Step::Load, "ManifestMismatch", text));
        }
    }
    Ok(())
}

/// The manifest's keys rule; keys that only the plugin reports are added.
fn with_schema(mut manifest: Manifest, description: &Description) -> Manifest {
    let reported = description.config_schema.as_ref().map(|m| Value::Object(m.to_json()));
    match reported.map(|schema| manifest::config_schema(&schema)) {
        None => {}
        Some(Ok(schema)) => {
            for (key, rule) in schema {
                manifest.config.entry(key).or_insert(rule);
            }
        }
        Some(Err(error)) => warn(&manifest.name, &[format!("what ConfigSchema reports is ignored: {error}")]),
    }
    manifest
}

fn instance(target: &Target, manifest: Arc<Manifest>, link: Link) -> Result<Instance, Failure> {
    let config = configure(&manifest, target)?;
    let (revision, permissions) = (target.assignment.revision.clone(), target.assignment.permissions.clone());
    Ok(Instance::new(Parts { manifest, revision, link, config, permissions }))
}

/// The values of a target with the schema's defaults.
pub fn configure(manifest: &Manifest, target: &Target) -> Result<Map<String, Value>, Failure> {
    let applied = config::apply(&manifest.config, &target.assignment.config)
        .map_err(|error| Failure::revision(Step::Load, "ConfigInvalid", error))?;
    warn(&manifest.name, &applied.warnings);
    Ok(applied.values)
}

/// What no process can be given is the revision's fault, and no machine's.
fn check_strings(target: &Target, program: &Path, arguments: &[String]) -> Result<(), Failure> {
    let is_odd = |text: &str| text.contains('\0');
    let variables = target.body.env.iter();
    let odd = variables.map(|(key, _)| key).find(|key| key.is_empty() || is_odd(key) || key.contains('='));
    let odd = odd.or(target.body.env.iter().find(|(_, value)| is_odd(value)).map(|(key, _)| key));
    if let Some(key) = odd {
        let text = format!("invalid environment: '{}' cannot be given to a process", bounded(key, MAX_FAILURE / 2));
        return Err(Failure::revision(Step::Load, "EnvInvalid", text));
    }
    match is_odd(&program.to_string_lossy()) || arguments.iter().any(|argument| is_odd(argument)) {
        true => Err(Failure::revision(Step::Load, "CommandInvalid", "invalid command: it contains a NUL")),
        false => Ok(()),
    }
}

/// All that a plugin sees of the outside; nothing of the sidecar's own.
fn environment(target: &Target, artifact: &Artifact, directory: &Path) -> BTreeMap<String, String> {
    let path = |p: &Path| p.display().to_string();
    let given = target.body.env.iter().map(|(k, v)| (k.clone(), v.clone()));
    let own = [
        ("PATH", "/usr/local/bin:/usr/bin:/bin".to_owned()),
        ("HOME", path(&directory.join(DATA))),
        ("TMPDIR", path(&directory.join(TEMPORARY))),
        // Go's collector works harder before the limit, rather than meet it.
        ("GOMEMLIMIT", (target.memory() / 10 * 9).to_string()),
    ];
    let ours = [
        ("ROCKSTAR_PLUGIN_SOCKET", directory::PLUGIN_SOCKET.to_owned()),
        ("ROCKSTAR_HOST_SOCKET", directory::HOST_SOCKET.to_owned()),
        ("ROCKSTAR_PLUGIN_DIR", path(&artifact.directory)),
        ("ROCKSTAR_PLUGIN_NAME", target.assignment.plugin.clone()),
    ];
    let named = |(key, value): (&str, String)| (key.to_owned(), value);
    own.map(named).into_iter().chain(given).chain(ours.map(named)).collect()
}

fn warn(plugin: &str, warnings: &[String]) {
    for warning in warnings {
        tracing::warn!(plugin, "Plugin {plugin}: {warning}");
    }
}

fn disk(cause: std::io::Error) -> Failure {
    let text = format!("failed to make the plugin's private directory: {cause}");
    Failure::environment(Step::Load, "StorageUnavailable", text)
}

fn judged(failure: Failure, process: &Process, exhaustion: &Exhaustion) -> Failure {
    let own = process.has_ended().is_some_and(|ended| ended.overrun.is_some());
    if failure.class == Class::Environment || !exhaustion.has_happened(own) {
        return failure;
    }
    let message = format!("{}; threads or descriptors had run out for all plugins, which may be why", failure.message);
    Failure { class: Class::Environment, reason: "ResourcesExhausted", message, ..failure }
}

/// What its processes may take together.
fn limits(target: &Target) -> ProcessLimits {
    let limits = bounds::limits();
    ProcessLimits {
        memory: target.memory(),
        threads: limits.get(Limit::Threads),
        descriptors: limits.get(Limit::Descriptors),
        data: limits.get(Limit::Data),
        tmp: limits.get(Limit::Tmp),
    }
}

/// What was raised counts for processes that run, too. What was lowered does not: it would end many plugins at once.
fn raised(began: ProcessLimits) -> ProcessLimits {
    let limits = bounds::limits();
    let more = |began: u64, limit| began.max(limits.get(limit));
    ProcessLimits {
        memory: began.memory,
        threads: more(began.threads, Limit::Threads),
        descriptors: more(began.descriptors, Limit::Descriptors),
        data: more(began.data, Limit::Data),
        tmp: more(began.tmp, Limit::Tmp),
    }
}

fn not_started(error: SpawnError) -> Failure {
    match error {
        SpawnError::Execute { ref cause, .. } if is_shortage(cause) || cause.kind() == ErrorKind::WouldBlock => {
            Failure::environment(Step::Load, "ResourcesExhausted", error)
        }
        SpawnError::Execute { .. } => Failure::revision(Step::Load, "ExecFailed", error),
        SpawnError::Confine(_) => Failure::environment(Step::Load, "SandboxUnavailable", error),
        SpawnError::Spawn(_) | SpawnError::Slow => Failure::environment(Step::Load, "SpawnFailed", error),
    }
}

async fn with_last_lines(error: HandshakeError, process: &mut Process) -> Failure {
    let message = format!("{error}{}", last_lines(process).await);
    Failure { class: error.class(), step: Step::Load, reason: error.reason(), message }
}

/// What a text about a process ends with, if it printed anything.
pub async fn last_lines(process: &mut Process) -> String {
    match process.last_lines().await {
        lines if lines.is_empty() => String::new(),
        lines => format!("; last lines on stderr: {}", lines.join(" | ")),
    }
}
