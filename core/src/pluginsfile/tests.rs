use super::*;
use crate::{
    assignment::{CrashBudget, FailurePolicy, Queue, QueueStrategy, ReloadPolicy, ThresholdAction},
    backends::EventOverflow,
    limits::Limit,
    permission::{self, Permission},
};
use proptest::{collection::vec, option, prelude::*};
use serde_json::json;
use std::time::Duration;

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
      permissions:
        database: true
        cache: true
        router: true
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

fn yaml(text: &str) -> Parsed {
    parse(text, Format::Yaml).unwrap()
}

fn one(fields: &str) -> Entry {
    yaml(&format!("plugins: {{plugins: [{{name: p{fields}}}]}}")).file.plugins.remove(0)
}

fn error(text: &str) -> String {
    parse(text, Format::Yaml).unwrap_err().to_string()
}

#[test]
fn the_reference_s_examples_mean_the_same() {
    let Parsed { file, warnings } = yaml(YAML);
    assert!(warnings.is_empty());
    assert_eq!((file.enabled, file.directory.as_str()), (true, "./plugins"));
    let [auth] = file.plugins.as_slice() else { panic!("{file:?}") };
    assert_eq!((auth.name.as_str(), auth.enabled, auth.path.as_str()), ("auth-plugin", true, "./plugins/auth-plugin"));
    assert_eq!(auth.policies.priority, 200);
    assert_eq!(Value::from(auth.config.clone()), json!({"jwt_secret": "my-secret-key", "token_ttl": "24h"}));
    assert_eq!(auth.permissions, [Permission::Database, Permission::Cache, Permission::Router].into());
    assert_eq!(parse(JSON, Format::Json).unwrap().file, file);
    assert_eq!(parse(TOML, Format::Toml).unwrap().file, file);
}

#[test]
fn defaults() {
    let Parsed { file, warnings } = yaml("plugins: {directory: /opt/plugins/, plugins: [{name: logging-plugin}]}");
    let entry = Entry {
        name: "logging-plugin".into(),
        enabled: true,
        path: "/opt/plugins/logging-plugin".into(),
        config: Map::new(),
        permissions: Permissions::new(),
        command: vec![],
        env: BTreeMap::new(),
        resources: Resources::default(),
        policies: Policies::default(),
    };
    assert_eq!((file.plugins, warnings), (vec![entry], vec![]));
    assert_eq!(one("").path, "./plugins/p");
    assert_eq!(one("").policies.priority, 100);
    let nothing = yaml("plugins: {enabled: false}").file;
    assert!(!nothing.enabled && nothing.plugins.is_empty() && nothing.error_threshold.is_none());
}

#[test]
fn limits_are_given_for_all_and_memory_for_each() {
    let file = yaml(
        "limits: {storage: 1Mi, log_lines: 50, transaction: 5s, totalCache: 16Mi}\n\
         plugins: {plugins: [{name: p, resources: {memory: 200Mi}}, {name: q}]}",
    )
    .file;
    let limits = [Limit::Storage, Limit::LogLines, Limit::Transaction, Limit::TotalCache, Limit::Tmp];
    assert_eq!(limits.map(|limit| file.limits.get(limit)), [1 << 20, 50, 5000, 16 << 20, 64 << 20]);
    assert_eq!(file.plugins.iter().map(|p| p.resources.memory >> 20).collect::<Vec<_>>(), [200, 100]);
    let refused = |limits: &str| error(&format!("limits: {limits}\nplugins: {{plugins: []}}"));
    let text = "limits.threads is '0'; expected an integer from 8 to 32768";
    assert!(refused("{threads: 0}").ends_with(text), "{}", refused("{threads: 0}"));
    assert!(refused("{cache: 32Mi}").contains("more than limits.totalCache"), "{}", refused("{cache: 32Mi}"));
    let memory = error("plugins: {plugins: [{name: p, resources: {memory: 0}}]}");
    assert!(memory.contains("an amount of memory like 100Mi"), "{memory}");
    let text = "line 1, column 18: limits.thread is unknown (did you mean threads?); there are registrations, ";
    assert!(refused("{thread: 10}").contains(text), "{}", refused("{thread: 10}"));
    let text = "limits.log_lines is '5'; expected an integer from 10 to 100000";
    assert!(refused("{log_lines: 5}").ends_with(text), "{}", refused("{log_lines: 5}"));
    let text = "limits.logLines is given twice, as log_lines too";
    assert!(refused("{log_lines: 50, logLines: 60}").ends_with(text));
}

