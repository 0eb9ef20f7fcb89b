//! What a group of instances is told: encoded parts, shared by all that get the same. Pure.

use bytes::Bytes;
use rockstar_proto::control::{Allowed, Assignment, Backends, RevisionBody, Snapshot, Withdraw};
use std::{collections::BTreeMap, sync::Arc};

/// One state of the world, without regard to what an instance has already.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Publication {
    pub host_uid: String,
    pub host: String,
    pub plan_generation: u64,
    pub framework_version: String,
    pub sandbox: String,
    /// What one plugin may take, as JSON. Empty: what it may take now.
    pub limits: Bytes,
    /// The host has no stable set yet.
    pub first_set: bool,
    pub backends: Option<Backends>,
    /// In load order.
    pub target: Vec<Assignment>,
    /// The stable set, in load order.
    pub fallback: Vec<Assignment>,
    /// Plugins that leave in order, and what they may use until then.
    pub leaving: Vec<Allowed>,
    /// Of every revision in target and fallback.
    pub bodies: BTreeMap<String, Arc<RevisionBody>>,
}

impl Publication {
    /// As a message, with the bodies that `lacks` asks for.
    #[must_use]
    pub fn snapshot(&self, lacks: impl Fn(&RevisionBody) -> bool) -> Snapshot {
        let wanted = self.bodies.values().filter(|body| lacks(body));
        Snapshot {
            host_uid: self.host_uid.clone(),
            plan_generation: self.plan_generation,
            host: self.host.clone(),
            framework_version: self.framework_version.clone(),
            target: self.target.clone(),
            fallback: self.fallback.clone(),
            bodies: wanted.map(|body| RevisionBody::clone(body)).collect(),
            sandbox: self.sandbox.clone(),
            backends: self.backends.clone(),
            first_set: self.first_set,
            leaving: self.leaving.clone(),
            limits_json: self.limits.clone(),
        }
    }

    /// Those that it names.
    pub fn revisions(&self) -> impl Iterator<Item = &str> {
        let assigned = self.target.iter().chain(&self.fallback).map(|a| a.revision.as_str());
        assigned.chain(self.bodies.keys().map(String::as_str))
    }

    /// Lists the permissions that it lets each plugin use.
    pub fn permissions(&self) -> impl Iterator<Item = (&String, &Vec<String>)> {
        let assigned = self.target.iter().chain(&self.fallback).map(|given| (&given.plugin, &given.permissions));
        assigned.chain(self.leaving.iter().map(|given| (&given.plugin, &given.permissions)))
    }

    /// Whether it gives something that a withdrawal takes away.
    #[must_use]
    pub fn gives_any_of(&self, withdrawal: &Withdraw) -> bool {
        self.permissions().any(|(plugin, permissions)| {
            let limits = withdrawal.permissions.iter().find(|allowed| allowed.plugin == *plugin);
            let exceeds = |limit: &[String]| permissions.iter().any(|permission| !limit.contains(permission));
            withdrawal.plugins.contains(plugin) || limits.is_some_and(|limits| exceeds(&limits.permissions))
        })
    }
}
