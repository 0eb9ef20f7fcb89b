//! `rockstar list`, `load`, `health` and the like: the reference's PluginManager of a running sidecar, over its admin
//! address. Calls the sidecar, prints.

mod client;
mod show;

use crate::{
    args::{LoadArgs, LoadConfigArgs, ManageCommand, NamedArgs, Output, ReloadArgs, ServerArgs, ThresholdArgs},
    terminal,
};
use client::Client;
use serde_json::{Map, Value, json};
use std::process::ExitCode;

/// How the sidecar's words begin where a new version was tried.
const RELOAD_FAILED: &str = "plugin reload failed: new version ";

pub(crate) async fn run(command: ManageCommand) -> anyhow::Result<ExitCode> {
    match command {
        ManageCommand::List(args) => asked(&args, "/admin/plugins", show::list).await,
        ManageCommand::Get(args) => of_plugin(&args, "", show::plugin).await,
        ManageCommand::Why(args) => of_plugin(&args, "", show::why).await,
        ManageCommand::Metrics(args) => of_plugin(&args, "/metrics", show::metrics).await,
        ManageCommand::Graph(args) => asked(&args, "/admin/graph", show::graph).await,
        ManageCommand::Health(args) => match &args.name {
            Some(name) => asked(&args.server, &format!("/admin/plugins/{}/health", encoded(name)), show::health).await,
            None => asked(&args.server, "/admin/health", show::all_health).await,
        },
        ManageCommand::Load(args) => load(&args).await,
        ManageCommand::LoadConfig(args) => load_config(&args).await,
        ManageCommand::Initialize(args) => all(&args, "/admin/initialize", "initialised").await,
        ManageCommand::Start(args) => all(&args, "/admin/start", "started").await,
        ManageCommand::Stop(args) => all(&args, "/admin/stop", "stopped").await,
        ManageCommand::Unload(args) => {
            let path = format!("/admin/plugins/{}", encoded(&args.name));
            Client::new(&args.server)?.delete(&path).await?;
            done(&args.server, &format!("Plugin {} unloaded", args.name), json!({"plugin": args.name}))
        }
        ManageCommand::Reload(args) => reload(&args).await,
        ManageCommand::Threshold(args) => threshold(&args).await,
    }
}

/// Asks, and prints the answer as it is or as text.
async fn asked(server: &ServerArgs, path: &str, text: fn(&Value) -> String) -> anyhow::Result<ExitCode> {
    let answer = Client::new(server)?.get(path).await?;
    match server.output {
        Output::Json => println!("{answer:#}"),
        Output::Text => println!("{}", text(&answer).trim_end()),
    }
    Ok(ExitCode::SUCCESS)
}

async fn of_plugin(args: &NamedArgs, question: &str, text: fn(&Value) -> String) -> anyhow::Result<ExitCode> {
    asked(&args.server, &format!("/admin/plugins/{}{question}", encoded(&args.name)), text).await
}

async fn load(args: &LoadArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.server)?;
    let config = args.config.iter().map(|(key, value)| (key.clone(), value.clone())).collect::<Map<_, _>>();
    let path = std::path::absolute(&args.path)?;
    let mut body = json!({"path": path, "config": config, "permissions": args.permissions});
    if let Some(priority) = args.priority {
        body["priority"] = priority.into();
    }
    if args.disabled {
        body["enabled"] = false.into();
    }
    client.post("/admin/plugins", &body).await?;
    if args.start {
        client.post("/admin/initialize", &Value::Null).await?;
        client.post("/admin/start", &Value::Null).await?;
    }
    let what = match (args.disabled, args.start) {
        (true, _) => "listed as disabled",
        (false, true) => "loaded and started",
        (false, false) => "loaded",
    };
    done(&args.server, &format!("Plugin {what}: {}", args.path.display()), json!({"path": path}))
}

async fn load_config(args: &LoadConfigArgs) -> anyhow::Result<ExitCode> {
    let path = std::path::absolute(&args.file)?;
    let answer = Client::new(&args.server)?.post("/admin/load", &json!({"path": path})).await?;
    let running = &answer["running"];
    let text = format!("Configuration loaded: {}: {running} plugins run", args.file.display());
    done(&args.server, &text, json!({"path": path, "running": running}))
}

/// One call for all plugins.
async fn all(server: &ServerArgs, path: &str, now: &str) -> anyhow::Result<ExitCode> {
    let answer = Client::new(server)?.post(path, &Value::Null).await?;
    done(server, &format!("All loaded plugins {now}"), answer)
}

async fn reload(args: &ReloadArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.server)?;
    let plugin = format!("/admin/plugins/{}", encoded(&args.name));
    let Err(error) = client.post(&format!("{plugin}/reload"), &own_queue(args)).await else {
        return done(&args.server, &format!("Plugin {} reloaded", args.name), json!({"plugin": args.name}));
    };
    let code = terminal::fail(&error);
    if went_back(&client, &plugin, &error).await {
        terminal::inform("rolling back to previous version");
    }
    Ok(code)
}

/// Whether the version before runs again; there may have been none, or it failed too.
async fn went_back(client: &Client, plugin: &str, error: &anyhow::Error) -> bool {
    let tried = error.to_string().starts_with(RELOAD_FAILED);
    tried && client.get(plugin).await.is_ok_and(|plugin| plugin["status"] == "running")
}

/// Null: the plugin's own.
fn own_queue(args: &ReloadArgs) -> Value {
    let mut body = Map::new();
    if let Some(timeout) = &args.queue_timeout {
        body.insert("queueTimeout".into(), timeout.as_str().into());
    }
    if let Some(size) = args.max_queue_size {
        body.insert("maxQueueSize".into(), size.into());
    }
    if let Some(strategy) = &args.queue_strategy {
        body.insert("queueStrategy".into(), strategy.as_str().into());
    }
    if body.is_empty() { Value::Null } else { Value::Object(body) }
}

async fn threshold(args: &ThresholdArgs) -> anyhow::Result<ExitCode> {
    let mut body = Map::new();
    if let Some(errors) = args.max_errors {
        body.insert("maxErrors".into(), errors.into());
    }
    if let Some(window) = &args.time_window {
        body.insert("timeWindow".into(), window.as_str().into());
    }
    if let Some(action) = &args.action {
        body.insert("action".into(), action.as_str().into());
    }
    if let Some(reset) = args.reset_on_success {
        body.insert("resetOnSuccess".into(), reset.into());
    }
    let path = format!("/admin/plugins/{}/error-threshold", encoded(&args.name));
    Client::new(&args.server)?.put(&path, &Value::Object(body)).await?;
    done(&args.server, &format!("Error threshold of plugin {} set", args.name), json!({"plugin": args.name}))
}

#[allow(clippy::unnecessary_wraps, reason = "the end of every command")]
fn done(server: &ServerArgs, text: &str, value: Value) -> anyhow::Result<ExitCode> {
    match server.output {
        Output::Json => println!("{value:#}"),
        Output::Text => println!("{text}"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Names are put into paths.
fn encoded(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    name.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::encoded;

    #[test]
    fn names_are_one_segment() {
        assert_eq!(encoded("auth-plugin"), "auth-plugin");
        assert_eq!(encoded("a/../b ä"), "a%2F..%2Fb%20%C3%A4");
    }
}
