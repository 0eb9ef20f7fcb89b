//! The status of one Plugin. Pure.

use super::{
    super::{
        catalog::{Entry, Fault, Life},
        memory::Memory,
        observe::Observed,
        plan::{Decision, Settings},
    },
    conditions::{Course, Outlook, Says, conditions, time},
    lacking::Lacking,
    threshold,
};
use crate::world::Unreadable;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use rockstar_core::{
    permission::Permission,
    resolve::{self, ResolveError},
    revision::RevisionId,
    rollout::{FailureClass, FailureNote, Presence, Summary, Verdict},
    text,
};
use rockstar_crds::{
    Plugin, PluginStatus,
    names::condition,
    plugin::status::{Failure, FailureClass as ShownClass, MAX_FAILURES, Phase, PluginInstances},
};
use rockstar_proto::control::{FailureRecord, PluginState};

/// What a status is made of.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) observed: &'a Observed,
    pub(super) settings: &'a Settings,
    pub(super) decision: &'a Decision,
    pub(super) memory: &'a Memory,
}

impl Context<'_> {
    fn summary(&self, plugin: &str) -> Option<&Summary> {
        self.decision.plan.plugins.get(plugin)
    }

    fn verdict(&self, plugin: &str) -> Option<&resolve::Verdict> {
        self.decision.resolution.verdicts.get(plugin)
    }

    /// As people know it: `v1.2.0`, or the identity where the revision is not known any more.
    pub(super) fn version(&self, id: &RevisionId) -> String {
        let known = self.memory.known.get(id);
        known.map_or_else(|| id.0.clone(), |r| format!("v{}", r.content.body.manifest.version))
    }

    /// The first of the instances' refusals of the plugin's present configuration.
    fn refusal(&self, plugin: &str, revision: Option<&RevisionId>) -> Option<&FailureRecord> {
        let records = self.observed.attached.iter().flat_map(|a| a.failures.values());
        let mut concerning = records.filter(|r| r.plugin == plugin && revision.is_some_and(|id| id.0 == r.revision));
        concerning.find(|record| self.memory.is_refusal(record))
    }

    /// Whether a revision has proven itself, or runs somewhere already.
    fn serves(&self, plugin: &str, id: &RevisionId) -> bool {
        let stable = self.decision.plan.state.stable.as_ref().and_then(|stable| stable.get(plugin));
        stable == Some(id) || self.states(plugin).any(|s| s.revision == id.0 && s.status == "running")
    }

    /// The plugin's stable revision is down somewhere.
    pub(super) fn is_down(&self, plugin: &str) -> bool {
        self.summary(plugin).is_some_and(|summary| matches!(summary.verdict, Verdict::Down { .. }))
    }

    /// An instance serves that is not connected.
    fn is_someone_away(&self) -> bool {
        let instances = self.decision.instances.iter();
        instances.into_iter().any(|instance| instance.expected && instance.presence == Presence::Away)
    }

    /// What the attached instances say of a plugin.
    fn states<'b>(&'b self, plugin: &'b str) -> impl Iterator<Item = &'b PluginState> {
        let reports = self.observed.attached.iter().map(|a| &a.report);
        reports.flat_map(|r| &r.plugins).filter(move |p| p.plugin == plugin)
    }
}

/// The status of a Plugin that counts.
pub(super) fn status(context: &Context<'_>, entry: &Entry) -> PluginStatus {
    let summary = context.summary(&entry.name);
    let phase = phase(context, entry);
    let serving =
        summary.and_then(|s| s.serving.as_ref()).filter(|id| entry.is_wanted() && context.serves(&entry.name, id));
    let outlook = outlook(context, entry, phase);
    let name = entry.object.metadata.name.as_deref().unwrap_or_default();
    let outlook = context.memory.lacking.patient(name, &entry.object, outlook, context.observed.now);
    let generation = entry.object.metadata.generation;
    let mut says = outlook.says();
    says.extend(aspects(context, entry, &outlook));
    says.extend(threshold::exceeded(context, &entry.name, &entry.object));
    says.push(available(context, entry, serving));
    PluginStatus {
        observed_generation: generation,
        phase: Some(phase),
        version: serving
            .and_then(|id| context.memory.known.get(id))
            .map(|r| r.content.body.manifest.version.to_string()),
        revision: serving.map(|id| id.0.clone()),
        updated_revision: entry.candidate.as_ref().ok().map(|c| c.revision.id.0.clone()),
        instances: summary.map(instances),
        failures: summary.map(|s| failures(&s.failures)).unwrap_or_default(),
        conditions: conditions(old(&entry.object), says, generation, context.observed.now),
    }
}

