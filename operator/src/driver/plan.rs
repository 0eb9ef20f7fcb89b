//! Third step: what each instance is told, by the planner. Pure.

use super::{
    catalog::{self, Catalog},
    fleet,
    memory::{Memory, Recovery},
    observe::Observed,
    resolve,
};
use crate::world::{Revision, Unreadable, View};
use rockstar_core::{
    assignment::FailurePolicy,
    limits::Limits,
    manifest::Dependency,
    permission::Permissions,
    resolve::Resolution,
    revision::RevisionId,
    rollout::{self, Input, Instance, Plan, Policy, State},
};
use rockstar_crds::{FieldError, PluginHostSpec};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The host's own settings, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    pub framework: semver::Version,
    pub policy: Policy,
    pub ceiling: Permissions,
    /// What one plugin may take of its sidecar. None: that cannot be read, and instances keep what they have.
    pub limits: Option<Limits>,
    /// Says what is wrong with the rollout's policy or the limits. Until it is corrected the rollout is paused.
    pub fault: Option<FieldError>,
}

/// What one pass decided.
#[derive(Debug)]
pub struct Decision {
    pub resolution: Resolution,
    pub plan: Plan,
    pub instances: Vec<Instance>,
}

/// Reads the host's settings.
pub fn settings(spec: &PluginHostSpec) -> Result<Settings, FieldError> {
    let (policy, fault) = match spec.rollout_policy() {
        Ok(policy) => (policy, None),
        Err(error) => (Policy { paused: true, ..Policy::default() }, Some(error)),
    };
    let (policy, limits, fault) = match spec.limits() {
        Ok(limits) => (policy, Some(limits), fault),
        Err(error) => (Policy { paused: true, ..policy }, None, fault.or(Some(error))),
    };
    Ok(Settings { framework: spec.framework_version()?, policy, ceiling: spec.ceiling()?, limits, fault })
}

/// Hears the reports, resolves, plans.
#[must_use]
pub fn decide(observed: &Observed, settings: &Settings, catalog: &Catalog, memory: &Memory) -> Decision {
    let state = &memory.state;
    let held = held(&observed.view, state);
    let instances = fleet::instances(observed, memory);
    let wanted = catalog.entries.values().filter(|entry| entry.is_wanted() && !held.contains(&entry.name));
    let wanted = wanted.map(|entry| (entry.name.clone(), entry.token()));
    let input = Input {
        now: observed.now,
        policy: settings.policy.clone(),
        plugins: wanted.chain(held.iter().map(|name| (name.clone(), handled_token(name, state)))).collect(),
        asked: asked(catalog),
        closed: closed(catalog).union(&held).cloned().collect(),
        requires: requires(&memory.known, &in_question(state, catalog, &instances)),
        instances,
        recovering: memory.recovery.is_under_way(),
        resumed: memory.recovery == Recovery::Ended,
    };
    let judged = rollout::judge(state, &input);
    let resolution = resolve::resolve(&settings.framework, catalog, &held, &judged.state, &memory.known);
    let plan = rollout::plan(judged, &resolution.target, &input);
    Decision { resolution, plan, instances: input.instances }
}

/// The plugins that stay as they are because their object cannot be read: those of whose tokens it is, or whose name it
/// shows. Where it says neither, that is every plugin of the state that has no object.
#[must_use]
pub fn held(view: &View, state: &State) -> BTreeSet<String> {
    let (objects, _) = catalog::by_name(view);
    let running: BTreeSet<&String> = state.stable.iter().chain(&state.target).flat_map(|set| set.keys()).collect();
    let mut held = BTreeSet::new();
    for object in &view.unreadable {
        let is_its_own = |name: &&&String| state.tokens.get(**name).is_some_and(|token| is_token_of(token, object));
        let own: Vec<_> = running.iter().filter(is_its_own).copied().collect();
        match (&object.plugin, own.is_empty()) {
            (_, false) => held.extend(own.into_iter().cloned()),
            (Some(plugin), true) => held.extend(running.get(plugin).map(|name| (*name).clone())),
            (None, true) => {
                held.extend(running.iter().filter(|name| !objects.contains_key(**name)).map(|n| (*n).clone()))
            }
        }
    }
    held
}

/// A token begins with the uid of its object.
#[must_use]
pub fn is_token_of(token: &str, object: &Unreadable) -> bool {
    token.split('/').next() == Some(&*object.uid)
}

/// Returns the token that was acted on last, so that nothing is forgotten meanwhile.
fn handled_token(plugin: &str, state: &State) -> String {
    let trial = || state.trials.get(plugin).map(|trial| &trial.token);
    let failed = || state.failed.get(plugin).map(|failed| &failed.token);
    state.tokens.get(plugin).or_else(trial).or_else(failed).cloned().unwrap_or_default()
}

fn asked(catalog: &Catalog) -> BTreeMap<String, RevisionId> {
    let revision = |entry: &catalog::Entry| {
        let candidate = entry.candidate.as_ref().ok().or(entry.unconfigured.as_ref())?;
        Some((entry.name.clone(), candidate.revision.id.clone()))
    };
    catalog.entries.values().filter_map(revision).collect()
}

fn closed(catalog: &Catalog) -> BTreeSet<String> {
    let is_closed = |entry: &&catalog::Entry| entry.object.spec.failure_policy() == FailurePolicy::Closed;
    catalog.entries.values().filter(is_closed).map(|entry| entry.name.clone()).collect()
}

/// The revisions that an instance may run, now or soon.
fn in_question(state: &State, catalog: &Catalog, instances: &[Instance]) -> BTreeSet<RevisionId> {
    let sets = state.stable.iter().chain(&state.target).chain(instances.iter().map(|i| &*i.serving));
    let candidates = catalog.entries.values().filter_map(|entry| entry.candidate.as_ref().ok());
    sets.flat_map(BTreeMap::values).cloned().chain(candidates.map(|c| c.revision.id.clone())).collect()
}

/// Lists each revision's dependencies. An optional one counts where a version in question would not fit it.
fn requires(
    known: &BTreeMap<RevisionId, Arc<Revision>>,
    in_question: &BTreeSet<RevisionId>,
) -> BTreeMap<RevisionId, Vec<String>> {
    let mut versions: BTreeMap<&str, Vec<&semver::Version>> = BTreeMap::new();
    for revision in known.values().filter(|revision| in_question.contains(&revision.id)) {
        versions.entry(&revision.plugin).or_default().push(&revision.content.body.manifest.version);
    }
    let binds = |dependency: &Dependency| {
        let fits = |version: &&semver::Version| dependency.constraint().is_ok_and(|c| c.matches(version));
        !dependency.optional || !versions.get(dependency.name.as_str()).into_iter().flatten().all(fits)
    };
    let required = |r: &Revision| {
        let needs = r.content.body.manifest.dependencies.iter().filter(|d| binds(d));
        needs.map(|d| d.name.clone()).collect()
    };
    known.iter().map(|(id, revision)| (id.clone(), required(revision))).collect()
}
