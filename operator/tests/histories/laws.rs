//! What must hold, told from what the pods truly do and what the API server shows; nothing here knows the planner.

use crate::{
    api::Written,
    pod::Pod,
    sidecar::{Happened, Slot, revision_of},
    simulation::{HOSTS, Simulation},
};
use rockstar_core::{permission::Permission, rollout::State};
use rockstar_crds::{Plugin, PluginStatus};
use rockstar_operator::{host::HostKey, world::PodPhase};
use rockstar_sidecar::{slot::Status, target::Target};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// What is shown may be behind the truth by so much.
const LAG: i64 = 5_000;
/// A pod that is away is passed over for so long, and a leader that begins knows little for half of it.
const AWAY: i64 = 60_000;
/// What is taken away is gone everywhere connected after so long.
const TAKEN: i64 = 8_000;
/// So long after a snapshot a sidecar has done what it can.
const READY: i64 = 20_000;

#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) law: &'static str,
    pub(crate) text: String,
    pub(crate) at: i64,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:.3} s: {}", self.law, self.at as f64 / 1000.0, self.text)
    }
}

/// What the policy of a host allows at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Allowed {
    /// Instances in flight.
    window: usize,
    /// Instances that have anything that is not stable.
    holders: usize,
}

/// What was seen so far.
#[derive(Debug, Default)]
pub(crate) struct Laws {
    /// When a revision was first proved by anyone.
    first_proof: BTreeMap<String, i64>,
    /// The pods in which a revision failed, and whether others may be to blame.
    failed: BTreeMap<String, BTreeMap<String, bool>>,
    /// By host: what its policy allowed of late, and until when.
    allowed: BTreeMap<&'static str, Vec<(i64, Allowed)>>,
    /// By host: plugins that are gone from the spec, since when.
    taken: BTreeMap<(String, String), i64>,
    /// By host: when a plugin was gone from the spec last.
    gone: BTreeMap<(String, String), i64>,
    /// By pod and revision: required plugins that were taken away beside it.
    lone: BTreeSet<(String, String, String)>,
    forbidden_at: i64,
    last_step: i64,
    looked_at: i64,
    /// The status of each Plugin does not change from here on.
    pub(crate) frozen: bool,
    pub(crate) promotions: usize,
    pub(crate) condemnations: usize,
}

/// A dependency that nothing meets.
#[derive(Debug)]
struct Unmet {
    dependent: String,
    plugin: String,
    is_taken_away: bool,
    text: String,
}

impl Laws {
    /// The API server told nothing, or something wrong, until now.
    pub(crate) const fn note_disturbance(&mut self, now: i64) {
        self.forbidden_at = now;
    }

    pub(crate) fn note_step(&mut self, now: i64) {
        self.last_step = now;
    }
}

fn runs_up<'a>(pod: &'a Pod, plugin: &str) -> Option<&'a str> {
    let slot = pod.sidecar.process.as_ref()?.slots.get(plugin)?;
    slot.current.as_ref().filter(|_| slot.status == Status::Running).map(revision_of)
}

/// Describes what a pod runs, for a trace.
fn runs(pod: &Pod) -> String {
    let slots = pod.sidecar.process.iter().flat_map(|p| &p.slots);
    let shown = slots.map(|(name, slot)| {
        let current =
            slot.current.as_ref().map_or_else(|| format!("{name} nothing"), |t| format!("{name} {}", t.version()));
        format!("; {current} {:?}", slot.status)
    });
    shown.collect()
}

/// It runs a revision that it has not proven.
fn on_trial(pod: &Pod) -> impl Iterator<Item = &str> {
    let slots = pod.sidecar.process.iter().flat_map(|p| p.slots.values());
    slots.filter(|s| !s.proven).filter_map(|s| s.current.as_ref()).filter(|t| !t.stable).map(revision_of)
}

/// It replaces nothing: the stable set has no such plugin.
fn is_newcomer(pod: &Pod, revision: &str, state: &State) -> bool {
    let slots = pod.sidecar.process.iter().flat_map(|p| &p.slots);
    let mut own = slots.filter(|(_, slot)| slot.current.as_ref().map(revision_of) == Some(revision));
    own.any(|(plugin, _)| state.stable.as_ref().is_some_and(|stable| !stable.contains_key(plugin)))
}

