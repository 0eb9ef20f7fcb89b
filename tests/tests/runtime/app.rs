//! An application inside the test, behind the layer, and a load on it.

use crate::{
    http::{self, Answer},
    world::{Tracer, World},
};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{StatusCode, Uri},
    routing::{any, get},
};
use futures::{StreamExt, stream};
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use rockstar_app::{Client, ContextValues, RockstarLayer};
use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
};
use tokio::{
    net::TcpListener,
    sync::Notify,
    task::{JoinHandle, JoinSet},
};
use tower::Layer;

pub(crate) struct App {
    pub(crate) address: SocketAddr,
    /// Lets the handler of /wait go on.
    pub(crate) go: Arc<Notify>,
    server: JoinHandle<()>,
}

#[derive(Clone)]
struct Shared {
    tracer: Tracer,
    go: Arc<Notify>,
}

impl App {
    pub(crate) async fn new(world: &World) -> Self {
        let shared = Shared { tracer: world.tracer(), go: Arc::default() };
        let go = shared.go.clone();
        let router = Router::new()
            .route("/fail", get(fail))
            .route("/wait", get(wait))
            .route("/user", get(user))
            .route("/panic", get(panics))
            .route("/heavy", get(heavy))
            .route("/stream", get(stream))
            .fallback(any(echo))
            .with_state(shared);
        let plugins = RockstarLayer::new(Client::new(world.socket()));
        let app = Router::new().fallback_service(plugins.layer(router));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, app));
        Self { address, go, server }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        http::get(self.address, path).await
    }

    /// Waits until a request gets this status.
    pub(crate) async fn until(&self, world: &World, path: &str, status: u16) {
        world.until(&format!("{status} of {path}"), || async { self.get(path).await.status == status }).await;
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// As axum does, but with room for heads of any size: it is the layer that refuses those that are too large.
async fn serve(listener: TcpListener, app: Router) {
    let mut connections = JoinSet::new();
    let mut http = http1::Builder::new();
    http.max_buf_size(16 << 20);
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let service = TowerToHyperService::new(app.clone());
        connections.spawn(http.serve_connection(TokioIo::new(stream), service).with_upgrades());
        while connections.try_join_next().is_some() {}
    }
}

async fn echo(State(shared): State<Shared>, uri: Uri, body: Bytes) -> String {
    shared.tracer.note(&format!("handler {}", uri.path()));
    format!("{} {}", uri.path(), String::from_utf8_lossy(&body)).trim_end().to_owned()
}

async fn fail(State(shared): State<Shared>) -> StatusCode {
    shared.tracer.note("handler /fail");
    StatusCode::INTERNAL_SERVER_ERROR
}

async fn wait(State(shared): State<Shared>) -> &'static str {
    shared.tracer.note("handler /wait");
    shared.go.notified().await;
    "waited"
}

async fn panics() -> &'static str {
    panic!("as asked")
}

/// Its head is more than a message to the sidecar may be.
async fn heavy() -> [(&'static str, String); 1] {
    [("x-large", "x".repeat(2 << 20))]
}

/// Its end comes only when it is told to go on.
async fn stream(State(shared): State<Shared>) -> Body {
    let first = stream::once(async { Ok::<_, Infallible>(Bytes::from("first ")) });
    let last = stream::once(async move {
        shared.go.notified().await;
        Ok(Bytes::from("last"))
    });
    Body::from_stream(first.chain(last))
}

async fn user(request: Request) -> String {
    let values = request.extensions().get::<ContextValues>().unwrap();
    format!("{:?} by {:?}", values.get("user"), values.set_by("user"))
}

/// Requests in parallel until it is ended.
pub(crate) struct Load {
    end: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    callers: Vec<JoinHandle<Vec<Answer>>>,
}

impl Load {
    pub(crate) fn new(address: SocketAddr, path: &'static str, callers: usize) -> Self {
        let (end, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let callers = (0..callers).map(|_| tokio::spawn(call(address, path, end.clone(), served.clone()))).collect();
        Self { end, served, callers }
    }

    /// Waits until so many more were answered.
    pub(crate) async fn more(&self, world: &World, count: usize) {
        let goal = self.served.load(SeqCst) + count;
        world.until("more answers", || async { self.served.load(SeqCst) >= goal }).await;
    }

    pub(crate) async fn end(self) -> Vec<Answer> {
        self.end.store(true, SeqCst);
        let mut answers = Vec::new();
        for caller in self.callers {
            answers.extend(caller.await.unwrap());
        }
        answers
    }
}

async fn call(address: SocketAddr, path: &'static str, end: Arc<AtomicBool>, served: Arc<AtomicUsize>) -> Vec<Answer> {
    let mut answers = Vec::new();
    while !end.load(SeqCst) {
        answers.push(http::get(address, path).await);
        served.fetch_add(1, SeqCst);
    }
    answers
}
