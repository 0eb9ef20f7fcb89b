//! 9: metrics, health, error thresholds.

use crate::{
    app::App,
    calls::alive,
    http,
    scene::{Scene, install, named, script, write},
    world::{World, built, kill, plugin},
};
use axum::{Json, Router, extract::State, routing::post};
use rockstar_proto::{
    app::{HookMetrics, SetErrorThresholdRequest},
    types::Empty,
};
use serde_json::{Value, json};
use std::{
    fs::{self, File},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::{net::TcpListener, sync::mpsc, time::sleep};
use tonic::Code;

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

async fn scene() -> Scene {
    Scene::new(&[("p", json!({}))]).await
}

/// One plugin, acting on so many errors.
async fn limited(rule: Value) -> Scene {
    Scene::with(json!({"error_threshold": rule}), &[("p", json!({}))]).await
}

#[tokio::test]
async fn r9_1_1_the_duration_of_a_load() {
    let scene = scene().await;
    let took = scene.of_plugin("rockstar_plugin_load_duration_ms", "p").await.unwrap();
    assert!(took > 0.0, "{took}");
    assert_eq!(scene.report("p").await["plugin.load.duration_ms"], took);
    assert_load_is_measured().await;
}

/// What is told lies between what the load surely took and what it took for its caller.
async fn assert_load_is_measured() {
    let world = World::idle().await;
    let gate = world.path().join("gate");
    let p = alive("p", json!({})).manifest(json!({"command": ["p", "--wait", gate]}));
    let began = Instant::now();
    let (loaded, waited) = tokio::join!(world.load(&p), async {
        world.until("its process", || async { world.processes("p") == 1 }).await;
        let waits = Instant::now();
        sleep(Duration::from_millis(50)).await;
        let waited = waits.elapsed();
        fs::write(&gate, "").unwrap();
        waited
    });
    let all = began.elapsed();
    assert_eq!(loaded, Ok(()));
    let metrics = world.metrics().await;
    let mut values =
        metrics.lines().filter_map(|line| line.strip_prefix("rockstar_plugin_load_duration_ms{plugin=\"p\"} "));
    let took: f64 = values.next().unwrap().parse().unwrap();
    let [waited, all] = [waited, all].map(|duration| duration.as_secs_f64() * 1000.0);
    assert!((waited..=all).contains(&took), "{waited} {took} {all}");
}

#[tokio::test]
async fn r9_1_2_whether_the_load_succeeded() {
    let scene = Scene::unawaited(json!({"plugins": {}}), &[("good", json!({}))]).await;
    install(&scene.world, "bad");
    script(&scene.world.directory_of("bad").join("bad"), "exit 3");
    write(&scene.world, &json!({"plugins": {}}), &[("good", json!({})), ("bad", json!({}))]);
    scene.world.until_status("bad", "error").await;
    scene.world.until_status("good", "running").await;
    assert_eq!(scene.of_plugin("rockstar_plugin_load_success", "good").await, Some(1.0));
    assert_eq!(scene.of_plugin("rockstar_plugin_load_success", "bad").await, Some(0.0));
}

#[tokio::test]
async fn r9_1_3_when_it_was_loaded() {
    let before = now();
    let scene = scene().await;
    let at = scene.of_plugin("rockstar_plugin_load_timestamp", "p").await.unwrap();
    assert!((before..=now()).contains(&at), "{at}");
}

#[tokio::test]
async fn r9_1_4_health_has_the_load_time() {
    let scene = scene().await;
    let load_time = scene.world.health("p").await.unwrap().load_time_ns as f64 / 1e6;
    let exposed = scene.of_plugin("rockstar_plugin_load_duration_ms", "p").await.unwrap();
    assert!((load_time - exposed).abs() < 0.001, "{load_time} {exposed}");
}

#[tokio::test]
async fn r9_2_1_executions_are_counted_by_hook_type() {
    let scene = scene().await;
    scene.times(5, "/").await;
    let labels = [("plugin", "p"), ("hook", "pre_request")];
    assert_eq!(scene.metric("rockstar_plugin_hook_execution_count", &labels).await, Some(5.0));
}

#[tokio::test]
async fn r9_2_2_the_duration_of_the_last_execution() {
    let scene = scene().await;
    let labels = [("plugin", "p"), ("hook", "pre_request")];
    let last = async || scene.metric("rockstar_plugin_hook_duration_ms", &labels).await.unwrap();
    let total = async || {
        let hook = scene.world.health("p").await.unwrap().hook_metrics["pre_request"];
        hook.total_duration_ns as f64 / 1e6
    };
    scene.get("/sleep/200").await;
    let (took, slow) = (last().await, total().await);
    assert!(took >= 200.0, "{took}");
    scene.get("/").await;
    let (took, both) = (last().await, total().await);
    // Neither of both together nor of the longest.
    assert!((took - (both - slow)).abs() < 0.001, "{took} after {slow}, {both} in all");
}

#[tokio::test]
async fn r9_2_3_errors_of_hooks_are_shown_from_zero_on() {
    let scene = scene().await;
    let labels = [("plugin", "p"), ("hook", "pre_request")];
    assert_eq!(scene.metric("rockstar_plugin_hook_error_count", &labels).await, Some(0.0));
    scene.times(3, "/fail").await;
    assert_eq!(scene.metric("rockstar_plugin_hook_error_count", &labels).await, Some(3.0));
}

#[tokio::test]
async fn r9_2_4_the_average_is_total_by_count() {
    let scene = scene().await;
    scene.times(2, "/").await;
    scene.get("/sleep/40").await;
    let labels = [("plugin", "p"), ("hook", "pre_request")];
    let average = scene.metric("rockstar_plugin_hook_average_duration_ms", &labels).await.unwrap();
    let hook = scene.world.health("p").await.unwrap().hook_metrics["pre_request"];
    assert_eq!(hook.execution_count, 3);
    assert!((average - hook.total_duration_ns as f64 / 3e6).abs() < 0.001, "{average} {hook:?}");
}

#[tokio::test]
async fn r9_2_5_health_has_the_metrics_of_each_hook_type() {
    let scene = scene().await;
    let hook = scene.world.health("p").await.unwrap().hook_metrics["pre_request"];
    assert_eq!(hook, HookMetrics::default());
    scene.times(3, "/").await;
    scene.get("/fail").await;
    let hook = scene.world.health("p").await.unwrap().hook_metrics["pre_request"];
    assert_eq!((hook.execution_count, hook.error_count), (4, 1));
    assert_eq!(hook.average_duration_ns, hook.total_duration_ns / 4);
    let labels = [("plugin", "p"), ("hook", "pre_request")];
    assert_eq!(scene.metric("rockstar_plugin_hook_execution_count", &labels).await, Some(4.0));
    assert_eq!(scene.metric("rockstar_plugin_hook_error_count", &labels).await, Some(1.0));
}

#[tokio::test]
async fn r9_3_1_errors_are_counted() {
    let scene = scene().await;
    scene.times(5, "/fail").await;
    assert_eq!(scene.of_plugin("rockstar_plugin_error_count", "p").await, Some(5.0));
    assert_eq!(scene.world.health("p").await.unwrap().error_count, 5);
}

#[tokio::test]
async fn r9_3_2_when_the_last_error_was() {
    let scene = scene().await;
    assert_eq!(scene.of_plugin("rockstar_plugin_error_last_timestamp", "p").await, None);
    let before = now();
    scene.get("/fail").await;
    let at = scene.of_plugin("rockstar_plugin_error_last_timestamp", "p").await.unwrap();
    assert!((before..=now()).contains(&at), "{at}");
    let in_health = scene.world.health("p").await.unwrap().last_error_at_unix_ns as f64 / 1e9;
    assert!((at - in_health).abs() < 0.001);
}

#[tokio::test]
async fn r9_3_3_what_the_last_error_was() {
    let scene = scene().await;
    scene.get("/fail/first").await;
    scene.get("/fail/second").await;
    assert_eq!(scene.world.health("p").await.unwrap().last_error, "failed second");
    assert_eq!(scene.report("p").await["plugin.error.last_message"], "failed second");
    assert!(!scene.scrape().await.contains("failed second"));
}

#[tokio::test]
async fn r9_4_1_plugins_and_the_application_read_a_plugins_metrics() {
    let scene = Scene::new(&[("p", json!({})), ("auth-plugin", json!({"config": {"quiet": true}}))]).await;
    let answer = scene.get("/metrics/auth-plugin").await;
    assert_eq!(answer.status, 200);
    let to_plugin: Value = serde_json::from_str(&answer.body).unwrap();
    let to_application = scene.report("auth-plugin").await;
    for name in [
        "plugin.load.duration_ms",
        "plugin.load.success",
        "plugin.load.timestamp",
        "plugin.hook.execution_count",
        "plugin.hook.duration_ms",
        "plugin.hook.error_count",
        "plugin.hook.average_duration_ms",
        "plugin.error.count",
        "plugin.error.last_timestamp",
        "plugin.error.last_message",
    ] {
        assert!(to_plugin.get(name).is_some(), "{name} is not in {to_plugin}");
        assert!(to_application.get(name).is_some(), "{name} is not in {to_application}");
    }
    assert_eq!(to_plugin["plugin.load.success"], 1);
    let unknown = scene.get("/metrics/nobody").await;
    assert_eq!((unknown.status, unknown.body.as_str()), (404, "plugin not found: 'nobody'"));
}

#[tokio::test]
async fn r9_4_2_metrics_in_prometheus_form() {
    let scene = scene().await;
    scene.get("/fail").await;
    scene.get("/count").await;
    scene.world.until("the plugin's own metric", || async { scene.scrape().await.contains("myplugin") }).await;
    let scrape = scene.scrape().await;
    for (name, kind) in [
        ("load_duration_ms", "gauge"),
        ("load_success", "gauge"),
        ("load_timestamp", "gauge"),
        ("start_duration_ms", "gauge"),
        ("start_success", "gauge"),
        ("hook_execution_count", "counter"),
        ("hook_duration_ms", "gauge"),
        ("hook_error_count", "counter"),
        ("hook_average_duration_ms", "gauge"),
        ("error_count", "counter"),
        ("error_last_timestamp", "gauge"),
        ("status", "gauge"),
    ] {
        let line = format!("# TYPE rockstar_plugin_{name} {kind}\n");
        assert!(scrape.contains(&line), "{line} is not in {scrape}");
    }
    let complaints = promtool(&scrape);
    // The names are the reference's.
    let expected = |line: &str| {
        line.contains("should have \"_total\" suffix")
            || line.contains("should not have \"_count\" suffix")
            || line.contains("should not contain abbreviated units")
            || line.contains("use base unit")
    };
    let strange: Vec<_> = complaints.lines().filter(|line| !expected(line)).collect();
    assert!(strange.is_empty(), "{strange:#?}");
}

/// What Debian's promtool says of a scrape.
fn promtool(scrape: &str) -> String {
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool: install Debian's package prometheus");
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), scrape.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    // 3: it only finds fault with names.
    assert!([Some(0), Some(3)].contains(&output.status.code()), "{output:?}");
    String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn r9_4_3_one_of_six_statuses_is_1() {
    let scene = scene().await;
    let statuses = || async {
        let of_p = |s: &crate::scene::Sample| s.name == "rockstar_plugin_status" && s.labels["plugin"] == "p";
        let samples: Vec<_> = scene.samples().await.into_iter().filter(of_p).collect();
        let set: Vec<_> = samples.iter().filter(|s| s.value == 1.0).map(|s| s.labels["status"].clone()).collect();
        (samples.len(), set)
    };
    assert_eq!(statuses().await, (6, vec!["running".to_owned()]));
    scene.manager().await.stop_all(Empty {}).await.unwrap();
    assert_eq!(statuses().await, (6, vec!["stopped".to_owned()]));
    scene.manager().await.start_all(Empty {}).await.unwrap();
    assert_eq!(statuses().await, (6, vec!["running".to_owned()]));
}

#[tokio::test]
async fn r9_5_1_the_threshold_of_the_file_in_all_formats() {
    let yaml = "framework: {version: 1.5.0}\nplugins:\n  error_threshold:\n    enabled: true\n    max_errors: 3\n    \
                time_window: \"7m\"\n    action: \"log\"\n    reset_on_success: false\n  plugins: [{name: p}]\n";
    let json = r#"{"framework": {"version": "1.5.0"}, "plugins": {"error_threshold": {"enabled": true, "max_errors": 3,
        "time_window": "7m", "action": "log", "reset_on_success": false}, "plugins": [{"name": "p"}]}}"#;
    let toml = "framework.version = \"1.5.0\"\n[plugins.error_threshold]\nenabled = true\nmax_errors = 3\n\
                time_window = \"7m\"\naction = \"log\"\nreset_on_success = false\n[[plugins.plugins]]\nname = \"p\"\n";
    for (extension, text) in [("yaml", yaml), ("json", json), ("toml", toml)] {
        let mut world = World::new();
        install(&world, "p");
        fs::write(world.path().join(format!("plugins.{extension}")), text).unwrap();
        world.start_with(&format!("plugins.{extension}"));
        world.until_status("p", "running").await;
        let app = App::new(&world).await;
        for path in ["/fail", "/", "/fail", "/fail"] {
            app.get(path).await;
        }
        world.until_log("[ERROR] Plugin p exceeded error threshold: 3/3 errors in 7m").await;
        assert_eq!(world.health("p").await.unwrap().status, "running", "{extension}");
    }
}

