//! Takes plugins and permissions away from instances. It decides from live objects and from what each stream was told, beside
//! the passes, so that no read, write or failure of a pass holds it up. Pure, but for the handing over.

use super::{Tools, catalog, plan};
use crate::{
    control::{Attached, Identity},
    host::HostKey,
    world::{Unreadable, View, World},
};
use rockstar_core::{
    permission::{self, Permission, Permissions},
    rollout::State,
};
use rockstar_crds::Plugin;
use rockstar_proto::control::{Allowed, Withdraw};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout};

/// Between two looks, so that a burst of changes is one.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
/// Looks so often without a bell, because an instance may follow another host, whose bell it does not hear.
const IDLE_INTERVAL: Duration = Duration::from_secs(5);

/// Takes away from the instances of one host, until dropped.
pub(super) async fn run(tools: &Tools, host: &HostKey) {
    let bell = tools.bells.withdrawals_of(host);
    loop {
        let began = Instant::now();
        take_away(tools, host);
        sleep(began.elapsed().max(SHORTEST_PAUSE)).await;
        drop(timeout(IDLE_INTERVAL, bell.notified()).await);
    }
}

/// Tells each attached instance what it may not run or use any more.
pub fn take_away(tools: &Tools, host: &HostKey) {
    let world = tools.world.as_ref();
    let attached = tools.hub.attached(host);
    if attached.is_empty() || world.is_held(&host.namespace) {
        return;
    }
    let mut allowances: BTreeMap<HostKey, Allowance> = BTreeMap::new();
    for instance in &attached {
        let pod = Identity { namespace: host.namespace.clone(), pod: instance.pod.clone(), uid: instance.uid.clone() };
        // Closes the stream of a pod whose label names another host now; it comes back to that one.
        if world.host_of(&pod).is_some_and(|other| other != *host) {
            tools.hub.close(host, &instance.uid);
            continue;
        }
        let followed = followed(instance, host);
        let allowance = allowances.entry(followed).or_insert_with_key(|key| Allowance::of(world, key));
        let withdrawal = allowance.withdrawal(instance);
        if withdrawal != Withdraw::default() {
            tools.hub.withdraw(host, &instance.uid, withdrawal);
        }
    }
}

/// Returns the host whose plugins the instance has: another one, where the pod's label was changed and its new host has told
/// it nothing yet.
fn followed(instance: &Attached, host: &HostKey) -> HostKey {
    let named = instance.report.host.split_once('/').filter(|_| instance.told.is_none());
    let other = named.filter(|(namespace, name)| *namespace == host.namespace && *name != host.name);
    other.map_or_else(|| host.clone(), |(namespace, name)| HostKey::new(namespace, name))
}

/// The permissions that each plugin of a host may still use; a plugin that is absent may not run.
#[derive(Default)]
struct Allowance {
    permissions: BTreeMap<String, Permissions>,
    /// Plugins whose object cannot be read: they stay.
    unreadable: BTreeSet<String>,
    /// An object cannot be read so far that it is not known which plugin it is: nothing is taken for deleted.
    all_stay: bool,
    /// The host is switched off.
    disabled: bool,
}

impl Allowance {
    /// Allows nothing where there is neither the host nor anything that belongs to it.
    fn of(world: &dyn World, host: &HostKey) -> Self {
        world.view(host).map_or_else(Self::default, |view| Self::new(&view))
    }

    fn new(view: &View) -> Self {
        let stored = || view.host.as_ref()?.status.as_ref()?.rollout.clone();
        // The stored tokens tell which plugin an unreadable object is.
        let state = if view.unreadable.is_empty() { None } else { stored() }.unwrap_or_default();
        Self::with(view, &state)
    }

