//! The commands for a running sidecar, against one without plugins that runs inside the test.

use crate::support::{free_port, plugin, rockstar, stderr, stdout, within};
use rockstar_sidecar::{app, args::Arguments};
use serde_json::{Value, json};
use std::{
    fs,
    net::TcpStream,
    path::Path,
    process::Output,
    thread::{self, JoinHandle},
};
use tempfile::TempDir;
use tokio::{runtime::Runtime, sync::oneshot};

struct Sidecar {
    admin: String,
    _files: TempDir,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Sidecar {
    fn start() -> Self {
        let files = tempfile::tempdir().unwrap();
        let path = |name: &str| files.path().join(name);
        fs::write(path("plugins.yaml"), "plugins: {plugins: [{name: off, enabled: false}]}").unwrap();
        let admin = format!("127.0.0.1:{}", free_port());
        let arguments = Arguments {
            config: Some(path("plugins.yaml")),
            control: None,
            socket: Some(path("app.sock")),
            run_dir: Some(path("run")),
            data_dir: Some(path("data")),
            admin: Some(admin.parse().unwrap()),
            ..arguments()
        };
        let (end, ended) = oneshot::channel::<()>();
        let thread = thread::spawn(move || {
            Runtime::new().unwrap().block_on(async {
                tokio::select! {
                    done = app::run(arguments) => done.unwrap(),
                    _ = ended => {}
                }
            });
        });
        within("the sidecar listens", || TcpStream::connect(&admin).is_ok());
        let this = Self { admin, _files: files, end: Some(end), thread: Some(thread) };
        within("its file is loaded", || stdout(&this.run(&["list"])).contains("off"));
        this
    }

    fn run(&self, arguments: &[&str]) -> Output {
        rockstar(&[arguments, &["--admin", &self.admin]].concat())
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn arguments() -> Arguments {
    <Arguments as clap::Parser>::parse_from(["rockstar-sidecar", "--config", "-"])
}

fn refused(output: &Output, text: &str) {
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(stderr(output).trim_end(), format!("error: {text}"));
}

#[test]
fn questions_are_answered_as_text_and_as_json() {
    let sidecar = Sidecar::start();
    let list = sidecar.run(&["list"]);
    assert_eq!((list.status.code(), stdout(&list).as_str()), (Some(0), "Plugin: off v - Status: unloaded\n"));
    let json_list: Value = serde_json::from_str(&stdout(&sidecar.run(&["list", "-o", "json"]))).unwrap();
    assert_eq!(json_list["plugins"][0]["name"], "off");
    assert_eq!(stdout(&sidecar.run(&["health"])), "off: unloaded, 0 errors\n");
    assert_eq!(stdout(&sidecar.run(&["health", "nope"])), "Status: unloaded\nError Count: 0\n");
    let why = stdout(&sidecar.run(&["why", "off"]));
    assert_eq!(why, "Plugin off is unloaded: its entry says enabled: false\n");
    let graph: Value = serde_json::from_str(&stdout(&sidecar.run(&["graph", "-o", "json"]))).unwrap();
    assert_eq!(graph, json!({"plugins": {}, "order": ["off"], "problems": []}));
    let metrics = stdout(&sidecar.run(&["metrics", "off"]));
    assert!(metrics.contains("plugin.error.count 0\n"), "{metrics}");
}

#[test]
fn what_the_sidecar_refuses_is_said_in_its_words() {
    let sidecar = Sidecar::start();
    for command in ["get", "why", "metrics", "unload", "reload", "threshold"] {
        refused(&sidecar.run(&[command, "nope"]), "plugin not found: 'nope'");
    }
    let absent = Path::new("/nonexistent/p");
    let text = format!("failed to load plugin: plugin file not found: {}", absent.display());
    refused(&sidecar.run(&["load", "/nonexistent/p"]), &text);
    refused(&sidecar.run(&["load", "/p", "--permission", "all"]), "unknown permission: all");
    let set = sidecar.run(&["threshold", "off", "--max-errors", "7", "--action", "log"]);
    assert_eq!(stdout(&set), "Error threshold of plugin off set\n");
    let health = stdout(&sidecar.run(&["health", "off"]));
    assert!(health.contains("Error threshold: 7 errors in 5m: log\n"), "{health}");
    refused(&sidecar.run(&["threshold", "off", "--time-window", "0s"]), "timeWindow must be above 0");
}

#[test]
fn all_plugins_are_called_at_once() {
    let sidecar = Sidecar::start();
    for (command, now) in [("initialize", "initialised"), ("start", "started"), ("stop", "stopped")] {
        let output = sidecar.run(&[command]);
        assert_eq!((output.status.code(), stdout(&output)), (Some(0), format!("All loaded plugins {now}\n")));
        let answer: Value = serde_json::from_str(&stdout(&sidecar.run(&[command, "-o", "json"]))).unwrap();
        assert_eq!(answer, json!({"ok": true}));
    }
}

#[test]
fn another_plugins_file_takes_the_place_of_the_first() {
    let sidecar = Sidecar::start();
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("other.yaml").display().to_string();
    fs::write(&file, "plugins: {plugins: [{name: other, enabled: false}]}").unwrap();
    let loaded = sidecar.run(&["load-config", &file]);
    assert_eq!(stdout(&loaded), format!("Configuration loaded: {file}: 0 plugins run\n"));
    assert_eq!(stdout(&sidecar.run(&["list"])), "Plugin: other v - Status: unloaded\n");
    let answer: Value = serde_json::from_str(&stdout(&sidecar.run(&["load-config", &file, "-o", "json"]))).unwrap();
    assert_eq!(answer, json!({"path": file, "running": 0}));
    let absent = "failed to read /nonexistent/p.yaml: No such file or directory (os error 2)";
    refused(&sidecar.run(&["load-config", "/nonexistent/p.yaml"]), absent);
}

#[test]
fn a_disabled_plugin_is_only_listed() {
    let sidecar = Sidecar::start();
    let files = plugin("auth-plugin", "1.2.0");
    let path = files.path().to_str().unwrap();
    let load = sidecar.run(&["load", path, "--disabled"]);
    assert_eq!((load.status.code(), stdout(&load)), (Some(0), format!("Plugin listed as disabled: {path}\n")));
    let list = stdout(&sidecar.run(&["list"]));
    assert!(list.contains("Plugin: auth-plugin v1.2.0 - Status: unloaded\n"), "{list}");
    let why = stdout(&sidecar.run(&["why", "auth-plugin"]));
    assert_eq!(why, "Plugin auth-plugin is unloaded: its entry says enabled: false\n");
    assert_eq!(sidecar.run(&["load", path, "--disabled", "--start"]).status.code(), Some(2));
}

#[test]
fn nobody_there_is_said_so() {
    let address = format!("127.0.0.1:{}", free_port());
    let output = rockstar(&["list", "--admin", &address]);
    refused(
        &output,
        &format!(
            "cannot reach the sidecar at http://{address}: nothing listens there; is the sidecar running, and is --admin its admin address?"
        ),
    );
    assert_eq!(rockstar(&["threshold", "p", "--action", "explode"]).status.code(), Some(2));
}
