//! 11: permissions.

use crate::{
    hostile::{DENIED, Hostiles, NOT_PERMITTED, enforced},
    user::{GATED, USES, Users, helper, user},
    world::World,
};
use serde_json::json;
use std::{fs, net::TcpListener};

const ALL: &[&str] = &["database", "cache", "router", "config"];

fn denied(plugin: &str, permission: &str) -> String {
    format!("permission denied: plugin '{plugin}' attempted {permission} access without permission")
}

/// Each use by a plugin that is given nothing.
async fn without(declared: &'static [&'static str]) -> (Users, Vec<(String, String)>) {
    let mut p = user("p", json!({"uses": true}));
    p.declared = declared;
    let users = Users::started(&[helper(), p]).await;
    let outcomes = users.outcomes("p").await;
    (users, outcomes)
}

#[tokio::test]
async fn r11_1_1_all_seven_permissions_are_false_unless_granted() {
    let (_users, outcomes) = without(&[]).await;
    for (what, permission) in GATED {
        let outcome = outcomes.iter().find(|(name, _)| name == what).unwrap();
        assert_eq!(outcome.1, denied("p", permission));
    }
    if !enforced() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp = format!("tcp {}", listener.local_addr().unwrap());
    let mut hostiles = Hostiles::started(World::new(), &[("p", &[])], vec![]).await;
    assert_eq!(
        hostiles.tries("p", &["read /etc/passwd", &tcp, "run /bin/true"]).await,
        [DENIED, NOT_PERMITTED, NOT_PERMITTED]
    );
}

#[tokio::test]
async fn r11_1_2_what_is_declared_and_not_given_is_not_granted() {
    let (users, outcomes) = without(ALL).await;
    assert_eq!(users.world.health("p").await.unwrap().status, "running");
    for (what, permission) in GATED {
        assert!(outcomes.contains(&(what.to_owned(), denied("p", permission))), "{what}: {outcomes:?}");
    }
}

#[tokio::test]
async fn r11_2_1_a_use_without_permission_is_denied_to_the_caller_and_in_the_log() {
    let (users, outcomes) = without(&[]).await;
    for (what, permission) in GATED {
        let text = denied("p", permission);
        assert!(outcomes.contains(&(what.to_owned(), text.clone())), "{what}: {outcomes:?}");
        let logged = |line: &str| line.starts_with("[ERROR]") && line.contains(&text);
        assert!(users.world.log().lines().any(logged), "{}", users.world.log());
    }
}

#[tokio::test]
async fn r11_2_2_all_else_needs_no_permission() {
    let (users, outcomes) = without(&[]).await;
    let free: Vec<_> = USES.into_iter().filter(|what| GATED.iter().all(|(gated, _)| gated != what)).collect();
    assert_eq!(free.len(), 11);
    for what in free {
        assert!(outcomes.contains(&(what.to_owned(), "ok".to_owned())), "{what}: {outcomes:?}");
    }
    assert_eq!(users.world.health("p").await.unwrap().error_count, 4);
}

#[tokio::test]
async fn r11_5_1_a_denied_use_is_an_error_of_that_plugin_and_harms_nobody_else() {
    let users = Users::started(&[user("p", json!({})), user("q", json!({}))]).await;
    assert_eq!(users.ask("/p/deny").await, json!(denied("p", "cache")));
    let health = users.world.health("p").await.unwrap();
    assert_eq!((health.error_count, health.last_error), (1, denied("p", "cache")));
    assert_eq!(users.ask("/p/count").await, json!([1, 1]), "it goes on");
    assert_eq!(users.ask("/q/count").await, json!([1, 1]));
    assert_eq!(users.world.health("q").await.unwrap().error_count, 0);
}

#[tokio::test]
async fn r11_4_1_files_are_the_plugins_own_without_filesystem() {
    if !enforced() {
        return;
    }
    let mut hostiles = Hostiles::started(World::new(), &[("p", &[]), ("q", &["filesystem"])], vec![]).await;
    let volume = hostiles.world.path().join("volume");
    fs::write(volume.join("file"), "x").unwrap();
    let inside = [format!("read {}/file", volume.display()), format!("write {}/new", volume.display())];
    let outside = [
        "read /etc/passwd".to_owned(),
        "write /tmp/rockstar-test-file".to_owned(),
        format!("read {}", hostiles.world.path().join("plugins.json").display()),
        format!("write {}/data/file", hostiles.private_directory("q").display()),
    ];
    let all: Vec<_> = inside.iter().chain(&outside).map(String::as_str).chain(["own"]).collect();
    let outcomes = hostiles.tries("p", &all).await;
    assert_eq!(outcomes, [&[DENIED; 6][..], &["done"]].concat(), "only its own directory works");
    let outcomes = hostiles.tries("q", &all).await;
    assert_eq!(outcomes[..2], ["done", "done"], "what was granted works");
    assert_eq!(outcomes[2..5], [DENIED; 3], "and opens nothing else");
}

#[tokio::test]
async fn r11_4_2_there_are_no_sockets_but_the_hosts_without_network() {
    if !enforced() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp = format!("tcp {}", listener.local_addr().unwrap());
    let mut hostiles = Hostiles::started(World::new(), &[("p", &[]), ("q", &["network"])], vec![]).await;
    assert_eq!(hostiles.tries("p", &[&tcp, "udp"]).await, [NOT_PERMITTED; 2]);
    assert_eq!(hostiles.try_one("p", "connect host.sock").await, "done", "its host's");
    assert_eq!(hostiles.tries("q", &[&tcp, "udp"]).await, ["done", "done"]);
}

#[tokio::test]
async fn r11_4_3_there_is_no_program_but_its_own_without_exec() {
    if !enforced() {
        return;
    }
    let mut hostiles = Hostiles::started(World::new(), &[("p", &[]), ("q", &["exec"])], vec![]).await;
    assert_eq!(hostiles.try_one("p", "run /bin/true").await, NOT_PERMITTED);
    let text = "permission denied: plugin 'p' attempted exec access without permission";
    hostiles.world.until_log(text).await;
    let health = hostiles.world.health("p").await.unwrap();
    assert_eq!((health.error_count, health.last_error.as_str()), (1, text));
    assert_eq!(hostiles.try_one("q", "run /bin/true").await, "done");
    assert_eq!(hostiles.world.health("q").await.unwrap().error_count, 0);
}

#[tokio::test]
async fn r11_5_2_a_plugin_cannot_act_as_another() {
    let mut hostiles = Hostiles::started(World::new(), &[("p", &[]), ("q", &[])], vec![]).await;
    let other = format!("connect {}/host.sock", hostiles.private_directory("q").display());
    let outcomes = hostiles.tries("p", &[&other, "connect host.sock"]).await;
    if enforced() {
        // The kernel, or the sidecar in its place, lets it not even connect.
        return assert_eq!(outcomes, ["Permission denied (os error 13)", "done"]);
    }
    assert_eq!(outcomes, ["closed", "done"]);
    hostiles.world.until_log("Refused a connection of plugin 'p' to the context of plugin 'q'").await;
}