fn lives(pod: &Pod) -> bool {
    pod.is_running() && pod.gone_at.is_none()
}

impl Simulation {
    pub(crate) fn violation(&self, law: &'static str, text: String) -> Violation {
        Violation { law, text, at: self.now - 1_700_000_000_000 }
    }

    fn of_host<'a>(&'a self, host: &'a str) -> impl Iterator<Item = &'a Pod> {
        self.pods.values().filter(move |pod| pod.host == host && lives(pod))
    }

    /// Takes up what the sidecars did since the last look.
    pub(crate) fn note_happened(&mut self) -> Result<(), Violation> {
        let now = self.now;
        let mut happened = Vec::new();
        for pod in self.pods.values_mut() {
            let news = pod.take_happened();
            happened.extend(news.into_iter().map(|h| (pod.uid.clone(), h)));
        }
        for (uid, what) in happened {
            self.log(|| format!("{uid} {what:?}{}", self.pods.get(&uid).map(runs).unwrap_or_default()));
            match what {
                Happened::Proved { revision } => {
                    if let Some(pod) = self.pods.get_mut(&uid) {
                        pod.sidecar.truth.proved.insert(revision.clone());
                    }
                    self.laws.first_proof.entry(revision).or_insert(now);
                }
                Happened::Failed { revision, shared } => {
                    let failures = self.laws.failed.entry(revision).or_default();
                    let shared = shared && failures.get(&uid).copied().unwrap_or(true);
                    failures.insert(uid, shared);
                }
                Happened::Began { revision, replaces_down } => self.check_began(&uid, &revision, replaces_down)?,
                Happened::Moved => self.check_constraints(&uid)?,
            }
        }
        Ok(())
    }

    pub(crate) fn note_truth(&mut self) {
        let now = self.now;
        for host in HOSTS {
            let allowed = self.allowed(host);
            let recent = self.laws.allowed.entry(host).or_default();
            recent.retain(|(at, _)| now - at <= LAG);
            if recent.last().is_none_or(|(_, last)| *last != allowed) {
                recent.push((now, allowed));
            } else if let Some(last) = recent.last_mut() {
                last.0 = now;
            }
        }
        for pod in self.pods.values_mut().filter(|p| p.is_running()) {
            let attached = pod.is_attached();
            pod.sidecar.note_truth(attached, now);
        }
    }

    fn threshold(&self, host: &str) -> usize {
        let object = self.store.lock().hosts.get(host).cloned();
        let policy = object.and_then(|object| object.spec.rollout_policy().ok()).unwrap_or_default();
        (policy.failure_threshold as usize).min(self.of_host(host).count()).max(1)
    }

    fn allowed(&self, host: &str) -> Allowed {
        let desired = self.of_host(host).count();
        let object = self.store.lock().hosts.get(host).cloned();
        let policy = object.and_then(|object| object.spec.rollout_policy().ok()).unwrap_or_default();
        Allowed {
            window: policy.max_unavailable.of(desired).max(1),
            holders: desired.saturating_sub(policy.partition.of(desired)),
        }
    }

    // ---- Window and canary ----

    fn check_began(&mut self, uid: &str, revision: &str, replaces_down: bool) -> Result<(), Violation> {
        let Some(pod) = self.pods.get_mut(uid) else { return Ok(()) };
        let again = !pod.sidecar.truth.began.insert(revision.to_owned());
        let Some(pod) = self.pods.get(uid) else { return Ok(()) };
        let state = self.store.lock().rollout(&pod.host);
        // One that is on its way out counts for nothing any more.
        if again || !lives(pod) || !pod.sidecar.served() || state.stable.is_none() {
            return Ok(());
        }
        let is_in_flight = |p: &&&Pod| on_trial(p).next().is_some();
        let served = |p: &&Pod| p.uid != uid && p.sidecar.served();
        let others: Vec<&Pod> = self.of_host(&pod.host).filter(served).collect();
        if !self.laws.first_proof.contains_key(revision) {
            let trying = others.iter().find(|p| on_trial(p).any(|r| r == revision));
            if let Some(other) = trying {
                let text = format!("{} begins {revision}, that {} tries and nobody has proven", pod.name, other.name);
                return Err(self.violation("one tries first", text));
            }
        }
        self.check_partition(uid, revision)?;
        let in_flight = 1 + others.iter().filter(is_in_flight).count();
        let recent = self.laws.allowed.get(pod.host.as_str());
        let widest = recent.into_iter().flatten().map(|(_, a)| a.window).max().unwrap_or(1);
        let spares = replaces_down || is_newcomer(pod, revision, &state);
        if in_flight > widest && !spares {
            let names: Vec<&str> = others.iter().filter(is_in_flight).map(|p| p.name.as_str()).collect();
            let text =
                format!("{} begins {revision} beside {names:?}: {in_flight} in flight, window {widest}", pod.name);
            return Err(self.violation("window", text));
        }
        Ok(())
    }

