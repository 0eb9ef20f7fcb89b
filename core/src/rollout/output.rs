//! What the planner decides. Plain data.

use super::{FailureClass, Set, State};
use crate::revision::RevisionId;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// The state after the reports were heard, before a target is resolved from it.
#[derive(Clone, Debug)]
pub struct Judged {
    /// `stable` and `failed` are what the resolution works with.
    pub state: State,
    pub events: Vec<Event>,
    /// The stable set or the target is another one than before.
    pub changed: bool,
}

/// The decision of one pass.
#[derive(Clone, Debug)]
pub struct Plan {
    /// To be persisted before anything is published.
    pub state: State,
    /// By instance id. An instance without one is told nothing yet.
    pub assignments: BTreeMap<String, Assignment>,
    /// When to plan again although nothing was reported.
    pub next_deadline: Option<i64>,
    pub events: Vec<Event>,
    /// Of every plugin that the spec enables, or an instance still runs.
    pub plugins: BTreeMap<String, Summary>,
    pub totals: Totals,
}

/// What one instance is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    pub target: Arc<Set>,
    /// What a change group that fails goes back to, and what a trial that ends uncleanly boots: the stable set.
    pub fallback: Arc<Set>,
    /// The plan generation since which it is told so.
    pub generation: i64,
    /// Earlier targets that it may still be busy with, as it has not accepted this one.
    pub superseded: Vec<Arc<Set>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Plugins begin to move to another revision.
    RolloutStarted { plugins: Vec<Change> },
    /// The first instance proved a revision.
    CanaryProven { plugin: String, revision: RevisionId, instance: String },
    /// Revisions that are stable from now on.
    Promoted { plugins: Vec<Change> },
    /// A revision was condemned.
    RevisionFailed { plugin: String, revision: RevisionId, reason: String, message: String, instances: Vec<String> },
    /// No instance runs the condemned revision any more.
    RolledBack { plugin: String, revision: RevisionId, to: Option<RevisionId> },
    /// No instance was proven within the progress deadline.
    Stalled { message: String },
}

/// One plugin's step of a rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub plugin: String,
    pub from: Option<RevisionId>,
    pub to: Option<RevisionId>,
}

/// What to report of one plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    pub verdict: Verdict,
    /// Why the plugin is down, in CamelCase; none if it is not.
    pub reason: Option<String>,
    /// For a condition's message; free of counters.
    pub message: String,
    /// The stable revision; before there is one, the target.
    pub serving: Option<RevisionId>,
    /// What instances move to.
    pub updated: Option<RevisionId>,
    pub counts: Totals,
    /// At most five.
    pub failures: Vec<FailureNote>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The target is stable, and up in every instance that should serve.
    Current,
    /// The target is stable, and down in an instance; `stuck` if it does not come back by itself soon.
    Down { stuck: bool },
    /// The target is stable, and an instance that should serve is away; `stuck` after the progress deadline.
    Away { stuck: bool },
    /// The target is stable, and an instance that should serve is away for a moment: what was said before holds.
    Unsure,
    /// The target is stable, and no instance is there that should serve.
    NoInstances,
    /// Settling, moving, or in grace.
    Progressing,
    /// What is left waits for `paused` or `partition`.
    Paused,
    /// The progress deadline passed; or what is left failed below the threshold.
    Stalled,
    /// The spec's revision was condemned.
    RolledBack,
    /// The spec's revision was condemned, instances that run it keep it.
    Halted,
    /// The spec enables it, but no revision of it is to run; the resolution knows why.
    Absent,
    /// Taken away; `counts.updated` instances are rid of it.
    Removing,
}

/// Numbers of instances.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Pods that have not ended.
    pub desired: u32,
    pub connected: u32,
    /// Run the target, proven or not.
    pub updated: u32,
    /// Run the target, proven, and are ready.
    pub ready: u32,
    /// Failed with the target or what was condemned.
    pub failed: u32,
}

/// A failure, as status shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailureNote {
    pub pod: String,
    pub revision: RevisionId,
    pub class: FailureClass,
    pub reason: String,
    pub message: String,
    pub at: i64,
    /// Several change groups were on trial together, and none is known as the culprit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
}
