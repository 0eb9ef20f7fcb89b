//! The reference's PluginManager, called from outside; errors are their texts.

use crate::{
    http::{self, Answer},
    world::{Plugin, World},
};
use rockstar_proto::{
    app::{
        LoadFromConfigRequest, LoadRequest, PluginConfig, PluginInfo, PluginName, ReloadConfig, ReloadRequest,
        plugin_manager_client::PluginManagerClient,
    },
    types::{Empty, Map},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, net::SocketAddr, path::Path};
use tonic::{Response, Status, transport::Channel};

pub(crate) type Outcome<T = ()> = Result<T, String>;

/// A plugin whose lifecycle is noted, with these steps.
pub(crate) fn alive(name: &'static str, steps: Value) -> Plugin {
    crate::world::plugin(name, json!([])).life(steps)
}

/// What a manifest requires of others: `(name, constraint)`.
pub(crate) fn requires(needs: &[(&str, &str)]) -> Value {
    let need = |(name, version): &(&str, &str)| json!({"name": name, "version": version});
    json!({"dependencies": needs.iter().map(need).collect::<Vec<_>>()})
}

impl World {
    /// A sidecar without plugins, which are loaded by calls.
    pub(crate) async fn idle() -> Self {
        let mut world = Self::new();
        world.configure(&[]);
        world.start();
        world.answering().await;
        world
    }

    /// Starts with these plugins, once `go` has let them.
    pub(crate) async fn boot(&mut self, plugins: &[Plugin]) {
        plugins.iter().for_each(|p| self.install(p));
        self.configure(plugins);
        self.start();
        for plugin in plugins {
            self.until_status(plugin.name, "running").await;
        }
    }

    pub(crate) async fn answering(&self) {
        self.until("the sidecar to answer", || async { self.health("nobody").await.is_ok() }).await;
    }

    /// Installs and loads, with configuration, permissions and priority of its entry.
    pub(crate) async fn load(&self, plugin: &Plugin) -> Outcome {
        self.install(plugin);
        let mut entry = plugin.entry.clone();
        // For the trace, whose socket is not in the plugin's own directory.
        entry["permissions"]["filesystem"] = json!(true);
        self.load_path(&format!("./plugins/{}", plugin.name), &entry).await
    }

    pub(crate) async fn load_path(&self, path: &str, entry: &Value) -> Outcome {
        let granted = entry["permissions"].as_object().into_iter().flatten();
        let config = PluginConfig {
            enabled: entry["enabled"].as_bool(),
            config: entry["config"].as_object().map(Map::from),
            permissions: granted.filter(|(_, on)| **on == json!(true)).map(|(name, _)| name.clone()).collect(),
            priority: entry["priority"].as_i64().map(|p| p.try_into().unwrap()),
        };
        let request = LoadRequest { path: path.into(), config: Some(config) };
        done(self.caller().await.load(request).await)
    }

    /// Loads, initialises and starts.
    pub(crate) async fn running(&self, plugin: &Plugin) {
        self.load(plugin).await.unwrap();
        self.initialize_all().await.unwrap();
        self.start_all().await.unwrap();
    }

    pub(crate) async fn load_config(&self, path: &str) -> Outcome {
        done(self.caller().await.load_from_config(LoadFromConfigRequest { path: path.into() }).await)
    }

    pub(crate) async fn unload(&self, name: &str) -> Outcome {
        done(self.caller().await.unload(PluginName { name: name.into() }).await)
    }

    pub(crate) async fn initialize_all(&self) -> Outcome {
        done(self.caller().await.initialize_all(Empty {}).await)
    }

    pub(crate) async fn start_all(&self) -> Outcome {
        done(self.caller().await.start_all(Empty {}).await)
    }

    pub(crate) async fn stop_all(&self) -> Outcome {
        done(self.caller().await.stop_all(Empty {}).await)
    }

    /// ReloadPlugin.
    pub(crate) async fn reload_plugin(&self, name: &str) -> Outcome {
        self.reload(name).await.map_err(text)
    }

    /// ReloadPluginWithConfig.
    pub(crate) async fn reload_with(&self, name: &str, config: ReloadConfig) -> Outcome {
        done(self.caller().await.reload(ReloadRequest { name: name.into(), config: Some(config) }).await)
    }

    pub(crate) async fn get_plugin(&self, name: &str) -> Outcome<PluginInfo> {
        given(self.caller().await.get_plugin(PluginName { name: name.into() }).await)
    }

    pub(crate) async fn list_plugins(&self) -> Vec<PluginInfo> {
        given(self.caller().await.list_plugins(Empty {}).await).unwrap().plugins
    }

    /// The names of all plugins, in load order.
    pub(crate) async fn names(&self) -> Vec<String> {
        self.list_plugins().await.into_iter().map(|info| info.name).collect()
    }

