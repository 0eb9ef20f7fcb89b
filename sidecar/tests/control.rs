//! The real sidecar with real plugin processes, under an operator that the test plays.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use parking_lot::Mutex;
use rockstar_core::{
    assignment::{CrashBudget, ErrorThreshold, Policies, ThresholdAction},
    permission::Permission,
    revision,
    termination::Termination,
};
use rockstar_proto::app::{LoadRequest, PluginName, SetErrorThresholdRequest};
use rockstar_proto::control::{
    Allowed, Assignment, FailureRecord, FromInstance, KeepReady, PluginState, Report, RevisionBody, Snapshot,
    ToInstance, Withdraw,
    control_server::{Control, ControlServer},
    failure_record::Class,
    from_instance,
    group_state::Outcome,
    to_instance,
};
use std::{path::Path, sync::Arc, time::Duration};
use support::{Plugin, Sidecar, plugin};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UnixListener},
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::{Code, Request, Response, Status, Streaming, async_trait, transport::Server};

/// What sidecars said to it, and what it says.
#[derive(Clone)]
struct Operator {
    heard: Arc<Mutex<Vec<from_instance::Message>>>,
    says: watch::Sender<Option<Snapshot>>,
    withdraws: watch::Sender<Option<Withdraw>>,
    keeps: watch::Sender<bool>,
}

#[async_trait]
impl Control for Operator {
    type AttachStream = ReceiverStream<Result<ToInstance, Status>>;

