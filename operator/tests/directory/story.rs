//! What users of a directory live through.

use crate::scene::{Scene, condition, found, is_ready, plugin, storefront};
use rockstar_operator::dev::Snapshot;
use serde_json::json;

#[tokio::test]
async fn a_set_rolls_out_and_an_edit_follows() {
    let needs = json!({"spec": {"manifest": {"dependencies": [{"name": "cache", "version": ">=1.0.0"}]}}});
    let scene =
        Scene::new(3, &[], &[plugin("auth", "1.0.0", needs.clone()), plugin("cache", "1.0.0", json!({}))]).await;
    scene.until("both run", |s, _| is_ready(s, "auth", "1.0.0") && is_ready(s, "cache", "1.0.0")).await;
    let status = storefront(&scene.operator.snapshot()).status.clone().unwrap();
    assert_eq!(status.load_order, ["cache", "auth"]);
    assert_eq!(status.instances.unwrap().ready, 3);
    scene.apply(&plugin("auth", "1.1.0", needs));
    scene.until("the edit runs", |s, _| is_ready(s, "auth", "1.1.0")).await;
    for instance in &scene.instances {
        let seen = instance.seen.lock().clone();
        assert_eq!(
            seen.log.iter().filter(|l| l.starts_with("cache")).count(),
            1,
            "cache was not touched: {:?}",
            seen.log
        );
        assert_eq!(seen.lower_generations, 0);
        let mut bodies = seen.bodies.clone();
        bodies.dedup();
        assert_eq!(bodies.len(), 3, "each body once: {:?}", seen.bodies);
    }
}

#[tokio::test]
async fn a_bad_version_is_rolled_back_and_a_good_one_follows() {
    let scene = Scene::new(3, &["1.1.0"], &[plugin("auth", "1.0.0", json!({}))]).await;
    scene.until("the first version runs", |s, _| is_ready(s, "auth", "1.0.0")).await;
    scene.apply(&plugin("auth", "1.1.0", json!({})));
    scene
        .until("it is rolled back", |s, _| {
            condition(s, "auth", "RolledBack").is_some_and(|(status, ..)| status == "True")
        })
        .await;
    let snapshot = scene.operator.snapshot();
    let (ready, reason, message) = condition(&snapshot, "auth", "Ready").unwrap();
    assert_eq!((ready.as_str(), reason.as_str()), ("False", "RolledBack"));
    let text = "Plugin reload failed: auth v1.1.0: initialization error: api_key is required; rolled back to previous version: auth v1.0.0";
    assert_eq!(message, text);
    assert_eq!(condition(&snapshot, "auth", "Stalled").unwrap().0, "True");
    assert_eq!(condition(&snapshot, "auth", "Available").unwrap().2, "auth v1.0.0 serves");
    let status = found(&snapshot, "auth").unwrap().status.clone().unwrap();
    assert_eq!((status.version.as_deref(), status.failures.len()), (Some("1.0.0"), 1));
    let tried = scene.instances.iter().filter(|i| i.seen.lock().log.contains(&"auth failed".to_owned())).count();
    assert_eq!(tried, 1, "only the canary tried it");
    scene.until("the failure is acknowledged", |_, i| i.iter().any(|i| i.seen.lock().acknowledged.len() == 1)).await;
    scene.until("all steps were told", |s, _| s.events.iter().any(|e| e.reason == "RolledBack")).await;
    scene.apply(&plugin("auth", "1.2.0", json!({})));
    scene.until("the good one runs", |s, _| is_ready(s, "auth", "1.2.0")).await;
    assert!(condition(&scene.operator.snapshot(), "auth", "RolledBack").is_none());
}

#[tokio::test]
async fn a_deleted_plugin_is_unloaded_and_its_dependents_run_on_and_say_so() {
    let needs = json!({"spec": {"manifest": {"dependencies": [{"name": "cache", "version": ">=1.0.0"}]}}});
    let scene = Scene::new(2, &[], &[plugin("auth", "1.0.0", needs), plugin("cache", "1.0.0", json!({}))]).await;
    scene.until("both run", |s, _| is_ready(s, "auth", "1.0.0") && is_ready(s, "cache", "1.0.0")).await;
    scene.delete("cache");
    scene.until("cache is gone", |s, i| s.plugins.len() == 1 && i.iter().all(|i| i.versions().len() == 1)).await;
    let lacks = |s: &Snapshot| condition(s, "auth", "DependenciesResolved").is_some_and(|c| c.0 == "False");
    scene.until("auth says what it lacks", |s, _| lacks(s)).await;
    assert!(scene.instances.iter().all(|i| i.versions().contains_key("auth")));
    assert!(scene.instances.iter().all(|i| i.seen.lock().log.contains(&"cache withdrawn".to_owned())));
    scene.delete("auth");
    scene.until("both are gone", |s, i| s.plugins.is_empty() && i.iter().all(|i| i.versions().is_empty())).await;
}

