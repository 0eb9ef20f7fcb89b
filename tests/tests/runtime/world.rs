//! A directory with a sidecar, its plugins, and the trace that hooks and handlers leave.

use crate::trace::Trace;
pub(crate) use crate::trace::Tracer;
use hyper_util::rt::TokioIo;
use rockstar_proto::app::{PluginHealth, PluginName, ReloadRequest, plugin_manager_client::PluginManagerClient};
use serde_json::{Value, json};
use std::{
    cell::RefCell,
    env,
    fs::{self, OpenOptions},
    future::Future,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::Duration,
};
use tokio::{net::UnixStream, time::sleep};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

/// The most that anything is waited for.
const CAP: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(10);

/// A plugin of the world, with its entry in the plugins file.
#[derive(Clone)]
pub(crate) struct Plugin {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    pub(crate) hooks: Value,
    pub(crate) entry: Value,
    /// Over the manifest that is made of the rest.
    pub(crate) manifest: Value,
}

/// A scripted plugin with these hooks.
pub(crate) fn plugin(name: &'static str, hooks: Value) -> Plugin {
    Plugin { name, version: "1.0.0", hooks, entry: json!({}), manifest: json!({}) }
}

impl Plugin {
    /// The same with more in its entry.
    pub(crate) fn with(mut self, entry: Value) -> Self {
        self.entry.as_object_mut().unwrap().extend(entry.as_object().unwrap().clone());
        self
    }

    pub(crate) fn open(self) -> Self {
        self.with(json!({"failure_policy": "open"}))
    }

    /// The same with more in its manifest.
    pub(crate) fn manifest(mut self, manifest: Value) -> Self {
        merge(&mut self.manifest, &manifest);
        self
    }

    /// With these steps in its lifecycle methods, all of which leave a trace: `{"Start": "fail no"}`.
    pub(crate) fn life(self, steps: Value) -> Self {
        self.manifest(json!({"config": {"life": {"type": "object", "default": steps}}}))
    }

    pub(crate) fn version(mut self, version: &'static str) -> Self {
        self.version = version;
        self
    }
}

pub(crate) struct World {
    /// Ends before its socket's directory does.
    trace: Trace,
    directory: tempfile::TempDir,
    sidecar: Option<Child>,
    /// What plugins with the permission `filesystem` may use.
    pub(crate) volumes: Vec<PathBuf>,
    /// What the plugins file says of what one plugin may take.
    pub(crate) limits: Value,
    authorities: Option<PathBuf>,
    /// Where admin is served; 0 = any port.
    admin_port: u16,
}