/// The status of a Plugin that cannot count at all.
pub(super) fn refused(object: &Plugin, fault: &Fault, now: i64) -> PluginStatus {
    let says = Outlook::new(Course::Stuck, fault.reason, &fault.message).says();
    let generation = object.metadata.generation;
    PluginStatus {
        observed_generation: generation,
        phase: Some(Phase::Unloaded),
        conditions: conditions(old(object), says, generation, now),
        ..PluginStatus::default()
    }
}

/// The status of a Plugin that this version cannot decode, from the one before. What runs of it stays.
pub(super) fn unreadable(object: &Unreadable, now: i64) -> PluginStatus {
    let message = format!(
        "this version of the operator cannot read it, so that what runs of it stays as it is: {}; correct it, or upgrade the operator",
        object.error
    );
    let says = Outlook::new(Course::Stuck, "Unreadable", message).says();
    let PluginStatus { version, revision, conditions: old, .. } = object.status.clone().unwrap_or_default();
    PluginStatus {
        observed_generation: object.generation,
        version,
        revision,
        conditions: conditions(&old, says, object.generation, now),
        ..PluginStatus::default()
    }
}

/// The status of a Plugin whose spec changed and was seen, while it is not known yet what the instances run.
pub(super) fn seen(object: &Plugin, now: i64) -> PluginStatus {
    let message = "the operator has just begun, and waits for the instances to come back";
    replaced(object, &Outlook::new(Course::Moving, "Progressing", message), now)
}

const HOST_UNUSABLE: &str = "HostUnusable";

/// The status of a Plugin whose spec changed under a host that cannot be used.
pub(super) fn behind_host(object: &Plugin, message: &str, now: i64) -> PluginStatus {
    replaced(object, &Outlook::new(Course::Stuck, HOST_UNUSABLE, message), now)
}

/// Tells whether nothing but the pause of the rollout keeps it from being ready.
pub(super) fn is_paused(status: &PluginStatus) -> bool {
    is_ready_for(&status.conditions, "Paused")
}

/// Tells whether its status says so already.
pub(super) fn waits_for_host(object: &Plugin) -> bool {
    is_ready_for(old(object), HOST_UNUSABLE)
}

/// Tells whether Ready is what it is for this reason.
fn is_ready_for(conditions: &[Condition], reason: &str) -> bool {
    conditions.iter().any(|c| c.type_ == condition::READY && c.reason == reason)
}

/// The status as it was, but for the outlook.
fn replaced(object: &Plugin, outlook: &Outlook, now: i64) -> PluginStatus {
    let new = outlook.says();
    let generation = object.metadata.generation;
    let is_replaced = |kind: &str| [condition::READY, condition::RECONCILING, condition::STALLED].contains(&kind);
    let mut conditions = conditions(old(object), new, generation, now);
    conditions.extend(old(object).iter().filter(|c| !is_replaced(&c.type_)).cloned());
    let before = object.status.clone().unwrap_or_default();
    PluginStatus { observed_generation: generation, conditions, ..before }
}

/// The status of a Plugin whose host is not there: what runs of it goes on, and nothing new starts.
#[must_use]
pub fn orphan(object: &Plugin, key: &str, lacking: &Lacking, now: i64) -> PluginStatus {
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    let message =
        format!("PluginHost {namespace}/{} not found; create it, or name another one in spec.host", object.spec.host);
    let outlook = lacking.patient(key, object, Outlook::new(Course::Stuck, "HostNotFound", &message), now);
    let mut says = outlook.says();
    says.push(Says { kind: condition::HOST_FOUND, holds: false, reason: "HostNotFound".into(), message });
    let generation = object.metadata.generation;
    let mut conditions = conditions(old(object), says, generation, now);
    let kept = [condition::AVAILABLE, condition::MANIFEST_VALID, condition::PERMISSIONS_GRANTED];
    conditions.extend(old(object).iter().filter(|c| kept.contains(&&*c.type_)).cloned());
    let before = object.status.clone().unwrap_or_default();
    let phase = Some(before.phase.unwrap_or(Phase::Unloaded));
    PluginStatus { observed_generation: generation, phase, conditions, ..before }
}

