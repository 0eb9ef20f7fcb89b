//! L.3, L.4: memory.

use crate::{
    hostile::Hostiles,
    world::{World, plugin},
};
use rockstar_proto::app::{LoadRequest, PluginName};
use serde_json::json;
use std::fs;

#[tokio::test]
async fn rl_3_beyond_its_memory_a_plugin_is_ended_started_again_and_reported() {
    let mut hostiles = Hostiles::started(World::new(), &[("p", &[]), ("q", &[])], vec![]).await;
    let (p, q) = (hostiles.world.pid_of("p").unwrap(), hostiles.world.pid_of("q"));
    hostiles.begins("p", &["leak 10000"]);
    let text = "plugin process ended unexpectedly: out of memory: more than 100 MiB resident";
    let world = &hostiles.world;
    world.until_log(&format!("Plugin p crashed: {text}")).await;
    world.until("another process", || async { world.pid_of("p").is_some_and(|pid| pid != p) }).await;
    world.until_status("p", "running").await;
    let health = world.health("p").await.unwrap();
    assert!(health.last_error.starts_with(text), "{}", health.last_error);
    assert_eq!(health.error_count, 1);
    assert_eq!((world.pid_of("q"), world.health("q").await.unwrap().error_count), (q, 0));
}

/// What could grow.
#[derive(Debug)]
struct Usage {
    resident: u64,
    descriptors: usize,
    threads: usize,
    directories: usize,
    children: usize,
}

fn usage(world: &World) -> Usage {
    let own = format!("/proc/{}", world.pid());
    let count = |directory: &str| fs::read_dir(directory).unwrap().count();
    let statm = fs::read_to_string(format!("{own}/statm")).unwrap();
    let tasks = fs::read_dir(format!("{own}/task")).unwrap().map(|task| task.unwrap().path());
    let children = |task: std::path::PathBuf| fs::read_to_string(task.join("children")).unwrap_or_default();
    Usage {
        resident: statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096,
        descriptors: count(&format!("{own}/fd")),
        threads: count(&format!("{own}/task")),
        directories: count(world.path().join("run/p").to_str().unwrap()),
        children: tasks.map(|task| children(task).split_whitespace().count()).sum(),
    }
}

/// 1000 in all: each cycle unloads, loads and reloads.
#[tokio::test]
async fn rl_4_memory_processes_and_sockets_do_not_grow_over_loads_and_reloads() {
    let (kept, moved) = (plugin("kept", json!([])), plugin("moved", json!([])));
    let mut world = World::new();
    [&kept, &moved].into_iter().for_each(|plugin| world.install(plugin));
    world.configure(&[kept]);
    world.start();
    world.until_status("kept", "running").await;
    let mut manager = world.manager().await.unwrap();
    let path = world.directory_of("moved").display().to_string();
    let mut early = None;
    for cycle in 0..500 {
        manager.load(LoadRequest { path: path.clone(), config: None }).await.unwrap();
        world.reload("kept").await.unwrap();
        manager.unload(PluginName { name: "moved".into() }).await.unwrap();
        if cycle == 50 {
            early = Some(usage(&world));
        }
    }
    let (early, late) = (early.unwrap(), usage(&world));
    let what = format!("after 50 cycles {early:?}, after 500 {late:?}");
    assert!(late.resident < early.resident + (16 << 20), "{what}");
    assert!(late.descriptors <= early.descriptors + 4 && late.threads <= early.threads + 4, "{what}");
    assert_eq!((late.directories, late.children), (early.directories, early.children), "{what}");
    assert_eq!(world.health("kept").await.unwrap().error_count, 0);
}