#[test]
fn the_sandbox_is_required_only_where_the_file_says_so() {
    let sandbox = |field: &str| yaml(&format!("{field}\nplugins: {{plugins: []}}")).file.sandbox;
    assert_eq!(sandbox(""), Sandbox::BestEffort);
    assert_eq!(sandbox("sandbox: Required"), Sandbox::Required);
    assert!(error("sandbox: Maybe\nplugins: {plugins: []}").contains("Required or BestEffort"));
}

#[test]
fn every_further_field_of_an_entry() {
    let entry = one(
        ", enabled: false, path: /p, priority: -5, hook_timeout: 1s, stop_timeout: 1m, failure_policy: open, command: [./p, -v], \
         env: {A: b}, reload: {grace_period: 0s, drain_timeout: 1s, queue_timeout: 60s, max_queue_size: 5000, queue_strategy: reject}, \
         error_threshold: {max_errors: 3, time_window: 10s, action: log, reset_on_success: false}, \
         crash_budget: {max_crashes: 2, window: 1m}",
    );
    assert!(!entry.enabled);
    assert_eq!(entry.command, ["./p", "-v"]);
    assert_eq!(entry.env, BTreeMap::from([("A".to_owned(), "b".to_owned())]));
    let seconds = Duration::from_secs;
    let policies = Policies {
        priority: -5,
        failure_policy: FailurePolicy::Open,
        hook_timeout: seconds(1),
        stop_timeout: seconds(60),
        reload: ReloadPolicy {
            grace_period: seconds(0),
            drain_timeout: seconds(1),
            queue: Queue { strategy: QueueStrategy::Reject, timeout: seconds(60), max_size: 5000 },
        },
        error_threshold: Some(ErrorThreshold {
            max_errors: 3,
            time_window: seconds(10),
            action: ThresholdAction::Log,
            reset_on_success: false,
            webhook: None,
        }),
        crash_budget: CrashBudget { max_crashes: 2, window: seconds(60) },
    };
    assert_eq!(entry.policies, policies);
}

#[test]
fn error_thresholds() {
    let example = ErrorThreshold {
        max_errors: 100,
        time_window: Duration::from_secs(300),
        action: ThresholdAction::Disable,
        reset_on_success: true,
        webhook: None,
    };
    let of = |common: &str, own: &str| {
        let file = yaml(&format!("plugins: {{{common}plugins: [{{name: p{own}}}]}}")).file;
        file.plugins[0].policies.error_threshold.clone()
    };
    assert_eq!(of("", ""), None);
    assert_eq!(of("error_threshold: {}, ", ""), Some(example.clone()));
    assert_eq!(of("error_threshold: {enabled: false}, ", ""), None);
    assert_eq!(of("error_threshold: {}, ", ", error_threshold: {enabled: false}"), None);
    let own = of("error_threshold: {max_errors: 7}, ", ", error_threshold: {action: alert}");
    assert_eq!(own, Some(ErrorThreshold { action: ThresholdAction::Alert, ..example.clone() }));
    let own = of("error_threshold: {webhook: 'http://a/api/v2/alerts'}, ", ", error_threshold: {}");
    assert_eq!(own.unwrap().webhook.as_deref(), Some("http://a/api/v2/alerts"));
}

