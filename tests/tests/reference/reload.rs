//! 7: hot reload.

use crate::{
    app::App,
    calls::alive,
    http::{self, Answer},
    user::{Users, helper, user},
    world::{Plugin, World, plugin},
};
use rockstar_proto::app::ReloadConfig;
use serde_json::{Value, json};
use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt};
use tokio::task::JoinHandle;

/// Requests that arrive at about the same time.
const GROUP: usize = 5;

const FAILED: &str = "plugin reload failed: new version initialization error: plugin initialization failed: no";

/// Listens to requests; its answers bear its version.
fn p(steps: Value) -> Plugin {
    let hooks = json!([{"type": "pre_request"}, {"type": "pre_response", "do": "header x-version $version"}]);
    plugin("p", hooks).life(steps)
}

fn next(steps: Value) -> Plugin {
    p(steps).version("1.1.0")
}

/// Requests that are on their way.
fn requests(address: SocketAddr, count: usize) -> Vec<JoinHandle<Answer>> {
    (0..count).map(|n| request(address, n)).collect()
}

fn request(address: SocketAddr, n: usize) -> JoinHandle<Answer> {
    tokio::spawn(async move { http::get(address, &format!("/{n}")).await })
}

async fn answers(requests: Vec<JoinHandle<Answer>>) -> Vec<Answer> {
    futures::future::join_all(requests).await.into_iter().map(Result::unwrap).collect()
}

/// The version before serves, and that is what is told.
async fn assert_restored(world: &World, app: &App) {
    assert_eq!((world.version("p").await, world.status("p").await), ("1.0.0".into(), "running".into()));
    assert!(world.is_loaded("p").await);
    let answer = app.get("/").await;
    assert_eq!((answer.status, answer.headers["x-version"].as_str()), (200, "1.0.0"));
    assert_eq!((world.processes("p"), world.directories()), (1, 1));
}

#[tokio::test]
async fn r7_1_1_stop_is_called_on_the_current_version() {
    let world = World::started(&[alive("p", json!({}))]).await;
    world.install(&alive("p", json!({})).version("1.1.0"));
    assert_eq!(world.reload_plugin("p").await, Ok(()));
    let of_v1: Vec<_> = world.trace().into_iter().filter(|line| line.ends_with("1.0.0")).collect();
    assert_eq!(of_v1[2..], ["p.Stop 1.0.0", "p.Cleanup 1.0.0"]);
}

#[tokio::test]
async fn r7_2_1_the_current_version_leaves_the_memory() {
    let world = World::started(&[plugin("p", json!([]))]).await;
    let before = world.pid_of("p").unwrap();
    world.reload_plugin("p").await.unwrap();
    assert_ne!(world.pid_of("p").unwrap(), before);
    let descriptors = world.descriptors();
    for _ in 0..100 {
        world.reload_plugin("p").await.unwrap();
    }
    assert_eq!((world.processes("p"), world.directories()), (1, 1));
    // One that each reload left open would make a hundred more; the sidecar opens a few for itself meanwhile.
    let now = world.descriptors();
    assert!(now < descriptors + 50, "{descriptors} descriptors, then {now}");
}

#[tokio::test]
async fn r7_3_1_the_new_version_comes_from_disk() {
    let world = World::started(&[p(json!({}))]).await;
    world.install(&next(json!({})));
    assert_eq!(world.version("p").await, "1.0.0");
    world.reload_plugin("p").await.unwrap();
    assert_eq!(world.get_plugin("p").await.unwrap().version, "1.1.0");
}

#[tokio::test]
async fn r7_4_1_the_new_version_is_initialised_and_started() {
    let world = World::started(&[p(json!({}))]).await;
    world.install(&next(json!({})));
    world.reload_plugin("p").await.unwrap();
    let of_v2: Vec<_> = world.trace().into_iter().filter(|line| line.ends_with("1.1.0")).collect();
    assert_eq!(of_v2, ["p.Initialize 1.1.0", "p.Start 1.1.0"]);
    assert_eq!(world.status("p").await, "running");
}

