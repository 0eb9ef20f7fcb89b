//! Lets go of Plugins when the operator leaves for good: nobody else removes its finalizer. I/O: the API server.

use crate::{
    api::{CallError, call, found},
    scope::Scope,
};
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, ObjectMeta, Patch, PatchParams},
};
use rockstar_crds::{Plugin, names::UNLOAD_FINALIZER};
use serde_json::{Value, json};

const ATTEMPTS: usize = 5;

/// Lets go of all of them.
///
/// # Errors
/// With the first one that cannot be let go.
pub async fn run(client: &Client, scope: &Scope) -> Result<(), CallError> {
    for api in scope.apis::<Plugin>(client) {
        for plugin in call("list plugins", api.list_metadata(&ListParams::default())).await?.items {
            let namespace = plugin.namespace().unwrap_or_default();
            release(&Api::namespaced(client.clone(), &namespace), plugin.metadata).await?;
        }
    }
    Ok(())
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
}
