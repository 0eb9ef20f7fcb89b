//! S: the tables, asked with the reference's own queries on PostgreSQL.

use crate::{postgres::Postgres, scene::Scene, world::World};
use serde_json::{Value, json};

const STATUS: &str = "SELECT name, status, error_count, last_error_at
FROM plugins
WHERE status != 'running'
ORDER BY error_count DESC";

const PERFORMANCE: &str = "SELECT plugin_name, hook_type, 
       execution_count, 
       total_duration_ms / execution_count as avg_duration_ms,
       error_count
FROM plugin_hooks
WHERE execution_count > 0
ORDER BY avg_duration_ms DESC";

const TRENDS: &str = "SELECT plugin_name, 
       COUNT(*) as error_count,
       MAX(recorded_at) as last_error
FROM plugin_metrics
WHERE metric_name = 'error'
  AND recorded_at > NOW() - INTERVAL '1 hour'
GROUP BY plugin_name
ORDER BY error_count DESC";

const PLUGIN: &str = "SELECT name, status, error_count, last_error 
FROM plugins 
WHERE name = 'auth-plugin';";

const HOOKS: &str = "SELECT hook_type, execution_count, total_duration_ms, error_count
FROM plugin_hooks
WHERE plugin_name = 'auth-plugin';";

const RECENT: &str = "SELECT metric_name, metric_value, recorded_at
FROM plugin_metrics
WHERE plugin_name = 'auth-plugin'
  AND metric_name = 'error'
ORDER BY recorded_at DESC
LIMIT 10;";

/// A scene whose tables are in that database.
async fn scene(url: &str, plugins: &[(&str, Value)]) -> Scene {
    Scene::of(json!({"backends": {"database": {"url": url}}}), plugins).await
}

/// Rows of fields, once they are as wanted.
pub(crate) async fn rows(
    world: &World,
    postgres: &Postgres,
    sql: &str,
    wanted: impl Fn(&[Vec<String>]) -> bool,
) -> Vec<Vec<String>> {
    let made = "SELECT COUNT(*) FROM pg_views WHERE viewname IN ('plugins', 'plugin_hooks')";
    world.until("the tables", || async { postgres.sql(made) == "2" }).await;
    let read = || {
        let text = postgres.sql(sql);
        text.lines().map(|line| line.split('|').map(str::to_owned).collect()).collect::<Vec<Vec<String>>>()
    };
    world.until(sql, || async { wanted(&read()) }).await;
    read()
}

