//! Plugins that take all they can get: each thing that they can make grow has a bound, and nobody else is hurt.

use crate::{
    app::App,
    world::{World, built, plugin},
};
use rockstar_proto::app::{Event, events_client::EventsClient};
use serde_json::{Value, json};
use std::{
    fs,
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// What the sidecar itself may use at most, in KiB.
const SIDECAR: u64 = 96 << 10;

/// A slow machine makes many directories, or calls.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(180);

/// One greedy plugin with these permissions, beside an innocent one.
struct Greed {
    world: World,
    app: App,
    permissions: Value,
    memory: Option<&'static str>,
    round: u32,
    /// What the innocent one takes when nothing is tried.
    calm: Duration,
}

impl Greed {
    async fn started(permissions: Value) -> Self {
        Self::limited(permissions, json!({})).await
    }

    /// With these limits.
    async fn limited(permissions: Value, limits: Value) -> Self {
        let mut world = World::new();
        world.limits = limits;
        install(&world, "greedy");
        let mate = plugin("mate", json!([{"type": "pre_request"}]));
        world.install(&mate);
        write(&world, &permissions, &[], 0);
        world.start();
        for name in ["greedy", "mate"] {
            world.until_status(name, "running").await;
        }
        let app = App::new(&world).await;
        let mut greed = Self { world, app, permissions, memory: None, round: 0, calm: Duration::ZERO };
        let mut took = Vec::new();
        for _ in 0..100 {
            took.push(greed.ask("").await);
        }
        greed.calm = p99(took);
        greed
    }

    /// Has the innocent one serve a request, and says how long that took.
    async fn ask(&self, attempt: &str) -> Duration {
        let started = Instant::now();
        assert_eq!(self.app.get("/").await.status, 200, "{attempt}");
        started.elapsed()
    }

    /// What comes of an attempt. The innocent one is served after it, and the sidecar has kept to its memory.
    async fn tries(&mut self, attempt: &str) -> String {
        self.round += 1;
        write(&self.world, &self.permissions, &[attempt], self.round);
        let begin = format!("[greedy {}] {attempt} -> ", self.round);
        let outcome = || Some(self.world.log().split_once(&begin)?.1.split_once(" |")?.0.to_owned());
        let started = Instant::now();
        let mut took = vec![self.ask(attempt).await];
        while outcome().is_none() {
            assert!(started.elapsed() < ATTEMPT_TIMEOUT, "{attempt}: nothing came of it:\n{}", self.world.log());
            took.push(self.ask(attempt).await);
            sleep(Duration::from_millis(20)).await;
        }
        let outcome = outcome().unwrap();
        took.push(self.ask(attempt).await);
        let (peak, ratio) = (self.peak(), p99(took).as_secs_f64() / self.calm.as_secs_f64());
        assert!(peak < SIDECAR, "{attempt}: {peak} KiB");
        // `bench/hostile` makes a table of these.
        println!("HOSTILE | {attempt:.60} | {outcome:.60} | {} MiB | {ratio:.1} |", peak >> 10);
        outcome
    }

    /// An attempt that ends the plugin, and is said to; it starts again.
    async fn dies(&mut self, attempt: &str, why: &str) {
        self.round += 1;
        write_with(&self.world, &self.permissions, &[attempt], self.round, self.memory);
        self.world.until_log(&format!("Plugin greedy crashed: plugin process ended unexpectedly: {why}")).await;
        self.ask(attempt).await;
        // Its configuration would have it try again.
        write_with(&self.world, &self.permissions, &[], self.round, self.memory);
        self.world.until_status("greedy", "running").await;
    }

    /// The most memory that the sidecar ever used, in KiB.
    fn peak(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.world.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// How many files the sidecar has open.
    fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.world.pid())).unwrap().count()
    }
}

fn p99(mut took: Vec<Duration>) -> Duration {
    took.sort_unstable();
    took[(took.len() - 1) * 99 / 100]
}

