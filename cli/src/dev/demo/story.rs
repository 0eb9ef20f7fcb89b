//! The story itself, step by step, in plain words. Writes to the standard output, changes the stage.

use super::{
    stage::{PLUGIN, Stage},
    traffic::{self, Counts, Traffic},
};
use crate::dev::{
    session::Session,
    table::{condition, rows, table},
};
use anyhow::{Context as _, Result, bail, ensure};
use reqwest::{Client, StatusCode};
use rockstar_crds::Plugin;
use rockstar_operator::dev::{Event, Snapshot};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::time::{sleep, timeout};

/// For each step; all of them take well under a minute.
const LIMIT: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(100);
const FIRST: &str = "1.2.0";
const GOOD: &str = "1.3.0";
const BAD: &str = "1.4.0";

pub(super) struct Story<'a> {
    session: &'a Session,
    stage: &'a Stage,
    counts: &'a Counts,
    begun: Instant,
}

impl<'a> Story<'a> {
    pub(super) fn new(session: &'a Session, stage: &'a Stage, counts: &'a Counts) -> Self {
        Self { session, stage, counts, begun: Instant::now() }
    }

    pub(super) async fn play(self) -> Result<()> {
        let addresses: Vec<_> = self.session.instances.iter().map(|instance| instance.app).collect();
        let client = traffic::client()?;
        self.begin(addresses.len()).await?;
        self.answers(&client, &addresses).await?;
        let traffic = Traffic::start(&client, &addresses, self.counts);
        self.say("Requests with a token flow to all applications from now on.");
        self.good_upgrade().await?;
        self.bad_upgrade().await?;
        self.still_serves().await?;
        drop(traffic);
        self.summary()
    }

    fn say(&self, text: impl AsRef<str>) {
        println!("[{:5.1} s] {}", self.begun.elapsed().as_secs_f64(), text.as_ref());
    }

    async fn begin(&self, instances: usize) -> Result<()> {
        self.say(format!("{instances} copies of a demo application start, each with a sidecar that runs its plugins."));
        let all_ready = |snapshot: &Snapshot| {
            let ready = snapshot.plugins.iter().all(|plugin| is(plugin, "Ready") && runs_in(plugin, instances));
            (ready && !snapshot.plugins.is_empty()).then_some(())
        };
        self.until("all plugins run in all instances", all_ready).await?;
        self.say("All plugins run. auth-plugin requires cache-plugin, so cache-plugin was loaded first:");
        for line in table(&rows(&self.session.snapshot())) {
            println!("            {line}");
        }
        let version = self.plugin(&self.session.snapshot())?.status.and_then(|status| status.version);
        ensure!(version.as_deref() == Some(FIRST), "expected {PLUGIN} {FIRST}, found {version:?}");
        Ok(())
    }

    /// Plugins take part in every request.
    async fn answers(&self, client: &Client, addresses: &[SocketAddr]) -> Result<()> {
        for address in addresses {
            let refused = self.status_of(|| traffic::without_token(client, *address)).await?;
            ensure!(refused == StatusCode::UNAUTHORIZED, "{address}: {refused} without a token, expected 401");
            let served = traffic::hello(client, *address, 1).await?.status();
            ensure!(served == StatusCode::OK, "{address}: {served} with a token, expected 200");
        }
        self.say("Without a token every application answers 401: that is auth-plugin. With one: 200.");
        Ok(())
    }

    /// An application that does not listen yet is asked again.
    async fn status_of<F: Future<Output = reqwest::Result<StatusCode>>>(
        &self,
        ask: impl Fn() -> F,
    ) -> Result<StatusCode> {
        let limit = Instant::now() + LIMIT;
        loop {
            match ask().await {
                Err(error) if error.is_connect() && Instant::now() < limit => sleep(LOOK).await,
                answer => return Ok(answer?),
            }
        }
    }

    async fn good_upgrade(&self) -> Result<()> {
        self.say(format!("The YAML of {PLUGIN} is changed from {FIRST} to {GOOD}."));
        self.stage.upgrade(GOOD)?;
        let mut teller = Teller::default();
        let rolled_out = |snapshot: &Snapshot| {
            let plugin = self.plugin(snapshot).ok().filter(is_current)?;
            teller.news(snapshot, &plugin).iter().for_each(|line| self.say(line));
            let ended = is(&plugin, "Ready") || is(&plugin, "RolledBack");
            (ended && spec_version(&plugin) == GOOD).then_some(plugin)
        };
        let plugin = self.until("the upgrade is everywhere", rolled_out).await?;
        ensure!(is(&plugin, "Ready"), "{GOOD} was rolled back: {}", ready_message(&plugin));
        self.say(format!("{GOOD} outlived its grace period in every instance: it is the new stable version."));
        self.no_failure()
    }

    async fn bad_upgrade(&self) -> Result<()> {
        self.say(format!("Now {BAD}, whose Initialize returns an error."));
        self.stage.upgrade(BAD)?;
        let rolled_back = |snapshot: &Snapshot| {
            let plugin = self.plugin(snapshot).ok()?;
            let back = spec_version(&plugin) == BAD && is(&plugin, "RolledBack") && !is(&plugin, "Ready");
            back.then_some(plugin)
        };
        let plugin = self.until("the bad version is rolled back", rolled_back).await?;
        let status = plugin.status.clone().unwrap_or_default();
        for failure in &status.failures {
            self.say(format!("{} went back by itself: {}", failure.pod, failure.message));
        }
        self.tried_once(&status.failures)?;
        self.say(format!(
            "The rollout was stopped after the first instance. Ready is False: {}",
            ready_message(&plugin)
        ));
        self.no_failure()
    }

