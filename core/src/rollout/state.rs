//! What the planner remembers, persisted in `PluginHost.status.rollout`. Plain data.

use super::{FailureNote, Set};
use crate::revision::RevisionId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct State {
    /// Rises with every change of an assignment or of the target.
    pub plan_generation: i64,
    /// What is proven everywhere; absent until a first set was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable: Option<Set>,
    /// What instances move to; absent until a first set has settled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Set>,
    /// The plugins whose target is not stable yet.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub trials: BTreeMap<String, Trial>,
    /// The revisions that are not tried again until their spec changes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub failed: BTreeMap<String, Failed>,
    /// Failures of a plugin from before this generation belong to an earlier attempt.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attempts: BTreeMap<String, i64>,
    /// Another target, that waits for the changes to end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settling: Option<Settling>,
    /// The last proof, or the start of the rollout; absent while nothing may move.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_progress_at: Option<i64>,
    /// How many instances ran the whole target, proven, at the last look.
    pub proven: u32,
    /// The progress deadline passed without a proof.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stalled: bool,
}

/// A revision on its way to be stable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trial {
    pub revision: RevisionId,
    /// The spec's token when the trial began.
    pub token: String,
    /// The one instance that tries it before the first proof.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
    /// The instances that it failed in, by id; too few to condemn it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub strikes: BTreeMap<String, FailureNote>,
}

/// That a revision outlived its grace period somewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Proof {
    pub at: i64,
    /// By pods that end: instances born later need not be waited for.
    pub by_ended_pod: bool,
}

/// A condemned revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failed {
    #[serde(rename = "rev")]
    pub revision: RevisionId,
    pub reason: String,
    pub message: String,
    pub at: i64,
    /// The spec's token when it failed; another one tries it again.
    pub token: String,
    /// At most five of the failures that condemned it.
    #[serde(default)]
    pub failures: Vec<FailureNote>,
    /// No instance runs it any more.
    #[serde(default)]
    pub rolled_back: bool,
}

/// A wanted target that may still change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settling {
    pub target: Set,
    /// The first change since the target in force was settled.
    pub first: i64,
    pub last: i64,
}
