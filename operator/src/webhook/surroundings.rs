//! Asks for what a Plugin refers to. What cannot be asked for is left out: it only makes warnings. I/O: the API server.

use crate::{
    api::{CallError, call, found},
    validation::{Missing, Neighbour, Surroundings},
};
use futures::{StreamExt, stream};
use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{ConfigMap, Secret},
};
use kube::{Api, Client, Resource, api::ListParams};
use rockstar_crds::{Plugin, PluginHost};
use serde::de::DeserializeOwned;
use std::fmt::Debug;

const AT_ONCE: usize = 8;

pub(super) async fn of(client: &Client, namespace: &str, plugin: &Plugin) -> Surroundings {
    let hosts = exists::<PluginHost>(client, namespace, &plugin.spec.host);
    let (host, around, missing) =
        futures::join!(hosts, neighbours(client, namespace), missing(client, namespace, plugin));
    Surroundings { host, missing, ..around }
}

pub(super) async fn neighbours(client: &Client, namespace: &str) -> Surroundings {
    let plugins = quiet(plugins(client, namespace).await);
    let neighbours = plugins.map(|plugins| plugins.iter().filter_map(Neighbour::of).collect());
    Surroundings { neighbours, ..Surroundings::default() }
}

pub(super) async fn plugins_of(client: &Client, namespace: &str, host: &str) -> usize {
    let plugins = quiet(plugins(client, namespace).await).unwrap_or_default();
    plugins.iter().filter(|plugin| plugin.spec.host == host).count()
}

async fn plugins(client: &Client, namespace: &str) -> Result<Vec<Plugin>, CallError> {
    let api = Api::<Plugin>::namespaced(client.clone(), namespace);
    let listed = call(format!("list plugins in {namespace}"), api.list(&ListParams::default().match_any())).await?;
    Ok(listed.items)
}

enum Reference {
    Secret(String),
    ConfigMap(String),
}

async fn missing(client: &Client, namespace: &str, plugin: &Plugin) -> Vec<Missing> {
    let asked = stream::iter(references(plugin)).map(|(field, reference)| lookup(client, namespace, field, reference));
    asked.buffered(AT_ONCE).filter_map(async |missing| missing).collect().await
}

fn references(plugin: &Plugin) -> Vec<(String, Reference)> {
    let pull =
        plugin.spec.pull_secret().map(|name| ("spec.source.oci.pullSecret".into(), Reference::Secret(name.into())));
    let values = plugin.spec.config_from.iter().filter_map(|from| {
        let secret = from.secret_key_ref.as_ref().map(|r| Reference::Secret(r.name.clone()));
        let reference =
            secret.or_else(|| from.config_map_key_ref.as_ref().map(|r| Reference::ConfigMap(r.name.clone())));
        Some((format!("spec.configFrom[{}]", from.key), reference?))
    });
    pull.into_iter().chain(values).collect()
}

async fn lookup(client: &Client, namespace: &str, field: String, reference: Reference) -> Option<Missing> {
    let (there, object) = match reference {
        Reference::Secret(name) => (exists::<Secret>(client, namespace, &name).await, format!("Secret {name}")),
        Reference::ConfigMap(name) => {
            (exists::<ConfigMap>(client, namespace, &name).await, format!("ConfigMap {name}"))
        }
    };
    (there == Some(false)).then_some(Missing { field, object })
}

/// None if it could not be asked for.
async fn exists<K>(client: &Client, namespace: &str, name: &str) -> Option<bool>
where
    K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    K::DynamicType: Default,
{
    let api = Api::<K>::namespaced(client.clone(), namespace);
    let answer = found(call(format!("read {namespace}/{name}"), api.get_metadata(name)).await);
    quiet(answer).map(|object| object.is_some())
}

fn quiet<T>(answer: Result<T, CallError>) -> Option<T> {
    answer.inspect_err(|error| tracing::warn!(%error, "a warning is left out")).ok()
}