#[tokio::test]
async fn r7_4_2_a_reload_goes_through_its_steps() {
    let world = World::started(&[p(json!({}))]).await;
    let app = App::new(&world).await;
    app.get("/before").await;
    world.install(&next(json!({"Initialize": "wait v2"})));
    let (reloaded, answer) = tokio::join!(world.reload_plugin("p"), async {
        world.until_traced("p.Initialize 1.1.0").await;
        assert_eq!(world.processes("p"), 1, "the old version is gone");
        let queued = tokio::spawn(http::get(app.address, "/queued"));
        world.until_queued("p", 1).await;
        world.go("v2");
        queued.await.unwrap()
    });
    assert_eq!((reloaded, answer.headers["x-version"].as_str()), (Ok(()), "1.1.0"));
    let expected = [
        "p.pre_request /before",
        "handler /before",
        "p.pre_response 200",
        "p.Stop 1.0.0",
        "p.Cleanup 1.0.0",
        "p.Initialize 1.1.0",
        "p.Start 1.1.0",
        "p.pre_request /queued",
        "handler /queued",
        "p.pre_response 200",
    ];
    assert_eq!(world.trace()[2..], expected);
    world.until_log("[INFO] Processing 1 queued requests").await;
}

#[tokio::test]
async fn r7_4_3_reload_plugin_answers() {
    let world = World::started(&[p(json!({}))]).await;
    assert_eq!(world.reload_plugin("p").await, Ok(()));
    assert_eq!(world.reload_plugin("nope").await, Err("plugin not found: 'nope'".to_owned()));
    world.install(&next(json!({"Initialize": "fail no"})));
    assert_eq!(world.reload_plugin("p").await, Err(FAILED.to_owned()));
}

#[tokio::test]
async fn r7_4_4_a_reload_can_have_its_own_queue() {
    let own = json!({"reload": {"queue_timeout": "1ms", "max_queue_size": 1, "queue_strategy": "reject"}});
    let world = World::started(&[p(json!({})).with(own.clone())]).await;
    let app = App::new(&world).await;
    world.install(&next(json!({"Initialize": "wait v2"})).with(own));
    let config = ReloadConfig { queue_timeout_ms: 60_000, max_queue_size: 5000, queue_strategy: "block".into() };
    let (reloaded, answers) = tokio::join!(world.reload_with("p", config), async {
        world.until_traced("p.Initialize 1.1.0").await;
        let waiting = requests(app.address, 3);
        world.until_queued("p", 3).await;
        world.go("v2");
        answers(waiting).await
    });
    assert_eq!(reloaded, Ok(()));
    assert!(answers.iter().all(|a| a.status == 200), "{answers:?}");
    // The next reload is by the plugin's own rules again.
    world.halt("v2");
    let (reloaded, answer) = tokio::join!(world.reload_plugin("p"), async {
        world
            .until("the second Initialize", || async {
                world.trace().iter().filter(|line| *line == "p.Initialize 1.1.0").count() == 2
            })
            .await;
        let answer = app.get("/").await;
        world.go("v2");
        answer
    });
    assert_eq!((reloaded, answer.status), (Ok(()), 503));
}

