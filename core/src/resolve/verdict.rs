//! What became of each plugin, and why: both sides are named, in the state that was settled on. Pure.

use super::{ResolveError, rounds::Settled};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// Which revision of a plugin is in the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// What its spec wants.
    Candidate,
    /// The one that worked before; the candidate is held back, or there is none.
    Stable,
    /// None.
    Absent,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub standing: Standing,
    /// Why it is held back; or what a revision that runs lacks since something it needs was taken away.
    pub problems: Vec<ResolveError>,
}

impl Verdict {
    /// Whether nothing stands in the plugin's way.
    #[must_use]
    pub const fn is_resolved(&self) -> bool {
        self.problems.is_empty()
    }

    /// The ways out, one a problem.
    #[must_use]
    pub fn fixes(&self) -> Vec<String> {
        let fixes = self.problems.iter().map(ResolveError::fix).collect::<BTreeSet<_>>();
        fixes.into_iter().collect()
    }
}

/// The problems alone, in the reference's words.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts = self.problems.iter().map(ToString::to_string).collect::<Vec<_>>();
        f.write_str(&texts.join("; "))
    }
}

pub(super) fn verdicts(settled: &Settled<'_>) -> BTreeMap<String, Verdict> {
    settled.names().enumerate().map(|(index, name)| (name.to_owned(), verdict(settled, index))).collect()
}

fn verdict(settled: &Settled<'_>, index: usize) -> Verdict {
    let mut problems = settled.faults_of_fallen(index);
    problems.extend(settled.faults_of_stable(index));
    let mut seen = BTreeSet::new();
    problems.retain(|problem| seen.insert(problem.clone()));
    Verdict { standing: settled.standing(index), problems }
}