    /// So many instances have nothing but what is stable.
    fn check_partition(&self, uid: &str, revision: &str) -> Result<(), Violation> {
        let Some(pod) = self.pods.get(uid) else { return Ok(()) };
        let stable = self.store.lock().rollout(&pod.host).stable.unwrap_or_default();
        let is_stable = |slot: &Slot| {
            let current = slot.current.as_ref();
            current.is_none_or(|t| t.stable || stable.get(t.name()).is_some_and(|r| r.0 == revision_of(t)))
        };
        // One that had, or was told, something else that is not stable goes on so.
        let told = pod.sidecar.disk.snapshot.iter().flat_map(|s| &s.target);
        let mut others =
            told.filter(|t| t.revision != revision && stable.get(&t.plugin).is_none_or(|r| r.0 != t.revision));
        if pod.sidecar.truth.holds || others.next().is_some() {
            return Ok(());
        }
        let holds = |p: &&Pod| p.sidecar.process.iter().flat_map(|p| p.slots.values()).any(|slot| !is_stable(slot));
        let holders = self.of_host(&pod.host).filter(holds).count();
        let recent = self.laws.allowed.get(pod.host.as_str());
        let most = recent.into_iter().flatten().map(|(_, a)| a.holders).max().unwrap_or(usize::MAX);
        if holders > most {
            let text = format!("{} begins {revision}: {holders} have what is not stable, {most} may", pod.name);
            return Err(self.violation("partition", text));
        }
        Ok(())
    }

    // ---- Constraints ----

    /// In what runs, dependencies are met: those on something that was taken away excepted, also once what ran without it
    /// comes back.
    fn check_constraints(&mut self, uid: &str) -> Result<(), Violation> {
        for unmet in self.unmet(uid) {
            let lone = (uid.to_owned(), unmet.dependent, unmet.plugin);
            if unmet.is_taken_away {
                self.laws.lone.insert(lone);
            } else if !self.laws.lone.contains(&lone) {
                return Err(self.violation("constraint", unmet.text));
            }
        }
        Ok(())
    }

    fn unmet(&self, uid: &str) -> Vec<Unmet> {
        let Some(pod) = self.pods.get(uid) else { return Vec::new() };
        let Some(process) = &pod.sidecar.process else { return Vec::new() };
        let running: BTreeMap<&str, _> =
            process.slots.iter().filter_map(|(n, s)| Some((n.as_str(), s.current.as_ref()?))).collect();
        let mut unmet = Vec::new();
        for (name, target) in &running {
            for need in &target.body.manifest.dependencies {
                let (Ok(constraint), found) = (need.constraint(), running.get(need.name.as_str())) else { continue };
                let is_met = found.map_or(need.optional, |other| constraint.matches(&other.body.manifest.version));
                if !is_met {
                    let beside = found.map_or_else(|| "nothing".to_owned(), |other| other.version());
                    unmet.push(Unmet {
                        dependent: revision_of(target).to_owned(),
                        plugin: need.name.clone(),
                        is_taken_away: found.is_none() && !self.is_to_run(pod, &need.name, target),
                        text: format!("{}: {name} {} beside {} {beside}", pod.name, target.version(), need.name),
                    });
                }
            }
        }
        unmet
    }

    /// Excuses what runs without a plugin that is being taken away.
    pub(crate) fn note_gone(&mut self, host: &str, plugin: char) {
        let plugin = plugin.to_string();
        self.laws.gone.insert((host.to_owned(), plugin.clone()), self.now);
        for pod in self.pods.values() {
            let current = pod.sidecar.process.iter().flat_map(|p| p.slots.values()).filter_map(|s| s.current.as_ref());
            let requires = |t: &&Target| t.body.manifest.dependencies.iter().any(|need| need.name == plugin);
            for target in current.filter(requires) {
                self.laws.lone.insert((pod.uid.clone(), revision_of(target).to_owned(), plugin.clone()));
            }
        }
    }

