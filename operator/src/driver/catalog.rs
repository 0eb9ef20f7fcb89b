//! The Plugins of a host as candidates for resolution: what each asks for, or why that cannot be had. Pure.

use super::backends;
use crate::world::{Content, Revision, ValueRef, Values, View};
use rockstar_core::{
    config::{self, ConfigError},
    constraint::ConstraintError,
    manifest::{self, Manifest, ManifestError},
    permission::{self, PermissionError},
    resolve::Node,
    revision::{self, Body, RevisionId},
};
use rockstar_crds::{
    FieldError, Plugin, names,
    plugin::{ConfigFrom, KeyRef},
};
use serde_json::{Map, Value};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Why a Plugin's spec cannot become a candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The condition that it shows in, beside Ready.
    pub condition: Option<&'static str>,
    pub reason: &'static str,
    pub message: String,
}

/// What a Plugin's spec asks for.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub revision: Arc<Revision>,
    pub node: Node,
}

/// Whether it is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Life {
    Enabled,
    /// By its own spec, or by the host's.
    Disabled,
    /// Deleted, but for somebody's finalizer.
    Leaving,
}

/// One Plugin.
#[derive(Clone, Debug)]
pub struct Entry {
    pub object: Arc<Plugin>,
    /// The plugin's name in its manifest.
    pub name: String,
    pub life: Life,
    pub candidate: Result<Candidate, Fault>,
    /// Where the configuration alone is at fault: what its spec asks for but for that. It stays where it runs already.
    pub unconfigured: Option<Candidate>,
    /// What the author of the manifest or the configuration should look at.
    pub warnings: Vec<String>,
}

impl Entry {
    /// Whether it takes part in resolution.
    #[must_use]
    pub const fn is_wanted(&self) -> bool {
        matches!(self.life, Life::Enabled)
    }

    /// Tells the attempts at one spec from those at another.
    #[must_use]
    pub fn token(&self) -> String {
        let meta = &self.object.metadata;
        let retry = token_part(annotation(&self.object, names::RETRY));
        format!("{}/{}/{retry}", meta.uid.as_deref().unwrap_or_default(), meta.generation.unwrap_or_default())
    }
}

/// A long value counts by its hash, so that it can be stored.
fn token_part(value: &str) -> Cow<'_, str> {
    match value.len() > MAX_TOKEN_PART {
        true => Cow::Owned(revision::digest(value.as_bytes())),
        false => Cow::Borrowed(value),
    }
}

const MAX_TOKEN_PART: usize = 64;

/// All Plugins of a host: the one that counts of each name, and those that do not.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// By the plugin's name.
    pub entries: BTreeMap<String, Entry>,
    /// Further Plugins of a name that is taken, and those beyond the limit.
    pub duplicates: Vec<(Arc<Plugin>, Fault)>,
}

/// An annotation's value, empty if it is not there.
#[must_use]
pub fn annotation<'a>(object: &'a Plugin, name: &str) -> &'a str {
    object.metadata.annotations.as_ref().and_then(|a| a.get(name)).map_or("", String::as_str)
}

/// References to values that the host and these plugins need, their revisions included.
#[must_use]
pub fn references(view: &View) -> Vec<ValueRef> {
    let live = view.plugins.iter().flat_map(|p| of_content(&p.spec.config_from, pull_secret(p)));
    let stored = view.revisions.iter().flat_map(|r| of_content(&r.content.config_from, r.content.pull_secret.clone()));
    let hosts = view.host.iter().flat_map(|host| backends::references(&host.spec));
    live.chain(stored).chain(hosts).collect::<BTreeSet<_>>().into_iter().collect()
}

fn of_content(from: &[ConfigFrom], pull_secret: Option<String>) -> Vec<ValueRef> {
    from.iter().filter_map(value_ref).chain(pull_secret.map(pull_secret_ref)).collect()
}

fn value_ref(from: &ConfigFrom) -> Option<ValueRef> {
    let secret = from.secret_key_ref.clone().map(ValueRef::Secret);
    secret.or_else(|| from.config_map_key_ref.clone().map(ValueRef::ConfigMap))
}

/// Where the credentials for a registry are.
#[must_use]
pub fn pull_secret_ref(name: String) -> ValueRef {
    ValueRef::Secret(KeyRef { name, key: ".dockerconfigjson".into() })
}

fn pull_secret(plugin: &Plugin) -> Option<String> {
    plugin.spec.pull_secret().map(str::to_owned)
}

