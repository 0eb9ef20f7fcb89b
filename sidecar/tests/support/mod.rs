//! A real sidecar in a directory of its own, with plugins that note their calls.
#![allow(dead_code, reason = "each test uses its part")]

use hyper_util::rt::TokioIo;
use rockstar_proto::{
    app::{
        AppFrame, Enter, PluginHealth, PluginInfo, PluginName, app_frame, host_frame, pipeline_client::PipelineClient,
        plugin_manager_client::PluginManagerClient,
    },
    types::{Empty, Request},
};
use std::{
    fs::{self, File},
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

/// The most that anything is waited for.
const CAP: Duration = Duration::from_secs(20);
/// What every manifest declares; each test grants its part.
const DECLARED: &str = "permissions: {filesystem: true, network: true}";
/// For the file that calls are noted in, which is not in the plugin's own directory.
const GRANT: &str = "permissions: {filesystem: true}";

pub(crate) struct Sidecar {
    pub(crate) directory: tempfile::TempDir,
    child: Option<Child>,
}

/// What a plugin is made of.
#[derive(Clone)]
pub(crate) struct Plugin {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    pub(crate) manifest: &'static str,
    pub(crate) behave: &'static str,
    pub(crate) entry: &'static str,
}

pub(crate) const fn plugin(name: &'static str) -> Plugin {
    Plugin { name, version: "1.0.0", manifest: "", behave: "", entry: "" }
}

/// The example that was built with the tests.
fn probe() -> PathBuf {
    let probe = Path::new(env!("CARGO_BIN_EXE_rockstar-sidecar")).parent().unwrap().join("examples/probe");
    assert!(probe.exists(), "build the example first: cargo build -p rockstar-sidecar --example probe");
    probe
}

impl Sidecar {
    /// Not started yet.
    pub(crate) fn new(plugins: &[Plugin]) -> Self {
        let sidecar = Self { directory: tempfile::tempdir().unwrap(), child: None };
        plugins.iter().for_each(|p| sidecar.install(p));
        sidecar.configure(plugins);
        sidecar
    }

    pub(crate) async fn started(plugins: &[Plugin]) -> Self {
        let mut sidecar = Self::new(plugins);
        sidecar.start(&[]);
        sidecar.until_log("admin on http://").await;
        sidecar
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Puts a version's files on disk, in place of what is there.
    pub(crate) fn install(&self, plugin: &Plugin) {
        let directory = self.path().join("plugins").join(plugin.name);
        fs::create_dir_all(&directory).unwrap();
        let (name, version) = (plugin.name, plugin.version);
        let manifest = format!(
            "name: {name}\nversion: {version}\ndescription: A test\nauthor: Me\n{}\n{DECLARED}\n",
            plugin.manifest
        );
        fs::write(directory.join("plugin.yaml"), manifest).unwrap();
        fs::write(directory.join("behave"), plugin.behave).unwrap();
        let program = directory.join(name);
        if !program.exists() {
            symlink(probe(), program).unwrap();
        }
    }

    pub(crate) fn program(&self, name: &str, text: &str, mode: u32) {
        let program = self.path().join("plugins").join(name).join(name);
        fs::remove_file(&program).unwrap();
        fs::write(&program, text).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Writes the plugins file.
    pub(crate) fn configure(&self, plugins: &[Plugin]) {
        let mut text = "plugins:\n  plugins:\n".to_owned();
        for plugin in plugins {
            let log = self.calls_path();
            text += &format!("  - name: {}\n    env: {{PROBE_LOG: {}}}\n    {GRANT}\n", plugin.name, log.display());
            plugin.entry.lines().for_each(|line| text += &format!("    {line}\n"));
        }
        fs::write(self.path().join("new"), text).unwrap();
        fs::rename(self.path().join("new"), self.path().join("plugins.yaml")).unwrap();
    }

    pub(crate) fn start(&mut self, arguments: &[&str]) {
        self.start_as(&[&["--config", "plugins.yaml"], arguments].concat());
    }

    pub(crate) fn start_as(&mut self, arguments: &[&str]) {
        let log = File::create(self.path().join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_rockstar-sidecar"))
            .args(["--socket", "app.sock", "--admin", "127.0.0.1:0", "--log-format", "text"])
            .args(["--run-dir", "run", "--data-dir", "data", "--volume"])
            .arg(self.path())
            .args(arguments)
            .current_dir(self.path())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .stdin(Stdio::null())
            .spawn();
        self.child = Some(child.unwrap());
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    pub(crate) async fn exit(&mut self) -> ExitStatus {
        for _ in 0..CAP.as_millis() / 10 {
            if let Some(status) = self.child.as_mut().unwrap().try_wait().unwrap() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the sidecar did not end:\n{}", self.log());
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn calls_path(&self) -> PathBuf {
        self.path().join("calls")
    }

    /// Lifecycle calls of all plugins so far, in order.
    pub(crate) fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.calls_path()).unwrap_or_default();
        text.lines().filter(|l| !l.contains(" config ")).map(str::to_owned).collect()
    }

    pub(crate) async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        for _ in 0..CAP.as_millis() / 10 {
            if holds() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("waited in vain for {what}\ncalls: {:?}\nlog:\n{}", self.calls(), self.log());
    }

    pub(crate) async fn until_log(&self, text: &str) {
        self.until(text, || self.log().contains(text)).await;
    }

    pub(crate) async fn until_status(&self, name: &str, status: &str) {
        for _ in 0..CAP.as_millis() / 10 {
            if self.get(name).await.is_ok_and(|p| p.status == status) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{name} is not {status}: {:?}\n{}", self.get(name).await, self.log());
    }

    pub(crate) async fn client(&self) -> PluginManagerClient<Channel> {
        PluginManagerClient::new(self.channel().await)
    }

    /// The status that the plugins answer a request with; none: the application would handle it.
    pub(crate) async fn request(&self, path: &str) -> Option<u32> {
        let request = Request { method: "GET".into(), path: path.into(), ..Request::default() };
        let enter = Enter { request: Some(request), timeout_ms: 15_000, ..Enter::default() };
        let frame = AppFrame { frame: Some(app_frame::Frame::Enter(enter)), ..AppFrame::default() };
        let mut client = PipelineClient::new(self.channel().await);
        match client.begin(frame).await.unwrap().into_inner().frame {
            Some(host_frame::Frame::Answer(answer)) => Some(answer.status),
            _ => None,
        }
    }

    /// Connects as an application does.
    async fn channel(&self) -> Channel {
        let path = self.path().join("app.sock");
        let connector = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        Endpoint::from_static("http://localhost").connect_with_connector(connector).await.unwrap()
    }

    pub(crate) async fn get(&self, name: &str) -> Result<PluginInfo, tonic::Status> {
        let name = PluginName { name: name.into() };
        Ok(self.client().await.get_plugin(name).await?.into_inner())
    }

    pub(crate) async fn list(&self) -> Vec<PluginInfo> {
        self.client().await.list_plugins(Empty {}).await.unwrap().into_inner().plugins
    }

    pub(crate) async fn health(&self, name: &str) -> PluginHealth {
        let name = PluginName { name: name.into() };
        self.client().await.get_plugin_health(name).await.unwrap().into_inner()
    }

    /// Status code and body.
    pub(crate) fn http(&self, method: &str, path: &str) -> (u16, String) {
        let log = self.log();
        let address = log.split("admin on http://").nth(1).unwrap().lines().next().unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let code = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (code, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
    }

    /// Processes that this sidecar started and that still are.
    pub(crate) fn processes(&self) -> Vec<String> {
        let data = self.path().join("data").display().to_string();
        let name = |pid: &str| fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        fs::read_dir("/proc")
            .unwrap()
            .filter_map(|e| e.ok()?.file_name().into_string().ok())
            .filter(|pid| name(pid).starts_with(&data))
            .collect()
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            child.kill().ok();
            child.wait().ok();
        }
    }
}
