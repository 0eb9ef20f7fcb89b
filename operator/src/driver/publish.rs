//! Fifth step: decisions become snapshots, one for all instances that are told the same. Pure, but for the handing over.
//!
//! A value that cannot be read changes nothing: the snapshot says that the instance keeps what it has, and gives the best
//! that is known to an instance that has nothing.

use super::{
    backends,
    catalog::{self, Catalog, Entry},
    fleet,
    memory::Memory,
    observe::Observed,
    plan::Settings,
};
use crate::{
    control::{Hub, Publication},
    host::HostKey,
    world::{Content, Revision},
};
use bytes::Bytes;
use rockstar_core::{
    assignment::Policies,
    config,
    permission::{self, Permission},
    resolve::{self, Node, SetMember},
    revision::RevisionId,
    rollout::{Assignment, Set},
};
use rockstar_crds::{PluginHostSpec, host::Sandbox, names};
use rockstar_proto::{
    control::{Allowed, Assignment as Told, Report, RevisionBody},
    types,
};
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Hands each instance its snapshot.
pub fn publish(
    hub: &Hub,
    host: &HostKey,
    observed: &Observed,
    memory: &Memory,
    publications: &BTreeMap<String, Arc<Publication>>,
) {
    for (uid, publication) in publications {
        hub.publish(host, uid, publication);
    }
    for instance in &observed.attached {
        let heard = fleet::heard(instance, memory);
        if !heard.is_empty() {
            hub.acknowledge(host, &instance.uid, &heard);
        }
    }
}

/// The snapshots by instance. What is the same as in the last pass is the same object.
pub fn publications(
    observed: &Observed,
    settings: &Settings,
    catalog: &Catalog,
    assignments: &BTreeMap<String, Assignment>,
    memory: &mut Memory,
) -> BTreeMap<String, Arc<Publication>> {
    let mut press = Press { observed, settings, catalog, memory, told: BTreeMap::new(), bodies: BTreeMap::new() };
    let reports: BTreeMap<&str, &Report> = observed.attached.iter().map(|a| (a.uid.as_str(), &*a.report)).collect();
    let mut made: Vec<(Assignment, Arc<Publication>)> = Vec::new();
    let mut by_instance = BTreeMap::new();
    for (uid, assignment) in assignments {
        let leaving = press.leaving(reports.get(uid.as_str()).copied(), &assignment.target);
        let is_same = |(other, made): &&(Assignment, Arc<Publication>)| {
            says_the_same(other, assignment) && made.leaving == leaving
        };
        let same = made.iter().find(is_same).map(|(_, p)| Arc::clone(p));
        let publication = same.unwrap_or_else(|| {
            let publication = press.print(assignment, leaving);
            made.push((assignment.clone(), Arc::clone(&publication)));
            publication
        });
        by_instance.insert(uid.clone(), publication);
    }
    memory.publications = made.into_iter().map(|(_, p)| p).collect();
    by_instance
}

fn says_the_same(a: &Assignment, b: &Assignment) -> bool {
    let same = |a: &Arc<Set>, b: &Arc<Set>| Arc::ptr_eq(a, b) || a == b;
    a.generation == b.generation && same(&a.target, &b.target) && same(&a.fallback, &b.fallback)
}

const fn sandbox(asked: Sandbox) -> &'static str {
    match asked {
        Sandbox::Required => "Required",
        Sandbox::BestEffort => "BestEffort",
    }
}

/// Encodes limits. Nothing: instances keep what they have.
fn limits(settings: &Settings) -> Bytes {
    settings.limits.as_ref().and_then(|limits| serde_json::to_vec(limits).ok()).unwrap_or_default().into()
}

/// Makes snapshots; what several of them share is made once.
struct Press<'a> {
    observed: &'a Observed,
    settings: &'a Settings,
    catalog: &'a Catalog,
    memory: &'a mut Memory,
    told: BTreeMap<RevisionId, Told>,
    bodies: BTreeMap<String, Arc<RevisionBody>>,
}

