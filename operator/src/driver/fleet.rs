//! The instances as the planner sees them. Pure.

use super::{
    memory::{Memory, is_open},
    observe::Observed,
};
use crate::{
    control::Attached,
    world::{Pod, PodPhase},
};
use rockstar_core::{
    revision::RevisionId,
    rollout::{Down, Failure, FailureClass, Instance, Presence, Set},
    termination::Termination,
    text,
};
use rockstar_proto::control::{FailureRecord, PluginState, Report, failure_record::Class};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// All pods of the host that have a sidecar and are not on their way out.
#[must_use]
pub fn instances(observed: &Observed, memory: &Memory) -> Vec<Instance> {
    let attached: BTreeMap<&str, &Attached> = observed.attached.iter().map(|a| (a.uid.as_str(), a)).collect();
    let pods = observed.view.pods.iter().filter(|p| p.injected && !p.terminating);
    pods.map(|pod| instance(pod, attached.get(pod.uid.as_str()).copied(), observed, memory)).collect()
}

fn instance(pod: &Pod, attached: Option<&Attached>, observed: &Observed, memory: &Memory) -> Instance {
    let lives = |_: &&Attached| !matches!(pod.phase, PodPhase::Succeeded | PodPhase::Failed);
    let said = match attached.filter(lives) {
        Some(attached) if follows_another(attached, observed) => Said::default(),
        Some(attached) => said(attached, observed.host_uid(), memory.state.plan_generation),
        None => left(pod, observed.host_uid(), memory),
    };
    let has_served = memory.ever_ready.contains(&pod.uid);
    Instance {
        id: pod.uid.clone(),
        name: pod.name.clone(),
        created: pod.created.as_millisecond(),
        presence: presence(pod, attached.is_some()),
        expected: pod.ready && pod.phase == PodPhase::Running,
        new: !has_served && (attached.is_some() || pod.phase == PodPhase::Pending),
        ready: said.ready,
        down: said.down,
        seen_since: memory.seen.get(&pod.uid).copied().unwrap_or(observed.now),
        away_since: memory.away.get(&pod.uid).copied(),
        accepted: said.accepted,
        moving: said.moving,
        busy: said.busy,
        transient: pod.transient,
        waiting: memory.waiting.get(&pod.uid).copied(),
        serving: Arc::new(said.serving),
        proven: Arc::new(said.proven),
        failures: said.failures,
        assigned: memory.assigned.get(&pod.uid).cloned(),
    }
}

/// Tells whether the pod was given to this host and has not heard of it yet. What it runs is of other plugins, and of versions
/// that this host need not know: it is told the whole stable set, like a new one.
fn follows_another(attached: &Attached, observed: &Observed) -> bool {
    let followed = &attached.report.host;
    observed.host_name().is_some_and(|host| !followed.is_empty() && *followed != host)
}

const fn presence(pod: &Pod, attached: bool) -> Presence {
    match (pod.phase, attached) {
        (PodPhase::Succeeded, _) => Presence::Succeeded,
        (PodPhase::Failed, _) => Presence::Failed,
        (_, true) => Presence::Connected,
        (_, false) => Presence::Away,
    }
}

/// A report in the planner's words.
#[derive(Default)]
struct Said {
    ready: bool,
    down: BTreeMap<String, Down>,
    accepted: i64,
    moving: bool,
    busy: BTreeSet<String>,
    serving: Set,
    proven: Set,
    failures: Vec<Failure>,
}

/// Generations by which an instance may be ahead of what is stored, should a state have been lost. One that claims more
/// makes it up.
const MOST_AHEAD: u64 = 1 << 20;

fn said(attached: &Attached, host_uid: &str, stored: i64) -> Said {
    let report = &attached.report;
    let most = u64::try_from(stored).unwrap_or_default().saturating_add(MOST_AHEAD);
    let current = report.host_uid == host_uid && report.plan_generation <= most;
    let serving = serving(report);
    Said {
        ready: report.ready,
        down: down(&report.plugins),
        accepted: if current { i64::try_from(report.plan_generation).unwrap_or(i64::MAX) } else { 0 },
        moving: report.groups.iter().any(|g| is_open(g.outcome())),
        busy: report.groups.iter().filter(|g| is_open(g.outcome())).flat_map(|g| g.plugins.clone()).collect(),
        proven: set(&report.plugins, |p| !p.revision.is_empty() && p.proven),
        failures: attached.failures.values().filter_map(|f| failure(f, report.plan_generation, &serving)).collect(),
        serving,
    }
}

fn set(plugins: &[PluginState], has: impl Fn(&PluginState) -> bool) -> Set {
    let of = plugins.iter().filter(|p| has(p));
    of.map(|p| (p.plugin.clone(), RevisionId(p.revision.clone()))).collect()
}

