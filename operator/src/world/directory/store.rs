//! The objects of a directory, kept as an API server would: generations, uids, status. No I/O.

use super::{
    super::{Note, Pod, PodPhase, Revision, Subject, ValueRef, Values, View, WriteError},
    Snapshot,
    documents::{self, Document, Problem},
};
use crate::{control::identity::Identity, host::HostKey};
use k8s_openapi::{
    api::core::v1::{ConfigMap, Secret},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
    jiff::Timestamp,
};
use rockstar_core::{revision::RevisionId, rollout::State};
use rockstar_crds::{Plugin, PluginHost, PluginHostStatus, PluginStatus};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

const NAMESPACE: &str = "default";
const MAX_EVENTS: usize = 256;

/// An instance that may attach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub name: String,
    /// What it proves itself with.
    pub token: String,
    /// Its PluginHost; None: the directory's first one.
    pub host: Option<HostKey>,
}

/// Something that users were told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub at: Timestamp,
    /// `PluginHost/storefront` or `Plugin/auth-plugin`.
    pub about: String,
    pub warning: bool,
    pub reason: &'static str,
    pub text: String,
}

/// Namespace and name.
type Key = (String, String);

#[derive(Debug, Default)]
pub(super) struct Store {
    hosts: BTreeMap<Key, Arc<PluginHost>>,
    plugins: BTreeMap<Key, Arc<Plugin>>,
    secrets: BTreeMap<Key, Secret>,
    config_maps: BTreeMap<Key, ConfigMap>,
    revisions: BTreeMap<Key, Arc<Revision>>,
    members: Vec<Member>,
    problems: Vec<Problem>,
    events: VecDeque<Event>,
    versions: u64,
    /// The file that an object was read from last.
    origins: Origins,
}

