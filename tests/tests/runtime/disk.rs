//! A disk without room.

use crate::{
    app::App,
    http,
    world::{Plugin, World, plugin, skipped},
};
use serde_json::{Value, json};
use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::Command,
};

/// Where a plugin can keep something.
const PLACES: [&str; 2] = ["storage", "database"];
/// Of each place, before the disk is full.
const FEW: usize = 3;
/// Far more than what the sidecar's own files give back under way.
const MANY: usize = 1_000;

/// A file system of its own, in memory, unmounted with the test.
struct Small(PathBuf);

impl Small {
    /// None where this user may not mount.
    fn mount(at: &Path, size: &str) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mounted = mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"], at);
        if !mounted {
            skipped("this user may not mount a file system");
        }
        mounted.then(|| Self(at.to_owned()))
    }

    fn grow(&self) {
        assert!(mount(&["-o", "remount,size=1g"], &self.0));
    }

    /// Takes all the room that is left.
    fn fill(&self) {
        let error = fs::write(self.filler(), vec![0_u8; 128 << 20]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
    }

    fn free(&self) {
        fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

fn mount(arguments: &[&str], at: &Path) -> bool {
    Command::new("mount").args(arguments).arg(at).status().is_ok_and(|status| status.success())
}

impl Drop for Small {
    fn drop(&mut self) {
        Command::new("umount").arg("--lazy").arg(&self.0).status().ok();
    }
}

#[tokio::test]
async fn a_full_disk_is_nobodys_fault_and_the_plugin_runs_once_there_is_room() {
    let mut world = World::new();
    let Some(disk) = Small::mount(&world.path().join("data"), "64k") else { return };
    let logger = plugin("logger", json!([{"type": "pre_request"}]));
    world.install(&logger);
    world.configure(&[logger]);
    world.start();
    world.until_log("No space left on device").await;
    let health = world.health("logger").await.unwrap();
    assert_eq!(health.status, "error");
    assert!(health.last_error.contains("No space left on device"), "{}", health.last_error);
    disk.grow();
    world.until_status("logger", "running").await;
    end(world, disk).await;
}

#[tokio::test]
async fn what_was_kept_outlives_a_full_disk_and_what_does_not_fit_is_an_error() {
    let mut world = World::new();
    let Some(disk) = Small::mount(&world.path().join("data"), "128m") else { return };
    let keeper = keeper(&world);
    world.configure(&[keeper]);
    world.start();
    world.until_status("p", "running").await;
    let app = App::new(&world).await;
    assert_done(&ask(&app, json!({"do": "exec", "sql": "CREATE TABLE kept (number INTEGER, value TEXT)"})).await);
    for place in PLACES {
        for number in 0..FEW {
            assert_done(&keep(&app, place, number).await);
        }
    }

    disk.fill();
    let before = world.pid_of("p");
    let mut counts = Vec::new();
    for place in PLACES {
        let count = keep_until_full(&app, place).await;
        are_kept(&app, place, count).await;
        counts.push(count);
    }
    assert_eq!((world.pid_of("p"), world.health("p").await.unwrap().status.as_str()), (before, "running"));

    disk.free();
    for (place, count) in PLACES.into_iter().zip(&mut counts) {
        assert_done(&keep(&app, place, *count).await);
        *count += 1;
    }
    world.kill();
    world.start();
    app.until(&world, "/", 200).await;
    for (place, count) in PLACES.into_iter().zip(counts) {
        are_kept(&app, place, count).await;
    }
    end(world, disk).await;
}

/// The sidecar's end comes first: it may still write.
async fn end(mut world: World, disk: Small) {
    world.signal("-TERM");
    world.ended().await;
    drop(disk);
}

/// A plugin that does what requests tell it.
fn keeper(world: &World) -> Plugin {
    let granted = json!({"permissions": {"database": true}});
    let p = plugin("p", json!([])).manifest(granted.clone()).with(granted).with(json!({"hook_timeout": "30s"}));
    let directory = world.directory_of("p");
    fs::create_dir_all(&directory).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_commanded-plugin"), directory.join("p")).unwrap();
    world.install(&p);
    p
}

async fn ask(app: &App, command: Value) -> Value {
    let answer = http::request(app.address, "POST", "/p", &[], &command.to_string()).await;
    serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

fn assert_done(answer: &Value) {
    assert_eq!(answer["error"], Value::Null);
}

fn value(number: usize) -> String {
    format!("{number} {}", "x".repeat(16 << 10))
}

async fn keep(app: &App, place: &str, number: usize) -> Value {
    let command = match place {
        "storage" => json!({"do": "storage set", "key": number.to_string(), "value": value(number)}),
        _ => json!({"do": "exec", "sql": "INSERT INTO kept VALUES (?, ?)", "args": [number, value(number)]}),
    };
    ask(app, command).await
}

async fn kept(app: &App, place: &str, number: usize) -> Value {
    if place == "storage" {
        return ask(app, json!({"do": "storage get", "key": number.to_string()})).await;
    }
    let select = "SELECT value FROM kept WHERE number = ?";
    ask(app, json!({"do": "query", "sql": select, "args": [number]})).await[0][0].clone()
}

/// Gives how many values are there when the next one is refused.
async fn keep_until_full(app: &App, place: &str) -> usize {
    for number in FEW..MANY {
        if let Some(error) = keep(app, place, number).await["error"].as_str() {
            assert!(error.contains("database or disk is full"), "{place}: {error}");
            return number;
        }
    }
    panic!("the {place} took everything");
}

async fn are_kept(app: &App, place: &str, count: usize) {
    for number in 0..count {
        let found = kept(app, place, number).await;
        assert!(found == value(number), "the {place} has {found} as {number}");
    }
}
