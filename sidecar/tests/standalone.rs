//! The real sidecar with real plugin processes, from a plugins file.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use rockstar_proto::{
    app::{PluginName, ReloadRequest},
    types::Empty,
};
use support::{Plugin, Sidecar, plugin};

fn lines<'a>(log: &'a str, containing: &[&str]) -> Vec<&'a str> {
    log.lines().filter(|l| containing.iter().any(|c| l.contains(c))).collect()
}

#[tokio::test]
async fn a_set_starts_in_order_and_stops_in_reverse() {
    let needs = |text| Plugin { manifest: text, ..plugin("c") };
    let mut sidecar = Sidecar::started(&[
        needs("dependencies: [{name: b, version: '>=1.0.0'}]"),
        Plugin { manifest: "dependencies: [{name: a, version: '*'}]", ..plugin("b") },
        plugin("a"),
    ])
    .await;
    sidecar.until_status("c", "running").await;
    let started =
        ["a initialize v1.0.0", "b initialize v1.0.0", "c initialize v1.0.0", "a start", "b start", "c start"];
    assert_eq!(sidecar.calls(), started);
    let list = sidecar.list().await;
    let shown: Vec<_> =
        list.iter().map(|p| (p.name.as_str(), p.status.as_str(), p.loaded, p.enabled, p.order)).collect();
    assert_eq!(
        shown,
        [("a", "running", true, true, 1), ("b", "running", true, true, 2), ("c", "running", true, true, 3)]
    );
    assert_eq!(sidecar.processes().len(), 3);
    assert_eq!(sidecar.http("GET", "/readyz"), (200, "ok".into()));
    sidecar.signal("-TERM");
    assert!(sidecar.exit().await.success());
    assert_eq!(sidecar.calls()[6..], ["c stop", "b stop", "a stop"]);
    assert_eq!(sidecar.processes(), Vec::<String>::new());
    assert!(!sidecar.path().join("app.sock").exists());
}

#[tokio::test]
async fn one_bad_plugin_keeps_only_itself_and_its_dependents_out() {
    let plugins = [
        plugin("good"),
        Plugin { behave: "fail initialize api_key is required", ..plugin("bad") },
        Plugin { manifest: "dependencies: [{name: bad, version: '*'}]", ..plugin("needy") },
        Plugin { manifest: "dependencies: [{name: nope, version: '>=2.0.0'}]", ..plugin("lost") },
        Plugin { entry: "enabled: false", ..plugin("off") },
    ];
    let sidecar = Sidecar::started(&plugins).await;
    sidecar.until_log("1 plugins run, 3 do not").await;
    sidecar.until_status("good", "running").await;
    let bad = sidecar.health("bad").await;
    assert_eq!(
        (bad.status.as_str(), bad.last_error.as_str()),
        ("error", "plugin initialization failed: api_key is required")
    );
    let lost = sidecar.health("lost").await.last_error;
    assert_eq!(lost, "missing dependency: plugin 'lost' requires 'nope' version '>=2.0.0'");
    assert!(sidecar.health("needy").await.last_error.contains("requires 'bad', which failed"));
    let off = sidecar.get("off").await.unwrap();
    assert_eq!((off.status.as_str(), off.loaded, off.enabled), ("unloaded", false, false));
    assert_eq!(sidecar.processes().len(), 1);

    let mut strict = Sidecar::new(&plugins);
    strict.start(&["--strict"]);
    assert_eq!(strict.exit().await.code(), Some(1));
    assert_eq!(strict.processes(), Vec::<String>::new());
}

