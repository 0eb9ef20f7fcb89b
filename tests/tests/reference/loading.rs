//! 3: loading and configuration files.

use crate::{
    app::App,
    calls::{alive, requires},
    world::{Plugin, World, plugin},
};
use serde_json::{Value, json};
use std::{
    fs, io,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

/// The reference's examples.
const YAML: &str = r#"
plugins:
  enabled: true
  directory: ./plugins

  plugins:
    - name: auth-plugin
      enabled: true
      path: ./plugins/auth-plugin
      priority: 200
      config:
        jwt_secret: "my-secret-key"
        token_ttl: "24h"
        refresh_enabled: true
      permissions:
        database: true
        cache: true
        router: true
        config: true
        filesystem: false
        network: false
        exec: false

    - name: logging-plugin
      enabled: true
      path: ./plugins/logging-plugin
      priority: 100
      config:
        log_level: "info"
        output: "stdout"
      permissions:
        database: false
        cache: false
        router: false
        config: true
        filesystem: true
        network: false
        exec: false
"#;

const JSON: &str = r#"{
  "plugins": {
    "enabled": true,
    "directory": "./plugins",
    "plugins": [
      {
        "name": "auth-plugin",
        "enabled": true,
        "path": "./plugins/auth-plugin",
        "priority": 200,
        "config": {
          "jwt_secret": "my-secret-key",
          "token_ttl": "24h"
        },
        "permissions": {
          "database": true,
          "cache": true,
          "router": true
        }
      }
    ]
  }
}"#;

const TOML: &str = r#"
[plugins]
enabled = true
directory = "./plugins"

[[plugins.plugins]]
name = "auth-plugin"
enabled = true
path = "./plugins/auth-plugin"
priority = 200

[plugins.plugins.config]
jwt_secret = "my-secret-key"
token_ttl = "24h"

[plugins.plugins.permissions]
database = true
cache = true
router = true
"#;

fn declares(permissions: &[&str]) -> Value {
    json!({"permissions": permissions.iter().map(|p| (*p, true)).collect::<std::collections::BTreeMap<_, _>>()})
}

fn auth() -> Plugin {
    alive("auth-plugin", json!({"Start": "config"})).manifest(declares(&[
        "database",
        "cache",
        "router",
        "config",
        "filesystem",
    ]))
}

/// A sidecar with the reference's plugins on disk, that has loaded a file with this text.
async fn loaded(file: &str, text: &str) -> World {
    let world = World::idle().await;
    world.install(&auth());
    let steps = json!({"Start": "config"});
    world.install(&alive("logging-plugin", steps).manifest(declares(&["config", "filesystem"])));
    world.write(file, &traced(text));
    assert_eq!(world.load_config(file).await, Ok(()));
    world
}

/// Grants the volume of the tests' trace as well.
fn traced(text: &str) -> String {
    let text = text.replace("filesystem: false", "filesystem: true");
    let text = text.replace("\"router\": true\n", "\"router\": true, \"filesystem\": true\n");
    text.replace("router = true\n", "router = true\nfilesystem = true\n")
}

#[tokio::test]
async fn r3_1_1_plugins_are_loaded_from_yaml() {
    let world = loaded("config/plugins.yaml", YAML).await;
    assert_eq!(world.names().await, ["auth-plugin", "logging-plugin"]);
    for name in ["auth-plugin", "logging-plugin"] {
        assert_eq!(world.status(name).await, "running");
    }
    let expected = json!({"jwt_secret": "my-secret-key", "token_ttl": "24h", "refresh_enabled": true});
    assert_eq!(world.noted_config("auth-plugin"), expected);
    assert_eq!(world.noted_config("logging-plugin"), json!({"log_level": "info", "output": "stdout"}));
}

#[tokio::test]
async fn r3_1_2_plugins_are_loaded_from_json() {
    let world = loaded("config/plugins.json", JSON).await;
    assert_eq!(
        (world.names().await, world.status("auth-plugin").await),
        (vec!["auth-plugin".into()], "running".into())
    );
    assert_eq!(world.noted_config("auth-plugin"), json!({"jwt_secret": "my-secret-key", "token_ttl": "24h"}));
}

