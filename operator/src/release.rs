//! Removes what an operator leaves behind that is uninstalled: its claims on namespaces, the certificates that it handed
//! out and its own, and the finalizers that earlier versions set. What other operators own stays. I/O: the API server.

use crate::{
    api::{CallError, call, found},
    args::Own,
    certificates::SECRET,
    scope::Scope,
};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        coordination::v1::Lease,
        core::v1::{ConfigMap, Secret},
    },
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams},
};
use rockstar_crds::{
    Plugin,
    names::{CA_CONFIG_MAP, OWNER_LEASE, UNLOAD_FINALIZER},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
};

const ATTEMPTS: usize = 5;

/// Removes all of it. What fails keeps nothing else from being removed.
///
/// # Errors
/// With the first thing that cannot be removed.
pub async fn run(client: &Client, scope: &Scope, own: &Own) -> Result<(), CallError> {
    let owners = owners(client).await?;
    let holder = own.holder();
    let ours = ours(scope, &owners, &holder);
    let is_others = |namespace: &str| owners.get(namespace).is_some_and(|owner| *owner != holder);
    let mut result = release_plugins(client, |namespace| !is_others(namespace)).await;
    for namespace in &ours {
        result = result.and(delete::<ConfigMap>(client, namespace, CA_CONFIG_MAP).await);
        result = result.and(delete::<Lease>(client, namespace, OWNER_LEASE).await);
    }
    result = result.and(delete::<Secret>(client, &own.namespace, SECRET).await);
    result.and(delete::<Lease>(client, &own.namespace, &own.lease).await)
}

/// Whose each claimed namespace is.
async fn owners(client: &Client) -> Result<BTreeMap<String, String>, CallError> {
    let named = ListParams::default().fields(&format!("metadata.name={OWNER_LEASE}"));
    let leases = call("list leases", Api::<Lease>::all(client.clone()).list(&named)).await?;
    let owner = |lease: Lease| Some((lease.namespace()?, lease.spec?.holder_identity?));
    Ok(leases.items.into_iter().filter_map(owner).filter(|(_, holder)| !holder.is_empty()).collect())
}

/// Those that the operator has claimed, and those that it looked after without a claim.
fn ours(scope: &Scope, owners: &BTreeMap<String, String>, holder: &str) -> BTreeSet<String> {
    let claimed = owners.iter().filter(|(_, owner)| *owner == holder).map(|(namespace, _)| namespace.clone());
    let listed = match scope {
        Scope::Cluster => BTreeSet::new(),
        Scope::Namespaces(listed) => listed.clone(),
    };
    claimed.chain(listed.into_iter().filter(|namespace| !owners.contains_key(namespace))).collect()
}

async fn delete<K>(client: &Client, namespace: &str, name: &str) -> Result<(), CallError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let what = format!("delete {} {namespace}/{name}", K::kind(&()));
    let api = Api::<K>::namespaced(client.clone(), namespace);
    found(call(what, api.delete(name, &DeleteParams::default())).await).map(drop)
}

async fn release_plugins(client: &Client, is_ours: impl Fn(&str) -> bool) -> Result<(), CallError> {
    let plugins = call("list plugins", Api::<Plugin>::all(client.clone()).list_metadata(&ListParams::default())).await;
    let mut result = Ok(());
    for plugin in found(plugins)?.map(|list| list.items).unwrap_or_default() {
        let namespace = plugin.namespace().unwrap_or_default();
        if is_ours(&namespace) {
            result = result.and(release(&Api::namespaced(client.clone(), &namespace), plugin.metadata).await);
        }
    }
    result
}

async fn release(api: &Api<Plugin>, mut metadata: ObjectMeta) -> Result<(), CallError> {
    let name = metadata.name.clone().unwrap_or_default();
    for left in (0..ATTEMPTS).rev() {
        let Some(patch) = without_finalizer(&metadata) else { return Ok(()) };
        let (parameters, patch) = (PatchParams::default(), Patch::Merge(patch));
        let request = api.patch_metadata(&name, &parameters, &patch);
        match found(call(format!("release plugin {name}"), request).await) {
            Err(error) if error.is_conflict() && left > 0 => {
                let Some(now) = found(call(format!("read plugin {name}"), api.get_metadata(&name)).await)? else {
                    return Ok(());
                };
                metadata = now.metadata;
            }
            answer => return answer.map(drop),
        }
    }
    Ok(())
}

