//! Q: what is asked of plugins and their health.

use crate::{
    postgres::Postgres,
    scene::{Scene, install, named, script, write},
    tables::{column, rows},
};
use rockstar_proto::{app::LoadRequest, types::Empty};
use serde_json::json;
use std::time::{SystemTime, UNIX_EPOCH};
use tonic::Code;

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos().try_into().unwrap()
}

#[tokio::test]
async fn rq_1_get_plugin() {
    let scene = Scene::new(&[("p", json!({}))]).await;
    let info = scene.info("p").await;
    assert_eq!((info.name.as_str(), info.version.as_str()), ("p", "1.2.0"));
    assert_eq!(info.description, "What is measured");
    assert_eq!(info.author, "John Doe <john@example.com>");
    let unknown = scene.manager().await.get_plugin(named("nope")).await.unwrap_err();
    assert_eq!((unknown.code(), unknown.message()), (Code::NotFound, "plugin not found: 'nope'"));
}

#[tokio::test]
async fn rq_2_list_plugins() {
    let before = now();
    let scene = Scene::unawaited(json!({"plugins": {}}), &[("p", json!({})), ("off", json!({"enabled": false}))]).await;
    scene.world.until_status("p", "running").await;
    let list = scene.list().await;
    let of = |name: &str| list.iter().find(|info| info.name == name).unwrap();
    let p = of("p");
    assert_eq!((p.version.as_str(), p.description.as_str()), ("1.2.0", "What is measured"));
    assert_eq!((p.author.as_str(), p.loaded, p.enabled), ("John Doe <john@example.com>", true, true));
    assert!((before..=now()).contains(&p.load_time_unix_ns));
    assert_eq!(p.status, "running");
    assert_eq!((of("off").loaded, of("off").enabled, of("off").status.as_str()), (false, false, "unloaded"));
}

#[tokio::test(flavor = "multi_thread")]
async fn rq_3_each_status_is_reached() {
    let postgres = Postgres::start();
    let file = json!({"plugins": {}, "backends": {"database": {"url": postgres.url()}}});
    let scene = Scene::unawaited(file.clone(), &[("off", json!({"enabled": false}))]).await;
    let is = |plugin: &'static str, status: &'static str| {
        let (scene, postgres) = (&scene, &postgres);
        async move {
            assert_eq!(scene.world.health(plugin).await.unwrap().status, status);
            assert_eq!(scene.info(plugin).await.status, status);
            let labels = [("plugin", plugin), ("status", status)];
            assert_eq!(scene.metric("rockstar_plugin_status", &labels).await, Some(1.0), "{plugin} {status}");
            let sql = format!("SELECT status FROM plugins WHERE name = '{plugin}'");
            rows(&scene.world, postgres, &sql, |rows| column(rows, 0) == [status]).await;
        }
    };
    scene.world.until("the list", || async { !scene.list().await.is_empty() }).await;
    is("off", "unloaded").await;
    install(&scene.world, "p");
    let path = scene.world.directory_of("p").to_str().unwrap().to_owned();
    let mut manager = scene.manager().await;
    manager.load(LoadRequest { path, config: None }).await.unwrap();
    is("p", "loading").await;
    manager.initialize_all(Empty {}).await.unwrap();
    is("p", "initialized").await;
    manager.start_all(Empty {}).await.unwrap();
    is("p", "running").await;
    manager.stop_all(Empty {}).await.unwrap();
    is("p", "stopped").await;
    install(&scene.world, "bad");
    script(&scene.world.directory_of("bad").join("bad"), "exit 3");
    write(&scene.world, &file, &[("bad", json!({}))]);
    scene.world.until_status("bad", "error").await;
    is("bad", "error").await;
}

#[tokio::test]
async fn rq_4_is_loaded() {
    let scene = Scene::new(&[("p", json!({}))]).await;
    let mut manager = scene.manager().await;
    assert!(manager.is_loaded(named("p")).await.unwrap().into_inner().loaded);
    assert!(!manager.is_loaded(named("nope")).await.unwrap().into_inner().loaded);
    manager.unload(named("p")).await.unwrap();
    assert!(!manager.is_loaded(named("p")).await.unwrap().into_inner().loaded);
}

#[tokio::test]
async fn rq_5_health_changes_with_the_next_error() {
    let scene = Scene::new(&[("p", json!({}))]).await;
    let health = scene.world.health("p").await.unwrap();
    assert_eq!((health.status.as_str(), health.error_count, health.last_error.as_str()), ("running", 0, ""));
    assert_eq!(health.last_error_at_unix_ns, 0);
    for n in 1..=3 {
        let before = now();
        scene.get(&format!("/fail/{n}")).await;
        let health = scene.world.health("p").await.unwrap();
        assert_eq!((health.error_count, health.last_error), (n, format!("failed {n}")));
        assert!((before..=now()).contains(&health.last_error_at_unix_ns));
        assert_eq!(health.hook_metrics["pre_request"].error_count, n);
    }
    let unknown = scene.world.health("nope").await.unwrap();
    assert_eq!((unknown.status.as_str(), unknown.error_count), ("unloaded", 0));
}

#[tokio::test]
async fn rq_6_health_of_all() {
    let scene = Scene::unawaited(json!({"plugins": {}}), &[("p", json!({}))]).await;
    install(&scene.world, "bad");
    script(&scene.world.directory_of("bad").join("bad"), "exit 3");
    write(&scene.world, &json!({"plugins": {}}), &[("p", json!({})), ("bad", json!({}))]);
    scene.world.until_status("bad", "error").await;
    scene.world.until_status("p", "running").await;
    scene.get("/fail").await;
    let all = scene.manager().await.get_all_health(Empty {}).await.unwrap().into_inner().plugins;
    assert_eq!(all.len(), 2);
    for name in ["p", "bad"] {
        assert_eq!(all[name], scene.world.health(name).await.unwrap());
    }
    assert_eq!(all["bad"].status, "error");
}
