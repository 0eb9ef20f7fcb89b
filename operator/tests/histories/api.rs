//! A simulated API server: objects with generations and uids, status through JSON, compare-and-swap, writes that fail.
//! Each replica of the operator sees it through a client of its own.

use crate::{random::Random, step::Writes};
use async_trait::async_trait;
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use parking_lot::Mutex;
use rockstar_core::{revision::RevisionId, rollout::State};
use rockstar_crds::{Plugin, PluginHost, PluginHostStatus, PluginStatus};
use rockstar_operator::{
    control::identity::{Identity, Membership},
    host::HostKey,
    world::{Note, Pod, PodPhase, Revision, Unreadable, ValueRef, Values, View, World, WriteError},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

pub(crate) const NAMESPACE: &str = "shop";

/// A pod as the API server shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiPod {
    pub(crate) name: String,
    pub(crate) host: Option<String>,
    pub(crate) phase: PodPhase,
    pub(crate) terminating: bool,
    pub(crate) created: i64,
    pub(crate) ready: bool,
    pub(crate) transient: bool,
    pub(crate) started: bool,
    pub(crate) termination: Option<String>,
}

/// A ControllerRevision, named after host and revision.
#[derive(Clone, Debug)]
struct StoredRevision {
    host: String,
    revision: Arc<Revision>,
}

/// A write that went through.
#[derive(Clone, Debug)]
pub(crate) enum Written {
    Rollout { host: HostKey, old: Box<State>, new: Box<State> },
    Plugin { name: String, old: Option<Box<PluginStatus>> },
}

#[derive(Debug)]
pub(crate) struct Store {
    /// On the API server's clock.
    pub(crate) now: i64,
    pub(crate) hosts: BTreeMap<String, Arc<PluginHost>>,
    /// As JSON, as it is stored.
    rollouts: BTreeMap<String, String>,
    pub(crate) plugins: BTreeMap<String, Arc<Plugin>>,
    pub(crate) pods: BTreeMap<String, ApiPod>,
    revisions: BTreeMap<String, StoredRevision>,
    pub(crate) secrets: BTreeMap<String, String>,
    pub(crate) secrets_hidden: bool,
    /// What watches showed last, by host, while they bring nothing new.
    stale: Option<BTreeMap<String, View>>,
    /// The namespace answers 403.
    pub(crate) forbidden: bool,
    /// Plugins that cannot be decoded.
    pub(crate) garbled: BTreeSet<String>,
    pub(crate) failing: BTreeSet<&'static str>,
    /// Writes that fail by chance, in percent.
    pub(crate) flaky: u64,
    pub(crate) written: Vec<Written>,
    random: Random,
    uids: u64,
}

