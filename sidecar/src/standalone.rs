//! A sidecar without an operator: its plugins file is the desired state, read again when it changes. Does I/O.

mod watch;

use crate::{
    artifact::Store,
    configuration::Configuration,
    failure::{Class, Failure},
    framework::Framework,
    manager::{Applied, Desired, Manager, ManagerError},
    target::Target,
};
use rockstar_core::{
    assignment::{Assignment, Policies, Queue},
    backends::Backends,
    permission,
    pluginsfile::{self, Entry, FileError, Format, PluginsFile},
    resolve::{self, Input, Member, Node, Standing},
    revision::{self, Body, Resources, Source},
    sandbox::Sandbox,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::Mutex;

pub use watch::{Hangups, follow};

/// A file that cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum ConfigFileError {
    #[error("failed to read {}: {cause}", path.display())]
    Read { path: PathBuf, cause: io::Error },
    #[error("unknown configuration format: {}: the name must end in .yaml, .yml, .json or .toml", .0.display())]
    Format(PathBuf),
    #[error("{}: {cause}", path.display())]
    Parse { path: PathBuf, cause: FileError },
}

/// See the module.
#[derive(Debug)]
pub struct Standalone {
    manager: Arc<Manager>,
    store: Store,
    framework: Arc<Framework>,
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    file: Option<PluginsFile>,
    /// What failed by its own fault, and is not tried again until it differs.
    failed: BTreeMap<String, Target>,
}

/// How a load of the file ended.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    pub running: usize,
    /// Each plugin that does not run as the file says, and why.
    pub failed: BTreeMap<String, String>,
    /// Some failed by no fault of their own: disk, network. Another attempt may help.
    pub again: bool,
}

impl fmt::Display for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} plugins run, {} do not", self.running, self.failed.len())?;
        self.failed.iter().try_for_each(|(name, error)| write!(f, "; {name}: {error}"))
    }
}

/// Reads and checks a file.
pub fn read(path: &Path) -> Result<PluginsFile, ConfigFileError> {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    let format = Format::from_extension(extension).ok_or_else(|| ConfigFileError::Format(path.to_owned()))?;
    let text = std::fs::read_to_string(path).map_err(|cause| ConfigFileError::Read { path: path.to_owned(), cause })?;
    let parsed =
        pluginsfile::parse(&text, format).map_err(|cause| ConfigFileError::Parse { path: path.to_owned(), cause })?;
    for warning in &parsed.warnings {
        tracing::warn!("{}: {warning}", path.display());
    }
    Ok(parsed.file)
}

impl Standalone {
    #[must_use]
    pub fn new(manager: Arc<Manager>, store: Store, framework: Arc<Framework>, path: &Path) -> Self {
        Self { manager, store, framework, path: path.to_owned(), state: Mutex::default() }
    }

    /// Makes the file's plugins run. One that is bad keeps only itself and those that require it from running.
    pub async fn load(&self, file: PluginsFile) -> Loaded {
        let mut state = self.state.lock().await;
        if let Some(version) = &file.framework {
            self.manager.set_framework(version.clone());
        }
        self.manager.set_limits(file.limits.clone());
        self.manager.set_addresses(file.backends.clone());
        self.engines(&file.backends);
        let strict = file.sandbox == Sandbox::Required;
        self.framework.backends.apply("", &file.backends, self.configuration(&file), strict);
        self.manager.confiner().ask(file.sandbox);
        let mut loaded = Loaded::default();
        let mut targets = BTreeMap::new();
        for (place, entry) in file.plugins.iter().enumerate().filter(|(_, e)| file.enabled && e.enabled) {
            match self.target(entry, place).await {
                Ok(target) => drop(targets.insert(entry.name.clone(), target)),
                Err(error) => {
                    loaded.again |= error.class == Class::Environment;
                    loaded.failed.insert(entry.name.clone(), error.of_load());
                }
            }
        }
        state.failed.retain(|name, failed| targets.get(name).is_some_and(|t| same(t, failed)));
        let desired = self.resolve(&targets, &state.failed, &mut loaded.failed);
        loaded.running = desired.targets.len();
        let applied = self.manager.apply(&desired).await;
        self.note(&applied, &targets, &mut state.failed, &mut loaded);
        self.show(&file, &targets, &loaded.failed);
        state.file = Some(file);
        loaded
    }