#[tokio::test]
async fn r7_4_5_a_reload_over_http() {
    let world = World::started(&[p(json!({}))]).await;
    world.install(&next(json!({})));
    assert_eq!(world.post("/admin/plugins/p/reload").await.status, 200);
    assert_eq!(world.version("p").await, "1.1.0");
    let unknown = world.post("/admin/plugins/nope/reload").await;
    assert_eq!((unknown.status, unknown.body.as_str()), (404, r#"{"error":"plugin not found: 'nope'"}"#));
    world.install(&p(json!({"Initialize": "fail no"})).version("1.2.0"));
    let failed = world.post("/admin/plugins/p/reload").await;
    assert_eq!((failed.status, failed.body), (500, json!({"error": FAILED}).to_string()));
}

/// Handles nothing but failures.
fn apart(steps: Value) -> Plugin {
    plugin("p", json!([{"type": "error"}])).life(steps)
}

#[tokio::test]
async fn r7_4_6_the_application_is_not_stopped() {
    let q = plugin("q", json!([{"type": "pre_request"}]));
    let world = World::started(&[apart(json!({})), q]).await;
    let app = App::new(&world).await;
    let open = tokio::spawn(http::get(app.address, "/wait"));
    world.until_traced("handler /wait").await;
    world.install(&apart(json!({"Initialize": "wait v2"})).version("1.1.0"));
    let (reloaded, during) = tokio::join!(world.reload_plugin("p"), async {
        world.until_traced("p.Initialize 1.1.0").await;
        let during = app.get("/during").await;
        world.go("v2");
        during
    });
    assert_eq!((reloaded, during.status), (Ok(()), 200));
    assert!(world.trace().contains(&"q.pre_request /during".to_owned()));
    app.go.notify_one();
    let open = open.await.unwrap();
    assert_eq!((open.status, open.body.as_str()), (200, "waited"), "its connection lived on");
}

#[tokio::test]
async fn r7_5_1_a_version_that_fails_to_load_is_rolled_back() {
    let world = World::started(&[p(json!({}))]).await;
    let app = App::new(&world).await;
    world.install(&next(json!({})));
    let program = world.directory_of("p").join("p");
    let good = fs::read(&program).unwrap();
    fs::remove_file(&program).unwrap();
    fs::write(&program, "\u{7f}ELF no more").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let error = world.reload_plugin("p").await.unwrap_err();
    assert!(error.starts_with("plugin reload failed: new version load error: "), "{error}");
    assert_restored(&world, &app).await;
    fs::write(&program, good).unwrap();
    fs::write(world.directory_of("p").join("plugin.json"), "{").unwrap();
    let error = world.reload_plugin("p").await.unwrap_err();
    assert!(error.starts_with("plugin reload failed: new version load error: failed to parse manifest: "), "{error}");
    assert_restored(&world, &app).await;
}

#[tokio::test]
async fn r7_5_2_a_version_that_fails_to_initialise_is_rolled_back() {
    let world = World::started(&[p(json!({}))]).await;
    let app = App::new(&world).await;
    world.install(&next(json!({"Initialize": "fail no"})));
    assert_eq!(world.reload_plugin("p").await, Err(FAILED.to_owned()));
    assert_restored(&world, &app).await;
}

#[tokio::test]
async fn r7_5_3_a_version_that_fails_to_start_is_rolled_back() {
    let world = World::started(&[p(json!({}))]).await;
    let app = App::new(&world).await;
    world.install(&next(json!({"Start": "fail no"})));
    let text = "plugin reload failed: new version start error: plugin start failed: no";
    assert_eq!(world.reload_plugin("p").await, Err(text.to_owned()));
    assert_restored(&world, &app).await;
}

#[tokio::test]
async fn r7_5_4_a_version_that_crashes_within_the_grace_period_is_rolled_back() {
    let world = World::started(&[p(json!({}))]).await;
    assert_eq!(world.listed("p").await["policies"]["reload"]["gracePeriod"], 30_000);
    let app = App::new(&world).await;
    world.install(&next(json!({})));
    world.reload_plugin("p").await.unwrap();
    world.kill_plugin("p");
    world.until_log("[ERROR] Plugin reload failed: p v1.1.0: crashed within grace period").await;
    world.until_status("p", "running").await;
    assert_restored(&world, &app).await;
    // After it, it is started again.
    let short = json!({"reload": {"grace_period": "50ms"}});
    let world = World::started(&[p(json!({})).with(short)]).await;
    world.install(&next(json!({})));
    world.reload_plugin("p").await.unwrap();
    world.until_log("Plugin p v1.1.0 outlived its grace period of 50ms").await;
    let before = world.pid_of("p").unwrap();
    world.kill_plugin("p");
    let is_back =
        || async { world.pid_of("p").is_some_and(|pid| pid != before) && world.status("p").await == "running" };
    world.until("another process", is_back).await;
    assert_eq!(world.version("p").await, "1.1.0");
}

#[tokio::test]
async fn r7_5_5_a_rollback_goes_through_its_steps() {
    let v1 = p(json!({"Initialize": "wait v1"}));
    let mut world = World::new();
    world.go("v1");
    world.boot(&[v1]).await;
    world.halt("v1");
    world.install(&next(json!({"Initialize": "note tried; wait v2; fail no"})));
    let app = App::new(&world).await;
    let (reloaded, answer) = tokio::join!(world.reload_plugin("p"), async {
        world.until_traced("p.Initialize tried").await;
        let queued = tokio::spawn(http::get(app.address, "/queued"));
        world.until_queued("p", 1).await;
        world.go("v2");
        let again = || async { world.trace().iter().filter(|line| *line == "p.Initialize 1.0.0").count() == 2 };
        world.until("the previous version to be initialised", again).await;
        assert_eq!((world.processes("p"), world.directories()), (1, 1), "the failed version is gone");
        assert!(!queued.is_finished());
        world.go("v1");
        queued.await.unwrap()
    });
    assert_eq!((reloaded, answer.status), (Err(FAILED.to_owned()), 200));
    let expected = [
        "p.Stop 1.0.0",
        "p.Cleanup 1.0.0",
        "p.Initialize 1.1.0",
        "p.Initialize tried",
        "p.Initialize 1.0.0",
        "p.Start 1.0.0",
        "p.pre_request /queued",
        "handler /queued",
        "p.pre_response 200",
    ];
    assert_eq!(world.trace()[2..], expected);
    world.until_log("[INFO] Processing 1 queued requests").await;
    let log = world.log();
    let (rolled, restored) =
        (log.find("Plugin reload failed: ").unwrap(), log.find("Previous version restored").unwrap());
    assert!(rolled < restored, "{log}");
}

#[tokio::test]
async fn r7_5_6_what_a_rollback_logs() {
    let world = World::started(&[p(json!({}))]).await;
    let app = App::new(&world).await;
    world.install(&p(json!({"Initialize": "wait v2; fail no"})).version("1.3.0"));
    let (reloaded, answers) = tokio::join!(world.reload_plugin("p"), async {
        world.until_traced("p.Initialize 1.3.0").await;
        let waiting = requests(app.address, 4);
        world.until_queued("p", 4).await;
        world.go("v2");
        answers(waiting).await
    });
    assert!(reloaded.is_err() && answers.iter().all(|a| a.status == 200), "{answers:?}");
    let records = [
        "[ERROR] Plugin reload failed: p v1.3.0: initialization error: plugin initialization failed: no",
        "[INFO] Rolling back to previous version: p v1.0.0",
        "[INFO] Previous version restored successfully",
        "[INFO] Processing 4 queued requests",
    ];
    world.until_log(records[3]).await;
    let log = world.log();
    let of_rollback: Vec<_> = log.lines().filter(|line| records.contains(line)).collect();
    assert_eq!(of_rollback, records, "{log}");
}

#[tokio::test]
async fn r7_5_7_what_a_reload_that_failed_returns() {
    let world = World::started(&[p(json!({}))]).await;
    let app = App::new(&world).await;
    world.install(&next(json!({"Initialize": "fail no"})));
    assert_eq!(world.reload_plugin("p").await, Err(FAILED.to_owned()));
    world.until_log("[INFO] Rolling back to previous version: p v1.0.0").await;
    assert_restored(&world, &app).await;
}

#[tokio::test]
async fn r7_5_8_the_previous_version_is_what_is_reported() {
    let world = World::started(&[p(json!({}))]).await;
    world.install(&next(json!({"Start": "fail no"})));
    world.reload_plugin("p").await.unwrap_err();
    let info = world.get_plugin("p").await.unwrap();
    assert_eq!((info.version.as_str(), info.status.as_str(), info.loaded), ("1.0.0", "running", true));
    assert!(world.is_loaded("p").await);
    assert_eq!(world.list_plugins().await, [info]);
}

#[tokio::test]
async fn r7_6_1_requests_wait_during_a_reload() {
    let world = World::started(&[p(json!({}))]).await;
    let app = App::new(&world).await;
    let in_order = json!({"command": ["p", "--in-order"]});
    world.install(&next(json!({"Initialize": "wait v2"})).manifest(in_order));
    let (reloaded, answers) = tokio::join!(world.reload_plugin("p"), async {
        world.until_traced("p.Initialize 1.1.0").await;
        let mut waiting = Vec::new();
        for group in (0..200).collect::<Vec<_>>().chunks(GROUP) {
            waiting.extend(group.iter().map(|n| request(app.address, *n)));
            world.until_queued("p", waiting.len()).await;
        }
        assert!(waiting.iter().all(|request| !request.is_finished()));
        world.go("v2");
        answers(waiting).await
    });
    assert_eq!(reloaded, Ok(()));
    let answered = |a: &Answer| a.status == 200 && a.headers["x-version"] == "1.1.0";
    assert!(answers.iter().all(answered), "{answers:?}");
    let in_trace = |what: &str| {
        let trace = world.trace().into_iter();
        trace.filter_map(|line| line.strip_prefix(what).and_then(|n| n.parse().ok())).collect::<Vec<usize>>()
    };
    let arrived: Vec<_> = (0..200).collect();
    let mut seen = in_trace("p.pre_request /");
    seen.chunks_mut(GROUP).for_each(<[usize]>::sort_unstable);
    assert_eq!(seen, arrived, "in the order of their arrival");
    let mut handled = in_trace("handler /");
    handled.sort_unstable();
    assert_eq!(handled, arrived, "each once");
}

#[tokio::test]
async fn r7_6_2_a_request_does_not_wait_for_ever() {
    let world = World::started(&[p(json!({}))]).await;
    assert_eq!(world.listed("p").await["policies"]["reload"]["queue"]["timeout"], 30_000);
    let short = json!({"reload": {"queue_timeout": "1s"}});
    let world = World::started(&[p(json!({})).with(short.clone())]).await;
    let app = App::new(&world).await;
    world.install(&next(json!({"Initialize": "wait v2"})).with(short));
    let (reloaded, answer) = tokio::join!(world.reload_plugin("p"), async {
        world.until_traced("p.Initialize 1.1.0").await;
        let answer = app.get("/").await;
        world.go("v2");
        answer
    });
    let text = r#"{"error":"request timeout: plugin reload exceeded queue timeout (1s)"}"#;
    assert_eq!((reloaded, answer.status, answer.body.as_str()), (Ok(()), 503, text));
}

#[tokio::test]
async fn r7_6_3_the_queue_is_bounded() {
    let world = World::started(&[p(json!({}))]).await;
    assert_eq!(world.listed("p").await["policies"]["reload"]["queue"]["maxSize"], 1000);
    let small = json!({"reload": {"max_queue_size": 2}});
    let world = World::started(&[p(json!({})).with(small.clone())]).await;
    let app = App::new(&world).await;
    world.install(&next(json!({"Initialize": "wait v2"})).with(small));
    let (reloaded, (third, two)) = tokio::join!(world.reload_plugin("p"), async {
        world.until_traced("p.Initialize 1.1.0").await;
        let waiting = requests(app.address, 2);
        world.until_queued("p", 2).await;
        let third = app.get("/third").await;
        assert!(waiting.iter().all(|request| !request.is_finished()));
        world.go("v2");
        (third, answers(waiting).await)
    });
    assert_eq!((reloaded, third.status), (Ok(()), 503));
    assert_eq!(two.iter().map(|a| a.status).collect::<Vec<_>>(), [200, 200]);
}

#[tokio::test]
async fn r7_6_4_block_or_reject() {
    for (strategy, status) in [("block", 200), ("reject", 503)] {
        let world = World::started(&[p(json!({}))]).await;
        let app = App::new(&world).await;
        world.install(&next(json!({"Initialize": "wait v2"})));
        let config = ReloadConfig { queue_strategy: strategy.into(), ..ReloadConfig::default() };
        let (reloaded, answer) = tokio::join!(world.reload_with("p", config), async {
            world.until_traced("p.Initialize 1.1.0").await;
            let request = tokio::spawn(http::get(app.address, "/"));
            match strategy {
                "block" => world.until_queued("p", 1).await,
                _ => world.until("an answer at once", || async { request.is_finished() }).await,
            }
            world.go("v2");
            request.await.unwrap()
        });
        assert_eq!((reloaded, answer.status), (Ok(()), status));
    }
    let world = World::started(&[p(json!({}))]).await;
    let config = ReloadConfig { queue_strategy: "drop".into(), ..ReloadConfig::default() };
    let text = "unknown queue strategy: 'drop': it must be block or reject";
    assert_eq!(world.reload_with("p", config).await, Err(text.to_owned()));
    world.write("drop.yaml", "plugins:\n  plugins:\n  - {name: p, reload: {queue_strategy: drop}}\n");
    let error = world.load_config("drop.yaml").await.unwrap_err();
    assert!(error.contains("field 'plugins.plugins[0].reload.queue_strategy' must be block or reject"), "{error}");
}

#[tokio::test]
async fn r7_6_5_requests_of_others_are_not_delayed() {
    let q = plugin("q", json!([{"type": "pre_request"}]));
    let world = World::started(&[apart(json!({})), q]).await;
    let app = App::new(&world).await;
    world.install(&apart(json!({"Initialize": "wait v2"})).version("1.1.0"));
    let (reloaded, ()) = tokio::join!(world.reload_plugin("p"), async {
        world.until_traced("p.Initialize 1.1.0").await;
        assert_eq!(app.get("/other").await.status, 200);
        let own = tokio::spawn(http::get(app.address, "/fail"));
        world.until_queued("p", 1).await;
        assert_eq!(app.get("/other").await.status, 200);
        world.go("v2");
        assert_eq!(own.await.unwrap().status, 500);
    });
    assert_eq!(reloaded, Ok(()));
}

#[tokio::test]
async fn r7_4_7_dependents_are_not_reloaded_and_reach_the_new_version() {
    let mut q = user("q", json!({"imports": "helper"}));
    q.requires = &["helper"];
    let users = Users::started(&[helper(), q]).await;
    assert_eq!(users.ask("/q/ask").await, json!("1.0.0"));
    let (pid, notes) = (users.world.pid_of("q").unwrap(), users.notes("q"));
    let mut next = helper();
    next.version = "1.1.0";
    users.reload(&next).await;
    assert_eq!(users.ask("/q/ask").await, json!("1.1.0"));
    assert_eq!((users.world.pid_of("q").unwrap(), users.notes("q")), (pid, notes));
}

#[tokio::test]
async fn r7_4_8_memory_is_lost_and_storage_is_kept() {
    let users = Users::started(&[user("p", json!({}))]).await;
    for count in 1..=3 {
        assert_eq!(users.ask("/p/count").await, json!([count, count]));
    }
    users.reload(&user("p", json!({}))).await;
    assert_eq!(users.ask("/p/count").await, json!([1, 4]));
}

#[tokio::test]
async fn r7_4_9_only_the_new_versions_registrations_are_active() {
    let registers = |n: u32| {
        json!({"registers": {
            "hook": if n == 1 { "post_request" } else { "pre_response" }, "route": format!("/v{n}"), "event": format!("event{n}"),
            "service": format!("Service{n}"), "middleware": format!("middleware{n}"),
        }})
    };
    let mut old = user("p", registers(1));
    (old.declared, old.given) = (&["router"], &["router"]);
    let users = Users::started(&[old.clone(), user("q", json!({}))]).await;
    assert_eq!(users.ask("/v1").await, json!("/v1 1.0.0"));
    let mut new = user("p", registers(2));
    (new.declared, new.version) = (&["router"], "1.1.0");
    users.reload(&new).await;
    let before = users.notes("p").len();
    assert_eq!(users.ask("/v2").await, json!("/v2 1.1.0"));
    assert_ne!(users.get("/v1").await.body, "\"/v1 1.0.0\"", "the application's own, if any");
    for event in ["event1", "event2"] {
        assert_eq!(users.ask(&format!("/q/publish/{event}")).await, json!(true));
    }
    users.noted("p", "event event2 1.1.0").await;
    let seen: Vec<_> = users.notes("p").split_off(before);
    for active in ["hook pre_response 1.1.0", "middleware middleware2 1.1.0", "event event2 1.1.0"] {
        assert!(seen.iter().any(|note| note == active), "{active}: {seen:?}");
    }
    assert!(!seen.iter().any(|note| note.contains("1.0.0") || note.contains("event1")), "{seen:?}");
    let services = users.services().await;
    assert_eq!(services, ["Service2"]);
}