    /// The canary alone had the bad version.
    fn tried_once(&self, failures: &[rockstar_crds::plugin::status::Failure]) -> Result<()> {
        let mut pods: Vec<_> = failures.iter().filter(|one| one.message.contains(BAD)).map(|one| &one.pod).collect();
        pods.dedup();
        ensure!(pods.len() <= 1, "{BAD} was tried by {} instances, expected one", pods.len());
        Ok(())
    }

    async fn still_serves(&self) -> Result<()> {
        let served = |snapshot: &Snapshot| {
            let status = self.plugin(snapshot).ok()?.status?;
            (status.version.as_deref() == Some(GOOD)).then_some(())
        };
        self.until("1.3.0 serves again", served).await?;
        let before = self.counts.by_version().get(GOOD).copied().unwrap_or(0);
        let enough = before + 100;
        let limit = Instant::now() + LIMIT;
        while self.counts.by_version().get(GOOD).copied().unwrap_or(0) < enough {
            ensure!(Instant::now() < limit, "{GOOD} does not serve after the rollback");
            sleep(LOOK).await;
        }
        self.say(format!(
            "{GOOD} serves in every instance, and the YAML still says {BAD}: a rollback never rewrites it."
        ));
        Ok(())
    }

    fn summary(&self) -> Result<()> {
        let versions = self.counts.by_version();
        let list: Vec<_> = versions.iter().map(|(version, count)| format!("{count} by {version}")).collect();
        self.say(format!("Requests let through: {}.", list.join(", ")));
        ensure!(!versions.contains_key(BAD), "{BAD} answered requests although it failed to initialise");
        self.no_failure()
    }

    fn no_failure(&self) -> Result<()> {
        match self.counts.first_failure() {
            None => Ok(()),
            Some(failure) => bail!("a request failed: {failure}"),
        }
    }

    fn plugin(&self, snapshot: &Snapshot) -> Result<Plugin> {
        let found = snapshot.plugins.iter().find(|plugin| plugin.metadata.name.as_deref() == Some(PLUGIN));
        found.cloned().with_context(|| format!("{PLUGIN} is not in the directory"))
    }

    /// Waits for what the operator says.
    async fn until<T>(&self, what: &str, mut look: impl FnMut(&Snapshot) -> Option<T>) -> Result<T> {
        let mut changes = self.session.changes();
        let seen = async {
            loop {
                if let Some(found) = look(&self.session.snapshot()) {
                    return Ok(found);
                }
                changes.changed().await.context("the operator has ended")?;
            }
        };
        match timeout(LIMIT, seen).await {
            Ok(found) => found,
            Err(_) => bail!("not within {} s: {what}; it is:\n{}", LIMIT.as_secs(), self.state()),
        }
    }

    fn state(&self) -> String {
        let snapshot = self.session.snapshot();
        let problems = snapshot.problems.iter().map(ToString::to_string);
        table(&rows(&snapshot)).into_iter().chain(problems).collect::<Vec<_>>().join("\n")
    }
}

/// Follows a rollout.
#[derive(Default)]
struct Teller {
    /// Instances were seen that do not run the new version.
    moving: bool,
    updated: i32,
    canary: bool,
}

impl Teller {
    /// What became true since the last look.
    fn news(&mut self, snapshot: &Snapshot, plugin: &Plugin) -> Vec<String> {
        let instances = plugin.status.as_ref().and_then(|status| status.instances).unwrap_or_default();
        self.moving |= instances.updated < instances.desired;
        let mut news = Vec::new();
        if self.moving && instances.updated > self.updated {
            self.updated = instances.updated;
            news.push(format!("{} of {} instances run {GOOD}.", instances.updated, instances.desired));
        }
        let about = format!("Plugin/{PLUGIN}");
        let is_proof =
            |event: &&Event| event.about == about && event.reason == "CanaryProven" && event.text.contains(GOOD);
        if let Some(proof) = snapshot.events.iter().find(is_proof).filter(|_| !self.canary) {
            self.canary = true;
            news.push(format!("The first instance has proven it, now the others may follow: {}.", proof.text));
        }
        news
    }
}

fn spec_version(plugin: &Plugin) -> &str {
    plugin.spec.manifest["version"].as_str().unwrap_or_default()
}

fn ready_message(plugin: &Plugin) -> String {
    condition(plugin, "Ready").map(|ready| ready.message.clone()).unwrap_or_default()
}

/// Whether the status speaks of the spec as it is.
fn is_current(plugin: &Plugin) -> bool {
    plugin.status.as_ref().is_some_and(|status| status.observed_generation == plugin.metadata.generation)
}

/// Whether the condition is true of the spec as it is.
fn is(plugin: &Plugin, kind: &str) -> bool {
    is_current(plugin) && condition(plugin, kind).is_some_and(|condition| condition.status == "True")
}

fn runs_in(plugin: &Plugin, instances: usize) -> bool {
    let ready = plugin.status.as_ref().and_then(|status| status.instances).map(|found| found.ready);
    ready.is_some_and(|ready| usize::try_from(ready) == Ok(instances))
}