pub(crate) fn column(rows: &[Vec<String>], index: usize) -> Vec<&str> {
    rows.iter().map(|row| row[index].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rs_1_plugins_that_do_not_run() {
    let postgres = Postgres::start();
    let threshold = |max| json!({"error_threshold": {"max_errors": max}});
    let quiet = json!({"config": {"quiet": true}});
    let scene = scene(&postgres.url(), &[("p", threshold(3)), ("q", threshold(2)), ("r", quiet)]).await;
    scene.times(3, "/fail").await;
    let found = rows(&scene.world, &postgres, STATUS, |rows| column(rows, 0) == ["p", "q"]).await;
    assert_eq!(column(&found, 1), ["error", "error"]);
    assert_eq!(column(&found, 2), ["3", "2"]);
    assert!(found.iter().all(|row| !row[3].is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn rs_2_a_plugin_by_name() {
    let postgres = Postgres::start();
    let scene = scene(&postgres.url(), &[("auth-plugin", json!({})), ("other", json!({}))]).await;
    scene.get("/fail/here").await;
    let found = rows(&scene.world, &postgres, PLUGIN, |rows| rows.len() == 1 && rows[0][2] == "1").await;
    let health = scene.world.health("auth-plugin").await.unwrap();
    let expected = ["auth-plugin", &health.status, &health.error_count.to_string(), &health.last_error];
    assert_eq!(found, [expected]);
    assert_eq!(health.last_error, "failed here");
}

#[tokio::test(flavor = "multi_thread")]
async fn rs_3_the_slowest_hooks_come_first() {
    let postgres = Postgres::start();
    let scene = scene(&postgres.url(), &[("fast", json!({"config": {"quiet": true}})), ("slow", json!({}))]).await;
    scene.get("/sleep/50").await;
    scene.get("/sleep/51").await;
    let counted = |rows: &[Vec<String>]| column(rows, 2) == ["2", "2"];
    let found = rows(&scene.world, &postgres, PERFORMANCE, counted).await;
    assert_eq!(column(&found, 0), ["slow", "fast"]);
    assert_eq!(column(&found, 1), ["pre_request", "pre_request"]);
    let average: f64 = found[0][3].parse().unwrap();
    let hook = scene.world.health("slow").await.unwrap().hook_metrics["pre_request"];
    assert!((average - hook.total_duration_ns as f64 / 2e6).abs() < 0.001, "{average} {hook:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rs_4_the_hooks_of_a_plugin() {
    let postgres = Postgres::start();
    let scene = scene(&postgres.url(), &[("auth-plugin", json!({}))]).await;
    scene.times(3, "/").await;
    scene.get("/fail").await;
    let found = rows(&scene.world, &postgres, HOOKS, |rows| rows.len() == 1 && rows[0][1] == "4").await;
    let hook = scene.world.health("auth-plugin").await.unwrap().hook_metrics["pre_request"];
    assert_eq!((found[0][0].as_str(), found[0][3].as_str()), ("pre_request", "1"));
    let total: f64 = found[0][2].parse().unwrap();
    assert!((total - hook.total_duration_ns as f64 / 1e6).abs() < 0.001, "{total} {hook:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rs_5_errors_of_the_last_hour() {
    let postgres = Postgres::start();
    let scene = scene(&postgres.url(), &[("p", json!({})), ("q", json!({"config": {"quiet": true}}))]).await;
    scene.times(5, "/fail").await;
    let found = rows(&scene.world, &postgres, TRENDS, |rows| column(rows, 1) == ["5"]).await;
    assert_eq!(column(&found, 0), ["p"]);
    let old = "INSERT INTO plugin_metrics VALUES ('q', 'error', 1, NOW() - INTERVAL '2 hours', 'x')";
    postgres.sql(old);
    let latest =
        postgres.sql("SELECT EXTRACT(EPOCH FROM MAX(recorded_at)) FROM plugin_metrics WHERE plugin_name = 'p'");
    let health = scene.world.health("p").await.unwrap();
    let at = health.last_error_at_unix_ns as f64 / 1e9;
    assert!((latest.parse::<f64>().unwrap() - at).abs() < 0.001, "{latest} {at}");
    let again = rows(&scene.world, &postgres, TRENDS, |_| true).await;
    assert_eq!(column(&again, 0), ["p"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rs_6_recent_errors_newest_first() {
    let postgres = Postgres::start();
    let scene = scene(&postgres.url(), &[("auth-plugin", json!({}))]).await;
    scene.times(12, "/fail").await;
    let all = "SELECT COUNT(*) FROM plugin_metrics";
    rows(&scene.world, &postgres, all, |rows| column(rows, 0) == ["12"]).await;
    let found = rows(&scene.world, &postgres, RECENT, |rows| rows.len() == 10).await;
    assert!(found.iter().all(|row| row[0] == "error" && row[1] == "1"), "{found:?}");
    let times = column(&found, 2);
    assert!(times.windows(2).all(|pair| pair[0] >= pair[1]), "{times:?}");
}

/// Several instances on one database: sums, the worst status, the latest error.
#[tokio::test(flavor = "multi_thread")]
async fn rs_7_a_database_that_is_away_harms_no_request() {
    let postgres = Postgres::alone();
    let first = scene(&postgres.url(), &[("auth-plugin", json!({}))]).await;
    rows(&first.world, &postgres, PLUGIN, |rows| rows.len() == 1 && rows[0][1] == "running").await;
    postgres.stop();
    assert_eq!(first.times(3, "/fail").await, 500);
    assert_eq!(first.get("/").await.status, 200);
    first.world.until_log("The tables of plugins cannot be written, requests are not affected").await;
    assert_eq!(first.get("/").await.status, 200);
    postgres.go_on();
    let recent = |rows: &[Vec<String>]| rows.len() == 3;
    rows(&first.world, &postgres, RECENT, recent).await;
    let second = scene(&postgres.url(), &[("auth-plugin", json!({}))]).await;
    second.get("/fail/later").await;
    let summed = |rows: &[Vec<String>]| rows.len() == 1 && rows[0][2] == "4";
    let found = rows(&second.world, &postgres, PLUGIN, summed).await;
    assert_eq!(found[0][1..], ["running", "4", "failed later"]);
}