    /// It is asked for. Beside a dependent that is stable, or was here before, it may have been taken away, and not be back.
    fn is_to_run(&self, pod: &Pod, plugin: &str, dependent: &Target) -> bool {
        let store = self.store.lock();
        let is_stable = |plugin| store.rollout(&pod.host).stable.is_some_and(|stable| stable.contains_key(plugin));
        if dependent.stable && !is_stable(plugin) {
            return false;
        }
        // While no set is stable there may be nothing to go back to: it is down there, as if it had crashed.
        let slot = pod.sidecar.process.iter().find_map(|p| p.slots.get(plugin));
        let has_failed = slot.is_some_and(|slot| slot.current.is_none() && slot.status == Status::Error);
        if has_failed && store.rollout(&pod.host).stable.is_none() {
            return false;
        }
        let gone = self.laws.gone.get(&(pod.host.clone(), plugin.to_owned()));
        let slots = pod.sidecar.process.iter().flat_map(|p| p.slots.get(dependent.name()));
        if slots.into_iter().any(|slot| gone.is_some_and(|gone| slot.since <= *gone + TAKEN)) {
            return false;
        }
        let object = store.plugins.get(&format!("{}-{plugin}", pod.host));
        object.is_some_and(|p| p.spec.enabled && p.metadata.deletion_timestamp.is_none())
    }

    // ---- What is written ----

    pub(crate) fn check_laws(&mut self) -> Result<(), Violation> {
        let written = std::mem::take(&mut self.store.lock().written);
        for write in written {
            match write {
                Written::Rollout { host, old, new } => self.check_rollout(&host, &old, &new)?,
                Written::Plugin { name, old } => self.check_status(&name, old.as_deref())?,
            }
        }
        if self.now - self.laws.looked_at >= 1_000 {
            self.laws.looked_at = self.now;
            self.check_standing()?;
            self.check_taken_away()?;
            self.check_pods()?;
        }
        Ok(())
    }

    fn check_rollout(&mut self, host: &HostKey, old: &State, new: &State) -> Result<(), Violation> {
        self.log(|| {
            format!(
                "rollout {} plan {} stable {:?} target {:?} failed {:?}",
                host.name,
                new.plan_generation,
                new.stable.iter().flatten().map(|(_, r)| &r.0).collect::<Vec<_>>(),
                new.target.iter().flatten().map(|(_, r)| &r.0).collect::<Vec<_>>(),
                new.failed.values().map(|f| &f.revision.0).collect::<Vec<_>>(),
            )
        });
        if new.plan_generation < old.plan_generation {
            return Err(self.violation("plan generation", "it fell".to_owned()));
        }
        for (plugin, failed) in &new.failed {
            let revision = &failed.revision.0;
            if old.failed.get(plugin).map(|f| &f.revision) == Some(&failed.revision) {
                continue;
            }
            self.laws.condemnations += 1;
            let failures = self.laws.failed.get(revision);
            let threshold = self.threshold(&host.name);
            let own = failures.is_some_and(|f| f.values().any(|shared| !shared) || f.len() >= threshold);
            if !own {
                let text = format!("{revision} has failed nowhere by itself");
                return Err(self.violation("condemned", text));
            }
        }
        let before = old.stable.clone().unwrap_or_default();
        for (plugin, revision) in new.stable.iter().flatten() {
            if before.get(plugin) != Some(revision) {
                self.laws.promotions += 1;
                self.check_promotion(&host.name, &revision.0, old.stable.is_some())?;
            }
        }
        Ok(())
    }

