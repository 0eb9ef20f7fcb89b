//! Last step: what users are told, in status and events. `plugin`, `host`, `notes` and `conditions` are pure; here the
//! results are written, if they differ from what was written before.

mod conditions;
mod host;
mod lacking;
mod notes;
mod plugin;
#[cfg(test)]
mod states;
mod threshold;

pub use {lacking::Lacking, plugin::orphan};

use super::{
    Tools,
    catalog::{Catalog, Fault},
    memory::Memory,
    observe::Observed,
    plan::{Decision, Settings},
};
use crate::{
    host::HostKey,
    world::{Note, World, WriteError},
};
use rockstar_crds::{FieldError, Plugin, PluginHost, PluginHostStatus, PluginStatus};
use std::{collections::BTreeMap, sync::Arc};

/// A view may lag behind a write by so much, in milliseconds; later, what differs was changed by someone else.
const LAG: i64 = 10_000;

/// All that is said of one host in one pass.
#[derive(Debug, Default)]
pub struct Report {
    pub host: PluginHostStatus,
    /// By the Plugin's object name.
    pub plugins: BTreeMap<String, PluginStatus>,
    pub notes: Vec<Note>,
}

/// What there is to say. Pure.
#[must_use]
pub fn compose(
    observed: &Observed,
    settings: &Settings,
    catalog: &Catalog,
    decision: &Decision,
    memory: &Memory,
) -> Report {
    let context = plugin::Context { observed, settings, decision, memory };
    let mut plugins: BTreeMap<String, PluginStatus> =
        catalog.entries.values().map(|entry| (object_name(&entry.object), plugin::status(&context, entry))).collect();
    for (object, fault) in &catalog.duplicates {
        plugins.insert(object_name(object), plugin::refused(object, fault, observed.now));
    }
    plugins.extend(unreadable(observed));
    let mut host = host::status(&context, catalog, &plugins);
    if let Some((object, error)) = observed.view.host.as_ref().zip(settings.fault.as_ref()) {
        host.conditions = host::refused(object, &invalid(error), observed.now).conditions;
        hold(object, error, catalog, &mut plugins, observed.now);
    }
    let notes = notes::of_plan(&context, catalog).into_iter();
    let notes = notes.chain(notes::of_changes(observed, memory, &plugins));
    let notes = notes.chain(notes::of_downs(&context, catalog, &plugins));
    let notes = notes.chain(notes::of_crashes(observed, catalog, memory)).collect();
    Report { host, plugins, notes }
}

fn unreadable(observed: &Observed) -> impl Iterator<Item = (String, PluginStatus)> {
    let objects = observed.view.unreadable.iter();
    objects.map(|object| (object.name.clone(), plugin::unreadable(object, observed.now)))
}

/// Says of Plugins that wait for nothing but the pause that a wrong policy is, what is wrong with the host.
fn hold(
    host: &PluginHost,
    error: &FieldError,
    catalog: &Catalog,
    plugins: &mut BTreeMap<String, PluginStatus>,
    now: i64,
) {
    let message = host_unusable(host, error);
    for entry in catalog.entries.values() {
        if let Some(status) = plugins.get_mut(&object_name(&entry.object)).filter(|status| plugin::is_paused(status)) {
            *status = plugin::behind_host(&entry.object, &message, now);
        }
    }
}

/// Reports a host whose own spec makes no sense. Until it does, what runs goes on, and of the changes of Plugins only those
/// that take away are acted on. Pure.
#[must_use]
pub fn unusable(object: &PluginHost, error: &FieldError, plugins: &[Arc<Plugin>], now: i64) -> Report {
    let message = host_unusable(object, error);
    let waits = |plugin: &&Arc<Plugin>| is_unseen(plugin) || plugin::waits_for_host(plugin);
    let waiting = plugins.iter().filter(waits);
    let plugins = waiting.map(|plugin| (object_name(plugin), plugin::behind_host(plugin, &message, now)));
    Report { host: host::refused(object, &invalid(error), now), plugins: plugins.collect(), notes: Vec::new() }
}