impl World {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let trace = Trace::at(&directory.path().join("trace"));
        Self {
            directory,
            sidecar: None,
            volumes: Vec::new(),
            limits: json!({}),
            authorities: None,
            admin_port: 0,
            trace,
        }
    }

    /// All plugins installed, the sidecar running, every plugin too.
    pub(crate) async fn started(plugins: &[Plugin]) -> Self {
        let mut world = Self::new();
        plugins.iter().for_each(|p| world.install(p));
        world.configure(plugins);
        world.start();
        for plugin in plugins {
            world.until_status(plugin.name, "running").await;
        }
        world
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path().join("app.sock")
    }

    /// Puts a version's files on disk, in place of what is there.
    pub(crate) fn install(&self, plugin: &Plugin) {
        let directory = self.directory_of(plugin.name);
        fs::create_dir_all(&directory).unwrap();
        let hooks = json!({"type": "array", "default": plugin.hooks});
        let trace = json!({"type": "string", "default": self.trace_file()});
        let mut manifest = json!({
            "name": plugin.name, "version": plugin.version, "description": "A test", "author": "Me",
            "config": {"hooks": hooks, "trace": trace}, "permissions": {"filesystem": true},
        });
        merge(&mut manifest, &plugin.manifest);
        fs::write(directory.join("plugin.json"), manifest.to_string()).unwrap();
        let program = directory.join(plugin.name);
        if !program.exists() {
            fs::copy(env!("CARGO_BIN_EXE_scripted-plugin"), program).unwrap();
        }
    }

    pub(crate) fn directory_of(&self, plugin: &str) -> PathBuf {
        self.path().join("plugins").join(plugin)
    }

    /// Writes the plugins file; a running sidecar follows it.
    pub(crate) fn configure(&self, plugins: &[Plugin]) {
        let entry = |plugin: &Plugin| {
            let mut entry = plugin.clone().with(json!({"name": plugin.name})).entry;
            // For the trace, which is not in the plugin's own directory.
            entry["permissions"]["filesystem"] = json!(true);
            entry
        };
        self.write_file(json!(plugins.iter().map(entry).collect::<Vec<_>>()));
    }

    pub(crate) fn write_file(&self, entries: Value) {
        let plugins = json!({"plugins": entries});
        let file = json!({"framework": {"version": "1.5.0"}, "limits": self.limits, "plugins": plugins});
        fs::write(self.path().join("new"), file.to_string()).unwrap();
        fs::rename(self.path().join("new"), self.path().join("plugins.json")).unwrap();
    }

    /// The sidecar, when it is started, trusts no other authorities than those of the file.
    pub(crate) fn trust(&mut self, file: PathBuf) {
        self.authorities = Some(file);
    }

    /// The sidecar, when it is started, serves admin on this port.
    pub(crate) fn serve_admin_at(&mut self, port: u16) {
        self.admin_port = port;
    }

    pub(crate) fn start(&mut self) {
        self.start_with("plugins.json");
    }

    /// With that plugins file.
    pub(crate) fn start_with(&mut self, file: &str) {
        let log = OpenOptions::new().append(true).create(true).open(self.path().join("log")).unwrap();
        // For the trace.
        let volumes = if self.volumes.is_empty() { vec![self.path().to_owned()] } else { self.volumes.clone() };
        let sidecar = Command::new(built("rockstar-sidecar"))
            .args(["--config", file, "--socket", "app.sock", "--admin", &format!("127.0.0.1:{}", self.admin_port)])
            .args(["--run-dir", "run", "--data-dir", "data"])
            .args(volumes.iter().flat_map(|volume| [Path::new("--volume"), volume]))
            .envs(self.authorities.iter().map(|file| ("SSL_CERT_FILE", file)))
            .current_dir(self.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        self.sidecar = Some(sidecar.unwrap());
    }

    /// What admin calls need.
    pub(crate) fn token(&self) -> Token {
        let token = fs::read_to_string(self.path().join("run/admin.token")).unwrap();
        Token(format!("Bearer {token}"))
    }

    pub(crate) fn signal(&self, signal: &str) {
        kill(signal, self.sidecar.as_ref().unwrap().id());
    }

    pub(crate) fn pid(&self) -> u32 {
        self.sidecar.as_ref().unwrap().id()
    }

    /// Kills the sidecar and waits for its end.
    pub(crate) fn kill(&mut self) {
        let mut sidecar = self.sidecar.take().unwrap();
        sidecar.kill().unwrap();
        sidecar.wait().unwrap();
    }

    /// Waits for the end of a sidecar that was told to end.
    pub(crate) async fn ended(&mut self) {
        let mut sidecar = self.sidecar.take().unwrap();
        let ended = RefCell::new(&mut sidecar);
        self.until("the end", || async { ended.borrow_mut().try_wait().unwrap().is_some() }).await;
    }

    /// The process of a plugin.
    pub(crate) fn pid_of(&self, plugin: &str) -> Option<u32> {
        let ours = self.path().to_str().unwrap();
        let runs = |pid: &u32| {
            let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
            program.starts_with(ours) && program.file_name().is_some_and(|name| name == plugin)
        };
        let processes = fs::read_dir("/proc").unwrap().filter_map(|e| e.unwrap().file_name().to_str()?.parse().ok());
        processes.into_iter().find(runs)
    }

    pub(crate) fn kill_plugin(&self, plugin: &str) {
        kill("-KILL", self.pid_of(plugin).expect("no such process"));
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path().join("log")).unwrap_or_default()
    }

    fn trace_file(&self) -> PathBuf {
        self.path().join("trace")
    }

    pub(crate) fn tracer(&self) -> Tracer {
        self.trace.tracer().clone()
    }

    pub(crate) fn trace(&self) -> Vec<String> {
        self.trace.tracer().lines()
    }

    /// Waits until the trace has so many lines, and gives them.
    pub(crate) async fn traced(&self, count: usize) -> Vec<String> {
        self.until(&format!("{count} lines of trace"), || async { self.trace().len() >= count }).await;
        self.trace()
    }

    pub(crate) fn forget_trace(&self) {
        self.trace.tracer().forget();
    }

    pub(crate) async fn until<F: Future<Output = bool>>(&self, what: &str, mut holds: impl FnMut() -> F) {
        for _ in 0..CAP.as_millis() / STEP.as_millis() {
            if holds().await {
                return;
            }
            sleep(STEP).await;
        }
        panic!("waited in vain for {what}\ntrace: {:#?}\nlog:\n{}", self.trace(), self.log());
    }

    pub(crate) async fn until_log(&self, text: &str) {
        self.until(text, || async { self.log().contains(text) }).await;
    }

    pub(crate) async fn until_status(&self, plugin: &str, status: &str) {
        let what = format!("{plugin} to be {status}");
        self.until(&what, || async { self.health(plugin).await.is_ok_and(|h| h.status == status) }).await;
    }

    pub(crate) async fn channel(&self) -> Result<Channel, tonic::transport::Error> {
        let path = self.socket();
        let connector = tower::service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        Endpoint::from_static("http://localhost").connect_with_connector(connector).await
    }

    pub(crate) async fn manager(&self) -> Result<PluginManagerClient<Channel>, Status> {
        let channel = self.channel().await.map_err(|e| Status::unavailable(e.to_string()))?;
        Ok(PluginManagerClient::new(channel))
    }

    pub(crate) async fn health(&self, plugin: &str) -> Result<PluginHealth, Status> {
        let name = PluginName { name: plugin.into() };
        Ok(self.manager().await?.get_plugin_health(name).await?.into_inner())
    }

    pub(crate) async fn version(&self, plugin: &str) -> String {
        let name = PluginName { name: plugin.into() };
        self.manager().await.unwrap().get_plugin(name).await.unwrap().into_inner().version
    }

    pub(crate) async fn reload(&self, plugin: &str) -> Result<(), Status> {
        let request = ReloadRequest { name: plugin.into(), config: None };
        self.manager().await?.reload(request).await.map(|_| ())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(mut sidecar) = self.sidecar.take() {
            // A stopped process would not hear of the end.
            kill("-CONT", sidecar.id());
            kill("-TERM", sidecar.id());
            let ended = (0..CAP.as_millis() / STEP.as_millis()).any(|_| {
                std::thread::sleep(STEP);
                sidecar.try_wait().is_ok_and(|status| status.is_some())
            });
            if !ended {
                sidecar.kill().ok();
                sidecar.wait().ok();
            }
        }
        if std::thread::panicking() {
            eprintln!("trace: {:#?}\nlog:\n{}", self.trace(), self.log());
        }
    }
}

