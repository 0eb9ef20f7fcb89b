//! L: hints at what is slow.

use crate::scene::Scene;
use serde_json::json;

#[tokio::test]
async fn rl_1_a_slow_hook_is_pointed_out() {
    let scene = Scene::new(&[("p", json!({}))]).await;
    scene.get("/").await;
    scene.get("/sleep/20").await;
    scene.world.until_log("[WARN] Slow hook: ").await;
    let log = scene.world.log();
    let line = log.lines().find(|line| line.contains("Slow hook: ")).unwrap();
    assert!(line.ends_with(" (p pre_request)"), "{line}");
}

#[tokio::test]
async fn rl_2_a_slow_load_is_pointed_out_with_its_step() {
    let slow = json!({"config": {"initialize_ms": 1200}});
    let scene = Scene::new(&[("slow", slow), ("fast", json!({}))]).await;
    scene.world.until_log("[WARN] Slow Initialize: ").await;
    let log = scene.world.log();
    let slow: Vec<_> = log.lines().filter(|line| line.contains("Slow Initialize")).collect();
    assert_eq!(slow.len(), 1, "{slow:?}");
    assert!(slow[0].ends_with(": plugin slow"), "{slow:?}");
}