    /// Every pod that should serve has proven it.
    fn check_promotion(&self, host: &str, revision: &str, gated: bool) -> Result<(), Violation> {
        let laws = &self.laws;
        // A pod that ended well has proved what it ran.
        let ended_with = |pod: &Pod| {
            let ran = |(of, _): &(String, i64)| of == revision;
            pod.phase == PodPhase::Succeeded && pod.sidecar.truth.up.values().any(ran)
        };
        let proved = |pod: &Pod| pod.sidecar.truth.proved.contains(revision) || ended_with(pod);
        if !self.pods.values().any(proved) && !laws.first_proof.contains_key(revision) {
            return Err(self.violation("promoted", format!("{revision} is promoted and nobody has proven it")));
        }
        let proof = laws.first_proof.get(revision).copied().unwrap_or(self.now);
        for pod in self.of_host(host).filter(|p| !proved(p)) {
            let old = pod.sidecar.truth.served_since.is_some_and(|since| self.now - since > LAG);
            let serves = pod.shown_ready || pod.link.is_some();
            let later = pod.created > proof && pod.ends_at.is_some();
            if gated && old && serves && !later {
                let text = format!("{revision} is promoted, and {} has not proven it", pod.name);
                return Err(self.violation("promoted", text));
            }
        }
        Ok(())
    }

    fn check_status(&mut self, name: &str, old: Option<&PluginStatus>) -> Result<(), Violation> {
        let Some(object) = self.store.lock().plugins.get(name).cloned() else { return Ok(()) };
        self.log(|| format!("status {name}: {}", shown(&object)));
        if self.laws.frozen && old.map(essence) != object.status.as_ref().map(essence) {
            let text = format!("{name}: {:?} became {:?}", old.map(essence), object.status.as_ref().map(essence));
            return Err(self.violation("status moves", text));
        }
        if let Some(revision) = claims_ready(&object) {
            let plugin = plugin_of(name);
            for pod in self.should_serve(&object.spec.host, LAG) {
                self.check_runs(pod, plugin, &revision, name, LAG)?;
            }
        }
        Ok(())
    }

    /// What is gone from the spec runs nowhere that the operator can reach.
    fn check_taken_away(&mut self) -> Result<(), Violation> {
        let now = self.now;
        let mut taken = std::mem::take(&mut self.laws.taken);
        for host in HOSTS {
            for plugin in ["a", "b", "c", "d"] {
                let key = (host.to_owned(), plugin.to_owned());
                let network = (host.to_owned(), format!("{plugin}'s network"));
                match self.granted(host, plugin) {
                    None => {
                        taken.entry(key).or_insert(now);
                        taken.remove(&network);
                    }
                    Some(granted) => {
                        taken.remove(&key);
                        if granted {
                            taken.remove(&network);
                        } else {
                            taken.entry(network).or_insert(now);
                        }
                    }
                }
            }
        }
        if self.store.lock().forbidden {
            self.laws.forbidden_at = now;
        }
        let may_act = now - self.leads_since.max(self.laws.forbidden_at) > TAKEN;
        let leads = self.leader.is_some() && may_act;
        for ((host, what), since) in taken.iter().filter(|(_, since)| leads && now - **since > TAKEN) {
            for pod in self.pods.values().filter(|pod| lives(pod) && pod.follows() == host) {
                // News of a host that is not its own reach it later.
                let slack = if pod.host == *host { TAKEN } else { 2 * TAKEN };
                if now - since <= slack {
                    continue;
                }
                let attached = pod.sidecar.truth.attached_since.is_some_and(|at| now - at > slack);
                let plugin = &what[..1];
                let slot = pod.sidecar.process.as_ref().and_then(|p| p.slots.get(plugin));
                let Some(current) = slot.and_then(|s| s.current.as_ref()) else { continue };
                let network = current.assignment.permissions.contains(&Permission::Network);
                if attached && (what.len() == 1 || network) {
                    let text = format!("{} has {what}, that was taken away {} ms ago", pod.name, now - since);
                    return Err(self.violation("taken away", text));
                }
            }
        }
        self.laws.taken = taken;
        Ok(())
    }

    /// None: the plugin is not to run; else whether it may use the network.
    fn granted(&self, host: &str, plugin: &str) -> Option<bool> {
        let store = self.store.lock();
        let name = format!("{host}-{plugin}");
        let is_garbled = store.garbled.contains(&name);
        let object = store.plugins.get(&name).filter(|p| p.spec.enabled || is_garbled)?;
        Some(is_garbled || object.spec.permissions.get("network").copied().unwrap_or_default())
    }

