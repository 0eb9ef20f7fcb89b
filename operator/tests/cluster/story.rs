//! What users of a cluster live through.

use crate::scene::{NAMESPACE, Scene};
use k8s_openapi::api::{apps::v1::ControllerRevision, events::v1::Event};
use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use rockstar_crds::Plugin;
use serde_json::{Value, json};

fn host() -> Value {
    json!({
        "apiVersion": "plugins.rockstar-framework.dev/v1alpha1",
        "kind": "PluginHost",
        "metadata": {"name": "storefront"},
        "spec": {"framework": {"version": "1.5.0"}},
    })
}

fn plugin(version: &str, level: &str) -> Value {
    let keys = json!({"level": {"type": "string"}, "nested": {"type": "object"}, "secret": {"type": "string"}});
    let manifest = json!({"name": "auth", "version": version, "description": "d", "author": "a", "config": keys});
    json!({
        "apiVersion": "plugins.rockstar-framework.dev/v1alpha1",
        "kind": "Plugin",
        "metadata": {"name": "auth"},
        "spec": {
            "host": "storefront",
            "manifest": manifest,
            "source": {"path": "/plugins/auth"},
            "config": {"level": level, "nested": {"deep": {"list": [1, 2]}}},
            "configFrom": [{"key": "secret", "secretKeyRef": {"name": "auth", "key": "k"}}],
        },
    })
}

fn secret(value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "auth"}, "stringData": {"k": value}})
}

fn ready(plugin: Option<&Plugin>, version: &str) -> bool {
    let Some(plugin) = plugin else { return false };
    let Some(status) = &plugin.status else { return false };
    let ready = status.conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True");
    ready && status.observed_generation == plugin.metadata.generation && status.version.as_deref() == Some(version)
}

fn condition(plugin: Option<&Plugin>, kind: &str) -> Option<(String, String)> {
    let condition = plugin?.status.as_ref()?.conditions.iter().find(|c| c.type_ == kind)?.clone();
    Some((condition.status, condition.message))
}

fn log(scene: &Scene, n: usize) -> Vec<String> {
    scene.instances[n].seen.lock().log.clone()
}

#[tokio::test]
async fn the_main_job() {
    let Some(scene) = Scene::new(3, &["1.4.0"]).await else { return };
    scene.apply(secret("one")).await;
    scene.apply(plugin("1.2.0", "info")).await;
    scene.until("it has no host", "auth", |p| condition(p, "HostFound").is_some_and(|c| c.0 == "False")).await;
    scene.apply(host()).await;
    scene.until("1.2.0 runs", "auth", |p| ready(p, "1.2.0")).await;
    let config = scene.instances[0].seen.lock().running["auth"].config.clone().unwrap().to_json();
    assert_eq!(Value::Object(config), json!({"level": "info", "nested": {"deep": {"list": [1, 2]}}, "secret": "one"}));

    scene.apply(plugin("1.2.0", "debug")).await;
    scene.until_instances("the configuration changed", |i| i.seen.lock().log.len() == 2).await;
    scene.apply(secret("two")).await;
    scene.until_instances("the secret was rotated", |i| i.seen.lock().log.len() == 3).await;
    let before = scene.plugin("auth").await.unwrap().metadata.generation;
    let label = Patch::Merge(json!({"metadata": {"labels": {"team": "x"}}}));
    let labelled = scene.plugins().patch("auth", &PatchParams::default(), &label).await.unwrap();
    assert_eq!(labelled.metadata.generation, before);
    let scene = scene.replace_operator().await;

    scene.apply(plugin("1.3.0", "debug")).await;
    scene.until("1.3.0 runs", "auth", |p| ready(p, "1.3.0")).await;
    assert_eq!(log(&scene, 0)[1..3], ["auth config", "auth config"], "one change each, none by label or restart");
    assert_eq!(log(&scene, 0).len(), 4);

    scene.apply(plugin("1.4.0", "debug")).await;
    scene.until("1.4.0 is rolled back", "auth", |p| condition(p, "RolledBack").is_some()).await;
    let failed = scene.plugin("auth").await;
    assert_eq!(failed.as_ref().unwrap().spec.manifest["version"], "1.4.0", "the spec is untouched");
    assert_eq!(condition(failed.as_ref(), "Available").unwrap().1, "auth v1.3.0 serves");
    assert_eq!(condition(failed.as_ref(), "Ready").unwrap().0, "False");
    let scene = scene.replace_operator().await;
    scene.apply(plugin("1.5.0", "debug")).await;
    scene.until("1.5.0 runs", "auth", |p| ready(p, "1.5.0")).await;
    let tried: usize = (0..3).map(|n| log(&scene, n).iter().filter(|l| *l == "auth failed").count()).sum();
    assert_eq!(tried, 1);

    check_stored(&scene).await;
    scene.delete_plugin("auth").await;
    scene.until("it is gone", "auth", |p| p.is_none()).await;
    scene.until_instances("it is unloaded", |i| i.versions().is_empty()).await;
}

