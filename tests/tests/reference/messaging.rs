//! 10: events and services.

use crate::{
    calls::{alive, requires},
    messenger::{Messenger, configure, control, errors, messenger, metrics, publish, started},
    world::World,
};
use rockstar_app::{CallError, Client, ServiceInfo};
use serde_json::{Value, json};

/// Publishes only.
fn publisher() -> Messenger {
    messenger("publisher", json!({}))
}

fn listener(name: &'static str, verb: &str) -> Messenger {
    messenger(name, json!({"listen": {"user.created": verb}}))
}

fn users(name: &'static str) -> Messenger {
    messenger(name, json!({"users": true}))
}

fn refused(text: &str) -> Result<Value, CallError> {
    Err(CallError::Refused(text.to_owned()))
}

fn not_found(plugin: &str, service: &str) -> Result<Value, CallError> {
    refused(&format!("service not found: plugin '{plugin}' does not export '{service}'"))
}

async fn import(client: &Client, plugin: &str, service: &str) -> Result<Value, CallError> {
    control(client, "client", "Import", json!([plugin, service])).await
}

async fn call(client: &Client, plugin: &str, method: &str, arguments: Value) -> Result<Value, CallError> {
    control(client, "client", "Call", json!([plugin, method, arguments])).await
}

/// The lines of one plugin's trace.
fn heard(world: &World, plugin: &str) -> Vec<String> {
    world.trace().iter().filter_map(|line| line.strip_prefix(&format!("{plugin} "))).map(str::to_owned).collect()
}