#[tokio::test]
async fn r9_5_2_a_threshold_set_at_run_time() {
    let common = json!({"error_threshold": {"max_errors": 50, "action": "log"}});
    let scene = Scene::with(common, &[("p", json!({})), ("q", json!({}))]).await;
    let request = |name: &str, action: &str| SetErrorThresholdRequest {
        name: name.into(),
        max_errors: 2,
        time_window_ms: 60_000,
        action: action.into(),
        reset_on_success: Some(true),
    };
    let mut manager = scene.manager().await;
    manager.set_error_threshold(request("p", "log")).await.unwrap();
    scene.times(2, "/fail").await;
    scene.world.until_log("[ERROR] Plugin p exceeded error threshold: 2/2 errors in 1m").await;
    assert!(!scene.world.log().contains("Plugin q exceeded"));
    let unknown = manager.set_error_threshold(request("nope", "log")).await.unwrap_err();
    assert_eq!((unknown.code(), unknown.message()), (Code::NotFound, "plugin not found: 'nope'"));
    let action = manager.set_error_threshold(request("p", "explode")).await.unwrap_err();
    assert_eq!(action.code(), Code::InvalidArgument);
    assert_eq!(action.message(), "unknown error threshold action: 'explode': it must be disable, log or alert");
}

#[tokio::test]
async fn r9_5_3_a_warning_close_to_the_threshold() {
    let scene = limited(json!({"max_errors": 100, "time_window": "5m", "action": "log"})).await;
    scene.times(94, "/fail").await;
    let line = "[WARN] Plugin p approaching error threshold: 95/100 errors in 5m";
    assert_eq!(scene.logged(line), 0);
    scene.times(3, "/fail").await;
    scene.world.until_log(line).await;
    assert_eq!(scene.logged(line), 1);
    assert!(!scene.world.log().contains("exceeded error threshold"));
}

