//! Kubernetes objects as the driver's plain data, and revisions as ControllerRevisions. Pure.

use crate::{
    host::HostKey,
    injector::CONTAINER,
    world::{Content, Pod, PodPhase, Revision},
};
use k8s_openapi::{
    api::{apps::v1::ControllerRevision, core::v1},
    apimachinery::pkg::runtime::RawExtension,
    jiff::Timestamp,
};
use kube::{Resource, ResourceExt, core::ObjectMeta};
use rockstar_core::revision::RevisionId;
use rockstar_crds::{
    Plugin,
    names::{HOST_LABEL, PLUGIN_LABEL},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const LONGEST_LABEL: usize = 63;

/// What a ControllerRevision holds.
#[derive(Serialize, Deserialize)]
struct Stored {
    id: RevisionId,
    #[serde(flatten)]
    content: Content,
}

/// The host in an object's label.
pub(super) fn labelled_host(meta: &ObjectMeta) -> Option<HostKey> {
    let host = meta.labels.as_ref()?.get(HOST_LABEL)?;
    Some(HostKey::new(meta.namespace.clone()?, host))
}

pub(super) fn pod(pod: &v1::Pod) -> Pod {
    Pod {
        name: pod.name_any(),
        uid: pod.uid().unwrap_or_default(),
        phase: phase(pod),
        terminating: pod.metadata.deletion_timestamp.is_some(),
        injected: is_injected(pod),
        transient: pod.spec.as_ref().is_some_and(|s| s.restart_policy.as_deref().is_some_and(|p| p != "Always")),
        ready: false,
        started: false,
        termination: None,
        created: pod.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |t| t.0),
    }
}

fn phase(pod: &v1::Pod) -> PodPhase {
    match pod.status.as_ref().and_then(|s| s.phase.as_deref()) {
        Some("Running") => PodPhase::Running,
        Some("Succeeded") => PodPhase::Succeeded,
        Some("Failed") => PodPhase::Failed,
        _ => PodPhase::Pending,
    }
}

fn is_injected(pod: &v1::Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    spec.init_containers.iter().flatten().chain(&spec.containers).any(|c| c.name == CONTAINER)
}

/// None: it is not one of ours, or cannot be read.
pub(super) fn revision(stored: &ControllerRevision) -> Option<Revision> {
    let Stored { id, content } = Stored::deserialize(&stored.data.as_ref()?.0).ok()?;
    Some(Revision { plugin: content.body.manifest.name.clone(), id, number: stored.revision, content })
}

/// The object in which a revision is stored; it goes with its Plugin.
pub(super) fn controller_revision(
    owner: &Plugin,
    revision: &Revision,
) -> Result<ControllerRevision, serde_json::Error> {
    let stored = Stored { id: revision.id.clone(), content: revision.content.clone() };
    let labels =
        [(HOST_LABEL.to_owned(), owner.spec.host.clone()), (PLUGIN_LABEL.to_owned(), label(&owner.name_any()))];
    Ok(ControllerRevision {
        metadata: ObjectMeta {
            name: Some(object_name(&revision.id)),
            namespace: owner.namespace(),
            labels: Some(BTreeMap::from(labels)),
            owner_references: owner.controller_owner_ref(&()).map(|r| vec![r]),
            ..ObjectMeta::default()
        },
        data: Some(RawExtension(serde_json::to_value(stored)?)),
        revision: revision.number,
    })
}

/// Identities may hold what names of objects may not.
pub(super) fn object_name(id: &RevisionId) -> String {
    let allowed = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' { c } else { '-' };
    id.0.to_ascii_lowercase().chars().map(allowed).collect()
}

fn label(name: &str) -> String {
    name.chars().take(LONGEST_LABEL).collect::<String>().trim_end_matches(['-', '.']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn plugin() -> Plugin {
        let manifest = json!({"name": "Auth_Plugin", "version": "1.2.0", "description": "d", "author": "a"});
        let mut plugin: Plugin = serde_json::from_value(json!({
            "apiVersion": "plugins.rockstar-framework.dev/v1alpha1", "kind": "Plugin",
            "metadata": {"name": "auth", "namespace": "shop", "uid": "u"},
            "spec": {"host": "storefront", "manifest": manifest, "source": {"path": "/p"}},
        }))
        .unwrap();
        plugin.spec.priority = 200;
        plugin
    }

    #[test]
    fn a_revision_survives_being_stored() {
        let owner = plugin();
        let content = Content {
            body: owner.spec.body().unwrap(),
            config: json!({"nested": {"a": [1]}}).as_object().cloned().unwrap(),
            config_from: Vec::new(),
            pull_secret: Some("regcred".into()),
        };
        let revision =
            Revision { id: RevisionId("Auth_Plugin-0a".into()), plugin: "Auth_Plugin".into(), number: 3, content };
        let stored = controller_revision(&owner, &revision).unwrap();
        assert_eq!(stored.name_any(), "auth-plugin-0a");
        assert_eq!(labelled_host(&stored.metadata), Some(HostKey::new("shop", "storefront")));
        assert_eq!(stored.owner_references()[0].name, "auth");
        let wire = serde_json::from_value(serde_json::to_value(&stored).unwrap()).unwrap();
        assert_eq!(super::revision(&wire), Some(revision));
    }

    #[test]
    fn a_pod_without_the_sidecar_is_told_apart() {
        let bare = json!({"metadata": {"name": "web-1", "uid": "u"}, "spec": {"containers": [{"name": "app"}]}, "status": {"phase": "Running"}});
        let bare: v1::Pod = serde_json::from_value(bare).unwrap();
        assert_eq!((pod(&bare).injected, pod(&bare).phase), (false, PodPhase::Running));
        let mut injected = bare;
        injected.spec.as_mut().unwrap().init_containers =
            Some(vec![v1::Container { name: CONTAINER.into(), ..v1::Container::default() }]);
        assert!(pod(&injected).injected);
    }
}