/// None: it does not bear ours.
fn without_finalizer(metadata: &ObjectMeta) -> Option<Value> {
    let finalizers = metadata.finalizers.as_ref().filter(|all| all.iter().any(|one| one == UNLOAD_FINALIZER))?;
    let others: Vec<_> = finalizers.iter().filter(|one| *one != UNLOAD_FINALIZER).collect();
    Some(json!({"metadata": {"finalizers": others, "resourceVersion": metadata.resource_version}}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Method, Request, Response};
    use kube::client::Body;
    use parking_lot::Mutex;
    use std::{convert::Infallible, sync::Arc};

    #[test]
    fn only_our_finalizer_goes() {
        let with = |finalizers: &[&str]| ObjectMeta {
            finalizers: Some(finalizers.iter().map(|&one| one.to_owned()).collect()),
            resource_version: Some("7".into()),
            ..ObjectMeta::default()
        };
        assert_eq!(without_finalizer(&ObjectMeta::default()), None);
        assert_eq!(without_finalizer(&with(&["other"])), None);
        let patch = json!({"metadata": {"finalizers": ["other"], "resourceVersion": "7"}});
        assert_eq!(without_finalizer(&with(&["other", UNLOAD_FINALIZER])), Some(patch));
    }

    fn respond(request: &Request<Body>) -> (u16, Value) {
        let held = |namespace: &str, holder: &str| json!({"metadata": {"name": OWNER_LEASE, "namespace": namespace}, "spec": {"holderIdentity": holder}});
        let plugin = |namespace: &str| {
            json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
                "metadata": {"name": "auth", "namespace": namespace, "finalizers": [UNLOAD_FINALIZER]}})
        };
        let not_found = json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404});
        match (request.method(), request.uri().path()) {
            (&Method::GET, path) if path.ends_with("/leases") => {
                (200, json!({"metadata": {}, "items": [held("shop", "system/us"), held("crm", "system/other")]}))
            }
            (&Method::GET, _) => {
                (200, json!({"metadata": {}, "items": [plugin("shop"), plugin("crm"), plugin("free")]}))
            }
            (&Method::DELETE, path) if path.contains("/free/leases") => (404, not_found),
            (&Method::DELETE, _) => (200, json!({"apiVersion": "v1", "kind": "Status", "status": "Success"})),
            _ => (200, plugin("any")),
        }
    }

    #[tokio::test]
    async fn what_others_own_stays() {
        let done = Arc::new(Mutex::new(BTreeSet::new()));
        let log = Arc::clone(&done);
        let service = tower::service_fn(move |request: Request<Body>| {
            if request.method() != Method::GET {
                let path = request.uri().path().rsplit("/namespaces/").next().unwrap_or_default().to_owned();
                log.lock().insert(format!("{} {path}", request.method()));
            }
            let (status, answer) = respond(&request);
            let body = Body::from(serde_json::to_vec(&answer).unwrap());
            async move { Ok::<_, Infallible>(Response::builder().status(status).body(body).unwrap()) }
        });
        let own = Own { namespace: "system".into(), release: "us".into(), lease: "us-operator".into() };
        let scope = Scope::of(&["shop".into(), "crm".into(), "free".into()]);
        run(&Client::new(service, "system"), &scope, &own).await.unwrap();
        let expected = [
            "DELETE free/configmaps/rockstar-ca",
            "DELETE free/leases/rockstar-owner",
            "DELETE shop/configmaps/rockstar-ca",
            "DELETE shop/leases/rockstar-owner",
            "DELETE system/leases/us-operator",
            "DELETE system/secrets/rockstar-operator-tls",
            "PATCH free/plugins/auth",
            "PATCH shop/plugins/auth",
        ];
        assert_eq!(done.lock().iter().map(String::as_str).collect::<Vec<_>>(), expected);
    }
}
