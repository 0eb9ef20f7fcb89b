//! What the planner is told: the spec's plugins, the policy and the instances as they reported themselves. Plain data.

use super::{Assignment, Set};
use crate::revision::RevisionId;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// Everything observed about one host. Times are milliseconds since the epoch.
#[derive(Clone, Debug, Default)]
pub struct Input {
    pub now: i64,
    pub policy: Policy,
    /// The enabled plugins, each with a token that changes with its spec's generation and its `retry` annotation:
    /// another token forgets the plugin's failures. A plugin that is absent here is taken from every instance at once.
    pub plugins: BTreeMap<String, String>,
    /// The revision that each plugin's spec asks for, where it is a valid one.
    pub asked: BTreeMap<String, RevisionId>,
    /// The plugins whose failure policy is Closed.
    pub closed: BTreeSet<String>,
    /// The plugins that a revision depends on, optional ones included; for every revision in the state, the wanted set and
    /// the instances.
    pub requires: BTreeMap<RevisionId, Vec<String>>,
    /// Every pod of the host, connected or not.
    pub instances: Vec<Instance>,
    /// The operator has just taken over, and instances that served before are not back yet: nothing new begins, nothing is
    /// promoted, nobody is late.
    pub recovering: bool,
    /// The first pass after a recovery: what was late may have waited for the operator alone.
    pub resumed: bool,
}

/// One pod and the newest report of its sidecar.
#[derive(Clone, Debug)]
pub struct Instance {
    /// The pod's uid.
    pub id: String,
    pub name: String,
    pub created: i64,
    pub presence: Presence,
    /// Its pod ends by itself, as a Job's.
    pub transient: bool,
    /// Its pod is Ready in the API: it serves, whether it is connected or not.
    pub expected: bool,
    /// Was never ready: it serves nobody yet, so that it may be told anything without harm. What is away is new only while
    /// its pod has not started.
    pub new: bool,
    pub ready: bool,
    /// The plugins that cannot answer there.
    pub down: BTreeMap<String, Down>,
    /// Since when this operator has known it, and since when it has missed its stream (on the operator's clock).
    pub seen_since: i64,
    pub away_since: Option<i64>,
    /// The newest plan generation that it accepted; 0 = none.
    pub accepted: i64,
    /// A change group of the accepted snapshot is neither applied nor rolled back.
    pub moving: bool,
    /// The plugins of such groups.
    pub busy: BTreeSet<String>,
    /// Since when all that it is still moving waits out environment failures (on the operator's clock).
    pub waiting: Option<i64>,
    /// What it runs, or restarts: a crashed plugin is still listed.
    pub serving: Arc<Set>,
    /// The part of `serving` that outlived its grace period there.
    pub proven: Arc<Set>,
    /// Revision failures until acknowledged; environment failures until that revision serves there.
    pub failures: Vec<Failure>,
    /// The last plan's assignment for it; `None` after the operator restarted.
    pub assigned: Option<Assignment>,
}

/// Why a plugin cannot answer in an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Down {
    /// CamelCase.
    pub reason: String,
    /// The last error.
    pub message: String,
    /// It does not come back by itself soon: somebody must act.
    pub stuck: bool,
    /// It runs, but not with what it was told.
    pub refuses: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    Connected,
    /// The pod is there, its stream is not.
    Away,
    /// The pod ended in success, which proves what it served.
    Succeeded,
    /// The pod ended otherwise, which says nothing of its plugins.
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub id: String,
    pub plugin: String,
    pub revision: RevisionId,
    pub class: FailureClass,
    pub reason: String,
    pub message: String,
    pub at: i64,
    /// The plan generation that the sidecar had accepted when it failed.
    pub plan_generation: i64,
    /// The sidecar ended while several change groups were on trial: none of them is known as the culprit.
    pub shared: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureClass {
    /// Network, registry, disk: the instance keeps what it has and retries. Condemns no revision.
    Environment,
    /// The revision's own fault: the instance went back by itself.
    Revision,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub max_unavailable: Amount,
    /// As many instances are not upgraded.
    pub partition: Amount,
    pub paused: bool,
    /// So many distinct instances condemn a revision; the canary does alone.
    pub failure_threshold: u32,
    pub progress_deadline: Duration,
    pub on_failure: OnFailure,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            max_unavailable: Amount::Percent(25),
            partition: Amount::Count(0),
            paused: false,
            failure_threshold: 2,
            progress_deadline: Duration::from_secs(600),
            on_failure: OnFailure::RollBack,
        }
    }
}

/// A number of instances, or a share of all, rounded up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    Count(u32),
    Percent(u32),
}

impl Amount {
    #[must_use]
    pub fn of(self, total: usize) -> usize {
        match self {
            Self::Count(count) => count as usize,
            Self::Percent(percent) => (total * percent as usize).div_ceil(100),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    #[default]
    RollBack,
    /// Instances that run the failed revision keep it; nothing more moves to it.
    Halt,
}
