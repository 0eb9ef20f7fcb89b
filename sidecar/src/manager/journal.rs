//! Where trials are written down before they begin and after they ended, so that a sidecar that dies in one knows.

use super::budget::Crashes;
use crate::{failure::Failure, target::Target};
use parking_lot::Mutex;
use std::collections::BTreeMap;

/// How a trial ended.
#[derive(Clone, Debug)]
pub enum Verdict<'a> {
    /// All outlived their grace period.
    Proven,
    /// This one failed; all are gone back.
    Failed(&'a Target, &'a Failure),
    /// It could not be told here: the environment failed, or another set came in between.
    Undecided,
}

/// Told by the manager. Implementations return when it is on disk.
pub trait Journal: Send + Sync + std::fmt::Debug {
    /// Before the first process of these targets, which move together, is started.
    fn begins(&self, targets: &[Target]);
    /// Before a target is on trial again with those plugins that it moved with.
    fn rejoins(&self, target: &Target, partners: &[String]);
    fn ends(&self, targets: &[Target], verdict: Verdict<'_>);
    /// A plugin without a version before it that fails in its grace period is given up, rather than restarted.
    fn gives_up(&self) -> bool;
    /// The crashes of a plugin that are known.
    fn crashes(&self, plugin: &str) -> Crashes;
    fn keep_crashes(&self, plugin: &str, crashes: Crashes);
}

/// Where nobody has to be told.
#[derive(Debug, Default)]
pub struct LogOnly(Mutex<BTreeMap<String, Crashes>>);

impl Journal for LogOnly {
    fn begins(&self, _: &[Target]) {}

    fn rejoins(&self, _: &Target, _: &[String]) {}

    fn ends(&self, _: &[Target], _: Verdict<'_>) {}

    fn gives_up(&self) -> bool {
        false
    }

    fn crashes(&self, plugin: &str) -> Crashes {
        self.0.lock().get(plugin).cloned().unwrap_or_default()
    }

    fn keep_crashes(&self, plugin: &str, crashes: Crashes) {
        self.0.lock().insert(plugin.to_owned(), crashes);
    }
}