/// The sidecar's admin token, as a header.
pub(crate) struct Token(String);

impl Token {
    pub(crate) fn header(&self) -> (&str, &str) {
        ("authorization", &self.0)
    }
}

/// Objects key by key, all else as a whole.
fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            from.iter().for_each(|(key, value)| merge(into.entry(key).or_insert(Value::Null), value));
        }
        (into, from) => *into = from.clone(),
    }
}

/// Says that this machine lacks what a test needs. CI's must not.
pub(crate) fn skipped(why: &str) {
    assert!(env::var_os("CI").is_none(), "with CI set no test may be skipped: {why}");
    eprintln!("SKIPPED: {why}");
}

pub(crate) fn kill(signal: &str, pid: u32) {
    Command::new("kill").args([signal, &pid.to_string()]).status().unwrap();
}

/// A program of this workspace, in the profile of this test; cargo builds it if it is not there or old.
pub(crate) fn built(program: &str) -> PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY
        .get_or_init(|| {
            let directory = Path::new(env!("CARGO_BIN_EXE_scripted-plugin")).parent().unwrap().to_owned();
            let mut cargo = Command::new(env!("CARGO"));
            // As `cargo test --workspace` builds them: other features would mean another build of everything.
            cargo.args(["build", "--quiet", "--workspace", "--bins", "--tests", "--target-dir"]);
            cargo.arg(directory.parent().unwrap());
            if !cfg!(debug_assertions) {
                cargo.arg("--release");
            }
            assert!(cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap().success(), "failed to build");
            directory
        })
        .join(program)
}
