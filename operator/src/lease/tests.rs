//! Elections between replicas over one object in memory, on paused time.

use super::*;
use crate::{host::Bells, namespaces::Namespaces, scope::Scope};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use kube::{Client, client::Body};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{collections::BTreeSet, convert::Infallible, sync::Arc};

/// The API server, as far as one Lease goes.
#[derive(Clone, Default)]
struct Server {
    lease: Arc<Mutex<Option<Value>>>,
    /// The notes of events.
    events: Arc<Mutex<Vec<String>>>,
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
        if head.uri.path().ends_with("/events") {
            let event: Value = serde_json::from_slice(&sent).unwrap();
            self.events.lock().push(event["note"].as_str().unwrap().to_owned());
            return Ok(Response::new(Body::from(sent.to_vec())));
        }
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
    fit: watch::Sender<bool>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

fn replica(server: &Server, name: &'static str) -> Replica {
    let replica = unfit_replica(server, name);
    replica.fit.send_replace(true);
    replica
}

fn unfit_replica(server: &Server, name: &'static str) -> Replica {
    let (sender, leadership) = watch::channel(Leadership::Following { address: String::new() });
    let settings =
        Settings { name: "rockstar-operator".into(), identity: name.into(), address: format!("{name}:9443") };
    let stop = CancellationToken::new();
    let (fit, is_fit) = watch::channel(false);
    let task = tokio::spawn(run(server.api(name), settings, is_fit, sender, stop.clone()));
    Replica { leadership, fit, stop, task }
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
async fn only_a_replica_that_sees_the_cluster_leads() {
    let server = Server::default();
    let a = unfit_replica(&server, "a");
    sleep(Duration::from_secs(300)).await;
    assert!(!a.leadership.borrow().is_leading() && server.lease.lock().is_none());
    let b = replica(&server, "b");
    becomes(&b, Leadership::Leading).await;
    becomes(&a, following("b")).await;
    a.fit.send_replace(true);
    b.fit.send_replace(false);
    becomes(&b, Leadership::Following { address: String::new() }).await;
    becomes(&a, Leadership::Leading).await;
    becomes(&b, following("a")).await;
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

fn claims(server: &Server, of: &'static str, holder: &str) -> (owner::Claims, Namespaces) {
    let server = server.clone();
    let service = tower::service_fn(move |request: Request<Body>| server.clone().respond(of, request));
    let namespaces = Namespaces::claimed(Bells::default());
    let settings = owner::Settings {
        holder: holder.into(),
        scope: Scope::Cluster,
        own_namespace: "system".into(),
        own_lease: "rockstar-operator".into(),
        instance: of.into(),
    };
    (owner::Claims::new(Client::new(service, "system"), settings, namespaces.clone()), namespaces)
}

#[tokio::test(start_paused = true)]
async fn a_namespace_belongs_to_one_operator() {
    let server = Server::default();
    let shop = || BTreeSet::from(["shop".to_owned()]);
    let (mut a, ours) = claims(&server, "a", "system/a");
    let (mut b, theirs) = claims(&server, "b", "other/b");
    a.look(shop(), false).await;
    assert!(server.lease.lock().is_none() && !ours.owns("shop"), "a follower only looks");
    for _ in 0..10 {
        a.look(shop(), true).await;
        b.look(shop(), true).await;
        assert!(ours.owns("shop") && !theirs.owns("shop"));
        assert_eq!(theirs.other_owner("shop").as_deref(), Some("system/a"));
        sleep(Duration::from_secs(16)).await;
    }
    let events = server.events.lock().clone();
    assert_eq!(events, ["NamespaceOwned by system/a: namespace shop is left alone"], "said once");
    // Its operator is gone.
    let mut owned = Vec::new();
    for _ in 0..6 {
        b.look(shop(), true).await;
        owned.push((ours.owns("shop"), theirs.owns("shop")));
        sleep(Duration::from_secs(16)).await;
    }
    assert!(owned.iter().all(|(ours, theirs)| !(*ours && *theirs)), "never two at once: {owned:?}");
    assert_eq!(owned.last(), Some(&(false, true)));
    a.look(shop(), true).await;
    assert_eq!(ours.other_owner("shop").as_deref(), Some("other/b"));
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_cannot_be_renewed_ends() {
    let server = Server::default();
    let shop = || BTreeSet::from(["shop".to_owned()]);
    let (mut a, ours) = claims(&server, "a", "system/a");
    a.look(shop(), true).await;
    *server.cut_off.lock() = Some("a");
    a.look(shop(), true).await;
    assert!(ours.owns("shop"), "one failed call ends nothing");
    sleep(Duration::from_secs(46)).await;
    a.look(shop(), true).await;
    assert!(!ours.owns("shop") && ours.is_held("shop"));
    *server.cut_off.lock() = None;
    sleep(Duration::from_secs(16)).await;
    a.look(shop(), true).await;
    assert!(ours.owns("shop"));
    a.look(BTreeSet::new(), true).await;
    assert!(!ours.owns("shop"), "it is looked after no more");
}