fn install(world: &World, name: &str) {
    let directory = world.directory_of(name);
    fs::create_dir_all(&directory).unwrap();
    let manifest = json!({
        "name": name, "version": "1.0.0", "description": "A test", "author": "Me",
        "permissions": {"database": true, "cache": true, "filesystem": true},
        "config": {"attempts": {"type": "array", "default": []}, "round": {"type": "integer", "default": 0}},
    });
    fs::write(directory.join("plugin.json"), manifest.to_string()).unwrap();
    fs::copy(built("greedy-plugin"), directory.join(name)).unwrap();
}

fn write(world: &World, permissions: &Value, attempts: &[&str], round: u32) {
    write_with(world, permissions, attempts, round, None);
}

fn write_with(world: &World, permissions: &Value, attempts: &[&str], round: u32, memory: Option<&str>) {
    let config = json!({"attempts": attempts, "round": round});
    let mut greedy = json!({"name": "greedy", "permissions": permissions, "config": config, "failure_policy": "open"});
    // A crash after that is no failure of the version.
    greedy["reload"] = json!({"grace_period": "1ms"});
    if let Some(memory) = memory {
        greedy["resources"] = json!({"memory": memory});
    }
    world.write_file(json!([greedy, {"name": "mate", "permissions": {"filesystem": true}}]));
}

#[tokio::test]
async fn registrations_are_bounded_in_number_and_bytes() {
    let mut greed = Greed::started(json!({})).await;
    let outcome = greed.tries("register 10 257").await;
    assert_eq!(outcome, "0 taken: a name has 257 bytes, more than the 256 it may have");
    let outcome = greed.tries("patterns 10 1025").await;
    assert_eq!(outcome, "0 taken: a route pattern has 1025 bytes, more than the 1024 it may have");
    let outcome = greed.tries("patterns 2000 1024").await;
    assert_eq!(
        outcome,
        "255 taken: registrations are too large: a plugin's may have 262144 bytes (limits.registrationBytes)"
    );
    let mut greed = Greed::started(json!({})).await;
    let outcome = greed.tries("register 2000 10").await;
    assert_eq!(outcome, "1024 taken: too many registrations: a plugin may have 1024 (limits.registrations)");
}

#[tokio::test]
async fn messages_events_and_connections_are_bounded() {
    let mut greed = Greed::started(json!({})).await;
    let outcome = greed.tries("publish 50 3900000").await;
    assert!(outcome.contains("the limit is: 262144 bytes"), "{outcome}");
    let outcome = greed.tries("publish 200 257").await;
    assert_eq!(outcome, "the name of an event has 257 bytes, more than the 256 that it may have");
    assert_eq!(greed.tries("publish 200 200").await, "taken");
    let before = greed.descriptors();
    assert_eq!(greed.tries("connections 100").await, "8 served");
    assert!(greed.descriptors() < before + 20);
}

#[tokio::test]
async fn the_cache_and_the_storage_are_bounded() {
    let mut greed = Greed::started(json!({"cache": true})).await;
    assert_eq!(greed.tries("cache 30000 0").await, "30000 taken");
    assert_eq!(greed.tries("cache 20 4000000").await, "20 taken");
    let outcome = greed.tries("store 100 3900000").await;
    assert_eq!(outcome, "17 taken: the plugin's storage is full: it may have 64Mi (limits.storage)");
}

#[tokio::test]
async fn rows_that_nobody_reads_are_bounded_in_bytes() {
    let mut greed = Greed::started(json!({"database": true})).await;
    assert_eq!(greed.tries("rows 4").await, "4 open");
}

