//! A directory, an operator over it, and instances attached to it. I/O: files and sockets of a temporary directory.

use crate::instance::{Connect, Instance};
use hyper_util::rt::TokioIo;
use rockstar_crds::{Plugin, PluginHost};
use rockstar_operator::dev::{self, DirectoryOptions, Handle, Member, Snapshot};
use serde_json::{Value, json};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::net::UnixStream;
use tonic::transport::Endpoint;

const CAP: Duration = Duration::from_secs(60);

pub(crate) struct Scene {
    dir: TempDir,
    pub(crate) operator: Handle,
    pub(crate) instances: Vec<Instance>,
}

/// A Plugin that needs no files, as nobody runs it.
pub(crate) fn plugin(name: &str, version: &str, extra: Value) -> Value {
    let manifest = json!({
        "name": name, "version": version, "description": "d", "author": "a",
        "permissions": {"cache": true},
        "config": {"level": {"type": "string", "default": "info"}},
    });
    let mut object = json!({
        "apiVersion": "plugins.rockstar-framework.dev/v1alpha1",
        "kind": "Plugin",
        "metadata": {"name": name},
        "spec": {"host": "storefront", "manifest": manifest, "source": {"path": "/plugins/it"}},
    });
    merge(&mut object, extra);
    object
}

fn merge(into: &mut Value, extra: Value) {
    match (into, extra) {
        (Value::Object(into), Value::Object(extra)) => {
            extra.into_iter().for_each(|(key, value)| merge(into.entry(key).or_insert(Value::Null), value));
        }
        (into, extra) => *into = extra,
    }
}

fn host() -> Value {
    json!({
        "apiVersion": "plugins.rockstar-framework.dev/v1alpha1",
        "kind": "PluginHost",
        "metadata": {"name": "storefront"},
        "spec": {"framework": {"version": "1.5.0"}},
    })
}

fn members(count: usize) -> Vec<Member> {
    let member = |n| Member { name: format!("pod-{n}"), token: format!("token-{n}"), host: None };
    (0..count).map(member).collect()
}

fn options(dir: &TempDir, count: usize) -> DirectoryOptions {
    DirectoryOptions { dir: dir.path().join("yaml"), listen: dir.path().join("control.sock"), members: members(count) }
}

impl Scene {
    /// So many instances, in which the versions in `bad` fail.
    pub(crate) async fn new(count: usize, bad: &[&str], objects: &[Value]) -> Self {
        let dir = TempDir::new().unwrap();
        std::fs::create_dir(dir.path().join("yaml")).unwrap();
        write(&dir, "host", &host());
        objects.iter().for_each(|object| write(&dir, object["metadata"]["name"].as_str().unwrap(), object));
        let operator = dev::start(options(&dir, count)).await.unwrap();
        let socket = dir.path().join("control.sock");
        let instances = (0..count).map(|n| Instance::start(unix(socket.clone()), &format!("token-{n}"), bad)).collect();
        Self { dir, operator, instances }
    }

    pub(crate) fn apply(&self, object: &Value) {
        write(&self.dir, object["metadata"]["name"].as_str().unwrap(), object);
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(path(&self.dir, name), text).unwrap();
    }

    pub(crate) fn delete(&self, name: &str) {
        std::fs::remove_file(path(&self.dir, name)).unwrap();
    }

    /// Waits for a condition on what users see and on the instances.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Snapshot, &[Instance]) -> bool) {
        let mut changes = self.operator.changes();
        let met = async {
            while !holds(&self.operator.snapshot(), &self.instances) {
                drop(tokio::time::timeout(Duration::from_millis(50), changes.changed()).await);
            }
        };
        if tokio::time::timeout(CAP, met).await.is_err() {
            let seen: Vec<_> = self.instances.iter().map(|i| i.seen.lock().log.clone()).collect();
            panic!("never: {what}\n{:#?}\n{seen:#?}", self.operator.snapshot());
        }
    }

    /// Ends the operator and starts another one over the same objects.
    pub(crate) async fn restart_operator(self) -> Self {
        let Self { dir, operator, instances } = self;
        let operator = operator.restart().await.unwrap();
        Self { dir, operator, instances }
    }
}

/// Over a Unix socket.
fn unix(socket: PathBuf) -> Connect {
    Arc::new(move || {
        let socket = socket.clone();
        let connect = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://localhost");
        Box::pin(async move { endpoint.connect_with_connector(connect).await })
    })
}

fn path(dir: &TempDir, name: &str) -> PathBuf {
    dir.path().join("yaml").join(format!("{name}.yaml"))
}

fn write(dir: &TempDir, name: &str, object: &Value) {
    let whole = path(dir, name);
    let part = whole.with_extension("part");
    std::fs::write(&part, serde_json::to_string_pretty(object).unwrap()).unwrap();
    std::fs::rename(part, whole).unwrap();
}

/// A condition of a Plugin: status, reason, message.
pub(crate) fn condition(snapshot: &Snapshot, plugin: &str, kind: &str) -> Option<(String, String, String)> {
    let status = found(snapshot, plugin)?.status.as_ref()?;
    let condition = status.conditions.iter().find(|c| c.type_ == kind)?;
    Some((condition.status.clone(), condition.reason.clone(), condition.message.clone()))
}

pub(crate) fn found<'a>(snapshot: &'a Snapshot, plugin: &str) -> Option<&'a Plugin> {
    snapshot.plugins.iter().find(|p| p.metadata.name.as_deref() == Some(plugin))
}

pub(crate) fn storefront(snapshot: &Snapshot) -> &PluginHost {
    snapshot.hosts.iter().find(|h| h.metadata.name.as_deref() == Some("storefront")).unwrap()
}

pub(crate) fn is_ready(snapshot: &Snapshot, plugin: &str, version: &str) -> bool {
    let ready = condition(snapshot, plugin, "Ready").is_some_and(|(status, ..)| status == "True");
    let current = found(snapshot, plugin).is_some_and(|p| {
        let status = p.status.as_ref();
        status.is_some_and(|s| s.observed_generation == p.metadata.generation && s.version.as_deref() == Some(version))
    });
    ready && current
}
