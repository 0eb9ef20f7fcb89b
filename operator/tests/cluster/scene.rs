//! The operator in a cluster without nodes: pods are only objects, instances are in this process. I/O: the API server.

use crate::{
    api_server::ApiServer,
    instance::{Connect, Instance},
};
use k8s_openapi::{
    api::{
        authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
        core::v1::{Namespace, Pod, ServiceAccount},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, CustomResourceExt, ResourceExt,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
    core::{ApiResource, GroupVersionKind},
    runtime::wait::{await_condition, conditions::is_crd_established},
};
use rockstar_crds::{Plugin, PluginHost};
use rockstar_operator::{
    cluster::{self, ClusterError, Options},
    driver::metrics::DriverMetrics,
    host::Bells,
    leadership::Leadership,
    namespaces::Namespaces,
    scope::Scope,
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

const CAP: Duration = Duration::from_secs(90);
pub(crate) const NAMESPACE: &str = "shop";

pub(crate) struct Scene {
    pub(crate) client: Client,
    pub(crate) instances: Vec<Instance>,
    operator: Operator,
    tls: Tls,
    _server: ApiServer,
}

struct Operator {
    port: u16,
    stop: CancellationToken,
    task: JoinHandle<Result<(), ClusterError>>,
    _leadership: watch::Sender<Leadership>,
}

#[derive(Clone)]
struct Tls {
    config: Arc<rustls::ServerConfig>,
    certificate: String,
}

impl Tls {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["operator.test".to_owned()]).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config =
            rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![made.cert.der().clone()], key);
        let mut config = config.unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self { config: Arc::new(config), certificate: made.cert.pem() }
    }

    fn connect(&self, port: u16) -> Connect {
        let trusted = Certificate::from_pem(&self.certificate);
        let tls = ClientTlsConfig::new().ca_certificate(trusted).domain_name("operator.test");
        let endpoint = Endpoint::from_shared(format!("https://127.0.0.1:{port}")).unwrap().tls_config(tls).unwrap();
        Arc::new(move || {
            let endpoint = endpoint.clone();
            Box::pin(async move { endpoint.connect().await })
        })
    }
}

async fn operate(client: Client, tls: &Tls, port: u16) -> Operator {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, leadership) = Leadership::alone();
    let stop = CancellationToken::new();
    let config = Arc::clone(&tls.config);
    let options = Options {
        client,
        scope: Scope::Cluster,
        instance: "operator-0".into(),
        leadership,
        listener,
        tls: Arc::new(move || Arc::clone(&config)),
        metrics: DriverMetrics::new(&prometheus::Registry::new()).unwrap(),
        namespaces: Namespaces::unclaimed(Bells::default()),
        owner: None,
        fit: watch::channel(false).0,
    };
    let task = tokio::spawn(cluster::run(options, stop.clone()));
    Operator { port, stop, task, _leadership: sender }
}

impl Operator {
    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

impl Scene {
    /// None where there is no API server to be had.
    pub(crate) async fn new(pods: usize, bad: &[&str]) -> Option<Self> {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        drop(
            tracing_subscriber::fmt()
                .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
                .with_test_writer()
                .try_init(),
        );
        let server = ApiServer::start().await?;
        let client = server.client();
        prepare(&client).await;
        let tls = Tls::new();
        let operator = operate(client.clone(), &tls, 0).await;
        let mut scene = Self { client, instances: Vec::new(), operator, tls, _server: server };
        for n in 0..pods {
            let token = pod_with_token(&scene.client, &format!("web-{n}")).await;
            scene.instances.push(Instance::start(scene.tls.connect(scene.operator.port), &token, bad));
        }
        Some(scene)
    }

    /// As `kubectl apply` does it.
    pub(crate) async fn apply(&self, object: Value) {
        let (api, name) = self.api(&object);
        api.patch(&name, &PatchParams::apply("user").force(), &Patch::Apply(&object)).await.unwrap();
    }

    pub(crate) async fn delete_plugin(&self, name: &str) {
        self.plugins().delete(name, &DeleteParams::default()).await.unwrap();
    }

    fn api(&self, object: &Value) -> (Api<DynamicObject>, String) {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let version = text(&object["apiVersion"]);
        let (group, version) = version.split_once('/').unwrap_or(("", &version));
        let kind = GroupVersionKind::gvk(group, version, &text(&object["kind"]));
        let api = Api::namespaced_with(self.client.clone(), NAMESPACE, &ApiResource::from_gvk(&kind));
        (api, text(&object["metadata"]["name"]))
    }

    pub(crate) fn plugins(&self) -> Api<Plugin> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    pub(crate) async fn plugin(&self, name: &str) -> Option<Plugin> {
        self.plugins().get_opt(name).await.unwrap()
    }

    /// Waits for a condition on a Plugin, or on its absence.
    pub(crate) async fn until(&self, what: &str, name: &str, holds: impl Fn(Option<&Plugin>) -> bool) {
        let met = async {
            while !holds(self.plugin(name).await.as_ref()) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        if tokio::time::timeout(CAP, met).await.is_err() {
            let logs: Vec<_> = self.instances.iter().map(|i| i.seen.lock().log.clone()).collect();
            panic!("never: {what}\n{:#?}\n{logs:#?}", self.plugin(name).await);
        }
    }

    pub(crate) async fn until_instances(&self, what: &str, holds: impl Fn(&Instance) -> bool) {
        let met = async {
            while !self.instances.iter().all(&holds) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        assert!(tokio::time::timeout(CAP, met).await.is_ok(), "never: {what}");
    }

    /// Another replica takes over, with nothing but what is stored.
    pub(crate) async fn replace_operator(self) -> Self {
        let Self { client, instances, operator, tls, _server } = self;
        let port = operator.port;
        operator.end().await;
        let operator = operate(client.clone(), &tls, port).await;
        Self { client, instances, operator, tls, _server }
    }
}

async fn prepare(client: &Client) {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in [Plugin::crd(), PluginHost::crd()] {
        crds.create(&PostParams::default(), &crd).await.unwrap();
        let name = crd.name_any();
        let established = await_condition(crds.clone(), &name, is_crd_established());
        tokio::time::timeout(CAP, established).await.unwrap().unwrap();
    }
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": NAMESPACE}})).unwrap();
    Api::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
    let account: ServiceAccount = serde_json::from_value(json!({"metadata": {"name": "default"}})).unwrap();
    Api::namespaced(client.clone(), NAMESPACE).create(&PostParams::default(), &account).await.unwrap();
}

/// A pod as the webhook would let it in, and the token that a kubelet would project into it.
async fn pod_with_token(client: &Client, name: &str) -> String {
    let labels = json!({"plugins.rockstar-framework.dev/host": "storefront"});
    let containers = |name: &str| json!([{"name": name, "image": "none"}]);
    let spec = json!({"serviceAccountName": "default", "containers": containers("app"), "initContainers": containers("rockstar-sidecar")});
    let pod = json!({"metadata": {"name": name, "labels": labels}, "spec": spec});
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let pod = pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: Some(vec!["rockstar-operator".into()]),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".into()),
                kind: Some("Pod".into()),
                name: Some(name.into()),
                uid: pod.uid(),
            }),
            expiration_seconds: None,
        }),
        ..TokenRequest::default()
    };
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), NAMESPACE);
    let made = accounts.create_token_request("default", &PostParams::default(), &request).await.unwrap();
    made.status.unwrap().token.unwrap()
}