pub(super) fn old(object: &Plugin) -> &[Condition] {
    object.status.as_ref().map_or(&[], |s| &s.conditions)
}

/// What most instances are in; an error shows once it is no exception.
fn phase(context: &Context<'_>, entry: &Entry) -> Phase {
    if entry.object.metadata.deletion_timestamp.is_some() {
        return Phase::Terminating;
    }
    let count = |status: &str| context.states(&entry.name).filter(|s| s.status == status).count();
    let (running, errors) = (count("running"), count("error"));
    // The phase stays as it was while an instance that serves is not connected.
    let before = entry.object.status.as_ref().and_then(|status| status.phase);
    if let Some(phase) = before.filter(|_| running + errors == 0 && entry.is_wanted() && context.is_someone_away()) {
        return phase;
    }
    let all =
        [(running, Phase::Running), (count("loading"), Phase::Loading), (count("initialized"), Phase::Initialized)];
    if errors > running {
        return Phase::Error;
    }
    let first = all.into_iter().chain([(count("stopped"), Phase::Stopped)]).find(|(count, _)| *count > 0);
    let stuck = context.summary(&entry.name).is_some_and(|s| s.verdict == Verdict::Stalled && s.reason.is_some());
    if stuck && running == 0 {
        return Phase::Error;
    }
    let coming = context.summary(&entry.name).is_some_and(|s| s.updated.is_some()) && entry.is_wanted();
    first.map_or(if coming { Phase::Loading } else { Phase::Unloaded }, |(_, phase)| phase)
}

fn instances(summary: &Summary) -> PluginInstances {
    let number = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
    let counts = summary.counts;
    PluginInstances {
        desired: number(counts.desired),
        updated: number(counts.updated),
        ready: number(counts.ready),
        failed: number(counts.failed),
    }
}

fn failures(notes: &[FailureNote]) -> Vec<Failure> {
    let shown = |note: &FailureNote| Failure {
        pod: note.pod.clone(),
        revision: note.revision.0.clone(),
        class: match note.class {
            FailureClass::Environment => ShownClass::Environment,
            FailureClass::Revision => ShownClass::Revision,
        },
        reason: note.reason.clone(),
        message: text::bounded(&note.message, text::MAX_FAILURE),
        at: time(note.at),
    };
    notes.iter().take(MAX_FAILURES).map(shown).collect()
}

fn outlook(context: &Context<'_>, entry: &Entry, phase: Phase) -> Outlook {
    match &entry.life {
        Life::Leaving => return Outlook::new(Course::Moving, "Terminating", "is being unloaded"),
        Life::Disabled if phase == Phase::Unloaded => {
            return Outlook::new(Course::Ready, "Disabled", "disabled; runs nowhere");
        }
        Life::Disabled => return Outlook::new(Course::Moving, "Unloading", "disabled; is being unloaded"),
        Life::Enabled => {}
    }
    if let Err(fault) = &entry.candidate {
        return Outlook::new(Course::Stuck, fault.reason, &fault.message);
    }
    let summary = context.summary(&entry.name);
    let condemned = summary.filter(|s| matches!(s.verdict, Verdict::RolledBack | Verdict::Halted));
    match (condemned, context.verdict(&entry.name)) {
        (Some(summary), _) => condemned_outlook(context, entry, summary),
        (None, Some(verdict)) if !verdict.is_resolved() => held_back(verdict),
        _ if let Some(refusal) = context.refusal(&entry.name, summary.and_then(|s| s.serving.as_ref())) => {
            Outlook::new(Course::Stuck, "ConfigChangeRefused", refused_config(context, refusal))
        }
        _ => summary.map_or_else(
            || Outlook::new(Course::Moving, "Pending", "not planned yet"),
            |summary| progress(context, &entry.object, summary),
        ),
    }
}

