//! From a snapshot to the set that should run here. Pure.

use super::ledger::Ledger;
use crate::{configuration::Configuration, manager::Desired, target::Target};
use rockstar_core::{
    assignment::{Assignment, Policies},
    backends::{Backends, EventOverflow},
    permission::{Permission, Permissions},
    revision::{Body, RevisionId},
};
use rockstar_proto::control::{Assignment as Told, RevisionBody, Snapshot};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A snapshot of which nothing is applied.
#[derive(Debug, thiserror::Error)]
pub(super) enum SnapshotError {
    #[error("revision {0} is assigned, but neither sent nor known here")]
    NoBody(String),
    #[error("the body of revision {revision} cannot be read: {cause}")]
    Body { revision: String, cause: serde_json::Error },
    #[error("the policies of plugin '{plugin}' cannot be read: {cause}")]
    Policies { plugin: String, cause: serde_json::Error },
    #[error("the framework version '{0}' is not a semantic version")]
    Framework(String),
}

/// The target and the stable set of a snapshot.
#[derive(Debug)]
pub(super) struct Sets {
    pub(super) target: Vec<Target>,
    pub(super) fallback: BTreeMap<String, Target>,
}

/// Completes a snapshot with the bodies that came with the one before, and drops those it does not name.
pub(super) fn complete(mut new: Snapshot, old: Option<&Snapshot>) -> Snapshot {
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
pub(super) fn sets(snapshot: &Snapshot) -> Result<Sets, SnapshotError> {
    let bodies: BTreeMap<&str, &RevisionBody> = snapshot.bodies.iter().map(|b| (b.revision.as_str(), b)).collect();
    let stable: BTreeSet<(&str, &str)> =
        snapshot.fallback.iter().map(|a| (a.plugin.as_str(), a.revision.as_str())).collect();
    let read = |told: &Told| target(told, &bodies, stable.contains(&(told.plugin.as_str(), told.revision.as_str())));
    let fallback = snapshot.fallback.iter().map(|told| Ok((told.plugin.clone(), read(told)?)));
    Ok(Sets {
        target: snapshot.target.iter().map(read).collect::<Result<_, _>>()?,
        fallback: fallback.collect::<Result<_, _>>()?,
    })
}

/// Addresses of engines; what is left out is embedded.
pub(super) fn engines(snapshot: &Snapshot) -> Backends {
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

pub(super) fn framework(snapshot: &Snapshot) -> Result<semver::Version, SnapshotError> {
    let text = &snapshot.framework_version;
    text.parse().map_err(|_| SnapshotError::Framework(text.clone()))
}

/// The framework's.
pub(super) fn configuration(snapshot: &Snapshot) -> Configuration {
    let told = snapshot.backends.as_ref().and_then(|told| told.config.as_ref());
    Configuration::Values(told.map(rockstar_proto::types::Map::to_json).unwrap_or_default())
}

/// What failed here is replaced by its stable revision; where there is none, its group stays as it is.
pub(super) fn desired(sets: Sets, ledger: &Ledger) -> Desired {
    let mut desired = Desired { fallback: sets.fallback, ..Desired::default() };
    for target in sets.target {
        if !ledger.is_condemned(&target) {
            desired.targets.push(target);
            continue;
        }
        match desired.fallback.get(target.name()).filter(|stable| !ledger.is_condemned(stable)) {
            Some(stable) => desired.targets.push(stable.clone()),
            None => {
                desired.held_back.insert(target.name().to_owned());
            }
        }
    }
    desired
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
    })
}

/// Names that this version does not know are grants that it cannot give.
fn permissions(names: &[String]) -> Permissions {
    Permission::ALL.into_iter().filter(|p| names.iter().any(|name| name == p.name())).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::control::ledger::Moment;
    use serde_json::json;

    fn body_json(plugin: &str) -> serde_json::Value {
        let manifest = json!({"name": plugin, "version": "1.0.0", "description": "d", "author": "a"});
        json!({"manifest": manifest, "source": {"path": {"path": "/p"}}})
    }

    pub(in super::super) fn target(plugin: &str, revision: &str) -> Target {
        let told = told(plugin, revision);
        let body = body(plugin, revision);
        super::target(&told, &BTreeMap::from([(revision, &body)]), false).unwrap()
    }

    fn told(plugin: &str, revision: &str) -> Told {
        let policies_json = serde_json::to_vec(&Policies::default()).unwrap().into();
        let permissions = vec!["cache".to_owned(), "teleport".to_owned()];
        Told { plugin: plugin.into(), revision: revision.into(), policies_json, permissions, ..Told::default() }
    }

    fn body(plugin: &str, revision: &str) -> RevisionBody {
        let body_json = serde_json::to_vec(&body_json(plugin)).unwrap().into();
        RevisionBody { revision: revision.into(), body_json, ..RevisionBody::default() }
    }

    fn snapshot(target: &str, fallback: &str, bodies: &[&str]) -> Snapshot {
        Snapshot {
            target: vec![told("a", target)],
            fallback: vec![told("a", fallback)],
            bodies: bodies.iter().map(|r| body("a", r)).collect(),
            framework_version: "1.5.0".into(),
            ..Snapshot::default()
        }
    }

    #[test]
    fn bodies_travel_once() {
        let old = snapshot("a-1", "a-1", &["a-1"]);
        let new = complete(snapshot("a-2", "a-1", &["a-2"]), Some(&old));
        let sets = sets(&new).unwrap();
        assert_eq!(sets.target[0].assignment.revision.0, "a-2");
        assert!(!sets.target[0].stable && sets.fallback["a"].stable);
        assert_eq!(complete(snapshot("a-2", "a-2", &[]), Some(&new)).bodies.len(), 1);
        let error = super::sets(&snapshot("a-3", "a-1", &["a-1"])).unwrap_err();
        assert_eq!(error.to_string(), "revision a-3 is assigned, but neither sent nor known here");
    }

    #[test]
    fn what_failed_here_is_replaced_by_the_stable_revision() {
        let mut ledger = Ledger::default();
        ledger.condemn(&[target("a", "a-2")], Moment { unix_ms: 0, plan_generation: 1 });
        let both = snapshot("a-2", "a-1", &["a-1", "a-2"]);
        let desired = super::desired(sets(&both).unwrap(), &ledger);
        assert_eq!(desired.targets[0].assignment.revision.0, "a-1");
        let alone = Snapshot { fallback: vec![], ..both };
        let desired = super::desired(sets(&alone).unwrap(), &ledger);
        assert!(desired.targets.is_empty() && desired.held_back.contains("a"));
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