#[tokio::test]
async fn r3_1_3_plugins_are_loaded_from_toml() {
    let world = loaded("config/plugins.toml", TOML).await;
    assert_eq!(
        (world.names().await, world.status("auth-plugin").await),
        (vec!["auth-plugin".into()], "running".into())
    );
    assert_eq!(world.noted_config("auth-plugin"), json!({"jwt_secret": "my-secret-key", "token_ttl": "24h"}));
    assert_eq!(world.listed("auth-plugin").await["policies"]["priority"], 200);
}

#[tokio::test]
async fn r3_1_4_the_three_formats_mean_the_same() {
    let files = [
        (
            "same.yaml",
            "plugins:\n  plugins:\n  - name: p\n    permissions: {filesystem: true}\n    priority: 150\n    hook_timeout: 1500ms\n    failure_policy: open\n    \
             reload: {grace_period: 10s, queue_timeout: 1m, max_queue_size: 5, queue_strategy: reject}\n    \
             error_threshold: {max_errors: 7, time_window: 2m, action: log, reset_on_success: false}\n    \
             config: {text: a, number: 3, part: 1.5, on: true, list: [1, two], map: {inner: {deep: x}}}\n",
        ),
        (
            "same.json",
            r#"{"plugins": {"plugins": [{"name": "p", "permissions": {"filesystem": true}, "priority": 150, "hook_timeout": "1500ms", "failure_policy": "open",
            "reload": {"grace_period": "10s", "queue_timeout": "1m", "max_queue_size": 5, "queue_strategy": "reject"},
            "error_threshold": {"max_errors": 7, "time_window": "2m", "action": "log", "reset_on_success": false},
            "config": {"text": "a", "number": 3, "part": 1.5, "on": true, "list": [1, "two"], "map": {"inner": {"deep": "x"}}}
            }]}}"#,
        ),
        (
            "same.toml",
            "[[plugins.plugins]]\nname = \"p\"\npermissions = { filesystem = true }\npriority = 150\nhook_timeout = \"1500ms\"\nfailure_policy = \"open\"\n\
             reload = { grace_period = \"10s\", queue_timeout = \"1m\", max_queue_size = 5, queue_strategy = \"reject\" }\n\
             error_threshold = { max_errors = 7, time_window = \"2m\", action = \"log\", reset_on_success = false }\n\
             [plugins.plugins.config]\ntext = \"a\"\nnumber = 3\npart = 1.5\non = true\nlist = [1, \"two\"]\nmap.inner.deep = \"x\"\n",
        ),
    ];
    let mut seen = Vec::new();
    for (file, text) in files {
        let world = World::idle().await;
        world.install(&alive("p", json!({"Start": "config"})));
        world.write(file, text);
        assert_eq!(world.load_config(file).await, Ok(()), "{file}");
        seen.push((world.listed("p").await["policies"].clone(), world.noted_config("p")));
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
    assert_eq!(seen[0].1["map"]["inner"]["deep"], "x");
    assert_eq!(seen[0].0["hookTimeout"], 1500);
}

#[tokio::test]
async fn r3_1_5_a_file_that_cannot_be_loaded_is_an_error() {
    let world = World::idle().await;
    world.install(&alive("p", json!({})));
    let entry = "plugins:\n  plugins:\n  - name: p\n";
    world.write("plugins.txt", entry);
    world.write("broken.yaml", &format!("{entry}  - name: [\n"));
    world.write("broken.json", "{\"plugins\":\n  {\"plugins\": [}}");
    world.write("broken.toml", "[plugins]\nenabled = yes\n");
    let cases = [
        ("absent.yaml", "failed to read absent.yaml: No such file or directory (os error 2)"),
        ("plugins.txt", "unknown configuration format: plugins.txt: the name must end in .yaml, .yml, .json or .toml"),
        ("broken.yaml", "broken.yaml: line "),
        ("broken.json", "broken.json: line 2"),
        ("broken.toml", "broken.toml: line 2"),
    ];
    for (file, text) in cases {
        let error = world.load_config(file).await.unwrap_err();
        assert!(error.starts_with(text), "{error}");
    }
    assert_eq!(world.list_plugins().await, []);
    world.write("bad.yaml", &format!("{entry}  - name: gone\n"));
    let error = world.load_config("bad.yaml").await.unwrap_err();
    let text = "bad.yaml: 1 plugins run, 1 do not; gone: failed to load plugin: plugin file not found: ./plugins/gone";
    assert_eq!((error.as_str(), world.status("p").await.as_str()), (text, "running"));
}

