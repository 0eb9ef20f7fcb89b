//! Hands the bundle out: a ConfigMap in each namespace with a PluginHost, and the caBundle of the webhooks. Compared
//! before it is written. I/O: the API server.

use super::tls::Tls;
use crate::{
    api::{CallError, call, found},
    leadership::Leadership,
    namespaces::Namespaces,
    scope::Scope,
};
use k8s_openapi::{
    ByteString,
    api::{
        admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
        core::v1::ConfigMap,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use rockstar_crds::{
    PluginHost,
    names::{CA_CONFIG_MAP, CA_KEY},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    sync::Arc,
    time::Duration,
};
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

const INTERVAL: Duration = Duration::from_secs(10);

/// The names of the webhook configurations of this operator.
#[derive(Clone, Debug)]
pub struct WebhookNames {
    pub mutating: String,
    pub validating: String,
}

#[derive(Clone)]
pub struct Publisher {
    client: Client,
    tls: Arc<Tls>,
    scope: Scope,
    webhooks: WebhookNames,
    namespaces: Namespaces,
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").field("scope", &self.scope).finish_non_exhaustive()
    }
}

impl Publisher {
    #[must_use]
    pub const fn new(
        client: Client,
        tls: Arc<Tls>,
        scope: Scope,
        webhooks: WebhookNames,
        namespaces: Namespaces,
    ) -> Self {
        Self { client, tls, scope, webhooks, namespaces }
    }

    /// Looks after all of it while this replica leads, until `stop`.
    pub async fn run(self, mut leadership: watch::Receiver<Leadership>, stop: CancellationToken) {
        loop {
            if leadership.borrow_and_update().is_leading() {
                self.publish().await;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                Ok(()) = leadership.changed() => {}
                () = sleep(INTERVAL) => {}
            }
        }
    }

    /// One failure keeps nothing else from being done.
    async fn publish(&self) {
        warn(self.mutating().await);
        warn(self.validating().await);
        for api in self.scope.apis::<PluginHost>(&self.client) {
            match with_hosts(&api).await {
                Ok(namespaces) => self.publish_bundles(namespaces).await,
                Err(error) => warn(Err(error)),
            }
        }
    }

    /// A namespace of another operator has that one's bundle.
    async fn publish_bundles(&self, namespaces: BTreeSet<String>) {
        for namespace in namespaces.iter().filter(|namespace| self.namespaces.owns(namespace)) {
            warn(self.publish_bundle(namespace).await);
        }
    }

    /// Sees to it that the namespace has a bundle; which one is the leader's business.
    ///
    /// # Errors
    /// If the ConfigMap can be neither read nor made.
    pub async fn ensure_bundle(&self, namespace: &str) -> Result<(), CallError> {
        match self.read_bundle(namespace).await? {
            Some(_) => Ok(()),
            None => self.create_bundle(namespace).await,
        }
    }

    async fn publish_bundle(&self, namespace: &str) -> Result<(), CallError> {
        let bundle = self.tls.bundle();
        let Some(old) = self.read_bundle(namespace).await? else { return self.create_bundle(namespace).await };
        if old.data.as_ref().and_then(|data| data.get(CA_KEY)).map(String::as_str) == Some(&*bundle) {
            return Ok(());
        }
        let patch = Patch::Merge(json!({"data": {CA_KEY: &*bundle}}));
        let what = format!("change config map {namespace}/{CA_CONFIG_MAP}");
        patched(&self.config_maps(namespace), CA_CONFIG_MAP, &patch, what).await
    }

    async fn read_bundle(&self, namespace: &str) -> Result<Option<ConfigMap>, CallError> {
        let what = format!("read config map {namespace}/{CA_CONFIG_MAP}");
        found(call(what, self.config_maps(namespace).get(CA_CONFIG_MAP)).await)
    }

    async fn create_bundle(&self, namespace: &str) -> Result<(), CallError> {
        let (api, new) = (self.config_maps(namespace), config_map(&self.tls.bundle()));
        let (what, parameters) = (format!("create config map {namespace}/{CA_CONFIG_MAP}"), PostParams::default());
        match call(what, api.create(&parameters, &new)).await {
            Err(error) if !error.is_conflict() => Err(error),
            _ => Ok(()),
        }
    }

    fn config_maps(&self, namespace: &str) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), namespace)
    }

    async fn mutating(&self) -> Result<(), CallError> {
        let (api, name) = (Api::<MutatingWebhookConfiguration>::all(self.client.clone()), &self.webhooks.mutating);
        let seen = call(format!("read mutating webhook configuration {name}"), api.get(name)).await?;
        let webhooks = seen.webhooks.iter().flatten().map(|w| (w.name.as_str(), w.client_config.ca_bundle.as_ref()));
        let Some(patch) = self.ca_bundles(webhooks) else { return Ok(()) };
        patched(&api, name, &patch, format!("change mutating webhook configuration {name}")).await
    }

    async fn validating(&self) -> Result<(), CallError> {
        let (api, name) = (Api::<ValidatingWebhookConfiguration>::all(self.client.clone()), &self.webhooks.validating);
        let seen = call(format!("read validating webhook configuration {name}"), api.get(name)).await?;
        let webhooks = seen.webhooks.iter().flatten().map(|w| (w.name.as_str(), w.client_config.ca_bundle.as_ref()));
        let Some(patch) = self.ca_bundles(webhooks) else { return Ok(()) };
        patched(&api, name, &patch, format!("change validating webhook configuration {name}")).await
    }

    fn ca_bundles<'a>(
        &self,
        webhooks: impl Iterator<Item = (&'a str, Option<&'a ByteString>)>,
    ) -> Option<Patch<Value>> {
        ca_bundles(&self.tls.bundle(), webhooks).map(Patch::Strategic)
    }
}

