//! From a snapshot to the set that should run here, and what a snapshot leaves of the one before. Pure.

use super::ledger::Ledger;
use crate::{
    configuration::Configuration,
    manager::{Allowed, AllowedPlugin, Desired, HeldBack, Newcomers, Unknown},
    target::Target,
};
use rockstar_core::{
    assignment::{Assignment, Policies},
    backends::{Backends, EventOverflow},
    permission::{Permission, Permissions},
    revision::{Body, RevisionId},
};
use rockstar_proto::control::{Assignment as Told, RevisionBody, Snapshot, Withdraw};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Why a snapshot, or what it says of one plugin, cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("revision {0} is assigned, but neither sent nor known here")]
    NoBody(String),
    #[error("the body of revision {revision} cannot be read: {cause}")]
    Body { revision: String, cause: serde_json::Error },
    #[error("the policies of plugin '{plugin}' cannot be read: {cause}")]
    Policies { plugin: String, cause: serde_json::Error },
    #[error("the framework version '{0}' is not a semantic version")]
    Framework(String),
}

impl SnapshotError {
    /// Tells whether the rest of the snapshot can be applied all the same.
    const fn is_of_revision(&self) -> bool {
        matches!(self, Self::NoBody(_) | Self::Body { .. })
    }

    /// Tells whether the plugin is to blame, or no single one is.
    #[must_use]
    pub fn concerns(&self, name: &str) -> bool {
        match self {
            Self::Policies { plugin, .. } => plugin == name,
            _ => true,
        }
    }
}

/// The target and the stable set of a snapshot.
#[derive(Debug, Default)]
pub struct Sets {
    pub target: Vec<Target>,
    pub fallback: BTreeMap<String, Target>,
    /// Plugins of the target whose revision cannot be read here.
    pub unknown: BTreeMap<String, Unknown>,
    /// Plugins with a stable version, also where that cannot be read.
    pub stable: BTreeSet<String>,
    /// The host has no stable set.
    pub first_set: bool,
}

/// Completes a snapshot with what came with the one before and is kept: bodies, and values that cannot be read now. Drops
/// bodies that it does not name.
#[must_use]
pub fn complete(new: Snapshot, old: Option<&Snapshot>) -> Snapshot {
    let same_host = old.filter(|old| old.host_uid == new.host_uid);
    with_bodies(with_kept_values(new, same_host), old)
}

fn with_kept_values(mut new: Snapshot, old: Option<&Snapshot>) -> Snapshot {
    let known = old.iter().flat_map(|s| s.target.iter().chain(&s.fallback));
    let known: BTreeMap<(&str, &str), &Told> =
        known.map(|told| ((told.plugin.as_str(), told.revision.as_str()), told)).collect();
    for told in new.target.iter_mut().chain(&mut new.fallback) {
        let Some(before) = known.get(&(told.plugin.as_str(), told.revision.as_str())) else { continue };
        if told.keep_config {
            told.config.clone_from(&before.config);
        }
        if told.keep_policies {
            told.policies_json.clone_from(&before.policies_json);
            told.reload_at.clone_from(&before.reload_at);
        }
    }
    // An operator that knows no limits, or cannot read them, changes none.
    if let Some(old) = old.filter(|_| new.limits_json.is_empty()) {
        new.limits_json.clone_from(&old.limits_json);
    }
    if let Some((given, had)) = new.backends.as_mut().zip(old.and_then(|s| s.backends.as_ref())) {
        for kept in given.kept.clone() {
            match kept.as_str() {
                "database" => given.database_url.clone_from(&had.database_url),
                "cache" => given.cache_url.clone_from(&had.cache_url),
                "storage" => given.storage_url.clone_from(&had.storage_url),
                "events" => given.events_url.clone_from(&had.events_url),
                "config" => given.config.clone_from(&had.config),
                _ => {}
            }
        }
    }
    new
}

