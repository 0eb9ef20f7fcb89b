//! Events through a real NATS server: between sidecars, again after a failure, and after the server was away.

use crate::{
    authority::Authority,
    messenger::{Messenger, control, errors, messenger, metrics, publish, started_with},
    world::{self, World},
};
use rockstar_app::Client;
use serde_json::{Value, json};
use std::{
    env,
    fs::File,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

/// A server with a store of its own; it ends with this.
pub(crate) struct Server {
    directory: tempfile::TempDir,
    port: u16,
    process: Option<Child>,
    authority: Option<&'static Authority>,
}

impl Server {
    fn started() -> Self {
        Self::speaking(None)
    }

    /// Speaks nothing but TLS.
    pub(crate) fn secured(authority: &'static Authority) -> Self {
        Self::speaking(Some(authority))
    }

    fn speaking(authority: Option<&'static Authority>) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Self { directory: tempfile::tempdir().unwrap(), port, process: None, authority };
        server.start();
        server
    }

    fn start(&mut self) {
        let log = File::options().append(true).create(true).open(self.directory.path().join("log")).unwrap();
        let server = Command::new(program())
            .args(["--addr", "127.0.0.1", "--port", &self.port.to_string(), "--jetstream", "--store_dir"])
            .arg(self.directory.path().join("store"))
            .args(self.authority.map(tls).unwrap_or_default())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        self.process = Some(server.expect("nats-server does not start"));
    }

    fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().ok();
            process.wait().ok();
        }
    }

    fn signal(&self, signal: &str) {
        world::kill(signal, self.process.as_ref().unwrap().id());
    }

    pub(crate) fn backends(&self) -> Value {
        let scheme = if self.authority.is_some() { "tls" } else { "nats" };
        json!({"events": {"url": format!("{scheme}://127.0.0.1:{}/shop", self.port)}})
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            eprintln!(
                "nats-server:\n{}",
                std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
            );
        }
    }
}

fn tls(authority: &Authority) -> Vec<PathBuf> {
    let file = |what| authority.of_server(what);
    ["--tls".into(), "--tlscert".into(), file("crt"), "--tlskey".into(), file("key")].into()
}

/// Built by the CI's setup; see `.ci/run`.
fn program() -> PathBuf {
    let built = PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cache/rockstar/tools/bin/nats-server");
    if built.exists() { built } else { "nats-server".into() }
}

fn listener(name: &'static str, verb: &str) -> Messenger {
    messenger(name, json!({"listen": {"user.created": verb}}))
}

fn publisher() -> Messenger {
    messenger("publisher", json!({}))
}

async fn sidecar(server: &Server, messengers: &[Messenger]) -> (World, Client) {
    started_with(messengers, server.backends()).await
}

async fn hears(world: &World, plugin: &str) {
    world.until_log(&format!("Plugin {plugin} hears user.created through NATS")).await;
}

fn heard(world: &World, plugin: &str) -> Vec<u64> {
    let prefix = format!("{plugin} user.created ");
    let lines = world.trace();
    let numbers = lines.iter().filter_map(|line| line.strip_prefix(&prefix)?.strip_suffix(" from publisher"));
    numbers.map(|number| number.parse().unwrap()).collect()
}

#[tokio::test]
async fn each_plugin_hears_an_event_once_whatever_sidecar_it_runs_in() {
    let server = Server::started();
    let (one, client) = sidecar(&server, &[publisher(), listener("p", "")]).await;
    let (two, other) = sidecar(&server, &[listener("p", ""), listener("q", "")]).await;
    for (world, plugin) in [(&one, "p"), (&two, "p"), (&two, "q")] {
        hears(world, plugin).await;
    }
    let mut application = other.events().subscribe(&["user.created"]).await.unwrap();
    for number in 0..20 {
        publish(&client, "publisher", "user.created", json!(number)).await;
    }
    let both = || [heard(&one, "p"), heard(&two, "p")].concat();
    two.until("p to hear all", || async { both().len() >= 20 }).await;
    two.until("q to hear all", || async { heard(&two, "q").len() >= 20 }).await;
    let mut all = both();
    all.sort_unstable();
    let numbers: Vec<u64> = (0..20).collect();
    assert_eq!((all, heard(&two, "q")), (numbers.clone(), numbers));
    let event = application.next().await.unwrap().unwrap();
    assert_eq!((event.name.as_str(), event.data, event.source.as_str()), ("user.created", json!(0), "publisher"));
}

