//! Plugins that take part in requests: hooks, middleware and routes with the steps that they do.

use crate::world::World;
use serde_json::{Value, json};
use std::fs;

/// A plugin of the world, with its entry in the plugins file.
#[derive(Clone)]
pub(crate) struct Traffic {
    name: &'static str,
    version: &'static str,
    items: Value,
    lives: bool,
    entry: Value,
    manifest: Value,
}

/// A plugin with these items, see `tests/src/traffic.rs`. It may register routes.
pub(crate) fn traffic(name: &'static str, items: Value) -> Traffic {
    let permissions = json!({"permissions": {"router": true}});
    Traffic { name, version: "1.0.0", items, lives: false, entry: permissions.clone(), manifest: permissions }
}

/// A hook that does these steps.
pub(crate) fn hook(kind: &str, priority: i32, steps: &str) -> Value {
    json!({"kind": "hook", "type": kind, "priority": priority, "do": steps})
}

/// Global middleware.
pub(crate) fn middleware(name: &str, priority: i32, steps: &str) -> Value {
    json!({"kind": "middleware", "name": name, "priority": priority, "do": steps})
}

/// Middleware of these routes.
pub(crate) fn scoped(name: &str, routes: &[&str], steps: &str) -> Value {
    json!({"kind": "middleware", "name": name, "routes": routes, "do": steps})
}

pub(crate) fn route(method: &str, path: &str, steps: &str) -> Value {
    json!({"kind": "route", "method": method, "path": path, "do": steps})
}

/// What is told in the trace if it fails to register.
pub(crate) fn trying(item: &Value) -> Value {
    let mut item = item.clone();
    item["try"] = json!(true);
    item
}

impl Traffic {
    /// The same with more in its entry.
    pub(crate) fn with(mut self, entry: Value) -> Self {
        self.entry.as_object_mut().unwrap().extend(entry.as_object().unwrap().clone());
        self
    }

    /// The same with more in its manifest.
    pub(crate) fn declaring(mut self, manifest: Value) -> Self {
        self.manifest.as_object_mut().unwrap().extend(manifest.as_object().unwrap().clone());
        self
    }

    pub(crate) fn open(self) -> Self {
        self.with(json!({"failure_policy": "open"}))
    }

    /// Without a stream: each call is a gRPC call of its own.
    pub(crate) fn unary(self) -> Self {
        let name = self.name;
        self.with(json!({"command": [format!("./{name}"), "--unary"]}))
    }

    pub(crate) fn version(mut self, version: &'static str) -> Self {
        self.version = version;
        self
    }

    /// Notes Start and Stop too.
    pub(crate) fn lives(mut self) -> Self {
        self.lives = true;
        self
    }

    /// Puts the plugin's files on disk, in place of what is there.
    pub(crate) fn install(&self, world: &World) {
        let directory = world.directory_of(self.name);
        fs::create_dir_all(&directory).unwrap();
        let mut manifest = json!({
            "name": self.name, "version": self.version, "description": "A test", "author": "Me",
            "config": {
                "traffic": {"type": "array", "default": self.items},
                "lives": {"type": "boolean", "default": self.lives},
                "trace": {"type": "string", "default": world.path().join("trace")},
            },
        });
        manifest.as_object_mut().unwrap().extend(self.manifest.as_object().unwrap().clone());
        manifest["permissions"]["filesystem"] = json!(true);
        fs::write(directory.join("plugin.json"), manifest.to_string()).unwrap();
        let program = directory.join(self.name);
        if !program.exists() {
            fs::copy(env!("CARGO_BIN_EXE_traffic-plugin"), program).unwrap();
        }
    }
}

/// Writes the plugins file; a running sidecar follows it.
pub(crate) fn configure(world: &World, plugins: &[Traffic]) {
    let entry = |plugin: &Traffic| {
        let mut entry = plugin.clone().with(json!({"name": plugin.name})).entry;
        // For the trace, whose socket is not in the plugin's own directory.
        entry["permissions"]["filesystem"] = json!(true);
        entry
    };
    world.write_file(plugins.iter().map(entry).collect());
}

/// All plugins installed, the sidecar running, every plugin too.
pub(crate) async fn started(plugins: &[Traffic]) -> World {
    let mut world = World::new();
    plugins.iter().for_each(|plugin| plugin.install(&world));
    configure(&world, plugins);
    world.start();
    for plugin in plugins {
        world.until_status(plugin.name, "running").await;
    }
    world
}

/// Lets go on who waits for that name.
pub(crate) fn go(world: &World, name: &str) {
    fs::write(world.path().join(format!("go-{name}")), "").unwrap();
}