type Origins = BTreeMap<(&'static str, Key), PathBuf>;

/// What the files hold, by kind.
#[derive(Default)]
struct Files {
    hosts: BTreeMap<Key, PluginHost>,
    plugins: BTreeMap<Key, Plugin>,
    secrets: BTreeMap<Key, Secret>,
    config_maps: BTreeMap<Key, ConfigMap>,
    problems: Vec<Problem>,
    origins: Origins,
}

impl Files {
    fn read(files: &[(PathBuf, io::Result<String>)]) -> Self {
        let mut all = Self::default();
        for (path, text) in files {
            match text {
                Ok(text) => all.add_file(path, text),
                Err(e) => all.problems.push(Problem {
                    file: path.clone(),
                    line: None,
                    message: format!("cannot be read: {e}"),
                }),
            }
        }
        all
    }

    fn add_file(&mut self, path: &Path, text: &str) {
        let parsed = documents::parse(path, text);
        self.problems.extend(parsed.problems);
        for document in parsed.documents {
            self.add(path, document);
        }
    }

    fn add(&mut self, path: &Path, document: Document) {
        let (kind, meta) = match &document {
            Document::Plugin(o) => ("Plugin", &o.metadata),
            Document::Host(o) => ("PluginHost", &o.metadata),
            Document::Secret(o) => ("Secret", &o.metadata),
            Document::ConfigMap(o) => ("ConfigMap", &o.metadata),
        };
        let Some(key) = key(meta) else {
            return self.complain(path, format!("{kind}: metadata.name is missing"));
        };
        if let Some(first) = self.origins.insert((kind, key.clone()), path.to_owned()) {
            let text = format!("{kind} {}/{} is also in {}; only one of them counts", key.0, key.1, first.display());
            return self.complain(path, text);
        }
        match document {
            Document::Plugin(o) => drop(self.plugins.insert(key, anchored(*o, path))),
            Document::Host(o) => drop(self.hosts.insert(key, *o)),
            Document::Secret(o) => drop(self.secrets.insert(key, *o)),
            Document::ConfigMap(o) => drop(self.config_maps.insert(key, *o)),
        }
    }

    fn complain(&mut self, path: &Path, message: String) {
        self.problems.push(Problem { file: path.to_owned(), line: None, message });
    }
}

fn key(meta: &ObjectMeta) -> Option<Key> {
    Some((meta.namespace.clone().unwrap_or_else(|| NAMESPACE.into()), meta.name.clone()?))
}

/// A relative path in a file means: beside that file.
fn anchored(mut plugin: Plugin, file: &Path) -> Plugin {
    if let (Some(path), Some(folder)) = (&plugin.spec.source.path, file.parent()) {
        plugin.spec.source.path = Some(folder.join(path).to_string_lossy().into_owned());
    }
    plugin
}

impl Store {
    pub(super) fn set_members(&mut self, members: Vec<Member>) {
        self.members = members;
    }

    /// What an unreadable file held before stays: only what is seen to be gone goes.
    pub(super) fn load(&mut self, files: &[(PathBuf, io::Result<String>)]) {
        let new = Files::read(files);
        let unreadable: BTreeSet<&PathBuf> = new.problems.iter().map(|p| &p.file).collect();
        self.origins.retain(|_, file| unreadable.contains(file));
        let kept = std::mem::replace(&mut self.origins, new.origins);
        self.take_hosts(new.hosts, &kept);
        self.take_plugins(new.plugins, &kept);
        replace(&mut self.secrets, new.secrets, "Secret", &kept);
        replace(&mut self.config_maps, new.config_maps, "ConfigMap", &kept);
        self.origins.extend(kept);
        self.problems = new.problems;
    }

    fn take_hosts(&mut self, new: BTreeMap<Key, PluginHost>, kept: &Origins) {
        self.hosts.retain(|key, _| new.contains_key(key) || kept.contains_key(&("PluginHost", key.clone())));
        for (key, mut object) in new {
            let old = self.hosts.get(&key).cloned();
            let same = old.as_ref().is_some_and(|o| o.spec == object.spec);
            object.metadata = self.metadata(&key, object.metadata, old.as_ref().map(|o| &o.metadata), same);
            object.status = old.and_then(|o| o.status.clone());
            self.hosts.insert(key, Arc::new(object));
        }
    }

    fn take_plugins(&mut self, new: BTreeMap<Key, Plugin>, kept: &Origins) {
        self.plugins.retain(|key, _| new.contains_key(key) || kept.contains_key(&("Plugin", key.clone())));
        for (key, mut object) in new {
            let old = self.plugins.get(&key).cloned();
            let same = old.as_ref().is_some_and(|o| o.spec == object.spec);
            object.metadata = self.metadata(&key, object.metadata, old.as_ref().map(|o| &o.metadata), same);
            object.status = old.and_then(|o| o.status.clone());
            self.plugins.insert(key, Arc::new(object));
        }
    }

    fn metadata(&mut self, key: &Key, new: ObjectMeta, old: Option<&ObjectMeta>, same_spec: bool) -> ObjectMeta {
        self.versions += 1;
        let generation = old.and_then(|o| o.generation).unwrap_or(0) + i64::from(!same_spec);
        ObjectMeta {
            namespace: Some(key.0.clone()),
            name: Some(key.1.clone()),
            uid: old.and_then(|o| o.uid.clone()).or_else(|| Some(random_uid())),
            generation: Some(generation.max(1)),
            resource_version: Some(self.versions.to_string()),
            creation_timestamp: old.and_then(|o| o.creation_timestamp.clone()).or_else(|| Some(Time(Timestamp::now()))),
            labels: new.labels,
            annotations: new.annotations,
            ..ObjectMeta::default()
        }
    }

    pub(super) fn namespaces(&self) -> BTreeSet<String> {
        self.hosts().into_iter().map(|host| host.namespace).collect()
    }

    /// Those with an object, with plugins, or with members.
    pub(super) fn hosts(&self) -> Vec<HostKey> {
        let objects = self.hosts.keys().map(|(namespace, name)| HostKey::new(namespace, name));
        let of_plugins = self.plugins.iter().map(|((namespace, _), plugin)| HostKey::new(namespace, &plugin.spec.host));
        let of_members = self.members.iter().filter_map(|member| self.host_of_member(member));
        objects.chain(of_plugins).chain(of_members).collect::<BTreeSet<_>>().into_iter().collect()
    }

    pub(super) fn host_of(&self, pod: &Identity) -> Option<HostKey> {
        self.members.iter().find(|m| m.name == pod.uid).and_then(|m| self.host_of_member(m))
    }

    fn host_of_member(&self, member: &Member) -> Option<HostKey> {
        member.host.clone().or_else(|| self.hosts.keys().next().map(|(namespace, name)| HostKey::new(namespace, name)))
    }

    pub(super) fn identify(&self, token: &str) -> Option<Identity> {
        let member = self.members.iter().find(|m| m.token == token)?;
        let namespace = self.host_of_member(member).map_or_else(|| NAMESPACE.into(), |h| h.namespace);
        Some(Identity { namespace, pod: member.name.clone(), uid: member.name.clone() })
    }

    pub(super) fn view(&self, host: &HostKey) -> Option<View> {
        let of_host = |p: &&Arc<Plugin>| {
            p.spec.host == host.name && p.metadata.namespace.as_deref() == Some(host.namespace.as_str())
        };
        let mut revisions: Vec<_> =
            self.revisions.iter().filter(|(key, _)| key.0 == host.namespace).map(|(_, r)| Arc::clone(r)).collect();
        revisions.sort_by_key(|r| r.number);
        let members = self.members.iter().filter(|member| self.host_of_member(member).as_ref() == Some(host));
        let view = View {
            host: self.hosts.get(&pair(host)).cloned(),
            host_error: None,
            plugins: self.plugins.values().filter(of_host).cloned().collect(),
            pods: members.map(Member::pod).collect(),
            revisions,
            unreadable: Vec::new(),
        };
        (view.host.is_some() || !view.plugins.is_empty() || !view.pods.is_empty()).then_some(view)
    }

    pub(super) fn orphans(&self) -> Vec<Arc<Plugin>> {
        let has_host = |(key, p): &(&Key, &Arc<Plugin>)| self.hosts.contains_key(&(key.0.clone(), p.spec.host.clone()));
        self.plugins.iter().filter(|entry| !has_host(entry)).map(|(_, p)| Arc::clone(p)).collect()
    }

    pub(super) fn values(&self, namespace: &str, wanted: &[ValueRef]) -> Values {
        wanted.iter().map(|r| (r.clone(), self.value(namespace, r))).collect()
    }

    fn value(&self, namespace: &str, wanted: &ValueRef) -> Result<String, String> {
        match wanted {
            ValueRef::Secret(at) => {
                let found = self.secrets.get(&(namespace.to_owned(), at.name.clone()));
                super::super::secret_value(namespace, at, found)
            }
            ValueRef::ConfigMap(at) => {
                let found = self.config_maps.get(&(namespace.to_owned(), at.name.clone()));
                super::super::config_map_value(namespace, at, found)
            }
            ValueRef::WholeConfigMap(name) => {
                let found = self.config_maps.get(&(namespace.to_owned(), name.clone()));
                super::super::whole_config_map(namespace, name, found)
            }
        }
    }

    pub(super) fn rollout(&self, host: &HostKey) -> Result<State, WriteError> {
        let found = self.hosts.get(&pair(host)).ok_or_else(|| gone("PluginHost", host))?;
        Ok(found.status.as_ref().and_then(|s| s.rollout.clone()).unwrap_or_default())
    }

    pub(super) fn save_rollout(&mut self, host: &HostKey, expected: &State, new: &State) -> Result<(), WriteError> {
        if self.rollout(host)? != *expected {
            return Err(WriteError::Conflict { object: format!("PluginHost {host}") });
        }
        self.edit_host(host, |status| status.rollout = Some(new.clone()))
    }

    pub(super) fn report_host(&mut self, host: &HostKey, new: &PluginHostStatus) -> Result<(), WriteError> {
        self.edit_host(host, |status| *status = PluginHostStatus { rollout: status.rollout.take(), ..new.clone() })
    }

    fn edit_host(&mut self, host: &HostKey, edit: impl FnOnce(&mut PluginHostStatus)) -> Result<(), WriteError> {
        let found = self.hosts.get_mut(&pair(host)).ok_or_else(|| gone("PluginHost", host))?;
        edit(Arc::make_mut(found).status.get_or_insert_default());
        Ok(())
    }

    pub(super) fn report_plugin(
        &mut self,
        namespace: &str,
        name: &str,
        status: &PluginStatus,
    ) -> Result<(), WriteError> {
        let found = self.plugins.get_mut(&(namespace.to_owned(), name.to_owned()));
        let found = found.ok_or_else(|| gone("Plugin", &HostKey::new(namespace, name)))?;
        Arc::make_mut(found).status = Some(status.clone());
        Ok(())
    }

    pub(super) fn save_revision(&mut self, namespace: &str, revision: Revision) {
        self.revisions.entry((namespace.to_owned(), revision.id.0.clone())).or_insert_with(|| Arc::new(revision));
    }

    pub(super) fn delete_revision(&mut self, namespace: &str, id: &RevisionId) {
        self.revisions.remove(&(namespace.to_owned(), id.0.clone()));
    }

    pub(super) fn tell(&mut self, host: &HostKey, note: Note) {
        let about = match note.about {
            Subject::Host => format!("PluginHost/{}", host.name),
            Subject::Plugin(name) => format!("Plugin/{name}"),
        };
        if self.events.len() == MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(Event {
            at: Timestamp::now(),
            about,
            warning: note.warning,
            reason: note.reason,
            text: note.text,
        });
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            hosts: self.hosts.values().map(|o| PluginHost::clone(o)).collect(),
            plugins: self.plugins.values().map(|o| Plugin::clone(o)).collect(),
            problems: self.problems.clone(),
            events: self.events.iter().cloned().collect(),
        }
    }
}