#[test]
fn the_framework_s_version_and_other_sections() {
    let parsed = yaml("framework: {version: 1.5.0}\ndatabase: {host: db}\nplugins: {plugins: []}\n");
    assert_eq!(parsed.file.framework, Some(Version::new(1, 5, 0)));
    assert_eq!(parsed.warnings, Vec::<String>::new());
    let text = "line 1, column 22: field 'framework.version' must be a semantic version (X.Y.Z), found 1.5";
    assert_eq!(error("framework: {version: 1.5}\nplugins: {}"), text);
}

#[test]
fn the_events_engine_and_what_it_drops() {
    let backends = |events: &str| yaml(&format!("plugins: {{}}\nbackends: {{events: {{{events}}}}}\n")).file.backends;
    let nats = backends("url: 'nats://one/shop', overflow: drop_oldest");
    assert_eq!((nats.events.as_deref(), nats.event_overflow), (Some("nats://one/shop"), EventOverflow::DropOldest));
    let embedded = backends("overflow: drop_newest");
    assert_eq!((embedded.events, embedded.event_overflow), (None, EventOverflow::DropNewest));
    let wrong = error("plugins: {}\nbackends: {events: {overflow: wait}}\n");
    assert!(wrong.contains("drop_newest or drop_oldest"), "{wrong}");
}

#[test]
fn faults_name_line_and_field() {
    let table = [
        (
            "plugins:\n  - name: a\n",
            "line 2, column 3: field 'plugins' must be an object, found an array: move the list one level down, to 'plugins.plugins'",
        ),
        ("plugin: {}\n", "line 1, column 1: missing required field: plugins"),
        (
            "plugins:\n  enabled: 'yes'\n",
            "line 2, column 12: field 'plugins.enabled' must be true or false, found 'yes'",
        ),
        (
            "plugins:\n  plugins:\n    - enabled: true\n",
            "line 3, column 7: missing required field: plugins.plugins[0].name",
        ),
        ("plugins:\n  plugins:\n    - name: a\n    - name: a\n", "line 4, column 7: plugin listed twice: 'a'"),
        (
            "plugins:\n  plugins:\n    - name: a\n      priority: high\n",
            "line 4, column 17: field 'plugins.plugins[0].priority' must be a 32-bit integer, found 'high'",
        ),
        (
            "plugins:\n  plugins:\n    - name: a\n      config: [1]\n",
            "line 4, column 15: field 'plugins.plugins[0].config' must be an object, found an array",
        ),
        (
            "plugins:\n  plugins:\n    - name: a\n      permissions: {custom: true}\n",
            "line 4, column 29: field 'plugins.plugins[0].permissions': unknown permission: custom",
        ),
        (
            "plugins:\n  plugins:\n    - name: a\n      hook_timeout: 30\n",
            "line 4, column 21: field 'plugins.plugins[0].hook_timeout' must be a duration like 100ms, 30s or 1h30m, found 30",
        ),
        (
            "plugins:\n  plugins:\n    - name: a\n      hook_timeout: 0s\n",
            "line 4, column 21: field 'plugins.plugins[0].hook_timeout' must be a duration above 0, found '0s'",
        ),
        (
            "plugins:\n  plugins:\n    - name: a\n      reload: {queue_strategy: drop}\n",
            "line 4, column 32: field 'plugins.plugins[0].reload.queue_strategy' must be block or reject, found 'drop'",
        ),
        (
            "plugins:\n  error_threshold: {max_errors: 0}\n",
            "line 2, column 33: field 'plugins.error_threshold.max_errors' must be an integer of 1 or more, found 0",
        ),
        (
            "plugins:\n  error_threshold: {action: stop}\n",
            "line 2, column 29: field 'plugins.error_threshold.action' must be disable, log or alert, found 'stop'",
        ),
        (
            "plugins:\n  plugins:\n    - name: a\n      env: {SECRET: 12345}\n",
            "line 4, column 21: field 'plugins.plugins[0].env.SECRET' must be a string, found an integer",
        ),
    ];
    for (text, wanted) in table {
        assert_eq!(error(text), wanted);
    }
    let json = parse("{\"plugins\": {\n  \"enabled\": 1}}", Format::Json).unwrap_err();
    assert_eq!(json.to_string(), "line 2, column 14: field 'plugins.enabled' must be true or false, found 1");
    let toml = parse("[plugins]\nenabled = 1\n", Format::Toml).unwrap_err();
    assert_eq!(toml.to_string(), "line 2, column 11: field 'plugins.enabled' must be true or false, found 1");
}

