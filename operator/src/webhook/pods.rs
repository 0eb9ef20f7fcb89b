//! Pods with a host's label. I/O: the API server.

use super::{
    Inner,
    review::{Request, ReviewError},
};
use crate::{
    api::{CallError, call, found},
    injector,
};
use kube::{Api, ResourceExt, core::admission::AdmissionResponse};
use rockstar_crds::{PluginHost, names::HOST_LABEL};

/// With an error the API server refuses the pod: it never passes without its sidecar.
pub(super) async fn inject(webhooks: &Inner, request: &Request) -> Result<AdmissionResponse, ReviewError> {
    let pod = request.object.as_ref().ok_or(ReviewError::NoObject)?;
    let mut response = AdmissionResponse::from(request);
    let (Some(namespace), Some(name)) = (request.namespace.as_deref(), pod.labels().get(HOST_LABEL)) else {
        return Ok(response);
    };
    if webhooks.namespaces.other_owner(namespace).is_some() {
        // That operator's webhook puts its own sidecar in.
        return Ok(response);
    }
    let host = host(webhooks, namespace, name).await?;
    if host.is_none() {
        let warning =
            format!("there is no PluginHost '{name}' in this namespace (yet); the pod starts when there is one");
        response.warnings = Some(vec![warning]);
    }
    if !request.dry_run {
        // Mounted after its creation the bundle takes a minute or more to arrive.
        if let Err(error) = webhooks.publisher.ensure_bundle(namespace).await {
            tracing::warn!(%error, namespace, "the pod may wait for the certificates");
        }
    }
    let before = serde_json::to_value(pod)?;
    let after = injector::inject(&before, host.as_ref(), &webhooks.injector)?;
    Ok(response.with_patch(json_patch::diff(&before, &after))?)
}

async fn host(webhooks: &Inner, namespace: &str, name: &str) -> Result<Option<PluginHost>, CallError> {
    let api = Api::<PluginHost>::namespaced(webhooks.client.clone(), namespace);
    found(call(format!("read plugin host {namespace}/{name}"), api.get(name)).await)
}
