//! Plugins that try to get out, and what comes of it.

use crate::world::{World, built, skipped};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, path::PathBuf, process::Command};

pub(crate) const DENIED: &str = "Permission denied (os error 13)";
pub(crate) const NOT_PERMITTED: &str = "Operation not permitted (os error 1)";

pub(crate) struct Hostiles {
    pub(crate) world: World,
    permissions: BTreeMap<&'static str, Value>,
    others: Vec<Value>,
    round: u32,
}

impl Hostiles {
    /// Hostile plugins with their permissions, all running; `others` are further entries, installed by the caller.
    pub(crate) async fn started(
        mut world: World,
        plugins: &[(&'static str, &[&'static str])],
        others: Vec<Value>,
    ) -> Self {
        plugins.iter().for_each(|(name, _)| install(&world, name));
        let granted = |list: &[&str]| list.iter().map(|p| ((*p).to_owned(), json!(true))).collect();
        let permissions = plugins.iter().map(|(name, list)| (*name, Value::Object(granted(list)))).collect();
        if world.volumes.is_empty() {
            world.volumes.push(world.path().join("volume"));
            fs::create_dir(world.path().join("volume")).unwrap();
        }
        let mut hostiles = Self { world, permissions, others, round: 0 };
        hostiles.configure("", &[]);
        hostiles.world.start();
        for (name, _) in plugins {
            hostiles.world.until_status(name, "running").await;
        }
        hostiles
    }

    /// Has a plugin try these, one after another; gives what came of each: `done`, or the error.
    pub(crate) async fn tries(&mut self, plugin: &str, attempts: &[&str]) -> Vec<String> {
        self.begins(plugin, attempts);
        let outcomes = || attempts.iter().map(|attempt| self.outcome(plugin, attempt)).collect::<Option<Vec<_>>>();
        self.world.until("the attempts", || async { outcomes().is_some() }).await;
        outcomes().unwrap()
    }

    pub(crate) async fn try_one(&mut self, plugin: &str, attempt: &str) -> String {
        self.tries(plugin, &[attempt]).await.remove(0)
    }

    /// The same without waiting.
    pub(crate) fn begins(&mut self, plugin: &str, attempts: &[&str]) {
        self.round += 1;
        self.configure(plugin, attempts);
    }

    /// Takes a plugin out of the file.
    pub(crate) fn remove(&mut self, plugin: &str) {
        self.permissions.remove(plugin);
        self.configure("", &[]);
    }

    /// Changes what a plugin may do.
    pub(crate) fn grant(&mut self, plugin: &'static str, permissions: Value) {
        self.permissions.insert(plugin, permissions);
        self.configure("", &[]);
    }

    fn outcome(&self, plugin: &str, attempt: &str) -> Option<String> {
        let log = self.world.log();
        let begin = format!("[{plugin} {}] {attempt} -> ", self.round);
        let (_, rest) = log.split_once(&begin)?;
        Some(rest.split_once(" |")?.0.to_owned())
    }

    fn configure(&self, plugin: &str, attempts: &[&str]) {
        let entry = |(name, permissions): (&&'static str, &Value)| {
            let config = match *name == plugin {
                true => json!({"attempts": attempts, "round": self.round}),
                false => json!({}),
            };
            json!({"name": name, "permissions": permissions, "config": config, "failure_policy": "open"})
        };
        let entries: Vec<_> = self.permissions.iter().map(entry).chain(self.others.iter().cloned()).collect();
        self.world.write_file(json!(entries));
    }

    /// The private directory of a plugin's process.
    pub(crate) fn private_directory(&self, plugin: &str) -> PathBuf {
        fs::read_link(format!("/proc/{}/cwd", self.world.pid_of(plugin).unwrap())).unwrap()
    }
}

/// It declares all permissions, so that what it may do is the entry's to say.
fn install(world: &World, name: &str) {
    let directory = world.directory_of(name);
    fs::create_dir_all(&directory).unwrap();
    let all = ["database", "cache", "router", "config", "filesystem", "network", "exec"];
    let permissions: serde_json::Map<_, _> = all.iter().map(|p| ((*p).to_owned(), json!(true))).collect();
    let manifest = json!({
        "name": name, "version": "1.0.0", "description": "A test", "author": "Me", "permissions": permissions,
        "config": {"attempts": {"type": "array", "default": []}, "round": {"type": "integer", "default": 0}},
    });
    fs::write(directory.join("plugin.json"), manifest.to_string()).unwrap();
    fs::copy(built("hostile-plugin"), directory.join(name)).unwrap();
}

/// Whether the kernel of this machine enforces the sandbox; says so if not.
pub(crate) fn enforced() -> bool {
    let parts = parts();
    let whole = parts["landlock"].as_u64() >= Some(3) && parts["filter"] == true && parts["notifications"] == true;
    if !whole {
        skipped(&format!("this kernel does not enforce the sandbox: {parts}"));
    }
    whole
}

/// The version of Landlock here; 0 = none.
pub(crate) fn landlock() -> u64 {
    parts()["landlock"].as_u64().unwrap()
}

fn parts() -> Value {
    let output = Command::new(built("rockstar-sidecar")).arg("sandbox-probe").output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}
