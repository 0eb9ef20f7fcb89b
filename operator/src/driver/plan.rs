//! Third step: what each instance is told, by the planner. Pure.

use super::{catalog::Catalog, fleet, memory::Memory, observe::Observed, resolve};
use crate::world::Revision;
use rockstar_core::{
    permission::Permissions,
    resolve::Resolution,
    revision::RevisionId,
    rollout::{self, Input, Instance, Plan, Policy},
};
use rockstar_crds::FieldError;
use std::{collections::BTreeMap, sync::Arc};

/// The host's own settings, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    pub framework: semver::Version,
    pub policy: Policy,
    pub ceiling: Permissions,
}

/// What one pass decided.
#[derive(Debug)]
pub struct Decision {
    pub resolution: Resolution,
    pub plan: Plan,
    pub instances: Vec<Instance>,
}

/// Reads the host's settings.
pub fn settings(observed: &Observed) -> Result<Settings, FieldError> {
    let spec = &observed.view.host.spec;
    Ok(Settings { framework: spec.framework_version()?, policy: spec.rollout_policy()?, ceiling: spec.ceiling()? })
}

/// Hears the reports, resolves, plans.
#[must_use]
pub fn decide(observed: &Observed, settings: &Settings, catalog: &Catalog, memory: &Memory) -> Decision {
    let wanted = catalog.entries.values().filter(|entry| entry.is_wanted());
    let input = Input {
        now: observed.now,
        policy: settings.policy.clone(),
        plugins: wanted.map(|entry| (entry.name.clone(), entry.token())).collect(),
        requires: requires(&memory.known),
        instances: fleet::instances(observed, memory),
    };
    let judged = rollout::judge(&memory.state, &input);
    let resolution = resolve::resolve(&settings.framework, catalog, &judged.state, &memory.known);
    let plan = rollout::plan(judged, &resolution.target, &input);
    Decision { resolution, plan, instances: input.instances }
}

fn requires(known: &BTreeMap<RevisionId, Arc<Revision>>) -> BTreeMap<RevisionId, Vec<String>> {
    let required = |r: &Revision| {
        let needs = r.content.body.manifest.dependencies.iter().filter(|d| !d.optional);
        needs.map(|d| d.name.clone()).collect()
    };
    known.iter().map(|(id, revision)| (id.clone(), required(revision))).collect()
}
