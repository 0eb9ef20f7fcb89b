//! What the loop of one host remembers between passes. All of it can be found again after a restart, at the worst by
//! asking the instances. No I/O.

use super::observe::Observed;
use crate::{
    control::{Attached, Publication},
    world::Revision,
};
use rockstar_core::{
    revision::RevisionId,
    rollout::{Assignment, State},
};
use rockstar_crds::{PluginHostStatus, PluginStatus};
use rockstar_proto::control::{FailureRecord, group_state::Outcome};
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The reason by which a sidecar reports that OnConfigChange refused a configuration.
const CONFIG_REFUSED: &str = "ConfigChangeRefused";

#[derive(Debug, Default)]
pub struct Memory {
    /// Of the host object; another one of the same name is another host.
    pub uid: Option<String>,
    /// As it is stored.
    pub state: State,
    /// By instance.
    pub assigned: BTreeMap<String, Assignment>,
    /// Instances that have served.
    pub ever_ready: BTreeSet<String>,
    /// Since when all that an instance still moves waits out environment failures.
    pub waiting: BTreeMap<String, i64>,
    /// Every revision that was seen, stored or not.
    pub known: BTreeMap<RevisionId, Arc<Revision>>,
    /// The last configuration of a revision that fitted its schema.
    pub configs: BTreeMap<RevisionId, Map<String, Value>>,
    /// Refused changes of configuration, by the failure's id: the configuration that was refused.
    pub refused: BTreeMap<String, Map<String, Value>>,
    pub publications: Vec<Arc<Publication>>,
    /// Plugins, by object, that got their finalizer, though the view may not show it yet.
    pub held: BTreeSet<String>,
    pub reported: Reported,
}

/// What was written last, and when.
#[derive(Debug, Default)]
pub struct Reported {
    pub host: Option<(PluginHostStatus, i64)>,
    pub plugins: BTreeMap<String, (PluginStatus, i64)>,
}

impl Memory {
    /// Takes up what the instances say and which revisions are stored.
    pub fn hear(&mut self, observed: &Observed) {
        let revisions = observed.view.revisions.iter().map(|r| (r.id.clone(), Arc::clone(r)));
        self.known.extend(revisions);
        for instance in &observed.attached {
            if has_served(instance) {
                self.ever_ready.insert(instance.uid.clone());
            }
            self.note_waiting(instance, observed.now);
            self.note_refusals(instance);
        }
        let alive: BTreeSet<&str> = observed.view.pods.iter().map(|p| p.uid.as_str()).collect();
        self.ever_ready.retain(|uid| alive.contains(uid.as_str()));
        self.assigned.retain(|uid, _| alive.contains(uid.as_str()));
        self.waiting.retain(|uid, _| alive.contains(uid.as_str()));
        let known = |id: &String| observed.attached.iter().any(|i| i.failures.contains_key(id));
        self.refused.retain(|id, _| known(id));
    }

    fn note_waiting(&mut self, instance: &Attached, now: i64) {
        if only_waits(instance) {
            self.waiting.entry(instance.uid.clone()).or_insert(now);
        } else {
            self.waiting.remove(&instance.uid);
        }
    }

    /// What was told last is what was refused.
    fn note_refusals(&mut self, instance: &Attached) {
        for record in instance.failures.values().filter(|r| r.reason == CONFIG_REFUSED) {
            if let Some(config) = self.configs.get(&RevisionId(record.revision.clone())) {
                self.refused.entry(record.id.clone()).or_insert_with(|| config.clone());
            }
        }
    }

    /// Whether the instance still runs another configuration than it is told, because of this failure.
    #[must_use]
    pub fn is_refusal(&self, record: &FailureRecord) -> bool {
        let told = self.configs.get(&RevisionId(record.revision.clone()));
        let refused = self.refused.get(&record.id);
        record.reason == CONFIG_REFUSED && (refused.is_none() || refused == told)
    }

    /// The rollout was changed by someone else: begin with what is stored.
    pub fn restart_from(&mut self, state: State) {
        self.state = state;
        self.assigned.clear();
    }
}

fn has_served(instance: &Attached) -> bool {
    instance.report.ready || instance.report.plugins.iter().any(|p| p.proven)
}

fn only_waits(instance: &Attached) -> bool {
    let open = || instance.report.groups.iter().map(|g| g.outcome()).filter(|o| is_open(*o));
    open().next().is_some() && open().all(|o| o == Outcome::Waiting)
}

/// Neither applied nor rolled back.
#[must_use]
pub const fn is_open(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Moving | Outcome::Waiting)
}