impl Store {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            now: 0,
            hosts: BTreeMap::new(),
            rollouts: BTreeMap::new(),
            plugins: BTreeMap::new(),
            pods: BTreeMap::new(),
            revisions: BTreeMap::new(),
            secrets: [("s".to_owned(), "v".to_owned())].into(),
            secrets_hidden: false,
            stale: None,
            forbidden: false,
            garbled: BTreeSet::new(),
            failing: BTreeSet::new(),
            flaky: 0,
            written: Vec::new(),
            random: Random::new(seed ^ 0xa1),
            uids: 0,
        }
    }

    pub(crate) fn uid(&mut self, of: &str) -> String {
        self.uids += 1;
        format!("{of}-{}", self.uids)
    }

    fn created(&self) -> Option<Time> {
        Timestamp::from_millisecond(self.now / 1000 * 1000).ok().map(Time)
    }

    /// Creates a host, or changes its spec.
    pub(crate) fn apply_host(&mut self, name: &str, edit: impl FnOnce(&mut Value)) {
        let old = self.hosts.get(name).cloned();
        let mut spec = old.as_ref().map_or_else(
            || json!({"framework": {"version": "1.5.0"}}),
            |host| serde_json::to_value(&host.spec).unwrap(),
        );
        edit(&mut spec);
        let uid = old.as_ref().and_then(|host| host.metadata.uid.clone()).unwrap_or_else(|| self.uid(name));
        let created = old.as_ref().map_or_else(|| self.created(), |host| host.metadata.creation_timestamp.clone());
        let mut host: PluginHost = serde_json::from_value(json!({
            "apiVersion": "plugins.rockstar-framework.dev/v1alpha1", "kind": "PluginHost",
            "metadata": {"name": name, "namespace": NAMESPACE, "uid": uid},
            "spec": spec,
        }))
        .unwrap();
        let same = old.as_ref().is_some_and(|old| old.spec == host.spec);
        let generation = old.as_ref().and_then(|old| old.metadata.generation).unwrap_or_default();
        host.metadata.generation = Some(generation + i64::from(!same));
        host.metadata.creation_timestamp = created;
        host.status = old.and_then(|old| old.status.clone());
        self.hosts.insert(name.to_owned(), Arc::new(host));
    }

    /// Its revisions go with it.
    pub(crate) fn delete_host(&mut self, name: &str) {
        self.hosts.remove(name);
        self.rollouts.remove(name);
        self.revisions.retain(|_, stored| stored.host != name);
    }

    /// Creates a Plugin, or changes its spec and annotations.
    pub(crate) fn apply_plugin(&mut self, name: &str, new: &Value, edit: impl FnOnce(&mut Value, &mut Value)) {
        let old = self.plugins.get(name).cloned();
        let mut spec = old.as_ref().map_or_else(|| new.clone(), |p| serde_json::to_value(&p.spec).unwrap());
        let mut annotations =
            old.as_ref().map_or_else(|| json!({}), |p| json!(p.metadata.annotations.clone().unwrap_or_default()));
        edit(&mut spec, &mut annotations);
        let uid = old.as_ref().and_then(|p| p.metadata.uid.clone()).unwrap_or_else(|| self.uid(name));
        let created = old.as_ref().map_or_else(|| self.created(), |p| p.metadata.creation_timestamp.clone());
        let mut plugin: Plugin = serde_json::from_value(json!({
            "apiVersion": "plugins.rockstar-framework.dev/v1alpha1", "kind": "Plugin",
            "metadata": {"name": name, "namespace": NAMESPACE, "uid": uid, "annotations": annotations},
            "spec": spec,
        }))
        .unwrap();
        let same = old.as_ref().is_some_and(|old| old.spec == plugin.spec);
        let generation = old.as_ref().and_then(|old| old.metadata.generation).unwrap_or_default();
        plugin.metadata.generation = Some(generation + i64::from(!same));
        plugin.metadata.creation_timestamp = created;
        plugin.status = old.and_then(|old| old.status.clone());
        self.plugins.insert(name.to_owned(), Arc::new(plugin));
    }

    pub(crate) fn delete_plugin(&mut self, name: &str) {
        self.plugins.remove(name);
    }

    pub(crate) fn rollout(&self, host: &str) -> State {
        self.rollouts.get(host).map(|text| serde_json::from_str(text).unwrap()).unwrap_or_default()
    }

    fn check(&mut self, of: &'static str, object: &str) -> Result<(), WriteError> {
        let flaky = self.flaky;
        if self.forbidden || self.failing.contains(of) || self.random.percent(flaky) {
            return Err(WriteError::Failed { object: object.to_owned(), cause: "simulated".to_owned() });
        }
        Ok(())
    }

    /// From here on watches bring nothing new, or all of it again.
    pub(crate) fn lag(&mut self, on: bool) {
        let view = |name: String| Some((name.clone(), self.live_view(&HostKey::new(NAMESPACE, &name))?));
        self.stale = on.then(|| self.names().into_iter().filter_map(view).collect());
    }

    fn view(&self, host: &HostKey) -> Option<View> {
        match &self.stale {
            Some(stale) => stale.get(&host.name).filter(|_| host.namespace == NAMESPACE).cloned(),
            None => self.live_view(host),
        }
    }

    fn live_view(&self, host: &HostKey) -> Option<View> {
        let known = self.names().contains(&host.name);
        if host.namespace != NAMESPACE || !known {
            return None;
        }
        let object = self.hosts.get(&host.name).map(|object| {
            let mut shown = PluginHost::clone(object);
            let stored = self.rollouts.get(&host.name).map(|text| serde_json::from_str(text).unwrap());
            if stored.is_some() {
                shown.status.get_or_insert_default().rollout = stored;
            }
            Arc::new(shown)
        });
        let own = |p: &&Arc<Plugin>| p.spec.host == host.name;
        let garbled = |p: &Plugin| self.garbled.contains(p.metadata.name.as_deref().unwrap_or_default());
        let unreadable = self.plugins.values().filter(own).filter(|p| garbled(p)).map(|p| Unreadable {
            name: p.metadata.name.clone().unwrap_or_default(),
            uid: p.metadata.uid.clone().unwrap_or_default(),
            generation: p.metadata.generation,
            plugin: p.spec.manifest["name"].as_str().map(str::to_owned),
            host: Some(host.name.clone()),
            status: p.status.clone(),
            error: "simulated".to_owned(),
        });
        let mut revisions: Vec<_> = self.revisions.values().filter(|s| s.host == host.name).collect();
        revisions.sort_by_key(|stored| stored.revision.number);
        Some(View {
            host: object,
            host_error: None,
            plugins: self.plugins.values().filter(own).filter(|p| !garbled(p)).cloned().collect(),
            pods: self.pods.iter().filter(|(_, p)| p.host.as_ref() == Some(&host.name)).map(shown_pod).collect(),
            revisions: revisions.into_iter().map(|stored| Arc::clone(&stored.revision)).collect(),
            unreadable: unreadable.collect(),
        })
    }

    /// The hosts that there are, or that something names.
    fn names(&self) -> BTreeSet<String> {
        let named = self.plugins.values().map(|p| p.spec.host.clone());
        let labels = self.pods.values().filter_map(|p| p.host.clone());
        self.hosts.keys().cloned().chain(named).chain(labels).collect()
    }

    fn value(&self, wanted: &ValueRef) -> Result<String, String> {
        let ValueRef::Secret(at) = wanted else { return Err("no such ConfigMap".to_owned()) };
        if self.secrets_hidden {
            return Err(format!("Secret {NAMESPACE}/{}: the API server did not answer", at.name));
        }
        self.secrets.get(&at.name).cloned().ok_or_else(|| format!("Secret {NAMESPACE}/{} not found", at.name))
    }
}