impl Press<'_> {
    fn print(&mut self, assignment: &Assignment, leaving: Vec<Allowed>) -> Arc<Publication> {
        let object = &self.observed.view.host;
        let spec = object.as_ref().map(|host| &host.spec);
        let publication = Publication {
            host_uid: self.observed.host_uid().to_owned(),
            host: self.observed.host_name().unwrap_or_default(),
            plan_generation: u64::try_from(assignment.generation).unwrap_or_default(),
            framework_version: self.settings.framework.to_string(),
            sandbox: sandbox(spec.map(PluginHostSpec::sandbox).unwrap_or_default()).to_owned(),
            limits: limits(self.settings),
            first_set: self.memory.state.stable.is_none(),
            target: self.set(&assignment.target),
            fallback: self.set(&assignment.fallback),
            leaving,
            bodies: self.bodies_of([&assignment.target, &assignment.fallback]),
            backends: spec.and_then(|spec| backends::told(spec, &self.observed.values)),
        };
        let same = self.memory.publications.iter().find(|old| ***old == publication);
        same.map_or_else(|| Arc::new(publication), Arc::clone)
    }

    /// Lists what an instance has of plugins that its target does not name, although the spec still does.
    fn leaving(&self, report: Option<&Report>, target: &Set) -> Vec<Allowed> {
        let reported: BTreeSet<&String> = report.iter().flat_map(|r| &r.plugins).map(|state| &state.plugin).collect();
        let left = reported.into_iter().filter(|plugin| !target.contains_key(*plugin));
        let wanted = left.filter_map(|plugin| self.catalog.entries.get(plugin)).filter(|entry| entry.is_wanted());
        let allowed =
            |entry: &Entry| Allowed { plugin: entry.name.clone(), permissions: self.permissions(entry, None) };
        wanted.map(allowed).collect()
    }

    fn set(&mut self, set: &Set) -> Vec<Told> {
        self.load_order(set).into_iter().filter_map(|plugin| self.assignment(&plugin, set.get(&plugin)?)).collect()
    }

    /// Those of unknown content come last: who has them knows what they need.
    fn load_order(&self, set: &Set) -> Vec<String> {
        let member = |(plugin, id): (&String, &RevisionId)| {
            let node = Node::of(&self.memory.known.get(id)?.content.body.manifest).ok()?;
            let priority = self.catalog.entries.get(plugin)?.object.spec.priority;
            Some((plugin.clone(), SetMember { revision: id.clone(), node, priority, place: 0 }))
        };
        let mut order = resolve::load_order(&set.iter().filter_map(member).collect());
        let rest: Vec<_> = set.keys().filter(|plugin| !order.contains(plugin)).cloned().collect();
        order.extend(rest);
        order
    }

    fn assignment(&mut self, plugin: &str, id: &RevisionId) -> Option<Told> {
        if let Some(told) = self.told.get(id) {
            return Some(told.clone());
        }
        let revision = self.memory.known.get(id).cloned();
        let told = match self.catalog.entries.get(plugin) {
            Some(entry) => self.told(entry, id, revision.as_deref()),
            None => self.held(plugin, id, revision.as_deref()),
        };
        self.told.insert(id.clone(), told.clone());
        Some(told)
    }

    fn told(&mut self, entry: &Entry, id: &RevisionId, revision: Option<&Revision>) -> Told {
        let (config, keep_config) = self.config(entry, id, revision);
        let config = config.as_ref().map(types::Map::from);
        let policies = self.policies(entry);
        Told {
            plugin: entry.name.clone(),
            revision: id.0.clone(),
            config,
            permissions: self.permissions(entry, revision),
            keep_policies: policies.is_none(),
            policies_json: serde_json::to_vec(&policies.unwrap_or_default()).unwrap_or_default().into(),
            reload_at: catalog::annotation(&entry.object, names::RELOAD_AT).to_owned(),
            keep_config,
            retry_token: self.retry_token(&entry.name),
        }
    }

    /// A plugin whose object cannot be read: its instances keep what they have, under the ceiling.
    fn held(&mut self, plugin: &str, id: &RevisionId, revision: Option<&Revision>) -> Told {
        let granted = revision.map_or_else(permission::all, |r| r.content.body.permissions.clone());
        let whole = |content: &Content| content.config_from.is_empty().then(|| content.config.clone());
        let config = self.memory.configs.get(id).cloned().or_else(|| whole(&revision?.content));
        Told {
            plugin: plugin.to_owned(),
            revision: id.0.clone(),
            config: config.as_ref().map(types::Map::from),
            permissions: names_of(granted.intersection(&self.settings.ceiling).copied()),
            policies_json: serde_json::to_vec(&Policies::default()).unwrap_or_default().into(),
            reload_at: String::new(),
            keep_config: true,
            keep_policies: true,
            retry_token: self.retry_token(plugin),
        }
    }

    /// Names the edit and the demand to retry that the rollout has taken up.
    fn retry_token(&self, plugin: &str) -> String {
        self.memory.state.tokens.get(plugin).cloned().unwrap_or_default()
    }

    /// The live configuration where it can be read and fits the revision. Else the instance keeps what it has; given is then
    /// the last one that fitted, or the one that the revision was made with, if it can be read whole.
    fn config(
        &mut self,
        entry: &Entry,
        id: &RevisionId,
        revision: Option<&Revision>,
    ) -> (Option<Map<String, Value>>, bool) {
        let spec = &entry.object.spec;
        let values = &self.observed.values;
        let live = catalog::filled(&spec.config, &spec.config_from, values);
        let Some(revision) = revision else {
            let is_unread = live.is_err();
            return (live.ok(), is_unread);
        };
        let content = &revision.content;
        let fits = |config: Map<String, Value>, from| {
            let config = catalog::typed(config, from, &content.body.manifest);
            config::apply(&content.body.manifest.config, &config).is_ok().then_some(config)
        };
        if let Some(config) = live.ok().and_then(|config| fits(config, &spec.config_from)) {
            self.memory.configs.insert(id.clone(), config.clone());
            return (Some(config), false);
        }
        let stored = || catalog::filled(&content.config, &content.config_from, values).ok();
        let known = self.memory.configs.get(id).cloned();
        let known = known.or_else(|| fits(stored()?, &content.config_from));
        (known, true)
    }

    fn permissions(&self, entry: &Entry, revision: Option<&Revision>) -> Vec<String> {
        let live = entry.object.spec.granted().unwrap_or_default();
        let ceiling = &self.settings.ceiling;
        let all = permission::all();
        let body = revision.map(|r| &r.content.body);
        let declared = body.map_or(&all, |b| &b.manifest.permissions);
        let granted = body.map_or(&all, |b| &b.permissions);
        names_of(permission::effective(declared, granted, &live, ceiling).into_iter())
    }

    /// None: they make no sense, and change nothing.
    fn policies(&self, entry: &Entry) -> Option<Policies> {
        entry.object.spec.policies(&self.observed.view.host.as_ref()?.spec).ok()
    }

    fn bodies_of(&mut self, sets: [&Set; 2]) -> BTreeMap<String, Arc<RevisionBody>> {
        let ids = sets.into_iter().flat_map(Set::values);
        ids.filter_map(|id| Some((id.0.clone(), self.body(id)?))).collect()
    }

    /// Credentials are no part of a revision: for what the spec asks for the spec's own count, else those it was made with.
    fn pull_secret(&self, revision: &Revision) -> Option<String> {
        let entry = self.catalog.entries.get(&revision.plugin);
        let live = || entry?.object.spec.pull_secret().map(str::to_owned);
        let asked = entry.and_then(|entry| entry.candidate.as_ref().ok().or(entry.unconfigured.as_ref()));
        let is_asked = asked.is_some_and(|candidate| candidate.revision.id == revision.id);
        let stored = || revision.content.pull_secret.clone();
        let name = if is_asked { live() } else { stored().or_else(live) };
        self.observed.values.get(&catalog::pull_secret_ref(name?))?.clone().ok()
    }

    fn body(&mut self, id: &RevisionId) -> Option<Arc<RevisionBody>> {
        if let Some(body) = self.bodies.get(&id.0) {
            return Some(Arc::clone(body));
        }
        let revision = self.memory.known.get(id)?;
        let content = &revision.content;
        let pull_secret = self.pull_secret(revision).unwrap_or_default();
        let body = Arc::new(RevisionBody {
            revision: id.0.clone(),
            body_json: serde_json::to_vec(&content.body).ok()?.into(),
            pull_secret_json: pull_secret.into_bytes().into(),
        });
        self.bodies.insert(id.0.clone(), Arc::clone(&body));
        Some(body)
    }
}

