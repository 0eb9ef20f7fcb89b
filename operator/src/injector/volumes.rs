//! The volumes of a sidecar, where they are mounted, and what is in them. Pure.

use rockstar_core::{
    limits::{Limit, Limits},
    quantity,
};
use rockstar_crds::names::{CA_CONFIG_MAP, CA_KEY, TOKEN_AUDIENCE};
use serde_json::{Value, json};

/// Private: the snapshot, in memory.
pub(super) const RUN_DIR: &str = "/run/rockstar";
pub(super) const SOCKET: &str = "/run/rockstar-app/app.sock";
/// Private: artifacts, storage, database, and the directories of plugin processes.
pub(super) const DATA_DIR: &str = "/var/lib/rockstar";
pub(super) const TOKEN: &str = "/var/run/secrets/rockstar/token";
pub(super) const CA: &str = "/var/run/rockstar-ca/ca.crt";

const RUN: &str = "rockstar-run";
const APP: &str = "rockstar-app";
const DATA: &str = "rockstar-data";
const TOKENS: &str = "rockstar-token";
const AUTHORITIES: &str = "rockstar-ca";
const NOTHING: &str = "rockstar-nothing";
const TOKEN_SECONDS: u32 = 3600;

/// Plugins that may each take all that limits allow, and copies of artifacts of the largest size, for which there is room.
const PLUGINS: u64 = 256;
const ARTIFACTS: u64 = 16;

/// A pod that goes beyond these bounds is evicted by its node. They stand behind those that the sidecar watches.
pub(super) fn all(limits: &Limits) -> Vec<Value> {
    let token = json!({"path": "token", "audience": TOKEN_AUDIENCE, "expirationSeconds": TOKEN_SECONDS});
    let bundle = json!({"name": CA_CONFIG_MAP, "items": [{"key": CA_KEY, "path": CA_KEY}], "optional": true});
    vec![
        json!({"name": RUN, "emptyDir": {"medium": "Memory", "sizeLimit": "256Mi"}}),
        json!({"name": APP, "emptyDir": {"sizeLimit": "16Mi"}}),
        json!({"name": DATA, "emptyDir": {"sizeLimit": data_size(limits)}}),
        json!({"name": TOKENS, "projected": {"sources": [{"serviceAccountToken": token}]}}),
        json!({"name": AUTHORITIES, "configMap": bundle}),
        json!({"name": NOTHING, "emptyDir": {"sizeLimit": "1Mi"}}),
    ]
}

fn data_size(limits: &Limits) -> String {
    let each = [Limit::Data, Limit::Tmp, Limit::Storage].map(|limit| limits.get(limit)).iter().sum::<u64>();
    let shared = limits.get(Limit::Database) + ARTIFACTS * limits.get(Limit::Artifact);
    quantity::format(shared.saturating_add(PLUGINS.saturating_mul(each)).next_multiple_of(1 << 30))
}

/// The sidecar's. What is mounted where the pod's service account would be keeps plugins from acting as the application.
pub(super) fn mounts() -> Vec<Value> {
    vec![
        json!({"name": RUN, "mountPath": RUN_DIR}),
        socket_mount(false),
        json!({"name": DATA, "mountPath": DATA_DIR}),
        json!({"name": TOKENS, "mountPath": parent(TOKEN), "readOnly": true}),
        json!({"name": AUTHORITIES, "mountPath": parent(CA), "readOnly": true}),
        json!({"name": NOTHING, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true}),
    ]
}

/// Connecting needs no write access, and without it nobody can remove the socket.
pub(super) fn socket_mount(read_only: bool) -> Value {
    let mut mount = json!({"name": APP, "mountPath": parent(SOCKET)});
    if read_only {
        mount["readOnly"] = json!(true);
    }
    mount
}

pub(super) fn socket_variable() -> Value {
    json!({"name": "ROCKSTAR_SOCKET", "value": SOCKET})
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("/", |(parent, _)| parent)
}