#[tokio::test]
async fn sql_ends_at_its_deadline_or_is_linear() {
    let mut greed = Greed::started(json!({"database": true})).await;
    let late = "the statement was interrupted at its deadline";
    let endless = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c";
    assert_eq!(greed.tries(&format!("sql {endless}")).await, late);
    let long = "zeroblob(1000000)";
    let half = "zeroblob(500000) || x'01'";
    let text = "replace(hex(zeroblob(500000)), '0', 'a')";
    for sql in [
        format!("SELECT instr({long}, {half})"),
        format!("SELECT length(replace({long}, {half}, ''))"),
        format!("SELECT length(trim({text}, hex(zeroblob(500000)) || 'a'))"),
    ] {
        assert_eq!(greed.tries(&format!("sql {sql}")).await, "1 rows", "{sql}");
    }
    let outcome = greed.tries(&format!("sql SELECT {text} LIKE replace(hex(zeroblob(200)), '00', '%a')")).await;
    assert!(outcome.contains("LIKE or GLOB pattern too complex"), "{outcome}");
    let outcome = greed.tries("sql SELECT json_patch('{}', '{}')").await;
    assert!(outcome.contains("not authorized"), "{outcome}");
    // Sorting needs files beyond the cache, and has them in the data volume.
    let sort = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 20000) \
                SELECT count(*) FROM (SELECT n, hex(randomblob(500)) AS x FROM c ORDER BY x)";
    let outcome = greed.tries(&format!("sql {sort}")).await;
    assert!(["1 rows", late].contains(&outcome.as_str()), "{outcome}");
}

#[tokio::test]
async fn no_depth_of_directories_ends_the_sidecar() {
    let mut greed = Greed::started(json!({})).await;
    let pid = greed.world.pid();
    assert_eq!(greed.tries("nest 16000").await, "done");
    write(&greed.world, &json!({}), &[], 0);
    greed.world.reload("greedy").await.unwrap();
    let gone = greed.world.path().join("run/removed");
    greed.world.until("the removal", || async { fs::read_dir(&gone).is_ok_and(|left| left.count() == 0) }).await;
    assert_eq!((greed.world.pid(), greed.app.get("/").await.status), (pid, 200));
}

#[tokio::test]
async fn what_a_killed_sidecar_left_is_removed_at_the_next_start() {
    let mut greed = Greed::started(json!({})).await;
    assert_eq!(greed.tries("nest 3000").await, "done");
    let left = || fs::read_dir(greed.world.path().join("run/p")).unwrap().count();
    assert_eq!(left(), 2);
    let mut world = greed.world;
    world.kill();
    assert_eq!(fs::read_dir(world.path().join("run/p")).unwrap().count(), 2);
    write(&world, &json!({}), &[], 0);
    world.start();
    for name in ["greedy", "mate"] {
        world.until_status(name, "running").await;
    }
    let count = |name: &str| fs::read_dir(world.path().join("run").join(name)).map_or(0, Iterator::count);
    world.until("the removal", || async { count("removed") == 0 }).await;
    assert_eq!(count("p"), 2);
}

#[tokio::test]
async fn bounds_of_messages_and_stores_are_those_of_the_file() {
    let limits = json!({
        "registrations": 10, "registration_bytes": "1Ki", "event_bytes": "1Ki", "storage": "100Ki", "database": "1Mi",
    });
    let mut greed = Greed::limited(json!({"database": true}), limits).await;
    let outcome = greed.tries("register 20 200").await;
    assert_eq!(
        outcome,
        "5 taken: registrations are too large: a plugin's may have 1024 bytes (limits.registrationBytes)"
    );
    let outcome = greed.tries("register 20 1").await;
    assert_eq!(outcome, "5 taken: too many registrations: a plugin may have 10 (limits.registrations)");
    assert_eq!(greed.tries("events 2 1021").await, "2 taken");
    let outcome = greed.tries("events 2 1022").await;
    assert_eq!(
        outcome,
        "0 taken: event 'big' has 1025 bytes, more than the 1024 that a plugin's may have (limits.eventBytes)"
    );
    // An entry has 8 bytes of key, 6 of the plugin's name, and 32 more.
    assert_eq!(greed.tries("store 10 10194").await, "10 taken");
    let outcome = greed.tries("store 11 10194").await;
    assert_eq!(outcome, "10 taken: the plugin's storage is full: it may have 100Ki (limits.storage)");
    let rows =
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 20) SELECT zeroblob(100000) FROM c";
    let outcome = greed.tries(&format!("sql CREATE TABLE big AS {rows}")).await;
    assert!(outcome.contains("may have 1Mi (limits.database)"), "{outcome}");
}

