//! Interests: what nobody listens to costs nothing, and a plugin does not run until every application knows of it.

use crate::{
    app::{App, Load},
    http,
    story::DemoApp,
    world::{World, plugin},
};
use rockstar_proto::app::{InterestSet, Seen, pipeline_client::PipelineClient};
use serde_json::json;
use std::time::Duration;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// More than a stream that lags is ever left open.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn what_nobody_listens_to_needs_no_sidecar() {
    let world = World::started(&[plugin("p", json!([{"type": "startup"}]))]).await;
    let app = App::new(&world).await;
    assert_eq!(app.get("/").await.status, 200);
    // A sidecar that cannot answer: a request that asked it would wait.
    world.signal("-STOP");
    assert_eq!(app.get("/").await.status, 200);
}

#[tokio::test]
async fn a_new_plugin_waits_for_every_application_and_ends_the_streams_that_lag() {
    let world = World::started(&[plugin("first", json!([{"type": "pre_request"}]))]).await;
    let (seen, outgoing) = mpsc::channel(4);
    let mut client = PipelineClient::new(world.channel().await.unwrap());
    let mut sets = client.interests(ReceiverStream::new(outgoing)).await.unwrap().into_inner();
    let mut set = sets.message().await.unwrap().unwrap();
    while !set.ready {
        set = sets.message().await.unwrap().unwrap();
    }
    assert!(set.entries.iter().all(|entry| entry.closed && entry.glob == "/*"), "{set:?}");
    seen.send(Seen { version: set.version, ping: 0 }).await.unwrap();

    // The application says nothing of what comes now.
    let plugins = [plugin("first", json!([])), plugin("second", json!([{"type": "pre_request"}])).open()];
    world.install(&plugins[1]);
    world.configure(&plugins);
    let later = sets.message().await.unwrap().unwrap();
    assert!(later.version > set.version);
    // As soon as it runs, the stream is lost: to acknowledge it then would save one that was still waited for.
    world.until_status("second", "running").await;
    seen.send(Seen { version: later.version, ping: 0 }).await.ok();
    let end = timeout(PATIENCE, end_of(&mut sets)).await.expect("it ran before the stream was closed");
    assert!(end.is_err(), "the stream ended as if all were well");
}

async fn end_of(sets: &mut Streaming<InterestSet>) -> Result<(), Status> {
    while sets.message().await?.is_some() {}
    Ok(())
}

#[tokio::test]
async fn applications_follow_what_plugins_come_and_go() {
    let first = plugin("first", json!([{"type": "pre_request"}]));
    let second = plugin("second", json!([{"type": "pre_request"}]));
    let world = World::started(std::slice::from_ref(&first)).await;
    let app = App::new(&world).await;
    app.get("/").await;
    assert_eq!(world.traced(2).await, ["first.pre_request /", "handler /"]);
    world.install(&second);
    world.configure(&[first.clone(), second.clone()]);
    world.until_status("second", "running").await;
    world.forget_trace();
    app.get("/").await;
    assert_eq!(world.traced(3).await, ["first.pre_request /", "second.pre_request /", "handler /"]);
    world.configure(&[second]);
    world.until("first to be gone", || async { world.pid_of("first").is_none() }).await;
    world.forget_trace();
    app.get("/").await;
    assert_eq!(world.traced(2).await, ["second.pre_request /", "handler /"]);
}

#[tokio::test]
async fn a_worker_that_was_stopped_serves_nothing_around_a_plugin_that_came_meanwhile() {
    let first = plugin("first", json!([{"type": "startup"}]));
    let auth = plugin("auth", json!([{"type": "pre_request", "do": "answer 401 no"}]));
    let world = World::started(std::slice::from_ref(&first)).await;
    let (worker, app) = (DemoApp::start(&world), App::new(&world).await);
    assert_eq!((http::get(worker.address, "/").await.status, app.get("/").await.status), (200, 200));
    let load = Load::new(app.address, "/", 4);
    worker.signal("-STOP");
    // They are there before anything else when the worker goes on.
    let address = worker.address;
    let asked: Vec<_> = (0..16).map(|_| tokio::spawn(async move { http::get(address, "/").await })).collect();
    world.install(&auth);
    world.configure(&[first, auth]);
    world.until_status("auth", "running").await;
    // The worker cannot have acknowledged it.
    world.until_log("application streams that did not acknowledge the new plugins").await;
    worker.signal("-CONT");
    for answer in asked {
        assert_ne!(answer.await.unwrap().status, 200);
    }
    assert_eq!((http::get(worker.address, "/").await.status, app.get("/").await.status), (401, 401));
    load.more(&world, 50).await;
    let answers = load.end().await;
    let refused = answers.iter().position(|answer| answer.status == 401);
    assert!(refused.is_some() && answers.iter().all(|answer| [200, 401].contains(&answer.status)));
}
