//! 1: lifecycle and the plugin interface.

use crate::{
    app::{App, Load},
    calls::{alive, requires},
    user::{USES, Users, helper, user},
    world::{World, plugin},
};
use rockstar_app::{CallError, Client};
use serde_json::{Value, json};

#[tokio::test]
async fn r1_1_1_lifecycle_calls_come_in_order_and_never_overlap() {
    let ends = "sleep 30; note ends";
    let world = World::idle().await;
    let p = alive("p", json!({"Initialize": ends, "Start": ends, "Stop": ends, "Cleanup": ends}));
    world.load(&p).await.unwrap();
    // Nobody waits for the other: whoever comes second is to wait.
    let (initialized, started) = tokio::join!(world.initialize_all(), async {
        world.until_traced("p.Initialize 1.0.0").await;
        world.start_all().await
    });
    assert_eq!((initialized, started), (Ok(()), Ok(())));
    world.unload("p").await.unwrap();
    let calls = ["Initialize", "Start", "Stop", "Cleanup"];
    let expected: Vec<_> = calls.iter().flat_map(|c| [format!("p.{c} 1.0.0"), format!("p.{c} ends")]).collect();
    assert_eq!(world.trace(), expected);
}

#[tokio::test]
async fn r1_1_2_initialize_is_called_once() {
    let world = World::idle().await;
    world.load(&alive("p", json!({}))).await.unwrap();
    assert_eq!(world.initialize_all().await, Ok(()));
    assert_eq!(world.initialize_all().await, Ok(()));
    assert_eq!(world.trace(), ["p.Initialize 1.0.0"]);
}

#[tokio::test]
async fn r1_1_3_start_comes_after_all_are_initialised() {
    let world = World::started(&[alive("p", json!({})), alive("q", json!({})), alive("r", json!({}))]).await;
    let trace = world.trace();
    let (initialized, started) = trace.split_at(3);
    assert!(initialized.iter().all(|line| line.contains(".Initialize ")), "{trace:?}");
    assert!(started.iter().all(|line| line.contains(".Start ")) && started.len() == 3, "{trace:?}");
}

#[tokio::test]
async fn r1_1_4_stop_is_called_on_shutdown_and_on_reload() {
    let world = World::started(&[alive("p", json!({}))]).await;
    world.stop_all().await.unwrap();
    assert_eq!(world.trace().last().unwrap(), "p.Stop 1.0.0");
    let world = World::started(&[alive("p", json!({}))]).await;
    world.reload_plugin("p").await.unwrap();
    assert_eq!(world.trace()[2], "p.Stop 1.0.0");
}

#[tokio::test]
async fn r1_1_5_stop_can_be_called_again() {
    let world = World::idle().await;
    world.running(&alive("p", json!({}))).await;
    assert_eq!(world.stop_all().await, Ok(()));
    assert_eq!(world.stop_all().await, Ok(()));
    assert_eq!(world.unload("p").await, Ok(()));
    assert_eq!(world.trace().iter().filter(|line| line.contains(".Stop ")).count(), 1);
}

#[tokio::test]
async fn r1_1_6_cleanup_is_called_on_unload_after_stop() {
    let world = World::idle().await;
    world.running(&alive("p", json!({}))).await;
    world.stop_all().await.unwrap();
    assert!(!world.trace().contains(&"p.Cleanup 1.0.0".to_owned()));
    world.unload("p").await.unwrap();
    assert_eq!(world.trace()[2..], ["p.Stop 1.0.0", "p.Cleanup 1.0.0"]);
}

#[tokio::test]
async fn r1_1_7_initialize_all_resolves_orders_and_then_registers() {
    let world = World::idle().await;
    let hooks = json!([{"type": "pre_request"}]);
    world.load(&alive("a", json!({}))).await.unwrap();
    let b = plugin("b", hooks).life(json!({"Initialize": "wait b"})).manifest(requires(&[("a", ">=1.0.0")]));
    world.load(&b.with(json!({"priority": 900}))).await.unwrap();
    // Without what b requires nothing is initialised.
    world.unload("a").await.unwrap();
    let missing = "missing dependency: plugin 'b' requires 'a' version '>=1.0.0'";
    assert_eq!(world.initialize_all().await, Err(missing.to_owned()));
    assert_eq!(world.trace(), Vec::<String>::new());
    world.load(&alive("a", json!({}))).await.unwrap();
    let app = App::new(&world).await;
    let (initialized, ()) = tokio::join!(world.initialize_all(), async {
        world.until_traced("b.Initialize 1.0.0").await;
        assert_eq!(app.get("/early").await.status, 200);
        world.go("b");
    });
    assert_eq!(initialized, Ok(()));
    world.start_all().await.unwrap();
    app.get("/late").await;
    let expected = [
        "a.Initialize 1.0.0",
        "b.Initialize 1.0.0",
        "handler /early",
        "a.Start 1.0.0",
        "b.Start 1.0.0",
        "b.pre_request /late",
        "handler /late",
    ];
    assert_eq!(world.trace(), expected);
}