#[tokio::test]
async fn disabling_takes_a_plugin_away_everywhere() {
    let scene = Scene::new(2, &[], &[plugin("auth", "1.0.0", json!({}))]).await;
    scene.until("it runs", |s, _| is_ready(s, "auth", "1.0.0")).await;
    scene.apply(&plugin("auth", "1.0.0", json!({"spec": {"enabled": false}})));
    scene.until("it is gone", |_, i| i.iter().all(|i| i.versions().is_empty())).await;
    scene.until("the status says so", |s, _| condition(s, "auth", "Ready").is_some_and(|c| c.1 == "Disabled")).await;
    scene.apply(&plugin("auth", "1.0.0", json!({})));
    scene.until("it is back", |s, _| is_ready(s, "auth", "1.0.0")).await;
}

#[tokio::test]
async fn a_rotated_secret_is_one_change_of_configuration() {
    let secret = |level: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"level": level}});
    let from = json!({"spec": {"configFrom": [{"key": "level", "secretKeyRef": {"name": "s", "key": "level"}}]}});
    let scene = Scene::new(2, &[], &[plugin("auth", "1.0.0", from.clone()), secret("debug")]).await;
    scene.until("it runs", |s, _| is_ready(s, "auth", "1.0.0")).await;
    scene.apply(&secret("warn"));
    scene.until("all have the new value", |_, i| i.iter().all(|i| i.seen.lock().log.len() == 2)).await;
    let mut labelled = plugin("auth", "1.0.0", from);
    labelled["metadata"]["labels"] = json!({"team": "x"});
    scene.apply(&labelled);
    scene.until("the label is seen", |s, _| found(s, "auth").is_some_and(|p| p.metadata.labels.is_some())).await;
    for instance in &scene.instances {
        let log = instance.seen.lock().log.clone();
        assert_eq!(log[1..], ["auth config"]);
    }
    let stored = serde_json::to_string(&storefront(&scene.operator.snapshot()).status).unwrap();
    assert!(!stored.contains("warn"), "no secret is stored");
}

#[tokio::test]
async fn a_refused_configuration_is_told_until_it_is_another_one() {
    let with = |level: &str| plugin("auth", "1.0.0", json!({"spec": {"config": {"level": level}}}));
    let scene = Scene::new(2, &[], &[with("info")]).await;
    scene.until("it runs", |s, _| is_ready(s, "auth", "1.0.0")).await;
    scene.apply(&with("refuse me"));
    let refused = |c: Option<(String, String, String)>| c.is_some_and(|c| c.1 == "ConfigChangeRefused");
    scene.until("the refusal is told", |s, _| refused(condition(s, "auth", "Ready"))).await;
    let message = condition(&scene.operator.snapshot(), "auth", "Ready").unwrap().2;
    assert_eq!(message, "invalid level; the previous configuration stays (in pod-0); change spec.config");
    let scene = scene.restart_operator().await;
    scene
        .until("it is told still", |s, i| {
            refused(condition(s, "auth", "Ready")) && i.iter().all(|i| !i.seen.lock().failures.is_empty())
        })
        .await;
    scene.apply(&with("warn"));
    scene
        .until("another one is taken", |s, i| {
            is_ready(s, "auth", "1.0.0") && i.iter().all(|i| i.seen.lock().failures.is_empty())
        })
        .await;
}