fn replace<T>(old: &mut BTreeMap<Key, T>, new: BTreeMap<Key, T>, kind: &'static str, kept: &Origins) {
    old.retain(|key, _| kept.contains_key(&(kind, key.clone())));
    old.extend(new);
}

fn pair(host: &HostKey) -> Key {
    (host.namespace.clone(), host.name.clone())
}

fn gone(kind: &str, name: &HostKey) -> WriteError {
    WriteError::Gone { object: format!("{kind} {name}") }
}

fn random_uid() -> String {
    format!("{:032x}", rand::random::<u128>())
}

impl Member {
    fn pod(&self) -> Pod {
        Pod {
            ready: false,
            transient: false,
            started: false,
            termination: None,
            name: self.name.clone(),
            uid: self.name.clone(),
            phase: PodPhase::Running,
            terminating: false,
            injected: true,
            created: Timestamp::UNIX_EPOCH,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLUGIN: &str = "apiVersion: plugins.rockstar-framework.dev/v1alpha1\nkind: Plugin\nmetadata: {name: NAME}\nspec: {manifest: {}, source: {path: bin/it}}\n";

    fn file(name: &str, text: &str) -> (PathBuf, io::Result<String>) {
        (PathBuf::from(format!("/d/{name}.yaml")), Ok(text.replace("NAME", name)))
    }

    fn names(store: &Store) -> Vec<&str> {
        store.plugins.keys().map(|(_, name)| name.as_str()).collect()
    }

    #[test]
    fn an_unreadable_file_keeps_its_own_objects_and_no_others() {
        let mut store = Store::default();
        store.load(&[file("a", PLUGIN), file("b", PLUGIN)]);
        store.load(&[file("a", "kind: [")]);
        assert_eq!(names(&store), ["a"]);
        store.load(&[file("a", "")]);
        assert_eq!(names(&store), [""; 0]);
    }

    #[test]
    fn only_a_changed_spec_is_a_new_generation() {
        let mut store = Store::default();
        let generation = |store: &Store| store.plugins.values().next().unwrap().metadata.generation;
        store.load(&[file("a", PLUGIN)]);
        store.load(&[file("a", &PLUGIN.replace("{name: NAME}", "{name: NAME, labels: {x: y}}"))]);
        assert_eq!(generation(&store), Some(1));
        store.load(&[file("a", &PLUGIN.replace("bin/it", "bin/other"))]);
        assert_eq!(generation(&store), Some(2));
    }

    #[test]
    fn a_path_is_beside_its_file_and_a_name_counts_once() {
        let mut store = Store::default();
        let twice = file("b", &PLUGIN.replace("NAME", "a"));
        store.load(&[file("a", PLUGIN), twice]);
        assert_eq!(store.plugins.values().next().unwrap().spec.source.path.as_deref(), Some("/d/bin/it"));
        assert_eq!(
            store.problems[0].to_string(),
            "/d/b.yaml: Plugin default/a is also in /d/a.yaml; only one of them counts"
        );
    }

    #[test]
    fn a_host_without_an_object_is_there_while_it_has_plugins() {
        let mut store = Store::default();
        store.load(&[file("a", PLUGIN)]);
        let host = HostKey::new("default", "default");
        assert_eq!(store.hosts().as_slice(), std::slice::from_ref(&host));
        assert!(store.view(&host).is_some_and(|view| view.host.is_none() && view.plugins.len() == 1));
        store.load(&[]);
        assert!(store.view(&host).is_none());
    }
}
