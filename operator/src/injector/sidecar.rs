//! The sidecar's container. Pure.

use super::{CONTAINER, Settings, volumes};
use rockstar_crds::{PluginHost, policy::ContainerResources};
use serde_json::{Value, json};

const ADMIN_PORT: u16 = 9464;
const USER: u32 = 65532;
const DEFAULT_GRACE_SECONDS: u64 = 30;

pub(super) fn container(settings: &Settings, host: Option<&PluginHost>, grace: Option<u64>) -> Value {
    let own = host.and_then(|host| host.spec.sidecar.as_ref());
    let image = own.and_then(|own| own.image.as_ref()).unwrap_or(&settings.image);
    let resources = own.and_then(|own| own.resources.as_ref()).unwrap_or(&settings.resources);
    let mut container = json!({
        "name": CONTAINER,
        "image": image,
        "restartPolicy": "Always",
        "args": arguments(settings),
        "env": environment(grace.unwrap_or(DEFAULT_GRACE_SECONDS), resources),
        "ports": [{"name": "rockstar-admin", "containerPort": ADMIN_PORT, "protocol": "TCP"}],
        "volumeMounts": volumes::mounts(),
        "securityContext": confined(),
        "startupProbe": probe("/startupz", 1, 300),
        "readinessProbe": probe("/readyz", 2, 2),
        "livenessProbe": probe("/livez", 10, 6),
        "lifecycle": {"preStop": {"httpGet": {"path": "/drain", "port": ADMIN_PORT, "scheme": "HTTP"}}},
    });
    if *resources != ContainerResources::default() {
        container["resources"] = json!(resources);
    }
    if !settings.image_pull_policy.is_empty() {
        container["imagePullPolicy"] = json!(settings.image_pull_policy);
    }
    container
}

fn arguments(settings: &Settings) -> Vec<String> {
    let pairs = [
        ("--control", settings.control_url.as_str()),
        ("--control-ca", volumes::CA),
        ("--control-token", volumes::TOKEN),
        ("--socket", volumes::SOCKET),
        ("--run-dir", volumes::RUN_DIR),
        ("--data-dir", volumes::DATA_DIR),
        ("--admin", "0.0.0.0:9464"),
        ("--log-format", settings.log_format.as_str()),
    ];
    let registries = settings.insecure_registries.iter().map(|registry| ("--insecure-registry", registry.as_str()));
    pairs.into_iter().chain(registries).map(|(name, value)| format!("{name}={value}")).collect()
}

/// Which pod it is in, for logs; how long it has from the pod's end to its own; and the memory that it may use.
fn environment(grace: u64, resources: &ContainerResources) -> Vec<Value> {
    let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    // Without a limit, this would be the node's memory.
    let is_limited = resources.limits.contains_key("memory");
    let limit =
        json!({"name": "ROCKSTAR_MEMORY_LIMIT", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory"}}});
    let always = [
        field("POD_NAME", "metadata.name"),
        field("POD_NAMESPACE", "metadata.namespace"),
        json!({"name": "ROCKSTAR_GRACE_PERIOD", "value": format!("{grace}s")}),
    ];
    always.into_iter().chain(is_limited.then_some(limit)).collect()
}

fn confined() -> Value {
    json!({
        "runAsNonRoot": true,
        "runAsUser": USER,
        "runAsGroup": USER,
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    })
}

fn probe(path: &str, period: u32, failures: u32) -> Value {
    json!({
        "httpGet": {"path": path, "port": ADMIN_PORT, "scheme": "HTTP"},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    })
}
