//! Services and events while the plugin that offers, or hears, them is replaced.

use crate::{
    app::App,
    http,
    messenger::{errors, messenger, publish, started},
};
use serde_json::json;
use std::time::Duration;
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