    fn with(view: &View, state: &State) -> Self {
        let host = view.host.as_ref().map(|host| &host.spec);
        // A ceiling that makes no sense is reported, and takes nothing away.
        let ceiling = host.and_then(|spec| spec.ceiling().ok()).unwrap_or_else(permission::all);
        let disabled = host.is_some_and(|spec| !spec.enabled);
        let (objects, _) = catalog::by_name(view);
        let allowed = |object: &Arc<Plugin>| {
            let granted = object.spec.granted().unwrap_or_else(|_| permission::all());
            granted.intersection(&ceiling).copied().collect::<Permissions>()
        };
        let named = view.unreadable.iter().filter_map(|object| object.plugin.clone());
        let is_known = |object: &Unreadable| state.tokens.values().any(|token| plan::is_token_of(token, object));
        let runs = objects.iter().filter(|(_, object)| catalog::may_run(object));
        Self {
            permissions: runs.map(|(name, object)| (name.clone(), allowed(object))).collect(),
            unreadable: plan::held(view, state).into_iter().chain(named).collect(),
            all_stay: view.unreadable.iter().any(|object| object.plugin.is_none() && !is_known(object)),
            disabled,
        }
    }

    fn withdrawal(&self, instance: &Attached) -> Withdraw {
        let mut told: BTreeMap<&String, BTreeSet<&str>> = BTreeMap::new();
        for (plugin, permissions) in instance.told.iter().flat_map(|publication| publication.permissions()) {
            told.entry(plugin).or_default().extend(permissions.iter().map(String::as_str));
        }
        let reported = instance.report.plugins.iter().map(|state| &state.plugin);
        let names: BTreeSet<&String> = reported.chain(told.keys().copied()).collect();
        let may_have =
            |plugin: &String, permission: &str| told.get(plugin).is_none_or(|given| given.contains(permission));
        let mut withdrawal = Withdraw::default();
        for name in names {
            match self.permissions.get(name) {
                Some(_) if self.disabled => withdrawal.plugins.push(name.clone()),
                Some(allowed) => {
                    let excess = permission::all().difference(allowed).any(|p| may_have(name, p.name()));
                    withdrawal.permissions.extend(excess.then(|| told_allowed(name, allowed)));
                }
                None if self.stays(name) => {}
                None => withdrawal.plugins.push(name.clone()),
            }
        }
        withdrawal
    }

    fn stays(&self, plugin: &str) -> bool {
        !self.disabled && (self.all_stay || self.unreadable.contains(plugin))
    }
}

