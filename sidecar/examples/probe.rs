//! A plugin for tests: it writes each lifecycle call to a file and misbehaves as the file `behave` beside its manifest
//! says: `fail CALL TEXT`, `exit CALL CODE`, `hang CALL`, `sleep CALL MS`, `panic CALL TEXT`, `exit-after MS CODE`.
#![allow(clippy::unwrap_used, clippy::panic)]

use rockstar_plugin::{Plugin, PluginConfig, PluginContext, Result, async_trait};
use std::{fs::OpenOptions, io::Write, path::PathBuf, time::Duration};

struct Probe {
    behaviour: Vec<Vec<String>>,
}

impl Probe {
    async fn call(&self, name: &str, detail: &str) -> Result {
        note(&format!("{name}{detail}"));
        let rule = self.behaviour.iter().find(|rule| rule.get(1).is_some_and(|call| call == name));
        let rest = rule.map(|rule| rule[2..].join(" ")).unwrap_or_default();
        match rule.map(|rule| rule[0].as_str()) {
            Some("fail") => Err(rest.into()),
            Some("exit") => {
                eprintln!("giving up in {name}");
                std::process::exit(rest.parse()?)
            }
            Some("sleep") => {
                tokio::time::sleep(Duration::from_millis(rest.parse()?)).await;
                Ok(())
            }
            Some("hang") => std::future::pending().await,
            Some("panic") => panic!("{rest}"),
            _ => Ok(()),
        }
    }

    fn exit_later(&self) {
        if let Some(rule) = self.behaviour.iter().find(|rule| rule[0] == "exit-after") {
            let (pause, code) = (rule[1].parse().unwrap(), rule[2].parse().unwrap());
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(pause));
                std::process::exit(code)
            });
        }
    }
}

fn directory() -> PathBuf {
    std::env::var_os("ROCKSTAR_PLUGIN_DIR").unwrap().into()
}

fn note(line: &str) {
    let Some(path) = std::env::var_os("PROBE_LOG") else { return };
    let name = std::env::var("ROCKSTAR_PLUGIN_NAME").unwrap();
    let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
    writeln!(file, "{name} {line}").unwrap();
}

#[async_trait]
impl Plugin for Probe {
    async fn initialize(&mut self, ctx: PluginContext) -> Result {
        let config = ctx.plugin_config();
        note(&format!("config {}", serde_json::to_string(config.values())?));
        self.call("initialize", &format!(" v{}", self.version())).await
    }

    async fn start(&mut self) -> Result {
        self.exit_later();
        self.call("start", "").await
    }

    async fn stop(&mut self) -> Result {
        self.call("stop", "").await
    }

    async fn cleanup(&mut self) -> Result {
        self.call("cleanup", "").await
    }

    async fn on_config_change(&mut self, config: PluginConfig) -> Result {
        self.call("on_config_change", &format!(" {}", serde_json::to_string(config.values())?)).await
    }
}

fn main() -> std::process::ExitCode {
    let rules = std::fs::read_to_string(directory().join("behave")).unwrap_or_default();
    let behaviour = rules.lines().map(|l| l.split(' ').map(str::to_owned).collect()).collect();
    rockstar_plugin::run(Probe { behaviour })
}