fn invalid(error: &FieldError) -> Fault {
    Fault { condition: None, reason: "InvalidSpec", message: error.to_string() }
}

fn host_unusable(object: &PluginHost, error: &FieldError) -> String {
    let name = object.metadata.name.as_deref().unwrap_or_default();
    format!("PluginHost {name} cannot be used: {error}; correct it")
}

/// Tells whether its newest spec has no status yet.
fn is_unseen(object: &Plugin) -> bool {
    object.metadata.generation != object.status.as_ref().and_then(|status| status.observed_generation)
}

/// What there is to say before the instances that served are back: of the whole report the events, what cannot be read, and
/// that a changed spec was seen. Pure.
#[must_use]
pub fn recovering(observed: &Observed, catalog: &Catalog, whole: Report) -> Report {
    let changed = catalog.entries.values().filter(|entry| is_unseen(&entry.object));
    let mut plugins: BTreeMap<_, _> =
        changed.map(|entry| (object_name(&entry.object), plugin::seen(&entry.object, observed.now))).collect();
    plugins.extend(unreadable(observed));
    let host = observed.view.host.as_ref().and_then(|host| host.status.clone()).unwrap_or_default();
    Report { host: PluginHostStatus { rollout: None, ..host }, plugins, notes: whole.notes }
}

fn object_name(object: &Plugin) -> String {
    object.metadata.name.clone().unwrap_or_default()
}

/// An object whose status cannot be written is left alone for so long, in milliseconds.
const RETRY: i64 = 30_000;
/// The host's own object, among those that could not be written: no Plugin has such a name.
const HOST: &str = "";

/// Writes what changed. What cannot be written keeps nothing else from its turn; returns when it is tried again.
pub async fn write(
    tools: &Tools,
    host: &HostKey,
    observed: &Observed,
    memory: &mut Memory,
    report: Report,
) -> Option<i64> {
    let world = tools.world.as_ref();
    for note in &report.notes {
        log(host, note);
        tools.metrics.told(note.reason);
        world.tell(host, note.clone()).await;
    }
    memory.unwritten.retain(|_, until| *until > observed.now);
    remember(memory, &report, observed);
    write_plugins(world, host, observed, memory, &report.plugins).await;
    let status = observed.view.host.as_ref().and_then(|host| host.status.clone());
    let seen = status.map(|s| PluginHostStatus { rollout: None, ..s });
    let is_due = !memory.unwritten.contains_key(HOST);
    if is_due && differs(&report.host, seen.as_ref(), memory.reported.host.as_ref(), observed.now) {
        let written = world.report_host(host, &report.host).await;
        memory.reported.host = written.is_ok().then_some((report.host, observed.now));
        note_written(host, HOST, observed, memory, written);
    }
    let patience = memory.lacking.deadline(observed.now);
    memory.unwritten.values().copied().chain(patience).min()
}

/// Notes for the passes to come what was composed in this one.
fn remember(memory: &mut Memory, report: &Report, observed: &Observed) {
    memory.lacking.note(&report.plugins, observed.now);
    notes::remember_crashes(observed, memory);
}

fn note_written(host: &HostKey, name: &str, observed: &Observed, memory: &mut Memory, written: Result<(), WriteError>) {
    match written {
        Ok(()) | Err(WriteError::Gone { .. }) => {}
        Err(error) => {
            tracing::warn!(%host, %error, "a status cannot be written");
            memory.unwritten.insert(name.to_owned(), observed.now + RETRY);
        }
    }
}

fn log(host: &HostKey, note: &Note) {
    if note.warning {
        tracing::warn!(%host, reason = note.reason, "{}", note.text);
    } else {
        tracing::info!(%host, reason = note.reason, "{}", note.text);
    }
}

