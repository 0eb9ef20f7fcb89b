//! Answers of a sidecar as text. Pure.

use serde_json::Value;
use std::fmt::Write;

/// The reference's line for each plugin.
pub(super) fn list(answer: &Value) -> String {
    let line = |plugin: &Value| {
        let (name, version) = (text(&plugin["name"]), text(&plugin["version"]));
        format!("Plugin: {name} v{version} - Status: {}\n", text(&plugin["status"]))
    };
    items(&answer["plugins"]).iter().map(line).collect()
}

pub(super) fn plugin(plugin: &Value) -> String {
    let mut out = String::new();
    for (label, field) in [
        ("Name", "name"),
        ("Version", "version"),
        ("Description", "description"),
        ("Author", "author"),
        ("Status", "status"),
        ("Loaded", "loaded"),
        ("Enabled", "enabled"),
        ("Load time", "loadTime"),
        ("Load order", "order"),
        ("Restarts", "restarts"),
        ("Errors", "errorCount"),
        ("Last error", "lastError"),
    ] {
        if !plugin[field].is_null() {
            line(&mut out, label, &text(&plugin[field]));
        }
    }
    let names = |field: &str| items(&plugin[field]).iter().map(|d| text(&d["name"])).collect::<Vec<_>>().join(", ");
    line(&mut out, "Requires", &names("requires"));
    let by: Vec<_> = items(&plugin["requiredBy"]).iter().map(text).collect();
    line(&mut out, "Required by", &by.join(", "));
    out
}

/// Why a plugin is as it is, the most telling first.
pub(super) fn why(plugin: &Value) -> String {
    let name = text(&plugin["name"]);
    let mut out = format!("Plugin {name} is {}", text(&plugin["status"]));
    let reason = match plugin["status"].as_str() {
        Some("running") => ": it serves",
        _ if plugin["disabledByThreshold"] == true => ": disabled by its error threshold; a reload enables it again",
        Some("unloaded") if plugin["enabled"] == false => ": its entry says enabled: false",
        Some("loading") => ": loaded, not initialised yet",
        Some("initialized") => ": initialised, not started yet",
        Some("stopped") => ": it was stopped",
        _ => "",
    };
    out += reason;
    out.push('\n');
    if !plugin["lastError"].is_null() {
        line(&mut out, "Last error", &text(&plugin["lastError"]));
    }
    items(&plugin["problems"]).iter().for_each(|problem| line(&mut out, "Problem", &text(problem)));
    items(&plugin["requires"]).iter().for_each(|needed| line(&mut out, "Requires", &requirement(needed)));
    items(&plugin["requiredBy"]).iter().for_each(|name| line(&mut out, "Required by", &text(name)));
    if !plugin["managedBy"].is_null() {
        line(&mut out, "State", &text(&plugin["managedBy"]));
    }
    out
}

fn requirement(needed: &Value) -> String {
    let optional = if needed["optional"] == true { " (optional)" } else { "" };
    let wanted = format!("{} {}{optional}", text(&needed["name"]), text(&needed["version"]));
    match needed["found"].as_str() {
        Some(found) => format!("{wanted}: found {found}, {}", text(&needed["status"])),
        None => format!("{wanted}: not found"),
    }
}

/// `auth-plugin depends on: []`, as the reference prints it.
pub(super) fn graph(answer: &Value) -> String {
    let mut out = String::new();
    for name in items(&answer["order"]).iter().map(text) {
        if let Some(needs) = answer["plugins"].get(&name) {
            let needs: Vec<_> = items(needs).iter().map(text).collect();
            out += &format!("{name} depends on: [{}]\n", needs.join(", "));
        }
    }
    items(&answer["problems"]).iter().for_each(|problem| line(&mut out, "Problem", &text(problem)));
    out
}

pub(super) fn health(health: &Value) -> String {
    let mut out = String::new();
    line(&mut out, "Status", &text(&health["status"]));
    line(&mut out, "Error Count", &text(&health["errorCount"]));
    if !health["lastError"].is_null() {
        let last = format!("{} at {}", text(&health["lastError"]), text(&health["lastErrorAt"]));
        line(&mut out, "Last Error", &last);
    }
    if let Some(took) = health["loadTimeMs"].as_f64() {
        line(&mut out, "Load time", &format!("{took:.1}ms"));
    }
    let threshold = &health["errorThreshold"];
    if !threshold.is_null() {
        let (max, window) = (text(&threshold["maxErrors"]), text(&threshold["timeWindow"]));
        line(&mut out, "Error threshold", &format!("{max} errors in {window}: {}", text(&threshold["action"])));
    }
    for (hook, metrics) in health["hookMetrics"].as_object().into_iter().flatten() {
        line(&mut out, &format!("Hook {hook}"), "");
        line(&mut out, "  Executions", &text(&metrics["executionCount"]));
        let average = metrics["averageDurationMs"].as_f64().unwrap_or_default();
        line(&mut out, "  Avg Duration", &format!("{average:.3}ms"));
        line(&mut out, "  Errors", &text(&metrics["errorCount"]));
    }
    out
}

pub(super) fn all_health(answer: &Value) -> String {
    let mut out = String::new();
    for (name, health) in answer["plugins"].as_object().into_iter().flatten() {
        let (status, errors) = (text(&health["status"]), text(&health["errorCount"]));
        let last = health["lastError"].as_str().map(|text| format!(", last: {text}")).unwrap_or_default();
        out += &format!("{name}: {status}, {errors} errors{last}\n");
    }
    out
}

pub(super) fn metrics(metrics: &Value) -> String {
    let lines = metrics.as_object().into_iter().flatten().flat_map(|(name, value)| match value {
        Value::Object(parts) => {
            parts.iter().map(|(part, value)| format!("{name}{{{part}}} {}\n", text(value))).collect()
        }
        Value::Null => vec![],
        value => vec![format!("{name} {}\n", text(value))],
    });
    lines.collect()
}

fn line(out: &mut String, label: &str, value: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{}", format!("{label}: {value}").trim_end());
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_list_has_the_references_form() {
        let answer = json!({"plugins": [{"name": "auth-plugin", "version": "1.2.0", "status": "running"}]});
        assert_eq!(list(&answer), "Plugin: auth-plugin v1.2.0 - Status: running\n");
    }

    #[test]
    fn the_graph_has_the_references_form() {
        let plugins =
            json!({"auth-plugin": [], "user-plugin": ["auth-plugin"], "admin-plugin": ["auth-plugin", "user-plugin"]});
        let answer =
            json!({"plugins": plugins, "order": ["auth-plugin", "user-plugin", "admin-plugin"], "problems": []});
        let expected = "auth-plugin depends on: []\nuser-plugin depends on: [auth-plugin]\n\
                        admin-plugin depends on: [auth-plugin, user-plugin]\n";
        assert_eq!(graph(&answer), expected);
    }

    #[test]
    fn why_says_what_is_missing() {
        let needed = json!({"name": "cache", "version": ">=2.0.0", "optional": false, "found": null, "status": null});
        let plugin =
            json!({"name": "p", "status": "error", "lastError": "it broke", "requires": [needed], "enabled": true});
        assert_eq!(why(&plugin), "Plugin p is error\nLast error: it broke\nRequires: cache >=2.0.0: not found\n");
    }
}
