//! The webhooks from the outside: over TLS, with an API server that knows one PluginHost.

use super::*;
use crate::{
    certificates::{publish::WebhookNames, tls::Tls},
    host::Bells,
    namespaces::Owner,
    scope::Scope,
};
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use kube::client::Body;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde_json::{Value, json};
use std::convert::Infallible;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

const NAME: &str = "rockstar-operator.rockstar-system.svc";

fn api_server() -> Client {
    let service = tower::service_fn(async |request: Request<Body>| {
        let (status, answer) = match request.uri().path() {
            path if path.ends_with("/pluginhosts/storefront") => (200, host()),
            path if path.ends_with("/plugins") => (200, json!({"metadata": {}, "items": []})),
            _ => (404, json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404})),
        };
        let body = Body::from(serde_json::to_vec(&answer).unwrap());
        Ok::<_, Infallible>(Response::builder().status(status).body(body).unwrap())
    });
    Client::new(service, "default")
}

fn host() -> Value {
    json!({
        "apiVersion": "plugins.rockstar-framework.dev/v1alpha1",
        "kind": "PluginHost",
        "metadata": {"name": "storefront", "namespace": "shop"},
        "spec": {"framework": {"version": "1.5.0"}, "sidecar": {"image": "own:2"}},
    })
}

struct Served {
    tls: Arc<Tls>,
    port: u16,
    _stop: tokio_util::sync::DropGuard,
}

async fn served() -> Served {
    let tls = Arc::new(Tls::for_tests(&[NAME.into()]));
    let namespaces = Namespaces::unclaimed(Bells::default());
    namespaces.set_owner("owned", Owner::Other("system/other".into()));
    let webhooks = WebhookNames { mutating: "m".into(), validating: "v".into() };
    let publisher = Publisher::new(api_server(), Arc::clone(&tls), Scope::Cluster, webhooks, namespaces.clone());
    let injector = Settings {
        image: "sidecar:1".into(),
        image_pull_policy: String::new(),
        resources: rockstar_crds::policy::ContainerResources::default(),
        control_url: format!("https://{NAME}:9443"),
        insecure_registries: Vec::new(),
        log_format: "json".into(),
    };
    let router = Webhooks::new(api_server(), injector, publisher, Metrics::new().unwrap(), namespaces).router();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, stop) = (listener.local_addr().unwrap().port(), CancellationToken::new());
    tokio::spawn(server::serve(listener, Arc::clone(&tls), router, stop.clone()));
    Served { tls, port, _stop: stop.drop_guard() }
}

impl Served {
    /// Asks as the API server does: by the name of the Service, trusting the bundle alone.
    async fn ask(&self, path: &str, review: &Value) -> Value {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(self.tls.bundle().as_bytes()) {
            roots.add(certificate.unwrap()).unwrap();
        }
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let socket = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let stream = connector.connect(ServerName::try_from(NAME).unwrap(), socket).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake::<_, String>(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::post(path).header("host", NAME).header("content-type", "application/json");
        let answer = sender.send_request(request.body(review.to_string()).unwrap()).await.unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&body).unwrap_or_else(|_| json!(String::from_utf8_lossy(&body)))
    }
}

fn review(object: &Value, operation: &str) -> Value {
    let (object, old) =
        if operation == "DELETE" { (json!(null), object.clone()) } else { (object.clone(), json!(null)) };
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "1",
            "kind": {"group": "", "version": "v1", "kind": "Any"},
            "resource": {"group": "", "version": "v1", "resource": "any"},
            "name": "any",
            "namespace": "shop",
            "operation": operation,
            "userInfo": {},
            "object": object,
            "oldObject": old,
            "dryRun": true,
        },
    })
}

fn pod(host: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "app-", "labels": {"plugins.rockstar-framework.dev/host": host}},
        "spec": {"containers": [{"name": "app", "image": "shop:1"}]},
    })
}