/// Tells what is known of a pod that is not connected: of one that ended, what it served, by its termination message, else by
/// its last report; of another one, what was down in its last report, which stays down until the pod says otherwise.
fn left(pod: &Pod, host_uid: &str, memory: &Memory) -> Said {
    let last = memory.last_reports.get(&pod.uid).filter(|report| report.host_uid == host_uid);
    let last = last.map(|report| report.plugins.as_slice()).unwrap_or_default();
    if pod.phase != PodPhase::Succeeded {
        return Said { down: down(last), ..Said::default() };
    }
    let served = match pod.termination.as_deref().and_then(Termination::decode) {
        Some(message) if message.host_uid == host_uid => named(message.revisions, memory),
        Some(_) => Set::default(),
        None => set(last, |p| !p.revision.is_empty() && p.status == "running"),
    };
    Said { serving: served, ..Said::default() }
}

fn named(revisions: Vec<RevisionId>, memory: &Memory) -> Set {
    let plugin = |id: RevisionId| Some((memory.known.get(&id)?.plugin.clone(), id));
    revisions.into_iter().filter_map(plugin).collect()
}

fn serving(report: &Report) -> Set {
    set(&report.plugins, |p| !p.revision.is_empty())
}

/// The plugins that cannot answer.
#[must_use]
pub fn down(plugins: &[PluginState]) -> BTreeMap<String, Down> {
    // One that runs and gives a reason has refused something, a rotated Secret say.
    let is_down = |p: &&PluginState| p.status == "error" || p.disabled_by_threshold || !p.reason.is_empty();
    plugins.iter().filter(is_down).map(|p| (p.plugin.clone(), why_down(p))).collect()
}

/// The reasons for which a plugin stays down until somebody acts, or for long.
const STUCK: [&str; 4] = ["CrashBudgetExhausted", DISABLED, "SecretRefused", "ConfigChangeRefused"];
const DISABLED: &str = "DisabledByErrorThreshold";

fn why_down(state: &PluginState) -> Down {
    let reason = match state.reason.as_str() {
        _ if state.disabled_by_threshold => DISABLED,
        "" => "Crashed",
        reason => reason,
    };
    let message = match (state.last_error.as_str(), state.threshold_exceeded.as_str()) {
        (_, exceeded) if reason == DISABLED && !exceeded.is_empty() => exceeded,
        ("", _) => "no error was reported",
        (error, _) => error,
    };
    Down {
        reason: reason.to_owned(),
        message: text::bounded(message, text::MAX_STORED),
        stuck: STUCK.contains(&reason),
        refuses: state.status == "running" && !state.disabled_by_threshold,
    }
}

/// An environment failure is over when its revision serves.
fn failure(record: &FailureRecord, accepted: u64, serving: &Set) -> Option<Failure> {
    let class = class(record);
    let revision = RevisionId(record.revision.clone());
    if class == FailureClass::Environment && serving.get(&record.plugin) == Some(&revision) {
        return None;
    }
    let generation = if record.plan_generation == 0 { accepted } else { record.plan_generation };
    Some(Failure {
        id: record.id.clone(),
        plugin: record.plugin.clone(),
        revision,
        class,
        reason: record.reason.clone(),
        message: text::bounded(&record.message, text::MAX_FAILURE),
        at: record.at_unix_ms,
        plan_generation: i64::try_from(generation).unwrap_or(i64::MAX),
        shared: record.shared,
    })
}

fn class(record: &FailureRecord) -> FailureClass {
    match record.class() {
        Class::Revision => FailureClass::Revision,
        Class::Environment | Class::Unspecified => FailureClass::Environment,
    }
}

/// The failure records that need not be repeated once the state is stored: the planner has counted those of revisions,
/// and those of the environment are over. A refused configuration is kept in mind until it is another one.
#[must_use]
pub fn heard(attached: &Attached, memory: &Memory) -> Vec<String> {
    let serving = set(&attached.report.plugins, |p| !p.revision.is_empty());
    let over = |f: &&FailureRecord| match class(f) {
        FailureClass::Revision => !memory.is_refusal(f),
        FailureClass::Environment => serving.get(&f.plugin).is_some_and(|r| r.0 == f.revision),
    };
    attached.failures.values().filter(over).map(|f| f.id.clone()).collect()
}

/// The instances that served, as they say themselves or the API knows.
#[must_use]
pub fn served(observed: &Observed) -> BTreeSet<String> {
    let say = observed.attached.iter().filter(|a| a.report.served).map(|a| a.uid.clone());
    let shown = observed.view.pods.iter().filter(|pod| pod.ready).map(|pod| pod.uid.clone());
    say.chain(shown).collect()
}