fn names_of(permissions: impl Iterator<Item = Permission>) -> Vec<String> {
    permissions.map(|permission| permission.name().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::{
        super::fixtures::{host, needs, observed, pass, plugin, settled},
        *,
    };
    use crate::world::ValueRef;
    use rockstar_core::limits::{Limit, Limits};
    use rockstar_crds::plugin::KeyRef;
    use rockstar_proto::control::PluginState;
    use serde_json::json;

    fn printed(observed: &Observed, memory: &mut Memory) -> BTreeMap<String, Arc<Publication>> {
        let pass = pass(observed, memory);
        publications(observed, &pass.settings, &pass.catalog, &pass.decision.plan.assignments, memory)
    }

    fn told<'a>(publications: &'a BTreeMap<String, Arc<Publication>>, plugin: &str) -> &'a Told {
        publications["web-1"].target.iter().find(|a| a.plugin == plugin).unwrap()
    }

    fn level(told: &Told) -> Value {
        told.config.as_ref().unwrap().to_json().get("level").cloned().unwrap_or_default()
    }

    #[test]
    fn what_the_target_does_not_name_leaves_in_order_unless_it_was_taken_away() {
        let mut observed = observed([plugin("auth", "1.0.0", json!({})), plugin("off", "1.0.0", json!({}))]);
        let mut memory = Memory::default();
        settled(&mut observed, &mut memory);
        let state = |plugin: &str| PluginState { plugin: plugin.into(), ..PluginState::default() };
        let report = Report {
            plugins: ["auth", "off", "gone"].map(state).into(),
            ..Report::clone(&observed.attached[0].report)
        };
        observed.attached[0].report = Arc::new(report);
        let pass = pass(&observed, &mut memory);
        let mut assignments = pass.decision.plan.assignments.clone();
        let told = assignments.get_mut("web-1").unwrap();
        told.target = Arc::new(
            told.target.iter().filter(|(name, _)| *name == "auth").map(|(n, r)| (n.clone(), r.clone())).collect(),
        );
        let made = publications(&observed, &pass.settings, &pass.catalog, &assignments, &mut memory);
        let leaving: Vec<_> = made["web-1"].leaving.iter().map(|left| left.plugin.as_str()).collect();
        assert_eq!(leaving, ["off"]);
    }

    #[test]
    fn limits_are_told_and_stay_where_they_cannot_be_read() {
        let mut observed = observed([plugin("auth", "1.0.0", json!({}))]);
        let mut memory = Memory::default();
        settled(&mut observed, &mut memory);
        let mut told = |limits: Value| {
            let spec = json!({"spec": {"limits": limits}});
            observed.view.host = Some(Arc::new(host(spec)));
            Arc::clone(&printed(&observed, &mut memory)["web-1"])
        };
        let before = told(json!({}));
        assert_eq!(Limits::told(&before.limits), Limits::default());
        let after = told(json!({"storage": "1Gi"}));
        assert_eq!(Limits::told(&after.limits).get(Limit::Storage), 1 << 30);
        assert_eq!(before.plan_generation, after.plan_generation, "limits are no rollout");
        for wrong in [json!({"storage": "much"}), json!({"treads": 10}), json!({"cache": "1Gi"})] {
            let kept = told(wrong);
            assert_eq!((kept.limits.len(), kept.target.len()), (0, 1), "instances keep what they have");
        }
    }

    #[test]
    fn dependencies_come_first_and_bodies_are_there() {
        let mut observed = observed([plugin("auth", "1.0.0", needs("cache")), plugin("cache", "1.0.0", json!({}))]);
        let mut memory = Memory::default();
        settled(&mut observed, &mut memory);
        let publication = Arc::clone(&printed(&observed, &mut memory)["web-1"]);
        let order: Vec<_> = publication.target.iter().map(|a| a.plugin.as_str()).collect();
        assert_eq!(order, ["cache", "auth"]);
        assert_eq!(
            (publication.bodies.len(), publication.host.as_str(), publication.sandbox.as_str()),
            (2, "shop/storefront", "Required")
        );
        let again = printed(&observed, &mut memory);
        assert!(Arc::ptr_eq(&publication, &again["web-1"]), "what is the same is the same object");
    }

    #[test]
    fn what_is_taken_away_is_taken_at_once() {
        let granted = json!({"spec": {"permissions": {"cache": true, "network": true}}});
        let mut observed = observed([plugin("a", "1.0.0", granted)]);
        let mut memory = Memory::default();
        settled(&mut observed, &mut memory);
        assert_eq!(told(&printed(&observed, &mut memory), "a").permissions, ["cache", "network"]);
        let paused = json!({"spec": {"permissionCeiling": ["cache"], "rollout": {"paused": true}}});
        observed.view.host = Some(Arc::new(host(paused)));
        assert_eq!(told(&printed(&observed, &mut memory), "a").permissions, ["cache"]);
    }

    #[test]
    fn a_configuration_that_does_not_fit_leaves_the_last_one() {
        let with = |level: Value| plugin("a", "1.0.0", json!({"spec": {"config": {"level": level}}}));
        let mut before = observed([with(json!("debug"))]);
        let mut memory = Memory::default();
        settled(&mut before, &mut memory);
        assert_eq!(level(told(&printed(&before, &mut memory), "a")), "debug");
        before.view.plugins = observed([with(json!(7))]).view.plugins;
        assert_eq!(level(told(&printed(&before, &mut memory), "a")), "debug");
        before.view.plugins = observed([with(json!("warn"))]).view.plugins;
        assert_eq!(
            level(told(&printed(&before, &mut memory), "a")),
            "warn",
            "another configuration is no other revision"
        );
    }

    #[test]
    fn a_secret_that_is_missing_takes_no_value_away() {
        let at = KeyRef { name: "s".into(), key: "k".into() };
        let from = json!({"spec": {"configFrom": [{"key": "level", "secretKeyRef": {"name": "s", "key": "k"}}]}});
        let mut observed = observed([plugin("a", "1.0.0", from)]);
        observed.values = [(ValueRef::Secret(at.clone()), Ok("debug".into()))].into();
        let mut memory = Memory::default();
        settled(&mut observed, &mut memory);
        assert_eq!(level(told(&printed(&observed, &mut memory), "a")), "debug");
        observed.values = [(ValueRef::Secret(at), Err("gone".into()))].into();
        let kept = printed(&observed, &mut memory);
        assert_eq!((level(told(&kept, "a")), told(&kept, "a").keep_config), (json!("debug"), true));
        let mut successor = Memory { state: memory.state.clone(), ..Memory::default() };
        let kept = printed(&observed, &mut successor);
        assert!(told(&kept, "a").keep_config, "another leader does not know the value, and changes nothing");
    }

    #[test]
    fn durations_that_make_no_sense_change_nothing() {
        let limited = |text: &str| plugin("auth", "1.0.0", json!({"spec": {"hookTimeout": text}}));
        let mut observed = observed([limited("7s")]);
        let mut memory = Memory::default();
        settled(&mut observed, &mut memory);
        let is_kept = |observed: &Observed, memory: &mut Memory| told(&printed(observed, memory), "auth").keep_policies;
        assert!(!is_kept(&observed, &mut memory));
        observed.view.plugins = super::super::fixtures::observed([limited("0s")]).view.plugins;
        assert!(is_kept(&observed, &mut memory), "instances keep their seven seconds");
        let mut successor = Memory { state: memory.state.clone(), ..Memory::default() };
        assert!(is_kept(&observed, &mut successor), "a leader that never saw them knows no better");
    }

    #[test]
    fn a_pull_secret_that_is_added_later_is_used() {
        let source = |secret: Value| {
            let oci =
                json!({"image": "r.example/a", "digest": format!("sha256:{}", "0".repeat(64)), "pullSecret": secret});
            plugin("a", "1.0.0", json!({"spec": {"source": {"path": null, "oci": oci}}}))
        };
        let mut observed = observed([source(Value::Null)]);
        let mut memory = Memory::default();
        settled(&mut observed, &mut memory);
        let made = pass(&observed, &mut memory).catalog.entries["a"].candidate.as_ref().unwrap().revision.clone();
        observed.view.revisions = vec![made];
        observed.view.plugins = super::super::fixtures::observed([source(json!("regcred"))]).view.plugins;
        let at = catalog::pull_secret_ref("regcred".into());
        observed.values = [(at, Ok("{}".to_owned()))].into();
        let publication = Arc::clone(&printed(&observed, &mut memory)["web-1"]);
        let secrets: Vec<_> = publication.bodies.values().map(|body| body.pull_secret_json.clone()).collect();
        assert_eq!(secrets, ["{}"]);
    }
}
