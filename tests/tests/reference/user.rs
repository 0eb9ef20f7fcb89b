//! The plugin that uses all of its context: its files, its entry, and what it notes.

use crate::{app::App, http::Answer, world::World};
use rockstar_proto::{app::services_client::ServicesClient, types::Empty};
use serde_json::{Value, json};
use std::fs;

/// Those that need a permission, with it.
pub(crate) const GATED: [(&str, &str); 4] =
    [("Router", "router"), ("Database", "database"), ("Cache", "cache"), ("Config", "config")];

pub(crate) const USES: [&str; 15] = [
    "Router",
    "Logger",
    "Metrics",
    "Database",
    "Cache",
    "Config",
    "PluginConfig",
    "PluginStorage",
    "RegisterHook",
    "PublishEvent",
    "SubscribeEvent",
    "ExportService",
    "ImportService",
    "RegisterMiddleware",
    "UnregisterMiddleware",
];

pub(crate) struct Users {
    pub(crate) world: World,
    pub(crate) app: App,
}

/// One plugin: its configuration, what its manifest declares, what its entry gives.
#[derive(Clone)]
pub(crate) struct User {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    pub(crate) config: Value,
    pub(crate) declared: &'static [&'static str],
    pub(crate) given: &'static [&'static str],
    pub(crate) requires: &'static [&'static str],
}

pub(crate) fn user(name: &'static str, config: Value) -> User {
    User { name, version: "1.0.0", config, declared: &[], given: &[], requires: &[] }
}

/// Whom others import from.
pub(crate) fn helper() -> User {
    user("helper", json!({"registers": {"service": "Versions"}}))
}

impl User {
    pub(crate) fn install(&self, world: &World) {
        let directory = world.directory_of(self.name);
        fs::create_dir_all(&directory).unwrap();
        let kind = |value: &Value| {
            if value.is_boolean() {
                "boolean"
            } else if value.is_object() {
                "object"
            } else {
                "string"
            }
        };
        let schema: serde_json::Map<_, _> = self
            .config
            .as_object()
            .unwrap()
            .iter()
            .map(|(key, value)| (key.clone(), json!({"type": kind(value), "default": value})))
            .collect();
        let dependency = |name: &&str| json!({"name": name, "version": ">=1.0.0"});
        let manifest = json!({
            "name": self.name, "version": self.version, "description": "A test", "author": "Me", "config": schema,
            "permissions": switches(self.declared),
            "dependencies": self.requires.iter().map(dependency).collect::<Vec<_>>(),
        });
        fs::write(directory.join("plugin.json"), manifest.to_string()).unwrap();
        let program = directory.join(self.name);
        if !program.exists() {
            fs::copy(env!("CARGO_BIN_EXE_user-plugin"), program).unwrap();
        }
    }
}

fn switches(permissions: &[&str]) -> Value {
    Value::Object(permissions.iter().map(|p| ((*p).to_owned(), json!(true))).collect())
}

fn write(world: &World, users: &[User]) {
    let entry = |u: &User| json!({"name": u.name, "permissions": switches(u.given)});
    let file = json!({
        "framework": {"version": "1.5.0"}, "database": {"host": "db.example"},
        "plugins": {"plugins": users.iter().map(entry).collect::<Vec<_>>()},
    });
    fs::write(world.path().join("new"), file.to_string()).unwrap();
    fs::rename(world.path().join("new"), world.path().join("plugins.json")).unwrap();
}

impl Users {
    /// One after another, so that each finds those before it running.
    pub(crate) async fn started(users: &[User]) -> Self {
        let mut world = World::new();
        users.iter().for_each(|u| u.install(&world));
        for (index, user) in users.iter().enumerate() {
            write(&world, &users[..=index]);
            if index == 0 {
                world.start();
            }
            world.until_status(user.name, "running").await;
        }
        let app = App::new(&world).await;
        Self { world, app }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.app.get(path).await
    }

    /// The JSON that a plugin answers.
    pub(crate) async fn ask(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        serde_json::from_str(&answer.body).unwrap()
    }

    /// What that plugin noted, in order.
    pub(crate) fn notes(&self, plugin: &str) -> Vec<String> {
        let begin = format!("note: {plugin} ");
        self.world.log().lines().filter_map(|line| Some(line.split_once(&begin)?.1.to_owned())).collect()
    }

    pub(crate) async fn noted(&self, plugin: &str, text: &str) {
        let what = format!("the note of {plugin}: {text}");
        self.world.until(&what, || async { self.notes(plugin).iter().any(|note| note == text) }).await;
    }

    /// The outcome of each use.
    pub(crate) async fn outcomes(&self, plugin: &str) -> Vec<(String, String)> {
        self.noted(plugin, "Initialize 1.0.0").await;
        let split = |note: String| note.split_once(": ").map(|(what, outcome)| (what.to_owned(), outcome.to_owned()));
        self.notes(plugin).into_iter().filter_map(split).collect()
    }

    pub(crate) async fn reload(&self, user: &User) {
        user.install(&self.world);
        self.world.reload(user.name).await.unwrap();
    }

    /// What can be imported now.
    pub(crate) async fn services(&self) -> Vec<String> {
        let mut client = ServicesClient::new(self.world.channel().await.unwrap());
        let list = client.list(Empty {}).await.unwrap().into_inner();
        list.services.into_iter().map(|s| s.service).collect()
    }
}