/// A configuration with the values it refers to; the first one that is missing says why.
pub fn filled(config: &Map<String, Value>, from: &[ConfigFrom], values: &Values) -> Result<Map<String, Value>, String> {
    let mut filled = config.clone();
    for (from, at) in from.iter().filter_map(|f| Some((f, value_ref(f)?))) {
        let value = values.get(&at).cloned().unwrap_or_else(|| Err("not read yet".into()))?;
        filled.insert(from.key.clone(), Value::String(value));
    }
    Ok(filled)
}

/// A configuration whose texts are numbers and the like where the schema wants those: Secrets hold only text.
#[must_use]
pub fn typed(mut config: Map<String, Value>, from: &[ConfigFrom], manifest: &Manifest) -> Map<String, Value> {
    use rockstar_core::manifest::ConfigType as T;
    for key in from.iter().map(|f| &f.key) {
        let kind = manifest.config.get(key).map(|k| k.kind);
        let Some(Value::String(text)) = config.get(key) else { continue };
        let parsed = match kind {
            Some(T::Integer | T::Float | T::Boolean | T::Array | T::Object) => serde_json::from_str(text).ok(),
            _ => None,
        };
        if let Some(value) = parsed {
            config.insert(key.clone(), value);
        }
    }
    config
}

/// So many plugins a host may have.
pub const MAX_PLUGINS: usize = 256;

/// Returns the oldest Plugin of each plugin's name, which counts, and the others.
#[must_use]
pub fn by_name(view: &View) -> (BTreeMap<String, Arc<Plugin>>, Vec<Arc<Plugin>>) {
    let mut objects: Vec<_> = view.plugins.iter().collect();
    objects.sort_by_key(|p| (p.metadata.creation_timestamp.clone(), p.metadata.name.clone()));
    let mut first = BTreeMap::new();
    let mut others = Vec::new();
    for object in objects {
        let name = plugin_name(object);
        if first.contains_key(&name) || first.len() >= MAX_PLUGINS {
            others.push(Arc::clone(object));
        } else {
            first.insert(name, Arc::clone(object));
        }
    }
    (first, others)
}

/// Reads all Plugins of the host.
#[must_use]
pub fn catalog(view: &View, values: &Values, unstored: &BTreeMap<RevisionId, (String, i64)>) -> Catalog {
    let (first, others) = by_name(view);
    let mut catalog = Catalog::default();
    for (name, object) in &first {
        catalog.entries.insert(name.clone(), entry(name, object, view, values, unstored));
    }
    for object in others {
        let name = plugin_name(&object);
        let fault = catalog.entries.get(&name).map_or_else(too_many, |first| duplicate(&name, first));
        catalog.duplicates.push((object, fault));
    }
    catalog
}

fn duplicate(name: &str, first: &Entry) -> Fault {
    let other = first.object.metadata.name.as_deref().unwrap_or_default();
    let message =
        format!("plugin already loaded: '{name}' is the Plugin '{other}', which is older; delete one of them");
    Fault { condition: None, reason: "DuplicateName", message }
}

fn too_many() -> Fault {
    let message = format!("a PluginHost has at most {MAX_PLUGINS} plugins; delete one, or give this one another host");
    Fault { condition: None, reason: "TooManyPlugins", message }
}

/// The plugin's name in its manifest; the object's where it has none.
fn plugin_name(object: &Plugin) -> String {
    let own_name = object.spec.manifest.get("name").and_then(Value::as_str).filter(|n| !n.is_empty());
    own_name.or(object.metadata.name.as_deref()).unwrap_or_default().to_owned()
}

/// Whether its own spec lets it run.
#[must_use]
pub fn may_run(object: &Plugin) -> bool {
    object.spec.enabled && object.metadata.deletion_timestamp.is_none()
}

fn entry(
    name: &str,
    object: &Arc<Plugin>,
    view: &View,
    values: &Values,
    unstored: &BTreeMap<RevisionId, (String, i64)>,
) -> Entry {
    let mut warnings = Vec::new();
    let parsed = manifest::from_value(&object.spec.manifest).map_err(Fault::from);
    let unconfigured = parsed.and_then(|parsed| {
        warnings.extend(parsed.warnings);
        candidate(object, parsed.manifest, view)
    });
    let unconfigured = unconfigured.and_then(|candidate| match unstored.get(&candidate.revision.id) {
        Some((cause, _)) => Err(not_stored(cause)),
        None => Ok(candidate),
    });
    let fault = unconfigured.as_ref().ok().and_then(|candidate| {
        let manifest = &candidate.revision.content.body.manifest;
        configured(object, manifest, values).map(|found| warnings.extend(found)).err()
    });
    let (candidate, unconfigured) = match (unconfigured, fault) {
        (Ok(candidate), Some(fault)) => (Err(fault), Some(candidate)),
        (candidate, _) => (candidate, None),
    };
    let life = life(object, view.host.as_ref().is_none_or(|host| host.spec.enabled));
    Entry { object: Arc::clone(object), name: name.to_owned(), life, candidate, unconfigured, warnings }
}