/// Takes away what an operator withdraws, and never gives anything.
#[must_use]
pub fn cut(mut snapshot: Snapshot, withdraw: &Withdraw) -> Snapshot {
    let stays = |told: &Told| !withdraw.plugins.contains(&told.plugin);
    snapshot.target.retain(stays);
    snapshot.fallback.retain(stays);
    snapshot.leaving.retain(|left| !withdraw.plugins.contains(&left.plugin));
    let told = snapshot.target.iter_mut().chain(&mut snapshot.fallback);
    let told = told.map(|told| (&told.plugin, &mut told.permissions));
    let left = snapshot.leaving.iter_mut().map(|left| (&left.plugin, &mut left.permissions));
    for (plugin, permissions) in told.chain(left) {
        for allowed in withdraw.permissions.iter().filter(|allowed| allowed.plugin == *plugin) {
            permissions.retain(|name| allowed.permissions.contains(name));
        }
    }
    with_bodies(snapshot, None)
}

/// What plugins may be here and use: all that the snapshot allows any revision of those in its target, and those that leave
/// in order until they have left.
#[must_use]
pub fn allowance(snapshot: &Snapshot) -> Allowed {
    let mut allowed: Allowed = snapshot.target.iter().map(|told| (told.plugin.clone(), <_>::default())).collect();
    for left in &snapshot.leaving {
        let plugin: &mut AllowedPlugin = allowed.entry(left.plugin.clone()).or_default();
        plugin.permissions.extend(permissions(&left.permissions));
    }
    for told in snapshot.target.iter().chain(&snapshot.fallback) {
        if let Some(plugin) = allowed.get_mut(&told.plugin) {
            plugin.permissions.extend(permissions(&told.permissions));
            plugin.revisions.insert(RevisionId(told.revision.clone()));
        }
    }
    allowed
}

fn with_bodies(mut new: Snapshot, old: Option<&Snapshot>) -> Snapshot {
    let named: BTreeSet<&str> = new.target.iter().chain(&new.fallback).map(|a| a.revision.as_str()).collect();
    let sent: BTreeSet<&str> = new.bodies.iter().map(|b| b.revision.as_str()).collect();
    let known = old.iter().flat_map(|s| &s.bodies);
    let kept: Vec<RevisionBody> =
        known.filter(|b| named.contains(b.revision.as_str()) && !sent.contains(b.revision.as_str())).cloned().collect();
    let stays = |body: &RevisionBody| named.contains(body.revision.as_str());
    let bodies = new.bodies.iter().filter(|b| stays(b)).cloned().chain(kept).collect();
    new.bodies = bodies;
    new
}