#[tokio::test]
async fn r1_1_8_initialize_all_ends_at_the_first_failure() {
    let world = World::idle().await;
    world.load(&alive("a", json!({})).with(json!({"priority": 300}))).await.unwrap();
    world.load(&alive("b", json!({"Initialize": "fail no"})).with(json!({"priority": 200}))).await.unwrap();
    world.load(&alive("c", json!({})).with(json!({"priority": 100}))).await.unwrap();
    let error = world.initialize_all().await;
    assert_eq!(error, Err("plugin 'b': plugin initialization failed: no".to_owned()));
    let statuses = (world.status("a").await, world.status("b").await, world.status("c").await);
    assert_eq!(statuses, ("initialized".into(), "error".into(), "loading".into()));
    assert_eq!(world.trace(), ["a.Initialize 1.0.0", "b.Initialize 1.0.0"]);
}

#[tokio::test]
async fn r1_1_9_start_all_runs_hooks_then_start_then_marks_and_measures() {
    let world = World::idle().await;
    let startup = || json!([{"type": "startup"}]);
    world.load(&plugin("p", startup()).life(json!({}))).await.unwrap();
    world.load(&plugin("q", startup()).life(json!({"Start": "wait q"}))).await.unwrap();
    world.initialize_all().await.unwrap();
    let (started, ()) = tokio::join!(world.start_all(), async {
        world.until_traced("q.Start 1.0.0").await;
        assert_eq!(world.status("q").await, "initialized");
        world.go("q");
    });
    assert_eq!(started, Ok(()));
    assert_eq!((world.status("p").await, world.status("q").await), ("running".into(), "running".into()));
    assert_eq!(world.trace()[2..], ["p.startup", "q.startup", "p.Start 1.0.0", "q.Start 1.0.0"]);
    let metrics = world.metrics().await;
    assert!(metrics.contains("rockstar_plugin_start_success{plugin=\"q\"} 1\n"), "{metrics}");
    assert!(metrics.contains("rockstar_plugin_start_duration_ms{plugin=\"q\"} "), "{metrics}");
}

#[tokio::test]
async fn r1_1_10_start_all_names_who_failed() {
    let world = World::idle().await;
    world.load(&alive("p", json!({"Start": "fail port in use"}))).await.unwrap();
    world.load(&alive("q", json!({})).manifest(requires(&[("p", "*")]))).await.unwrap();
    world.load(&alive("r", json!({}))).await.unwrap();
    world.initialize_all().await.unwrap();
    let error = world.start_all().await.unwrap_err();
    let expected =
        "plugin 'p': plugin start failed: port in use; plugin 'q': not started: it requires 'p', which failed";
    assert_eq!(error, expected);
    assert_eq!((world.status("p").await.as_str(), world.status("r").await.as_str()), ("error", "running"));
    assert_eq!(world.last_error("p").await, "plugin start failed: port in use");
    assert_eq!(world.trace()[3..], ["p.Start 1.0.0", "r.Start 1.0.0"]);
}

#[tokio::test]
async fn r1_1_11_stop_all_runs_hooks_then_stops_dependents_first() {
    let stop = || json!({"Stop": "sleep 30; note ends"});
    let shutdown = || json!([{"type": "shutdown"}]);
    let world = World::started(&[
        plugin("a", shutdown()).life(stop()),
        plugin("b", shutdown()).life(stop()).manifest(requires(&[("a", "*")])),
        plugin("c", shutdown()).life(stop()).manifest(requires(&[("b", "*")])),
    ])
    .await;
    world.forget_trace();
    world.stop_all().await.unwrap();
    let expected = [
        "a.shutdown",
        "b.shutdown",
        "c.shutdown",
        "c.Stop 1.0.0",
        "c.Stop ends",
        "b.Stop 1.0.0",
        "b.Stop ends",
        "a.Stop 1.0.0",
        "a.Stop ends",
    ];
    assert_eq!(world.trace(), expected);
    assert_eq!(world.status("a").await, "stopped");
}

