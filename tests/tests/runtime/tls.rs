//! Engines behind TLS, with certificates of an authority that no system knows: served where the sidecar is told to trust
//! it, else refused in words.

use crate::{
    authority::Authority,
    engines::{ALL, Engines, Services},
    messenger::{configure_with, messenger, publish},
    nats,
    world::World,
};
use rockstar_app::Client;
use serde_json::{Value, json};

const UNKNOWN: &str = "UnknownIssuer";
const IS_TLS: &str = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";

#[tokio::test]
async fn database_cache_and_storage_trust_the_authorities_of_ssl_cert_file() {
    let authority = Authority::ours();
    let services = Services::started(Engines::secured("require", Some(authority.file())), &[("p", ALL)]).await;
    assert_eq!(services.query("p", IS_TLS, json!([])).await, json!([[true]]));
    for room in ["cache", "storage"] {
        let set = json!({"do": format!("{room} set"), "key": "k", "value": "v"});
        assert_eq!(services.ask("p", set).await, "done");
    }
    assert_eq!(services.tell("p", "cache get", "k").await, json!({"found": "v"}));
    assert_eq!(services.tell("p", "storage get", "k").await, "v");
}

#[tokio::test]
async fn postgresql_trusts_the_authorities_of_its_address() {
    let mode = format!("verify-full&sslrootcert={}", Authority::ours().file().display());
    let services = Services::started(Engines::secured(&mode, None), &[("p", ALL)]).await;
    assert_eq!(services.query("p", IS_TLS, json!([])).await, json!([[true]]));
}

#[tokio::test]
async fn engines_of_an_unknown_authority_are_refused_in_words() {
    let other = Authority::new();
    let services = Services::started(Engines::secured("require", Some(other.file())), &[("p", ALL)]).await;
    let answers = [
        services.query("p", "SELECT 1", json!([])).await,
        services.tell("p", "cache get", "k").await,
        services.tell("p", "storage get", "k").await,
    ];
    assert!(answers.iter().all(|answer| answer.as_str().is_some_and(|text| text.contains(UNKNOWN))), "{answers:#?}");
}

#[tokio::test]
async fn events_go_through_a_nats_server_of_a_trusted_authority() {
    let authority = Authority::ours();
    let server = nats::Server::secured(authority);
    let (world, client) = started(authority, &server.backends()).await;
    publish(&client, "publisher", "user.created", json!(7)).await;
    assert_eq!(world.traced(1).await, ["p user.created 7 from publisher"]);
    world.until_log("Connected to NATS").await;
}

#[tokio::test]
async fn a_nats_server_of_an_unknown_authority_is_refused_in_words() {
    let server = nats::Server::secured(Authority::ours());
    let other = Authority::new();
    let (world, _client) = started(&other, &server.backends()).await;
    world.until_log(UNKNOWN).await;
}

async fn started(trusted: &Authority, backends: &Value) -> (World, Client) {
    let mut world = World::new();
    world.trust(trusted.file());
    let plugins = [messenger("p", json!({"listen": {"user.created": ""}})), messenger("publisher", json!({}))];
    plugins.iter().for_each(|plugin| plugin.install(&world));
    configure_with(&world, &plugins, backends.clone());
    world.start();
    for plugin in &plugins {
        world.until_status(plugin.name, "running").await;
    }
    let client = Client::new(world.socket());
    (world, client)
}
