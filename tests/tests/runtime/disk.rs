//! A disk without room.

use crate::world::{World, plugin};
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A file system of its own, in memory, unmounted with the test.
struct Small(PathBuf);

impl Small {
    /// None where this user may not mount.
    fn mount(at: &Path) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mounted = mount(&["-t", "tmpfs", "-o", "size=64k", "tmpfs"], at);
        mounted.then(|| Self(at.to_owned()))
    }

    fn grow(&self) {
        assert!(mount(&["-o", "remount,size=1g"], &self.0));
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
    let Some(disk) = Small::mount(&world.path().join("data")) else {
        eprintln!("skipped: this user may not mount a file system");
        return;
    };
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
    drop(world);
}