/// Whether so many instances are down because of the same plugin that taking them all out of service helps nobody. Once they
/// are kept, that lasts until at most a tenth of them is down: those that start again by themselves would come and go. It is
/// for those that served: readiness of the others is what stops a bad deployment.
#[must_use]
pub fn keeps_ready(instances: &[Instance], served: &BTreeSet<String>, keeps: bool) -> bool {
    let counts = |i: &&Instance| i.presence == Presence::Connected && served.contains(&i.id);
    let connected: Vec<_> = instances.iter().filter(counts).collect();
    let mut down: BTreeMap<&str, usize> = BTreeMap::new();
    let unready = connected.iter().filter(|i| !i.ready);
    unready.flat_map(|i| i.down.keys()).for_each(|plugin| *down.entry(plugin).or_default() += 1);
    let share = if keeps { 10 } else { 2 };
    down.values().any(|count| count * share > connected.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rockstar_proto::control::Report;

    fn record(class: Class, revision: &str) -> FailureRecord {
        FailureRecord {
            id: revision.into(),
            plugin: "a".into(),
            revision: revision.into(),
            class: class.into(),
            ..FailureRecord::default()
        }
    }

    fn attached(records: Vec<FailureRecord>) -> Attached {
        let state = PluginState { plugin: "a".into(), revision: "a-1".into(), ..PluginState::default() };
        let report = Report { host_uid: "h".into(), plan_generation: 7, plugins: vec![state], ..Report::default() };
        Attached {
            pod: "p".into(),
            uid: "u".into(),
            sidecar_version: String::new(),
            capabilities: Vec::new(),
            report: Arc::new(report),
            failures: Arc::new(records.into_iter().map(|r| (r.id.clone(), r)).collect()),
            told: None,
        }
    }

    #[test]
    fn an_environment_failure_lasts_until_its_revision_serves() {
        let attached = attached(vec![record(Class::Environment, "a-1"), record(Class::Environment, "a-2")]);
        let said = said(&attached, "h", 7);
        assert_eq!(said.failures.iter().map(|f| f.id.as_str()).collect::<Vec<_>>(), ["a-2"]);
        assert_eq!(heard(&attached, &Memory::default()), ["a-1"]);
    }

    #[test]
    fn a_report_of_another_host_s_plan_counts_as_none() {
        assert_eq!(said(&attached(Vec::new()), "h", 7).accepted, 7);
        assert_eq!(said(&attached(Vec::new()), "other", 7).accepted, 0);
    }

    #[test]
    fn what_a_pod_runs_of_another_host_counts_for_nothing() {
        let observed = super::super::fixtures::observed([]);
        let of = |host: &str| {
            let report = Report { host: host.into(), ..Report::clone(&attached(Vec::new()).report) };
            let attached = Attached { report: Arc::new(report), ..attached(Vec::new()) };
            instance(&observed.view.pods[0], Some(&attached), &observed, &Memory::default()).serving.len()
        };
        assert_eq!((of("shop/storefront"), of("shop/other"), of("")), (1, 0, 1));
    }

    #[test]
    fn failures_carry_the_generation_they_belong_to() {
        let said = said(&attached(vec![record(Class::Revision, "a-2")]), "h", 7);
        assert_eq!((said.failures[0].class, said.failures[0].plan_generation), (FailureClass::Revision, 7));
    }

    #[test]
    fn a_generation_that_is_made_up_counts_as_none() {
        let of = |plan_generation| {
            let report = Report { host_uid: "h".into(), plan_generation, ..Report::default() };
            said(&Attached { report: Arc::new(report), ..attached(vec![]) }, "h", 7).accepted
        };
        assert_eq!((of(8), of(7 + MOST_AHEAD), of(u64::MAX)), (8, 7 + (1 << 20), 0));
    }

    #[test]
    fn instances_that_are_kept_ready_stay_so_while_many_are_down() {
        let observed = super::super::fixtures::observed([]);
        let up = instances(&observed, &Memory::default()).remove(0);
        let up = Instance { presence: Presence::Connected, ready: true, ..up };
        let down = Instance { ready: false, down: [("a".to_owned(), Down::default())].into(), ..up.clone() };
        let of = |count: usize| [vec![down.clone(); count], vec![up.clone(); 10 - count]].concat();
        let served = BTreeSet::from([up.id.clone()]);
        let kept = |keeps| (0..=10).filter(|count| keeps_ready(&of(*count), &served, keeps)).min();
        assert_eq!((kept(false), kept(true)), (Some(6), Some(2)));
        assert!(!keeps_ready(&of(10), &BTreeSet::new(), true), "none of them ever served");
        let others = vec![Instance { ready: true, ..down }; 10];
        assert!(!keeps_ready(&others, &served, true), "a plugin that takes nobody out of service");
    }

    #[test]
    fn a_refused_configuration_is_kept_in_mind_until_it_is_another_one() {
        let refusal = FailureRecord { reason: "ConfigChangeRefused".into(), ..record(Class::Revision, "a-1") };
        let attached = attached(vec![refusal.clone()]);
        let config = |level: &str| serde_json::json!({"level": level}).as_object().cloned().unwrap();
        let mut memory = Memory::default();
        memory.configs.insert(RevisionId("a-1".into()), config("loud"));
        memory.refused.insert("a-1".into(), config("loud"));
        assert!(heard(&attached, &memory).is_empty());
        memory.configs.insert(RevisionId("a-1".into()), config("quiet"));
        assert_eq!(heard(&attached, &memory), ["a-1"]);
    }
}
