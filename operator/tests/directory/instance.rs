//! An instance without plugin processes: it does what a sidecar would answer. I/O: the control stream.

use futures::future::BoxFuture;
use parking_lot::Mutex;
use rockstar_proto::control::{
    Assignment, FailureRecord, FromInstance, GroupState, Hello, PluginState, Report, Snapshot, ToInstance,
    control_client::ControlClient, failure_record::Class, from_instance, group_state::Outcome, to_instance,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Streaming,
    transport::{Channel, Error},
};

/// What an instance has seen and runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) running: BTreeMap<String, Assignment>,
    pub(crate) generation: u64,
    pub(crate) host_uid: String,
    /// Every change of a plugin's revision or configuration, as `name revision`, `name config` or `name unload`.
    pub(crate) log: Vec<String>,
    pub(crate) bodies: Vec<String>,
    pub(crate) failures: BTreeMap<String, FailureRecord>,
    pub(crate) acknowledged: Vec<String>,
    pub(crate) lower_generations: usize,
}

/// How to reach the operator.
pub(crate) type Connect = Arc<dyn Fn() -> BoxFuture<'static, Result<Channel, Error>> + Send + Sync>;

pub(crate) struct Instance {
    pub(crate) seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Instance {
    /// Attaches, and attaches again whenever the stream ends. Versions in `bad` fail to initialize.
    pub(crate) fn start(connect: Connect, token: &str, bad: &[&str]) -> Self {
        let seen = Arc::default();
        let bad = bad.iter().map(ToString::to_string).collect();
        let body = Body { seen: Arc::clone(&seen), token: token.into(), bad, connect, failed: 0 };
        Self { seen, task: tokio::spawn(body.run()) }
    }

    pub(crate) fn versions(&self) -> BTreeMap<String, String> {
        self.seen.lock().running.iter().map(|(name, a)| (name.clone(), a.revision.clone())).collect()
    }
}

struct Body {
    seen: Arc<Mutex<Seen>>,
    token: String,
    bad: BTreeSet<String>,
    connect: Connect,
    failed: usize,
}

impl Body {
    async fn run(mut self) {
        loop {
            drop(self.attach().await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn attach(&mut self) -> Result<(), tonic::Status> {
        let channel = (self.connect)().await;
        let channel = channel.map_err(|e| tonic::Status::unavailable(e.to_string()))?;
        let (say, said) = mpsc::channel(16);
        drop(say.send(self.hello()).await);
        let mut request = Request::new(ReceiverStream::new(said));
        request.metadata_mut().insert("authorization", format!("Bearer {}", self.token).parse().unwrap());
        let mut heard = ControlClient::new(channel).attach(request).await?.into_inner();
        self.converse(&say, &mut heard).await
    }

    async fn converse(
        &mut self,
        say: &mpsc::Sender<FromInstance>,
        heard: &mut Streaming<ToInstance>,
    ) -> Result<(), tonic::Status> {
        while let Some(message) = heard.message().await?.and_then(|m| m.message) {
            for answer in self.hear(message) {
                drop(say.send(FromInstance { message: Some(answer) }).await);
            }
        }
        Ok(())
    }

    fn hello(&self) -> FromInstance {
        let seen = self.seen.lock();
        let hello = Hello {
            sidecar_version: "0.1.0".into(),
            report: Some(report(&seen, Vec::new())),
            failures: seen.failures.values().cloned().collect(),
            ..Hello::default()
        };
        FromInstance { message: Some(from_instance::Message::Hello(hello)) }
    }

    fn hear(&mut self, message: to_instance::Message) -> Vec<from_instance::Message> {
        match message {
            to_instance::Message::Snapshot(snapshot) => self.apply(snapshot),
            to_instance::Message::FailureSeen(ids) => {
                let mut seen = self.seen.lock();
                ids.ids.iter().for_each(|id| drop(seen.failures.remove(id)));
                seen.acknowledged.extend(ids.ids);
                Vec::new()
            }
            to_instance::Message::Withdraw(withdrawal) => self.withdraw(&withdrawal.plugins),
            to_instance::Message::Moved(_) | to_instance::Message::KeepReady(_) => Vec::new(),
        }
    }

    fn withdraw(&self, plugins: &[String]) -> Vec<from_instance::Message> {
        let mut seen = self.seen.lock();
        for name in plugins {
            if seen.running.remove(name).is_some() {
                seen.log.push(format!("{name} withdrawn"));
            }
        }
        vec![from_instance::Message::Report(report(&seen, Vec::new()))]
    }

    fn apply(&mut self, snapshot: Snapshot) -> Vec<from_instance::Message> {
        let mut seen = self.seen.lock();
        seen.lower_generations += usize::from(snapshot.plan_generation < seen.generation);
        seen.generation = snapshot.plan_generation;
        seen.host_uid = snapshot.host_uid.clone();
        seen.bodies.extend(snapshot.bodies.iter().map(|b| b.revision.clone()));
        let versions: BTreeMap<_, _> =
            snapshot.bodies.iter().map(|b| (b.revision.clone(), version(&b.body_json))).collect();
        let mut answers = Vec::new();
        let mut groups = Vec::new();
        let wanted: BTreeSet<_> = snapshot.target.iter().map(|a| a.plugin.clone()).collect();
        let gone: Vec<_> = seen.running.keys().filter(|name| !wanted.contains(*name)).cloned().collect();
        for name in gone {
            seen.running.remove(&name);
            seen.log.push(format!("{name} unload"));
        }
        for wanted in snapshot.target {
            let running = seen.running.get(&wanted.plugin).cloned();
            let moved = running.as_ref().map(|r| &r.revision) != Some(&wanted.revision);
            let bad = versions.get(&wanted.revision).is_some_and(|v| self.bad.contains(v));
            let changed = running.as_ref().is_some_and(|r| r.config != wanted.config);
            if !moved && changed && refuses(&wanted) {
                self.failed += 1;
                let record = failure(&self.token, self.failed, &wanted, snapshot.plan_generation);
                let record =
                    FailureRecord { reason: "ConfigChangeRefused".into(), message: "invalid level".into(), ..record };
                seen.failures.insert(record.id.clone(), record.clone());
                answers.push(from_instance::Message::Failure(record));
                continue;
            }
            if moved && bad {
                self.failed += 1;
                let record = failure(&self.token, self.failed, &wanted, snapshot.plan_generation);
                groups.push(group(&wanted.plugin, Outcome::RolledBack, &record.id));
                seen.failures.insert(record.id.clone(), record.clone());
                seen.log.push(format!("{} failed", wanted.plugin));
                answers.push(from_instance::Message::Failure(record));
                continue;
            }
            if moved {
                seen.log.push(format!("{} {}", wanted.plugin, wanted.revision));
                groups.push(group(&wanted.plugin, Outcome::Applied, ""));
            } else if changed {
                seen.log.push(format!("{} config", wanted.plugin));
            }
            seen.running.insert(wanted.plugin.clone(), wanted);
        }
        answers.push(from_instance::Message::Report(report(&seen, groups)));
        answers
    }
}

fn refuses(wanted: &Assignment) -> bool {
    wanted.config.as_ref().is_some_and(|c| c.to_json().get("level") == Some(&"refuse me".into()))
}

fn version(body: &[u8]) -> String {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap();
    body["manifest"]["version"].as_str().unwrap().to_owned()
}

fn failure(token: &str, number: usize, wanted: &Assignment, generation: u64) -> FailureRecord {
    FailureRecord {
        id: format!("{}-{number}", token.chars().rev().take(8).collect::<String>()),
        plugin: wanted.plugin.clone(),
        revision: wanted.revision.clone(),
        class: Class::Revision.into(),
        reason: "InitializeFailed".into(),
        message: "api_key is required".into(),
        at_unix_ms: 1_700_000_000_000,
        plan_generation: generation,
        shared: false,
    }
}

fn group(plugin: &str, outcome: Outcome, failure: &str) -> GroupState {
    GroupState { plugins: vec![plugin.into()], outcome: outcome.into(), failure: failure.into() }
}

fn report(seen: &Seen, groups: Vec<GroupState>) -> Report {
    let state = |a: &Assignment| PluginState {
        plugin: a.plugin.clone(),
        revision: a.revision.clone(),
        status: "running".into(),
        proven: true,
        acknowledged: true,
        ..PluginState::default()
    };
    Report {
        host_uid: seen.host_uid.clone(),
        plan_generation: seen.generation,
        plugins: seen.running.values().map(state).collect(),
        ready: seen.generation > 0,
        revisions: seen.bodies.clone(),
        groups,
        ..Report::default()
    }
}