fn plugin(permissions: &Value) -> Value {
    json!({
        "apiVersion": "plugins.rockstar-framework.dev/v1alpha1",
        "kind": "Plugin",
        "metadata": {"name": "auth", "namespace": "shop"},
        "spec": {
            "host": "storefront",
            "manifest": {"name": "auth-plugin", "version": "1.0.0", "description": "d", "author": "a"},
            "source": {"path": "/plugins/auth"},
            "permissions": permissions,
        },
    })
}

async fn injected(served: &Served, host: &str) -> (Value, Value) {
    let response = served.ask("/inject", &review(&pod(host), "CREATE")).await["response"].clone();
    let patch: Vec<u8> = serde_json::from_value(response["patch"].clone()).unwrap();
    let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
    let mut pod = pod(host);
    json_patch::patch(&mut pod, &patch).unwrap();
    (response, pod)
}

#[tokio::test]
async fn a_pod_is_patched() {
    let served = served().await;
    let (response, pod) = injected(&served, "storefront").await;
    assert_eq!(response["allowed"], true);
    assert_eq!(response["warnings"], json!(null));
    assert_eq!(pod["spec"]["initContainers"][0]["image"], "own:2");
    assert_eq!(pod["spec"]["containers"][0]["env"][0]["name"], "ROCKSTAR_SOCKET");
}

#[tokio::test]
async fn a_pod_without_its_host_gets_its_sidecar_too() {
    let served = served().await;
    let (response, pod) = injected(&served, "absent").await;
    assert!(response["warnings"][0].as_str().unwrap().contains("no PluginHost 'absent'"), "{response}");
    assert_eq!(pod["spec"]["initContainers"][0]["image"], "sidecar:1");
}

#[tokio::test]
async fn a_plugin_is_refused_with_the_reason() {
    let served = served().await;
    let response = served.ask("/validate-plugin", &review(&plugin(&json!({"exec": true})), "CREATE")).await;
    assert_eq!(response["response"]["allowed"], false);
    let text = response["response"]["status"]["message"].as_str().unwrap();
    let expected = "permission mismatch: plugin requests 'exec' permission but manifest does not declare it";
    assert!(text.contains(expected), "{text}");
    let response = served.ask("/validate-plugin", &review(&plugin(&json!({})), "CREATE")).await;
    assert_eq!(response["response"]["allowed"], true);
}

#[tokio::test]
async fn what_is_deleted_passes() {
    let served = served().await;
    let response = served.ask("/validate-plugin", &review(&plugin(&json!({"exec": true})), "DELETE")).await;
    assert_eq!(response["response"]["allowed"], true);
    let mut leaving = plugin(&json!({"exec": true}));
    leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let response = served.ask("/validate-plugin", &review(&leaving, "UPDATE")).await;
    assert_eq!(response["response"]["allowed"], true);
    let response = served.ask("/validate-pluginhost", &review(&host(), "DELETE")).await;
    assert_eq!(response["response"]["allowed"], true);
}

#[tokio::test]
async fn nonsense_is_no_opinion() {
    let served = served().await;
    let answer = served.ask("/inject", &json!({"kind": "Pod"})).await;
    assert!(answer.as_str().unwrap().starts_with("no AdmissionReview"), "{answer}");
}

#[tokio::test]
async fn a_renewed_certificate_serves_the_next_connection() {
    let served = served().await;
    let before = served.tls.bundle();
    served.tls.renew_for_tests(&[NAME.into()]);
    assert_ne!(before, served.tls.bundle());
    injected(&served, "storefront").await;
}

#[tokio::test]
async fn a_namespace_of_another_operator_is_left_to_its_webhook() {
    let served = served().await;
    let mut review = review(&pod("storefront"), "CREATE");
    review["request"]["namespace"] = json!("owned");
    let response = served.ask("/inject", &review).await["response"].clone();
    assert_eq!((&response["allowed"], &response["patch"]), (&json!(true), &json!(null)));
}

#[tokio::test]
async fn connections_that_say_nothing_keep_no_pod_from_being_made() {
    let served = served().await;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(("127.0.0.1", served.port)).await.unwrap());
    }
    let (response, _) = injected(&served, "storefront").await;
    assert_eq!((&response["allowed"], silent.len()), (&json!(true), 300));
}