#[tokio::test]
async fn an_event_comes_again_until_its_handler_succeeds_but_not_for_ever() {
    let server = Server::started();
    let plugins = [publisher(), listener("recovers", "fail once"), listener("never", "fail")];
    let (world, client) = sidecar(&server, &plugins).await;
    hears(&world, "recovers").await;
    hears(&world, "never").await;
    publish(&client, "publisher", "user.created", json!(1)).await;
    let dropped = "rockstar_plugin_event_dropped_count{plugin=\"never\"} 1";
    world.until("the event to be given up", || async { metrics(&world).await.contains(dropped) }).await;
    assert_eq!((heard(&world, "recovers"), heard(&world, "never")), (vec![1, 1], vec![1; 5]));
    assert_eq!((errors(&world, "recovers").await, errors(&world, "never").await), (1, 5));
}

#[tokio::test]
async fn events_wait_while_the_server_is_away_and_publishers_do_not() {
    let mut server = Server::started();
    let (world, client) = sidecar(&server, &[publisher(), listener("p", "")]).await;
    hears(&world, "p").await;
    publish(&client, "publisher", "user.created", json!(0)).await;
    world.traced(1).await;
    server.stop();
    world.until_log("The connection to NATS is lost").await;
    for number in 1..10 {
        publish(&client, "publisher", "user.created", json!(number)).await;
    }
    assert_eq!(heard(&world, "p"), [0]);
    server.start();
    world.until("all to come", || async { heard(&world, "p").len() >= 10 }).await;
    assert_eq!(heard(&world, "p"), (0..10).collect::<Vec<_>>());
}

#[tokio::test]
async fn events_wait_for_a_sidecar_that_was_killed() {
    let server = Server::started();
    let (_one, client) = sidecar(&server, &[publisher()]).await;
    let (mut two, _other) = sidecar(&server, &[listener("p", "")]).await;
    hears(&two, "p").await;
    two.kill();
    publish(&client, "publisher", "user.created", json!(7)).await;
    two.start();
    two.until("it to come", || async { heard(&two, "p") == [7] }).await;
}

/// Whoever publishes goes on once the server has the event: it does not end with the sidecar.
#[tokio::test]
async fn an_event_that_was_taken_is_not_lost_with_its_sidecar() {
    let server = Server::started();
    let (mut one, client) = sidecar(&server, &[publisher()]).await;
    let (two, _other) = sidecar(&server, &[listener("p", "")]).await;
    hears(&two, "p").await;
    one.until_log("Connected to NATS").await;
    server.signal("-STOP");
    let events = client.events();
    let publishing = tokio::spawn(async move { events.publish("user.created", json!(7)).await });
    // Sent after the event, and answered.
    control(&client, "publisher", "List", json!(null)).await.unwrap();
    assert!(!publishing.is_finished());
    server.signal("-CONT");
    publishing.await.unwrap().unwrap();
    one.kill();
    two.until("it to come", || async { two.trace().iter().any(|line| line.starts_with("p user.created 7 ")) }).await;
}

#[tokio::test]
async fn events_that_end_with_the_sidecar_are_told() {
    let mut server = Server::started();
    let (mut world, client) = sidecar(&server, &[publisher()]).await;
    world.until_log("Connected to NATS").await;
    server.stop();
    world.until_log("The connection to NATS is lost").await;
    for number in 0..3 {
        publish(&client, "publisher", "user.created", json!(number)).await;
    }
    world.signal("-TERM");
    world.ended().await;
    let told = world.log().contains("3 events were lost: NATS at 127.0.0.1:");
    assert!(told, "{}", world.log());
}