#[tokio::test]
async fn r3_1_6_the_plugin_system_can_be_off() {
    let world = World::idle().await;
    world.install(&plugin("p", json!([{"type": "pre_request"}])));
    world.write("off.yaml", "plugins:\n  enabled: false\n  plugins:\n  - name: p\n");
    assert_eq!(world.load_config("off.yaml").await, Ok(()));
    assert_eq!((world.is_loaded("p").await, world.directories()), (false, 0));
    let app = App::new(&world).await;
    assert_eq!((app.get("/").await.status, world.trace()), (200, vec!["handler /".to_owned()]));
}

#[tokio::test]
async fn r3_1_7_plugins_without_a_path_are_in_the_directory() {
    let world = World::idle().await;
    world.install(&alive("p", json!({})));
    fs::rename(world.path().join("plugins"), world.path().join("elsewhere")).unwrap();
    world.write("p.yaml", "plugins:\n  directory: ./elsewhere\n  plugins:\n  - name: p\n");
    assert_eq!(world.load_config("p.yaml").await, Ok(()));
    assert_eq!(world.status("p").await, "running");
}

#[tokio::test]
async fn r3_1_8_an_entry_has_its_fields() {
    let world = World::idle().await;
    let p = alive("p", json!({"Start": "config"})).manifest(declares(&["cache", "filesystem"]));
    [p, alive("off", json!({}))].iter().for_each(|p| world.install(p));
    let entry = json!({
        "name": "p", "enabled": true, "path": "plugins/p", "priority": 42, "config": {"key": "value"},
        "permissions": {"cache": true, "exec": false, "filesystem": true},
    });
    let file = |entry: &Value| json!({"plugins": {"plugins": [entry, {"name": "off", "enabled": false}]}}).to_string();
    world.write("fields.json", &file(&entry));
    assert_eq!(world.load_config("fields.json").await, Ok(()));
    let shown: Vec<_> = world.list_plugins().await.into_iter().map(|p| (p.name, p.enabled, p.loaded)).collect();
    assert_eq!(shown, [("p".to_owned(), true, true), ("off".to_owned(), false, false)]);
    assert_eq!(world.noted_config("p"), json!({"key": "value"}));
    assert_eq!(world.listed("p").await["policies"]["priority"], 42);
    let wrong = json!({"name": 1, "enabled": "yes", "path": 2, "priority": "high", "config": [], "permissions": "all"});
    for (field, value) in wrong.as_object().unwrap() {
        let mut entry = entry.clone();
        entry[field] = value.clone();
        world.write("wrong.json", &file(&entry));
        let error = world.load_config("wrong.json").await.unwrap_err();
        assert!(error.contains(&format!("field 'plugins.plugins[0].{field}' must be ")), "{error}");
    }
}

#[tokio::test]
async fn r3_1_9_the_name_must_match_the_manifest() {
    let world = World::idle().await;
    world.install(&alive("b", json!({})));
    world.write("a.yaml", "plugins:\n  plugins:\n  - name: a\n    path: ./plugins/b\n");
    let error = world.load_config("a.yaml").await.unwrap_err();
    let text = "plugin name mismatch: configuration says 'a' but manifest says 'b'";
    assert_eq!(error, format!("a.yaml: 0 plugins run, 1 do not; a: {text}"));
    assert_eq!(world.last_error("a").await, text);
}

#[tokio::test]
async fn r3_2_1_a_path_is_absolute_or_relative_to_the_working_directory() {
    let world = World::idle().await;
    [alive("p", json!({})), alive("q", json!({}))].iter().for_each(|p| world.install(p));
    let absolute = world.directory_of("p");
    assert_eq!(world.load_path(absolute.to_str().unwrap(), &json!({})).await, Ok(()));
    // Not relative to the file.
    world.write("far/away/q.yaml", "plugins:\n  plugins:\n  - {name: q, path: plugins/q}\n");
    assert_eq!(world.load_config("far/away/q.yaml").await, Ok(()));
    assert!(world.is_loaded("q").await);
}

