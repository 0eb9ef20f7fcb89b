//! Group 4: the framework's services behind the plugin context. Here database, cache, configuration.

use crate::engines::{ALL, Engines, Services};
use serde_json::{Value, json};

const P: &[(&str, &[&str])] = &[("p", ALL)];

async fn each_database() -> [Services; 2] {
    [Services::started(Engines::embedded(), P).await, Services::started(Engines::postgres(), P).await]
}

async fn with_users() -> [Services; 2] {
    let both = each_database().await;
    for services in &both {
        services.exec("p", "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL)", json!([])).await;
        for (id, name) in [(1, "ann"), (2, "bob"), (3, "cyd")] {
            services.exec("p", "INSERT INTO users (id, name) VALUES (?, ?)", json!([id, name])).await;
        }
    }
    both
}

async fn names(services: &Services) -> Value {
    services.query("p", "SELECT name FROM users ORDER BY id", json!([])).await
}

/// Nobody but the caller may be told so, and the log.
async fn denied(command: Value, permission: &str) {
    let services = Services::started(Engines::embedded(), &[("p", &[])]).await;
    let text = format!("permission denied: plugin 'p' attempted {permission} access without permission");
    assert_eq!(services.ask("p", command).await, json!(format!("error: {text}")));
    services.world.until_log(&text).await;
}

#[tokio::test]
async fn r4_2_1_the_same_sql_with_placeholders_on_every_engine() {
    let create = "CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT, price NUMERIC(10, 2), sold BOOLEAN,
        made TIMESTAMP, data BYTEA, note TEXT)";
    let row = json!([7, "a 'quoted' ? name", {"decimal": "12.25"}, true, {"time": 1_700_000_000_123_456_000_u64},
        {"bytes": [0, 1, 255]}, null]);
    for services in each_database().await {
        assert_eq!(services.exec("p", create, json!([])).await, json!([0, 0]));
        let insert = "INSERT INTO things VALUES (?, ?, ?, ?, ?, ?, ?) -- not one more: ?";
        let inserted = services.exec("p", insert, row.clone()).await;
        assert_eq!(inserted[0], 1, "{inserted}");
        let select = "SELECT * FROM things WHERE id = ? AND name <> 'who?'";
        assert_eq!(services.query("p", select, json!([7])).await, json!([row]));
        assert_eq!(services.query("p", select, json!([8])).await, json!([]));
        let error = services.query("p", "SELECT * FROM nothing", json!([])).await;
        assert!(error.as_str().unwrap().contains("nothing"), "{error}");
    }
}

#[tokio::test]
async fn r4_2_2_a_statement_tells_how_many_rows_it_changed() {
    for services in with_users().await {
        let update = "UPDATE users SET name = ? WHERE id > ?";
        assert_eq!(services.exec("p", update, json!(["x", 1])).await, json!([2, 0]));
        assert_eq!(services.exec("p", update, json!(["x", 100])).await, json!([0, 0]));
        let insert = "INSERT INTO users (id, name) VALUES (?, ?) RETURNING id";
        assert_eq!(services.exec("p", insert, json!([9, "new"])).await, json!([1, 9]));
        assert_eq!(services.exec("p", "DELETE FROM users", json!([])).await, json!([4, 0]));
    }
}

#[tokio::test]
async fn r4_2_3_a_transaction_is_kept_by_its_commit_alone() {
    let insert = |id: i64| {
        let sql = "INSERT INTO users (id, name) VALUES (?, 'x')";
        json!({"do": "exec in transaction", "sql": sql, "args": [id]})
    };
    let count = "SELECT count(*) FROM users";
    for services in with_users().await {
        let tell = async |command: &str| services.tell("p", command, "").await;
        assert_eq!(tell("begin").await, "done");
        assert_eq!(services.ask("p", insert(4)).await, 1);
        assert_eq!(services.ask("p", insert(5)).await, 1);
        assert_eq!(tell("commit").await, "done");
        assert_eq!(tell("rollback").await, "done", "a rollback after the commit is harmless");
        assert_eq!(services.query("p", count, json!([])).await, json!([[5]]));

        assert_eq!(tell("begin").await, "done");
        assert_eq!(services.ask("p", insert(6)).await, 1);
        assert_eq!(tell("rollback").await, "done");
        assert_eq!(services.query("p", count, json!([])).await, json!([[5]]));

        assert_eq!(tell("begin").await, "done");
        assert_eq!(services.ask("p", insert(6)).await, 1);
        let before = services.world.pid_of("p");
        services.world.kill_plugin("p");
        services
            .world
            .until("a new process", || async { services.world.pid_of("p").is_some_and(|pid| Some(pid) != before) })
            .await;
        services.world.until_status("p", "running").await;
        // Waits for the end of the transaction before, if that is still open.
        assert_eq!(tell("begin").await, "done");
        let inserted = services.ask("p", insert(6)).await;
        assert_eq!(inserted, 1, "what the killed process inserted is not there");
        assert_eq!(tell("commit").await, "done");
        assert_eq!(services.query("p", count, json!([])).await, json!([[6]]));
    }
}

