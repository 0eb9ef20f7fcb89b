//! Plugins and PluginHosts. I/O: the API server, for what surrounds them.

use super::{
    review::{Request, ReviewError, respond, typed},
    surroundings,
};
use crate::validation::{self, Opinion};
use kube::{
    Client,
    core::admission::{AdmissionResponse, Operation},
};
use rockstar_crds::{Plugin, PluginHost};

pub(super) async fn plugin(client: &Client, request: &Request) -> Result<AdmissionResponse, ReviewError> {
    let namespace = request.namespace.as_deref().unwrap_or_default();
    let opinion = if request.operation == Operation::Delete {
        let plugin: Plugin = typed(request.old_object.as_ref())?;
        validation::plugin_deletion(&plugin, &surroundings::neighbours(client, namespace).await)
    } else {
        let plugin: Plugin = typed(request.object.as_ref())?;
        let old = request.old_object.as_ref().map(|old| typed::<Plugin>(Some(old))).transpose()?;
        if is_settled(plugin.metadata.deletion_timestamp.is_some(), old.map(|old| old.spec == plugin.spec)) {
            Opinion::default()
        } else {
            validation::plugin(&plugin, &surroundings::of(client, namespace, &plugin).await)
        }
    };
    Ok(respond(request, opinion))
}

pub(super) async fn host(client: &Client, request: &Request) -> Result<AdmissionResponse, ReviewError> {
    let namespace = request.namespace.as_deref().unwrap_or_default();
    let opinion = if request.operation == Operation::Delete {
        let host: PluginHost = typed(request.old_object.as_ref())?;
        let name = host.metadata.name.as_deref().unwrap_or_default();
        validation::host_deletion(&host, surroundings::plugins_of(client, namespace, name).await)
    } else {
        let host: PluginHost = typed(request.object.as_ref())?;
        let old = request.old_object.as_ref().map(|old| typed::<PluginHost>(Some(old))).transpose()?;
        if is_settled(host.metadata.deletion_timestamp.is_some(), old.map(|old| old.spec == host.spec)) {
            Opinion::default()
        } else {
            validation::host(&host)
        }
    };
    Ok(respond(request, opinion))
}

/// An object on its way out, or one whose spec stays, must pass: a finalizer could not be removed otherwise.
fn is_settled(deleted: bool, same_spec: Option<bool>) -> bool {
    deleted || same_spec == Some(true)
}