#[tokio::test]
async fn r3_2_2_a_path_is_the_directory_or_the_program() {
    let world = World::idle().await;
    let p = alive("p", json!({}));
    world.install(&p);
    assert_eq!(world.load_path("./plugins/p/p", &json!({})).await, Ok(()));
    let by_program = world.get_plugin("p").await.unwrap();
    world.unload("p").await.unwrap();
    assert_eq!(world.load(&p).await, Ok(()));
    let by_directory = world.get_plugin("p").await.unwrap();
    assert_eq!((by_program.name, by_program.version), (by_directory.name, by_directory.version));
}

#[tokio::test]
async fn r3_2_3_plugin_file_not_found() {
    let world = World::idle().await;
    let error = world.load_path("./plugins/auth-plugin", &json!({})).await;
    assert_eq!(error, Err("failed to load plugin: plugin file not found: ./plugins/auth-plugin".to_owned()));
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn r3_2_4_a_program_must_be_permitted_and_executable() {
    let world = World::idle().await;
    let p = alive("p", json!({}));
    world.install(&p);
    set_mode(&world.directory_of("p").join("p"), 0o644);
    let error = world.load(&p).await;
    let text = "failed to load plugin: program is not executable: ./plugins/p/p has mode 0644";
    assert_eq!(error, Err(text.to_owned()));
    let error = world.load_path("./plugins/p/p/inside", &json!({})).await;
    let text = "failed to load plugin: failed to read ./plugins/p/p/inside: Not a directory (os error 20)";
    assert_eq!(error, Err(text.to_owned()));
    // What not even root can open: ELOOP, ENAMETOOLONG.
    symlink("loop", world.path().join("plugins/loop")).unwrap();
    for (name, code) in [("loop".to_owned(), 40), ("x".repeat(300), 36)] {
        let error = world.load_path(&format!("./plugins/{name}"), &json!({})).await;
        let reason = io::Error::from_raw_os_error(code);
        let text = format!("failed to load plugin: failed to read ./plugins/{name}: {reason}");
        assert_eq!(error, Err(text));
    }
    set_mode(&world.directory_of("p"), 0o000);
    // Nothing is unreadable to root.
    if fs::read_dir(world.directory_of("p")).is_err() {
        let error = world.load_path("./plugins/p", &json!({})).await;
        let text = "failed to load plugin: failed to read ./plugins/p: Permission denied (os error 13)";
        assert_eq!(error, Err(text.to_owned()));
    }
    set_mode(&world.directory_of("p"), 0o755);
}

#[tokio::test]
async fn r3_2_5_load_plugin_does_not_initialise() {
    let world = World::idle().await;
    assert_eq!(world.load(&alive("p", json!({}))).await, Ok(()));
    assert_eq!((world.is_loaded("p").await, world.processes("p")), (true, 1));
    assert_eq!(world.trace(), Vec::<String>::new());
}

#[tokio::test]
async fn r3_2_6_load_plugin_refuses() {
    let world = World::idle().await;
    let refused = async |plugin: Plugin| world.load(&plugin).await.unwrap_err();
    let absent = world.load_path("./plugins/absent", &json!({})).await.unwrap_err();
    assert_eq!(absent, "failed to load plugin: plugin file not found: ./plugins/absent");
    let manifest = refused(alive("bad", json!({})).version("1.2")).await;
    assert_eq!(manifest, "failed to parse manifest: invalid version format: must be semantic version (X.Y.Z)");
    let missing = refused(alive("p", json!({})).manifest(requires(&[("cache-plugin", ">=2.0.0")]))).await;
    assert_eq!(missing, "missing dependency: plugin 'p' requires 'cache-plugin' version '>=2.0.0'");
    let framework = refused(alive("p", json!({})).manifest(json!({"framework": {"version": ">=2.0.0"}}))).await;
    assert_eq!(framework, "framework version mismatch: plugin requires >=2.0.0, found 1.5.0");
    let optional = json!({"dependencies": [{"name": "b", "version": "*", "optional": true}]});
    world.load(&alive("a", json!({})).manifest(optional)).await.unwrap();
    let circular = refused(alive("b", json!({})).manifest(requires(&[("a", "*")]))).await;
    assert_eq!(circular, "circular dependency detected: a -> b -> a");
    let lacking = Plugin { name: "lacking-plugin", ..alive("lacking-plugin", json!({})) };
    world.install(&lacking.clone().manifest(json!({"command": ["lacking-plugin", "Start"]})));
    fs::copy(env!("CARGO_BIN_EXE_lacking-plugin"), world.directory_of("lacking-plugin").join("lacking-plugin"))
        .unwrap();
    let interface = world.load_path("./plugins/lacking-plugin", &json!({})).await.unwrap_err();
    assert_eq!(interface, "plugin does not implement required interface: missing method Start");
    assert_eq!(world.names().await.iter().filter(|n| *n != "a").count(), 1, "only one came so far as to be tried");
}

#[tokio::test]
async fn r3_2_7_a_failed_load_leaves_nothing_behind() {
    let world = World::idle().await;
    let p =
        alive("p", json!({})).manifest(json!({"command": ["p", "--says", json!({"version": "9.9.9"}).to_string()]}));
    world.load(&p).await.unwrap_err();
    assert!(!world.is_loaded("p").await);
    // It was killed; the kernel takes its time.
    world.until("its end", || async { (world.processes("p"), world.directories()) == (0, 0) }).await;
    let metrics = world.metrics().await;
    assert!(metrics.contains("rockstar_plugin_load_success{plugin=\"p\"} 0\n"), "{metrics}");
    assert_eq!(world.load(&alive("p", json!({}))).await, Ok(()), "and can be put right");
    let metrics = world.metrics().await;
    assert!(metrics.contains("rockstar_plugin_load_success{plugin=\"p\"} 1\n"), "{metrics}");
}

#[tokio::test]
async fn r3_2_8_a_name_is_loaded_once() {
    let world = World::idle().await;
    world.running(&alive("p", json!({}))).await;
    let pid = world.pid_of("p");
    let error = world.load(&alive("p", json!({})).version("2.0.0")).await;
    assert_eq!(error, Err("plugin already loaded: 'p'".to_owned()));
    assert_eq!(
        (world.pid_of("p"), world.version("p").await, world.status("p").await),
        (pid, "1.0.0".into(), "running".into())
    );
}

#[tokio::test]
async fn r3_3_1_a_disabled_plugin_is_listed_and_not_loaded() {
    let world = World::idle().await;
    let off = || json!({"enabled": false});
    assert_eq!(world.load(&alive("p", json!({})).with(off())).await, Ok(()));
    world.install(&alive("q", json!({})));
    world.write("q.json", &json!({"plugins": {"plugins": [{"name": "q", "enabled": false}]}}).to_string());
    let listed = world.get_plugin("p").await.unwrap();
    assert_eq!((listed.loaded, listed.enabled, listed.status.as_str()), (false, false, "unloaded"));
    assert_eq!(world.load_config("q.json").await, Ok(()));
    let listed = world.get_plugin("q").await.unwrap();
    assert_eq!((listed.loaded, listed.enabled, listed.status.as_str()), (false, false, "unloaded"));
    assert_eq!((world.is_loaded("q").await, world.directories(), world.trace()), (false, 0, vec![]));
}

#[tokio::test]
async fn r3_4_1_configuration_keeps_its_types() {
    let expected = json!({
        "text": "3", "on": false, "whole": 3, "part": 1.5, "list": [1, "two", [true]], "map": {"a": {"b": 2}},
    });
    let files = [
        (
            "types.yaml",
            "plugins:\n  plugins:\n  - name: p\n    permissions: {filesystem: true}\n    config:\n      text: '3'\n      on: false\n      whole: 3\n      part: 1.5\n      \
             list: [1, two, [true]]\n      map: {a: {b: 2}}\n"
                .to_owned(),
        ),
        ("types.json", json!({"plugins": {"plugins": [{"name": "p", "permissions": {"filesystem": true}, "config": expected}]}}).to_string()),
        (
            "types.toml",
            "[[plugins.plugins]]\nname = \"p\"\npermissions = { filesystem = true }\n[plugins.plugins.config]\ntext = \"3\"\non = false\nwhole = 3\npart = 1.5\n\
             list = [1, \"two\", [true]]\nmap.a.b = 2\n"
                .to_owned(),
        ),
    ];
    let world = World::idle().await;
    world.install(&alive("p", json!({"Start": "config"})));
    for (file, text) in files {
        world.write(file, &text);
        assert_eq!(world.load_config(file).await, Ok(()));
        assert_eq!(world.noted_config("p"), expected, "{file}");
        world.unload("p").await.unwrap();
        world.forget_trace();
    }
}

#[tokio::test]
async fn r3_4_2_plugin_config_carries_all() {
    let world = World::idle().await;
    let first = alive("first", json!({})).with(json!({"priority": 50}));
    let p = alive("p", json!({"Start": "config"})).manifest(declares(&["database", "cache", "filesystem"]));
    let given = json!({
        "enabled": true, "priority": 200, "config": {"jwt_secret": "s"}, "permissions": {"database": true, "cache": true},
    });
    world.load(&first).await.unwrap();
    world.load(&p.with(given)).await.unwrap();
    world.initialize_all().await.unwrap();
    world.start_all().await.unwrap();
    assert_eq!(world.trace()[..2], ["p.Initialize 1.0.0", "first.Initialize 1.0.0"], "by priority");
    assert_eq!(world.noted_config("p"), json!({"jwt_secret": "s"}));
    let listed = world.listed("p").await;
    assert_eq!(
        (&listed["permissions"], &listed["enabled"]),
        (&json!(["database", "cache", "filesystem"]), &json!(true))
    );
    let undeclared = alive("q", json!({})).with(json!({"permissions": {"exec": true}}));
    assert!(world.load(&undeclared).await.unwrap_err().starts_with("permission mismatch: "));
}

#[tokio::test]
async fn r3_4_3_what_may_be_left_out_of_an_entry() {
    let world = World::idle().await;
    let steps = json!({"Start": "log-config; query SELECT 1"});
    world.install(&alive("logging-plugin", steps).manifest(declares(&["database"])));
    world.write(
        "short.yaml",
        "plugins:\n  enabled: true\n  directory: ./plugins\n  plugins:\n    - name: logging-plugin\n      enabled: true\n      \
         path: ./plugins/logging-plugin\n",
    );
    assert_eq!(world.load_config("short.yaml").await, Ok(()));
    world.until_log("logging-plugin is given {}").await;
    let listed = world.listed("logging-plugin").await;
    assert_eq!((&listed["policies"]["priority"], &listed["permissions"]), (&json!(100), &json!([])));
    let denied = "permission denied: plugin 'logging-plugin' attempted database access without permission";
    assert_eq!(world.last_error("logging-plugin").await, denied);
}

/// The order in which a file's plugins were initialised.
async fn order(plugins: &[Plugin]) -> Vec<String> {
    let world = World::started(plugins).await;
    let initialized =
        world.trace().into_iter().filter_map(|line| Some(line.strip_suffix(".Initialize 1.0.0")?.to_owned()));
    initialized.collect()
}

#[tokio::test]
async fn r3_5_1_plugins_load_in_the_order_of_the_file() {
    let independent = [alive("c", json!({})), alive("a", json!({})), alive("b", json!({}))];
    assert_eq!(order(&independent).await, ["c", "a", "b"]);
    let dependent = alive("a", json!({})).manifest(requires(&[("z", "*")]));
    assert_eq!(order(&[dependent, alive("b", json!({})), alive("z", json!({}))]).await, ["b", "z", "a"]);
}

#[tokio::test]
async fn r3_5_2_a_higher_priority_loads_first() {
    let with = |name, priority: i32| alive(name, json!({})).with(json!({"priority": priority}));
    assert_eq!(order(&[with("a", 100), with("b", 200), with("c", 150)]).await, ["b", "c", "a"]);
    let dependent = with("b", 200).manifest(requires(&[("a", "*")]));
    assert_eq!(order(&[with("a", 100), dependent, with("c", 150)]).await, ["c", "a", "b"]);
}

#[tokio::test]
async fn rl_5_load_plugin_returns_when_the_plugin_is_loaded() {
    let world = World::idle().await;
    let gate = world.path().join("gate");
    let p = alive("p", json!({})).manifest(json!({"command": ["p", "--wait", gate]}));
    let loading = world.load(&p);
    tokio::pin!(loading);
    let started = world.until("its process", || async { world.processes("p") == 1 });
    tokio::select! {
        biased;
        early = &mut loading => panic!("before it was loaded: {early:?}"),
        () = started => {}
    }
    assert!(!world.is_loaded("p").await);
    fs::write(gate, "").unwrap();
    assert_eq!(loading.await, Ok(()));
    assert!(world.is_loaded("p").await);
}