    /// A pod that says it is ready has all Closed plugins of its stable set, and each configuration with its Secrets.
    fn check_pods(&self) -> Result<(), Violation> {
        for pod in self.pods.values().filter(|p| lives(p)) {
            let (Some(process), Some(snapshot)) = (&pod.sidecar.process, &pod.sidecar.disk.snapshot) else { continue };
            for slot in process.slots.values().filter(|s| s.status == Status::Running) {
                let Some(current) = slot.current.as_ref().filter(|t| t.name() == "c") else { continue };
                if !current.assignment.config.contains_key("key") {
                    return Err(self.violation("configuration", format!("{}: c lacks its Secret", pod.name)));
                }
            }
            let quiet = self.now - pod.sidecar.truth.quiet_since > READY;
            if !quiet || !pod.sidecar.is_ready(self.now) {
                continue;
            }
            for told in snapshot.target.iter().filter(|a| snapshot.fallback.iter().any(|f| f.plugin == a.plugin)) {
                let policies = String::from_utf8_lossy(&told.policies_json);
                if policies.contains("Closed") && process.slots.get(&told.plugin).is_none_or(|s| s.current.is_none()) {
                    let text = format!("{} is ready without {}, which is Closed and stable", pod.name, told.plugin);
                    return Err(self.violation("ready without", text));
                }
            }
        }
        Ok(())
    }

