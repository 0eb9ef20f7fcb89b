//! A plugin with the permission `database` that tries to get at more than the database, or to keep it from others.

use crate::engines::{ALL, Engines, Services};
use serde_json::{Value, json};
use std::fs;

const BOTH: &[(&str, &[&str])] = &[("p", ALL), ("q", ALL)];
const ENDLESS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT 1 FROM n) SELECT count(*) FROM n";
const ENDLESS_ROWS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n";
const MANY_ROWS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) \
    SELECT i, CAST(? AS TEXT) AS filler FROM n";
const INSERT: &str = "INSERT INTO t (a) VALUES (?)";

async fn each() -> [Services; 2] {
    let both = [Services::started(Engines::embedded(), BOTH).await, Services::started(Engines::postgres(), BOTH).await];
    for services in &both {
        assert_eq!(services.exec("q", "CREATE TABLE t (a INTEGER)", json!([])).await, json!([0, 0]));
    }
    both
}

async fn is_unmoved(services: &Services, rows: i64) {
    let inserted = services.exec("q", INSERT, json!([rows])).await;
    assert_eq!(inserted[0], 1, "{inserted}");
    assert_eq!(services.query("q", "SELECT count(*) FROM t", json!([])).await, json!([[rows]]));
}

fn assert_denied(sql: &str, answer: &Value) {
    let is_denied =
        |text: &str| ["not authorized", "denied", "must be superuser"].iter().any(|word| text.contains(word));
    assert!(answer.as_str().is_some_and(is_denied), "{sql}: {answer}");
}

#[tokio::test]
async fn sqlite_keeps_a_plugin_inside_its_file() {
    let services = Services::started(Engines::embedded(), BOTH).await;
    let elsewhere = services.world.path().join("elsewhere");
    for sql in [
        format!("ATTACH '{}' AS x", elsewhere.display()),
        format!("VACUUM INTO '{}'", elsewhere.display()),
        "PRAGMA writable_schema = 1".to_owned(),
        "SELECT load_extension('/tmp/x')".to_owned(),
    ] {
        let answer = services.query("p", &sql, json!([])).await;
        assert!(answer.as_str().is_some_and(|text| text.starts_with("error: ")), "{sql}: {answer}");
    }
    assert!(!elsewhere.exists());
}

#[tokio::test]
async fn postgres_keeps_a_plugin_in_its_role() {
    let services = Services::started(Engines::postgres(), BOTH).await;
    let name = services.engines.postgres.as_ref().unwrap().name();
    for sql in [
        format!("SET ROLE {name}_storage"),
        "SET ROLE postgres".to_owned(),
        "SET SESSION AUTHORIZATION postgres".to_owned(),
        "COPY (SELECT 1) TO PROGRAM 'id'".to_owned(),
        "SELECT pg_read_file('/etc/passwd')".to_owned(),
    ] {
        assert_denied(&sql, &services.query("p", &sql, json!([])).await);
    }
    services.exec("p", "RESET ROLE", json!([])).await;
    assert_eq!(services.query("p", "SELECT current_user", json!([])).await, json!([[name]]));
    // What one leaves on a connection, the next one does not find.
    services.exec("p", "SET search_path TO nowhere", json!([])).await;
    for _ in 0..4 {
        assert_ne!(services.query("q", "SHOW search_path", json!([])).await, json!([["nowhere"]]));
    }
}

#[tokio::test]
async fn a_plugin_that_is_killed_in_a_transaction_leaves_nothing_and_blocks_nobody() {
    for services in each().await {
        services.tell("p", "begin", "").await;
        let insert = json!({"do": "exec in transaction", "sql": INSERT, "args": [1]});
        assert_eq!(services.ask("p", insert).await, 1);
        services.world.kill_plugin("p");
        is_unmoved(&services, 1).await;
    }
}

#[tokio::test]
async fn an_endless_statement_is_interrupted_and_others_go_on() {
    for services in each().await {
        let limited = json!({"do": "query", "sql": ENDLESS, "timeout_ms": 300});
        let answer = services.ask("p", limited).await;
        assert_eq!(answer, "error: the statement was interrupted at its deadline");
        tokio::select! {
            answer = services.ask("p", json!({"do": "query", "sql": ENDLESS, "timeout_ms": 600_000})) => panic!("{answer}"),
            () = is_unmoved(&services, 1) => {}
        }
        services.world.kill_plugin("p");
        is_unmoved(&services, 2).await;
        if let Some(postgres) = &services.engines.postgres {
            let running =
                "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'WITH RECURSIVE%'
                AND datname = current_database()";
            services.world.until("the server to stop it", || async { postgres.sql(running) == "0" }).await;
        }
    }
}

/// The highest that the sidecar and its plugin ever needed, in MiB.
fn peaks(services: &Services) -> [u64; 2] {
    [services.world.pid(), services.world.pid_of("p").unwrap()].map(|process| {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10
    })
}

#[tokio::test]
async fn more_rows_than_memory_are_read_as_they_come() {
    for services in each().await {
        let before = peaks(&services);
        // 100 MB, and a reader that lets them pile up wherever they can.
        let sum = json!({"do": "sum", "sql": MANY_ROWS, "args": ["x".repeat(5_000)], "pause_ms": 1_000});
        assert_eq!(services.ask("p", sum).await, json!([20_000, 200_010_000]));
        let after = peaks(&services);
        assert!(before.iter().zip(after).all(|(b, a)| a < b + 32), "{before:?} MiB before, {after:?} MiB after");
    }
}

#[tokio::test]
async fn a_reader_that_stops_early_can_go_on() {
    for services in each().await {
        // More often than a plugin has connections.
        for _ in 0..8 {
            let first = json!({"do": "sum", "sql": ENDLESS_ROWS, "first": 3, "timeout_ms": 600_000});
            assert_eq!(services.ask("p", first).await, json!([3, 6]));
        }
        services.tell("p", "begin", "").await;
        let first = json!({"do": "sum in transaction", "sql": MANY_ROWS, "args": ["x"], "first": 3});
        assert_eq!(services.ask("p", first).await, json!([3, 6]));
        let insert = json!({"do": "exec in transaction", "sql": INSERT, "args": [1]});
        assert_eq!(services.ask("p", insert).await, 1);
        assert_eq!(services.tell("p", "commit", "").await, "done");
        assert_eq!(services.query("p", "SELECT a FROM t", json!([])).await, json!([[1]]));
    }
}