fn refused_config(context: &Context<'_>, refusal: &FailureRecord) -> String {
    let attached = context.observed.attached.iter();
    let pod = attached.into_iter().find(|a| a.failures.contains_key(&refusal.id)).map_or("", |a| a.pod.as_str());
    format!("{}; the previous configuration stays (in {pod}); change spec.config", refusal.message)
}

/// Returns the verdict that was written for this generation of the spec.
fn as_before(object: &Plugin) -> Option<Outlook> {
    let generation = object.metadata.generation;
    let find = |kind: &str| old(object).iter().find(|c| c.type_ == kind && c.observed_generation == generation);
    let is = |kind: &str| find(kind).is_some_and(|c| c.status == "True");
    let ready = find(condition::READY)?;
    let course = match () {
        () if is(condition::READY) => Course::Ready,
        () if is(condition::STALLED) => Course::Stuck,
        () => Course::Moving,
    };
    Some(Outlook::new(course, &*ready.reason, &*ready.message))
}

fn progress(context: &Context<'_>, object: &Plugin, summary: &Summary) -> Outlook {
    let message = &summary.message;
    let reason = |otherwise: &str| summary.reason.clone().unwrap_or_else(|| otherwise.to_owned());
    let course = |stuck: bool| if stuck { Course::Stuck } else { Course::Moving };
    match summary.verdict {
        Verdict::Current => Outlook::new(Course::Ready, "Running", message),
        Verdict::Down { stuck } => Outlook::new(course(stuck), reason("Down"), message),
        Verdict::Away { stuck } => Outlook::new(course(stuck), "InstancesAway", message),
        Verdict::Unsure => as_before(object).unwrap_or_else(|| Outlook::new(Course::Moving, "Progressing", message)),
        Verdict::NoInstances => Outlook::new(Course::Moving, "NoInstances", message),
        Verdict::Stalled if summary.reason.is_some() => Outlook::new(Course::Stuck, reason("Failed"), message),
        _ if context.decision.plan.totals.connected == 0 => {
            Outlook::new(Course::Moving, "NoInstances", "no instance is connected that could run it")
        }
        Verdict::Paused => Outlook::new(Course::Moving, "Paused", message),
        Verdict::Stalled => Outlook::new(Course::Stuck, "ProgressDeadlineExceeded", message),
        Verdict::Removing => Outlook::new(Course::Moving, "Unloading", message),
        _ => Outlook::new(Course::Moving, "Progressing", message),
    }
}

/// In the words of the reference's log lines.
fn condemned_outlook(context: &Context<'_>, entry: &Entry, summary: &Summary) -> Outlook {
    let failed = context.decision.plan.state.failed.get(&entry.name);
    let what = failed.map(|f| failure_text(&entry.name, &context.version(&f.revision), &f.reason, &f.message));
    let what = what.unwrap_or_else(|| summary.message.clone());
    if summary.verdict == Verdict::Halted {
        return Outlook::new(Course::Stuck, "Halted", format!("{what}; halted: instances that run it keep it"));
    }
    let stable = context.decision.plan.state.stable.as_ref().and_then(|stable| stable.get(&entry.name));
    let message = match stable {
        Some(id) => format!("{what}; rolled back to previous version: {} {}", entry.name, context.version(id)),
        None => format!("{what}; there is no previous version"),
    };
    Outlook::new(Course::Stuck, "RolledBack", message)
}

/// `Plugin reload failed: auth-plugin v1.3.0: initialization error: CAUSE`.
pub(super) fn failure_text(plugin: &str, version: &str, reason: &str, cause: &str) -> String {
    format!("Plugin reload failed: {plugin} {version}: {}: {cause}", stage(reason))
}

/// The reference tells four ways to fail.
fn stage(reason: &str) -> &'static str {
    match reason {
        r if r.contains("Initializ") => "initialization error",
        r if r.contains("Crash") || r.starts_with("UncleanEnd") => "crashed within grace period",
        r if r.starts_with("Start") => "start error",
        _ => "load error",
    }
}

fn held_back(verdict: &resolve::Verdict) -> Outlook {
    let reason = verdict.problems.first().map_or("Unresolved", problem_reason);
    Outlook::new(Course::Stuck, reason, explained(verdict))
}