#[tokio::test]
async fn r1_1_12_a_failing_stop_keeps_no_other_from_stopping() {
    let world = World::started(&[
        alive("a", json!({})),
        alive("b", json!({"Stop": "fail disk full"})).manifest(requires(&[("a", "*")])),
        alive("c", json!({})).manifest(requires(&[("b", "*")])),
    ])
    .await;
    assert_eq!(world.stop_all().await, Err("plugin 'b': plugin stop failed: disk full".to_owned()));
    assert_eq!((world.status("a").await.as_str(), world.status("c").await.as_str()), ("stopped", "stopped"));
    assert_eq!(world.trace()[6..], ["c.Stop 1.0.0", "b.Stop 1.0.0", "a.Stop 1.0.0"]);
}

#[tokio::test]
async fn r1_1_13_a_plugin_that_does_not_stop_is_ended() {
    let p = alive("p", json!({"Stop": "hang"})).with(json!({"stop_timeout": "500ms"}));
    let world = World::started(&[p, alive("q", json!({}))]).await;
    let error = world.stop_all().await.unwrap_err();
    assert_eq!(error, "plugin 'p': plugin stop failed: no answer within 500ms");
    assert_eq!((world.processes("p"), world.status("q").await.as_str()), (0, "stopped"));
}

#[tokio::test]
async fn r1_1_14_unload_takes_six_steps() {
    let world = World::idle().await;
    let steps = json!({"Initialize": "middleware; listen user.created", "Cleanup": "wait cleanup"});
    world.running(&plugin("p", json!([{"type": "pre_request"}])).life(steps)).await;
    // After each request q publishes an event, and tells to how many.
    let publishes = json!([{"type": "post_response", "do": "publish user.created"}]);
    world.running(&plugin("q", publishes).life(json!({"Initialize": "debug"}))).await;
    world.until_log("q: debugs").await;
    world.forget_trace();
    let app = App::new(&world).await;
    assert_eq!(app.get("/before").await.status, 200);
    world.until_traced("p.heard user.created").await;
    let (unloaded, ()) = tokio::join!(world.unload("p"), async {
        world.until_traced("p.Cleanup 1.0.0").await;
        assert_eq!(app.get("/during").await.status, 200);
        // What is handed to nobody comes to nobody late.
        world.until_log("q: Event published: user.created: 0 subscribers").await;
        assert_eq!(world.names().await, ["p", "q"], "off the registry last");
        world.go("cleanup");
    });
    assert_eq!(unloaded, Ok(()));
    let expected = [
        "p.pre_request /before",
        "p.middleware /before",
        "handler /before",
        "q.post_response 200",
        "p.heard user.created",
        "p.Stop 1.0.0",
        "p.Cleanup 1.0.0",
        "handler /during",
        "q.post_response 200",
    ];
    assert_eq!(world.trace(), expected);
    assert_eq!(world.names().await, ["q"]);
}

#[tokio::test]
async fn r1_1_15_unload_tells_what_failed_and_takes_all_steps() {
    let world = World::idle().await;
    assert_eq!(world.unload("nope").await, Err("plugin not found: 'nope'".to_owned()));
    world.running(&alive("p", json!({"Cleanup": "fail busy"}))).await;
    assert_eq!(world.unload("p").await, Err("plugin 'p': plugin cleanup failed: busy".to_owned()));
    assert_eq!(world.trace()[2..], ["p.Stop 1.0.0", "p.Cleanup 1.0.0"]);
    assert_eq!((world.is_loaded("p").await, world.processes("p"), world.directories()), (false, 0, 0));
}

#[tokio::test]
async fn r1_1_16_dependents_are_not_unloaded() {
    let world = World::idle().await;
    world.running(&alive("a", json!({}))).await;
    world.running(&alive("b", json!({})).manifest(requires(&[("a", "*")]))).await;
    assert_eq!(world.unload("a").await, Ok(()));
    assert_eq!((world.is_loaded("b").await, world.status("b").await), (true, "running".to_owned()));
    world.until_log("[WARN] Plugin a is unloaded while required by b, which keep running").await;
}

