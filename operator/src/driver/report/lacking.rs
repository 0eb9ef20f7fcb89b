//! Objects that ask for others that are not there. An applied folder brings its objects in any order, so a tool that ends at
//! the first Stalled gets some time before it is told so. Pure.

use super::{
    conditions::{Course, Outlook},
    plugin::old,
};
use rockstar_crds::{Plugin, PluginStatus, names::condition};
use std::collections::BTreeMap;

/// In milliseconds.
const PATIENCE: i64 = 30_000;
/// The reasons that another object's coming ends.
const REASONS: [&str; 4] = ["HostNotFound", "ConfigSourceMissing", "MissingDependency", "VersionMismatch"];

/// By object: the generation that lacks something, and since when that is known.
#[derive(Debug, Default)]
pub struct Lacking(BTreeMap<String, (Option<i64>, i64)>);

impl Lacking {
    /// Turns what is stuck into what moves for as long as the missing object may be on its way. What was said to be stuck
    /// stays so.
    pub(super) fn patient(&self, key: &str, object: &Plugin, outlook: Outlook, now: i64) -> Outlook {
        let generation = object.metadata.generation;
        let is_over = || self.0.get(key).is_some_and(|(of, since)| *of == generation && now - since >= PATIENCE);
        let was_stuck = || {
            let mut stalled = old(object).iter().filter(|c| c.type_ == condition::STALLED && c.status == "True");
            stalled.any(|c| c.observed_generation == generation)
        };
        let may_come = outlook.course == Course::Stuck && REASONS.contains(&outlook.reason.as_str());
        match may_come && !is_over() && !was_stuck() {
            true => Outlook { course: Course::Moving, ..outlook },
            false => outlook,
        }
    }

    /// Takes up what was composed.
    pub fn note(&mut self, plugins: &BTreeMap<String, PluginStatus>, now: i64) {
        let lacking = plugins.iter().filter(|(_, status)| lacks(status));
        let lacking: BTreeMap<&String, Option<i64>> = lacking.map(|(key, s)| (key, s.observed_generation)).collect();
        self.0.retain(|key, (generation, _)| lacking.get(key) == Some(generation));
        for (key, generation) in lacking {
            self.0.entry(key.clone()).or_insert((generation, now));
        }
    }

    /// When the patience with one of them is over.
    pub(super) fn deadline(&self, now: i64) -> Option<i64> {
        self.0.values().map(|(_, since)| since + PATIENCE).filter(|at| *at > now).min()
    }
}

fn lacks(status: &PluginStatus) -> bool {
    let mut ready = status.conditions.iter().filter(|c| c.type_ == condition::READY && c.status == "False");
    ready.any(|c| REASONS.contains(&c.reason.as_str()))
}