    /// What stands in a status for long is true.
    fn check_standing(&self) -> Result<(), Violation> {
        let since = self.leads_since.max(self.laws.forbidden_at);
        let leads = self.leader.is_some() && self.now - since > AWAY;
        let disturbed = !self.store.lock().failing.is_empty() || self.store.lock().flaky > 0;
        if !leads || disturbed {
            return Ok(());
        }
        let plugins: Vec<Plugin> = self.store.lock().plugins.values().map(|p| Plugin::clone(p)).collect();
        for object in plugins {
            let name = object.metadata.name.clone().unwrap_or_default();
            // Plugins without their host are told of by another loop.
            if !self.store.lock().hosts.contains_key(&object.spec.host) {
                continue;
            }
            if let Some(revision) = claims_ready(&object) {
                for pod in self.of_host(&object.spec.host).filter(|p| p.phase == PodPhase::Running) {
                    let old = pod.sidecar.truth.served_since.is_some_and(|since| self.now - since > AWAY);
                    let (attached, lag) = match pod.sidecar.truth.attached_since {
                        Some(since) => (self.now - since > 20_000, 20_000),
                        None => (pod.is_shown_ready_for(AWAY + 20_000, self.now), AWAY + 20_000),
                    };
                    if old && attached {
                        self.check_runs(pod, plugin_of(&name), &revision, &name, lag)?;
                        // Judges it only where it can have arrived: pods do not report which one they have.
                        let quiet = self.now - self.laws.last_step.max(self.laws.forbidden_at) > READY;
                        let is_read = !self.store.lock().garbled.contains(&name);
                        if pod.is_attached() && quiet && is_read {
                            self.check_configuration(pod, plugin_of(&name), &name)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Old, running pods that have been connected for so long.
    fn should_serve<'a>(&'a self, host: &'a str, lag: i64) -> impl Iterator<Item = &'a Pod> {
        self.of_host(host).filter(move |pod| {
            let since = |at: Option<i64>| at.is_some_and(|at| self.now - at > lag);
            let truth = &pod.sidecar.truth;
            pod.phase == PodPhase::Running && since(truth.served_since) && since(truth.attached_since)
        })
    }

    fn check_runs(&self, pod: &Pod, plugin: &str, revision: &str, name: &str, lag: i64) -> Result<(), Violation> {
        let last = pod.sidecar.truth.up.get(plugin);
        if last.is_some_and(|(r, at)| r == revision && self.now - at <= lag) {
            return Ok(());
        }
        let runs = runs_up(pod, plugin).unwrap_or("nothing");
        let text = format!("{name} is Ready with {revision}, and {} runs {runs}", pod.name);
        Err(self.violation("Ready", text))
    }

    /// What runs has the configuration that is asked for.
    fn check_configuration(&self, pod: &Pod, plugin: &str, name: &str) -> Result<(), Violation> {
        let object = self.store.lock().plugins.get(name).cloned();
        let asked = object.as_ref().and_then(|o| o.spec.config.get("mode")).and_then(|v| v.as_str());
        let slot = pod.sidecar.process.as_ref().and_then(|p| p.slots.get(plugin));
        let Some(current) = slot.and_then(|s| s.current.as_ref()) else { return Ok(()) };
        let has = current.assignment.config.get("mode").and_then(|v| v.as_str());
        if has != asked {
            let text = format!("{name} is Ready, and {} has {has:?} in place of {asked:?}", pod.name);
            return Err(self.violation("Ready", text));
        }
        Ok(())
    }

    // ---- At rest ----

    /// What is not at rest.
    pub(crate) fn restless(&self) -> Option<String> {
        let store = self.store.lock();
        for (name, object) in &store.plugins {
            let ready = condition(object, "Ready");
            let moving = condition(object, "Reconciling").is_some_and(|c| c.0 == "True");
            let pods = self.of_host(&object.spec.host).count();
            if ready.as_ref().is_none_or(|c| c.0 != "True") && moving && pods > 0 {
                let paused = ready.as_ref().is_some_and(|c| c.1 == "Paused");
                if !paused {
                    return Some(format!("{name}: {}", shown(object)));
                }
            }
        }
        None
    }

    /// What has not converged, when all versions are good.
    pub(crate) fn unconverged(&self) -> Option<String> {
        let store = self.store.lock();
        for (name, object) in &store.plugins {
            let pods = self.of_host(&object.spec.host).count();
            if !object.spec.enabled || pods == 0 || self.lacks(object, &store.plugins) {
                continue;
            }
            if claims_ready(object).is_none() {
                return Some(format!("{name}: {}", shown(object)));
            }
        }
        drop(store);
        for pod in self.pods.values().filter(|p| lives(p)) {
            if !pod.shown_ready {
                return Some(format!("{} is not ready", pod.name));
            }
        }
        None
    }

    /// It cannot run beside the others as they are asked for.
    fn lacks(&self, object: &Plugin, all: &BTreeMap<String, std::sync::Arc<Plugin>>) -> bool {
        let version =
            |p: &Plugin| p.spec.manifest["version"].as_str().and_then(|v| v.split('.').next()?.parse::<u32>().ok());
        let name = object.metadata.name.clone().unwrap_or_default();
        let other = |plugin: &str| {
            let found = all.get(&format!("{}-{plugin}", object.spec.host));
            found.filter(|p| p.spec.enabled && p.metadata.deletion_timestamp.is_none()).map(|p| version(p))
        };
        let own = version(object);
        match plugin_of(&name) {
            "a" => other("b") != Some(own),
            "b" => other("a").is_some_and(|a| a != own),
            "c" => other("d").is_some_and(|d| d != own),
            "d" => other("c").is_some_and(|c| c != own),
            _ => false,
        }
    }
}

fn plugin_of(name: &str) -> &str {
    name.rsplit('-').next().unwrap_or_default()
}

/// Status and reason.
fn condition(object: &Plugin, kind: &str) -> Option<(String, String)> {
    let conditions = object.status.iter().flat_map(|s| &s.conditions);
    conditions.into_iter().find(|c| c.type_ == kind).map(|c| (c.status.clone(), c.reason.clone()))
}

/// The revision that an enabled plugin is said to be ready with, of its newest generation.
fn claims_ready(object: &Plugin) -> Option<String> {
    let status = object.status.as_ref()?;
    let current = status.observed_generation == object.metadata.generation;
    let ready = condition(object, "Ready").is_some_and(|c| c.0 == "True");
    let counts = object.spec.enabled && object.metadata.deletion_timestamp.is_none();
    status.updated_revision.clone().filter(|_| current && ready && counts)
}

fn shown(object: &Plugin) -> String {
    let conditions = object.status.iter().flat_map(|s| &s.conditions);
    let said = conditions.filter(|c| ["Ready", "Reconciling", "Stalled", "Available"].contains(&c.type_.as_str()));
    said.map(|c| format!("{}={} {} '{}'", c.type_, c.status, c.reason, c.message)).collect::<Vec<_>>().join("; ")
}

/// What must not move at an operator's restart.
fn essence(status: &PluginStatus) -> String {
    let conditions = status.conditions.iter().map(|c| format!("{}={} {}", c.type_, c.status, c.reason));
    format!("{:?} {:?} {}", status.phase, status.version, conditions.collect::<Vec<_>>().join(", "))
}
