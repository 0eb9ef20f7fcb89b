//! 11: what is granted, and what is denied at its use.

use crate::{calls::alive, world::World};
use serde_json::json;

#[tokio::test]
async fn r11_3_1_a_grant_must_be_declared() {
    let text = "permission mismatch: plugin requests 'database' permission but manifest does not declare it";
    let p = alive("p", json!({})).manifest(json!({"permissions": {"cache": true}}));
    let granted = p.with(json!({"permissions": {"cache": true, "database": true}}));
    let world = World::idle().await;
    assert_eq!(world.load(&granted).await, Err(text.to_owned()));
    world.write(
        "p.json",
        &json!({"plugins": {"plugins": [{"name": "p", "permissions": {"database": true}}]}}).to_string(),
    );
    let error = world.load_config("p.json").await;
    assert_eq!(error, Err(format!("p.json: 0 plugins run, 1 do not; p: {text}")));
    assert_eq!((world.is_loaded("p").await, world.directories()), (false, 0));
}
