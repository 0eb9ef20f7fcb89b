//! What plugins cannot do to each other, to the sidecar and to the machine. Numbers are those of the runtime's tests.

use crate::{
    app::App,
    hostile::{DENIED, Hostiles, NOT_PERMITTED, enforced, landlock},
    world::{World, plugin, skipped},
};
use serde_json::json;
use std::{fs, time::Instant};

/// 6: a connection to what belongs to others is closed before the first byte.
#[tokio::test]
async fn no_plugin_reaches_anothers_sockets_nor_those_for_others() {
    if !enforced() {
        return;
    }
    let mut hostiles = Hostiles::started(World::new(), &[("p", &[]), ("q", &["network"])], vec![]).await;
    let p = hostiles.private_directory("p");
    let (host, plugin) = (p.join("host.sock"), p.join("plugin.sock"));
    let app = hostiles.world.socket();
    let log = hostiles.world.log();
    let admin = log.split("admin on http://").nth(1).unwrap().lines().next().unwrap();
    let attempts = [
        format!("connect {}", host.display()),
        format!("connect {}", app.display()),
        format!("http {admin}"),
        format!("connect {}", plugin.display()),
    ];
    let attempts: Vec<_> = attempts.iter().map(String::as_str).collect();
    let outcomes = hostiles.tries("q", &attempts).await;
    // What does not get there cannot be refused there.
    assert_eq!(outcomes, [DENIED, DENIED, "closed", "No such file or directory (os error 2)"]);
    let log = hostiles.world.log();
    assert!(log.contains("Refused a connection of plugin 'q' to admin"), "{log}");
    assert_eq!(hostiles.try_one("q", "connect host.sock").await, "done", "its own is there");
    assert!(hostiles.world.health("p").await.is_ok(), "and others are served");
}

/// 7: every known way to another program, to the network and out of the session.
#[tokio::test]
async fn no_way_out_works() {
    if !enforced() {
        return;
    }
    let mut hostiles = Hostiles::started(World::new(), &[("p", &[])], vec![]).await;
    let sidecar = format!("signal {}", hostiles.world.pid());
    let environment = format!("read /proc/{}/environ", hostiles.world.pid());
    let mut ways = vec![
        ("run /bin/true", NOT_PERMITTED),
        ("run /lib64/ld-linux-x86-64.so.2 /bin/true", NOT_PERMITTED),
        ("memfd", NOT_PERMITTED),
        ("memfd-execveat", NOT_PERMITTED),
        ("written", NOT_PERMITTED),
        ("udp", NOT_PERMITTED),
        ("tcp 127.0.0.1:9", NOT_PERMITTED),
        ("socket 16", NOT_PERMITTED), // AF_NETLINK
        ("socket 17", NOT_PERMITTED), // AF_PACKET
        ("socket 40", NOT_PERMITTED), // AF_VSOCK
        ("socket 1", "done"),         // AF_UNIX
        ("io_uring", NOT_PERMITTED),
        ("session setsid", NOT_PERMITTED),
        ("session setpgid", NOT_PERMITTED),
        ("session unshare", NOT_PERMITTED),
        ("session setns", NOT_PERMITTED),
        ("session clone", NOT_PERMITTED),
        ("undumpable", NOT_PERMITTED),
        ("read /etc/passwd", DENIED),
        (&environment, DENIED),
        ("own", "done"),
    ];
    if cfg!(target_arch = "x86_64") {
        ways.push(("x32", NOT_PERMITTED));
    }
    match landlock() {
        6.. => ways.push((&sidecar, NOT_PERMITTED)),
        older => skipped(&format!("Landlock {older} does not confine signals")),
    }
    let attempts: Vec<_> = ways.iter().map(|(attempt, _)| *attempt).collect();
    let outcomes = hostiles.tries("p", &attempts).await;
    let seen: Vec<_> = attempts.iter().copied().zip(outcomes.iter().map(String::as_str)).collect();
    assert_eq!(seen, ways);
    let health = hostiles.world.health("p").await.unwrap();
    let text = "permission denied: plugin 'p' attempted exec access without permission";
    assert_eq!((health.error_count, health.last_error.as_str()), (3, text));
    hostiles.world.until_log(text).await;
}

/// 12: one plugin forks, floods and leaks; the pod ends while the application is still connected.
#[tokio::test]
async fn a_plugin_that_takes_what_it_can_ends_alone_and_wholly() {
    let mut world = World::new();
    let good = plugin("good", json!([{"type": "pre_request"}, {"type": "shutdown"}])).life(json!({}));
    world.install(&good);
    let mut entry = good.entry.clone();
    entry["name"] = json!("good");
    entry["permissions"] = json!({"filesystem": true});
    world.volumes.push(world.path().to_owned());
    let mut hostiles = Hostiles::started(world, &[("p", &[])], vec![entry]).await;
    hostiles.world.until_status("good", "running").await;
    let app = App::new(&hostiles.world).await;
    assert_eq!(app.get("/").await.status, 200);
    let good = hostiles.world.pid_of("good").unwrap();
    let orphans = hostiles.tries("p", &["fork", "fork", "session setsid"]).await;
    if enforced() {
        assert_eq!(orphans, ["done", "done", NOT_PERMITTED]);
    }
    let began = Instant::now();
    assert_eq!(hostiles.try_one("p", "flood 1000").await, "done");
    let log = fs::metadata(hostiles.world.path().join("log")).unwrap().len();
    // 1 MiB of text a second, and what stands before each line.
    let most = (began.elapsed().as_secs() + 2) * (3 << 20) / 2 + (4 << 20);
    assert!(log < most, "{log} bytes of log for 1 GiB of output");
    let first = hostiles.world.pid_of("p").unwrap();
    hostiles.begins("p", &["leak 100000"]);
    hostiles.world.until_log("plugin process ended unexpectedly: out of memory: more than 100 MiB resident").await;
    let world = &hostiles.world;
    world.until("another process", || async { world.pid_of("p").is_some_and(|pid| pid != first) }).await;
    world.until_status("p", "running").await;
    assert_eq!(world.pid_of("good"), Some(good));
    assert_eq!(world.health("good").await.unwrap().error_count, 0);
    assert_eq!(app.get("/").await.status, 200);
    hostiles.world.signal("-TERM");
    hostiles.world.ended().await;
    assert_eq!((hostiles.world.pid_of("p"), hostiles.world.pid_of("good")), (None, None));
    let trace = hostiles.world.trace();
    let ran = |method: &str| trace.iter().any(|line| line.starts_with(method));
    assert!(ran("good.shutdown") && ran("good.Stop"), "{trace:?}");
    assert!(hostiles.world.log().contains("[p] stopped"));
}

/// A permission that is taken away is gone at once; one that is given comes with the next process.
#[tokio::test]
async fn what_the_kernel_grants_is_granted_and_revoked_while_the_plugin_runs() {
    if !enforced() {
        return;
    }
    let mut hostiles = Hostiles::started(World::new(), &[("p", &["exec"])], vec![]).await;
    assert_eq!(hostiles.try_one("p", "run /bin/true").await, "done");
    for (granted, outcome) in [(false, NOT_PERMITTED), (true, "done")] {
        let before = hostiles.world.pid_of("p").unwrap();
        hostiles.grant("p", json!({"exec": granted}));
        let world = &hostiles.world;
        world.until("another process", || async { world.pid_of("p").is_some_and(|pid| pid != before) }).await;
        world.until_status("p", "running").await;
        assert_eq!(hostiles.try_one("p", "run /bin/true").await, outcome);
    }
}
