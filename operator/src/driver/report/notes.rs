//! What is told once, as events: the planner's steps, and whatever is newly wrong with a plugin. Pure.

use super::{
    super::{catalog::Catalog, memory::Memory, observe::Observed},
    plugin::{Context, failure_text},
    threshold::{DISABLED, newly_exceeded},
};
use crate::world::{Note, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use rockstar_core::rollout::{Change, Event};
use rockstar_crds::{PluginStatus, names::condition};
use std::collections::{BTreeMap, BTreeSet};

/// What the planner did.
pub(super) fn of_plan(context: &Context<'_>, catalog: &Catalog) -> Vec<Note> {
    context.decision.plan.events.iter().flat_map(|event| of_event(context, catalog, event)).collect()
}

fn of_event(context: &Context<'_>, catalog: &Catalog, event: &Event) -> Vec<Note> {
    let about = |plugin: &str| {
        let object = catalog.entries.get(plugin).and_then(|e| e.object.metadata.name.clone());
        object.map_or(Subject::Host, Subject::Plugin)
    };
    let note = |plugin: &str, warning, reason, text| Note { about: about(plugin), warning, reason, text };
    match event {
        Event::RolloutStarted { plugins } => {
            plugins.iter().map(|c| note(&c.plugin, false, "RolloutStarted", started(context, c))).collect()
        }
        Event::CanaryProven { plugin, revision, instance } => {
            let text = format!("{plugin} {} outlived its grace period in {instance}", context.version(revision));
            vec![note(plugin, false, "CanaryProven", text)]
        }
        Event::Promoted { plugins } => {
            plugins.iter().filter_map(|c| Some(note(&c.plugin, false, "Promoted", promoted(context, c)?))).collect()
        }
        Event::RevisionFailed { plugin, revision, reason, message, instances } => {
            let text = failure_text(plugin, &context.version(revision), reason, message);
            let text = format!("{text} (in {})", instances.join(", "));
            let mut notes = vec![note(plugin, true, "ReloadFailed", text)];
            let stable = context.decision.plan.state.stable.as_ref().and_then(|s| s.get(plugin));
            notes.extend(stable.map(|id| {
                let text = format!("Rolling back to previous version: {plugin} {}", context.version(id));
                note(plugin, true, "RollingBack", text)
            }));
            notes
        }
        Event::RolledBack { plugin, to, .. } => {
            let text = match to {
                Some(id) => format!("Previous version restored successfully: {plugin} {}", context.version(id)),
                None => format!("{plugin} runs nowhere: there is no previous version"),
            };
            vec![note(plugin, true, "RolledBack", text)]
        }
        Event::Stalled { message } => {
            vec![Note {
                about: Subject::Host,
                warning: true,
                reason: "ProgressDeadlineExceeded",
                text: message.clone(),
            }]
        }
    }
}

fn started(context: &Context<'_>, change: &Change) -> String {
    let plugin = &change.plugin;
    match (&change.from, &change.to) {
        (Some(from), Some(to)) if from != to => {
            format!("{plugin}: {} -> {}", context.version(from), context.version(to))
        }
        (_, Some(to)) => format!("{plugin}: {}", context.version(to)),
        (_, None) => format!("{plugin}: unload"),
    }
}

fn promoted(context: &Context<'_>, change: &Change) -> Option<String> {
    Some(format!("{} {} runs in every instance", change.plugin, context.version(change.to.as_ref()?)))
}

/// What newly keeps a plugin from being ready, or made it exceed its error threshold.
pub(super) fn of_changes(observed: &Observed, memory: &Memory, plugins: &BTreeMap<String, PluginStatus>) -> Vec<Note> {
    let mut notes = Vec::new();
    for (name, status) in plugins {
        let written = memory.reported.plugins.get(name).map(|(status, _)| status);
        let seen = || observed.view.plugins.iter().find(|p| p.metadata.name.as_ref() == Some(name))?.status.as_ref();
        let old = written.or_else(seen);
        let news = newly_stalled(old, status).into_iter().chain(newly_exceeded(old, status));
        let note = |(reason, text)| Note { about: Subject::Plugin(name.clone()), warning: true, reason, text };
        notes.extend(news.map(note));
    }
    notes
}

/// A plugin's crashes are told at most so often, in milliseconds.
const CRASH_PAUSE: i64 = 60_000;

/// Plugins that were started again by themselves since the last pass.
pub(super) fn of_crashes(observed: &Observed, catalog: &Catalog, memory: &Memory) -> Vec<Note> {
    let states = observed.attached.iter().flat_map(|a| a.report.plugins.iter().map(move |state| (a, state)));
    let mut told = BTreeMap::new();
    for (instance, state) in states {
        let before = memory.restarts.get(&(instance.uid.clone(), state.plugin.clone()));
        let is_new = before.is_some_and(|before| state.restarts > *before);
        let lately = memory.crash_told.get(&state.plugin).is_some_and(|at| observed.now - at < CRASH_PAUSE);
        let Some(entry) = catalog.entries.get(&state.plugin).filter(|_| is_new && !lately) else { continue };
        let error = if state.last_error.is_empty() { "no error was reported" } else { &state.last_error };
        let text = format!("{} crashed in pod {} and was started again: {error}", state.plugin, instance.pod);
        let about = entry.object.metadata.name.clone().map_or(Subject::Host, Subject::Plugin);
        told.entry(&state.plugin).or_insert(Note { about, warning: true, reason: CRASHED, text });
    }
    told.into_values().collect()
}

/// Takes up what was told of crashes.
pub(super) fn remember_crashes(observed: &Observed, memory: &mut Memory) {
    let now = observed.now;
    let attached: BTreeSet<&str> = observed.attached.iter().map(|a| a.uid.as_str()).collect();
    memory.restarts.retain(|(uid, _), _| attached.contains(uid.as_str()));
    memory.crash_told.retain(|_, at| now - *at < CRASH_PAUSE);
    for instance in &observed.attached {
        for state in &instance.report.plugins {
            let before = memory.restarts.insert((instance.uid.clone(), state.plugin.clone()), state.restarts);
            if before.is_some_and(|before| state.restarts > before) {
                memory.crash_told.entry(state.plugin.clone()).or_insert(now);
            }
        }
    }
}

const CRASHED: &str = "PluginCrashed";

/// Plugins that were ready and are down.
pub(super) fn of_downs(
    context: &Context<'_>,
    catalog: &Catalog,
    plugins: &BTreeMap<String, PluginStatus>,
) -> Vec<Note> {
    let mut notes = Vec::new();
    for entry in catalog.entries.values() {
        let name = entry.object.metadata.name.clone().unwrap_or_default();
        let written = context.memory.reported.plugins.get(&name).map(|(status, _)| status);
        let was_ready = written.or(entry.object.status.as_ref()).and_then(ready).is_some_and(|c| c.status == "True");
        let now = plugins.get(&name).and_then(ready);
        // A threshold's event says it already.
        let is_news = |condition: &&Condition| was_ready && condition.reason != DISABLED;
        if let Some(condition) = now.filter(is_news).filter(|_| context.is_down(&entry.name)) {
            let text = format!("{} {}", entry.name, condition.message);
            notes.push(Note { about: Subject::Plugin(name), warning: true, reason: DOWN, text });
        }
    }
    notes
}

fn ready(status: &PluginStatus) -> Option<&Condition> {
    status.conditions.iter().find(|c| c.type_ == condition::READY)
}

const DOWN: &str = "PluginDown";

/// Rollbacks are told step by step already.
fn newly_stalled(old: Option<&PluginStatus>, new: &PluginStatus) -> Option<(&'static str, String)> {
    let stalled = |s: &PluginStatus| s.conditions.iter().find(|c| c.type_ == condition::STALLED).cloned();
    let now = stalled(new)?;
    let before = old.and_then(stalled);
    let known = before.is_some_and(|b| (b.reason, b.message) == (now.reason.clone(), now.message.clone()));
    let reason = REASONS.iter().find(|reason| **reason == now.reason)?;
    (!known).then_some((*reason, now.message))
}

const REASONS: [&str; 13] = [
    "DuplicateName",
    "InvalidManifest",
    "PermissionMismatch",
    "InvalidConfig",
    "InvalidSpec",
    "TooManyPlugins",
    "RevisionNotStored",
    "ConfigChangeRefused",
    "ConfigSourceMissing",
    "FrameworkVersionMismatch",
    "MissingDependency",
    "VersionMismatch",
    "CircularDependency",
];
