//! `rockstar validate`: what is said about good and bad files, and the exit code.

use crate::support::{rockstar, stderr, stdout};
use serde_json::Value;
use std::{fs, path::Path};

const GOOD: &str = "\
apiVersion: plugins.rockstar-framework.dev/v1alpha1
kind: Plugin
metadata:
  name: auth-plugin
  namespace: shop
spec:
  host: storefront
  manifest:
    name: auth-plugin
    version: 1.2.0
    description: Authentication
    author: Me <me@example.com>
    dependencies:
      - name: cache-plugin
        version: \">=2.0.0\"
    permissions:
      cache: true
    config:
      ttl:
        type: duration
        default: 24h
      secret:
        type: string
        required: true
  source:
    path: /plugins/auth-plugin
  config:
    ttl: 12h
  configFrom:
    - key: secret
      secretKeyRef: {name: auth, key: jwt}
  permissions:
    cache: true
";

const HOST: &str = "\
apiVersion: plugins.rockstar-framework.dev/v1alpha1
kind: PluginHost
metadata:
  name: storefront
spec:
  framework:
    version: 1.5.0
";

/// Checks one file; exit code and output.
fn validate(name: &str, text: &str) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    fs::write(&path, text).unwrap();
    let output = rockstar(&["validate", path.to_str().unwrap()]);
    let text = stdout(&output) + &stderr(&output);
    (output.status.code(), text.replace(&format!("{}/", dir.path().display()), ""))
}

fn accepts(name: &str, text: &str) -> String {
    let (code, output) = validate(name, text);
    assert_eq!(code, Some(0), "{output}");
    output
}

/// The output must begin with exactly this line.
fn refuses(name: &str, text: &str, line: &str) {
    let (code, output) = validate(name, text);
    assert_eq!(code, Some(1), "{output}");
    assert_eq!(output.lines().next(), Some(line), "{output}");
}

/// The good Plugin with one change.
fn changed(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    GOOD.replacen(from, to, 1)
}

#[test]
fn good_files_are_valid() {
    assert_eq!(accepts("p.yaml", GOOD), "p.yaml: Plugin shop/auth-plugin valid\n");
    assert_eq!(
        accepts("all.yaml", &format!("{HOST}---\n{GOOD}---\napiVersion: v1\nkind: Secret\nmetadata: {{name: auth}}\n")),
        "all.yaml: PluginHost storefront valid\nall.yaml: Plugin shop/auth-plugin valid\nall.yaml: Secret auth, not checked valid\n"
    );
    let manifest = r#"{"name": "a", "version": "1.0.0", "description": "d", "author": "me"}"#;
    assert_eq!(accepts("plugin.json", manifest), "plugin.json: manifest a v1.0.0 valid\n");
    let file = "[plugins]\nenabled = true\n[[plugins.plugins]]\nname = \"a\"\n";
    assert_eq!(accepts("plugins.toml", file), "plugins.toml: plugins file, 1 plugins valid\n");
}

#[test]
fn the_example_plugins_are_valid() {
    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/plugins");
    for plugin in fs::read_dir(plugins).unwrap() {
        accepts("plugin.yaml", &fs::read_to_string(plugin.unwrap().path().join("plugin.yaml")).unwrap());
    }
}

#[test]
fn wrong_types_have_line_field_and_what_was_expected() {
    refuses(
        "p.yaml",
        &changed("  host: storefront", "  host: storefront\n  enabled: perhaps"),
        "p.yaml:8:12: error: spec.enabled: expected true or false, found the text \"perhaps\"",
    );
    refuses(
        "plugin.yaml",
        "name: a\nversion: 1.0.0\ndescription: d\nauthor: [me]\n",
        "plugin.yaml:4:9: error: field 'author' must be a string, found an array",
    );
    refuses(
        "plugins.toml",
        "[plugins]\nenabled = \"yes\"\n",
        "plugins.toml:2:11: error: field 'plugins.enabled' must be true or false, found 'yes'",
    );
}

#[test]
fn unknown_fields_are_warnings_with_the_likely_name() {
    let output = accepts("p.yaml", &changed("  host: storefront", "  host: storefront\n  prioritty: 3"));
    assert!(
        output.starts_with("p.yaml:8:14: warning: spec.prioritty: unknown field 'prioritty', did you mean 'priority'?"),
        "{output}"
    );
    let output = accepts("plugin.yaml", "name: a\nversion: 1.0.0\ndescription: d\nauthor: me\nhoks: []\n");
    assert!(output.starts_with("plugin.yaml:5:7: warning: unknown field 'hoks', did you mean 'hooks'?"), "{output}");
}

