//! A fleet in simulated time: API server, replicas of the operator, pods. Jumps from event to event.

use crate::{
    api::{NAMESPACE, Store, name_of},
    laws::{Laws, Violation},
    operator::Replica,
    pod::Pod,
    random::Random,
    sidecar::{Sidecar, revision_of},
    step::{Behaviour, Step, Whose, Writes},
};
use parking_lot::Mutex;
use rockstar_crds::names;
use rockstar_operator::host::HostKey;
use rockstar_sidecar::target::Target;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

pub(crate) const HOSTS: [&str; 2] = ["web", "api"];
const NODES: usize = 4;
/// The true time at which a history begins.
const EPOCH: i64 = 1_700_000_000_000;
/// A stream to a frozen process ends after so long, and its lease with it.
const LEASE: i64 = 15_000;
/// The product's loop that takes away looks so often without being woken.
const FOREIGN: i64 = 5_000;
/// More events than this, and it moves in circles.
const MAX_EVENTS: usize = 60_000;

/// How the world around the pods is.
#[derive(Debug, Default)]
pub(crate) struct Nature {
    behaviours: BTreeMap<(String, String), Behaviour>,
    /// All that was bad is good from now on.
    pub(crate) healed: bool,
    cut: BTreeMap<usize, i64>,
}

impl Nature {
    pub(crate) fn behaviour(&self, target: &Target) -> Behaviour {
        if self.healed {
            return Behaviour::Good;
        }
        let key = (target.name().to_owned(), target.version());
        self.behaviours.get(&key).copied().unwrap_or(Behaviour::Good)
    }

    pub(crate) fn crash_after(&self, target: &Target, pod: &str) -> Option<i64> {
        let Behaviour::Crashes { after, percent } = self.behaviour(target) else { return None };
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in pod.bytes().chain(revision_of(target).bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        (Random::new(hash).below(100) < percent).then_some(i64::from(after) * 1_000)
    }

    pub(crate) fn is_cut(&self, node: usize, now: i64) -> bool {
        self.cut.get(&node).is_some_and(|until| *until > now)
    }
}

#[derive(Clone, Copy, Debug)]
enum Undo {
    FailWrites(Writes),
    ShowSecrets,
    Decode,
    Allow,
    Watch,
}

#[derive(Debug)]
pub(crate) struct Simulation {
    pub(crate) now: i64,
    pub(crate) store: Arc<Mutex<Store>>,
    pub(crate) pods: BTreeMap<String, Pod>,
    pub(crate) leader: Option<Replica>,
    pub(crate) leads_since: i64,
    leader_at: i64,
    /// What froze, until when, and when its streams end.
    frozen: Option<(Replica, i64)>,
    /// Counts leaders.
    number: usize,
    pub(crate) nature: Nature,
    pub(crate) desired: BTreeMap<String, usize>,
    pub(crate) random: Random,
    pub(crate) laws: Laws,
    undo: Vec<(i64, Undo)>,
    /// When pods that follow another host than theirs are looked at again.
    foreign_at: i64,
    latency: i64,
    pub(crate) api_skew: i64,
    pub(crate) operator_skew: i64,
    names: usize,
    events: usize,
    pub(crate) passes: usize,
    pub(crate) trace: bool,
}

impl Simulation {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let latency = random.pick(&[1, 100, 500]);
        let simulation = Self {
            now: EPOCH,
            store: Arc::new(Mutex::new(Store::new(seed))),
            pods: BTreeMap::new(),
            leader: None,
            leads_since: 0,
            leader_at: EPOCH,
            frozen: None,
            number: 0,
            nature: Nature::default(),
            desired: BTreeMap::new(),
            random,
            laws: Laws::default(),
            undo: Vec::new(),
            foreign_at: EPOCH,
            latency,
            api_skew: 0,
            operator_skew: 0,
            names: 0,
            events: 0,
            passes: 0,
            trace: is_traced(),
        };
        simulation.store.lock().now = EPOCH;
        simulation.store.lock().apply_host(HOSTS[0], |_| {});
        simulation
    }