/// Returns the warnings for its author, if the configuration fits the manifest.
fn configured(object: &Plugin, manifest: &Manifest, values: &Values) -> Result<Vec<String>, Fault> {
    let spec = &object.spec;
    let config = filled(&spec.config, &spec.config_from, values).map_err(missing_value)?;
    let config = typed(config, &spec.config_from, manifest);
    Ok(config::apply(&manifest.config, &config)?.warnings)
}

fn not_stored(cause: &str) -> Fault {
    let message = format!("its revision cannot be stored, so that it is not rolled out: {cause}");
    Fault { condition: None, reason: "RevisionNotStored", message }
}

fn life(object: &Plugin, host_enabled: bool) -> Life {
    match (object.metadata.deletion_timestamp.is_some(), object.spec.enabled && host_enabled) {
        (true, _) => Life::Leaving,
        (false, true) => Life::Enabled,
        (false, false) => Life::Disabled,
    }
}

fn candidate(object: &Plugin, manifest: Manifest, view: &View) -> Result<Candidate, Fault> {
    let spec = &object.spec;
    permission::check_declared(&manifest, &spec.granted()?)?;
    if let Some(host) = &view.host {
        spec.policies(&host.spec)?;
    }
    let node = Node::of(&manifest)?;
    Ok(Candidate { revision: revision_of(manifest.name, spec.body()?, object, view), node })
}

/// The stored revision with this body, or a new one. Bodies are compared as today's code reads them.
fn revision_of(plugin: String, body: Body, object: &Plugin, view: &View) -> Arc<Revision> {
    let own = || view.revisions.iter().filter(|r| r.plugin == plugin);
    if let Some(stored) = own().rev().find(|r| r.content.body == body) {
        return Arc::clone(stored);
    }
    let spec = &object.spec;
    Arc::new(Revision {
        id: revision::id(&plugin, &body),
        number: own().map(|r| r.number).max().unwrap_or_default() + 1,
        plugin,
        content: Content {
            body,
            config: spec.config.clone(),
            config_from: spec.config_from.clone(),
            pull_secret: pull_secret(object),
        },
    })
}

/// The nodes of revisions that are known.
#[must_use]
pub fn nodes<'a>(
    set: impl IntoIterator<Item = (&'a String, &'a RevisionId)>,
    known: &BTreeMap<RevisionId, Arc<Revision>>,
) -> BTreeMap<String, Node> {
    let node = |id| Node::of(&known.get(id)?.content.body.manifest).ok();
    set.into_iter().filter_map(|(plugin, id)| Some((plugin.clone(), node(id)?))).collect()
}

fn missing_value(message: String) -> Fault {
    Fault { condition: None, reason: "ConfigSourceMissing", message }
}

impl From<ManifestError> for Fault {
    fn from(error: ManifestError) -> Self {
        let message = manifest::LoadError(error).to_string();
        Self { condition: Some(names::condition::MANIFEST_VALID), reason: "InvalidManifest", message }
    }
}

impl From<ConstraintError> for Fault {
    fn from(error: ConstraintError) -> Self {
        let message = error.to_string();
        Self { condition: Some(names::condition::MANIFEST_VALID), reason: "InvalidManifest", message }
    }
}

impl From<PermissionError> for Fault {
    fn from(error: PermissionError) -> Self {
        let message = error.to_string();
        Self { condition: Some(names::condition::PERMISSIONS_GRANTED), reason: "PermissionMismatch", message }
    }
}

impl From<ConfigError> for Fault {
    fn from(error: ConfigError) -> Self {
        Self { condition: None, reason: "InvalidConfig", message: error.to_string() }
    }
}