fn told_allowed(plugin: &str, allowed: &Permissions) -> Allowed {
    let names = allowed.iter().map(|p: &Permission| p.name().to_owned());
    Allowed { plugin: plugin.to_owned(), permissions: names.collect() }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            fixtures::{attached, host, observed, plugin, settled},
            memory::Memory,
            observe::Observed,
        },
        *,
    };
    use crate::control::Publication;
    use rockstar_proto::control::Assignment;
    use serde_json::{Value, json};

    /// The view changes after everything has settled.
    fn withdrawn(before: &[Value], after: &[Value], change: impl Fn(&mut Observed)) -> Withdraw {
        let mut observed = observed(before.to_vec());
        let mut memory = Memory::default();
        settled(&mut observed, &mut memory);
        observed.view.plugins = super::super::fixtures::observed(after.to_vec()).view.plugins;
        change(&mut observed);
        Allowance::with(&observed.view, &memory.state).withdrawal(&observed.attached[0])
    }

    fn granted(names: &[&str]) -> Value {
        let given: serde_json::Map<_, _> = names.iter().map(|n| (n.to_string(), json!(true))).collect();
        plugin("a", "1.0.0", json!({"spec": {"permissions": given}}))
    }

    #[test]
    fn what_is_deleted_or_disabled_goes() {
        let a = || plugin("a", "1.0.0", json!({}));
        let off = plugin("a", "1.0.0", json!({"spec": {"enabled": false}}));
        let going = plugin("a", "1.0.0", json!({"metadata": {"deletionTimestamp": "1970-01-01T00:00:00Z"}}));
        for after in [vec![], vec![off], vec![going]] {
            assert_eq!(withdrawn(&[a()], &after, |_| ()).plugins, ["a"]);
        }
        assert_eq!(withdrawn(&[a()], &[], |o| o.view.host = None).plugins, ["a"], "also without its host");
        let off = |o: &mut Observed| o.view.host = Some(Arc::new(host(json!({"spec": {"enabled": false}}))));
        assert_eq!(withdrawn(&[a()], &[a()], off).plugins, ["a"]);
        assert_eq!(withdrawn(&[a()], &[a()], |_| ()).plugins, Vec::<String>::new());
    }

    #[test]
    fn permissions_shrink_to_what_spec_and_ceiling_leave() {
        let left = |w: Withdraw| w.permissions.into_iter().map(|a| a.permissions).collect::<Vec<_>>();
        let both = granted(&["cache", "network"]);
        assert_eq!(left(withdrawn(std::slice::from_ref(&both), &[granted(&["cache"])], |_| ())), [["cache"]]);
        let lowered = |o: &mut Observed| {
            o.view.host = Some(Arc::new(host(json!({"spec": {"permissionCeiling": ["network"]}}))));
        };
        assert_eq!(left(withdrawn(&[both], &[granted(&["cache", "network"])], lowered)), [["network"]]);
    }

    #[test]
    fn an_instance_that_was_told_nothing_yet_is_told_all_limits() {
        let view = observed([granted(&["cache"])]).view;
        let instance = attached("web-1", 7, &[("a", "a-1")]);
        let told = Allowance::new(&view).withdrawal(&instance);
        assert_eq!(told.permissions[0].permissions, ["cache"]);
    }

    #[test]
    fn what_an_instance_would_go_back_to_counts() {
        let view = observed([granted(&["cache"])]).view;
        let given = |permission: &str| Assignment {
            plugin: "a".into(),
            permissions: vec![permission.into()],
            ..Assignment::default()
        };
        let mut instance = attached("web-1", 7, &[("a", "a-2")]);
        for (fallback, limits) in [("cache", 0), ("network", 1)] {
            let told =
                Publication { target: vec![given("cache")], fallback: vec![given(fallback)], ..Publication::default() };
            instance.told = Some(Arc::new(told));
            assert_eq!(Allowance::new(&view).withdrawal(&instance).permissions.len(), limits, "{fallback}");
        }
    }

    #[test]
    fn a_relabelled_pod_has_what_its_former_host_allows_until_it_is_told_something() {
        let host = HostKey::new("shop", "storefront");
        let mut instance = attached("web-1", 7, &[("a", "a-1")]);
        let says = |instance: &mut Attached, name: &str| Arc::make_mut(&mut instance.report).host = name.to_owned();
        for (named, followed_by) in [("", "storefront"), ("shop/storefront", "storefront"), ("shop/back", "back")] {
            says(&mut instance, named);
            assert_eq!(followed(&instance, &host), HostKey::new("shop", followed_by), "{named}");
        }
        says(&mut instance, "elsewhere/back");
        assert_eq!(followed(&instance, &host), host, "its namespace is its own");
        says(&mut instance, "shop/back");
        instance.told = Some(Arc::default());
        assert_eq!(followed(&instance, &host), host);
    }

    #[test]
    fn what_cannot_be_read_stays() {
        let a = || plugin("a", "1.0.0", json!({}));
        let unreadable = |name: Option<&str>| Unreadable {
            name: "a".into(),
            uid: name.unwrap_or("a").into(),
            generation: Some(1),
            plugin: name.map(str::to_owned),
            host: None,
            status: None,
            error: "unknown variant".into(),
        };
        for name in [Some("a"), None] {
            let told = withdrawn(&[a()], &[], |o| o.view.unreadable = vec![unreadable(name)]);
            assert_eq!(told, Withdraw::default());
        }
        let told = withdrawn(&[a()], &[], |o| o.view.unreadable = vec![unreadable(Some("b"))]);
        assert_eq!(told.plugins, ["a"]);
    }
}
