//! A sidecar with plugins that do what a request's path says, an application, and what can be asked of them.

use crate::{
    app::App,
    http::{self, Answer},
    world::{World, built},
};
use rockstar_proto::{
    app::{PluginInfo, PluginName, metrics_client::MetricsClient, plugin_manager_client::PluginManagerClient},
    types::Empty,
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, net::SocketAddr, os::unix::fs::PermissionsExt, path::Path};
use tonic::transport::Channel;

pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) app: App,
}

/// One sample of a scrape.
#[derive(Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

impl Scene {
    /// These plugins run, with more in their entries.
    pub(crate) async fn new(plugins: &[(&str, Value)]) -> Self {
        Self::with(json!({}), plugins).await
    }

    /// The same with more in the file's section `plugins`.
    pub(crate) async fn with(section: Value, plugins: &[(&str, Value)]) -> Self {
        Self::of(json!({"plugins": section}), plugins).await
    }

    /// The same with more in the file.
    pub(crate) async fn of(file: Value, plugins: &[(&str, Value)]) -> Self {
        let scene = Self::unawaited(file, plugins).await;
        for (name, _) in plugins {
            scene.world.until_status(name, "running").await;
        }
        scene
    }

    /// The sidecar serves; its plugins may never run.
    pub(crate) async fn unawaited(file: Value, plugins: &[(&str, Value)]) -> Self {
        let mut world = World::new();
        plugins.iter().for_each(|(name, _)| install(&world, name));
        write(&world, &file, plugins);
        world.start();
        world.until_log("Serving the application on").await;
        world.until("the application's socket", || async { world.channel().await.is_ok() }).await;
        let app = App::new(&world).await;
        Self { world, app }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.app.get(path).await
    }

    /// One request after another; gives the last answer's status.
    pub(crate) async fn times(&self, count: usize, path: &str) -> u16 {
        let mut status = 0;
        for _ in 0..count {
            status = self.get(path).await.status;
        }
        status
    }

    pub(crate) async fn manager(&self) -> PluginManagerClient<Channel> {
        PluginManagerClient::new(self.world.channel().await.unwrap())
    }

    pub(crate) async fn info(&self, plugin: &str) -> PluginInfo {
        self.manager().await.get_plugin(named(plugin)).await.unwrap().into_inner()
    }

    pub(crate) async fn list(&self) -> Vec<PluginInfo> {
        self.manager().await.list_plugins(Empty {}).await.unwrap().into_inner().plugins
    }

    /// What the application is told by GetPluginMetrics.
    pub(crate) async fn report(&self, plugin: &str) -> Value {
        let mut client = MetricsClient::new(self.world.channel().await.unwrap());
        Value::Object(client.get_plugin_metrics(named(plugin)).await.unwrap().into_inner().to_json())
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        let log = self.world.log();
        let (_, rest) = log.split_once("admin on http://").expect("no admin address");
        rest.lines().next().unwrap().parse().unwrap()
    }

    pub(crate) async fn scrape(&self) -> String {
        let answer = http::get(self.admin(), "/metrics").await;
        assert_eq!(answer.status, 200);
        answer.body
    }

    pub(crate) async fn samples(&self) -> Vec<Sample> {
        self.scrape().await.lines().filter(|line| !line.starts_with('#')).map(sample).collect()
    }

    /// The value of the series with exactly these labels.
    pub(crate) async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<BTreeMap<_, _>>();
        self.samples().await.into_iter().find(|s| s.name == name && s.labels == labels).map(|s| s.value)
    }

    pub(crate) async fn of_plugin(&self, name: &str, plugin: &str) -> Option<f64> {
        self.metric(name, &[("plugin", plugin)]).await
    }

    pub(crate) fn logged(&self, line: &str) -> usize {
        self.world.log().lines().filter(|l| *l == line).count()
    }
}

pub(crate) fn named(plugin: &str) -> PluginName {
    PluginName { name: plugin.into() }
}

/// Puts the plugin's files where its entry has them by default.
pub(crate) fn install(world: &World, name: &str) {
    let directory = world.directory_of(name);
    fs::create_dir_all(&directory).unwrap();
    let manifest = json!({
        "name": name, "version": "1.2.0", "description": "What is measured", "author": "John Doe <john@example.com>",
    });
    fs::write(directory.join("plugin.json"), manifest.to_string()).unwrap();
    fs::copy(built("measured-plugin"), directory.join(name)).unwrap();
}

/// In place of the plugin's program.
pub(crate) fn script(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Writes the plugins file; a running sidecar follows it.
pub(crate) fn write(world: &World, file: &Value, plugins: &[(&str, Value)]) {
    let entries = plugins.iter().map(|(name, more)| {
        let mut entry = json!({"name": name});
        entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        entry
    });
    let mut file = file.clone();
    file["framework"] = json!({"version": "1.5.0"});
    file["plugins"]["plugins"] = entries.collect();
    fs::write(world.path().join("new"), file.to_string()).unwrap();
    fs::rename(world.path().join("new"), world.path().join("plugins.json")).unwrap();
}

/// `name{key="value",…} number`; values have no commas here.
fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').unwrap();
    let (name, labels) = series.trim_end_matches('}').split_once('{').unwrap_or((series, ""));
    let labels = labels.split(',').filter_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        Some((key.to_owned(), value.trim_matches('"').to_owned()))
    });
    Sample { name: name.to_owned(), labels: labels.collect(), value: value.parse().unwrap() }
}