#[tokio::test]
async fn r4_2_4_arguments_are_data() {
    let evil = ["1; DROP TABLE users", "' OR 1=1", "\" OR 1=1 --", "?", "$1", "'; DELETE FROM users; --"];
    for services in with_users().await {
        for text in evil {
            let select = "SELECT name FROM users WHERE name = ?";
            assert_eq!(services.query("p", select, json!([text])).await, json!([]), "{text}");
            services.exec("p", "UPDATE users SET name = ? WHERE id = 3", json!([text])).await;
            assert_eq!(services.query("p", select, json!([text])).await, json!([[text]]));
        }
        assert_eq!(names(&services).await, json!([["ann"], ["bob"], [evil[evil.len() - 1]]]));
    }
}

#[tokio::test]
async fn r4_2_5_the_database_needs_its_permission() {
    denied(json!({"do": "query", "sql": "SELECT 1"}), "database").await;
    denied(json!({"do": "begin"}), "database").await;
    let services = Services::started(Engines::embedded(), P).await;
    assert_eq!(services.query("p", "SELECT 1", json!([])).await, json!([[1]]));
}

async fn each_cache() -> [Services; 2] {
    let plugins: &[(&str, &[&str])] = &[("p", &["cache"]), ("q", &["cache"])];
    [Services::started(Engines::embedded(), plugins).await, Services::started(Engines::redis(), plugins).await]
}

#[tokio::test]
async fn r4_3_1_a_key_that_is_not_set_is_not_found() {
    for services in each_cache().await {
        assert_eq!(services.tell("p", "cache get", "user:123").await, "not found");
        assert_eq!(services.tell("p", "cache delete", "user:123").await, "done");
    }
}

#[tokio::test]
async fn r4_3_2_a_value_is_there_until_its_time_is_over() {
    let value = json!({"name": "ann", "tags": ["a", 1, 1.5, true, null], "big": i64::MAX});
    for services in each_cache().await {
        let set = |key: &str, ttl_ms: u64| json!({"do": "cache set", "key": key, "value": value, "ttl_ms": ttl_ms});
        assert_eq!(services.ask("p", set("long", 300_000)).await, "done");
        assert_eq!(services.ask("p", set("ever", 0)).await, "done");
        assert_eq!(services.ask("p", set("short", 50)).await, "done");
        services
            .world
            .until("the entry to be gone", || async { services.tell("p", "cache get", "short").await == "not found" })
            .await;
        assert_eq!(services.tell("p", "cache get", "long").await, json!({"found": value}));
        assert_eq!(services.tell("q", "cache get", "ever").await, json!({"found": value}), "plugins share the cache");
        assert_eq!(services.tell("p", "cache delete", "long").await, "done");
        assert_eq!(services.tell("p", "cache get", "long").await, "not found");
    }
}

#[tokio::test]
async fn r4_3_3_the_cache_needs_its_permission() {
    denied(json!({"do": "cache get", "key": "k"}), "cache").await;
    denied(json!({"do": "cache set", "key": "k", "value": 1}), "cache").await;
    let services = Services::started(Engines::embedded(), &[("p", &["cache"])]).await;
    assert_eq!(services.tell("p", "cache get", "k").await, "not found");
}

#[tokio::test]
async fn r4_4_1_the_frameworks_configuration_by_dotted_path() {
    let database = json!({"host": "db.example", "port": 5432, "timeout": "1m30s", "tls": true, "ratio": 0.5,
        "replicas": ["r0", "r1"]});
    let services = Services::configured(Engines::embedded(), P, json!({"database": database})).await;
    for (kind, key, wanted) in [
        ("config string", "database.host", json!("db.example")),
        ("config string", "database.port", json!("5432")),
        ("config int", "database.port", json!(5432)),
        ("config duration", "database.timeout", json!("90000")),
        ("config bool", "database.tls", json!(true)),
        ("config float", "database.ratio", json!(0.5)),
        ("config string", "database.replicas.1", json!("r1")),
        ("config value", "database", database.clone()),
        ("config string", "database.user", json!("error: configuration key not found: 'database.user'")),
        ("config int", "database.host", json!("error: configuration key 'database.host' is not an integer")),
        ("config value", "plugins", json!("error: configuration key not found: 'plugins'")),
        ("config value", "backends", json!("error: configuration key not found: 'backends'")),
    ] {
        assert_eq!(services.tell("p", kind, key).await, wanted, "{kind} {key}");
    }
}

#[tokio::test]
async fn r4_4_2_the_frameworks_configuration_needs_its_permission() {
    denied(json!({"do": "config string", "key": "database.host"}), "config").await;
    let services = Services::configured(Engines::embedded(), P, json!({"a": {"b": "c"}})).await;
    assert_eq!(services.tell("p", "config string", "a.b").await, "c");
}