impl From<FieldError> for Fault {
    fn from(error: FieldError) -> Self {
        Self { condition: None, reason: "InvalidSpec", message: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::fixtures::{host, needs, observed, plugin},
        *,
    };
    use serde_json::json;

    fn read(plugins: impl IntoIterator<Item = Value>) -> Catalog {
        read_view(&observed(plugins).view)
    }

    fn read_view(view: &View) -> Catalog {
        catalog(view, &Values::new(), &BTreeMap::new())
    }

    #[test]
    fn a_fault_says_where_it_shows() {
        let manifest = Some(names::condition::MANIFEST_VALID);
        let cases = [
            (
                json!({"manifest": {"version": "1.2"}}),
                manifest,
                "failed to parse manifest: invalid version format: must be semantic version (X.Y.Z)",
            ),
            (
                json!({"permissions": {"exec": true}}),
                Some(names::condition::PERMISSIONS_GRANTED),
                "permission mismatch: plugin requests 'exec' permission but manifest does not declare it",
            ),
            (
                json!({"config": {"level": 3}}),
                None,
                "invalid configuration value: 'level' must be of type string, found integer",
            ),
            (json!({"hookTimeout": "fast"}), None, "spec.hookTimeout: invalid duration 'fast'"),
            (json!({"source": {"path": null}}), None, "spec.source: exactly one of oci, http and path must be given"),
        ];
        for (spec, condition, text) in cases {
            let catalog = read([plugin("a", "1.0.0", json!({"spec": spec}))]);
            let fault = catalog.entries["a"].candidate.as_ref().unwrap_err();
            assert!(fault.message.starts_with(text), "{} is not {text}", fault.message);
            assert_eq!(fault.condition, condition, "{text}");
        }
    }

    #[test]
    fn the_older_of_two_plugins_of_one_name_counts() {
        let mut second = plugin("a", "2.0.0", json!({}));
        second["metadata"]["name"] = json!("a-copy");
        let catalog = read([second, plugin("a", "1.0.0", json!({}))]);
        assert_eq!(catalog.entries["a"].object.metadata.name.as_deref(), Some("a"));
        assert_eq!(
            catalog.duplicates[0].1.message,
            "plugin already loaded: 'a' is the Plugin 'a', which is older; delete one of them"
        );
    }

    #[test]
    fn a_deleted_plugin_goes_whoever_requires_it() {
        let deleted = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
        let catalog = read([plugin("auth", "1.0.0", needs("cache")), plugin("cache", "1.0.0", deleted)]);
        assert_eq!(catalog.entries["cache"].life, Life::Leaving);
    }

    #[test]
    fn the_257th_plugin_is_refused() {
        let named = |n: usize| plugin(&format!("p{n:03}"), "1.0.0", json!({}));
        let catalog = read((0..=MAX_PLUGINS).map(named));
        assert_eq!((catalog.entries.len(), catalog.duplicates.len()), (MAX_PLUGINS, 1));
        let (object, fault) = &catalog.duplicates[0];
        assert_eq!((object.metadata.name.as_deref(), fault.reason), (Some("p256"), "TooManyPlugins"));
    }

    #[test]
    fn a_revision_that_cannot_be_stored_is_a_fault_of_its_plugin_alone() {
        let view = observed([plugin("a", "1.0.0", json!({})), plugin("b", "1.0.0", json!({}))]).view;
        let id = read_view(&view).entries["a"].candidate.as_ref().unwrap().revision.id.clone();
        let catalog = catalog(&view, &Values::new(), &[(id, ("quota".to_owned(), 0))].into());
        assert_eq!(catalog.entries["a"].candidate.as_ref().unwrap_err().reason, "RevisionNotStored");
        assert!(catalog.entries["b"].candidate.is_ok());
    }

    #[test]
    fn a_body_that_is_stored_keeps_its_identity() {
        let mut observed = observed([plugin("a", "1.0.0", json!({}))]);
        let fresh = catalog(&observed.view, &Values::new(), &BTreeMap::new());
        let mut stored = Revision::clone(&fresh.entries["a"].candidate.as_ref().unwrap().revision);
        stored.id = RevisionId("a-from-an-older-operator".into());
        observed.view.revisions = vec![Arc::new(stored)];
        let again = catalog(&observed.view, &Values::new(), &BTreeMap::new());
        assert_eq!(again.entries["a"].candidate.as_ref().unwrap().revision.id.0, "a-from-an-older-operator");
    }

    #[test]
    fn a_disabled_host_disables_its_plugins() {
        let mut observed = observed([plugin("a", "1.0.0", json!({}))]);
        observed.view.host = Some(Arc::new(host(json!({"spec": {"enabled": false}}))));
        let catalog = catalog(&observed.view, &Values::new(), &BTreeMap::new());
        assert_eq!(catalog.entries["a"].life, Life::Disabled);
    }

    #[test]
    fn text_from_a_secret_becomes_what_the_schema_wants() {
        let manifest = json!({"name": "a", "version": "1.0.0", "description": "d", "author": "a",
            "config": {"n": {"type": "integer"}, "s": {"type": "string"}}});
        let manifest = manifest::from_value(&manifest).unwrap().manifest;
        let from = |key: &str| ConfigFrom { key: key.into(), secret_key_ref: None, config_map_key_ref: None };
        let config = json!({"n": "5", "s": "5"}).as_object().cloned().unwrap();
        let typed = typed(config, &[from("n"), from("s")], &manifest);
        assert_eq!(Value::Object(typed), json!({"n": 5, "s": "5"}));
    }
}
