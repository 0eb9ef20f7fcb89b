//! Puts the sidecar into a pod, and its socket into every container of the pod. Pure, and done twice it changes nothing.

mod sidecar;
mod upsert;
mod volumes;

use rockstar_crds::{PluginHost, names::INJECTED, policy::ContainerResources};
use serde_json::{Map, Value, json};
use upsert::{entry, put_first, upsert};

/// The sidecar's container.
pub const CONTAINER: &str = "rockstar-sidecar";

/// What all sidecars have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub image: String,
    /// Empty: the cluster's default.
    pub image_pull_policy: String,
    pub resources: ContainerResources,
    /// Where the operator is.
    pub control_url: String,
    pub insecure_registries: Vec<String>,
    pub log_format: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InjectError {
    #[error("the pod cannot get its sidecar: {0} is not what a pod has there")]
    Malformed(&'static str),
}

/// The pod with its sidecar; a host that is not there (yet) has nothing to say about it.
///
/// # Errors
/// If the pod is no pod.
pub fn inject(pod: &Value, host: Option<&PluginHost>, settings: &Settings) -> Result<Value, InjectError> {
    let mut pod = pod.clone();
    let root = pod.as_object_mut().ok_or(InjectError::Malformed("the object"))?;
    let metadata = object(root, "metadata", "metadata")?;
    object(metadata, "annotations", "metadata.annotations")?.insert(INJECTED.into(), json!("true"));
    let spec = object(root, "spec", "spec")?;
    let grace = spec.get("terminationGracePeriodSeconds").and_then(Value::as_u64);
    let volumes = list(spec, "volumes", "spec.volumes")?;
    let limits = host.and_then(|host| host.spec.limits().ok()).unwrap_or_default();
    volumes::all(&limits).into_iter().for_each(|volume| upsert(volumes, volume));
    connect(list(spec, "containers", "spec.containers")?)?;
    let sidecar = sidecar::container(settings, host, grace);
    put_first(list(spec, "initContainers", "spec.initContainers")?, sidecar);
    Ok(pod)
}

/// Lets every container find the sidecar.
fn connect(containers: &mut [Value]) -> Result<(), InjectError> {
    for container in containers {
        let container = container.as_object_mut().ok_or(InjectError::Malformed("spec.containers"))?;
        upsert(list(container, "env", "spec.containers[].env")?, volumes::socket_variable());
        upsert(list(container, "volumeMounts", "spec.containers[].volumeMounts")?, volumes::socket_mount(true));
    }
    Ok(())
}

fn object<'a>(
    parent: &'a mut Map<String, Value>,
    key: &str,
    path: &'static str,
) -> Result<&'a mut Map<String, Value>, InjectError> {
    entry(parent, key, || json!({})).as_object_mut().ok_or(InjectError::Malformed(path))
}

fn list<'a>(
    parent: &'a mut Map<String, Value>,
    key: &str,
    path: &'static str,
) -> Result<&'a mut Vec<Value>, InjectError> {
    entry(parent, key, || json!([])).as_array_mut().ok_or(InjectError::Malformed(path))
}

#[cfg(test)]
mod tests;
