//! A plugin behind the SDK, called as a host calls it, over real sockets.

#![allow(clippy::unwrap_used, clippy::panic)]

mod host;

use host::Host;
use hyper_util::rt::TokioIo;
use rockstar_plugin::{Dependency, HookType, Plugin, PluginConfig, PluginContext, Result, Server, async_trait, json};
use rockstar_proto::{
    plugin::{Call, Config, DescribeRequest, Reply, call, plugin_client::PluginClient, reply},
    types::{Empty, Header, Map, Request, failure::Class},
};
use serde_json::Value;
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    net::UnixStream,
    sync::{mpsc, oneshot},
    time::sleep,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};

type Log = mpsc::UnboundedSender<&'static str>;

struct OnDrop(Log);

impl Drop for OnDrop {
    fn drop(&mut self) {
        let _ = self.0.send("dropped");
    }
}

struct Guard {
    log: Log,
    ctx: Option<PluginContext>,
}

#[async_trait]
impl Plugin for Guard {
    fn name(&self) -> String {
        "guard".into()
    }

    fn version(&self) -> String {
        "1.0.0".into()
    }

    fn dependencies(&self) -> Vec<Dependency> {
        vec![Dependency { name: "cache".into(), version: ">=2.0.0".into(), optional: true }]
    }

    async fn initialize(&mut self, ctx: PluginContext) -> Result {
        let token = ctx.plugin_config().required("token")?.to_owned();
        assert_ne!(token, "panic", "no such token");
        let log = self.log.clone();
        ctx.register_hook(HookType::PreRequest, 200, move |hook| {
            let (token, log) = (token.clone(), log.clone());
            async move {
                match hook.context().get_header("authorization") {
                    Some("panic") => panic!("in a hook"),
                    Some("wait") => {
                        log.send("waiting")?;
                        let _dropped = OnDrop(log);
                        std::future::pending().await
                    }
                    Some(given) if given == token => hook.context().set("user", 7),
                    Some(_) => return Err("invalid request".into()),
                    None => hook.context().json(401, &json!({"error": "unauthorized"})),
                }
                Ok(())
            }
        })
        .await?;
        self.ctx = Some(ctx);
        Ok(())
    }

    async fn start(&mut self) -> Result {
        let logger = self.ctx.as_ref().ok_or("not initialised")?.logger();
        logger.debug("not heard");
        logger.with_fields([("user_id", json!(123)), ("action", json!("login"))]).info("Plugin started");
        Ok(())
    }

    async fn stop(&mut self) -> Result {
        self.log.send("stop")?;
        Ok(())
    }

    async fn on_config_change(&mut self, config: PluginConfig) -> Result {
        config.duration("timeout").ok_or("invalid timeout")?;
        Ok(())
    }
}

struct Served {
    client: PluginClient<Channel>,
    host: Arc<Host>,
    log: mpsc::UnboundedReceiver<&'static str>,
    _shutdown: oneshot::Sender<()>,
    _dir: tempfile::TempDir,
}

async fn served() -> Served {
    let dir = tempfile::tempdir().unwrap();
    let (socket, host_socket) = (dir.path().join("plugin.sock"), dir.path().join("host.sock"));
    let host = host::serve(&host_socket);
    let (sender, log) = mpsc::unbounded_channel();
    let server = Server::new(Guard { log: sender, ctx: None }, &socket, &host_socket);
    let (shutdown, ended) = oneshot::channel::<()>();
    tokio::spawn(server.serve(async {
        let _ = ended.await;
    }));
    let client = PluginClient::new(connect(socket).await);
    Served { client, host, log, _shutdown: shutdown, _dir: dir }
}

async fn connect(socket: PathBuf) -> Channel {
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move {
            loop {
                match UnixStream::connect(&socket).await {
                    Err(_) => sleep(Duration::from_millis(5)).await,
                    connected => return connected.map(TokioIo::new),
                }
            }
        }
    });
    Endpoint::from_static("http://localhost").connect_with_connector(connector).await.unwrap()
}

fn config(values: &Value) -> Config {
    Config { values: Some(Map::from(values.as_object().unwrap())), generation: 1 }
}

fn call(id: u64, authorization: Option<&str>) -> Call {
    let headers = authorization.map(|a| Header { name: "authorization".into(), value: a.to_owned().into() });
    let request = Request { path: "/".into(), headers: headers.into_iter().collect(), ..Request::default() };
    Call { id, handler: "pre_request/1".into(), call: Some(call::Call::RequestHook(request)), ..Call::default() }
}

#[tokio::test]
async fn the_handshake_says_what_the_plugin_is() {
    let mut s = served().await;
    let hello = DescribeRequest { protocols: vec![1], host_version: "t".into() };
    let description = s.client.describe(hello).await.unwrap().into_inner();
    assert_eq!((description.name.as_str(), description.version.as_str()), ("guard", "1.0.0"));
    assert_eq!((description.methods.len(), description.dispatch), (11, true));
    assert_eq!(description.dependencies[0].name, "cache");
    let other = DescribeRequest { protocols: vec![9], host_version: String::new() };
    assert!(s.client.describe(other).await.unwrap_err().message().contains("protocol 1"));
}