fn shown_pod((uid, pod): (&String, &ApiPod)) -> Pod {
    Pod {
        name: pod.name.clone(),
        uid: uid.clone(),
        phase: pod.phase,
        terminating: pod.terminating,
        injected: true,
        created: Timestamp::from_millisecond(pod.created).unwrap_or_default(),
        ready: pod.ready,
        transient: pod.transient,
        started: pod.started,
        termination: pod.termination.clone(),
    }
}

/// How one replica reaches the API server.
#[derive(Clone, Debug)]
pub(crate) struct Client(pub(crate) Arc<Mutex<Store>>);

impl Membership for Client {
    fn host_of(&self, pod: &Identity) -> Option<HostKey> {
        let store = self.0.lock();
        store.pods.get(&pod.uid)?.host.as_ref().map(|host| HostKey::new(NAMESPACE, host))
    }
}

fn object_name(host: &HostKey, id: &RevisionId) -> String {
    format!("{}-{id}", host.name)
}

fn gone(object: String) -> WriteError {
    WriteError::Gone { object }
}

#[async_trait]
impl World for Client {
    fn hosts(&self) -> Vec<HostKey> {
        let store = self.0.lock();
        let names = store.stale.as_ref().map_or_else(|| store.names(), |stale| stale.keys().cloned().collect());
        names.iter().map(|name| HostKey::new(NAMESPACE, name)).collect()
    }