#[tokio::test]
async fn two_hosts_with_the_same_plugin_have_a_revision_each() {
    let Some(scene) = Scene::new(0, &[]).await else { return };
    let for_host = |name: &str| {
        let (mut host, mut plugin) = (host(), plugin("1.2.0", "info"));
        host["metadata"]["name"] = json!(name);
        plugin["metadata"]["name"] = json!(format!("auth-{name}"));
        plugin["spec"]["host"] = json!(name);
        [host, plugin]
    };
    scene.apply(secret("one")).await;
    for object in ["web", "api"].into_iter().flat_map(for_host) {
        scene.apply(object).await;
    }
    let revisions: Api<ControllerRevision> = Api::namespaced(scene.client.clone(), NAMESPACE);
    let owners = async || {
        let found = revisions.list(&ListParams::default()).await.unwrap().items;
        let mut owners: Vec<_> = found.iter().map(|r| (r.name_any(), r.owner_references()[0].name.clone())).collect();
        owners.sort();
        owners
    };
    scene.until("both are decided on", "auth-api", |p| condition(p, "Ready").is_some()).await;
    scene.until("both are decided on", "auth-web", |p| condition(p, "Ready").is_some()).await;
    let found = owners().await;
    assert_eq!(found.iter().map(|(_, owner)| owner.as_str()).collect::<Vec<_>>(), ["auth-api", "auth-web"]);
    assert!(found[0].0.starts_with("api.auth-") && found[1].0.starts_with("web.auth-"), "{found:?}");
    let scene = scene.replace_operator().await;
    scene.apply(for_host("web")[1].clone()).await;
    assert_eq!(owners().await, found);
}

async fn check_stored(scene: &Scene) {
    let revisions: Api<ControllerRevision> = Api::namespaced(scene.client.clone(), NAMESPACE);
    let revisions = revisions.list(&ListParams::default()).await.unwrap().items;
    assert_eq!(revisions.len(), 4);
    assert!(!serde_json::to_string(&revisions).unwrap().contains("\"two\""), "no secret is stored");
    assert!(revisions.iter().all(|r| r.owner_references()[0].name == "auth"));
    let events: Api<Event> = Api::namespaced(scene.client.clone(), NAMESPACE);
    let events = events.list(&ListParams::default()).await.unwrap().items;
    let notes: Vec<_> =
        events.iter().map(|e| (e.reason.clone().unwrap_or_default(), e.note.clone().unwrap_or_default())).collect();
    let told = |reason: &str, text: &str| notes.iter().any(|(r, n)| r == reason && n.starts_with(text));
    assert!(told("RolloutStarted", "auth: v1.2.0 -> v1.3.0"), "{notes:#?}");
    assert!(
        told("ReloadFailed", "Plugin reload failed: auth v1.4.0: initialization error: api_key is required"),
        "{notes:#?}"
    );
    assert!(told("RollingBack", "Rolling back to previous version: auth v1.3.0"), "{notes:#?}");
    assert!(told("RolledBack", "Previous version restored successfully: auth v1.3.0"), "{notes:#?}");
    assert!(told("Promoted", "auth v1.5.0"), "{notes:#?}");
}