#[tokio::test]
async fn r1_1_17_nothing_is_left_after_an_unload() {
    let world = World::idle().await;
    let (steps, router) = (json!({"Initialize": "route /own; export Used"}), json!({"permissions": {"router": true}}));
    let p = plugin("p", json!([{"type": "pre_request"}])).life(steps);
    world.running(&p.manifest(router.clone()).with(router)).await;
    let (app, client) = (App::new(&world).await, Client::new(world.socket()));
    let used = async || client.services().invoke::<Value>("p", "Used", "Version", Value::Null).await;
    assert_eq!((app.get("/own").await.body.as_str(), used().await), ("p 1.0.0", Ok(json!("1.0.0"))));
    assert_eq!((world.processes("p"), world.directories()), (1, 1));
    world.unload("p").await.unwrap();
    world.forget_trace();
    assert!(!world.is_loaded("p").await);
    assert_eq!(world.get_plugin("p").await.unwrap_err(), "plugin not found: 'p'");
    assert_eq!(world.list_plugins().await, []);
    assert_eq!(world.dependency_graph().await, json!({}));
    assert_eq!(
        world
            .manager()
            .await
            .unwrap()
            .get_all_health(rockstar_proto::types::Empty {})
            .await
            .unwrap()
            .into_inner()
            .plugins
            .len(),
        0
    );
    assert_eq!((world.processes("p"), world.directories()), (0, 0));
    let text = "service not found: plugin 'p' does not export 'Used'";
    assert_eq!(used().await, Err(CallError::Refused(text.to_owned())));
    assert_eq!(client.services().list().await, Ok(vec![]));
    app.get("/").await;
    assert_eq!(app.get("/own").await.body, "/own", "the application's own");
    assert_eq!(world.trace(), ["handler /", "handler /own"]);
}

#[tokio::test]
async fn r1_1_18_plugins_come_and_go_while_the_application_serves() {
    let world = World::started(&[plugin("p", json!([{"type": "pre_request"}]))]).await;
    let app = App::new(&world).await;
    let load = Load::new(app.address, "/", 4);
    load.more(&world, 20).await;
    world.running(&plugin("q", json!([{"type": "pre_response", "do": "header x-q 1"}]))).await;
    load.more(&world, 20).await;
    world.unload("q").await.unwrap();
    load.more(&world, 20).await;
    let answers = load.end().await;
    assert!(answers.iter().all(|a| a.status == 200), "{answers:?}");
    assert!(answers.iter().any(|a| a.headers.contains_key("x-q")), "q served");
    assert!(!app.get("/").await.headers.contains_key("x-q"));
}

#[tokio::test]
async fn r1_1_19_the_lifecycle_shows_as_status() {
    let world = World::idle().await;
    let mut seen = vec![world.status("p").await];
    world.load(&alive("p", json!({}))).await.unwrap();
    seen.push(world.status("p").await);
    world.initialize_all().await.unwrap();
    seen.push(world.status("p").await);
    world.start_all().await.unwrap();
    seen.push(world.status("p").await);
    world.stop_all().await.unwrap();
    seen.push(world.status("p").await);
    world.unload("p").await.unwrap();
    seen.push(world.status("p").await);
    assert_eq!(seen, ["unloaded", "loading", "initialized", "running", "stopped", "unloaded"]);
    world.load(&alive("q", json!({"Initialize": "fail no"}))).await.unwrap();
    world.initialize_all().await.unwrap_err();
    assert_eq!(world.status("q").await, "error");
}

#[tokio::test]
async fn r1_3_1_metadata_is_what_the_plugin_reports() {
    let world = World::idle().await;
    let described = json!({"description": "Authentication", "author": "John Doe <john@example.com>"});
    world.load(&alive("p", json!({})).version("1.2.0").manifest(described)).await.unwrap();
    let info = world.get_plugin("p").await.unwrap();
    let metadata = (info.name.as_str(), info.version.as_str(), info.description.as_str(), info.author.as_str());
    assert_eq!(metadata, ("p", "1.2.0", "Authentication", "John Doe <john@example.com>"));
    assert_eq!(world.list_plugins().await, [info]);
    for (field, declared) in [("name", "q"), ("version", "1.0.0"), ("description", "A test"), ("author", "Me")] {
        let reported = if field == "version" { "9.9.9" } else { "other" };
        let says = json!({field: reported}).to_string();
        let q = alive("q", json!({})).manifest(json!({"command": ["q", "--says", says]}));
        let text =
            format!("manifest mismatch: {field} is '{declared}' in the manifest but the plugin reports '{reported}'");
        assert_eq!(world.load(&q).await, Err(text));
    }
}

