//! Services and events while the plugin that offers, or hears, them is replaced.

use crate::{
    app::App,
    http,
    messenger::{Messenger, control, errors, messenger, publish, started},
    stock::admin,
    world::World,
};
use rockstar_app::{CallError, Client};
use serde_json::{Value, json};
use std::{future::Future, time::Duration};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

#[tokio::test]
async fn calls_wait_while_a_service_is_replaced_for_longer_than_their_timeout_and_charge_nobody() {
    let users = |start: &str| messenger("a", json!({"users": true, "slow_start": start}));
    let (world, _client) = started(&[users("0"), messenger("b", json!({"asks": "a"}))]).await;
    let app = App::new(&world).await;
    assert_eq!(app.get("/").await.body, "1.0.0");
    users("8s").version("2.0.0").install(&world);
    let mut reloading = std::pin::pin!(world.reload("a"));
    let mut answers = JoinSet::new();
    let mut ticks = interval(Duration::from_millis(20));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let address = app.address;
    loop {
        tokio::select! {
            reloaded = &mut reloading => break reloaded.unwrap(),
            _ = ticks.tick() => drop(answers.spawn(async move { http::get(address, "/").await })),
        }
    }
    let answers = answers.join_all().await;
    let wrong: Vec<_> = answers.iter().filter(|a| a.status != 200).collect();
    assert!(wrong.is_empty(), "{} of {}: {:?}", wrong.len(), answers.len(), wrong[0]);
    assert!(answers.iter().any(|a| a.body == "2.0.0"), "none was held");
    assert_eq!(app.get("/").await.body, "2.0.0");
    assert_eq!((errors(&world, "a").await, errors(&world, "b").await), (0, 0));
}

#[tokio::test]
async fn a_service_that_hangs_is_given_up_at_its_deadline_and_its_callers_are_told() {
    // Its users come from p once the trace says `go`.
    let hangs = messenger("q", json!({"relays": "p"})).entry(json!({"hook_timeout": "300ms"}));
    let (world, client) = started(&[messenger("p", json!({"users": true})), hangs]).await;
    let text = "service call timeout: UserService.GetUser exceeded 300ms timeout";
    let late: Result<Value, CallError> = Err(CallError::Refused(text.to_owned()));
    assert_eq!(client.services().invoke::<Value>("q", "UserService", "GetUser", 123).await, late);
    control(&client, "p", "Import", json!(["q", "UserService"])).await.unwrap();
    let call = || control(&client, "p", "Call", json!(["q", "GetUser", 123]));
    assert_eq!(call().await, late);
    let health = world.health("q").await.unwrap();
    assert_eq!((health.error_count, health.last_error.as_str()), (2, text));
    // The calls were given up, not the service.
    world.tracer().note("go");
    world.until("an answer", || async { call().await.is_ok_and(|user| user["name"] == "john") }).await;
}

#[tokio::test]
async fn events_wait_while_their_subscriber_is_replaced_and_reach_the_new_version() {
    let reload = json!({"reload": {"queue_strategy": "reject"}});
    let config = |start: &str| json!({"listen": {"user.created": "version"}, "slow_start": start});
    let subscriber = |start: &str| messenger("p", config(start)).entry(reload.clone());
    let (world, client) = started(&[subscriber("0"), messenger("publisher", json!({}))]).await;
    subscriber("2s").version("2.0.0").install(&world);
    let published = async {
        world.until_status("p", "initialized").await;
        for number in 0..3 {
            publish(&client, "publisher", "user.created", json!(number)).await;
        }
        world.trace()
    };
    let (reloaded, trace) = tokio::join!(world.reload("p"), published);
    reloaded.unwrap();
    assert!(trace.is_empty(), "{trace:?}");
    let lines =
        (0..3).flat_map(|n| [format!("p user.created {n} from publisher"), "p user.created in 2.0.0".to_owned()]);
    assert_eq!(world.traced(6).await, lines.collect::<Vec<_>>());
    assert_eq!(errors(&world, "p").await, 0);
}

#[tokio::test]
async fn a_service_calls_back_into_the_version_that_waits_for_its_hook() {
    let (world, client) = asking_each_other().await;
    let app = App::new(&world).await;
    let answer = reloaded_meanwhile(&world, &client, app.get("/")).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "1.0.0"));
    assert_eq!((errors(&world, "p").await, errors(&world, "q").await), (0, 0));
}

#[tokio::test]
async fn a_service_calls_back_into_the_version_that_waits_for_its_service() {
    let (world, client) = asking_each_other().await;
    control(&client, "p", "Import", json!(["q", "UserService"])).await.unwrap();
    let calling = control(&client, "p", "Call", json!(["q", "GetUser", 123]));
    let user = reloaded_meanwhile(&world, &client, calling).await.unwrap();
    assert_eq!(user["version"], "1.0.0");
    assert_eq!((errors(&world, "p").await, errors(&world, "q").await), (0, 0));
}

#[tokio::test]
async fn a_service_calls_back_into_the_version_that_waits_for_its_event() {
    let (world, client) = asking_each_other().await;
    reloaded_meanwhile(&world, &client, publish(&client, "q", "user.created", json!(1))).await;
    world.until("the event", || async { world.trace().contains(&"p user.created in 1.0.0".to_owned()) }).await;
    assert_eq!((errors(&world, "p").await, errors(&world, "q").await), (0, 0));
}

/// p asks q for users, which asks p, as soon as the trace says `go`.
async fn asking_each_other() -> (World, Client) {
    let patient = json!({"hook_timeout": "20s"});
    let p =
        messenger("p", json!({"users": true, "asks": "q", "listen": {"user.created": "ask"}})).entry(patient.clone());
    let plugins = [p, messenger("q", json!({"relays": "p"})).entry(patient)];
    let (world, client) = started(&plugins).await;
    let [p, _]: [Messenger; 2] = plugins;
    p.version("2.0.0").install(&world);
    (world, client)
}

/// Reloads p once q relays what p asks; q goes on when p is held.
async fn reloaded_meanwhile<T>(world: &World, client: &Client, asking: impl Future<Output = T>) -> T {
    let reloading = async {
        world.until("q to relay", || async { world.trace().contains(&"q relays".to_owned()) }).await;
        world.reload("p").await.unwrap();
    };
    let going = async {
        until_held(world, client).await;
        world.tracer().note("go");
    };
    let (answer, (), ()) = tokio::join!(asking, reloading, going);
    answer
}

/// Waits until p's version that serves takes no calls any more.
async fn until_held(world: &World, client: &Client) {
    let calls = async {
        loop {
            client.services().invoke::<Value>("p", "UserService", "GetUser", 123).await.unwrap();
        }
    };
    let held = world.until("a held call", || async {
        let told = http::request(admin(world), "GET", "/admin/plugins/p", &[world.token().header()], "").await.body;
        serde_json::from_str::<Value>(&told).is_ok_and(|p| p["queued"].as_u64() > Some(0))
    });
    tokio::select! {
        () = held => {}
        () = calls => {}
    }
}