    /// A wrong address leaves what is in force.
    fn engines(&self, backends: &Backends) {
        if let Err(error) = self.manager.shared().bus.apply(backends, "default") {
            tracing::error!("backends.events: {error}");
        }
    }

    /// A file of its own, or what else the plugins file holds.
    fn configuration(&self, file: &PluginsFile) -> Configuration {
        match &file.backends.config {
            Some(path) => Configuration::file(Path::new(path), &[]),
            None => Configuration::file(&self.path, &["plugins", "backends", "limits"]),
        }
    }

    /// What failed is tried again at the next load.
    pub async fn forgive(&self) {
        self.state.lock().await.failed.clear();
    }

    /// The file's entry of that name, read anew from disk, in place of what runs.
    pub async fn reload(&self, name: &str, queue: Option<Queue>) -> Result<(), ManagerError> {
        let mut state = self.state.lock().await;
        let target = match self.entry(&state, name) {
            Some((place, entry)) => self.target(&entry, place).await.map_err(|failure| self.refused(name, failure))?,
            None => {
                let info = self.manager.get(name).and_then(|info| info.target);
                let target = info.ok_or_else(|| ManagerError::NotFound(name.to_owned()))?;
                self.anew(&target).await.map_err(|failure| self.refused(name, failure))?
            }
        };
        state.failed.remove(name);
        self.manager.reload(target, queue).await
    }

    /// Loads one plugin that the file does not name.
    pub async fn load_one(&self, entry: &Entry) -> Result<(), ManagerError> {
        let target = self.target_as_found(entry).await.map_err(ManagerError::Load)?;
        if !entry.enabled {
            let name = target.name();
            if self.manager.is_loaded(name) {
                return Err(ManagerError::AlreadyLoaded(name.to_owned()));
            }
            self.manager.mention(&target.assignment.plugin.clone(), &entry.policies, Some(target), None);
            return Ok(());
        }
        self.manager.load_one(target).await
    }

    /// What lies now where a plugin that the file does not name was loaded from.
    async fn anew(&self, target: &Target) -> Result<Target, Failure> {
        let Source::Path { path } = &target.body.source else {
            return Ok(Target { pinned: None, ..target.clone() });
        };
        let Assignment { config, permissions, policies, .. } = target.assignment.clone();
        let (env, resources) = (target.body.env.clone(), target.body.resources.clone());
        let name = target.name().to_owned();
        self.target(&Entry { name, config, permissions, policies, env, resources, ..entry(path) }, target.place).await
    }

    fn entry(&self, state: &State, name: &str) -> Option<(usize, Entry)> {
        let plugins = state.file.iter().flat_map(|f| f.plugins.iter().enumerate());
        plugins.filter(|(_, e)| e.enabled && e.name == name).map(|(i, e)| (i, e.clone())).next()
    }

    fn refused(&self, name: &str, failure: Failure) -> ManagerError {
        self.manager.tell_refused(name, "", &failure);
        ManagerError::Reload(failure)
    }

    async fn target(&self, entry: &Entry, place: usize) -> Result<Target, Failure> {
        let target = self.target_as_found(entry).await?;
        if target.name() != entry.name {
            let text = format!(
                "plugin name mismatch: configuration says '{}' but manifest says '{}'",
                entry.name,
                target.name()
            );
            return Err(Failure::revision(crate::failure::Step::Load, "ManifestMismatch", text));
        }
        Ok(Target { place, ..target })
    }

    async fn target_as_found(&self, entry: &Entry) -> Result<Target, Failure> {
        let source = Source::Path { path: entry.path.clone() };
        let artifact = self.store.fetch(&source, None).await?;
        let parsed = artifact.manifest()?;
        let mut manifest = parsed.manifest;
        if !entry.command.is_empty() {
            manifest.command.clone_from(&entry.command);
        }
        permission::check_declared(&manifest, &entry.permissions)
            .map_err(|e| Failure::revision(crate::failure::Step::Load, "PermissionMismatch", e))?;
        let (permissions, env) = (entry.permissions.clone(), entry.env.clone());
        let body = Body { manifest, source, permissions, env, resources: entry.resources.clone() };
        Ok(Target {
            assignment: Assignment {
                plugin: body.manifest.name.clone(),
                revision: revision::id(&body.manifest.name, &body),
                config: entry.config.clone(),
                permissions: entry.permissions.clone(),
                policies: entry.policies.clone(),
                reload_at: String::new(),
                retry_token: String::new(),
            },
            body: Arc::new(body),
            pull_secret: None,
            pinned: None,
            stable: false,
            unconfigured: false,
            place: 0,
        })
    }