#[tokio::test]
async fn initialize_registers_or_says_why_not() {
    let mut s = served().await;
    let failure = s.client.initialize(config(&json!({}))).await.unwrap().into_inner().failure.unwrap();
    assert_eq!((failure.class(), failure.text.as_str()), (Class::Returned, "token is required"));
    let failure = s.client.initialize(config(&json!({"token": "panic"}))).await.unwrap().into_inner().failure.unwrap();
    assert_eq!(failure.class(), Class::Panic);
    assert!(failure.text.starts_with("panic: ") && failure.text.contains("no such token"), "{}", failure.text);
    let result = s.client.initialize(config(&json!({"token": "t"}))).await.unwrap().into_inner();
    assert_eq!(result.failure, None);
    let registered = s.host.registrations();
    assert_eq!((registered[0].name.as_str(), registered[0].priority), ("pre_request", Some(200)));
}

#[tokio::test]
async fn stop_reaches_the_plugin_once_per_start() {
    let mut s = served().await;
    s.client.stop(Empty {}).await.unwrap();
    s.client.initialize(config(&json!({"token": "t"}))).await.unwrap();
    s.client.start(Empty {}).await.unwrap();
    for _ in 0..3 {
        assert_eq!(s.client.stop(Empty {}).await.unwrap().into_inner().failure, None);
    }
    assert_eq!((s.log.try_recv(), s.log.try_recv().is_err()), (Ok("stop"), true));
    // Stop answers when the host has read the log.
    let records = s.host.records();
    assert_eq!((records.len(), records[0].name.as_str(), records[0].level.as_str()), (1, "Plugin started", "info"));
    assert_eq!(records[0].fields["user_id"].to_json(), json!(123));
}

#[tokio::test]
async fn calls_have_the_same_end_on_both_ways() {
    let mut s = served().await;
    s.client.initialize(config(&json!({"token": "t"}))).await.unwrap();
    let cases = [None, Some("t"), Some("wrong"), Some("panic")];
    let (calls, outgoing) = mpsc::channel(16);
    let mut replies = s.client.dispatch(ReceiverStream::new(outgoing)).await.unwrap().into_inner();
    for (id, case) in (1..).zip(cases) {
        let unary = s.client.handle(call(id, case)).await.unwrap().into_inner();
        calls.send(call(id, case)).await.unwrap();
        assert_eq!(replies.message().await.unwrap().unwrap(), unary);
        check(case, unary);
    }
}

fn check(case: Option<&str>, reply: Reply) {
    match (case, reply.reply.unwrap()) {
        (None, reply::Reply::Answer(answer)) => assert_eq!(answer.status, 401),
        (Some("t"), reply::Reply::Change(change)) => assert_eq!(change.values[0].key, "user"),
        (Some("wrong"), reply::Reply::Failure(f)) => {
            assert_eq!((f.class(), f.text.as_str()), (Class::Returned, "invalid request"))
        }
        (Some("panic"), reply::Reply::Failure(f)) => {
            assert_eq!((f.class(), f.text.as_str()), (Class::Panic, "panic: in a hook"))
        }
        (case, other) => panic!("{case:?} got {other:?}"),
    }
}

#[tokio::test]
async fn a_cancelled_call_is_dropped_and_others_go_on() {
    let mut s = served().await;
    s.client.initialize(config(&json!({"token": "t"}))).await.unwrap();
    let (calls, outgoing) = mpsc::channel(16);
    let mut replies = s.client.dispatch(ReceiverStream::new(outgoing)).await.unwrap().into_inner();
    calls.send(call(1, Some("wait"))).await.unwrap();
    assert_eq!(s.log.recv().await, Some("waiting"));
    calls.send(Call { call: Some(call::Call::Cancel(1)), ..Call::default() }).await.unwrap();
    calls.send(call(2, None)).await.unwrap();
    assert_eq!(replies.message().await.unwrap().unwrap().id, 2);
    assert_eq!(s.log.recv().await, Some("dropped"));
}

#[tokio::test]
async fn an_unknown_handler_is_a_failure() {
    let mut s = served().await;
    let reply = s.client.handle(Call { handler: "x".into(), ..call(1, None) }).await.unwrap().into_inner();
    assert!(matches!(reply.reply, Some(reply::Reply::Failure(f)) if f.class() == Class::NotFound));
}

#[tokio::test]
async fn a_refused_configuration_is_not_taken() {
    let mut s = served().await;
    s.client.initialize(config(&json!({"token": "t"}))).await.unwrap();
    let refused = s.client.on_config_change(config(&json!({"timeout": "abc"}))).await.unwrap().into_inner();
    assert_eq!(refused.failure.unwrap().text, "invalid timeout");
    let taken = s.client.on_config_change(config(&json!({"timeout": "5s"}))).await.unwrap().into_inner();
    assert_eq!(taken.failure, None);
}