    pub(crate) async fn is_loaded(&self, name: &str) -> bool {
        given(self.caller().await.is_loaded(PluginName { name: name.into() }).await).unwrap().loaded
    }

    pub(crate) async fn resolve_dependencies(&self) -> Outcome {
        done(self.caller().await.resolve_dependencies(Empty {}).await)
    }

    /// As JSON, so that it reads like the reference's.
    pub(crate) async fn dependency_graph(&self) -> Value {
        let graph = given(self.caller().await.get_dependency_graph(Empty {}).await).unwrap();
        let sorted: BTreeMap<_, _> = graph.plugins.into_iter().map(|(name, names)| (name, names.names)).collect();
        json!(sorted)
    }

    pub(crate) async fn status(&self, name: &str) -> String {
        self.health(name).await.unwrap().status
    }

    pub(crate) async fn last_error(&self, name: &str) -> String {
        self.health(name).await.unwrap().last_error
    }

    async fn caller(&self) -> PluginManagerClient<Channel> {
        self.manager().await.unwrap()
    }

    /// Where metrics and admin calls are served.
    pub(crate) fn admin(&self) -> SocketAddr {
        let log = self.log();
        let (_, address) = log.split_once("admin on http://").expect("it does not serve yet");
        address.lines().next().unwrap().parse().unwrap()
    }

    pub(crate) async fn post(&self, path: &str) -> Answer {
        http::request(self.admin(), "POST", path, &[], "").await
    }

    pub(crate) async fn metrics(&self) -> String {
        http::get(self.admin(), "/metrics").await.body
    }

    /// What the admin's list says of a plugin.
    pub(crate) async fn listed(&self, name: &str) -> Value {
        let answer = http::request(self.admin(), "GET", "/admin/plugins", &[self.token().header()], "").await;
        let list: Value = serde_json::from_str(&answer.body).unwrap();
        list["plugins"].as_array().unwrap().iter().find(|p| p["name"] == name).cloned().unwrap_or_default()
    }

    /// Waits until so many requests are held.
    pub(crate) async fn until_queued(&self, name: &str, count: usize) {
        let what = format!("{count} requests in the queue of {name}");
        self.until(&what, || async { self.listed(name).await["queued"] == json!(count) }).await;
    }

    /// Lets a `wait NAME` in a plugin go on.
    pub(crate) fn go(&self, name: &str) {
        fs::write(self.path().join(format!("go-{name}")), "").unwrap();
    }

    /// Has the next `wait NAME` wait again.
    pub(crate) fn halt(&self, name: &str) {
        fs::remove_file(self.path().join(format!("go-{name}"))).unwrap();
    }

    /// Waits until the trace has this line.
    pub(crate) async fn until_traced(&self, line: &str) {
        self.until(line, || async { self.trace().iter().any(|l| l == line) }).await;
    }

    /// The processes of a plugin that run the program named as it.
    pub(crate) fn processes(&self, plugin: &str) -> usize {
        let ours = self.path().to_str().unwrap();
        let entries =
            fs::read_dir("/proc").unwrap().filter_map(|entry| fs::read_link(entry.ok()?.path().join("exe")).ok());
        entries.filter(|exe| exe.starts_with(ours) && exe.file_name().is_some_and(|name| name == plugin)).count()
    }

    /// The private directories, with sockets, of plugins that live.
    pub(crate) fn directories(&self) -> usize {
        fs::read_dir(self.path().join("run/p")).map_or(0, Iterator::count)
    }

    /// The sidecar's open files and sockets.
    pub(crate) fn descriptors(&self) -> usize {
        let is_ours = |process: &Path| {
            let link = |name: &str| fs::read_link(process.join(name)).unwrap_or_default();
            link("exe").ends_with("rockstar-sidecar") && link("cwd") == self.path()
        };
        let mut processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
        fs::read_dir(processes.find(|p| is_ours(p)).unwrap().join("fd")).unwrap().count()
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        let path = self.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    }

    /// What a `config` step left in the trace last.
    pub(crate) fn noted_config(&self, plugin: &str) -> Value {
        self.noted(&format!("{plugin}.config ")).pop().expect("no configuration in the trace")
    }

    /// What lines of the trace with this beginning say.
    pub(crate) fn noted(&self, beginning: &str) -> Vec<Value> {
        let trace = self.trace();
        let texts = trace.iter().filter_map(|line| line.strip_prefix(beginning));
        texts.map(|text| serde_json::from_str(text).unwrap()).collect()
    }
}

fn done<T>(answer: Result<Response<T>, Status>) -> Outcome {
    given(answer).map(|_| ())
}

fn given<T>(answer: Result<Response<T>, Status>) -> Outcome<T> {
    answer.map(Response::into_inner).map_err(text)
}

fn text(status: Status) -> String {
    status.message().to_owned()
}
