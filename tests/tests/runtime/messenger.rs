//! Plugins for events and services, and what a test has them do.

use crate::world::World;
use rockstar_app::{CallError, Client};
use serde_json::{Value, json};
use std::fs;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// One plugin with its configuration and more of its manifest.
#[derive(Clone)]
pub(crate) struct Messenger {
    pub(crate) name: &'static str,
    version: &'static str,
    config: Value,
    manifest: Value,
    entry: Value,
}

pub(crate) fn messenger(name: &'static str, config: Value) -> Messenger {
    Messenger { name, version: "1.0.0", config, manifest: json!({}), entry: json!({}) }
}

impl Messenger {
    pub(crate) fn version(mut self, version: &'static str) -> Self {
        self.version = version;
        self
    }

    pub(crate) fn manifest(mut self, manifest: Value) -> Self {
        self.manifest = manifest;
        self
    }

    pub(crate) fn entry(mut self, entry: Value) -> Self {
        self.entry = entry;
        self
    }

    /// Puts its files on disk, in place of what is there.
    pub(crate) fn install(&self, world: &World) {
        let directory = world.directory_of(self.name);
        fs::create_dir_all(&directory).unwrap();
        let mut config = self.config.as_object().unwrap().clone();
        config.insert("trace".into(), json!(world.path().join("trace")));
        let type_of = |value: &Value| match value {
            Value::Bool(_) => "boolean",
            Value::Object(_) => "object",
            _ => "string",
        };
        let schema: serde_json::Map<_, _> =
            config.into_iter().map(|(k, v)| (k, json!({"type": type_of(&v), "default": v}))).collect();
        let mut manifest = json!({
            "name": self.name, "version": self.version, "description": "A test", "author": "Me", "config": schema,
        });
        manifest.as_object_mut().unwrap().extend(self.manifest.as_object().unwrap().clone());
        manifest["permissions"]["filesystem"] = json!(true);
        fs::write(directory.join("plugin.json"), manifest.to_string()).unwrap();
        let program = directory.join(self.name);
        if !program.exists() {
            fs::copy(env!("CARGO_BIN_EXE_messenger-plugin"), program).unwrap();
        }
    }

    fn in_file(&self) -> Value {
        let mut entry = self.entry.as_object().unwrap().clone();
        entry.insert("name".into(), json!(self.name));
        let mut entry = Value::Object(entry);
        // For the trace, whose socket is not in the plugin's own directory.
        entry["permissions"]["filesystem"] = json!(true);
        entry
    }
}

/// Writes the plugins file; a running sidecar follows it.
pub(crate) fn configure(world: &World, messengers: &[Messenger]) {
    configure_with(world, messengers, json!({}));
}

/// The same, with engines.
pub(crate) fn configure_with(world: &World, messengers: &[Messenger], backends: Value) {
    let plugins: Vec<_> = messengers.iter().map(Messenger::in_file).collect();
    let file = json!({"plugins": {"plugins": plugins}, "backends": backends});
    fs::write(world.path().join("new"), file.to_string()).unwrap();
    fs::rename(world.path().join("new"), world.path().join("plugins.json")).unwrap();
}

/// All of them run.
pub(crate) async fn started(messengers: &[Messenger]) -> (World, Client) {
    started_with(messengers, json!({})).await
}

pub(crate) async fn started_with(messengers: &[Messenger], backends: Value) -> (World, Client) {
    let mut world = World::new();
    messengers.iter().for_each(|m| m.install(&world));
    configure_with(&world, messengers, backends);
    world.start();
    for messenger in messengers {
        world.until_status(messenger.name, "running").await;
    }
    let client = Client::new(world.socket());
    (world, client)
}

/// Has a plugin do something: its service `Control`.
pub(crate) async fn control(client: &Client, plugin: &str, method: &str, arguments: Value) -> Result<Value, CallError> {
    client.services().invoke(plugin, "Control", method, arguments).await
}

pub(crate) async fn publish(client: &Client, plugin: &str, event: &str, data: Value) {
    assert_eq!(control(client, plugin, "Publish", json!([event, data])).await, Ok(Value::Null));
}

/// What the sidecar's /metrics says.
pub(crate) async fn metrics(world: &World) -> String {
    let log = world.log();
    let address = log.split("admin on http://").nth(1).unwrap();
    let address: String = address.chars().take_while(|c| c.is_ascii_digit() || ".:".contains(*c)).collect();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

pub(crate) async fn errors(world: &World, plugin: &str) -> i64 {
    world.health(plugin).await.unwrap().error_count
}
