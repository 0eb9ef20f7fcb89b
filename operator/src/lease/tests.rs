//! Elections between replicas over one object in memory, on paused time.

use super::*;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use kube::{Client, client::Body};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{convert::Infallible, sync::Arc};

/// The API server, as far as one Lease goes.
#[derive(Clone, Default)]
struct Server {
    lease: Arc<Mutex<Option<Value>>>,
    /// Whose calls are not answered.
    cut_off: Arc<Mutex<Option<&'static str>>>,
}

impl Server {
    fn api(&self, of: &'static str) -> Api<Lease> {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| server.clone().respond(of, request));
        Api::namespaced(Client::new(service, "system"), "system")
    }

    async fn respond(self, of: &'static str, request: Request<Body>) -> Result<Response<Body>, Infallible> {
        if *self.cut_off.lock() == Some(of) {
            future::pending::<()>().await;
        }
        let (head, body) = request.into_parts();
        let sent = body.collect().await.unwrap().to_bytes();
        let (status, answer) = self.answer(&head.method, serde_json::from_slice(&sent).unwrap_or_default());
        let answer = Body::from(serde_json::to_vec(&answer).unwrap());
        Ok(Response::builder().status(status).body(answer).unwrap())
    }

    fn answer(&self, method: &Method, mut sent: Value) -> (StatusCode, Value) {
        let mut lease = self.lease.lock();
        let version = |lease: &Value| lease["metadata"]["resourceVersion"].as_str().map(str::to_owned);
        match (method, lease.as_ref()) {
            (&Method::GET, Some(lease)) => return (StatusCode::OK, lease.clone()),
            (&Method::GET, None) => return status(StatusCode::NOT_FOUND, "NotFound"),
            (&Method::POST, Some(_)) => return status(StatusCode::CONFLICT, "AlreadyExists"),
            (_, Some(old)) if version(old) != version(&sent) => return status(StatusCode::CONFLICT, "Conflict"),
            _ => {}
        }
        let old = lease.as_ref().and_then(version).and_then(|v| v.parse::<u64>().ok()).unwrap_or(0);
        sent["metadata"]["resourceVersion"] = json!((old + 1).to_string());
        *lease = Some(sent.clone());
        (StatusCode::OK, sent)
    }
}

fn status(code: StatusCode, reason: &str) -> (StatusCode, Value) {
    let text =
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code.as_u16()});
    (code, text)
}

struct Replica {
    leadership: watch::Receiver<Leadership>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

fn replica(server: &Server, name: &'static str) -> Replica {
    let (sender, leadership) = watch::channel(Leadership::Following { address: String::new() });
    let settings =
        Settings { name: "rockstar-operator".into(), identity: name.into(), address: format!("{name}:9443") };
    let stop = CancellationToken::new();
    let task = tokio::spawn(run(server.api(name), settings, sender, stop.clone()));
    Replica { leadership, stop, task }
}

async fn becomes(replica: &Replica, expected: Leadership) {
    let mut leadership = replica.leadership.clone();
    let seen = leadership.wait_for(|now| *now == expected);
    tokio::time::timeout(Duration::from_secs(120), seen).await.expect("in time").unwrap();
}

fn following(name: &str) -> Leadership {
    Leadership::Following { address: format!("{name}:9443") }
}

#[tokio::test(start_paused = true)]
async fn one_leads_and_the_other_knows_where() {
    let server = Server::default();
    let a = replica(&server, "a");
    becomes(&a, Leadership::Leading).await;
    let b = replica(&server, "b");
    becomes(&b, following("a")).await;
    sleep(Duration::from_secs(300)).await;
    assert_eq!(*a.leadership.borrow(), Leadership::Leading);
    assert_eq!(*b.leadership.borrow(), following("a"));
}

#[tokio::test(start_paused = true)]
async fn who_leaves_hands_over_at_once() {
    let server = Server::default();
    let a = replica(&server, "a");
    becomes(&a, Leadership::Leading).await;
    let b = replica(&server, "b");
    becomes(&b, following("a")).await;
    let left = Instant::now();
    a.stop.cancel();
    a.task.await.unwrap();
    becomes(&b, Leadership::Leading).await;
    assert!(left.elapsed() < DURATION, "the lease was given back");
}

#[tokio::test(start_paused = true)]
async fn who_is_cut_off_stops_leading_before_another_starts() {
    let server = Server::default();
    let a = replica(&server, "a");
    becomes(&a, Leadership::Leading).await;
    let b = replica(&server, "b");
    becomes(&b, following("a")).await;
    *server.cut_off.lock() = Some("a");
    becomes(&a, Leadership::Following { address: String::new() }).await;
    assert!(!b.leadership.borrow().is_leading());
    becomes(&b, Leadership::Leading).await;
    *server.cut_off.lock() = None;
    becomes(&a, following("b")).await;
}

#[tokio::test(start_paused = true)]
async fn of_many_never_two_lead() {
    let server = Server::default();
    let replicas = ["a", "b", "c", "d"].map(|name| replica(&server, name));
    for cut_off in [None, Some("a"), Some("b"), None, Some("c"), Some("d"), None] {
        *server.cut_off.lock() = cut_off;
        for _ in 0..600 {
            sleep(Duration::from_millis(100)).await;
            let leading = replicas.iter().filter(|replica| replica.leadership.borrow().is_leading()).count();
            assert!(leading <= 1, "{leading} lead");
        }
        assert_eq!(replicas.iter().filter(|replica| replica.leadership.borrow().is_leading()).count(), 1);
    }
}