#[tokio::test]
async fn r9_5_4_the_threshold_is_exceeded_when_it_is_reached() {
    let scene = limited(json!({"max_errors": 100, "time_window": "5m", "action": "log"})).await;
    scene.times(103, "/fail").await;
    let line = "[ERROR] Plugin p exceeded error threshold: 100/100 errors in 5m";
    scene.world.until_log(line).await;
    assert_eq!(scene.logged(line), 1);
}

#[tokio::test]
async fn r9_5_5_a_plugin_is_disabled() {
    let rule = json!({"error_threshold": {"max_errors": 3, "action": "disable"}});
    let scene = Scene::with(rule, &[("p", json!({})), ("q", json!({"config": {"quiet": true}}))]).await;
    scene.times(3, "/fail").await;
    assert_eq!(scene.get("/").await.status, 503, "its failure policy is closed");
    scene.world.until_log("[INFO] Plugin p automatically disabled due to error threshold").await;
    scene.world.until("the end of its process", || async { scene.world.pid_of("p").is_none() }).await;
    let info = scene.info("p").await;
    assert_eq!((info.enabled, info.loaded, info.status.as_str()), (false, true, "error"));
    let executions = |plugin| {
        let scene = &scene;
        async move {
            let labels = [("plugin", plugin), ("hook", "pre_request")];
            scene.metric("rockstar_plugin_hook_execution_count", &labels).await.unwrap()
        }
    };
    let before = (executions("p").await, executions("q").await);
    scene.times(2, "/").await;
    assert_eq!((executions("p").await, executions("q").await), (before.0, before.1 + 2.0));
    assert_eq!(scene.info("q").await.status, "running");
    scene.world.reload("p").await.unwrap();
    assert_eq!(scene.get("/").await.status, 200);
    assert!(scene.info("p").await.enabled);
    assert_left_alone_once_disabled().await;
}

