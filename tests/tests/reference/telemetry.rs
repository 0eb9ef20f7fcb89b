//! 4.5, 4.6: what plugins log and measure, for which they need no permission.

use crate::scene::Scene;
use serde_json::json;

#[tokio::test]
async fn r4_5_1_a_plugin_logs_at_four_levels() {
    let scene = Scene::new(&[("p", json!({}))]).await;
    scene.get("/debug").await;
    scene.get("/log").await;
    scene.world.until_log("an error record").await;
    for line in [
        "[DEBUG] p: a debug record",
        "[INFO] p: an info record",
        "[WARN] p: a warn record",
        "[ERROR] p: an error record",
    ] {
        assert_eq!(scene.logged(line), 1, "{line}\n{}", scene.world.log());
    }
}

#[tokio::test]
async fn r4_5_2_fields_keep_their_types() {
    let scene = Scene::new(&[("p", json!({}))]).await;
    scene.get("/log").await;
    scene.world.until_log("with fields").await;
    let line = r#"[INFO] p: with fields fields={"action":"login","user_id":123}"#;
    assert_eq!(scene.logged(line), 1, "{}", scene.world.log());
}

#[tokio::test]
async fn r4_5_3_the_level_is_changed_at_run_time_for_one_plugin() {
    let scene = Scene::new(&[("p", json!({})), ("q", json!({"config": {"ignore_level": true}}))]).await;
    scene.get("/log").await;
    scene.world.until("both to have logged", || async { scene.world.log().matches("with fields").count() == 2 }).await;
    assert!(!scene.world.log().contains("a debug record"));
    scene.get("/debug").await;
    scene.get("/log").await;
    scene.world.until("both to have logged", || async { scene.world.log().matches("with fields").count() == 4 }).await;
    assert_eq!(scene.logged("[DEBUG] p: a debug record"), 1);
    assert_eq!(scene.logged("[DEBUG] q: a debug record"), 0);
}

#[tokio::test]
async fn r4_6_1_a_plugins_own_metrics_are_exposed() {
    let scene = Scene::new(&[("p", json!({}))]).await;
    scene.get("/count").await;
    scene.get("/count").await;
    let requests = || async { scene.of_plugin("rockstar_myplugin_requests_total", "p").await };
    scene.world.until("both requests to be counted", || async { requests().await == Some(2.0) }).await;
    assert_eq!(scene.of_plugin("rockstar_myplugin_queue_size", "p").await, Some(17.0));
    assert_eq!(scene.of_plugin("rockstar_myplugin_request_duration_count", "p").await, Some(2.0));
    assert_eq!(scene.of_plugin("rockstar_myplugin_request_duration_sum", "p").await, Some(0.5));
    let scrape = scene.scrape().await;
    for line in [
        "# TYPE rockstar_myplugin_requests_total counter",
        "# TYPE rockstar_myplugin_queue_size gauge",
        "# TYPE rockstar_myplugin_request_duration histogram",
    ] {
        assert!(scrape.contains(line), "{line} is not in {scrape}");
    }
    // Names that begin with plugin. are not a plugin's.
    assert_eq!(scene.of_plugin("rockstar_plugin_error_count", "p").await, Some(0.0));
    let refused = || async { scene.of_plugin("rockstar_plugin_metrics_refused_count", "p").await };
    scene.world.until("what was refused to be counted", || async { refused().await == Some(2.0) }).await;
}
