//! Plugins that use the framework's services as the test tells them, and the engines behind those.

use crate::{authority::Authority, postgres::Postgres, redis::Redis, world::World};
use rockstar_proto::{
    app::{AppFrame, Enter, app_frame, host_frame, pipeline_client::PipelineClient},
    types::{Body, Request},
};
use serde_json::{Map, Value, json};
use std::{fs, path::PathBuf};

pub(crate) const ALL: &[&str] = &["database", "cache", "config"];

/// What stands behind the services.
#[derive(Default)]
pub(crate) struct Engines {
    pub(crate) postgres: Option<Postgres>,
    redis: Option<Redis>,
    /// PostgreSQL's `sslmode`.
    mode: Option<String>,
    /// What the sidecar trusts instead of the system's authorities.
    trusted: Option<PathBuf>,
}

impl Engines {
    pub(crate) fn embedded() -> Self {
        Self::default()
    }

    pub(crate) fn postgres() -> Self {
        Self { postgres: Some(Postgres::start()), ..Self::default() }
    }

    pub(crate) fn redis() -> Self {
        Self { redis: Some(Redis::start()), ..Self::default() }
    }

    /// Both, by TLS alone.
    pub(crate) fn secured(mode: &str, trusted: Option<PathBuf>) -> Self {
        let (postgres, redis) = (Postgres::start(), Redis::secured(Authority::ours()));
        postgres.speak_tls(Authority::ours());
        Self { postgres: Some(postgres), redis: Some(redis), mode: Some(mode.to_owned()), trusted }
    }

    fn section(&self) -> Value {
        let mut section = Map::new();
        if let Some(postgres) = &self.postgres {
            let mode = self.mode.as_deref().unwrap_or("disable");
            section.insert("database".into(), json!({"url": postgres.url().replace("disable", mode)}));
            section.insert("storage".into(), json!({"url": postgres.storage_url().replace("disable", mode)}));
        }
        if let Some(redis) = &self.redis {
            section.insert("cache".into(), json!({"url": redis.url()}));
        }
        Value::Object(section)
    }
}

/// A world with plugins that do as they are told.
pub(crate) struct Services {
    pub(crate) world: World,
    pub(crate) engines: Engines,
    /// Further sections of the plugins file.
    sections: Map<String, Value>,
}

impl Services {
    /// Each plugin has these permissions.
    pub(crate) async fn started(engines: Engines, plugins: &[(&str, &[&str])]) -> Self {
        Self::configured(engines, plugins, json!({})).await
    }

    pub(crate) async fn configured(engines: Engines, plugins: &[(&str, &[&str])], sections: Value) -> Self {
        let mut services = Self { world: World::new(), engines, sections: sections.as_object().unwrap().clone() };
        plugins.iter().for_each(|(name, permissions)| services.install(name, permissions));
        services.write(plugins);
        if let Some(file) = services.engines.trusted.clone() {
            services.world.trust(file);
        }
        services.world.start();
        services.until_running(plugins).await;
        services
    }

    fn install(&self, name: &str, permissions: &[&str]) {
        let directory = self.world.directory_of(name);
        fs::create_dir_all(&directory).unwrap();
        let manifest = json!({
            "name": name, "version": "1.0.0", "description": "A test", "author": "Me", "permissions": switches(permissions),
        });
        fs::write(directory.join("plugin.json"), manifest.to_string()).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_commanded-plugin"), directory.join(name)).unwrap();
    }

    /// Writes the plugins file; a running sidecar follows it.
    pub(crate) fn write(&self, plugins: &[(&str, &[&str])]) {
        // Each sees every request: one that is down must not answer for another.
        let common = json!({"hook_timeout": "30s", "failure_policy": "open"});
        let entry = |(name, permissions): &(&str, &[&str])| {
            let mut entry = common.clone();
            entry["name"] = json!(name);
            entry["permissions"] = switches(permissions);
            entry
        };
        let entries: Vec<_> = plugins.iter().map(entry).collect();
        let mut file = self.sections.clone();
        file.insert("framework".into(), json!({"version": "1.5.0"}));
        file.insert("backends".into(), self.engines.section());
        file.insert("plugins".into(), json!({"plugins": entries}));
        fs::write(self.world.path().join("new"), Value::Object(file).to_string()).unwrap();
        fs::rename(self.world.path().join("new"), self.world.path().join("plugins.json")).unwrap();
    }

    pub(crate) async fn until_running(&self, plugins: &[(&str, &[&str])]) {
        for (name, _) in plugins {
            self.world.until_status(name, "running").await;
        }
    }

    /// What came of the command; an error is a text that begins with `error: `.
    pub(crate) async fn ask(&self, plugin: &str, command: Value) -> Value {
        let body = Body::whole(command.to_string());
        let path = format!("/{plugin}");
        let request = Request { method: "POST".into(), path, body: Some(body), ..Request::default() };
        let enter = Enter { request: Some(request), timeout_ms: 40_000, ..Enter::default() };
        let frame = AppFrame { id: 1, exchange: String::new(), frame: Some(app_frame::Frame::Enter(enter)) };
        let mut client = PipelineClient::new(self.world.channel().await.unwrap());
        let begun = client.begin(frame).await.unwrap().into_inner();
        let Some(host_frame::Frame::Answer(answer)) = begun.frame else { panic!("{plugin}: {command}: {begun:?}") };
        let Some(bytes) = answer.body.as_ref().and_then(Body::bytes) else { panic!("no body") };
        let answer = serde_json::from_slice::<Value>(bytes)
            .unwrap_or_else(|e| panic!("{command}: {e}: {}", String::from_utf8_lossy(bytes)));
        match answer["error"].as_str() {
            Some(text) => json!(format!("error: {text}")),
            None => answer,
        }
    }

    pub(crate) async fn query(&self, plugin: &str, sql: &str, arguments: Value) -> Value {
        self.ask(plugin, json!({"do": "query", "sql": sql, "args": arguments})).await
    }

    pub(crate) async fn exec(&self, plugin: &str, sql: &str, arguments: Value) -> Value {
        self.ask(plugin, json!({"do": "exec", "sql": sql, "args": arguments})).await
    }

    /// One of the simple commands.
    pub(crate) async fn tell(&self, plugin: &str, command: &str, key: &str) -> Value {
        self.ask(plugin, json!({"do": command, "key": key})).await
    }
}

fn switches(permissions: &[&str]) -> Value {
    permissions.iter().map(|p| ((*p).to_owned(), json!(true))).collect::<Map<_, _>>().into()
}