async fn with_hosts(api: &Api<PluginHost>) -> Result<BTreeSet<String>, CallError> {
    let hosts = call("list plugin hosts", api.list_metadata(&ListParams::default().match_any())).await?;
    Ok(hosts.items.iter().filter_map(ResourceExt::namespace).collect())
}

async fn patched<K>(api: &Api<K>, name: &str, patch: &Patch<Value>, what: String) -> Result<(), CallError>
where
    K: Clone + Debug + DeserializeOwned,
{
    call(what, api.patch(name, &PatchParams::default(), patch)).await.map(drop)
}

/// None if every webhook has the bundle.
fn ca_bundles<'a>(bundle: &str, webhooks: impl Iterator<Item = (&'a str, Option<&'a ByteString>)>) -> Option<Value> {
    let stale = webhooks.filter(|(_, present)| present.is_none_or(|present| present.0 != bundle.as_bytes()));
    let encoded = ByteString(bundle.as_bytes().to_vec());
    let patches: Vec<_> = stale.map(|(name, _)| json!({"name": name, "clientConfig": {"caBundle": encoded}})).collect();
    (!patches.is_empty()).then(|| json!({"webhooks": patches}))
}

fn config_map(bundle: &str) -> ConfigMap {
    let metadata = ObjectMeta { name: Some(CA_CONFIG_MAP.into()), ..ObjectMeta::default() };
    ConfigMap { metadata, data: Some(BTreeMap::from([(CA_KEY.into(), bundle.into())])), ..ConfigMap::default() }
}

fn warn(result: Result<(), CallError>) {
    if let Err(error) = result {
        tracing::warn!(%error, "the certificates are not handed out everywhere");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_stale_bundles_are_written() {
        let (current, old) = (ByteString(b"new".to_vec()), ByteString(b"old".to_vec()));
        assert_eq!(ca_bundles("new", [("a", Some(&current))].into_iter()), None);
        let webhooks = [("a", Some(&current)), ("b", Some(&old)), ("c", None)];
        let config = |name| json!({"name": name, "clientConfig": {"caBundle": "bmV3"}});
        assert_eq!(ca_bundles("new", webhooks.into_iter()), Some(json!({"webhooks": [config("b"), config("c")]})));
    }
}
