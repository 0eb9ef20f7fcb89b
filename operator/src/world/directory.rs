//! A directory of YAML files as the world: objects from the files, status, revisions and events in memory.
//! `documents` and `store` do no I/O; `watch` reads the files.

mod documents;
mod store;
mod watch;

pub use documents::Problem;
pub use store::{Event, Member};
pub use watch::{read, watch};

use super::{Note, Revision, ValueRef, Values, View, World, WriteError};
use crate::{
    control::identity::{Authenticator, Identity, IdentityError, Membership},
    host::{Bells, HostKey},
};
use async_trait::async_trait;
use kube::ResourceExt;
use parking_lot::RwLock;
use rockstar_core::{revision::RevisionId, rollout::State};
use rockstar_crds::{Plugin, PluginHost, PluginHostStatus, PluginStatus};
use std::{path::PathBuf, sync::Arc};
use store::Store;
use tokio::sync::watch as channel;

/// The directory's objects with what the driver made of them.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    store: RwLock<Store>,
    bells: Bells,
    changes: channel::Sender<u64>,
}

/// All that a table of the directory's plugins shows.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub hosts: Vec<PluginHost>,
    pub plugins: Vec<Plugin>,
    pub problems: Vec<Problem>,
    pub events: Vec<Event>,
}

impl Directory {
    #[must_use]
    pub fn new(path: PathBuf, bells: Bells) -> Self {
        Self { path, store: RwLock::default(), bells, changes: channel::Sender::new(0) }
    }

    /// The instances that may attach; those not named any more are gone.
    pub fn set_members(&self, members: Vec<Member>) {
        self.change(|store| store.set_members(members));
    }

    /// Takes the contents of all files in place of the former ones.
    pub fn load(&self, files: &[(PathBuf, std::io::Result<String>)]) {
        self.change(|store| store.load(files));
    }

    /// What there is now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.store.read().snapshot()
    }

    /// Ticks on each change of objects, status, problems or events.
    #[must_use]
    pub fn changes(&self) -> channel::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The status is written by the driver, so it wakes only those who look on.
    fn note(&self) {
        self.changes.send_modify(|n| *n += 1);
    }

    fn change(&self, act: impl FnOnce(&mut Store)) {
        let namespaces = {
            let mut store = self.store.write();
            act(&mut store);
            store.namespaces()
        };
        self.bells.ring_list();
        namespaces.iter().for_each(|namespace| self.bells.ring_namespace(namespace));
        self.note();
    }

    fn write<T>(&self, act: impl FnOnce(&mut Store) -> Result<T, WriteError>) -> Result<T, WriteError> {
        let result = act(&mut self.store.write());
        self.note();
        result
    }
}

impl Membership for Directory {
    fn host_of(&self, pod: &Identity) -> Option<HostKey> {
        self.store.read().host_of(pod)
    }
}

#[async_trait]
impl Authenticator for Directory {
    async fn identify(&self, token: &str) -> Result<Identity, IdentityError> {
        self.claimed(token).ok_or_else(|| IdentityError::Refused("unknown token".into()))
    }

    fn claimed(&self, token: &str) -> Option<Identity> {
        self.store.read().identify(token)
    }
}

#[async_trait]
impl World for Directory {
    fn hosts(&self) -> Vec<HostKey> {
        self.store.read().hosts()
    }

    fn view(&self, host: &HostKey) -> Option<View> {
        self.store.read().view(host)
    }

    fn orphans(&self) -> Vec<Arc<Plugin>> {
        self.store.read().orphans()
    }

    async fn values(&self, namespace: &str, wanted: &[ValueRef]) -> Values {
        self.store.read().values(namespace, wanted)
    }

    async fn rollout(&self, host: &HostKey) -> Result<State, WriteError> {
        self.store.read().rollout(host)
    }

    async fn save_rollout(&self, host: &HostKey, expected: &State, new: &State) -> Result<(), WriteError> {
        self.write(|store| store.save_rollout(host, expected, new))
    }

    async fn save_revision(&self, host: &PluginHost, _: &Plugin, revision: &Revision) -> Result<(), WriteError> {
        self.write(|store| {
            store.save_revision(&host.namespace().unwrap_or_default(), revision.clone());
            Ok(())
        })
    }

    async fn delete_revision(&self, host: &HostKey, id: &RevisionId) -> Result<(), WriteError> {
        self.write(|store| {
            store.delete_revision(&host.namespace, id);
            Ok(())
        })
    }

    async fn report_host(&self, host: &HostKey, status: &PluginHostStatus) -> Result<(), WriteError> {
        self.write(|store| store.report_host(host, status))
    }

    async fn report_plugin(&self, host: &HostKey, name: &str, status: &PluginStatus) -> Result<(), WriteError> {
        self.write(|store| store.report_plugin(&host.namespace, name, status))
    }

    /// Nobody sets any here.
    async fn remove_finalizer(&self, _: &Plugin) -> Result<(), WriteError> {
        Ok(())
    }

    async fn tell(&self, host: &HostKey, note: Note) {
        self.store.write().tell(host, note);
        self.note();
    }

    fn polls_values(&self) -> bool {
        false
    }
}

impl Directory {
    /// Those that ring when an object changes.
    #[must_use]
    pub fn bells(&self) -> Bells {
        self.bells.clone()
    }

    /// Where the files are.
    #[must_use]
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }
}
