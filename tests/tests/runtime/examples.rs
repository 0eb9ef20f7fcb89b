//! The example plugins, all in one sidecar: what each shows is there.

use crate::{app::App, http, messenger::metrics, story::install, world::World};
use rockstar_app::Client;
use serde_json::{Value, json};
use std::fs;

/// With what is granted and configured.
fn entries() -> Value {
    json!([
        {"name": "logging-plugin"},
        {"name": "cache-plugin"},
        {"name": "routes-plugin", "permissions": {"router": true}},
        {"name": "middleware-plugin", "config": {"admin_token": "secret"}},
        {"name": "events-plugin"},
        {"name": "services-plugin"},
        {"name": "database-plugin", "permissions": {"database": true}},
        {"name": "caching-plugin", "permissions": {"cache": true}},
        {"name": "storage-plugin"},
        {"name": "config-plugin", "permissions": {"config": true}},
        {"name": "metrics-plugin"},
    ])
}

async fn started() -> (World, App, Client) {
    let mut world = World::new();
    let entries = entries();
    let names = || entries.as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap());
    names().for_each(|name| install(&world, name, |manifest| manifest));
    let framework = json!({"version": "1.5.0"});
    let file = json!({"framework": framework, "site": {"name": "shop"}, "plugins": {"plugins": entries}});
    fs::write(world.path().join("plugins.json"), file.to_string()).unwrap();
    world.start();
    for name in names() {
        world.until_status(name, "running").await;
    }
    let (app, client) = (App::new(&world).await, Client::new(world.socket()));
    (world, app, client)
}

#[tokio::test]
async fn each_shows_what_it_is_there_for() {
    let (world, app, client) = started().await;
    requests_are_answered_and_shaped(&app).await;
    events_arrive(&client).await;
    rows_come_back(&world, &app, &client).await;
    storage_outlives_a_process(&world).await;
    let counted =
        || async { metrics(&world).await.contains("rockstar_metricsplugin_requests_total{plugin=\"metrics-plugin\"}") };
    world.until("its own metrics", counted).await;
}

async fn requests_are_answered_and_shaped(app: &App) {
    let greeting = app.get("/api/greetings/ann?language=de").await;
    assert_eq!((greeting.status, greeting.body.as_str()), (200, r#"{"greeting":"Hallo, ann"}"#));
    assert_eq!(greeting.headers["x-served-by"], "shop");
    assert!(greeting.headers["server-timing"].starts_with("handler;dur="));
    let refused = app.get("/admin/users").await;
    assert_eq!((refused.status, refused.body.as_str()), (403, r#"{"error":"administrators only"}"#));
    let bearer = [("authorization", "Bearer secret")];
    assert_eq!(http::request(app.address, "GET", "/admin/users", &bearer, "").await.body, "/admin/users");
    let cached = || async { app.get("/kept").await.headers.get("x-cache").cloned() };
    assert_eq!((cached().await, cached().await.as_deref()), (None, Some("hit")));
}

async fn events_arrive(client: &Client) {
    let mut welcomed = client.events().subscribe(&["user.welcomed"]).await.unwrap();
    client.events().publish("user.created", json!({"username": "ann"})).await.unwrap();
    let event = welcomed.next().await.unwrap().unwrap();
    assert_eq!((event.data, event.source.as_str()), (json!({"username": "ann"}), "events-plugin"));
}

/// By a service that asks another plugin's.
async fn rows_come_back(world: &World, app: &App, client: &Client) {
    let services = client.services();
    let user: Value = services.invoke("services-plugin", "UserService", "GetUser", 123).await.unwrap();
    assert_eq!(user["username"], "john");
    app.get("/users/123").await;
    let visits = || async { services.invoke("services-plugin", "UserService", "GetVisits", 123).await };
    world.until("a counted visit", || async { visits().await == Ok(1) }).await;
}

async fn storage_outlives_a_process(world: &World) {
    world.until_log("Started for the 1. time").await;
    world.reload("storage-plugin").await.unwrap();
    world.until_log("Started for the 2. time").await;
}