/// p fails at each request and stays in its Stop; q publishes an event after each, and tells to how many it goes. Both
/// note hooks, middleware and events.
async fn failing_and_publishing() -> World {
    let rule = json!({"max_errors": 2, "action": "disable", "reset_on_success": false});
    let steps = json!({"Initialize": "middleware; listen tick", "Stop": "wait stop"});
    let p = plugin("p", json!([{"type": "pre_request", "do": "fail no"}])).life(steps).open();
    let p = p.with(json!({"error_threshold": rule, "stop_timeout": "60s"}));
    let publishes = json!([{"type": "pre_request"}, {"type": "post_response", "do": "publish tick"}]);
    let q = plugin("q", publishes).life(json!({"Initialize": "debug; middleware; listen tick"}));
    let world = World::started(&[p, q]).await;
    world.until_log("q: debugs").await;
    world
}

/// As long as its process lives, it could tell of what comes to it.
async fn assert_left_alone_once_disabled() {
    let world = failing_and_publishing().await;
    let app = App::new(&world).await;
    assert_eq!(app.get("/first").await.status, 200);
    for line in ["p.pre_request /first", "p.middleware /first", "p.heard tick"] {
        world.until_traced(line).await;
    }
    assert_eq!(app.get("/second").await.status, 200);
    world.until_traced("p.Stop 1.0.0").await;
    let heard = || async { world.trace().iter().filter(|line| *line == "q.heard tick").count() == 2 };
    world.until("q to hear of both requests", heard).await;
    world.forget_trace();
    assert_eq!(app.get("/third").await.status, 200);
    world.until_traced("q.heard tick").await;
    let expected =
        ["q.pre_request /third", "q.middleware /third", "handler /third", "q.post_response 200", "q.heard tick"];
    assert_eq!(world.trace(), expected);
    // What is handed to q alone cannot come to p late.
    let published = "[DEBUG] q: Event published: tick: ";
    let alone = || async {
        let log = world.log();
        log.lines().filter_map(|line| line.strip_prefix(published)).nth(2) == Some("1 subscribers")
    };
    world.until("the third event to be handed to q alone", alone).await;
    assert!(world.log().contains(&format!("{published}2 subscribers")), "{}", world.log());
    world.go("stop");
    world.until("the end of its process", || async { world.pid_of("p").is_none() }).await;
}