#[tokio::test]
async fn r10_1_1_delivered_to_all_subscribers() {
    // One never comes back from its handler: a publisher that waited would not either.
    let hangs = listener("hangs", "hang").entry(json!({"hook_timeout": "600s", "reload": {"drain_timeout": "10ms"}}));
    let (world, client) = started(&[publisher(), hangs, listener("p", ""), listener("q", "")]).await;
    publish(&client, "publisher", "user.created", json!({"user_id": 123})).await;
    world.traced(3).await;
    for plugin in ["hangs", "p", "q"] {
        assert_eq!(heard(&world, plugin), [r#"user.created {"user_id":123} from publisher"#], "{plugin}");
    }
}

#[tokio::test]
async fn r10_1_2_no_subscriber_is_no_error() {
    let (world, client) = started(&[publisher()]).await;
    assert_eq!(control(&client, "publisher", "Publish", json!(["user.created", null])).await, Ok(Value::Null));
    assert_eq!(errors(&world, "publisher").await, 0);
}

#[tokio::test]
async fn r10_2_1_name_and_data() {
    let (world, client) = started(&[publisher(), listener("p", "")]).await;
    let data = json!({"big": i64::MAX, "list": [1, -2, 2.5, null, true], "nested": {"deep": {"name": "j\u{f6}hn"}}});
    publish(&client, "publisher", "user.created", data.clone()).await;
    let line = world.traced(1).await.remove(0);
    let data_heard = line.strip_prefix("p user.created ").unwrap().strip_suffix(" from publisher").unwrap();
    assert_eq!(serde_json::from_str::<Value>(data_heard).unwrap(), data);
}

#[tokio::test]
async fn r10_2_2_names_match_exactly() {
    let (world, client) = started(&[publisher(), listener("p", "")]).await;
    for name in ["User.Created", "user.created.now", "user", "user.*", "user.created"] {
        publish(&client, "publisher", name, json!(name)).await;
    }
    // In order: what came before would be here.
    assert_eq!(world.traced(1).await, [r#"p user.created "user.created" from publisher"#]);
}

#[tokio::test]
async fn r10_2_3_only_running_plugins_receive() {
    let tells = messenger("publisher", json!({"debug": true}));
    let all = [tells, listener("gone", ""), listener("off", ""), listener("p", "")];
    let (world, client) = started(&all).await;
    world.until_log("publisher debugs").await;
    let disabled = all[2].clone().entry(json!({"enabled": false}));
    configure(&world, &[all[0].clone(), disabled, all[3].clone()]);
    world.until_status("off", "unloaded").await;
    world.until("gone to go", || async { world.health("gone").await.is_ok_and(|h| h.status == "unloaded") }).await;
    publish(&client, "publisher", "user.created", json!(1)).await;
    assert_eq!(world.traced(1).await, ["p user.created 1 from publisher"]);
    // What is handed to p alone cannot come to others late.
    world.until_log("Event published: user.created: 1 subscribers").await;
    world.stop_all().await.unwrap();
    client.events().publish("user.created", 2).await.unwrap();
    client.events().publish("user.created", 3).await.unwrap();
    let metric = "rockstar_plugin_event_delivered_count{plugin=\"p\"} 1";
    assert!(metrics(&world).await.contains(metric), "{}", metrics(&world).await);
    assert_eq!(world.trace().len(), 1, "{:?}", world.trace());
    // One after another: what was meant for p before would be here, or be missed, before.
    world.start_all().await.unwrap();
    publish(&client, "publisher", "user.created", json!(4)).await;
    assert_eq!(world.traced(2).await, ["p user.created 1 from publisher", "p user.created 4 from publisher"]);
    let dropped = "rockstar_plugin_event_dropped_count{plugin=\"p\"}";
    assert!(!metrics(&world).await.contains(dropped), "{}", metrics(&world).await);
}

#[tokio::test]
async fn r10_3_1_import_and_call() {
    let (world, client) = started(&[users("auth-plugin"), messenger("client", json!({}))]).await;
    assert_eq!(import(&client, "auth-plugin", "UserService").await, Ok(Value::Null));
    let user = json!({"id": 123, "name": "john", "version": "1.0.0"});
    assert_eq!(call(&client, "auth-plugin", "GetUser", json!(123)).await, Ok(user));
    let created = call(&client, "auth-plugin", "CreateUser", json!({"name": "ann"})).await;
    assert_eq!(created, Ok(json!({"created": {"name": "ann"}})));
    assert_eq!(call(&client, "auth-plugin", "GetUser", json!(7)).await, refused("no such user: 7"));
    // What a service refuses counts for its caller, once for the call and once for the answer that it made of it.
    assert_eq!((errors(&world, "auth-plugin").await, errors(&world, "client").await), (0, 2));
}

#[tokio::test]
async fn r10_3_2_through_the_registry() {
    let (world, client) = started(&[users("auth-plugin"), messenger("client", json!({}))]).await;
    import(&client, "auth-plugin", "UserService").await.unwrap();
    users("auth-plugin").version("2.0.0").install(&world);
    world.reload("auth-plugin").await.unwrap();
    let user = call(&client, "auth-plugin", "GetUser", json!(123)).await.unwrap();
    assert_eq!(user["version"], "2.0.0");
    let metric = "rockstar_plugin_service_calls{plugin=\"auth-plugin\",service=\"UserService\"} 1";
    assert!(metrics(&world).await.contains(metric), "{}", metrics(&world).await);
}

#[tokio::test]
async fn r10_3_3_service_not_found() {
    let (world, client) = started(&[users("auth-plugin"), messenger("client", json!({}))]).await;
    assert_eq!(import(&client, "auth-plugin", "userservice").await, not_found("auth-plugin", "userservice"));
    assert_eq!(import(&client, "nobody", "UserService").await, not_found("nobody", "UserService"));
    import(&client, "auth-plugin", "UserService").await.unwrap();
    configure(&world, &[messenger("client", json!({}))]);
    world.until_status("auth-plugin", "unloaded").await;
    assert_eq!(import(&client, "auth-plugin", "UserService").await, not_found("auth-plugin", "UserService"));
    let old = call(&client, "auth-plugin", "GetUser", json!(123)).await;
    assert_eq!(old, not_found("auth-plugin", "UserService"));
    // In status error: its first one is one too many.
    let ill = users("ill").entry(json!({"error_threshold": {"max_errors": 1, "action": "disable"}}));
    ill.install(&world);
    configure(&world, &[messenger("client", json!({})), ill]);
    world.until_status("ill", "running").await;
    import(&client, "ill", "UserService").await.unwrap();
    // The application's call counts for the plugin that refuses it.
    let app = Client::new(world.socket());
    app.services().invoke::<Value>("ill", "UserService", "GetUser", json!(7)).await.unwrap_err();
    world.until_log("Plugin ill automatically disabled due to error threshold").await;
    assert_eq!(world.health("ill").await.unwrap().status, "error");
    assert_eq!(import(&client, "ill", "UserService").await, not_found("ill", "UserService"));
    assert_eq!(call(&client, "ill", "GetUser", json!(123)).await, not_found("ill", "UserService"));
    assert_not_found_once_stopped().await;
}

/// Neither by the application nor by a plugin whose Stop comes later.
async fn assert_not_found_once_stopped() {
    let p = alive("p", json!({"Initialize": "export Own"})).manifest(requires(&[("q", "*")]));
    let world = World::started(&[alive("q", json!({"Stop": "import p Own"})), p]).await;
    let client = Client::new(world.socket());
    let asked = async || client.services().invoke::<Value>("p", "Own", "Version", Value::Null).await;
    assert_eq!(asked().await, Ok(json!("1.0.0")));
    world.stop_all().await.unwrap();
    assert_eq!((world.status("p").await.as_str(), asked().await), ("stopped", not_found("p", "Own")));
    let told = "q.import service not found: plugin 'p' does not export 'Own'";
    assert_eq!(world.trace().last().unwrap(), told);
}

#[tokio::test]
async fn r10_4_1_export() {
    // One that starts after it calls it at once.
    let needs = json!({"dependencies": [{"name": "auth-plugin", "version": ">=1.0.0"}]});
    let greets = messenger("greeter", json!({"greets": "auth-plugin"})).manifest(needs);
    let (world, client) = started(&[users("auth-plugin"), greets]).await;
    assert_eq!(heard(&world, "greeter"), [r#"greets "john""#]);
    let twice = control(&client, "auth-plugin", "Export", json!("UserService")).await;
    assert_eq!(twice, refused("service already exported: 'UserService'"));
    assert_eq!(control(&client, "greeter", "Export", json!("UserService")).await, Ok(Value::Null));
}

#[tokio::test]
async fn r10_4_2_discoverable() {
    let exports = json!({"exports": [{"name": "UserService", "description": "Users"}, {"name": "Control"}]});
    let (world, client) = started(&[users("auth-plugin").manifest(exports), messenger("client", json!({}))]).await;
    let listed = control(&client, "client", "List", Value::Null).await.unwrap();
    let expected =
        json!([["auth-plugin", "Control", ""], ["auth-plugin", "UserService", "Users"], ["client", "Control", ""]]);
    assert_eq!(listed, expected);
    let info = |plugin: &str, service: &str, description: &str| ServiceInfo {
        plugin: plugin.into(),
        service: service.into(),
        description: description.into(),
    };
    assert!(client.services().list().await.unwrap().contains(&info("auth-plugin", "UserService", "Users")));
    configure(&world, &[messenger("client", json!({}))]);
    world.until_status("auth-plugin", "unloaded").await;
    assert_eq!(client.services().list().await.unwrap(), [info("client", "Control", "")]);
}

#[tokio::test]
async fn r10_5_1_errors_of_handlers_are_isolated() {
    let hangs = listener("hangs", "hang").entry(json!({"hook_timeout": "100ms"}));
    let bad = [listener("fails", "fail"), listener("panics", "panic"), listener("exits", "exit"), hangs];
    let (world, client) = started(&[&bad[..], &[publisher(), listener("q", "")]].concat()).await;
    publish(&client, "publisher", "user.created", json!(1)).await;
    world.traced(5).await;
    assert_eq!(heard(&world, "q"), ["user.created 1 from publisher"]);
    for plugin in bad.iter().map(|m| m.name) {
        world.until(plugin, || async { errors(&world, plugin).await > 0 }).await;
    }
    assert_eq!(world.health("fails").await.unwrap().last_error, "cannot take it");
    assert_eq!(world.health("panics").await.unwrap().last_error, "panic: on demand");
    let text = "event handler timeout: handler of user.created exceeded 100ms timeout";
    assert_eq!(world.health("hangs").await.unwrap().last_error, text);
    assert_eq!((errors(&world, "publisher").await, errors(&world, "q").await), (0, 0));
    publish(&client, "publisher", "user.created", json!(2)).await;
    world.until("q to hear more", || async { heard(&world, "q").len() == 2 }).await;
}

#[tokio::test]
async fn r10_5_2_a_crash_harms_no_other() {
    let (world, client) = started(&[users("p"), users("q"), messenger("client", json!({}))]).await;
    import(&client, "p", "UserService").await.unwrap();
    import(&client, "q", "UserService").await.unwrap();
    world.kill_plugin("p");
    let user = call(&client, "q", "GetUser", json!(123)).await.unwrap();
    assert_eq!(user["name"], "john");
    assert_eq!((errors(&world, "q").await, errors(&world, "client").await), (0, 0));
    world.until_log("Plugin p crashed").await;
    world.until_status("p", "running").await;
    let back = call(&client, "p", "GetUser", json!(123)).await.unwrap();
    assert_eq!(back["name"], "john");
}

#[tokio::test]
async fn rb_6_debug_logs_show_an_events_way() {
    let publisher = messenger("publisher", json!({"debug": true}));
    let subscriber = messenger("p", json!({"debug": true, "listen": {"user.created": "", "user.deleted": "fail"}}));
    let (world, client) = started(&[publisher, subscriber]).await;
    world.until_log("publisher debugs").await;
    world.until_log("p debugs").await;
    for event in ["user.created", "user.deleted", "nobody.cares"] {
        publish(&client, "publisher", event, Value::Null).await;
    }
    for line in [
        "Event published: user.created: 1 subscribers",
        "Event received: user.created",
        "Event handler failed: p user.deleted: cannot take it",
        "Event published: nobody.cares: 0 subscribers",
    ] {
        world.until_log(line).await;
    }
    assert!(!world.log().contains("Event received: user.deleted"));
}
