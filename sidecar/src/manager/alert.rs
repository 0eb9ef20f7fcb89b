//! Telling a monitoring system of an exceeded threshold, in the form that Alertmanager takes. Does I/O.

use crate::slot::Alarm;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::sleep;

const ATTEMPTS: u32 = 3;
const TIMEOUT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_secs(2);

/// Posts to the threshold's webhook, if it has one. The metric is there in any case.
pub(super) async fn post(plugin: String, alarm: Alarm) {
    let Some(address) = alarm.rule.webhook.clone() else { return };
    let alert = alert(&plugin, &alarm, jiff::Timestamp::now());
    let mut last = String::new();
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            sleep(PAUSE).await;
        }
        match send(&address, &alert).await {
            Ok(()) => {
                tracing::info!(plugin, "Alert sent for plugin {plugin}");
                return;
            }
            Err(error) => last = error.without_url().to_string(),
        }
    }
    tracing::error!(plugin, "Alert for plugin {plugin} could not be sent: {last}");
}

async fn send(address: &str, alert: &Value) -> reqwest::Result<()> {
    let client = reqwest::Client::builder().timeout(TIMEOUT).build()?;
    client.post(address).json(alert).send().await?.error_for_status().map(drop)
}

/// One alert in the body of `POST /api/v2/alerts`.
fn alert(plugin: &str, alarm: &Alarm, now: jiff::Timestamp) -> Value {
    json!([{
        "labels": {"alertname": "PluginErrorThresholdExceeded", "plugin": plugin, "severity": "warning"},
        "annotations": {"summary": format!("Plugin {plugin} exceeded error threshold: {alarm}")},
        "startsAt": now.to_string(),
    }])
}

#[cfg(test)]
mod tests {
    use super::*;
    use rockstar_core::assignment::ErrorThreshold;

    #[test]
    fn an_alert_has_alertmanagers_form() {
        let alarm = Alarm { errors: 100, rule: ErrorThreshold::default() };
        let alert = alert("auth-plugin", &alarm, jiff::Timestamp::UNIX_EPOCH);
        let expected = json!([{
            "labels": {"alertname": "PluginErrorThresholdExceeded", "plugin": "auth-plugin", "severity": "warning"},
            "annotations": {"summary": "Plugin auth-plugin exceeded error threshold: 100/100 errors in 5m"},
            "startsAt": "1970-01-01T00:00:00Z",
        }]);
        assert_eq!(alert, expected);
    }
}