#[tokio::test]
async fn what_fails_to_load_says_why() {
    let sidecar =
        Sidecar::new(&[plugin("early"), plugin("garbage"), plugin("foreign"), plugin("plain"), plugin("gone")]);
    sidecar.program("early", "#!/bin/sh\necho no database >&2\nexit 3\n", 0o755);
    sidecar.program("garbage", "#!/bin/sh\necho '1|1|tcp|garbage'; exit 0\n", 0o755);
    sidecar.program("foreign", "\u{7f}ELF whatever this is", 0o755);
    sidecar.program("plain", "#!/bin/sh\n", 0o644);
    std::fs::remove_dir_all(sidecar.path().join("plugins/gone")).unwrap();
    let mut sidecar = sidecar;
    sidecar.start(&[]);
    sidecar.until_log("0 plugins run, 5 do not").await;
    let texts = [
        ("early", "plugin process ended before the handshake: exit code 3; last lines on stderr: no database"),
        ("garbage", "plugin process ended before the handshake: exit code 0"),
        ("foreign", "Exec format error (os error 8): the program is built for"),
        ("plain", "program is not executable: "),
        ("gone", "failed to load plugin: plugin file not found: ./plugins/gone"),
    ];
    for (name, text) in texts {
        let error = sidecar.health(name).await.last_error;
        assert!(error.contains(text), "{name}: {error}");
    }
    assert_eq!(sidecar.processes(), Vec::<String>::new());
    assert_eq!(std::fs::read_dir(sidecar.path().join("run/p")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_reload_replaces_the_version() {
    let sidecar = Sidecar::started(&[plugin("p"), plugin("q")]).await;
    sidecar.until_status("q", "running").await;
    sidecar.install(&Plugin { version: "1.1.0", ..plugin("p") });
    assert_eq!(sidecar.http("POST", "/admin/plugins/p/reload").0, 200);
    let tail = ["p stop", "p cleanup", "p initialize v1.1.0", "p start"];
    assert_eq!(sidecar.calls()[4..], tail);
    let p = sidecar.get("p").await.unwrap();
    assert_eq!((p.version.as_str(), p.status.as_str()), ("1.1.0", "running"));
    assert_eq!(sidecar.processes().len(), 2);
    assert_eq!(sidecar.http("POST", "/admin/plugins/nope/reload").0, 404);
}

#[tokio::test]
async fn a_reload_ends_even_if_its_caller_leaves() {
    let sidecar = Sidecar::started(&[plugin("p")]).await;
    sidecar.until_status("p", "running").await;
    sidecar.install(&Plugin { version: "1.1.0", behave: "sleep initialize 500", ..plugin("p") });
    let mut client = sidecar.client().await;
    let reload = tokio::spawn(async move {
        let request = ReloadRequest { name: "p".into(), ..ReloadRequest::default() };
        client.reload(request).await
    });
    sidecar.until("v1's end", || sidecar.calls().contains(&"p cleanup".to_owned())).await;
    reload.abort();
    sidecar.until("v2's start", || sidecar.calls().last().is_some_and(|c| c == "p start")).await;
    sidecar.until_status("p", "running").await;
    assert_eq!(sidecar.get("p").await.unwrap().version, "1.1.0");
}

#[tokio::test]
async fn what_failed_is_tried_again_on_sighup() {
    let sidecar = Sidecar::started(&[Plugin { behave: "fail start no port", ..plugin("p") }]).await;
    sidecar.until_log("0 plugins run, 1 do not").await;
    sidecar.install(&plugin("p"));
    sidecar.signal("-HUP");
    sidecar.until_status("p", "running").await;
}

#[tokio::test]
async fn a_version_that_fails_is_rolled_back() {
    let sidecar = Sidecar::started(&[plugin("p")]).await;
    sidecar.until_status("p", "running").await;
    let cases = [
        ("fail initialize no key", "initialization error", "plugin initialization failed: no key"),
        ("panic initialize oh no", "initialization error", "plugin initialization failed: panic: oh no"),
        ("exit initialize 7", "initialization error", "plugin initialization failed: exit code 7"),
        ("fail start no port", "start error", "plugin start failed: no port"),
    ];
    for (behave, words, cause) in cases {
        let before = sidecar.log().len();
        sidecar.install(&Plugin { version: "1.3.0", behave, ..plugin("p") });
        let (code, body) = sidecar.http("POST", "/admin/plugins/p/reload");
        assert_eq!(code, 500);
        assert!(body.contains(&format!("plugin reload failed: new version {words}: {cause}")), "{body}");
        // The log is written behind the answer.
        sidecar.until("the last line", || !lines(&sidecar.log()[before..], &["restored"]).is_empty()).await;
        let log = sidecar.log()[before..].to_owned();
        let told = lines(&log, &["Plugin reload failed", "Rolling back", "restored"]);
        assert!(told[0].starts_with(&format!("[ERROR] Plugin reload failed: p v1.3.0: {words}")), "{told:?}");
        let rest =
            ["[INFO] Rolling back to previous version: p v1.0.0", "[INFO] Previous version restored successfully"];
        assert_eq!(told[1..], rest);
        let p = sidecar.get("p").await.unwrap();
        assert_eq!((p.version.as_str(), p.status.as_str(), p.loaded), ("1.0.0", "running", true));
        assert_eq!(sidecar.calls().last().unwrap(), "p start");
        assert_eq!(sidecar.processes().len(), 1);
    }
}

#[tokio::test]
async fn a_crash_in_the_grace_period_is_rolled_back_and_a_later_one_is_not() {
    let sidecar = Sidecar::started(&[Plugin { entry: "reload: {grace_period: 5m}", ..plugin("p") }]).await;
    sidecar.until_status("p", "running").await;
    sidecar.install(&Plugin { version: "1.5.0", behave: "exit-after 300 9", ..plugin("p") });
    assert_eq!(sidecar.http("POST", "/admin/plugins/p/reload").0, 200);
    sidecar.until_log("Previous version restored successfully").await;
    sidecar.until_status("p", "running").await;
    assert_eq!(sidecar.get("p").await.unwrap().version, "1.0.0");
    sidecar.until_log("[ERROR] Plugin reload failed: p v1.5.0: crashed within grace period").await;
    assert!(sidecar.health("p").await.last_error.contains("exit code 9"));

    // What is proven is started again.
    let processes = sidecar.processes();
    assert!(std::process::Command::new("kill").args(["-9", &processes[0]]).status().unwrap().success());
    sidecar.until("a new process", || sidecar.processes().first().is_some_and(|p| *p != processes[0])).await;
    sidecar.until_status("p", "running").await;
    assert!(sidecar.health("p").await.last_error.contains("signal 9 (SIGKILL)"));
}

#[tokio::test]
async fn the_file_is_followed() {
    let with = |entry| Plugin {
        manifest: "config: {n: {type: integer, default: 1}, s: {type: string}}",
        entry,
        ..plugin("p")
    };
    let sidecar = Sidecar::started(&[with(""), plugin("q")]).await;
    sidecar.until_status("q", "running").await;
    sidecar.configure(&[with("config: {n: 2}"), plugin("q")]);
    sidecar.until("a change", || sidecar.calls().len() > 4).await;
    assert_eq!(sidecar.calls()[4..], [r#"p on_config_change {"n":2}"#]);

    std::fs::write(sidecar.path().join("plugins.yaml"), "plugins: [").unwrap();
    sidecar.until_log("[ERROR] Configuration not changed: plugins.yaml: line 1").await;
    sidecar.configure(&[with("config: {n: two}"), plugin("q")]);
    sidecar.until_log("'n' must be of type integer, found string").await;
    assert_eq!(sidecar.get("p").await.unwrap().status, "running");

    sidecar.configure(&[with("config: {n: 2}\npriority: 300")]);
    sidecar.until("q unloaded", || sidecar.calls().contains(&"q cleanup".to_owned())).await;
    sidecar.until_log("Plugin q unloaded").await;
    assert_eq!(sidecar.processes().len(), 1);
    assert_eq!(sidecar.calls()[5..], ["q stop", "q cleanup"]);
    assert!(sidecar.get("q").await.is_err());
}

#[tokio::test]
async fn unloading_takes_six_steps_and_leaves_dependents() {
    let needy = Plugin { manifest: "dependencies: [{name: p, version: '*'}]", ..plugin("needy") };
    let sidecar = Sidecar::started(&[Plugin { behave: "fail cleanup no disk", ..plugin("p") }, needy]).await;
    sidecar.until_status("needy", "running").await;
    let mut client = sidecar.client().await;
    let error = client.unload(PluginName { name: "p".into() }).await.unwrap_err();
    assert_eq!(error.message(), "plugin 'p': plugin cleanup failed: no disk");
    assert_eq!(sidecar.calls()[4..], ["p stop", "p cleanup"]);
    assert!(!client.is_loaded(PluginName { name: "p".into() }).await.unwrap().into_inner().loaded);
    assert_eq!(sidecar.get("needy").await.unwrap().status, "running");
    sidecar.until_log("[WARN] Plugin p is unloaded while required by needy, which keep running").await;
    let error = client.unload(PluginName { name: "nope".into() }).await.unwrap_err();
    assert_eq!(error.message(), "plugin not found: 'nope'");
    let error = client.resolve_dependencies(Empty {}).await.unwrap_err();
    assert_eq!(error.message(), "missing dependency: plugin 'needy' requires 'p' version '*'");
}

#[tokio::test]
async fn metrics_have_the_references_names() {
    let sidecar = Sidecar::started(&[plugin("p")]).await;
    sidecar.until_status("p", "running").await;
    let (code, text) = sidecar.http("GET", "/metrics");
    assert_eq!(code, 200);
    for line in [
        "rockstar_plugin_load_success{plugin=\"p\"} 1",
        "rockstar_plugin_error_count{plugin=\"p\"} 0",
        "rockstar_plugin_status{plugin=\"p\",status=\"running\"} 1",
        "rockstar_plugin_status{plugin=\"p\",status=\"error\"} 0",
        "# TYPE rockstar_plugin_error_count counter",
        "# TYPE rockstar_plugin_load_duration_ms gauge",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}