async fn write_plugins(
    world: &dyn World,
    host: &HostKey,
    observed: &Observed,
    memory: &mut Memory,
    plugins: &BTreeMap<String, PluginStatus>,
) {
    memory.reported.plugins.retain(|name, _| plugins.contains_key(name));
    let readable = observed.view.plugins.iter().map(|object| (object_name(object), object.status.as_ref()));
    let unreadable = observed.view.unreadable.iter().map(|object| (object.name.clone(), object.status.as_ref()));
    for (name, seen) in readable.chain(unreadable) {
        let Some(status) = plugins.get(&name).filter(|_| !memory.unwritten.contains_key(&name)) else { continue };
        if differs(status, seen, memory.reported.plugins.get(&name), observed.now) {
            let written = world.report_plugin(host, &name, status).await;
            if written.is_ok() {
                memory.reported.plugins.insert(name.clone(), (status.clone(), observed.now));
            }
            note_written(host, &name, observed, memory, written);
        }
    }
}

fn differs<T: PartialEq>(new: &T, seen: Option<&T>, written: Option<&(T, i64)>, now: i64) -> bool {
    match written {
        Some((last, at)) if now - at < LAG => last != new,
        _ => seen != Some(new),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::fixtures::{attached, host, needs, observed, pass, plugin, settled},
        *,
    };
    use crate::world::{Unreadable, ValueRef};
    use rockstar_crds::plugin::{KeyRef, status::Phase};
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn composed(observed: &Observed, memory: &mut Memory) -> Report {
        let pass = pass(observed, memory);
        compose(observed, &pass.settings, &pass.catalog, &pass.decision, memory)
    }

    fn says(report: &Report, plugin: &str, kind: &str) -> (String, String, String) {
        let condition = report.plugins[plugin].conditions.iter().find(|c| c.type_ == kind).unwrap();
        (condition.status.clone(), condition.reason.clone(), condition.message.clone())
    }

    fn running(plugins: &[Value]) -> (Observed, Memory) {
        let (mut observed, mut memory) = (observed(plugins.to_vec()), Memory::default());
        settled(&mut observed, &mut memory);
        (observed, memory)
    }

    #[test]
    fn what_runs_everywhere_is_ready_and_said_the_same_way_again() {
        let (observed, mut memory) = running(&[plugin("a", "1.0.0", json!({}))]);
        let report = composed(&observed, &mut memory);
        assert_eq!(says(&report, "a", "Ready").0, "True");
        assert_eq!(says(&report, "a", "Available").2, "a v1.0.0 serves");
        assert_eq!(
            (report.plugins["a"].phase, report.host.load_order.as_slice()),
            (Some(Phase::Running), &["a".to_owned()][..])
        );
        let again = composed(&observed, &mut memory);
        assert_eq!((again.plugins, again.host, again.notes.len()), (report.plugins, report.host, 0));
    }

    #[test]
    fn what_cannot_be_decoded_is_not_said_to_be_ready() {
        let (mut observed, mut memory) = running(&[plugin("a", "1.0.0", json!({})), plugin("b", "1.0.0", json!({}))]);
        let status = composed(&observed, &mut memory).plugins.remove("b");
        observed.view.plugins.retain(|object| object_name(object) == "a");
        let error = "unknown variant `Ajar`".to_owned();
        let (name, uid, generation) = ("b".to_owned(), "b".to_owned(), Some(7));
        observed.view.unreadable = vec![Unreadable { name, uid, generation, plugin: None, host: None, status, error }];
        let report = composed(&observed, &mut memory);
        let (status, reason, message) = says(&report, "b", "Ready");
        assert_eq!((status.as_str(), reason.as_str()), ("False", "Unreadable"));
        assert!(message.contains("unknown variant `Ajar`; correct it"), "{message}");
        let b = &report.plugins["b"];
        assert_eq!((b.observed_generation, b.version.as_deref()), (Some(7), Some("1.0.0")));
        assert_eq!(says(&report, "a", "Ready").0, "True");
        assert!(!b.conditions.iter().any(|condition| condition.type_ == "Available"), "nobody knows");
    }

    #[test]
    fn a_stable_version_that_crashed_is_named_but_not_available() {
        let (mut observed, mut memory) = running(&[plugin("a", "1.0.0", json!({}))]);
        let report = Arc::make_mut(&mut observed.attached[0].report);
        report.plugins[0].status = "error".into();
        report.ready = false;
        let report = composed(&observed, &mut memory);
        assert_eq!(says(&report, "a", "Available").0, "False");
        assert_eq!(
            (report.plugins["a"].phase, report.plugins["a"].version.as_deref()),
            (Some(Phase::Error), Some("1.0.0"))
        );
    }

    #[test]
    fn a_host_says_what_becomes_of_what_plugins_store() {
        let secret = |name: &str| json!({"urlFrom": {"secretKeyRef": {"name": name, "key": "url"}}});
        let both = json!({"spec": {"backends": {"database": secret("db"), "storage": secret("storage")}}});
        let said = |backends: Value, storage: &str| {
            let mut observed = observed([]);
            observed.view.host = Some(Arc::new(host(backends)));
            for (name, address) in [("db", "postgres://app@pg/x"), ("storage", storage)] {
                let key = KeyRef { name: name.into(), key: "url".into() };
                observed.values.insert(ValueRef::Secret(key), Ok(address.into()));
            }
            let kinds = ["StorageEphemeral", "StorageIsolated"];
            kinds.map(|kind| host_says(&observed, &mut Memory::default(), kind).map(|(status, _)| status))
        };
        let (yes, no) = (Some("True".to_owned()), Some("False".to_owned()));
        assert_eq!(said(json!({}), ""), [yes.clone(), None]);
        assert_eq!(said(both.clone(), "postgres://store@pg/x"), [None, yes]);
        assert_eq!(said(both, "postgres://app@pg/y"), [None, no]);
    }

    #[test]
    fn what_never_ran_serves_no_version() {
        let mut observed = observed([plugin("a", "1.0.0", json!({}))]);
        observed.attached = vec![attached("web-1", 0, &[])];
        let report = composed(&observed, &mut Memory::default());
        assert_eq!(says(&report, "a", "Reconciling").0, "True");
        assert_eq!(report.plugins["a"].version, None);
    }

    #[test]
    fn a_ceiling_withholds_without_stopping() {
        let granted = json!({"spec": {"permissions": {"cache": true, "network": true}}});
        let (mut observed, mut memory) = running(&[plugin("a", "1.0.0", granted)]);
        observed.view.host = Some(Arc::new(host(json!({"spec": {"permissionCeiling": ["cache"]}}))));
        let report = composed(&observed, &mut memory);
        let text = "the PluginHost's permissionCeiling withholds: network".to_owned();
        assert_eq!(says(&report, "a", "PermissionsGranted"), ("False".into(), "AboveCeiling".into(), text));
        assert_eq!(says(&report, "a", "Ready").0, "True");
    }

    #[test]
    fn a_fault_that_stays_is_told_once() {
        let mut observed = observed([plugin("a", "1.0.0", needs("nobody"))]);
        let mut memory = Memory::default();
        let report = composed(&observed, &mut memory);
        assert_eq!(says(&report, "a", "Reconciling").1, "MissingDependency");
        assert!(report.notes.is_empty(), "it may be on its way");
        remember(&mut memory, &report, &observed);
        observed.now += 30_000;
        let report = composed(&observed, &mut memory);
        assert_eq!(says(&report, "a", "Stalled").1, "MissingDependency");
        let told: Vec<_> = report.notes.iter().map(|n| n.reason).collect();
        assert_eq!(told, ["MissingDependency"]);
        memory.reported.plugins.insert("a".into(), (report.plugins["a"].clone(), observed.now));
        assert!(composed(&observed, &mut memory).notes.is_empty());
    }

    fn host_says(observed: &Observed, memory: &mut Memory, kind: &str) -> Option<(String, String)> {
        let report = composed(observed, memory);
        let condition = report.host.conditions.into_iter().find(|c| c.type_ == kind)?;
        Some((condition.status, condition.message))
    }

    #[test]
    fn what_the_kernels_enforce_is_said() {
        let (mut observed, mut memory) = running(&[plugin("a", "1.0.0", json!({}))]);
        assert_eq!(host_says(&observed, &mut memory, "SandboxEnforced"), None, "no sidecar has told");
        let mut tell = |text: &str| {
            Arc::make_mut(&mut observed.attached[0].report).sandbox = text.into();
            host_says(&observed, &mut memory, "SandboxEnforced").unwrap()
        };
        assert_eq!(tell("enforced").0, "True");
        let lacking = ("False".to_owned(), "partial: no Landlock (in web-1)".to_owned());
        assert_eq!(tell("partial: no Landlock"), lacking);
    }

    fn exceeding(observed: &mut Observed, disabled: bool) {
        let state = &mut Arc::make_mut(&mut observed.attached[0].report).plugins[0];
        (state.disabled_by_threshold, state.threshold_exceeded) = (disabled, "100/100 errors in 5m".into());
    }

    fn reported(observed: &mut Observed, memory: &mut Memory) -> (Report, Vec<&'static str>) {
        observed.now += 1_000;
        let report = composed(observed, memory);
        memory.reported.plugins.insert("a".into(), (report.plugins["a"].clone(), observed.now));
        let told = report.notes.iter().map(|note| note.reason).collect();
        (report, told)
    }

    #[test]
    fn an_exceeded_error_threshold_is_a_condition_and_told_once() {
        let (mut observed, mut memory) = running(&[plugin("a", "1.0.0", json!({}))]);
        exceeding(&mut observed, false);
        let (report, told) = reported(&mut observed, &mut memory);
        let text = "Plugin a exceeded error threshold: 100/100 errors in 5m (in web-1)";
        assert_eq!(says(&report, "a", "ErrorThresholdExceeded").2, text);
        let about = crate::world::Subject::Plugin("a".into());
        assert_eq!(
            (told, &report.notes[0].about, report.notes[0].warning),
            (vec!["ErrorThresholdExceeded"], &about, true)
        );
        assert_eq!(report.notes[0].text, text);
        assert!(reported(&mut observed, &mut memory).1.is_empty());

        exceeding(&mut observed, true);
        let (report, told) = reported(&mut observed, &mut memory);
        assert_eq!(told, ["DisabledByErrorThreshold"]);
        let text = "Plugin a automatically disabled due to error threshold: 100/100 errors in 5m (in web-1); a reload starts \
                    it again";
        assert_eq!(says(&report, "a", "ErrorThresholdExceeded").2, text);
    }

    #[test]
    fn an_exceeded_error_threshold_is_over_once_all_instances_say_so() {
        let (mut observed, mut memory) = running(&[plugin("a", "1.0.0", json!({}))]);
        exceeding(&mut observed, true);
        let (report, _) = reported(&mut observed, &mut memory);
        let object = json!({"status": serde_json::to_value(&report.plugins["a"]).unwrap()});
        observed.view.plugins = super::super::fixtures::observed([plugin("a", "1.0.0", object)]).view.plugins;

        let back = std::mem::take(&mut observed.attached);
        let (report, told) = reported(&mut observed, &mut memory);
        assert_eq!(says(&report, "a", "ErrorThresholdExceeded").1, "DisabledByErrorThreshold", "it may still be so");
        assert!(told.is_empty());

        observed.attached = back;
        let state = &mut Arc::make_mut(&mut observed.attached[0].report).plugins[0];
        (state.disabled_by_threshold, state.threshold_exceeded) = (false, String::new());
        let (report, _) = reported(&mut observed, &mut memory);
        assert!(report.plugins["a"].conditions.iter().all(|c| c.type_ != "ErrorThresholdExceeded"));
    }

    #[test]
    fn the_same_is_not_written_again() {
        assert!(differs(&2, Some(&1), None, 0));
        assert!(!differs(&2, Some(&2), None, 0));
        assert!(!differs(&2, Some(&1), Some(&(2, 0)), 5), "the view lags behind");
        assert!(differs(&2, Some(&1), Some(&(2, 0)), LAG), "someone else changed it");
        assert!(differs(&3, Some(&1), Some(&(2, 0)), 5));
    }
}