    fn view(&self, host: &HostKey) -> Option<View> {
        self.0.lock().view(host)
    }

    fn orphans(&self) -> Vec<Arc<Plugin>> {
        let store = self.0.lock();
        store.plugins.values().filter(|p| !store.hosts.contains_key(&p.spec.host)).cloned().collect()
    }

    fn is_held(&self, _: &str) -> bool {
        self.0.lock().forbidden
    }

    async fn values(&self, _: &str, wanted: &[ValueRef]) -> Values {
        let store = self.0.lock();
        wanted.iter().map(|at| (at.clone(), store.value(at))).collect()
    }

    async fn rollout(&self, host: &HostKey) -> Result<State, WriteError> {
        let store = self.0.lock();
        store.hosts.get(&host.name).ok_or_else(|| gone(format!("PluginHost {host}")))?;
        Ok(store.rollout(&host.name))
    }

    async fn save_rollout(&self, host: &HostKey, expected: &State, new: &State) -> Result<(), WriteError> {
        let mut store = self.0.lock();
        let object = format!("PluginHost {host}");
        store.hosts.get(&host.name).ok_or_else(|| gone(object.clone()))?;
        store.check(name_of(Writes::Rollout), &object)?;
        let old = store.rollout(&host.name);
        if old != *expected {
            return Err(WriteError::Conflict { object });
        }
        store.rollouts.insert(host.name.clone(), serde_json::to_string(new).unwrap());
        let new = store.rollout(&host.name);
        store.written.push(Written::Rollout { host: host.clone(), old: Box::new(old), new: Box::new(new) });
        Ok(())
    }

    async fn save_revision(&self, host: &PluginHost, _: &Plugin, revision: &Revision) -> Result<(), WriteError> {
        let mut store = self.0.lock();
        store.check(name_of(Writes::Revision), &format!("ControllerRevision {}", revision.id))?;
        let host = host.metadata.name.clone().unwrap_or_default();
        let name = object_name(&HostKey::new(NAMESPACE, &host), &revision.id);
        let stored = StoredRevision { host, revision: Arc::new(revision.clone()) };
        store.revisions.entry(name).or_insert(stored);
        Ok(())
    }

    async fn delete_revision(&self, host: &HostKey, id: &RevisionId) -> Result<(), WriteError> {
        self.0.lock().revisions.remove(&object_name(host, id));
        Ok(())
    }

    async fn report_host(&self, host: &HostKey, status: &PluginHostStatus) -> Result<(), WriteError> {
        let mut store = self.0.lock();
        let object = format!("PluginHost {host}");
        store.check(name_of(Writes::HostStatus), &object)?;
        let found = store.hosts.get_mut(&host.name).ok_or_else(|| gone(object))?;
        Arc::make_mut(found).status = Some(PluginHostStatus { rollout: None, ..status.clone() });
        Ok(())
    }

    async fn report_plugin(&self, _: &HostKey, name: &str, status: &PluginStatus) -> Result<(), WriteError> {
        let mut store = self.0.lock();
        let object = format!("Plugin {name}");
        store.check(name_of(Writes::PluginStatus), &object)?;
        let found = store.plugins.get_mut(name).ok_or_else(|| gone(object))?;
        let old = Arc::make_mut(found).status.replace(status.clone()).map(Box::new);
        store.written.push(Written::Plugin { name: name.to_owned(), old });
        Ok(())
    }

    async fn remove_finalizer(&self, _: &Plugin) -> Result<(), WriteError> {
        Ok(())
    }

    async fn tell(&self, _: &HostKey, _: Note) {}

    fn polls_values(&self) -> bool {
        false
    }
}

pub(crate) const fn name_of(writes: Writes) -> &'static str {
    match writes {
        Writes::Rollout => "rollout",
        Writes::Revision => "revision",
        Writes::PluginStatus => "pluginStatus",
        Writes::HostStatus => "hostStatus",
    }
}