    /// As the operator would: what does not fit falls back to what runs, or stays out.
    fn resolve(
        &self,
        targets: &BTreeMap<String, Target>,
        failed: &BTreeMap<String, Target>,
        errors: &mut BTreeMap<String, String>,
    ) -> Desired {
        let running: BTreeMap<_, _> = self
            .manager
            .list()
            .into_iter()
            .filter(|i| i.state.loaded_at.is_some())
            .filter_map(|i| Some((i.name, i.target?)))
            .collect();
        let node = |t: &Target| Some((t.assignment.revision.clone(), Node::of(&t.body.manifest).ok()?));
        let member = |(name, target): (&String, &Target)| {
            let candidate = (!failed.contains_key(name)).then(|| node(target)).flatten();
            let stable = running.get(name).and_then(|t| node(t));
            let priority = target.assignment.policies.priority;
            (name.clone(), Member { candidate, stable, priority, place: target.place, opaque: None })
        };
        let framework = (*self.manager.framework()).clone();
        let input = Input { framework, plugins: targets.iter().map(member).collect() };
        let resolution = resolve::resolve(&input);
        for (name, verdict) in &resolution.verdicts {
            let text = verdict.to_string();
            if verdict.standing != Standing::Candidate && !text.is_empty() {
                tracing::error!(plugin = name, "Plugin {name}: {text}");
                errors.insert(name.clone(), text);
            }
        }
        let chosen = resolution.target.iter().filter_map(|(name, revision)| {
            let wanted = targets.get(name).filter(|t| t.assignment.revision == *revision && !failed.contains_key(name));
            wanted.cloned().or_else(|| running.get(name).map(|t| (**t).clone()))
        });
        Desired { targets: chosen.collect(), ..Desired::default() }
    }

    fn note(
        &self,
        applied: &Applied,
        targets: &BTreeMap<String, Target>,
        failed: &mut BTreeMap<String, Target>,
        loaded: &mut Loaded,
    ) {
        for (name, failure) in applied.failures() {
            loaded.failed.insert(name.to_owned(), failure.message.clone());
            loaded.again |= failure.class == Class::Environment;
            if let Some(target) = targets.get(name).filter(|_| failure.class == Class::Revision) {
                failed.insert(name.to_owned(), target.clone());
            }
        }
        for info in self.manager.list() {
            if targets.contains_key(&info.name) && info.state.status == crate::slot::Status::Error {
                let error = self.manager.health(&info.name).and_then(|(_, h)| h.last_error);
                loaded.failed.entry(info.name).or_insert_with(|| error.map(|(e, _)| e).unwrap_or_default());
            }
        }
        loaded.running = targets.keys().filter(|name| !loaded.failed.contains_key(*name)).count();
    }

    /// Plugins of the file that do not run are shown all the same.
    fn show(&self, file: &PluginsFile, targets: &BTreeMap<String, Target>, failed: &BTreeMap<String, String>) {
        let names: BTreeSet<_> = file.plugins.iter().map(|e| e.name.clone()).collect();
        self.manager.mention_only(&names);
        for entry in &file.plugins {
            let error = failed.get(&entry.name).map(String::as_str);
            let on = file.enabled && entry.enabled;
            if !on || error.is_some() {
                let target = targets.get(&entry.name).cloned();
                self.manager.mention(&entry.name, &entry.policies, target, error.filter(|_| on));
            }
        }
    }
}

/// Whether trying it again would do the same.
fn same(a: &Target, b: &Target) -> bool {
    a.assignment.revision == b.assignment.revision && a.assignment.config == b.assignment.config
}

/// What `Load` gives for a path.
#[must_use]
pub fn entry(path: &str) -> Entry {
    Entry {
        name: String::new(),
        enabled: true,
        path: path.to_owned(),
        config: serde_json::Map::new(),
        permissions: BTreeSet::new(),
        command: Vec::new(),
        env: BTreeMap::new(),
        resources: Resources::default(),
        policies: Policies::default(),
    }
}
