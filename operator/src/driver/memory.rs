//! What the loop of one host remembers between passes. All of it can be found again after a restart, at the worst by
//! asking the instances. No I/O.

use super::{observe::Observed, report::Lacking};
use crate::{
    control::{Attached, Publication},
    world::{Pod, PodPhase, Revision},
};
use rockstar_core::{
    revision::RevisionId,
    rollout::{Assignment, State},
};
use rockstar_crds::{PluginHostStatus, PluginStatus};
use rockstar_proto::control::{FailureRecord, Report, group_state::Outcome};
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Instances that served have so long to come back to a new leader, in milliseconds.
const RECOVERY: i64 = 30_000;

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
    /// Instances were told to stay ready in spite of a failing plugin.
    pub keep_ready: bool,
    /// How far the return of the instances to this leader is.
    pub recovery: Recovery,
    /// Since when each pod is known, and since when one has missed its stream.
    pub seen: BTreeMap<String, i64>,
    pub away: BTreeMap<String, i64>,
    /// The last report of each instance, until its pod's object is gone.
    pub last_reports: BTreeMap<String, Arc<Report>>,
    /// How often a plugin was restarted in an instance, as last reported.
    pub restarts: BTreeMap<(String, String), i64>,
    /// When a crash of a plugin was last told.
    pub crash_told: BTreeMap<String, i64>,
    /// Since when all that an instance still moves waits out environment failures.
    pub waiting: BTreeMap<String, i64>,
    /// Every revision that was seen, stored or not.
    pub known: BTreeMap<RevisionId, Arc<Revision>>,
    /// The last configuration of a revision that fitted its schema.
    pub configs: BTreeMap<RevisionId, Map<String, Value>>,
    /// Refused changes of configuration, by the failure's id: the configuration that was refused.
    pub refused: BTreeMap<String, Map<String, Value>>,
    pub publications: Vec<Arc<Publication>>,
    /// When a revision was stored, though the view may not show it yet.
    pub saved: BTreeMap<RevisionId, i64>,
    /// Revisions that could not be stored: why, and when it is tried again.
    pub unstored: BTreeMap<RevisionId, (String, i64)>,
    pub reported: Reported,
    /// Plugins that ask for something that is not there.
    pub lacking: Lacking,
    /// Objects whose status could not be written, and when it is tried again.
    pub unwritten: BTreeMap<String, i64>,
}

/// What was written last, and when.
#[derive(Debug, Default)]
pub struct Reported {
    pub host: Option<(PluginHostStatus, i64)>,
    pub plugins: BTreeMap<String, (PluginStatus, i64)>,
}

/// After a takeover, the time in which instances that served come back. It ends once, for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recovery {
    #[default]
    NotBegun,
    Since(i64),
    /// It ended, and the first pass after it is not stored yet.
    Ended,
    Over,
}

impl Recovery {
    /// Nothing new may begin.
    #[must_use]
    pub const fn is_under_way(self) -> bool {
        matches!(self, Self::NotBegun | Self::Since(_))
    }

    const fn next(self, all_back: bool, now: i64) -> Self {
        match self {
            Self::NotBegun if !all_back => Self::Since(now),
            Self::Since(since) if !all_back && now - since < RECOVERY => self,
            Self::NotBegun | Self::Since(_) => Self::Ended,
            Self::Ended | Self::Over => self,
        }
    }

    /// Notes that the first pass after its end is stored.
    #[must_use]
    pub const fn stored(self) -> Self {
        match self {
            Self::Ended => Self::Over,
            other => other,
        }
    }

    /// When it ends at the latest.
    #[must_use]
    pub const fn deadline(self) -> Option<i64> {
        match self {
            Self::Since(since) => Some(since + RECOVERY),
            _ => None,
        }
    }
}

/// Whether a pod's sidecar was connected to somebody, as far as the API tells.
const fn has_begun(pod: &Pod) -> bool {
    pod.injected && !pod.terminating && matches!(pod.phase, PodPhase::Running) && (pod.ready || pod.started)
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
            self.last_reports.insert(instance.uid.clone(), Arc::clone(&instance.report));
            self.note_waiting(instance, observed.now);
            self.note_refusals(instance);
        }
        self.note_presence(observed);
        let alive: BTreeSet<&str> = observed.view.pods.iter().map(|p| p.uid.as_str()).collect();
        self.last_reports.retain(|uid, _| alive.contains(uid.as_str()));
        self.unstored.retain(|_, (_, until)| *until > observed.now);
        self.ever_ready.retain(|uid| alive.contains(uid.as_str()));
        self.assigned.retain(|uid, _| alive.contains(uid.as_str()));
        self.waiting.retain(|uid, _| alive.contains(uid.as_str()));
        let known = |id: &String| observed.attached.iter().any(|i| i.failures.contains_key(id));
        self.refused.retain(|id, _| known(id));
    }

    fn note_presence(&mut self, observed: &Observed) {
        let attached: BTreeSet<&str> = observed.attached.iter().map(|i| i.uid.as_str()).collect();
        let pods = || observed.view.pods.iter();
        let is_away = |pod: &&Pod| !attached.contains(pod.uid.as_str());
        self.away.retain(|uid, _| pods().any(|pod| pod.uid == *uid) && !attached.contains(uid.as_str()));
        self.seen.retain(|uid, _| pods().any(|pod| pod.uid == *uid));
        for pod in pods() {
            self.seen.entry(pod.uid.clone()).or_insert(observed.now);
            if pod.ready {
                self.ever_ready.insert(pod.uid.clone());
            }
            if is_away(&pod) {
                self.away.entry(pod.uid.clone()).or_insert(observed.now);
            }
        }
        let all_back = !pods().filter(|pod| has_begun(pod)).any(|pod| is_away(&pod));
        self.recovery = self.recovery.next(all_back, observed.now);
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
    instance.report.served || instance.report.ready || instance.report.plugins.iter().any(|p| p.proven)
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
