//! 11: permissions.

use crate::{
    hostile::{DENIED, Hostiles, NOT_PERMITTED, enforced},
    world::World,
};
use std::{fs, net::TcpListener};

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
    assert_eq!(hostiles.tries("p", &[&other, "connect host.sock"]).await, ["closed", "done"]);
    hostiles.world.until_log("Refused a connection of plugin 'p' to the context of plugin 'q'").await;
}