#[tokio::test]
async fn r9_5_6_the_action_log_lets_the_plugin_go_on() {
    let scene = limited(json!({"max_errors": 3, "action": "log"})).await;
    scene.times(5, "/fail").await;
    scene.world.until_log("[ERROR] Plugin p exceeded error threshold: 3/3 errors in 5m").await;
    assert_eq!(scene.info("p").await.status, "running");
    assert_eq!(scene.get("/").await.status, 200);
}

#[tokio::test]
async fn r9_5_7_the_action_alert_tells_the_monitoring_system() {
    let (sender, mut alerts) = mpsc::channel::<Value>(8);
    let take = |State(sender): State<mpsc::Sender<Value>>, Json(body): Json<Value>| async move {
        sender.send(body).await.unwrap();
    };
    let router = Router::new().route("/api/v2/alerts", post(take)).with_state(sender);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let webhook = format!("http://{}/api/v2/alerts", listener.local_addr().unwrap());
    let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let scene = limited(json!({"max_errors": 3, "action": "alert", "webhook": webhook})).await;
    let series = "rockstar_plugin_error_threshold_exceeded";
    assert_eq!(scene.of_plugin(series, "p").await, Some(0.0));
    scene.times(3, "/fail").await;
    assert_eq!(scene.of_plugin(series, "p").await, Some(1.0));
    let alert = alerts.recv().await.unwrap();
    let labels = json!({"alertname": "PluginErrorThresholdExceeded", "plugin": "p", "severity": "warning"});
    assert_eq!(alert[0]["labels"], labels);
    let summary = "Plugin p exceeded error threshold: 3/3 errors in 5m";
    assert_eq!(alert[0]["annotations"]["summary"], summary);
    assert_eq!(scene.logged(&format!("[ERROR] {summary}")), 1);
    assert_eq!(scene.get("/").await.status, 200, "it goes on");
    server.abort();
}