#[test]
fn the_schemas_rules_are_checked() {
    refuses(
        "p.yaml",
        &changed("    path: /plugins/auth-plugin", "    path: /p\n    http: {url: 'https://x', sha256: ''}"),
        "p.yaml:26:5: error: spec.source: exactly one of oci, http and path must be given",
    );
    refuses(
        "p.yaml",
        &changed("    version: 1.2.0", "    version: v1.2"),
        "p.yaml:10:14: error: spec.manifest.version: invalid version format: must be semantic version (X.Y.Z)",
    );
    refuses(
        "h.yaml",
        &HOST.replace("kind: PluginHost", "kind: PluginHots"),
        "h.yaml:2:7: error: kind: expected Plugin or PluginHost, found the text \"PluginHots\"",
    );
}

#[test]
fn mistyped_limits_are_refused() {
    let limits = |limits: &str| format!("{HOST}  limits: {limits}\n");
    accepts("h.yaml", &limits("{storage: 1Gi, threads: 20, transaction: 1m}"));
    let known = "there are registrations, registrationBytes, eventBytes, queuedEventBytes, cache, totalCache, storage, database, \
                 data, tmp, artifact, threads, descriptors, logLines, logBytes, transaction";
    let text = format!("h.yaml:8:11: error: spec.limits: limits.treads is unknown (did you mean threads?); {known}");
    refuses("h.yaml", &limits("{treads: 20}"), &text);
    let text = "h.yaml:8:21: error: spec.limits.storage: must be an amount of bytes from 64Ki to 64Gi";
    refuses("h.yaml", &limits("{storage: 1Ki}"), text);
    let text = "h.yaml:8:11: error: spec.limits: limits.cache is 32Mi, more than limits.totalCache, which is 24Mi";
    refuses("h.yaml", &limits("{cache: 32Mi}"), text);
    let file = "limits: {thread: 10}\nplugins: {plugins: []}\n";
    refuses(
        "plugins.yaml",
        file,
        &format!("plugins.yaml:1:18: error: limits.thread is unknown (did you mean threads?); {known}"),
    );
}

#[test]
fn manifest_configuration_and_grants_must_agree() {
    refuses(
        "p.yaml",
        &changed(">=2.0.0", "=>2.0"),
        "p.yaml:15:18: error: spec.manifest.dependencies[0].version: invalid dependency version constraint: =>2.0",
    );
    refuses(
        "p.yaml",
        &changed("    ttl: 12h", "    ttl: soon"),
        "p.yaml:28:10: error: spec.config.ttl: invalid configuration value: 'ttl' must be of type duration, found a string that is no duration (write it like 30s or 1h30m)",
    );
    refuses(
        "p.yaml",
        &changed("    - key: secret", "    - key: other"),
        "p.yaml:28:5: error: spec.config: Configuration key missing and no default value provided: secret",
    );
    refuses(
        "p.yaml",
        &changed("  permissions:\n    cache: true\n", "").replace(
            "      secretKeyRef: {name: auth, key: jwt}\n",
            "      secretKeyRef: {name: auth, key: jwt}\n  permissions: {network: true}\n",
        ),
        "p.yaml:32:26: error: spec.permissions.network: permission mismatch: plugin requests 'network' permission but manifest does not declare it",
    );
    refuses(
        "p.yaml",
        &changed("- name: cache-plugin", "- name: auth-plugin"),
        "p.yaml:14:9: error: spec.manifest.dependencies[0]: circular dependency detected: auth-plugin -> auth-plugin",
    );
}

#[test]
fn what_cannot_be_parsed_says_where() {
    let (code, output) = validate("p.yaml", "kind: Plugin\nspec: [1\nmetadata: {}\n");
    assert_eq!(code, Some(1), "{output}");
    assert!(output.starts_with("p.yaml:3:") || output.starts_with("p.yaml:2:"), "{output}");
    refuses("p.yaml", "# nothing\n", "p.yaml: error: it is empty");
}

#[test]
fn what_cannot_be_read_is_another_exit_code() {
    let output = rockstar(&["validate", "/nonexistent/p.yaml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).starts_with("error: /nonexistent/p.yaml: "), "{}", stderr(&output));
    assert_eq!(validate("p.txt", "x").0, Some(2));
    assert_eq!(rockstar(&["validate"]).status.code(), Some(2));
}

#[test]
fn programs_get_json() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plugin.yaml");
    fs::write(&path, "name: a\nversion: 1.0.0\nauthor: me\n").unwrap();
    let output = rockstar(&["validate", "--output", "json", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let found: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(found["valid"], false);
    let finding = &found["files"][0]["documents"][0]["findings"][0];
    assert_eq!((&finding["severity"], &finding["place"]["line"]), (&"error".into(), &1.into()));
    assert_eq!(finding["message"], "missing required field: description");
}
