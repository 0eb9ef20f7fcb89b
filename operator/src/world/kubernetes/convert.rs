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
use rockstar_core::revision::{RevisionId, digest};
use rockstar_crds::{
    Plugin, PluginHost,
    names::{HOST_LABEL, PLUGIN_LABEL},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const LONGEST_LABEL: usize = 63;
/// The longest name of an object, in bytes.
const LONGEST_NAME: usize = 253;

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
        ready: is_ready(pod),
        started: sidecar(pod).is_some_and(|status| status.started == Some(true)),
        termination: sidecar(pod).and_then(termination),
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

fn is_ready(pod: &v1::Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// The status of the sidecar's container, which is a native sidecar or a plain container.
fn sidecar(pod: &v1::Pod) -> Option<&v1::ContainerStatus> {
    let status = pod.status.as_ref()?;
    let all = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    all.into_iter().find(|container| container.name == CONTAINER)
}

/// What the container left when it ended last.
fn termination(status: &v1::ContainerStatus) -> Option<String> {
    status.state.as_ref()?.terminated.as_ref()?.message.clone()
}

/// None: it is not one of ours, or cannot be read.
pub(super) fn revision(stored: &ControllerRevision) -> Option<Revision> {
    let Stored { id, content } = Stored::deserialize(&stored.data.as_ref()?.0).ok()?;
    Some(Revision { plugin: content.body.manifest.name.clone(), id, number: stored.revision, content })
}

/// The object in which a revision is stored. It goes with the host, as the rollout that names it does: pods may run it after
/// its Plugin is deleted, or made anew.
pub(super) fn controller_revision(
    host: &PluginHost,
    plugin: &Plugin,
    revision: &Revision,
) -> Result<ControllerRevision, serde_json::Error> {
    let stored = Stored { id: revision.id.clone(), content: revision.content.clone() };
    let labels = [(HOST_LABEL.to_owned(), host.name_any()), (PLUGIN_LABEL.to_owned(), label(&plugin.name_any()))];
    Ok(ControllerRevision {
        metadata: ObjectMeta {
            name: Some(object_name(&host.name_any(), &revision.id)),
            namespace: host.namespace(),
            labels: Some(BTreeMap::from(labels)),
            owner_references: host.owner_ref(&()).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        data: Some(RawExtension(serde_json::to_value(stored)?)),
        revision: revision.number,
    })
}

/// Whether a stored object holds this revision, for this host.
pub(super) fn holds(stored: &ControllerRevision, host: &str, wanted: &Revision) -> bool {
    let same = |found: Revision| found.id == wanted.id && found.content.body == wanted.content.body;
    labelled_host(&stored.metadata).is_some_and(|found| found.name == host) && revision(stored).is_some_and(same)
}

/// The name of the object that holds a host's revision: `HOST.ID`. Where that would not be a legal name, or could be
/// the name of another one, a digest of both makes it one of a kind.
pub(super) fn object_name(host: &str, id: &RevisionId) -> String {
    let plain = format!("{host}.{}", id.0);
    let legal = format!("{}.{}", legal(host), legal(&id.0));
    if legal == plain && legal.len() <= LONGEST_NAME {
        return legal;
    }
    let digest = digest(format!("{host}\n{}", id.0).as_bytes());
    let room = LONGEST_NAME - digest.len() - 1;
    let kept = legal.get(..room.min(legal.len())).unwrap_or_default().trim_end_matches(['-', '.']);
    format!("{kept}-{digest}")
}

/// Letters and digits, joined by hyphens.
fn legal(name: &str) -> String {
    let allowed = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
    name.to_ascii_lowercase().chars().map(allowed).collect::<String>().trim_matches('-').to_owned()
}

/// The name by which earlier versions stored a revision, whatever its host.
pub(super) fn former_name(id: &RevisionId) -> String {
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

    fn host() -> PluginHost {
        serde_json::from_value(json!({
            "apiVersion": "plugins.rockstar-framework.dev/v1alpha1", "kind": "PluginHost",
            "metadata": {"name": "storefront", "namespace": "shop", "uid": "h"}, "spec": {"framework": {"version": "1.0.0"}},
        }))
        .unwrap()
    }

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
        let plugin = plugin();
        let content = Content {
            body: plugin.spec.body().unwrap(),
            config: json!({"nested": {"a": [1]}}).as_object().cloned().unwrap(),
            config_from: Vec::new(),
            pull_secret: Some("regcred".into()),
        };
        let revision =
            Revision { id: RevisionId("Auth_Plugin-0a".into()), plugin: "Auth_Plugin".into(), number: 3, content };
        let stored = controller_revision(&host(), &plugin, &revision).unwrap();
        assert_eq!(stored.name_any(), object_name("storefront", &revision.id));
        assert_eq!(labelled_host(&stored.metadata), Some(HostKey::new("shop", "storefront")));
        let owner = &stored.owner_references()[0];
        assert_eq!((owner.kind.as_str(), owner.name.as_str()), ("PluginHost", "storefront"));
        let wire = serde_json::from_value(serde_json::to_value(&stored).unwrap()).unwrap();
        assert_eq!(super::revision(&wire), Some(revision));
    }

    #[test]
    fn a_revision_s_object_carries_its_host() {
        let name = |host: &str, id: &str| object_name(host, &RevisionId(id.into()));
        assert_eq!(name("web", "auth-0a"), "web.auth-0a");
        let all = [
            name("web", "auth-0a"),
            name("api", "auth-0a"),
            name("web", "Auth-0a"),
            name("a.b", "c-0a"),
            name("a", "b.c-0a"),
            name(&"h".repeat(253), "auth-0a"),
            name(&"h".repeat(253), "auth-0b"),
            name("web", &format!("{}-0a", "x..y_".repeat(70))),
            name("web", "_x-0a"),
        ];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len(), "{all:?}");
        let is_legal = |part: &str| {
            let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
            edge(part.chars().next()) && edge(part.chars().last())
        };
        for name in &all {
            assert!(name.len() <= LONGEST_NAME && name.split('.').all(is_legal), "{name}");
        }
    }

    #[test]
    fn the_sidecar_s_container_tells_of_the_pod() {
        let ended = json!({
            "metadata": {"name": "job", "uid": "u"},
            "spec": {"containers": [{"name": "app"}], "initContainers": [{"name": CONTAINER}]},
            "status": {
                "phase": "Succeeded",
                "conditions": [{"type": "Ready", "status": "False"}],
                "initContainerStatuses": [
                    {"name": "other", "started": true, "state": {"terminated": {"exitCode": 0, "message": "no"}}},
                    {"name": CONTAINER, "started": false, "state": {"terminated": {"exitCode": 0, "message": "left"}}},
                ],
            },
        });
        let ended = pod(&serde_json::from_value(ended).unwrap());
        assert_eq!((ended.ready, ended.started, ended.termination.as_deref()), (false, false, Some("left")));
        let running = json!({
            "metadata": {"name": "web", "uid": "u"},
            "status": {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [{"name": CONTAINER, "started": true, "state": {"running": {}}}],
            },
        });
        let running = pod(&serde_json::from_value(running).unwrap());
        assert_eq!((running.ready, running.started, running.termination), (true, true, None));
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
