//! What is refused, what is warned of, and in which words.

use super::*;
use rockstar_core::manifest::Dependency;
use rockstar_crds::{Plugin, PluginHost};
use serde_json::{Value, json};

fn plugin_with(change: impl FnOnce(&mut Value)) -> Plugin {
    let mut spec = json!({
        "host": "storefront",
        "manifest": {
            "name": "auth-plugin",
            "version": "1.2.0",
            "description": "Authentication",
            "author": "John Doe",
            "dependencies": [
                {"name": "cache-plugin", "version": ">=2.0.0"},
                {"name": "logging-plugin", "version": ">=1.0.0", "optional": true},
            ],
            "permissions": {"database": true},
            "config": {
                "jwt_secret": {"type": "string", "required": true},
                "token_ttl": {"type": "duration", "default": "24h"},
            },
        },
        "source": {"path": "/plugins/auth"},
        "configFrom": [{"key": "jwt_secret", "secretKeyRef": {"name": "auth", "key": "jwt"}}],
        "permissions": {"database": true},
    });
    change(&mut spec);
    Plugin::new("auth", serde_json::from_value(spec).unwrap())
}

fn neighbour(object: &str, plugin: &str, requires: &[(&str, bool)]) -> Neighbour {
    let dependency = |(name, optional): &(&str, bool)| Dependency {
        name: (*name).into(),
        version: ">=1.0.0".into(),
        optional: *optional,
    };
    Neighbour {
        object: object.into(),
        host: "storefront".into(),
        plugin: plugin.into(),
        dependencies: requires.iter().map(dependency).collect(),
    }
}

fn complete() -> Surroundings {
    let neighbours = Some(vec![neighbour("cache", "cache-plugin", &[])]);
    Surroundings { host: Some(true), neighbours, missing: Vec::new() }
}

#[test]
fn a_good_plugin_passes_in_silence() {
    assert_eq!(plugin(&plugin_with(|_| ()), &complete()), Opinion::default());
    assert_eq!(plugin(&plugin_with(|_| ()), &Surroundings::default()), Opinion::default(), "nothing could be asked");
}

#[test]
fn bad_ones_are_refused_in_the_words_of_the_reference() {
    let cases: [(&str, Value, &str); 7] = [
        (
            "/manifest/dependencies/0/version",
            json!("=>1.0"),
            "spec.manifest.dependencies[0].version: failed to parse manifest: invalid dependency version constraint: =>1.0",
        ),
        (
            "/manifest/dependencies/0/name",
            json!("auth-plugin"),
            "spec.manifest.dependencies: circular dependency detected: auth-plugin -> auth-plugin",
        ),
        (
            "/manifest/permissions",
            json!({}),
            "spec.permissions: permission mismatch: plugin requests 'database' permission but manifest does not declare it",
        ),
        ("/configFrom", json!([]), "spec.config: Configuration key missing and no default value provided: jwt_secret"),
        (
            "/manifest/config/token_ttl/default",
            json!("soon"),
            "spec.manifest.config.token_ttl.default: failed to parse manifest: invalid config schema: default of 'token_ttl' \
             must be of type duration, found a string that is no duration (write it like 30s or 1h30m)",
        ),
        (
            "/manifest/version",
            json!("1.2"),
            "spec.manifest.version: failed to parse manifest: invalid version format: must be semantic version (X.Y.Z)",
        ),
        ("/source", json!({}), "spec.source: exactly one of oci, http and path must be given"),
    ];
    for (pointer, value, expected) in cases {
        let changed = plugin_with(|spec| *spec.pointer_mut(pointer).unwrap() = value);
        assert_eq!(plugin(&changed, &complete()).denials, [expected], "{pointer}");
    }
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let changed = plugin_with(|spec| {
        spec["config"] = json!({"token_ttl": 5});
        spec["hookTimeout"] = json!("0s");
    });
    assert_eq!(plugin(&changed, &complete()).denials.len(), 2);
}

#[test]
fn what_is_not_there_yet_is_a_warning() {
    let around = Surroundings {
        host: Some(false),
        neighbours: Some(vec![neighbour("auth-old", "auth-plugin", &[])]),
        missing: vec![Missing { field: "spec.configFrom[jwt_secret]".into(), object: "Secret auth".into() }],
    };
    let changed = plugin_with(|spec| spec["config"] = json!({"token_tll": "1h"}));
    let opinion = plugin(&changed, &around);
    assert_eq!(opinion.denials, Vec::<String>::new());
    let expected = [
        "token_tll",
        "there is no PluginHost 'storefront' in this namespace (yet); the plugin waits for it",
        "spec.configFrom[jwt_secret]: there is no Secret auth (yet)",
        "Plugin 'auth-old' already gives 'auth-plugin' to host 'storefront'; only the older one is used",
        "missing dependency: plugin 'auth-plugin' requires 'cache-plugin' version '>=2.0.0'",
    ];
    assert_eq!(opinion.warnings.len(), expected.len(), "{:?}", opinion.warnings);
    for (warning, text) in opinion.warnings.iter().zip(expected) {
        assert!(warning.contains(text), "{warning}");
    }
}

#[test]
fn deleting_warns_of_those_who_require_it() {
    let around = Surroundings {
        neighbours: Some(vec![
            neighbour("user", "user-plugin", &[("auth-plugin", false)]),
            neighbour("log", "logging-plugin", &[("auth-plugin", true)]),
        ]),
        ..complete()
    };
    let opinion = plugin_deletion(&plugin_with(|_| ()), &around);
    let expected =
        "plugin 'auth-plugin' is required by 'user-plugin': it is unloaded all the same; they keep running without it";
    assert_eq!(opinion, Opinion { denials: vec![], warnings: vec![expected.into()] });
    assert_eq!(plugin_deletion(&plugin_with(|_| ()), &complete()), Opinion::default());
}

#[test]
fn hosts() {
    let of = |spec: Value| PluginHost::new("storefront", serde_json::from_value(spec).unwrap());
    assert_eq!(host(&of(json!({"framework": {"version": "1.5.0"}}))), Opinion::default());
    let bad = of(json!({"framework": {"version": "1.5.0"}, "rollout": {"progressDeadline": "0s"}}));
    let denied = host(&bad).denials;
    assert_eq!(denied, ["spec.rollout.progressDeadline: must be longer than 0"]);
    let limited = |limits: Value| host(&of(json!({"framework": {"version": "1.5.0"}, "limits": limits}))).denials;
    assert_eq!(limited(json!({"storage": "1Gi"})), Vec::<String>::new());
    let text = "spec: limits.cache is 32Mi, more than limits.totalCache, which is 24Mi";
    assert_eq!(limited(json!({"cache": "32Mi"})), [text]);
    let unknown = limited(json!({"storages": "1Gi"}));
    assert!(
        unknown[0].starts_with("spec: limits.storages is unknown (did you mean storage?); there are registrations, ")
    );
    assert_eq!(host_deletion(&bad, 0), Opinion::default());
    let expected = "2 plugins name the host 'storefront': what runs goes on, and what is deleted, disabled or revoked is \
                    still taken away; nothing new starts until there is one again";
    assert_eq!(host_deletion(&bad, 2).warnings, [expected]);
}