#[tokio::test]
async fn what_cannot_run_says_why_and_the_rest_runs() {
    let needs = |name: &str| json!({"spec": {"manifest": {"dependencies": [{"name": name, "version": ">=2.0.0"}]}}});
    let objects = [
        plugin("good", "1.0.0", json!({})),
        plugin("lonely", "1.0.0", needs("nobody")),
        plugin("picky", "1.0.0", needs("good")),
        plugin("a", "2.0.0", needs("b")),
        plugin("b", "2.0.0", needs("c")),
        plugin("c", "2.0.0", needs("a")),
        plugin("new", "1.0.0", json!({"spec": {"manifest": {"framework": {"version": ">=2.0.0"}}}})),
        plugin("greedy", "1.0.0", json!({"spec": {"permissions": {"database": true}}})),
        plugin("blank", "1.0.0", json!({"spec": {"manifest": {"author": ""}}})),
        plugin(
            "unset",
            "1.0.0",
            json!({"spec": {"configFrom": [{"key": "level", "secretKeyRef": {"name": "s", "key": "k"}}]}}),
        ),
    ];
    let scene = Scene::new(2, &[], &objects).await;
    let texts = [
        ("lonely", "MissingDependency", "missing dependency: plugin 'lonely' requires 'nobody' version '>=2.0.0'"),
        ("picky", "VersionMismatch", "version mismatch: plugin 'picky' requires 'good' >=2.0.0, found 1.0.0"),
        ("a", "CircularDependency", "circular dependency detected: a -> b -> c -> a"),
        ("new", "FrameworkVersionMismatch", "framework version mismatch: plugin requires >=2.0.0, found 1.5.0"),
        (
            "greedy",
            "PermissionMismatch",
            "permission mismatch: plugin requests 'database' permission but manifest does not declare it",
        ),
        ("blank", "InvalidManifest", "failed to parse manifest: missing required field: author"),
        ("unset", "ConfigSourceMissing", "Secret default/s not found"),
    ];
    scene.until("the good one runs", |s, _| is_ready(s, "good", "1.0.0")).await;
    for (name, reason, text) in texts {
        let says = |c: Option<(String, String, String)>| c.is_some_and(|c| c.1 == reason && c.2.starts_with(text));
        scene.until(text, |s, _| says(condition(s, name, "Ready"))).await;
    }
    assert!(scene.instances.iter().all(|i| i.versions().len() == 1));
}

#[tokio::test]
async fn an_unreadable_file_is_named_and_changes_nothing() {
    let scene = Scene::new(1, &[], &[plugin("auth", "1.0.0", json!({}))]).await;
    scene.until("it runs", |s, _| is_ready(s, "auth", "1.0.0")).await;
    scene.write("auth", "apiVersion: plugins.rockstar-framework.dev/v1alpha1\nkind: Plugin\nmetadata: {name: auth}\nspec:\n  priority: high\n");
    scene
        .until("the problem is told", |s, _| {
            s.problems.iter().any(|p| p.line == Some(5) && p.message.contains("priority"))
        })
        .await;
    assert!(scene.instances[0].versions().contains_key("auth"));
    assert!(is_ready(&scene.operator.snapshot(), "auth", "1.0.0"));
}

#[tokio::test]
async fn a_restarted_operator_goes_on_where_it_was() {
    let scene =
        Scene::new(3, &["1.1.0"], &[plugin("auth", "1.0.0", json!({})), plugin("log", "1.0.0", json!({}))]).await;
    scene.until("both run", |s, _| is_ready(s, "auth", "1.0.0") && is_ready(s, "log", "1.0.0")).await;
    scene.apply(&plugin("log", "1.1.0-rc.1", json!({})));
    scene
        .until("a rollout is under way", |_, i| {
            i.iter().any(|i| i.seen.lock().log.iter().filter(|l| l.starts_with("log")).count() == 2)
        })
        .await;
    let scene = scene.restart_operator().await;
    scene
        .until("it ends", |s, i| is_ready(s, "log", "1.1.0-rc.1") && i.iter().all(|i| i.seen.lock().log.len() == 3))
        .await;
    for instance in &scene.instances {
        assert_eq!(instance.seen.lock().lower_generations, 0);
    }
    scene.apply(&plugin("auth", "1.1.0", json!({})));
    scene.until("it is rolled back", |s, _| condition(s, "auth", "RolledBack").is_some()).await;
    let scene = scene.restart_operator().await;
    scene
        .until("still rolled back", |s, _| condition(s, "auth", "RolledBack").is_some_and(|c| c.2.contains("v1.0.0")))
        .await;
    let tried: usize =
        scene.instances.iter().map(|i| i.seen.lock().log.iter().filter(|l| *l == "auth failed").count()).sum();
    assert_eq!(tried, 1, "the failed revision is not tried again");
}