    pub(crate) fn log(&self, text: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("{:>9.3} {}", (self.now - EPOCH) as f64 / 1000.0, text());
        }
    }

    fn next_event(&self) -> i64 {
        let pods = self.pods.values().map(|pod| pod.next_event(self.now));
        let leader = self.leader.as_ref().map_or(self.leader_at, Replica::next_event);
        let undo = self.undo.iter().map(|(at, _)| *at);
        let frozen = self.frozen.iter().map(|(_, until)| *until);
        let foreign = self.has_foreign().then_some(self.foreign_at);
        pods.chain(undo).chain(foreign).chain(frozen).chain([leader]).min().unwrap_or(i64::MAX)
    }

    /// Lets so much time pass.
    pub(crate) async fn run(&mut self, milliseconds: i64) -> Result<(), Violation> {
        let end = self.now + milliseconds;
        // What was changed just now has rung.
        let mut next = end.min(self.now + 1);
        while self.now < end {
            tokio::time::advance(Duration::from_millis(u64::try_from(next - self.now).unwrap_or_default())).await;
            self.now = next;
            self.events += 1;
            if self.events > MAX_EVENTS {
                return Err(self.violation("livelock", "too many events".to_owned()));
            }
            self.tick()?;
            next = self.next_event().clamp(self.now + 1, end.max(self.now + 1));
        }
        Ok(())
    }

    fn tick(&mut self) -> Result<(), Violation> {
        self.store.lock().now = self.now + self.api_skew;
        self.note_truth();
        self.undo_due();
        self.elect();
        self.step_pods();
        self.scale();
        self.note_happened()?;
        self.exchange();
        self.pass();
        self.deliver();
        self.check_laws()
    }

    fn undo_due(&mut self) {
        let now = self.now;
        let (due, rest) = std::mem::take(&mut self.undo).into_iter().partition(|(at, _)| *at <= now);
        self.undo = rest;
        let due: Vec<(i64, Undo)> = due;
        for (_, undo) in due {
            self.laws.note_disturbance(now);
            let mut store = self.store.lock();
            match undo {
                Undo::FailWrites(of) => drop(store.failing.remove(name_of(of))),
                Undo::ShowSecrets => store.secrets_hidden = false,
                Undo::Decode => store.garbled.clear(),
                Undo::Allow => store.forbidden = false,
                Undo::Watch => store.lag(false),
            }
            drop(store);
            self.list();
            self.ring_all();
        }
    }

    fn elect(&mut self) {
        if let Some((mut frozen, until)) = self.frozen.take() {
            if until > self.now {
                self.frozen = Some((frozen, until));
            } else {
                self.log(|| "the frozen leader wakes up".to_owned());
                for host in frozen.hosts() {
                    frozen.pass(&host, self.now);
                }
            }
        }
        if self.leader.is_none() && self.leader_at <= self.now {
            self.number += 1;
            self.log(|| format!("leader {}", self.number));
            self.leader = Some(Replica::new(&self.store, self.now + self.operator_skew));
            self.leads_since = self.now;
            self.list();
        }
    }

    fn list(&mut self) {
        if let Some(leader) = &mut self.leader {
            leader.list(self.now);
        }
    }

    pub(crate) fn ring(&self, host: &str) {
        if let Some(leader) = &self.leader {
            leader.bells.ring(&HostKey::new(NAMESPACE, host));
        }
    }

    fn ring_all(&self) {
        HOSTS.iter().for_each(|host| self.ring(host));
    }

    fn step_pods(&mut self) {
        let now = self.now;
        let mut rung = Vec::new();
        for pod in self.pods.values_mut() {
            if pod.is_running() {
                if pod.ends_at.is_some_and(|at| at <= now) {
                    pod.succeed();
                } else {
                    pod.sidecar.advance(now, &self.nature);
                    pod.probe(now);
                }
            }
            if let Some(shown) = pod.news() {
                self.store.lock().pods.insert(pod.uid.clone(), shown);
                rung.push(pod.host.clone());
            }
        }
        let gone: Vec<String> =
            self.pods.values().filter(|p| p.gone_at.is_some_and(|at| at <= now)).map(|p| p.uid.clone()).collect();
        for uid in gone {
            if let Some(pod) = self.pods.remove(&uid) {
                self.store.lock().pods.remove(&uid);
                rung.push(pod.host);
            }
        }
        rung.iter().for_each(|host| self.ring(host));
    }

    /// Deployments have as many pods as they should.
    fn scale(&mut self) {
        for (host, desired) in self.desired.clone() {
            let mut own: Vec<String> = self.deployed(&host);
            while own.len() > desired {
                let victim = usize::try_from(self.random.below(own.len() as u64)).unwrap_or_default();
                self.evict(&own.remove(victim));
            }
            for _ in own.len()..desired {
                self.spawn(&host, None);
            }
        }
    }

    fn deployed(&self, host: &str) -> Vec<String> {
        let stays = |p: &&Pod| p.host == host && p.ends_at.is_none() && p.gone_at.is_none() && p.is_running();
        self.pods.values().filter(stays).map(|p| p.uid.clone()).collect()
    }

    fn spawn(&mut self, host: &str, lifetime: Option<i64>) {
        self.names += 1;
        let name = format!("{host}-{:03}", self.names);
        let uid = format!("uid-{:03}", self.names);
        let starts_at = self.now + self.random.between(200, 2_000);
        let sidecar = Sidecar::new(&name, self.names % NODES, starts_at, self.random.next());
        let created = (self.now + self.api_skew) / 1000 * 1000;
        let mut pod = Pod::new(&uid, &name, host, sidecar, self.now, created);
        pod.ends_at = lifetime.map(|l| starts_at + l);
        self.store.lock().pods.insert(uid.clone(), pod.shown());
        self.pods.insert(uid, pod);
        self.ring(host);
    }

    fn evict(&mut self, uid: &str) {
        let gone_at = self.now + self.random.between(500, 3_000);
        if let Some(pod) = self.pods.get_mut(uid) {
            pod.gone_at.get_or_insert(gone_at);
        }
    }

    fn exchange(&mut self) {
        let (now, latency, number) = (self.now, self.latency, self.number);
        for pod in self.pods.values_mut().filter(|p| p.is_running()) {
            let lost = pod.link.as_ref().is_some_and(|link| link.replica != number) && self.frozen.is_none();
            if pod.sidecar.process.is_none() || pod.cut_until > now || lost {
                if pod.link.is_some() {
                    pod.disconnect(now, &mut self.random);
                }
                continue;
            }
            if pod.link.is_none() && pod.connect_at <= now {
                match &self.leader {
                    Some(leader) => {
                        let host = HostKey::new(NAMESPACE, &pod.host);
                        pod.connect(number, leader, &host, now, &mut self.random);
                    }
                    None => pod.disconnect(now, &mut self.random),
                }
            }
            pod.note_news(now, latency, &mut self.random);
            pod.send(now);
        }
    }

    fn has_foreign(&self) -> bool {
        self.pods.values().any(|pod| pod.is_running() && pod.follows() != pod.host)
    }

    fn pass(&mut self) {
        let looks = self.foreign_at <= self.now && self.has_foreign();
        if looks {
            self.foreign_at = self.now + FOREIGN;
            self.ring_all();
        }
        let Some(leader) = &mut self.leader else { return };
        let before = leader.passes;
        if leader.run(self.now) {
            self.passes += leader.passes - before;
            let (number, latency) = (self.number, self.latency);
            for pod in self.pods.values_mut() {
                if pod.link.as_ref().is_some_and(|link| link.replica == number) {
                    pod.poll_soon(self.now, latency, &mut self.random);
                }
            }
        }
    }

    fn deliver(&mut self) {
        for pod in self.pods.values_mut().filter(|p| p.is_running()) {
            if pod.receive(self.now) {
                pod.disconnect(self.now, &mut self.random);
            }
        }
    }

    // ---- Steps ----

    fn pod(&mut self, number: usize) -> Option<&mut Pod> {
        let running: Vec<String> =
            self.pods.values().filter(|p| p.is_running() && p.gone_at.is_none()).map(|p| p.uid.clone()).collect();
        let uid = running.get(number.checked_rem(running.len())?)?.clone();
        self.pods.get_mut(&uid)
    }

    fn edit_host(&mut self, host: usize, edit: impl FnOnce(&mut Value)) {
        let name = HOSTS[host % HOSTS.len()];
        if self.store.lock().hosts.contains_key(name) {
            self.store.lock().apply_host(name, edit);
            self.ring(name);
        }
    }

    fn edit_rollout(&mut self, host: usize, field: &str, value: &Value) {
        self.edit_host(host, |spec| spec["rollout"][field] = value.clone());
    }

    fn edit_plugin(&mut self, host: usize, plugin: char, edit: impl FnOnce(&mut Value, &mut Value)) {
        let host = HOSTS[host % HOSTS.len()];
        let name = format!("{host}-{plugin}");
        let there = self.store.lock().plugins.contains_key(&name);
        if there {
            self.store.lock().apply_plugin(&name, &Value::Null, edit);
            self.ring(host);
        }
    }

    pub(crate) async fn take(&mut self, step: &Step) -> Result<(), Violation> {
        self.log(|| format!("{step:?}"));
        self.laws.note_step(self.now);
        let now = self.now;
        match step {
            Step::Wait(seconds) => return self.run(i64::from(*seconds) * 1_000).await,
            Step::Apply { host, plugin, version, behaviour } => self.apply(*host, *plugin, *version, *behaviour),
            Step::Delete { host, plugin } => {
                let host = HOSTS[host % HOSTS.len()];
                self.store.lock().delete_plugin(&format!("{host}-{plugin}"));
                self.note_gone(host, *plugin);
                self.ring(host);
            }
            Step::Enable { host, plugin, on } => {
                if !on {
                    self.note_gone(HOSTS[host % HOSTS.len()], *plugin);
                }
                self.edit_plugin(*host, *plugin, |spec, _| spec["enabled"] = json!(on))
            }
            Step::Priority { host, plugin, priority } => {
                self.edit_plugin(*host, *plugin, |spec, _| spec["priority"] = json!(priority));
            }
            Step::Closed { host, plugin, closed } => {
                let policy = if *closed { "Closed" } else { "Open" };
                self.edit_plugin(*host, *plugin, |spec, _| spec["failurePolicy"] = json!(policy));
            }
            Step::Network { host, plugin, on } => {
                self.edit_plugin(*host, *plugin, |spec, _| spec["permissions"]["network"] = json!(on));
            }
            Step::Configure { host, plugin, value } => {
                let value = json!(format!("m{value}"));
                self.edit_plugin(*host, *plugin, |spec, _| spec["config"] = json!({"mode": value}));
            }
            Step::Retry { host, plugin } => self.retry(*host, *plugin),
            Step::Scale { host, pods } => drop(self.desired.insert(HOSTS[host % HOSTS.len()].to_owned(), *pods)),
            Step::Job { host, seconds } => self.spawn(HOSTS[host % HOSTS.len()], Some(i64::from(*seconds) * 1_000)),
            Step::Evict { pod } => {
                if let Some(uid) = self.pod(*pod).map(|p| p.uid.clone()) {
                    self.evict(&uid);
                }
            }
            Step::Kill { pod } => {
                if let Some(pod) = self.pod(*pod) {
                    pod.sidecar.kill(now);
                }
            }
            Step::Restart { pod } => self.pod(*pod).into_iter().for_each(|pod| pod.sidecar.restart(now)),
            Step::Crash { pod, plugin } => {
                if let Some(pod) = self.pod(*pod) {
                    pod.sidecar.crash(&plugin.to_string(), now);
                }
            }
            Step::Relabel { pod } => self.relabel(*pod),
            Step::CutStream { pod, seconds } => {
                if let Some(pod) = self.pod(*pod) {
                    pod.cut_until = now + i64::from(*seconds) * 1_000;
                }
            }
            Step::CutNode { node, seconds } => {
                self.nature.cut.insert(node % NODES, now + i64::from(*seconds) * 1_000);
            }
            Step::LoseLeader { seconds } => self.lose_leader(i64::from(*seconds) * 1_000),
            Step::FreezeLeader { seconds } => self.freeze_leader(i64::from(*seconds) * 1_000),
            Step::Clock { whose, by } => self.step_clock(*whose, *by),
            Step::FailWrites { of, seconds } => {
                self.store.lock().failing.insert(name_of(*of));
                self.undo.push((now + i64::from(*seconds) * 1_000, Undo::FailWrites(*of)));
            }
            Step::HideSecrets { seconds } => {
                self.store.lock().secrets_hidden = true;
                self.undo.push((now + i64::from(*seconds) * 1_000, Undo::ShowSecrets));
            }
            Step::Garble { host, plugin, seconds } => {
                let host = HOSTS[host % HOSTS.len()];
                self.store.lock().garbled.insert(format!("{host}-{plugin}"));
                self.undo.push((now + i64::from(*seconds) * 1_000, Undo::Decode));
                self.ring(host);
            }
            Step::Forbid { seconds } => {
                self.store.lock().forbidden = true;
                self.undo.push((now + i64::from(*seconds) * 1_000, Undo::Allow));
            }
            Step::LagWatches { seconds } => {
                self.store.lock().lag(true);
                self.undo.push((now + i64::from(*seconds) * 1_000, Undo::Watch));
            }
            Step::Pause { host, on } => self.edit_rollout(*host, "paused", &json!(on)),
            Step::Partition { host, pods } => self.edit_rollout(*host, "partition", &json!(pods)),
            Step::MaxUnavailable { host, pods } => self.edit_rollout(*host, "maxUnavailable", &json!(pods)),
            Step::Threshold { host, instances } => self.edit_rollout(*host, "failureThreshold", &json!(instances)),
            Step::Halt { host, on } => {
                self.edit_rollout(*host, "onFailure", &json!(if *on { "Halt" } else { "RollBack" }));
            }
            Step::DeleteHost { host } => {
                self.store.lock().delete_host(HOSTS[host % HOSTS.len()]);
                self.ring_all();
            }
            Step::CreateHost { host } => {
                self.store.lock().apply_host(HOSTS[host % HOSTS.len()], |_| {});
                self.list();
                self.ring_all();
            }
        }
        self.tick()
    }

    fn apply(&mut self, host: usize, plugin: char, version: (u32, u32), behaviour: Behaviour) {
        let host = HOSTS[host % HOSTS.len()];
        let text = format!("{}.{}.0", version.0, version.1);
        let manifest = manifest(plugin, version, &text);
        self.nature.behaviours.insert((plugin.to_string(), text), behaviour);
        let digest = format!("sha256:{:032x}{:016x}{:016x}", u32::from(plugin), version.0, version.1);
        let source = json!({"oci": {"image": format!("registry.example/{plugin}"), "digest": digest}});
        let mut new = json!({"host": host, "manifest": manifest, "source": source, "permissions": {"network": true}});
        if plugin == 'c' {
            new["configFrom"] = json!([{"key": "key", "secretKeyRef": {"name": "s", "key": "k"}}]);
        }
        self.store.lock().apply_plugin(&format!("{host}-{plugin}"), &new, |spec, _| {
            spec["manifest"] = manifest.clone();
            spec["source"] = source.clone();
        });
        self.ring(host);
    }

    fn retry(&mut self, host: usize, plugin: char) {
        let value = self.now.to_string();
        self.edit_plugin(host, plugin, |_, annotations| annotations[names::RETRY] = json!(value));
    }

    fn relabel(&mut self, number: usize) {
        let now = self.now;
        let Some(pod) = self.pod(number) else { return };
        let other = HOSTS[usize::from(pod.host == HOSTS[0])];
        other.clone_into(&mut pod.host);
        // It is new to that host.
        pod.sidecar.truth.attached_since = None;
        pod.sidecar.truth.served_since = Some(now);
    }

    fn lose_leader(&mut self, after: i64) {
        self.leader = None;
        self.leader_at = self.now + after.max(500);
        for pod in self.pods.values_mut().filter(|p| p.link.is_some()) {
            pod.disconnect(self.now, &mut self.random);
        }
    }

    /// A short freeze is only a pause; a long one costs the lease.
    fn freeze_leader(&mut self, milliseconds: i64) {
        if milliseconds <= LEASE {
            return;
        }
        let Some(leader) = self.leader.take() else { return };
        self.leader_at = self.now + LEASE;
        self.frozen = Some((leader, self.now + milliseconds));
        for pod in self.pods.values_mut().filter(|p| p.link.is_some()) {
            pod.disconnect(self.now, &mut self.random);
            pod.connect_at += self.random.between(LEASE / 2, LEASE);
        }
    }

    fn step_clock(&mut self, whose: Whose, by: i64) {
        match whose {
            Whose::ApiServer => self.api_skew += by,
            Whose::Operator => self.operator_skew += by,
            Whose::Pod(number) => self.pod(number).into_iter().for_each(|pod| pod.sidecar.skew += by),
        }
    }

    // ---- The end of a history ----

    /// All that disturbs is over.
    pub(crate) fn calm(&mut self) {
        let now = self.now;
        self.log(|| "calm".to_owned());
        self.laws.note_step(now);
        let mut store = self.store.lock();
        store.failing.clear();
        store.secrets_hidden = false;
        store.garbled.clear();
        store.forbidden = false;
        store.lag(false);
        store.flaky = 0;
        drop(store);
        self.undo.clear();
        self.nature.cut.clear();
        if self.leader.is_none() {
            self.leader_at = self.leader_at.min(now);
        }
        self.pods.values_mut().for_each(|pod| pod.cut_until = now);
        for host in HOSTS {
            let has_plugins = self.store.lock().plugins.values().any(|p| p.spec.host == host);
            let missing = !self.store.lock().hosts.contains_key(host);
            if missing && (has_plugins || self.desired.contains_key(host)) {
                self.store.lock().apply_host(host, |_| {});
            }
        }
        self.list();
        self.ring_all();
    }

    /// All versions are good, nothing holds a rollout, and everything is tried once more.
    pub(crate) fn heal(&mut self) {
        self.log(|| "heal".to_owned());
        self.laws.note_step(self.now);
        self.nature.healed = true;
        self.pods.values_mut().for_each(|pod| pod.sidecar.heal());
        for host in 0..HOSTS.len() {
            self.edit_rollout(host, "paused", &json!(false));
            self.edit_rollout(host, "partition", &json!(0));
            for plugin in ['a', 'b', 'c', 'd'] {
                self.retry(host, plugin);
            }
        }
    }
}

/// Whether what happens is printed.
pub(crate) fn is_traced() -> bool {
    static TRACED: OnceLock<bool> = OnceLock::new();
    *TRACED.get_or_init(|| std::env::var("HISTORY_TRACE").is_ok())
}

/// `a` requires `b` of its own major version, `d` has nothing but `c` of its own major version, if any.
fn manifest(plugin: char, version: (u32, u32), text: &str) -> Value {
    let own_major = format!(">={}.0.0,<{}.0.0", version.0, version.0 + 1);
    let dependencies = match plugin {
        'a' => json!([{"name": "b", "version": own_major}]),
        'd' => json!([{"name": "c", "version": own_major, "optional": true}]),
        _ => json!([]),
    };
    json!({
        "name": plugin.to_string(), "version": text, "description": "d", "author": "a",
        "permissions": {"cache": true, "network": true}, "dependencies": dependencies,
        "config": {"key": {"type": "string"}, "mode": {"type": "string"}},
    })
}
