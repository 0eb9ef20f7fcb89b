//! Groups 8.3 and 8.4: each plugin's own storage.

use crate::engines::{ALL, Engines, Services};
use serde_json::{Value, json};

const P: &[(&str, &[&str])] = &[("p", &[])];
const BOTH: &[(&str, &[&str])] = &[("p", &[]), ("q", ALL)];

async fn each(plugins: &[(&str, &[&str])]) -> [Services; 2] {
    [Services::started(Engines::embedded(), plugins).await, Services::started(Engines::postgres(), plugins).await]
}

fn set(key: &str, value: &Value) -> Value {
    json!({"do": "storage set", "key": key, "value": value})
}

#[tokio::test]
async fn r8_3_1_values_of_every_type_come_back() {
    let values = [
        ("string", json!("text")),
        ("number", json!(1.5)),
        ("integer", json!(i64::MAX)),
        ("bool", json!(false)),
        ("list", json!([1, "a", null])),
        ("map", json!({"a": {"b": [true]}})),
    ];
    for services in each(P).await {
        for (key, value) in &values {
            assert_eq!(services.ask("p", set(key, value)).await, "done");
        }
        let at = json!(1_700_000_000_123_456_789_u64);
        assert_eq!(services.ask("p", json!({"do": "storage set time", "key": "time", "value": at})).await, "done");
        for (key, value) in &values {
            assert_eq!(&services.tell("p", "storage get", key).await, value);
        }
        assert_eq!(services.tell("p", "storage get time", "time").await, at);
        let keys = json!(["bool", "integer", "list", "map", "number", "string", "time"]);
        assert_eq!(services.tell("p", "storage list", "").await, keys);
        assert_eq!(services.ask("p", set("bool", &json!(true))).await, "done");
        assert_eq!(services.tell("p", "storage get", "bool").await, true, "the newest value counts");
        assert_eq!(services.tell("p", "storage delete", "bool").await, "done");
        assert_eq!(services.tell("p", "storage clear", "").await, "done");
        assert_eq!(services.tell("p", "storage list", "").await, json!([]));
    }
}

#[tokio::test]
async fn r8_3_2_the_storage_of_one_plugin_is_not_that_of_another() {
    for services in each(BOTH).await {
        services.ask("p", set("k", &json!("p's"))).await;
        services.ask("p", set("only", &json!(1))).await;
        services.ask("q", set("k", &json!("q's"))).await;
        assert_eq!(services.tell("p", "storage get", "k").await, "p's");
        assert_eq!(services.tell("q", "storage get", "k").await, "q's");
        assert_eq!(services.tell("q", "storage list", "").await, json!(["k"]));
        assert_eq!(services.tell("q", "storage clear", "").await, "done");
        assert_eq!(services.tell("p", "storage list", "").await, json!(["k", "only"]));
    }
}

#[tokio::test]
async fn r8_3_3_no_other_service_reaches_it() {
    for services in each(BOTH).await {
        services.ask("p", set("secret", &json!("hidden"))).await;
        let file = services.world.path().join("data/storage/storage.sqlite");
        let attempts = [
            "SELECT * FROM entries".to_owned(),
            "SELECT * FROM rockstar_storage.entries".to_owned(),
            "UPDATE rockstar_storage.entries SET value = ''".to_owned(),
            "DROP SCHEMA rockstar_storage CASCADE".to_owned(),
            format!("ATTACH '{}' AS s", file.display()),
            format!("SELECT pg_read_file('{}')", file.display()),
            format!("COPY users FROM '{}'", file.display()),
        ];
        for sql in attempts {
            let answer = services.query("q", &sql, json!([])).await;
            assert!(answer.as_str().is_some_and(|text| text.starts_with("error: ")), "{sql}: {answer}");
        }
        if let Some(postgres) = &services.engines.postgres {
            let role = format!("SET ROLE {}_storage", postgres.name());
            let answer = services.query("q", &role, json!([])).await;
            assert!(answer.as_str().is_some_and(|text| text.contains("permission denied")), "{answer}");
        }
        for key in ["secret", "p/secret", "p:secret", "rockstar:storage:p:secret"] {
            assert_eq!(services.tell("q", "cache get", key).await, "not found");
        }
        let error = services.tell("q", "storage get", "secret").await;
        assert_eq!(error, "error: key not found: 'secret'");
        assert_eq!(services.tell("p", "storage get", "secret").await, "hidden");
    }
}

#[tokio::test]
async fn r8_3_4_an_absent_key_is_an_error_to_get_and_none_to_delete() {
    for services in each(P).await {
        assert_eq!(services.tell("p", "storage get", "none").await, "error: key not found: 'none'");
        assert_eq!(services.tell("p", "storage delete", "none").await, "done");
    }
}

#[tokio::test]
async fn r8_4_1_it_outlives_crash_reload_unload_and_restart() {
    for mut services in each(P).await {
        services.ask("p", set("kept", &json!("value"))).await;
        let before = services.world.pid_of("p");
        services.world.kill_plugin("p");
        let anew = || async { services.world.pid_of("p").is_some_and(|pid| Some(pid) != before) };
        services.world.until("a new process", anew).await;
        services.until_running(P).await;
        assert_eq!(services.tell("p", "storage get", "kept").await, "value", "after a crash");

        services.world.reload("p").await.unwrap();
        assert_eq!(services.tell("p", "storage get", "kept").await, "value", "after a reload");

        services.write(&[]);
        services.world.until_status("p", "unloaded").await;
        services.write(P);
        services.until_running(P).await;
        assert_eq!(services.tell("p", "storage get", "kept").await, "value", "after unload and load");

        services.world.kill();
        services.world.start();
        services.until_running(P).await;
        assert_eq!(services.tell("p", "storage get", "kept").await, "value", "after a restart of the host");
    }
}
