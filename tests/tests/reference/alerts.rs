//! A: the alerting rules that the chart ships, tried out by promtool on what a sidecar exposes.

use crate::scene::{Sample, Scene, install, script, write};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Series, how their values go on, and the alerts that fire after ten minutes.
struct Case<'a> {
    series: &'a str,
    values: &'a str,
    alert: &'a str,
    fires: Option<Value>,
}

fn rules() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/rockstar/rules/plugins.yaml")
}

/// Debian's promtool says whether it goes as expected.
fn holds(case: &Case<'_>) -> bool {
    let directory = tempfile::tempdir().unwrap();
    fs::copy(rules(), directory.path().join("rules.yaml")).unwrap();
    let test = json!({
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [{
            "interval": "1m",
            "input_series": [{"series": case.series, "values": case.values}],
            "alert_rule_test": [{
                "eval_time": "10m",
                "alertname": case.alert,
                "exp_alerts": case.fires.iter().collect::<Vec<_>>(),
            }],
        }],
    });
    let file = directory.path().join("test.yaml");
    fs::write(&file, test.to_string()).unwrap();
    let output = Command::new("promtool").args(["test", "rules"]).arg(&file).output();
    let output = output.expect("promtool: install Debian's package prometheus");
    eprintln!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    output.status.success()
}

fn fires(labels: Value, summary: &str) -> Option<Value> {
    Some(json!({"exp_labels": labels, "exp_annotations": {"summary": summary}}))
}

/// A sample in the notation of series.
fn series(sample: &Sample) -> String {
    let labels: Vec<_> = sample.labels.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
    format!("{}{{{}}}", sample.name, labels.join(","))
}

fn rule(alert: &str) -> String {
    let text = fs::read_to_string(rules()).unwrap();
    let (_, rest) = text.split_once(&format!("alert: {alert}\n")).unwrap();
    rest.split("- alert:").next().unwrap().to_owned()
}

#[test]
fn ra_1_a_high_error_rate() {
    let rule = rule("PluginHighErrorRate");
    assert!(rule.contains("expr: rate(rockstar_plugin_error_count[5m]) > 10\n"), "{rule}");
    let labels = json!({"severity": "warning", "plugin": "auth-plugin"});
    let summary = "Plugin auth-plugin has high error rate";
    let series = "rockstar_plugin_error_count{plugin=\"auth-plugin\"}";
    let alert = "PluginHighErrorRate";
    assert!(holds(&Case { series, values: "0+660x10", alert, fires: fires(labels, summary) }));
    assert!(holds(&Case { series, values: "0+600x10", alert, fires: None }));
}

#[tokio::test]
async fn ra_2_a_slow_hook() {
    let rule = rule("PluginSlowHook");
    assert!(rule.contains("expr: rockstar_plugin_hook_duration_ms > 100\n"), "{rule}");
    let scene = Scene::new(&[("p", json!({}))]).await;
    scene.get("/sleep/150").await;
    let samples = scene.samples().await;
    let sample = samples.iter().find(|s| s.name == "rockstar_plugin_hook_duration_ms").unwrap();
    let labels = json!({"severity": "warning", "plugin": "p", "hook": "pre_request"});
    let fires = fires(labels, "Plugin p hook pre_request is slow");
    let values = format!("{}x10", sample.value);
    assert!(holds(&Case { series: &series(sample), values: &values, alert: "PluginSlowHook", fires }));
    assert!(holds(&Case { series: &series(sample), values: "100x10", alert: "PluginSlowHook", fires: None }));
}

#[tokio::test]
async fn ra_3_a_plugin_that_is_down() {
    let rule = rule("PluginDown");
    assert!(rule.contains("expr: rockstar_plugin_status{status=\"error\"} == 1\n"), "{rule}");
    let scene = Scene::unawaited(json!({"plugins": {}}), &[]).await;
    install(&scene.world, "p");
    script(&scene.world.directory_of("p").join("p"), "exit 3");
    write(&scene.world, &json!({"plugins": {}}), &[("p", json!({}))]);
    scene.world.until_status("p", "error").await;
    let samples = scene.samples().await;
    let is_error = |s: &&Sample| s.name == "rockstar_plugin_status" && s.labels["status"] == "error";
    let sample = samples.iter().find(is_error).unwrap();
    let labels = json!({"severity": "critical", "plugin": "p", "status": "error"});
    let values = format!("{}x10", sample.value);
    let fires = fires(labels, "Plugin p is down");
    assert!(holds(&Case { series: &series(sample), values: &values, alert: "PluginDown", fires }));
    assert!(holds(&Case { series: &series(sample), values: "0x10", alert: "PluginDown", fires: None }));
}
