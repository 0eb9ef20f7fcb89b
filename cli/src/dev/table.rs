//! What the table says of the plugins. Pure.

use rockstar_crds::{Plugin, PluginHost};
use rockstar_operator::dev::Snapshot;

/// One plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) plugin: String,
    /// The version that serves.
    pub(super) version: String,
    pub(super) status: String,
    /// Its place in the load order, from 1; it has none while it is not loaded.
    pub(super) order: Option<usize>,
    pub(super) ready: i32,
    pub(super) desired: i32,
    /// Why it is not ready.
    pub(super) message: String,
}

impl Row {
    fn new(plugin: &Plugin, hosts: &[PluginHost]) -> Self {
        let name = plugin.spec.manifest["name"].as_str().unwrap_or_default();
        let object = plugin.metadata.name.clone().unwrap_or_default();
        let Some(status) = &plugin.status else {
            return Self { plugin: object, status: "Pending".into(), ..Self::default() };
        };
        let instances = status.instances.unwrap_or_default();
        Self {
            plugin: object,
            version: status.version.clone().unwrap_or_default(),
            status: status.phase.map(|phase| format!("{phase:?}")).unwrap_or_default(),
            order: hosts.iter().find_map(|host| order(host, plugin, name)),
            ready: instances.ready,
            desired: instances.desired,
            message: trouble(plugin),
        }
    }

    fn cells(&self) -> [String; 6] {
        let order = self.order.map(|order| order.to_string()).unwrap_or_default();
        let ready = format!("{}/{}", self.ready, self.desired);
        [self.plugin.clone(), self.version.clone(), self.status.clone(), order, ready, self.message.clone()]
    }

    /// For a log: `auth-plugin 1.3.0 Running, ready in 2 of 3`.
    pub(super) fn sentence(&self) -> String {
        let version = if self.version.is_empty() { "-" } else { &self.version };
        let message = if self.message.is_empty() { String::new() } else { format!(": {}", self.message) };
        format!("{} {version} {}, ready in {} of {}{message}", self.plugin, self.status, self.ready, self.desired)
    }
}

fn order(host: &PluginHost, plugin: &Plugin, name: &str) -> Option<usize> {
    let same = host.metadata.name.as_deref() == Some(&plugin.spec.host)
        && host.metadata.namespace.as_deref().unwrap_or("default")
            == plugin.metadata.namespace.as_deref().unwrap_or("default");
    let order = &host.status.as_ref().filter(|_| same)?.load_order;
    order.iter().position(|loaded| loaded == name).map(|at| at + 1)
}

/// What the condition Ready says while it is not true.
fn trouble(plugin: &Plugin) -> String {
    let ready = condition(plugin, "Ready").filter(|ready| ready.status != "True");
    ready.map(|ready| format!("{}: {}", ready.reason, ready.message)).unwrap_or_default()
}

pub(super) fn condition<'a>(
    plugin: &'a Plugin,
    kind: &str,
) -> Option<&'a k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition> {
    plugin.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == kind)
}

/// In load order, those without a place last.
pub(super) fn rows(snapshot: &Snapshot) -> Vec<Row> {
    let mut rows: Vec<_> = snapshot.plugins.iter().map(|plugin| Row::new(plugin, &snapshot.hosts)).collect();
    rows.sort_by_key(|row| (row.order.unwrap_or(usize::MAX), row.plugin.clone()));
    rows
}

/// As columns, a heading first.
pub(super) fn table(rows: &[Row]) -> Vec<String> {
    let heading = ["PLUGIN", "VERSION", "STATUS", "ORDER", "READY", ""].map(str::to_owned);
    let lines: Vec<_> = std::iter::once(heading).chain(rows.iter().map(Row::cells)).collect();
    let width = |column: usize| lines.iter().map(|cells| cells[column].chars().count()).max().unwrap_or(0);
    let widths = [0, 1, 2, 3, 4].map(width);
    lines.iter().map(|cells| aligned(cells, &widths)).collect()
}

fn aligned(cells: &[String; 6], widths: &[usize; 5]) -> String {
    let columns = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}  "));
    let line: String = columns.chain([cells[5].clone()]).collect();
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(plugin: &str, order: Option<usize>) -> Row {
        Row {
            plugin: plugin.into(),
            version: "1.0.0".into(),
            status: "Running".into(),
            order,
            ready: 2,
            desired: 3,
            message: String::new(),
        }
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [row("a", Some(1)), Row { message: "RolledBack: why".into(), ..row("long-plugin", None) }];
        assert_eq!(
            table(&rows),
            [
                "PLUGIN       VERSION  STATUS   ORDER  READY",
                "a            1.0.0    Running  1      2/3",
                "long-plugin  1.0.0    Running         2/3    RolledBack: why",
            ]
        );
    }

    #[test]
    fn a_row_tells_what_serves_and_why_it_is_not_ready() {
        let api = "plugins.rockstar-framework.dev/v1alpha1";
        let ready = json!({"type": "Ready", "status": "False", "reason": "RolledBack", "message": "why", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let plugin = json!({
            "apiVersion": api, "kind": "Plugin", "metadata": {"name": "a"},
            "spec": {"host": "h", "manifest": {"name": "a"}, "source": {}},
            "status": {"phase": "Running", "version": "1.0.0", "instances": {"desired": 3, "ready": 2}, "conditions": [ready]},
        });
        let host = json!({
            "apiVersion": api, "kind": "PluginHost", "metadata": {"name": "h", "namespace": "default"},
            "spec": {"framework": {"version": "1.0.0"}}, "status": {"loadOrder": ["b", "a"]},
        });
        let snapshot = Snapshot {
            plugins: vec![serde_json::from_value(plugin).unwrap()],
            hosts: vec![serde_json::from_value(host).unwrap()],
            ..Snapshot::default()
        };
        let expected = Row { message: "RolledBack: why".into(), ..row("a", Some(2)) };
        assert_eq!(rows(&snapshot), [expected]);
    }

    #[test]
    fn a_row_is_a_sentence() {
        assert_eq!(row("a", None).sentence(), "a 1.0.0 Running, ready in 2 of 3");
    }
}