#[tokio::test]
async fn bounds_of_processes_are_those_of_the_file_and_end_their_own_plugin_only() {
    let limits = json!({"threads": 40, "descriptors": 100, "tmp": "1Mi", "data": "2Mi"});
    let mut greed = Greed::limited(json!({}), limits).await;
    assert!(greed.tries("open 200").await.ends_with("Too many open files (os error 24)"));
    greed.dies("threads 100", "too many threads: more than 40 (limits.threads)").await;
    greed.dies("fill tmp/a 2", "tmp/ is too large: more than 1Mi (limits.tmp)").await;
    greed.dies("fill data/a 3", "data/ is too large: more than 2Mi (limits.data)").await;
    assert_eq!(greed.tries("fill data/a 1").await, "done");
}

#[tokio::test]
async fn a_plugins_memory_is_that_of_its_entry() {
    let mut greed = Greed::started(json!({})).await;
    greed.memory = Some("60Mi");
    let before = greed.world.pid_of("greedy");
    write_with(&greed.world, &greed.permissions, &[], 0, greed.memory);
    let is_new = || greed.world.pid_of("greedy").is_some_and(|pid| Some(pid) != before);
    greed.world.until("another process", || async { is_new() }).await;
    greed.world.until_status("greedy", "running").await;
    greed.dies("hold 90", "out of memory: more than 60 MiB resident").await;
}

#[tokio::test]
async fn limits_that_nobody_can_keep_to_are_refused() {
    let mut world = World::new();
    world.limits = json!({"threads": 0});
    world.write_file(json!([]));
    world.start();
    world.until_log("limits.threads is '0'; expected an integer from 8 to 32768").await;
}

#[tokio::test]
async fn a_change_of_limits_counts_for_plugins_that_run() {
    let mut greed = Greed::limited(json!({}), json!({"storage": "100Ki", "tmp": "1Mi", "threads": 30})).await;
    let outcome = greed.tries("store 11 10194").await;
    assert_eq!(outcome, "10 taken: the plugin's storage is full: it may have 100Ki (limits.storage)");
    let before = greed.world.pid_of("greedy");
    greed.world.limits = json!({"storage": "1Mi", "tmp": "8Mi", "threads": 100});
    assert_eq!(greed.tries("store 11 10194").await, "11 taken");
    assert_eq!(greed.tries("threads 50").await, "done");
    assert_eq!(greed.tries("fill tmp/a 4").await, "done");
    assert_eq!(greed.world.pid_of("greedy"), before, "the change restarted it");
    // If less were allowed, it would be ended for less.
    greed.dies("fill tmp/b 8", "tmp/ is too large: more than 8Mi (limits.tmp)").await;
    greed.world.limits = json!({"storage": "100Ki"});
    let outcome = greed.tries("store 11 10194").await;
    assert_eq!(outcome, "0 taken: the plugin's storage is full: it may have 100Ki (limits.storage)");
}

#[tokio::test]
async fn the_applications_events_are_not_those_that_plugins_are_bounded_by() {
    let greed = Greed::limited(json!({}), json!({"event_bytes": "1Ki"})).await;
    let mut client = EventsClient::new(greed.world.channel().await.unwrap());
    let mut publish = async |size: usize| {
        let event = Event { name: "large".into(), data: vec![0; size].into(), ..Event::default() };
        client.publish(event).await.map(|_| ()).map_err(|refused| refused.message().to_owned())
    };
    publish(100_000).await.unwrap();
    let refused = publish(250 << 10).await.unwrap_err();
    assert_eq!(refused, "event 'large' has 256005 bytes, more than the 256000 that an event may have");
}