#[tokio::test]
async fn r1_4_1_dependencies_are_what_the_plugin_reports() {
    let world = World::idle().await;
    world.load(&alive("a", json!({}))).await.unwrap();
    let needs = json!({"dependencies": [
        {"name": "a", "version": ">=1.0.0"}, {"name": "absent", "version": "*", "optional": true},
    ]});
    let says = json!({"command": ["b", "--says", needs.to_string()]});
    let error = world.load(&alive("b", json!({})).manifest(says.clone())).await.unwrap_err();
    let text =
        "manifest mismatch: dependencies is '' in the manifest but the plugin reports 'a >=1.0.0, absent * (optional)'";
    assert_eq!(error, text);
    world.load(&alive("b", json!({})).manifest(says).manifest(needs)).await.unwrap();
    assert_eq!(world.dependency_graph().await, json!({"a": [], "b": ["a"]}));
    let dependencies = world.get_plugin("b").await.unwrap().dependencies;
    let listed: Vec<_> = dependencies.iter().map(|d| (d.name.as_str(), d.version.as_str(), d.optional)).collect();
    assert_eq!(listed, [("a", ">=1.0.0", false), ("absent", "*", true)]);
}

#[tokio::test]
async fn r1_5_2_the_context_stays_valid() {
    let hooks = json!([{"type": "pre_request", "do": "background later"}]);
    let steps =
        json!({"Initialize": "log from Initialize", "Start": "log from Start; hook", "Stop": "log from Stop; config"});
    let p = plugin("p", hooks).life(steps).manifest(json!({"config": {"key": {"type": "string", "default": "v"}}}));
    let world = World::started(&[p]).await;
    let app = App::new(&world).await;
    app.get("/").await;
    world.go("background");
    world.until_traced("p.pre_request later").await;
    world.stop_all().await.unwrap();
    for text in ["from Initialize", "from Start", "later", "from Stop"] {
        world.until_log(&format!("p: {text}")).await;
    }
    assert_eq!(world.noted_config("p"), json!({"key": "v"}));
    assert_eq!(world.last_error("p").await, "", "the hook of Start was taken too");
}

#[tokio::test]
async fn r1_5_3_an_error_of_initialize_reaches_the_caller() {
    let world = World::idle().await;
    world.load(&alive("p", json!({"Initialize": "fail api_key is required"}))).await.unwrap();
    let error = world.initialize_all().await.unwrap_err();
    assert_eq!(error, "plugin 'p': plugin initialization failed: api_key is required");
    assert_eq!(world.last_error("p").await, "plugin initialization failed: api_key is required");
    world.until_log("api_key is required").await;
}

#[tokio::test]
async fn r1_5_4_a_panic_in_initialize_harms_nobody_else() {
    let p = alive("p", json!({"Initialize": "panic runtime error: invalid memory address"}));
    let dies = alive("dies", json!({"Initialize": "exit 3"}));
    let mut world = World::new();
    let all = [p, dies, plugin("q", json!([{"type": "pre_request"}]))];
    all.iter().for_each(|p| world.install(p));
    world.configure(&all);
    world.start();
    world.until_status("q", "running").await;
    world.until_status("p", "error").await;
    world.until_status("dies", "error").await;
    let text = "plugin initialization failed: panic: runtime error: invalid memory address";
    assert_eq!(world.last_error("p").await, text);
    assert_eq!(world.last_error("dies").await, "plugin initialization failed: exit code 3");
    let app = App::new(&world).await;
    assert_eq!(app.get("/").await.status, 200);
}

#[tokio::test]
async fn r1_5_5_plugin_config_is_never_nil() {
    let world = World::idle().await;
    let steps = || json!({"Initialize": "config"});
    let defaults = json!({"config": {"timeout": {"type": "duration", "default": "30s"}}});
    world.running(&alive("with", steps()).manifest(defaults)).await;
    world.running(&alive("without", steps())).await;
    assert_eq!(world.noted_config("with"), json!({"timeout": "30s"}));
    assert_eq!(world.noted_config("without"), json!({}));
}

#[tokio::test]
async fn r1_5_1_initialize_receives_a_context_with_fifteen_methods() {
    let mut p = user("p", json!({"uses": true}));
    (p.declared, p.given) = (&["database", "cache", "router", "config"], &["database", "cache", "router", "config"]);
    let users = Users::started(&[helper(), p]).await;
    let wanted: Vec<_> = USES.iter().map(|what| ((*what).to_owned(), "ok".to_owned())).collect();
    assert_eq!(users.outcomes("p").await, wanted);
    assert_eq!(users.ask("/user/status").await, json!({"status": "ok"}));
}
