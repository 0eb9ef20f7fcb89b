//! What a plugin registers beside what its manifest declares: the former counts, each difference is a warning.

use crate::messenger::{control, messenger, publish, started};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::sleep;

/// Listens to user.created, exports Control, publishes what it is told to. Waits for so many warnings: the log is written
/// behind the answers.
async fn warnings(manifest: Value, count: usize) -> Vec<String> {
    let plugin = messenger("p", json!({"listen": {"user.created": ""}})).manifest(manifest);
    let (world, client) = started(&[plugin]).await;
    publish(&client, "p", "user.deleted", json!(1)).await;
    control(&client, "p", "List", json!(null)).await.unwrap();
    let told = || {
        let log = world.log();
        let lines = log.lines().filter_map(|line| line.strip_prefix("[WARN] Plugin p "));
        let mut told: Vec<_> = lines.filter(|line| line.contains("manifest")).map(str::to_owned).collect();
        told.sort();
        told
    };
    for _ in 0..1_000 {
        if told().len() >= count {
            break;
        }
        sleep(Duration::from_millis(10)).await;
    }
    told()
}

#[tokio::test]
async fn what_is_as_declared_is_not_worth_a_word() {
    let manifest = json!({
        "events": {"publishes": ["user.deleted"], "subscribes": ["user.created"]},
        "exports": [{"name": "Control", "description": "Does as it is told"}],
    });
    assert_eq!(warnings(manifest, 0).await, Vec::<String>::new());
}

#[tokio::test]
async fn what_is_not_declared_is_pointed_out_once() {
    let expected = [
        "exports service 'Control', which its manifest does not declare",
        "publishes event 'user.deleted', which its manifest does not declare",
        "subscribes to event 'user.created', which its manifest does not declare",
    ];
    assert_eq!(warnings(json!({}), expected.len()).await, expected);
}

#[tokio::test]
async fn what_is_declared_and_not_registered_is_pointed_out() {
    let manifest = json!({
        "hooks": [{"type": "startup", "priority": 1}],
        "events": {"publishes": ["user.deleted"], "subscribes": ["user.created", "user.moved"]},
        "exports": [{"name": "Control", "description": "A test"}, {"name": "Users", "description": "A test"}],
    });
    let expected = [
        "declares a startup hook in its manifest and has not registered it",
        "declares a subscription to user.moved in its manifest and has not registered it",
        "declares the service Users in its manifest and has not registered it",
    ];
    assert_eq!(warnings(manifest, expected.len()).await, expected);
}
