//! Watches over an API server in memory, on paused time.

use super::*;
use crate::{host::Bells, namespaces::Held};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{collections::BTreeMap, convert::Infallible};

type Answer = UnsyncBoxBody<Bytes, Infallible>;

const GROUP: &str = "plugins.rockstar-framework.dev/v1alpha1";

/// The status by which each namespace answers; 200 if it is not named.
#[derive(Clone, Default)]
struct Server {
    refused: Arc<Mutex<BTreeMap<String, u16>>>,
    lists: Arc<Mutex<BTreeMap<String, usize>>>,
    hosts: Arc<Mutex<Vec<Value>>>,
}

impl Server {
    fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let answer = server.answer(&request);
            async move { Ok::<_, Infallible>(answer) }
        });
        Client::new(service, "system")
    }

    fn answer(&self, request: &Request<Body>) -> Response<Answer> {
        let path = request.uri().path();
        let namespace = path.split("/namespaces/").nth(1).unwrap_or_default().split('/').next().unwrap_or_default();
        if let Some(code) = self.refused.lock().get(namespace).copied() {
            let reason = if code == 403 { "Forbidden" } else { "InternalError" };
            return json_response(
                code,
                &json!({"kind": "Status", "status": "Failure", "reason": reason, "code": code}),
            );
        }
        if request.uri().query().is_some_and(|query| query.contains("watch=true")) {
            // No news, for ever.
            let news = futures::stream::pending::<Result<hyper::body::Frame<Bytes>, Infallible>>();
            return Response::new(StreamBody::new(news).boxed_unsync());
        }
        *self.lists.lock().entry(namespace.to_owned()).or_default() += 1;
        let hosts = self.hosts.lock();
        let of_namespace = |host: &&Value| path.ends_with("/pluginhosts") && host["metadata"]["namespace"] == namespace;
        let items: Vec<_> = hosts.iter().filter(of_namespace).cloned().collect();
        json_response(200, &json!({"metadata": {"resourceVersion": "1"}, "items": items}))
    }

    fn refuse(&self, namespace: &str, code: Option<u16>) {
        match code {
            Some(code) => drop(self.refused.lock().insert(namespace.into(), code)),
            None => drop(self.refused.lock().remove(namespace)),
        }
    }
}

fn json_response(code: u16, body: &Value) -> Response<Answer> {
    Response::builder().status(code).body(Full::from(body.to_string()).boxed_unsync()).unwrap()
}

fn host(namespace: &str) -> Value {
    json!({"apiVersion": GROUP, "kind": "PluginHost", "metadata": {"name": "storefront", "namespace": namespace},
        "spec": {"framework": {"version": "1.5.0"}}})
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..600 {
        if holds() {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("never: {what}");
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_may_not_be_read_is_held_and_delays_nobody() {
    let server = Server::default();
    server.hosts.lock().extend([host("shop"), host("gone")]);
    server.refuse("gone", Some(403));
    let namespaces = Namespaces::unclaimed(Bells::default());
    let scope = Scope::of(&["shop".into(), "gone".into()]);
    let (world, _watches) = Kubernetes::start(server.client(), &scope, namespaces.clone(), "operator-0");
    world.synced().await;
    assert_eq!(world.hosts(), [HostKey::new("shop", "storefront")]);
    assert!(world.is_held("gone") && !world.is_held("shop"));
    assert_eq!(namespaces.held(), Held { unreadable: 1, owned_by_others: 0 });

    server.refuse("gone", None);
    eventually("it comes back by itself", || !world.is_held("gone")).await;
    assert_eq!(world.hosts().len(), 2);
    let lists = server.lists.lock().clone();
    assert_eq!((lists["shop"], lists["gone"]), (4, 4), "one list of each kind");
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_cannot_see_the_cluster_is_not_fit_to_lead() {
    let server = Server::default();
    server.refuse("shop", Some(500));
    let scope = Scope::of(&["shop".into()]);
    let namespaces = Namespaces::unclaimed(Bells::default());
    let (world, _watches) = Kubernetes::start(server.client(), &scope, namespaces, "operator-0");
    let (fit, is_fit) = watch::channel(false);
    let world = Arc::new(world);
    let reporting = Arc::clone(&world);
    let task = tokio::spawn(async move { reporting.report_fitness(&fit).await });
    sleep(Duration::from_secs(120)).await;
    assert!(!*is_fit.borrow(), "nothing was seen yet");
    server.refuse("shop", None);
    eventually("it is in sync", || *is_fit.borrow()).await;
    task.abort();
}

#[test]
fn a_watch_that_fails_for_long_makes_unfit() {
    let now = Instant::now();
    let since =
        |seconds| Progress { begun: true, failing_since: Some(now.checked_sub(Duration::from_secs(seconds)).unwrap()) };
    assert!(Progress { begun: true, failing_since: None }.is_fit(now));
    assert!(since(59).is_fit(now));
    assert!(!since(60).is_fit(now));
    assert!(!Progress::default().is_fit(now));
}
