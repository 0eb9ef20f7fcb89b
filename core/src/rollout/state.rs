//! What the planner remembers, persisted in `PluginHost.status.rollout`. Plain data.

use super::{FailureNote, Set};
use crate::{revision::RevisionId, text};
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
    /// The newest token of each plugin's spec that was acted on.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tokens: BTreeMap<String, String>,
    /// Another target, that waits for the changes to end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settling: Option<Settling>,
    /// The last time that an instance reached the target where nothing is on trial; absent while none has to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_progress_at: Option<i64>,
    /// The most instances that ran the whole target, proven, since it is the target.
    pub proven: u32,
    /// A progress deadline passed without a proof.
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
    /// The plan generation in which it began: failures from before are an earlier attempt's.
    #[serde(default)]
    pub generation: i64,
    /// The last proof, or the start; absent while nothing may move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<i64>,
    /// The most instances that had proven it.
    #[serde(default)]
    pub proven: u32,
    /// The progress deadline passed without a further proof.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stalled: bool,
}

/// That a revision outlived its grace period somewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Proof {
    pub at: i64,
    /// By pods that end: instances born later need not be waited for.
    pub by_ended_pod: bool,
    /// The youngest pod's creation at that time, on the API server's clock: younger ones were born later.
    #[serde(default = "nobody_is_younger")]
    pub youngest: i64,
}

const fn nobody_is_younger() -> i64 {
    i64::MAX
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

/// The most bytes of a state as JSON: a third of what etcd takes of an object.
pub const MAX_STATE: usize = 512 << 10;
/// The longest texts of failures if the state would be larger.
const SHORTENED: usize = 64;

impl State {
    /// Takes times that lie ahead for now: the clock went back, or it was another machine's.
    pub(super) fn not_after(&mut self, now: i64) {
        let settling = self.settling.iter_mut().flat_map(|s| [&mut s.first, &mut s.last]);
        let trials =
            self.trials.values_mut().flat_map(|t| t.since.iter_mut().chain(t.proof.iter_mut().map(|p| &mut p.at)));
        let failed = self.failed.values_mut().map(|f| &mut f.at);
        let times = settling.chain(trials).chain(failed).chain(&mut self.last_progress_at);
        times.for_each(|time| *time = (*time).min(now));
    }

    /// Shortens texts, then drops them, until the state can be stored.
    pub(super) fn fit(&mut self) {
        let shrink: [fn(&mut Self); 4] = [Self::bound_texts, Self::say_once, Self::shorten_texts, Self::drop_notes];
        for step in shrink {
            step(self);
            if self.size() <= MAX_STATE {
                return;
            }
        }
    }

    fn size(&self) -> usize {
        serde_json::to_vec(self).map_or(usize::MAX, |json| json.len())
    }

    fn texts(&mut self) -> impl Iterator<Item = &mut String> {
        let failed = self.failed.values_mut().flat_map(|failed| {
            std::iter::once(&mut failed.message).chain(failed.failures.iter_mut().map(|note| &mut note.message))
        });
        let strikes =
            self.trials.values_mut().flat_map(|trial| trial.strikes.values_mut().map(|note| &mut note.message));
        failed.chain(strikes)
    }

    fn bound(&mut self, max: usize) {
        self.texts().filter(|text| text.len() > max).for_each(|text| *text = text::bounded(text, max));
    }

    fn bound_texts(&mut self) {
        self.bound(text::MAX_STORED);
    }

    /// Leaves out what a note repeats of the failure that it belongs to.
    fn say_once(&mut self) {
        for failed in self.failed.values_mut() {
            let same = |note: &&mut FailureNote| note.message == failed.message;
            failed.failures.iter_mut().filter(same).for_each(|note| note.message.clear());
        }
    }

    fn shorten_texts(&mut self) {
        self.bound(SHORTENED);
    }

    fn drop_notes(&mut self) {
        self.failed.values_mut().for_each(|failed| failed.failures.clear());
        let strikes = self.trials.values_mut().flat_map(|trial| trial.strikes.values_mut());
        strikes.for_each(|note| note.message.clear());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::FailureClass;

    fn note(pod: usize, message: &str) -> FailureNote {
        FailureNote {
            pod: format!("storefront-7d4b9c6f5-{pod:05}"),
            revision: RevisionId("a-0123456789".into()),
            class: FailureClass::Revision,
            reason: "InitializeFailed".into(),
            message: message.to_owned(),
            at: 1_700_000_000_000,
            shared: false,
        }
    }

    fn all_failed(message: impl Fn(usize) -> String) -> State {
        let set: Set = (0..256)
            .map(|n| {
                (
                    format!("plugin-of-a-long-name-{n:03}"),
                    RevisionId(format!("plugin-of-a-long-name-{n:03}-0123456789")),
                )
            })
            .collect();
        let failed = set.iter().map(|(plugin, revision)| {
            let failures: Vec<_> = (0..5).map(|pod| note(pod, &message(pod))).collect();
            let failed = Failed {
                revision: revision.clone(),
                reason: "InitializeFailed".into(),
                message: message(0),
                at: 0,
                token: "a-uid-of-a-plugin-0000-0000-000000000000/12/".into(),
                failures,
                rolled_back: true,
            };
            (plugin.clone(), failed)
        });
        State { failed: failed.collect(), stable: Some(set.clone()), target: Some(set), ..State::default() }
    }

    #[test]
    fn a_state_of_256_plugins_that_all_fail_can_be_stored() {
        for message in [|_| "x".repeat(1 << 20), |pod| format!("{pod}{}", "\u{1}".repeat(4096)), |_| String::new()] {
            let mut state = all_failed(message);
            state.fit();
            assert!(state.size() <= MAX_STATE, "{}", state.size());
            assert_eq!(state.failed.len(), 256);
            let again = state.clone();
            state.fit();
            assert!(state == again);
        }
    }

    #[test]
    fn times_ahead_are_now() {
        let settling = Settling { target: Set::new(), first: 50, last: 200 };
        let mut state = State { settling: Some(settling), last_progress_at: Some(300), ..State::default() };
        state.not_after(100);
        let settling = state.settling.unwrap();
        assert_eq!((settling.first, settling.last, state.last_progress_at), (50, 100, Some(100)));
    }
}