#[test]
fn syntax_errors_name_the_line() {
    for (text, format) in [
        ("plugins:\n  a: [\n", Format::Yaml),
        ("{\"plugins\":\n}", Format::Json),
        ("[plugins]\nenabled =\n", Format::Toml),
    ] {
        let error = parse(text, format).unwrap_err();
        assert!(matches!(*error.fault, FileFault::Syntax(_)), "{error}");
        assert!(error.to_string().starts_with("line 2, column "), "{error}");
    }
}

#[test]
fn unknown_fields_are_warnings() {
    let parsed =
        yaml("plugin: 1\nplugins:\n  plugins:\n    - name: a\n      hookTimeout: 5s\n      reload: {grace: 1s}\n");
    let warnings = [
        "line 1, column 9: unknown field 'plugin', did you mean 'plugins'?",
        "line 5, column 20: unknown field 'plugins.plugins[0].hookTimeout', did you mean 'hook_timeout'?",
        "line 6, column 23: unknown field 'plugins.plugins[0].reload.grace', did you mean 'grace_period'?",
    ];
    assert_eq!(parsed.warnings, warnings);
}

/// Values that all three formats can write: TOML has no null, and its integers have 64 bits.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9..1e9_f64).prop_map(Value::from),
        "[ -~é\n]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z_.]{1,6}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn entry() -> impl Strategy<Value = Value> {
    let config = prop::collection::btree_map("[a-z_]{1,8}", value(), 0..4);
    let permissions = prop::collection::btree_map(
        prop::sample::select(permission::all().into_iter().map(Permission::name).collect::<Vec<_>>()),
        any::<bool>(),
        0..7,
    );
    (config, permissions, option::of(any::<i32>()), any::<bool>(), 1..100_000_u64).prop_map(
        |(config, permissions, priority, enabled, timeout)| {
            let mut entry = json!({
                "config": config, "permissions": permissions, "enabled": enabled, "hook_timeout": format!("{timeout}ms"),
                "reload": {"queue_strategy": "reject"}, "env": {"A": "b"}, "command": ["x"],
            });
            if let Some(priority) = priority {
                entry["priority"] = priority.into();
            }
            entry
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_three_formats_mean_the_same(entries in vec(entry(), 0..4), threshold in any::<bool>()) {
        let mut entries = entries;
        for (at, entry) in entries.iter_mut().enumerate() {
            entry["name"] = format!("p{at}").into();
        }
        let file = json!({"plugins": {"plugins": entries, "error_threshold": {"enabled": threshold}}});
        let from_json = parse(&file.to_string(), Format::Json).unwrap();
        let pretty = parse(&serde_json::to_string_pretty(&file).unwrap(), Format::Json).unwrap();
        let from_toml = parse(&toml::to_string(&file).unwrap(), Format::Toml).unwrap();
        let from_yaml = parse(&serde_yaml::to_string(&file).unwrap(), Format::Yaml).unwrap();
        prop_assert_eq!(&pretty.file, &from_json.file);
        prop_assert_eq!(&from_toml.file, &from_json.file);
        prop_assert_eq!(&from_yaml.file, &from_json.file);
        let given = file["plugins"]["plugins"].as_array().unwrap();
        for (entry, given) in from_json.file.plugins.iter().zip(given) {
            prop_assert_eq!(&Value::from(entry.config.clone()), &given["config"]);
        }
    }

    #[test]
    fn never_panics(text in "[ -~\n]{0,80}") {
        for format in [Format::Yaml, Format::Json, Format::Toml] {
            let _ = parse(&text, format);
        }
    }
}