#[tokio::test]
async fn r9_5_8_errors_outside_the_window_do_not_count() {
    let window = Duration::from_secs(2);
    let rule = json!({"max_errors": 60, "time_window": "2s", "action": "log", "reset_on_success": false});
    let scene = limited(rule).await;
    scene.times(40, "/fail").await;
    sleep(window + Duration::from_millis(100)).await;
    scene.times(40, "/fail").await;
    assert_eq!(scene.world.health("p").await.unwrap().error_count, 80);
    assert!(!scene.world.log().contains("error threshold"), "{}", scene.world.log());
}

#[tokio::test]
async fn r9_5_9_a_success_resets_the_count_but_not_the_health() {
    for (reset, exceeded) in [(true, 0), (false, 1)] {
        let scene = limited(json!({"max_errors": 100, "action": "log", "reset_on_success": reset})).await;
        scene.times(99, "/fail").await;
        scene.get("/").await;
        scene.times(99, "/fail").await;
        assert_eq!(scene.world.health("p").await.unwrap().error_count, 198);
        // The log is written in order: what comes later shows that nothing came before.
        scene.world.reload("p").await.unwrap();
        scene.get("/log").await;
        scene.world.until_log("an info record").await;
        assert_eq!(scene.logged("[ERROR] Plugin p exceeded error threshold: 100/100 errors in 5m"), exceeded);
    }
}

#[tokio::test]
async fn r9_5_10_a_threshold_can_be_switched_off() {
    let scene = limited(json!({"enabled": false, "max_errors": 10})).await;
    scene.times(50, "/fail").await;
    assert_eq!(scene.info("p").await.status, "running");
    assert_eq!(scene.world.health("p").await.unwrap().error_count, 50);
    assert!(!scene.world.log().contains("error threshold"));
}

/// That of the examples.
const DEFAULT: &str = "127.0.0.1:8080";

/// A sidecar that ends with the test.
struct Sidecar(Child);

impl Drop for Sidecar {
    fn drop(&mut self) {
        kill("-TERM", self.0.id());
        self.0.wait().ok();
    }
}

/// One that is not told where to serve metrics and admin. None: somebody else has the default address.
async fn on_the_default_address(world: &World) -> Option<Sidecar> {
    drop(std::net::TcpListener::bind(DEFAULT).ok()?);
    install(world, "p");
    write(world, &json!({}), &[("p", json!({}))]);
    let log = File::create(world.path().join("log")).unwrap();
    let child = Command::new(built("rockstar-sidecar"))
        .args(["--config", "plugins.json", "--socket", "app.sock", "--run-dir", "run", "--data-dir", "data"])
        .env_remove("ROCKSTAR_ADMIN")
        .current_dir(world.path())
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn();
    let sidecar = Sidecar(child.unwrap());
    let serves = || world.log().contains(&format!("admin on http://{DEFAULT}\n"));
    let is_taken = || world.log().contains(&format!("failed to listen on {DEFAULT}"));
    world.until("it to serve, or its address to be taken", || async { serves() || is_taken() }).await;
    serves().then_some(sidecar)
}

async fn assert_commands_work(address: SocketAddr) {
    let scraped = http::get(address, "/metrics").await;
    assert!(scraped.body.contains("rockstar_plugin_error_count{plugin=\"p\"} 0"), "{}", scraped.body);
    let answer = http::request(address, "POST", "/admin/plugins/p/reload", &[], "").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"plugin":"p","reloaded":true}"#));
    let unknown = http::request(address, "POST", "/admin/plugins/nope/reload", &[], "").await;
    assert_eq!((unknown.status, unknown.body.as_str()), (404, r#"{"error":"plugin not found: 'nope'"}"#));
}

#[tokio::test]
async fn rb_5_the_commands_of_the_reference_work() {
    let scene = scene().await;
    assert_commands_work(scene.admin()).await;
    let help = Command::new(built("rockstar-sidecar")).arg("--help").output().unwrap();
    assert!(String::from_utf8(help.stdout).unwrap().contains(DEFAULT));
    assert!(scene.manager().await.is_loaded(named("p")).await.unwrap().into_inner().loaded);
    let world = World::new();
    let Some(_sidecar) = on_the_default_address(&world).await else {
        eprintln!("{DEFAULT} is somebody else's: no sidecar was tried there");
        return;
    };
    world.until_status("p", "running").await;
    assert_commands_work(DEFAULT.parse().unwrap()).await;
}