    async fn attach(&self, request: Request<Streaming<FromInstance>>) -> Result<Response<Self::AttachStream>, Status> {
        assert_eq!(request.metadata().get("authorization").unwrap(), "Bearer secret");
        let (outbox, stream) = mpsc::channel(16);
        let (mut inbox, heard, mut says) = (request.into_inner(), Arc::clone(&self.heard), self.says.subscribe());
        let (mut withdraws, mut keeps) = (self.withdraws.subscribe(), self.keeps.subscribe());
        tokio::spawn(async move {
            says.mark_changed();
            loop {
                tokio::select! {
                    message = inbox.message() => match message {
                        Ok(Some(message)) => heard.lock().extend(message.message),
                        _ => return,
                    },
                    _ = withdraws.changed() => {
                        let message = withdraws.borrow_and_update().clone().map(to_instance::Message::Withdraw);
                        outbox.send(Ok(ToInstance { message })).await.ok();
                    }
                    _ = keeps.changed() => {
                        let keep = KeepReady { keep: *keeps.borrow_and_update() };
                        let message = Some(to_instance::Message::KeepReady(keep));
                        outbox.send(Ok(ToInstance { message })).await.ok();
                    }
                    _ = says.changed() => {
                        let snapshot = says.borrow_and_update().clone();
                        let message = snapshot.map(to_instance::Message::Snapshot);
                        outbox.send(Ok(ToInstance { message })).await.ok();
                    }
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

impl Operator {
    fn serve(directory: &Path) -> Self {
        std::fs::write(directory.join("token"), "secret\n").unwrap();
        let operator = Self {
            heard: Arc::default(),
            says: watch::Sender::new(None),
            withdraws: watch::Sender::new(None),
            keeps: watch::Sender::new(false),
        };
        let listener = UnixListener::bind(directory.join("control.sock")).unwrap();
        let server = Server::builder().add_service(ControlServer::new(operator.clone()));
        tokio::spawn(server.serve_with_incoming(UnixListenerStream::new(listener)));
        operator
    }

    fn report(&self) -> Option<Report> {
        let heard = self.heard.lock();
        heard.iter().rev().find_map(|m| match m {
            from_instance::Message::Report(report) => Some(report.clone()),
            _ => None,
        })
    }

    fn failures(&self) -> Vec<FailureRecord> {
        let heard = self.heard.lock();
        let told = heard.iter().flat_map(|m| match m {
            from_instance::Message::Failure(failure) => vec![failure.clone()],
            from_instance::Message::Hello(hello) => hello.failures.clone(),
            from_instance::Message::Report(_) => vec![],
        });
        told.collect()
    }

    fn plugin(&self, name: &str) -> Option<PluginState> {
        self.report()?.plugins.into_iter().find(|p| p.plugin == name)
    }

    fn runs(&self, name: &str, version: &str) -> bool {
        self.plugin(name).is_some_and(|p| p.version == version && p.status == "running")
    }

    fn outcome(&self, generation: u64) -> Option<Outcome> {
        let report = self.report().filter(|r| r.plan_generation == generation)?;
        report.groups.first().map(rockstar_proto::control::GroupState::outcome)
    }
}

/// A version on disk as the operator knows it, and its assignment.
fn version(sidecar: &Sidecar, plugin: &Plugin, grace: Duration) -> (Assignment, RevisionBody) {
    let directory = sidecar.path().join("versions").join(plugin.version);
    std::fs::create_dir_all(&directory).unwrap();
    sidecar.install(plugin);
    for file in std::fs::read_dir(sidecar.path().join("plugins").join(plugin.name)).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), directory.join(file.file_name())).unwrap();
    }
    let text = std::fs::read_to_string(directory.join("plugin.yaml")).unwrap();
    let manifest = rockstar_core::manifest::parse(&text, rockstar_core::manifest::Format::Yaml).unwrap().manifest;
    let body = revision::Body {
        manifest,
        source: revision::Source::Path { path: directory.display().to_string() },
        permissions: [Permission::Filesystem].into(),
        env: [("PROBE_LOG".to_owned(), sidecar.calls_path().display().to_string())].into(),
        resources: Default::default(),
    };
    let mut policies = Policies::default();
    policies.reload.grace_period = grace;
    let revision = revision::id(plugin.name, &body).0;
    let assignment = Assignment {
        plugin: plugin.name.into(),
        revision: revision.clone(),
        policies_json: serde_json::to_vec(&policies).unwrap().into(),
        permissions: vec!["filesystem".into()],
        ..Assignment::default()
    };
    let body_json = serde_json::to_vec(&body).unwrap().into();
    (assignment, RevisionBody { revision, body_json, ..RevisionBody::default() })
}

fn snapshot(
    plan_generation: u64,
    target: &(Assignment, RevisionBody),
    fallback: Option<&(Assignment, RevisionBody)>,
) -> Option<Snapshot> {
    Some(Snapshot {
        host_uid: "uid".into(),
        plan_generation,
        host: "shop/storefront".into(),
        framework_version: "1.5.0".into(),
        sandbox: "BestEffort".into(),
        target: vec![target.0.clone()],
        fallback: fallback.iter().map(|f| f.0.clone()).collect(),
        bodies: fallback.iter().map(|f| f.1.clone()).chain([target.1.clone()]).collect(),
        ..Snapshot::default()
    })
}

const ARGUMENTS: [&str; 4] = ["--control", "unix:control.sock", "--control-token", "token"];

const fn p(version: &'static str, behave: &'static str) -> Plugin {
    Plugin { version, behave, ..plugin("p") }
}

#[tokio::test]
async fn a_snapshot_runs_and_a_bad_revision_goes_back() {
    let mut sidecar = Sidecar::new(&[]);
    let operator = Operator::serve(sidecar.path());
    let v1 = version(&sidecar, &p("1.0.0", ""), Duration::from_millis(100));
    let v2 = version(&sidecar, &p("1.1.0", "fail initialize no key"), Duration::from_secs(300));
    sidecar.start_as(&ARGUMENTS);
    sidecar.until("a stream", || !operator.heard.lock().is_empty()).await;
    assert_eq!(sidecar.http("GET", "/startupz").0, 503);

    operator.says.send_replace(snapshot(1, &v1, None));
    sidecar.until("p 1.0.0", || operator.runs("p", "1.0.0")).await;
    sidecar.until("proof", || operator.plugin("p").is_some_and(|p| p.proven && p.acknowledged)).await;
    assert_eq!(operator.outcome(1), Some(Outcome::Applied));
    assert_eq!(operator.plugin("p").unwrap().revision, v1.0.revision);
    assert_eq!((sidecar.http("GET", "/startupz").0, sidecar.http("GET", "/readyz").0), (200, 200));

    operator.says.send_replace(snapshot(2, &v2, Some(&v1)));
    sidecar.until("the way back", || operator.outcome(2) == Some(Outcome::RolledBack)).await;
    let failures = operator.failures();
    let told = (failures.len(), failures[0].reason.as_str(), failures[0].message.as_str());
    assert_eq!(told, (1, "InitializeFailed", "plugin initialization failed: no key"));
    assert_eq!(failures[0].revision, v2.0.revision);
    assert!(operator.runs("p", "1.0.0"));

    // An older plan is refused.
    operator.says.send_replace(snapshot(1, &v2, None));
    sidecar.until_log("the snapshot of plan 1 is older than plan 2").await;
    let mut client = sidecar.client().await;
    let name = || PluginName { name: "p".into() };
    for refused in [
        client.load(LoadRequest { path: "p".into(), config: None }).await,
        client.unload(name()).await,
        client.stop_all(rockstar_proto::types::Empty {}).await,
        client.set_error_threshold(SetErrorThresholdRequest { name: "p".into(), ..Default::default() }).await,
    ] {
        let error = refused.unwrap_err();
        assert_eq!(
            (error.code(), error.message()),
            (Code::FailedPrecondition, "managed by PluginHost shop/storefront")
        );
    }
    assert!(client.is_loaded(name()).await.unwrap().into_inner().loaded);
}

fn several(plan_generation: u64, targets: &[&(Assignment, RevisionBody)]) -> Option<Snapshot> {
    let first = snapshot(plan_generation, targets[0], None)?;
    let (target, bodies) = targets.iter().map(|t| (t.0.clone(), t.1.clone())).unzip();
    Some(Snapshot { target, bodies, ..first })
}

#[tokio::test]
async fn a_plugin_without_room_waits_and_runs_once_there_is_some() {
    let mut sidecar = Sidecar::new(&[]);
    let operator = Operator::serve(sidecar.path());
    let first = version(&sidecar, &plugin("first"), Duration::ZERO);
    let second = version(&sidecar, &Plugin { version: "2.0.0", ..plugin("second") }, Duration::ZERO);
    let limit = (200 << 20).to_string();
    sidecar.start_as(&[&ARGUMENTS[..], &["--memory-limit", &limit]].concat());
    operator.says.send_replace(several(1, &[&first, &second]));
    sidecar.until("a failure", || !operator.failures().is_empty()).await;
    let failure = operator.failures()[0].clone();
    assert_eq!((failure.plugin.as_str(), failure.reason.as_str()), ("second", "NeedsPodRestart"));
    assert_eq!(failure.class(), Class::Environment);
    assert!(failure.message.contains("more than the 200 MiB of its container"), "{}", failure.message);
    sidecar.until("the one that has room", || operator.runs("first", "1.0.0")).await;

    // Of the same plan: what waits is not condemned.
    operator.says.send_replace(several(1, &[&second]));
    sidecar.until("second 2.0.0", || operator.runs("second", "2.0.0")).await;
}

/// With a configuration, which the plugin refuses: one error, and one is too many.
fn refusing(target: &(Assignment, RevisionBody), action: ThresholdAction, webhook: &str) -> (Assignment, RevisionBody) {
    let webhook = Some(webhook.to_owned());
    let threshold = ErrorThreshold { max_errors: 1, action, webhook, ..ErrorThreshold::default() };
    let policies = Policies { error_threshold: Some(threshold), ..Policies::default() };
    let config = serde_json::Map::from_iter([("level".to_owned(), "loud".into())]);
    let mut target = target.clone();
    target.0.policies_json = serde_json::to_vec(&policies).unwrap().into();
    target.0.config = Some((&config).into());
    target
}

/// The body of the one request that comes.
async fn posted(listener: TcpListener) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"]") {
        stream.read_buf(&mut request).await.unwrap();
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    String::from_utf8(request).unwrap()
}

#[tokio::test]
async fn an_exceeded_error_threshold_is_told_and_posted() {
    let mut sidecar = Sidecar::new(&[]);
    let operator = Operator::serve(sidecar.path());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let webhook = format!("http://{}/api/v2/alerts", listener.local_addr().unwrap());
    let made = |name, number| Plugin {
        version: number,
        manifest: "config: {level: {type: string, default: low}}",
        behave: "fail on_config_change no",
        ..plugin(name)
    };
    let alerting = version(&sidecar, &made("alerting", "1.0.0"), Duration::ZERO);
    let disabled = version(&sidecar, &made("disabled", "2.0.0"), Duration::ZERO);
    sidecar.start_as(&ARGUMENTS);
    operator.says.send_replace(several(1, &[&alerting, &disabled]));
    sidecar.until("both", || operator.runs("alerting", "1.0.0") && operator.runs("disabled", "2.0.0")).await;

    let alerting = refusing(&alerting, ThresholdAction::Alert, &webhook);
    let disabled = refusing(&disabled, ThresholdAction::Disable, &webhook);
    operator.says.send_replace(several(2, &[&alerting, &disabled]));
    let request = timeout(Duration::from_secs(20), posted(listener)).await.unwrap();
    assert!(request.contains("Plugin alerting exceeded error threshold: 1/1 errors in 5m"), "{request}");
    let told = |plugin| operator.plugin(plugin).map(|p| (p.threshold_exceeded, p.disabled_by_threshold, p.status));
    let said = |disabled, status: &str| Some(("1/1 errors in 5m".to_owned(), disabled, status.to_owned()));
    sidecar.until("an alert", || told("alerting") == said(false, "running")).await;
    sidecar.until("an end", || told("disabled") == said(true, "error")).await;
}

#[tokio::test]
async fn a_sidecar_that_dies_on_trial_boots_the_fallback_without_its_operator() {
    let mut sidecar = Sidecar::new(&[]);
    let operator = Operator::serve(sidecar.path());
    let v1 = version(&sidecar, &p("1.0.0", ""), Duration::from_millis(100));
    let v2 = version(&sidecar, &p("1.1.0", ""), Duration::from_secs(300));
    sidecar.start_as(&ARGUMENTS);
    operator.says.send_replace(snapshot(1, &v1, None));
    sidecar.until("proof", || operator.plugin("p").is_some_and(|p| p.proven)).await;
    operator.says.send_replace(snapshot(2, &v2, Some(&v1)));
    sidecar.until("p 1.1.0", || operator.runs("p", "1.1.0")).await;

    kill(&mut sidecar).await;
    std::fs::remove_file(sidecar.path().join("control.sock")).unwrap();
    sidecar.start_as(&ARGUMENTS);
    sidecar.until_log("admin on http://").await;
    sidecar.until_status("p", "running").await;
    assert_eq!(sidecar.get("p").await.unwrap().version, "1.0.0");

    let again = Operator::serve(sidecar.path());
    sidecar.until("the failure", || !again.failures().is_empty()).await;
    assert_eq!(again.failures()[0].revision, v2.0.revision);

    // An end in order is no failure.
    sidecar.signal("-TERM");
    assert!(sidecar.exit().await.success());
    assert_eq!(sidecar.processes(), Vec::<String>::new());
}

/// Ends the sidecar uncleanly, and waits until its plugins are gone with it.
async fn kill(sidecar: &mut Sidecar) {
    sidecar.signal("-KILL");
    sidecar.exit().await;
    sidecar.until("no process", || sidecar.processes().is_empty()).await;
}

/// Runs the first version as the stable one, then the second one on trial.
async fn try_second(
    sidecar: &mut Sidecar,
    operator: &Operator,
    [v1, v2]: [&(Assignment, RevisionBody); 2],
    second: &str,
) {
    sidecar.start_as(&ARGUMENTS);
    operator.says.send_replace(snapshot(1, v1, Some(v1)));
    sidecar.until("p 1.0.0", || operator.runs("p", "1.0.0")).await;
    operator.says.send_replace(snapshot(2, v2, Some(v1)));
    sidecar.until(second, || operator.runs("p", second)).await;
}

#[tokio::test]
async fn a_trial_that_the_operator_ends_is_not_to_blame_for_a_later_end() {
    let mut sidecar = Sidecar::new(&[]);
    let operator = Operator::serve(sidecar.path());
    let v1 = version(&sidecar, &p("1.0.0", ""), Duration::from_secs(300));
    let v2 = version(&sidecar, &p("1.1.0", ""), Duration::from_secs(300));
    try_second(&mut sidecar, &operator, [&v1, &v2], "1.1.0").await;
    operator.says.send_replace(snapshot(3, &v1, Some(&v1)));
    sidecar.until("p 1.0.0 again", || operator.runs("p", "1.0.0")).await;

    kill(&mut sidecar).await;
    operator.heard.lock().clear();
    sidecar.start_as(&ARGUMENTS);
    sidecar.until("a restart", || operator.runs("p", "1.0.0")).await;
    assert_eq!(operator.failures(), []);
}

#[tokio::test]
async fn a_crash_in_the_grace_period_goes_back() {
    let mut sidecar = Sidecar::new(&[]);
    let operator = Operator::serve(sidecar.path());
    let v1 = version(&sidecar, &p("1.0.0", ""), Duration::from_millis(100));
    let v2 = version(&sidecar, &p("1.1.0", "exit-after 300 5"), Duration::from_secs(300));
    sidecar.start_as(&ARGUMENTS);
    operator.says.send_replace(snapshot(1, &v1, None));
    sidecar.until("proof", || operator.plugin("p").is_some_and(|p| p.proven)).await;
    operator.says.send_replace(snapshot(2, &v2, Some(&v1)));
    sidecar.until("a failure", || !operator.failures().is_empty()).await;
    assert_eq!(operator.failures()[0].reason, "CrashedInGracePeriod");
    sidecar.until("p 1.0.0", || operator.runs("p", "1.0.0")).await;
}

#[tokio::test]
async fn a_stable_version_that_crashes_in_its_grace_period_is_started_again() {
    let mut sidecar = Sidecar::new(&[]);
    let operator = Operator::serve(sidecar.path());
    let v1 = version(&sidecar, &p("1.0.0", ""), Duration::ZERO);
    let v2 = version(&sidecar, &p("1.1.0", ""), Duration::from_secs(300));
    try_second(&mut sidecar, &operator, [&v1, &v2], "1.1.0").await;
    operator.says.send_replace(snapshot(3, &v2, Some(&v2)));
    sidecar.until("the promotion", || operator.outcome(3).is_some()).await;
    let [pid] = &sidecar.processes()[..] else { panic!("one process: {:?}", sidecar.processes()) };
    assert!(std::process::Command::new("kill").args(["-KILL", pid]).status().unwrap().success());
    sidecar.until("a start", || operator.plugin("p").is_some_and(|p| p.restarts == 1 || p.version == "1.0.0")).await;
    sidecar.until("p 1.1.0 again", || operator.runs("p", "1.1.0")).await;
    assert_eq!(operator.failures(), []);
}

#[tokio::test]
async fn a_used_up_crash_budget_is_given_anew_by_a_retry_of_that_plugin_alone() {
    let mut sidecar = Sidecar::new(&[]);
    let operator = Operator::serve(sidecar.path());
    let mut dying = version(&sidecar, &p("1.0.0", "exit-after 300 5"), Duration::ZERO);
    let other = version(&sidecar, &Plugin { version: "2.0.0", ..plugin("other") }, Duration::ZERO);
    let crash_budget = CrashBudget { max_crashes: 1, ..CrashBudget::default() };
    let mut policies = Policies { crash_budget, ..Policies::default() };
    policies.reload.grace_period = Duration::ZERO;
    dying.0.policies_json = serde_json::to_vec(&policies).unwrap().into();
    dying.0.retry_token = "1".into();
    sidecar.start_as(&ARGUMENTS);
    operator.says.send_replace(stable(1, &[&dying], &[&dying]));
    let told = || operator.plugin("p").map(|p| (p.reason, p.restarts));
    let used_up = |restarts| Some(("CrashBudgetExhausted".to_owned(), restarts));
    sidecar.until("an end", || told() == used_up(1)).await;

    // Another plugin's change gives it nothing.
    operator.says.send_replace(stable(2, &[&dying, &other], &[&dying]));
    sidecar.until("other 2.0.0", || operator.runs("other", "2.0.0") && operator.outcome(2).is_some()).await;
    assert_eq!(told(), used_up(1));

    dying.0.retry_token = "2".into();
    operator.says.send_replace(stable(3, &[&dying, &other], &[&dying, &other]));
    sidecar.until("another end", || told() == used_up(3)).await;
}

#[tokio::test]
async fn a_newcomer_that_fails_leaves_its_instance_as_it_was_and_is_forgotten() {
    let mut sidecar = Sidecar::new(&[]);
    let operator = Operator::serve(sidecar.path());
    let v1 = version(&sidecar, &p("1.0.0", ""), Duration::ZERO);
    let new = version(
        &sidecar,
        &Plugin { version: "2.0.0", behave: "fail initialize no key", ..plugin("new") },
        Duration::ZERO,
    );
    std::fs::write(sidecar.path().join("ended"), "").unwrap();
    sidecar.start_as(&[&ARGUMENTS[..], &["--termination-log", "ended"]].concat());
    operator.says.send_replace(snapshot(1, &v1, Some(&v1)));
    sidecar.until("p 1.0.0", || operator.runs("p", "1.0.0")).await;
    sidecar.until("served", || operator.report().is_some_and(|report| report.served && report.ready)).await;

    let both = |plan_generation| {
        let fallback = vec![v1.0.clone()];
        several(plan_generation, &[&v1, &new]).map(|told| Snapshot { fallback, ..told })
    };
    operator.says.send_replace(both(2));
    let told = || operator.plugin("new").map(|p| (p.status, p.reason));
    let failed = Some(("error".to_owned(), "InitializeFailed".to_owned()));
    sidecar.until("the failure", || told() == failed && operator.outcome(2).is_some()).await;
    assert!(operator.report().unwrap().ready && operator.runs("p", "1.0.0"));
    // It says so after its restart, too.
    sidecar.signal("-TERM");
    sidecar.exit().await;
    let message = std::fs::read_to_string(sidecar.path().join("ended")).unwrap();
    let left = Termination::decode(&message).unwrap();
    assert_eq!((left.plan_generation, left.revisions), (2, vec![revision::RevisionId(v1.0.revision.clone())]));
    sidecar.start_as(&ARGUMENTS);
    sidecar.until("a restart", || operator.runs("p", "1.0.0") && told() == failed).await;

    operator.says.send_replace(snapshot(3, &v1, Some(&v1)));
    sidecar.until("an end", || operator.report().is_some_and(|r| r.plan_generation == 3 && r.plugins.len() == 1)).await;
}

#[tokio::test]
async fn a_closed_plugin_that_fails_in_the_first_set_is_not_skipped() {
    let mut sidecar = Sidecar::new(&[]);
    let operator = Operator::serve(sidecar.path());
    let v1 = version(&sidecar, &p("1.0.0", ""), Duration::ZERO);
    let new = version(
        &sidecar,
        &Plugin { version: "2.0.0", behave: "fail initialize no key", ..plugin("new") },
        Duration::ZERO,
    );
    sidecar.start_as(&ARGUMENTS);
    operator.says.send_replace(several(1, &[&v1, &new]).map(|told| Snapshot { first_set: true, ..told }));
    sidecar.until("p 1.0.0", || operator.runs("p", "1.0.0")).await;
    let ready = || operator.report().is_some_and(|report| report.ready);
    sidecar.until("no readiness", || operator.outcome(1).is_some() && !ready()).await;
    sidecar.until("a refusal", || sidecar.http("GET", "/readyz").0 == 503).await;
    assert_eq!(sidecar.request("/hello").await, Some(503));

    let fallback = vec![v1.0.clone()];
    operator.says.send_replace(several(2, &[&v1]).map(|told| Snapshot { fallback, ..told }));
    sidecar.until("readiness", || ready() && sidecar.http("GET", "/readyz").0 == 200).await;
    assert_eq!(sidecar.request("/hello").await, None);
}

#[tokio::test]
async fn a_stable_closed_plugin_that_does_not_come_up_is_not_skipped() {
    let mut sidecar = Sidecar::new(&[]);
    let operator = Operator::serve(sidecar.path());
    let v1 = version(&sidecar, &p("1.0.0", "fail initialize no key"), Duration::ZERO);
    let v2 = version(&sidecar, &p("2.0.0", ""), Duration::ZERO);
    sidecar.start_as(&ARGUMENTS);
    operator.says.send_replace(snapshot(1, &v1, Some(&v1)));
    // While it is tried again and again, it is loading most of the time.
    let readyz = || sidecar.http("GET", "/readyz").0;
    let tries = || sidecar.calls().iter().filter(|call| *call == "p initialize v1.0.0").count();
    sidecar.until_log("admin on http://").await;
    let failed_often = || {
        assert_eq!(readyz(), 503);
        operator.outcome(1) == Some(Outcome::RolledBack) && tries() > 3
    };
    sidecar.until("tries", failed_often).await;
    assert_eq!(sidecar.request("/").await, Some(503));
    assert!(operator.report().is_some_and(|report| !report.ready && !report.served));

    operator.says.send_replace(snapshot(2, &v2, Some(&v2)));
    sidecar.until("readiness", || operator.runs("p", "2.0.0") && readyz() == 200).await;
    assert_eq!(sidecar.request("/").await, None);
}

#[tokio::test]
async fn a_plugin_that_becomes_stable_elsewhere_is_not_skipped_here() {
    let mut sidecar = Sidecar::new(&[]);
    let operator = Operator::serve(sidecar.path());
    let x = version(&sidecar, &plugin("x"), Duration::ZERO);
    let new = Plugin { version: "2.0.0", behave: "fail initialize no key", ..plugin("new") };
    let new = version(&sidecar, &new, Duration::ZERO);
    sidecar.start_as(&ARGUMENTS);
    operator.says.send_replace(stable(1, &[&x, &new], &[&x]));
    sidecar.until("the failure", || operator.outcome(1).is_some() && !operator.failures().is_empty()).await;
    assert_eq!((sidecar.http("GET", "/readyz").0, sidecar.request("/").await), (200, None));
    operator.says.send_replace(stable(2, &[&x, &new], &[&x, &new]));
    sidecar.until("the end of readiness", || operator.outcome(2).is_some()).await;
    assert_eq!((sidecar.http("GET", "/readyz").0, sidecar.request("/").await), (503, Some(503)));
}

#[tokio::test]
async fn an_unknown_revision_holds_back_its_plugin_alone() {
    let mut sidecar = Sidecar::new(&[]);
    let operator = Operator::serve(sidecar.path());
    let x = version(&sidecar, &Plugin { version: "1.0.0", ..plugin("x") }, Duration::ZERO);
    let y = version(&sidecar, &Plugin { version: "2.0.0", ..plugin("y") }, Duration::ZERO);
    let bodies = vec![x.1.clone()];
    sidecar.start_as(&ARGUMENTS);
    operator.says.send_replace(stable(1, &[&x, &y], &[&x, &y]).map(|told| Snapshot { bodies, ..told }));
    sidecar.until("x 1.0.0", || operator.runs("x", "1.0.0") && operator.outcome(1).is_some()).await;
    let failures = || operator.failures().into_iter().map(|f| (f.plugin, f.reason)).collect::<Vec<_>>();
    sidecar.until("a failure", || failures() == [("y".to_owned(), "RevisionUnknown".to_owned())]).await;
    let told = operator.plugin("y").map(|y| (y.status, y.reason));
    assert_eq!(told, Some(("error".to_owned(), "RevisionUnknown".to_owned())));
    assert_eq!((sidecar.http("GET", "/readyz").0, sidecar.request("/").await), (503, Some(503)));

    let unread = |told: Snapshot| Snapshot { framework_version: "new".into(), ..told };
    operator.says.send_replace(stable(2, &[&x, &y], &[&x, &y]).map(unread));
    sidecar.until("an answer", || operator.outcome(2) == Some(Outcome::Waiting)).await;
    sidecar.until("a failure", || failures().last().is_some_and(|f| f.1 == "SnapshotUnreadable")).await;

    operator.says.send_replace(stable(3, &[&x, &y], &[&x, &y]));
    sidecar.until("y 2.0.0", || operator.runs("y", "2.0.0") && sidecar.http("GET", "/readyz").0 == 200).await;
}

#[tokio::test]
async fn requests_wait_for_the_set_of_another_host() {
    let mut sidecar = Sidecar::new(&[]);
    let operator = Operator::serve(sidecar.path());
    let other = |told: Option<Snapshot>| {
        told.map(|told| Snapshot { host_uid: "other".into(), host: "shop/other".into(), ..told })
    };
    let x = version(&sidecar, &Plugin { version: "1.0.0", ..plugin("x") }, Duration::ZERO);
    let slow = Plugin { version: "2.0.0", behave: "sleep start 3000", ..plugin("y") };
    let y = version(&sidecar, &slow, Duration::ZERO);
    sidecar.start_as(&ARGUMENTS);
    operator.says.send_replace(snapshot(7, &x, Some(&x)));
    sidecar.until("readiness", || operator.runs("x", "1.0.0") && sidecar.http("GET", "/readyz").0 == 200).await;

    operator.says.send_replace(other(snapshot(1, &y, Some(&y))));
    sidecar.until("a slow start", || sidecar.calls().contains(&"y start".to_owned())).await;
    assert_eq!(sidecar.http("GET", "/readyz"), (503, "the first plugin set has not run yet".to_owned()));
    assert_eq!(sidecar.request("/").await, None);
    assert!(sidecar.get("y").await.is_ok_and(|y| y.status == "running"), "the request waited for y");
    sidecar.until("readiness", || operator.runs("y", "2.0.0") && sidecar.http("GET", "/readyz").0 == 200).await;
    assert!(operator.plugin("x").is_none());
}

#[tokio::test]
async fn an_instance_that_never_served_is_not_kept_ready() {
    let mut sidecar = Sidecar::new(&[]);
    let operator = Operator::serve(sidecar.path());
    let v1 = version(&sidecar, &p("1.0.0", "fail initialize no key"), Duration::ZERO);
    sidecar.start_as(&ARGUMENTS);
    operator.says.send_replace(snapshot(1, &v1, None).map(|told| Snapshot { first_set: true, ..told }));
    sidecar.until("the failure", || operator.outcome(1).is_some() && !operator.failures().is_empty()).await;
    operator.keeps.send_replace(true);
    sidecar.until_log("Stays ready by the operator's word").await;
    assert_eq!(sidecar.http("GET", "/readyz").0, 503);
    let next = operator.heard.lock().len() + 1;
    operator.says.send_replace(snapshot(2, &v1, None).map(|told| Snapshot { first_set: true, ..told }));
    sidecar.until("another report", || operator.outcome(2).is_some() && operator.heard.lock().len() > next).await;
    assert!(operator.report().is_some_and(|report| !report.served && !report.ready));
}

/// A stable set of two, of which the second is moving to a version whose Start takes 50 s.
async fn busy(sidecar: &mut Sidecar, operator: &Operator) -> [(Assignment, RevisionBody); 3] {
    let mut x = version(sidecar, &Plugin { version: "1.0.0", ..plugin("x") }, Duration::ZERO);
    x.0.permissions.push("network".into());
    let y1 = version(sidecar, &Plugin { version: "1.1.0", ..plugin("y") }, Duration::ZERO);
    let slow = Plugin { version: "1.2.0", behave: "sleep start 50000", ..plugin("y") };
    let y2 = version(sidecar, &slow, Duration::ZERO);
    sidecar.start_as(&ARGUMENTS);
    operator.says.send_replace(stable(1, &[&x, &y1], &[&x, &y1]));
    sidecar.until("both", || operator.runs("x", "1.0.0") && operator.runs("y", "1.1.0")).await;
    operator.says.send_replace(stable(2, &[&x, &y2], &[&x, &y1]));
    sidecar.until("a slow start", || sidecar.calls().iter().filter(|call| *call == "y start").count() == 2).await;
    [x, y1, y2]
}

fn stable(
    plan_generation: u64,
    targets: &[&(Assignment, RevisionBody)],
    fallback: &[&(Assignment, RevisionBody)],
) -> Option<Snapshot> {
    let told = several(plan_generation, targets)?;
    let bodies = told.bodies.iter().cloned().chain(fallback.iter().map(|f| f.1.clone())).collect();
    Some(Snapshot { fallback: fallback.iter().map(|f| f.0.clone()).collect(), bodies, ..told })
}

#[tokio::test]
async fn a_withdrawn_plugin_ends_while_another_one_starts() {
    let mut sidecar = Sidecar::new(&[]);
    let operator = Operator::serve(sidecar.path());
    busy(&mut sidecar, &operator).await;
    operator.withdraws.send_replace(Some(Withdraw { plugins: vec!["x".into()], ..Withdraw::default() }));
    sidecar.until("the end of x", || operator.plugin("x").is_none() && sidecar.processes().len() == 1).await;
    assert!(sidecar.calls().contains(&"x stop".to_owned()));
    assert!(!operator.runs("y", "1.2.0"), "y has not started yet");
}

#[tokio::test]
async fn limits_count_while_another_plugin_starts() {
    let mut sidecar = Sidecar::new(&[]);
    let operator = Operator::serve(sidecar.path());
    let [x, y1, y2] = busy(&mut sidecar, &operator).await;
    let before = sidecar.processes().len();
    let limits = |limits: &'static [u8]| {
        let told = stable(2, &[&x, &y2], &[&x, &y1]);
        operator.says.send_replace(told.map(|told| Snapshot { limits_json: limits.into(), ..told }));
    };
    // As another version may say it.
    limits(br#"{"threads": 20, "storage": 1, "unheard": {"of": []}, "tmp": "1Gi"}"#);
    sidecar.until_log("Limits of plugins changed: storage 64Ki, threads 20").await;
    limits(br#"{"threads": 30, "storage": 1}"#);
    sidecar.until_log("Limits of plugins changed: threads 30").await;
    assert!(!operator.runs("y", "1.2.0"), "y has not started yet");
    assert_eq!(sidecar.processes().len(), before, "nobody was restarted");
}

#[tokio::test]
async fn a_withdrawn_permission_is_gone_while_another_plugin_starts() {
    let mut sidecar = Sidecar::new(&[]);
    let operator = Operator::serve(sidecar.path());
    let [mut x, y1, y2] = busy(&mut sidecar, &operator).await;
    x.0.permissions.retain(|permission| permission != "network");
    operator.says.send_replace(stable(3, &[&x, &y2], &[&x, &y1]));
    sidecar.until("another x", || operator.plugin("x").is_some_and(|x| x.restarts == 1 && x.status == "running")).await;
    assert!(!operator.runs("y", "1.2.0"), "y has not started yet");
    assert!(operator.failures().is_empty());
}

#[tokio::test]
async fn a_grace_period_that_ends_during_a_fetch_in_vain_is_outlived() {
    let mut sidecar = Sidecar::new(&[]);
    let operator = Operator::serve(sidecar.path());
    let grace = Duration::from_secs(3);
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let v1 = version(&sidecar, &p("1.0.0", ""), Duration::ZERO);
    let v2 = version(&sidecar, &p("1.1.0", ""), grace);
    let v3 = fetched_from(&silent, version(&sidecar, &p("1.2.0", ""), grace));
    sidecar.start_as(&ARGUMENTS);
    operator.says.send_replace(stable(1, &[&v1], &[&v1]));
    sidecar.until("p 1.0.0", || operator.runs("p", "1.0.0")).await;
    operator.says.send_replace(stable(2, &[&v2], &[&v1]));
    sidecar.until("p 1.1.0", || operator.runs("p", "1.1.0")).await;
    operator.says.send_replace(stable(3, &[&v3], &[&v1]));
    let open = timeout(Duration::from_secs(20), silent.accept()).await.unwrap().unwrap();
    assert!(operator.plugin("p").is_some_and(|p| !p.proven));
    tokio::time::sleep(grace).await;
    drop((open, silent));
    sidecar.until("proof", || operator.runs("p", "1.1.0") && operator.plugin("p").is_some_and(|p| p.proven)).await;
}

#[tokio::test]
async fn a_version_on_trial_that_loses_a_permission_is_not_proven_by_its_restart() {
    let mut sidecar = Sidecar::new(&[]);
    let operator = Operator::serve(sidecar.path());
    let v1 = version(&sidecar, &p("1.0.0", ""), Duration::ZERO);
    let mut v2 = version(&sidecar, &p("2.0.0", ""), Duration::from_secs(300));
    v2.0.permissions.push("network".into());
    try_second(&mut sidecar, &operator, [&v1, &v2], "2.0.0").await;
    let permissions = vec![Allowed { plugin: "p".into(), permissions: vec!["filesystem".into()] }];
    operator.withdraws.send_replace(Some(Withdraw { permissions, ..Withdraw::default() }));
    let restarted = || operator.plugin("p").filter(|p| p.restarts == 1 && p.status == "running");
    sidecar.until("another process", || restarted().is_some()).await;
    assert_eq!(restarted().map(|p| (p.version, p.proven)), Some(("2.0.0".to_owned(), false)));
}

/// Has the copy of a version that the sidecar runs behave in another way.
fn change_copy(sidecar: &Sidecar, version: &str, behave: &str) {
    let manifests = walk(&sidecar.path().join("data")).into_iter().filter(|file| file.ends_with("plugin.yaml"));
    let is_wanted = |file: &std::path::PathBuf| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        text.lines().any(|line| line == format!("version: {version}"))
    };
    let copies: Vec<_> = manifests.filter(is_wanted).collect();
    assert!(!copies.is_empty(), "no copy of {version}");
    copies.iter().for_each(|copy| std::fs::write(copy.with_file_name("behave"), behave).unwrap());
}

/// All files below a directory.
fn walk(directory: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.flat_map(|e| if e.path().is_dir() { walk(&e.path()) } else { vec![e.path()] }).collect()
}

#[tokio::test]
async fn a_version_that_comes_back_late_to_its_trial_is_not_proven() {
    let mut sidecar = Sidecar::new(&[]);
    let operator = Operator::serve(sidecar.path());
    let grace = Duration::from_secs(4);
    let v1 = version(&sidecar, &p("1.0.0", ""), grace);
    let mut v2 = version(&sidecar, &p("2.0.0", ""), grace);
    let mut policies: Policies = serde_json::from_slice(&v2.0.policies_json).unwrap();
    policies.crash_budget.max_crashes = 50;
    v2.0.policies_json = serde_json::to_vec(&policies).unwrap().into();
    let v3 = version(&sidecar, &p("3.0.0", "fail initialize no key"), grace);
    try_second(&mut sidecar, &operator, [&v1, &v2], "2.0.0").await;
    change_copy(&sidecar, "2.0.0", "fail initialize not now");
    operator.says.send_replace(snapshot(3, &v3, Some(&v1)));
    // The pauses between seven tries are longer than the grace period.
    let tries = || sidecar.calls().iter().filter(|call| *call == "p initialize v2.0.0").count();
    sidecar.until("no way back", || tries() > 7).await;
    change_copy(&sidecar, "2.0.0", "");
    let proven = || operator.plugin("p").filter(|p| p.version == "2.0.0" && p.status == "running").map(|p| p.proven);
    sidecar.until("p 2.0.0 again", || proven().is_some()).await;
    assert_eq!(proven(), Some(false));
    sidecar.until("proof", || proven() == Some(true)).await;
}

#[tokio::test]
async fn a_plugin_that_is_new_here_begins_under_the_newest_limits() {
    let mut sidecar = Sidecar::new(&[]);
    let operator = Operator::serve(sidecar.path());
    let manifest = "config: {level: {type: string, default: low}}";
    let slow = Plugin { manifest, behave: "sleep on_config_change 2000", ..plugin("x") };
    let mut x = version(&sidecar, &slow, Duration::ZERO);
    let mut new = version(&sidecar, &Plugin { version: "2.0.0", ..plugin("new") }, Duration::ZERO);
    new.0.permissions.push("network".into());
    sidecar.start_as(&ARGUMENTS);
    operator.says.send_replace(stable(1, &[&x], &[&x]));
    sidecar.until("x 1.0.0", || operator.runs("x", "1.0.0")).await;
    x.0.config = Some((&serde_json::Map::from_iter([("level".to_owned(), "loud".into())])).into());
    operator.says.send_replace(stable(2, &[&x, &new], &[&x]));
    let asked = || sidecar.calls().iter().any(|call| call.starts_with("x on_config_change"));
    sidecar.until("a change that takes long", asked).await;
    let permissions = vec![Allowed { plugin: "new".into(), permissions: vec!["filesystem".into()] }];
    operator.withdraws.send_replace(Some(Withdraw { permissions, ..Withdraw::default() }));
    sidecar.until("new 2.0.0", || operator.runs("new", "2.0.0")).await;
    // Without limits its start would have been given up first.
    assert!(!sidecar.log().contains("Failed to load plugin: new"), "{}", sidecar.log());
    assert_eq!((operator.plugin("new").map(|new| new.restarts), operator.failures().len()), (Some(0), 0));
}

/// The same version, at a server that the test plays.
fn fetched_from(server: &TcpListener, mut version: (Assignment, RevisionBody)) -> (Assignment, RevisionBody) {
    let mut body: serde_json::Value = serde_json::from_slice(&version.1.body_json).unwrap();
    let url = format!("http://{}/new", server.local_addr().unwrap());
    body["source"] = serde_json::json!({"http": {"url": url, "sha256": "0".repeat(64)}});
    version.1.body_json = serde_json::to_vec(&body).unwrap().into();
    version
}

#[tokio::test]
async fn a_plugin_that_loses_a_permission_serves_while_another_version_of_it_is_fetched() {
    let mut sidecar = Sidecar::new(&[]);
    let operator = Operator::serve(sidecar.path());
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut v1 = version(&sidecar, &p("1.0.0", ""), Duration::ZERO);
    let mut v2 = fetched_from(&silent, version(&sidecar, &p("2.0.0", ""), Duration::ZERO));
    for told in [&mut v1, &mut v2] {
        told.0.permissions.push("network".into());
    }
    sidecar.start_as(&ARGUMENTS);
    operator.says.send_replace(snapshot(1, &v1, Some(&v1)));
    sidecar.until("p 1.0.0", || operator.runs("p", "1.0.0")).await;
    operator.says.send_replace(snapshot(2, &v2, Some(&v1)));
    let _first = timeout(Duration::from_secs(20), silent.accept()).await.unwrap().unwrap();
    for told in [&mut v1, &mut v2] {
        told.0.permissions.retain(|permission| permission != "network");
    }
    operator.says.send_replace(snapshot(3, &v2, Some(&v1)));
    let _second = timeout(Duration::from_secs(20), silent.accept()).await.unwrap().unwrap();
    let started = || sidecar.calls().iter().filter(|call| *call == "p start").count();
    sidecar.until("another process", || operator.runs("p", "1.0.0") && started() == 2).await;
    sidecar.until("its report", || operator.plugin("p").map(|p| p.restarts) == Some(1)).await;
    assert_eq!(operator.failures().len(), 0);
}

#[tokio::test]
async fn a_version_that_lost_nothing_serves_on_while_another_one_loses_a_permission() {
    let mut sidecar = Sidecar::new(&[]);
    let operator = Operator::serve(sidecar.path());
    let v1 = version(&sidecar, &p("1.0.0", ""), Duration::ZERO);
    let mut v2 = version(&sidecar, &p("2.0.0", ""), Duration::ZERO);
    // It never answers the sidecar.
    let program = sidecar.path().join("versions/2.0.0/p");
    std::fs::remove_file(&program).unwrap();
    std::fs::write(&program, "#!/bin/sh\necho p waits >> $PROBE_LOG\nkill -STOP $$\n").unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    sidecar.start_as(&ARGUMENTS);
    operator.says.send_replace(snapshot(1, &v1, Some(&v1)));
    sidecar.until("p 1.0.0", || operator.runs("p", "1.0.0")).await;
    let count = |text: &str| sidecar.calls().iter().filter(|call| *call == text).count();
    v2.0.permissions.push("network".into());
    operator.says.send_replace(snapshot(2, &v2, Some(&v1)));
    sidecar.until("a process", || count("p waits") == 1).await;
    v2.0.permissions.retain(|permission| permission != "network");
    operator.says.send_replace(snapshot(3, &v2, Some(&v1)));
    sidecar.until("another process", || count("p waits") == 2).await;
    assert_eq!((count("p stop"), count("p start"), operator.runs("p", "1.0.0")), (0, 1, true));
}

#[tokio::test]
async fn a_fetch_that_nobody_wants_any_more_is_given_up() {
    let mut sidecar = Sidecar::new(&[]);
    let operator = Operator::serve(sidecar.path());
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let v1 = version(&sidecar, &p("1.0.0", ""), Duration::ZERO);
    let v2 = version(&sidecar, &p("1.1.0", ""), Duration::ZERO);
    let new = version(&sidecar, &Plugin { version: "2.0.0", ..plugin("new") }, Duration::ZERO);
    let new = fetched_from(&silent, new);
    sidecar.start_as(&ARGUMENTS);
    operator.says.send_replace(stable(1, &[&v1], &[&v1]));
    sidecar.until("p 1.0.0", || operator.runs("p", "1.0.0")).await;
    operator.says.send_replace(stable(2, &[&v1, &new], &[&v1]));
    let _open = timeout(Duration::from_secs(20), silent.accept()).await.unwrap().unwrap();
    operator.says.send_replace(stable(3, &[&v2], &[&v1]));
    sidecar.until("p 1.1.0", || operator.runs("p", "1.1.0") && operator.plugin("new").is_none()).await;
    assert!(operator.failures().is_empty());
}

#[tokio::test]
async fn what_was_begun_beside_a_newcomer_goes_with_it() {
    let mut sidecar = Sidecar::new(&[]);
    let operator = Operator::serve(sidecar.path());
    let grace = Duration::from_secs(300);
    let needs = "dependencies: [{name: b, version: '>=1.0.0'}]";
    let a = version(&sidecar, &Plugin { manifest: needs, version: "1.0.1", ..plugin("a") }, grace);
    let b = version(&sidecar, &Plugin { version: "1.0.2", behave: "exit-after 3000 5", ..plugin("b") }, grace);
    let c = version(&sidecar, &Plugin { version: "1.0.3", ..plugin("c") }, grace);
    sidecar.start_as(&ARGUMENTS);
    operator.says.send_replace(stable(1, &[&c], &[&c]));
    sidecar.until("c", || operator.runs("c", "1.0.3")).await;
    operator.says.send_replace(stable(2, &[&b, &c], &[&c]));
    sidecar.until("b", || operator.runs("b", "1.0.2")).await;
    operator.says.send_replace(stable(3, &[&b, &a, &c], &[&c]));
    sidecar.until("a", || operator.runs("a", "1.0.1")).await;
    let told = |name| operator.plugin(name).map(|p| (p.status, p.reason));
    let down = |reason: &str| Some(("error".to_owned(), reason.to_owned()));
    sidecar.until("an end of both", || told("a") == down("MovedWithFailed")).await;
    assert_eq!(told("b"), down("CrashedInGracePeriod"));
    assert!(operator.runs("c", "1.0.3"));
}

#[tokio::test]
async fn a_member_of_a_trial_that_moves_again_and_fails_stays_with_its_partner() {
    let mut sidecar = Sidecar::new(&[]);
    let operator = Operator::serve(sidecar.path());
    let grace = Duration::from_secs(300);
    let made = |name, number, behave| Plugin { version: number, behave, ..plugin(name) };
    let a1 = version(&sidecar, &made("a", "1.0.1", ""), grace);
    let b1 = version(&sidecar, &made("b", "1.0.2", ""), grace);
    let needs = "dependencies: [{name: b, version: '>=2.0.0'}]";
    let a2 = version(&sidecar, &Plugin { manifest: needs, ..made("a", "2.0.1", "") }, grace);
    let b2 = version(&sidecar, &made("b", "2.0.2", ""), grace);
    let refused = version(&sidecar, &made("b", "2.1.2", "fail initialize no key"), grace);
    let crashes = version(&sidecar, &made("b", "2.2.2", "exit-after 300 5"), grace);
    let stable_set = [&a1, &b1];
    sidecar.start_as(&ARGUMENTS);
    operator.says.send_replace(stable(1, &[&b1, &a1], &stable_set));
    sidecar.until("the first set", || operator.runs("a", "1.0.1") && operator.runs("b", "1.0.2")).await;
    operator.says.send_replace(stable(2, &[&b2, &a2], &stable_set));
    let together = || operator.runs("a", "2.0.1") && operator.runs("b", "2.0.2");
    sidecar.until("both", together).await;
    operator.says.send_replace(stable(3, &[&refused, &a2], &stable_set));
    sidecar.until("a refusal", || operator.failures().len() == 1 && together()).await;
    operator.says.send_replace(stable(4, &[&crashes, &a2], &stable_set));
    sidecar.until("a crash", || operator.failures().len() == 2 && together()).await;
    assert_eq!(operator.failures()[1].reason, "CrashedInGracePeriod");
    let initialised = |v: &str| sidecar.calls().iter().filter(|call| call.ends_with(v)).count();
    assert_eq!(
        (initialised("v1.0.1"), initialised("v1.0.2"), initialised("v2.0.1")),
        (1, 1, 1),
        "nothing went further back"
    );
}