fn explained(verdict: &resolve::Verdict) -> String {
    format!("{verdict}. To fix: {}", verdict.fixes().join("; or "))
}

const fn problem_reason(problem: &ResolveError) -> &'static str {
    match problem {
        ResolveError::Framework { .. } => "FrameworkVersionMismatch",
        ResolveError::Missing { .. } => "MissingDependency",
        ResolveError::Mismatch { .. } => "VersionMismatch",
        ResolveError::Circular { .. } => "CircularDependency",
    }
}

/// The conditions beside Ready and its kin.
fn aspects(context: &Context<'_>, entry: &Entry, outlook: &Outlook) -> Vec<Says> {
    let rolled_back = context.summary(&entry.name).is_some_and(|s| s.verdict == Verdict::RolledBack);
    let mut says = vec![
        aspect(entry, condition::MANIFEST_VALID, "Valid", warned(entry)),
        Says { kind: condition::HOST_FOUND, holds: true, reason: "Found".into(), message: String::new() },
        dependencies(context, entry),
        permissions(context, entry),
    ];
    if rolled_back && entry.is_wanted() && outlook.reason == "RolledBack" {
        let Outlook { reason, message, .. } = outlook.clone();
        says.push(Says { kind: condition::ROLLED_BACK, holds: true, reason, message });
    }
    says
}

fn warned(entry: &Entry) -> String {
    entry.warnings.join("; ")
}

/// False with the fault, if the fault is of this kind.
fn aspect(entry: &Entry, kind: &'static str, reason: &str, message: String) -> Says {
    match &entry.candidate {
        Err(fault) if fault.condition == Some(kind) => {
            Says { kind, holds: false, reason: fault.reason.into(), message: fault.message.clone() }
        }
        _ => Says { kind, holds: true, reason: reason.into(), message },
    }
}

fn dependencies(context: &Context<'_>, entry: &Entry) -> Says {
    let kind = condition::DEPENDENCIES_RESOLVED;
    match context.verdict(&entry.name) {
        Some(verdict) if !verdict.is_resolved() => {
            let reason = verdict.problems.first().map_or("Unresolved", problem_reason);
            Says { kind, holds: false, reason: reason.into(), message: explained(verdict) }
        }
        _ => Says { kind, holds: true, reason: "Resolved".into(), message: String::new() },
    }
}

fn permissions(context: &Context<'_>, entry: &Entry) -> Says {
    let kind = condition::PERMISSIONS_GRANTED;
    let granted = entry.object.spec.granted().unwrap_or_default();
    let above: Vec<_> = granted.difference(&context.settings.ceiling).map(|p: &Permission| p.name()).collect();
    if above.is_empty() || entry.candidate.is_err() {
        return aspect(entry, kind, "Granted", String::new());
    }
    let message = format!("the PluginHost's permissionCeiling withholds: {}", above.join(", "));
    Says { kind, holds: false, reason: "AboveCeiling".into(), message }
}

/// Whether something serves, and what.
fn available(context: &Context<'_>, entry: &Entry, serving: Option<&RevisionId>) -> Says {
    let mut running = context.states(&entry.name).filter(|s| s.status == "running");
    let first = running.next().map(|state| RevisionId(state.revision.clone()));
    let runs = first.is_some();
    // While it is unloaded nothing of it is wanted, but it serves.
    let unloading = first.filter(|_| !entry.is_wanted());
    let serving = serving.or(unloading.as_ref());
    let kind = condition::AVAILABLE;
    let before = old(&entry.object).iter().find(|c| c.type_ == kind && c.status == "True");
    if let Some(before) = before.filter(|_| !runs && entry.is_wanted() && context.is_someone_away()) {
        return Says { kind, holds: true, reason: before.reason.clone(), message: before.message.clone() };
    }
    match serving.filter(|_| runs) {
        Some(id) => {
            let message = format!("{} {} serves", entry.name, context.version(id));
            Says { kind, holds: true, reason: "Serving".into(), message }
        }
        None if entry.life == Life::Disabled => {
            Says { kind, holds: false, reason: "Disabled".into(), message: "disabled; runs nowhere".into() }
        }
        None => {
            Says { kind, holds: false, reason: "NotRunning".into(), message: "runs in no connected instance".into() }
        }
    }
}