/// Reads a complete snapshot.
pub fn sets(snapshot: &Snapshot) -> Result<Sets, SnapshotError> {
    let bodies: BTreeMap<&str, &RevisionBody> = snapshot.bodies.iter().map(|b| (b.revision.as_str(), b)).collect();
    let stable: BTreeSet<(&str, &str)> =
        snapshot.fallback.iter().map(|a| (a.plugin.as_str(), a.revision.as_str())).collect();
    let read = |told: &Told| target(told, &bodies, stable.contains(&(told.plugin.as_str(), told.revision.as_str())));
    let names = snapshot.fallback.iter().map(|told| told.plugin.clone());
    let mut sets = Sets { stable: names.collect(), first_set: snapshot.first_set, ..Sets::default() };
    for told in &snapshot.target {
        match read(told) {
            Ok(target) => sets.target.push(target),
            Err(error) if error.is_of_revision() => {
                sets.unknown.insert(told.plugin.clone(), unknown(told, &error)?);
            }
            Err(error) => return Err(error),
        }
    }
    for told in &snapshot.fallback {
        match read(told) {
            Ok(target) => drop(sets.fallback.insert(told.plugin.clone(), target)),
            // There is no way back to it.
            Err(error) if error.is_of_revision() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sets)
}

fn unknown(told: &Told, error: &SnapshotError) -> Result<Unknown, SnapshotError> {
    let why = HeldBack { reason: "RevisionUnknown".to_owned(), message: error.to_string() };
    Ok(Unknown { assignment: assignment(told)?, why })
}

/// Addresses of engines; what is left out is embedded.
#[must_use]
pub fn engines(snapshot: &Snapshot) -> Backends {
    let given = snapshot.backends.clone().unwrap_or_default();
    let some = |address: String| Some(address).filter(|a| !a.is_empty());
    Backends {
        database: some(given.database_url),
        cache: some(given.cache_url),
        storage: some(given.storage_url),
        events: some(given.events_url),
        event_overflow: EventOverflow::told(&given.event_overflow),
        config: None,
    }
}

pub fn framework(snapshot: &Snapshot) -> Result<semver::Version, SnapshotError> {
    let text = &snapshot.framework_version;
    text.parse().map_err(|_| SnapshotError::Framework(text.clone()))
}

/// The framework's.
pub fn configuration(snapshot: &Snapshot) -> Configuration {
    let told = snapshot.backends.as_ref().and_then(|told| told.config.as_ref());
    Configuration::Values(told.map(rockstar_proto::types::Map::to_json).unwrap_or_default())
}

/// Chooses what should run. What failed here, or cannot be read, is replaced by its stable revision, together with those
/// that do not fit the stable one; where there is none, its group stays as it is.
#[must_use]
pub fn desired(sets: Sets, ledger: &Ledger) -> Desired {
    let first = if sets.first_set { Newcomers::Required } else { Newcomers::Spared };
    let mut choice = Choice::new(sets, ledger);
    while let Some(misfit) = choice.misfit() {
        choice.replace(misfit, HeldBack::moved_with_failed());
    }
    choice.desired(first)
}

/// The targets of a snapshot, some of them replaced.
struct Choice {
    fallback: BTreeMap<String, Target>,
    targets: Vec<Target>,
    /// Plugins of which nothing can be read.
    unknown: BTreeMap<String, Unknown>,
    /// Plugins with a stable version.
    stable: BTreeSet<String>,
    /// None: it is held back.
    chosen: Vec<Option<Target>>,
    held_back: BTreeMap<String, (Target, HeldBack)>,
    /// Who needs whom, by position, where the snapshot's own sets meet the need.
    needs: BTreeSet<(usize, usize)>,
}

impl Choice {
    fn new(mut sets: Sets, ledger: &Ledger) -> Self {
        let unfit = unfit(&sets);
        let known = sets.unknown.keys().filter_map(|name| sets.fallback.get(name).cloned());
        sets.target.extend(known);
        sets.unknown.retain(|name, _| !sets.fallback.contains_key(name));
        let Sets { unknown, stable: with_stable, .. } = sets;
        let stable: Vec<_> = sets.target.iter().map(|target| sets.fallback.get(target.name())).collect();
        let mut needs = met_needs(&sets.target.iter().map(Some).collect::<Vec<_>>());
        needs.extend(met_needs(&stable));
        let chosen = sets.target.iter().cloned().map(Some).collect();
        let (fallback, targets) = (sets.fallback, sets.target);
        let (stable, held_back) = (with_stable, BTreeMap::new());
        let mut choice = Self { fallback, targets, unknown, stable, chosen, held_back, needs };
        for position in unfit {
            choice.replace(position, HeldBack::moved_with_failed());
        }
        for position in 0..choice.targets.len() {
            if let Some((reason, message)) = ledger.verdict(&choice.targets[position]) {
                choice.replace(position, HeldBack { reason: reason.to_owned(), message: message.to_owned() });
            }
        }
        choice
    }

    /// A target that does not fit any more because of what was replaced: the one in need, else the one that it needs.
    fn misfit(&self) -> Option<usize> {
        let chosen = |position: usize| self.chosen[position].as_ref();
        let broken = self.needs.iter().filter(|(dependent, provider)| {
            let name = self.targets[*provider].name();
            chosen(*dependent).is_some_and(|dependent| !meets(dependent, name, chosen(*provider)))
        });
        let replaceable = |position: &usize| {
            let target = &self.targets[*position];
            !target.stable && chosen(*position).is_some_and(|c| c.assignment.revision == target.assignment.revision)
        };
        broken.flat_map(|(dependent, provider)| [*dependent, *provider]).find(replaceable)
    }

    fn replace(&mut self, position: usize, why: HeldBack) {
        let target = &self.targets[position];
        self.chosen[position] = self.fallback.get(target.name()).cloned();
        if self.chosen[position].is_none() {
            self.held_back.insert(target.name().to_owned(), (target.clone(), why));
        }
    }

    fn desired(self, newcomers: Newcomers) -> Desired {
        Desired {
            targets: self.chosen.into_iter().flatten().collect(),
            fallback: self.fallback,
            held_back: self.held_back,
            unknown: self.unknown,
            newcomers,
            host_uid: String::new(),
            stable: self.stable,
        }
    }
}

/// Positions of those on trial that need of a plugin what its stable version is not, while nobody can tell whether its new
/// one is.
fn unfit(sets: &Sets) -> Vec<usize> {
    let is_unfit = |target: &Target| {
        let needs = target.body.manifest.dependencies.iter().map(|dependency| dependency.name.as_str());
        let mut unread = needs.filter(|name| sets.unknown.contains_key(*name));
        !target.stable && unread.any(|name| !meets(target, name, sets.fallback.get(name)))
    };
    (0..sets.target.len()).filter(|position| is_unfit(&sets.target[*position])).collect()
}

/// Who needs whom, by position, as far as the set meets it.
fn met_needs(set: &[Option<&Target>]) -> BTreeSet<(usize, usize)> {
    let named = set.iter().enumerate().filter_map(|(position, target)| Some((target.as_ref()?.name(), position)));
    let positions: BTreeMap<&str, usize> = named.collect();
    let mut needs = BTreeSet::new();
    for (position, target) in set.iter().enumerate().filter_map(|(position, target)| Some((position, (*target)?))) {
        let names = target.body.manifest.dependencies.iter().map(|dependency| dependency.name.as_str());
        let present = names.filter_map(|name| positions.get(name));
        needs.extend(
            present.filter(|p| meets(target, set[**p].map_or("", Target::name), set[**p])).map(|p| (position, *p)),
        );
    }
    needs
}

/// Tells whether what the dependent needs of that plugin is there. An optional need is also met by absence.
fn meets(dependent: &Target, name: &str, provider: Option<&Target>) -> bool {
    let need = dependent.body.manifest.dependencies.iter().find(|dependency| dependency.name == name);
    let Some(need) = need else { return true };
    match (provider, need.constraint()) {
        (None, _) => need.optional,
        (Some(provider), Ok(constraint)) => constraint.matches(&provider.body.manifest.version),
        (Some(_), Err(_)) => true,
    }
}

fn target(told: &Told, bodies: &BTreeMap<&str, &RevisionBody>, stable: bool) -> Result<Target, SnapshotError> {
    let revision = told.revision.clone();
    let sent = *bodies.get(revision.as_str()).ok_or_else(|| SnapshotError::NoBody(revision.clone()))?;
    let body: Body =
        serde_json::from_slice(&sent.body_json).map_err(|cause| SnapshotError::Body { revision, cause })?;
    Ok(Target {
        assignment: assignment(told)?,
        body: Arc::new(body),
        pull_secret: serde_json::from_slice(&sent.pull_secret_json).ok().map(Arc::new),
        pinned: None,
        stable,
        unconfigured: told.keep_config && told.config.is_none(),
        place: 0,
    })
}

fn assignment(told: &Told) -> Result<Assignment, SnapshotError> {
    let policies: Policies = serde_json::from_slice(&told.policies_json)
        .map_err(|cause| SnapshotError::Policies { plugin: told.plugin.clone(), cause })?;
    Ok(Assignment {
        plugin: told.plugin.clone(),
        revision: RevisionId(told.revision.clone()),
        config: told.config.as_ref().map(rockstar_proto::types::Map::to_json).unwrap_or_default(),
        permissions: permissions(&told.permissions),
        policies,
        reload_at: told.reload_at.clone(),
        retry_token: told.retry_token.clone(),
    })
}

/// Names that this version does not know are grants that it cannot give.
fn permissions(names: &[String]) -> Permissions {
    Permission::ALL.into_iter().filter(|p| names.iter().any(|name| name == p.name())).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{
        control::ledger::Moment,
        failure::{Failure, Step},
    };
    use rockstar_proto::control::Allowed;
    use serde_json::{Value, json};

    const NOW: Moment = Moment { unix_ms: 0, plan_generation: 1 };

    /// The plugin and version of `a-2`.
    fn body_json(revision: &str, needs: &Value) -> Value {
        let (plugin, number) = revision.split_once('-').unwrap();
        let version = format!("{number}.0.0");
        let manifest = json!({
            "name": plugin, "version": version, "description": "d", "author": "a", "dependencies": needs,
        });
        json!({"manifest": manifest, "source": {"path": {"path": "/p"}}})
    }

    pub(in super::super) fn target(plugin: &str, revision: &str) -> Target {
        let told = told(plugin, revision);
        let body = body(revision, &json!([]));
        super::target(&told, &BTreeMap::from([(revision, &body)]), false).unwrap()
    }

    fn told(plugin: &str, revision: &str) -> Told {
        let policies_json = serde_json::to_vec(&Policies::default()).unwrap().into();
        let permissions = vec!["cache".to_owned(), "teleport".to_owned()];
        Told { plugin: plugin.into(), revision: revision.into(), policies_json, permissions, ..Told::default() }
    }

    fn body(revision: &str, needs: &Value) -> RevisionBody {
        let body_json = serde_json::to_vec(&body_json(revision, needs)).unwrap().into();
        RevisionBody { revision: revision.into(), body_json, ..RevisionBody::default() }
    }

    fn assigned(revisions: &[&str]) -> Vec<Told> {
        revisions.iter().map(|r| told(r.split_once('-').unwrap().0, r)).collect()
    }

    fn snapshot(target: &[&str], fallback: &[&str], bodies: &[&str]) -> Snapshot {
        Snapshot {
            target: assigned(target),
            fallback: assigned(fallback),
            bodies: bodies.iter().map(|r| body(r, &json!([]))).collect(),
            framework_version: "1.5.0".into(),
            ..Snapshot::default()
        }
    }

    fn condemning(revisions: &[&str]) -> Ledger {
        let mut ledger = Ledger::default();
        for revision in revisions {
            let target = target(revision.split_once('-').unwrap().0, revision);
            let failure = Failure::revision(Step::Initialize, "InitializeFailed", "no key");
            ledger.ends_failed(std::slice::from_ref(&target), &target, &failure, NOW);
        }
        ledger
    }

    fn chosen(snapshot: &Snapshot, ledger: &Ledger) -> (Vec<String>, Vec<String>) {
        let desired = desired(sets(snapshot).unwrap(), ledger);
        let targets = desired.targets.iter().map(|t| t.assignment.revision.0.clone()).collect();
        (targets, desired.held_back.into_keys().collect())
    }

    #[test]
    fn a_configuration_that_nobody_can_read_is_waited_for_where_there_is_none() {
        let unread = |old: Option<&Snapshot>| {
            let mut new = snapshot(&["a-1"], &["a-1"], &["a-1"]);
            new.target[0].keep_config = true;
            sets(&complete(new, old)).unwrap().target[0].unconfigured
        };
        let mut old = snapshot(&["a-1"], &["a-1"], &["a-1"]);
        old.target[0].config = Some((&serde_json::Map::new()).into());
        old.fallback[0].config.clone_from(&old.target[0].config);
        assert!(unread(None));
        assert!(!unread(Some(&old)));
        old.host_uid = "another host".into();
        assert!(unread(Some(&old)), "another host's configuration is not its own");
    }

    #[test]
    fn bodies_travel_once() {
        let old = snapshot(&["a-1"], &["a-1"], &["a-1"]);
        let new = complete(snapshot(&["a-2"], &["a-1"], &["a-2"]), Some(&old));
        let sets = sets(&new).unwrap();
        assert_eq!(sets.target[0].assignment.revision.0, "a-2");
        assert!(!sets.target[0].stable && sets.fallback["a"].stable);
        assert_eq!(complete(snapshot(&["a-2"], &["a-2"], &[]), Some(&new)).bodies.len(), 1);
    }

    #[test]
    fn what_cannot_be_read_is_held_back_and_the_rest_is_not() {
        let nothing = Ledger::default();
        let mut told = snapshot(&["a-2", "b-2", "c-2"], &["a-2", "b-1"], &["b-2", "b-1", "c-2"]);
        let desired = |told: &Snapshot| desired(sets(told).unwrap(), &nothing);
        let why = "revision a-2 is assigned, but neither sent nor known here";
        let unknown = &desired(&told).unknown["a"];
        assert_eq!((unknown.why.reason.as_str(), unknown.why.message.as_str()), ("RevisionUnknown", why));
        assert!(desired(&told).stable.contains("a"), "requests do not pass by it");
        assert_eq!(chosen(&told, &nothing), (vec!["b-2".to_owned(), "c-2".to_owned()], vec![]));

        // What is stable takes its place, and those that do not fit it stay behind.
        told.bodies[0].body_json = b"{}".to_vec().into();
        told.bodies[2] = body("c-2", &json!([{"name": "b", "version": ">=2.0.0"}]));
        assert!(desired(&told).unknown.keys().eq(["a"]));
        assert_eq!(chosen(&told, &nothing), (vec!["b-1".to_owned()], vec!["c".to_owned()]));

        told.target[0].policies_json = b"x".to_vec().into();
        assert!(sets(&told).unwrap_err().concerns("a"), "nothing of it is applied");
    }

    #[test]
    fn what_failed_here_is_replaced_by_the_stable_revision() {
        let ledger = condemning(&["a-2"]);
        let both = snapshot(&["a-2"], &["a-1"], &["a-1", "a-2"]);
        assert_eq!(chosen(&both, &ledger), (vec!["a-1".to_owned()], vec![]));
        let alone = Snapshot { fallback: vec![], ..both.clone() };
        assert_eq!(chosen(&alone, &ledger), (vec![], vec!["a".to_owned()]));
        let stable = Snapshot { fallback: assigned(&["a-2"]), ..both };
        assert_eq!(chosen(&stable, &ledger), (vec!["a-2".to_owned()], vec![]), "what is stable is tried again");
    }

    #[test]
    fn what_is_replaced_takes_along_who_does_not_fit() {
        for optional in [false, true] {
            let need = |version: &str| json!([{"name": "b", "version": version, "optional": optional}]);
            let mut told = snapshot(&["a-2", "b-3", "c-2"], &["a-1", "b-1", "c-1"], &["b-3", "b-1", "c-2", "c-1"]);
            told.bodies.push(body("a-2", &need(">=2.0.0")));
            told.bodies.push(body("a-1", &need("<2.0.0")));
            let strings = |names: [&str; 3]| (names.map(str::to_owned).to_vec(), vec![]);
            assert_eq!(chosen(&told, &condemning(&["b-3"])), strings(["a-1", "b-1", "c-2"]));
            assert_eq!(chosen(&told, &condemning(&["a-2"])), strings(["a-1", "b-1", "c-2"]));
            assert_eq!(chosen(&told, &condemning(&["c-2"])), strings(["a-2", "b-3", "c-1"]));
        }
    }

    #[test]
    fn what_cannot_be_read_is_kept_where_there_is_something() {
        let config = |value: &str| Some((&serde_json::Map::from_iter([("k".to_owned(), value.into())])).into());
        let policies = |text: &str| text.as_bytes().to_vec().into();
        let mut old = snapshot(&["a-1"], &[], &["a-1"]);
        old.target[0].config = config("old");
        old.target[0].policies_json = policies("old");
        old.target[0].reload_at = "old".into();
        let backends = |url: &str, kept: &[&str]| rockstar_proto::control::Backends {
            database_url: url.into(),
            cache_url: url.into(),
            kept: kept.iter().map(|k| (*k).to_owned()).collect(),
            ..Default::default()
        };
        old.backends = Some(backends("old", &[]));
        let mut new = snapshot(&["a-1", "b-1"], &["a-1"], &["a-1", "b-1"]);
        for told in new.target.iter_mut().chain(&mut new.fallback) {
            (told.keep_config, told.keep_policies) = (true, true);
            (told.config, told.policies_json, told.reload_at) = (config("new"), policies("new"), "new".into());
        }
        new.backends = Some(backends("new", &["database"]));
        let complete = complete(new.clone(), Some(&old));
        for told in [&complete.target[0], &complete.fallback[0]] {
            assert_eq!(
                (&told.config, &told.policies_json, told.reload_at.as_str()),
                (&config("old"), &policies("old"), "old")
            );
        }
        assert_eq!(complete.target[1], new.target[1], "it has nothing of that revision");
        let told = complete.backends.unwrap();
        assert_eq!((told.database_url.as_str(), told.cache_url.as_str()), ("old", "new"));
        assert_eq!(super::complete(new.clone(), None), new);
    }

    #[test]
    fn limits_stay_where_an_operator_says_none() {
        let told = |limits: &'static [u8]| {
            let mut told = snapshot(&["a-1"], &["a-1"], &["a-1"]);
            told.limits_json = limits.into();
            told
        };
        let limits = |new, old: Option<&Snapshot>| complete(new, old).limits_json;
        let mut old = told(br#"{"threads": 20}"#);
        assert_eq!(limits(told(b""), Some(&old)), old.limits_json);
        assert_eq!(limits(told(b"{}"), Some(&old)), "{}", "that says that all have their defaults");
        assert_eq!(limits(told(b""), None), "");
        old.host_uid = "another host".into();
        assert_eq!(limits(told(b""), Some(&old)), "");
    }

    #[test]
    fn a_withdrawal_takes_away_and_never_gives() {
        let told = snapshot(&["a-2", "b-1"], &["a-1", "b-1"], &["a-1", "a-2", "b-1"]);
        let allowed = |plugin: &str, names: &[&str]| Allowed {
            plugin: plugin.into(),
            permissions: names.iter().map(|n| (*n).to_owned()).collect(),
        };
        let withdraw = Withdraw { plugins: vec!["b".into()], permissions: vec![allowed("a", &["database"])] };
        let cut = cut(told.clone(), &withdraw);
        assert_eq!((cut.target.len(), cut.fallback.len(), cut.bodies.len()), (1, 1, 2));
        assert_eq!(allowance(&cut).into_keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(allowance(&cut)["a"].permissions, Permissions::new());
        assert_eq!(allowance(&told)["a"].permissions, Permissions::from([Permission::Cache]));
        assert_eq!(allowance(&told)["a"].revisions.len(), 2);
        let nothing =
            Withdraw { plugins: vec!["x".into()], permissions: vec![allowed("a", &["cache", "teleport", "exec"])] };
        assert_eq!(super::cut(told.clone(), &nothing), told);
    }

    #[test]
    fn what_leaves_in_order_may_stay_until_then_but_never_start() {
        let left = |names: &[&str]| Allowed {
            plugin: "b".into(),
            permissions: names.iter().map(|name| (*name).to_owned()).collect(),
        };
        let told = Snapshot { leaving: vec![left(&["cache", "network"])], ..snapshot(&["a-1"], &["a-1"], &["a-1"]) };
        let allowed = allowance(&told);
        assert_eq!(allowed["b"].permissions, Permissions::from([Permission::Cache, Permission::Network]));
        assert!(allowed["b"].revisions.is_empty() && !allowed["a"].revisions.is_empty());
        let less = Withdraw { plugins: vec![], permissions: vec![left(&["cache"])] };
        assert_eq!(allowance(&cut(told.clone(), &less))["b"].permissions, Permissions::from([Permission::Cache]));
        let gone = Withdraw { plugins: vec!["b".into()], permissions: vec![] };
        assert!(!allowance(&cut(told, &gone)).contains_key("b"));
    }

    #[test]
    fn engines_and_what_is_dropped_are_taken_over() {
        let told = |event_overflow: &str| rockstar_proto::control::Backends {
            events_url: "nats://n".into(),
            event_overflow: event_overflow.into(),
            ..Default::default()
        };
        let read = |backends| engines(&Snapshot { backends, ..Snapshot::default() });
        let given = read(Some(told("drop_oldest")));
        assert_eq!((given.events.as_deref(), given.database), (Some("nats://n"), None));
        assert_eq!(given.event_overflow, EventOverflow::DropOldest);
        let older = [read(Some(told(""))), read(None)].map(|backends| backends.event_overflow);
        assert_eq!(older, [EventOverflow::DropNewest; 2], "an operator that does not know of it");
    }

    #[test]
    fn unknown_permissions_are_not_granted() {
        assert_eq!(target("a", "a-1").assignment.permissions, Permissions::from([Permission::Cache]));
    }
}
