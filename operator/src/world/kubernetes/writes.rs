//! Writes to the API server. Reports go by server-side apply; what must not overwrite another's write is a JSON patch that
//! carries the resourceVersion of what was read. I/O: the API server.

use super::convert;
use crate::{
    api::{CallError, call, found},
    host::HostKey,
    world::{Note, Revision, Subject, View, WriteError},
};
use json_patch::{AddOperation, PatchOperation, jsonptr::PointerBuf};
use k8s_openapi::{
    api::{apps::v1::ControllerRevision, core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    core::{ApiResource, DynamicObject, ObjectMeta},
};
use rockstar_core::{rollout::State, text::bounded};
use rockstar_crds::{Plugin, PluginHost, PluginHostStatus, PluginStatus, names::UNLOAD_FINALIZER};
use serde::Serialize;
use serde_json::{Value, json};

const CONTROLLER: &str = "rockstar-operator";
/// Managers of parts of objects: applying one part must not remove the other.
const ROLLOUT: &str = "rockstar-operator/rollout";
const REPORT: &str = "rockstar-operator/report";
const FINALIZER: &str = "rockstar-operator/finalizer";
const ATTEMPTS: usize = 4;
/// The longest note that the API server takes, in bytes.
const LONGEST_NOTE: usize = 1024;

/// Writes as this operator.
#[derive(Clone)]
pub(super) struct Writer {
    pub(super) client: Client,
    /// This replica, as events name it.
    pub(super) instance: String,
}

fn failed(object: &str, error: CallError) -> WriteError {
    let object = object.to_owned();
    if error.is_not_found() {
        WriteError::Gone { object }
    } else if error.is_conflict() {
        WriteError::Conflict { object }
    } else {
        WriteError::Failed { object, cause: error.to_string() }
    }
}

fn status_of<K: Resource<DynamicType = ()>>(name: &str, status: &impl Serialize) -> Value {
    json!({"apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": {"name": name}, "status": status})
}

fn set(tokens: &[&str], value: Value) -> PatchOperation {
    PatchOperation::Add(AddOperation { path: PointerBuf::from_tokens(tokens.iter().copied()), value })
}

/// Another write since this version was read is a conflict.
fn tied(meta: &ObjectMeta, change: PatchOperation) -> json_patch::Patch {
    let version = set(&["metadata", "resourceVersion"], json!(meta.resource_version));
    json_patch::Patch(vec![version, change])
}

fn manager(name: &str) -> PatchParams {
    PatchParams { field_manager: Some(name.to_owned()), ..PatchParams::default() }
}

impl Writer {
    fn hosts(&self, host: &HostKey) -> Api<PluginHost> {
        Api::namespaced(self.client.clone(), &host.namespace)
    }

    pub(super) async fn host(&self, host: &HostKey) -> Result<PluginHost, WriteError> {
        let object = format!("PluginHost {host}");
        call(format!("read {object}"), self.hosts(host).get(&host.name)).await.map_err(|e| failed(&object, e))
    }

    /// Others may write the host meanwhile; only another rollout is a conflict.
    pub(super) async fn save_rollout(&self, host: &HostKey, expected: &State, new: &State) -> Result<(), WriteError> {
        let mut result = Ok(());
        for _ in 0..ATTEMPTS {
            let found = self.host(host).await?;
            let stored = found.status.as_ref().and_then(|s| s.rollout.clone()).unwrap_or_default();
            if stored != *expected {
                return Err(WriteError::Conflict { object: format!("PluginHost {host}") });
            }
            result = self.write_rollout(host, &found, new).await;
            if !matches!(result, Err(WriteError::Conflict { .. })) {
                return result;
            }
        }
        result
    }

    /// Not by apply, which makes null of a map that loses its last key.
    async fn write_rollout(&self, host: &HostKey, found: &PluginHost, new: &State) -> Result<(), WriteError> {
        let change = match &found.status {
            Some(_) => set(&["status", "rollout"], json!(new)),
            None => set(&["status"], json!({"rollout": new})),
        };
        let (object, patch) = (format!("PluginHost {host}"), Patch::Json::<()>(tied(&found.metadata, change)));
        let api = self.hosts(host);
        let written =
            call(format!("write the rollout of {object}"), api.patch_status(&host.name, &manager(ROLLOUT), &patch))
                .await;
        written.map(drop).map_err(|e| failed(&object, e))
    }

    pub(super) async fn report_host(&self, host: &HostKey, status: &PluginHostStatus) -> Result<(), WriteError> {
        let status = PluginHostStatus { rollout: None, ..status.clone() };
        let patch = status_of::<PluginHost>(&host.name, &status);
        self.apply_status(&self.hosts(host), &format!("PluginHost {host}"), &host.name, &patch).await
    }

    pub(super) async fn report_plugin(
        &self,
        host: &HostKey,
        name: &str,
        status: &PluginStatus,
    ) -> Result<(), WriteError> {
        // The answer may be an object that this version cannot decode.
        let kind = ApiResource::erase::<Plugin>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &host.namespace, &kind);
        let patch = status_of::<Plugin>(name, status);
        self.apply_status(&api, &format!("Plugin {}/{name}", host.namespace), name, &patch).await
    }

    async fn apply_status<K>(&self, api: &Api<K>, object: &str, name: &str, patch: &Value) -> Result<(), WriteError>
    where
        K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
    {
        let parameters = PatchParams::apply(REPORT).force();
        let written =
            call(format!("write the status of {object}"), api.patch_status(name, &parameters, &Patch::Apply(patch)))
                .await;
        written.map(drop).map_err(|e| failed(object, e))
    }

    /// One that is there already must hold the same.
    pub(super) async fn save_revision(
        &self,
        owner: &PluginHost,
        plugin: &Plugin,
        revision: &Revision,
    ) -> Result<(), WriteError> {
        let namespace = owner.namespace().unwrap_or_default();
        let host = owner.name_any();
        let name = convert::object_name(&host, &revision.id);
        let object = format!("ControllerRevision {namespace}/{name}");
        let refused = |cause: String| WriteError::Failed { object: object.clone(), cause };
        let stored = convert::controller_revision(owner, plugin, revision).map_err(|e| refused(e.to_string()))?;
        let api = self.revisions(&namespace);
        let created = call(format!("create {object}"), api.create(&PostParams::default(), &stored)).await;
        match created.map_err(|e| failed(&object, e)) {
            Ok(_) => Ok(()),
            Err(WriteError::Conflict { .. }) => {
                let found = call(format!("read {object}"), api.get(&name)).await.map_err(|e| failed(&object, e))?;
                if convert::holds(&found, &host, revision) {
                    Ok(())
                } else {
                    Err(refused("there is one already, and it holds something else; delete it".into()))
                }
            }
            Err(error) => Err(error),
        }
    }

    pub(super) async fn delete_revision(&self, host: &HostKey, name: &str) -> Result<(), WriteError> {
        let object = format!("ControllerRevision {}/{name}", host.namespace);
        let api = self.revisions(&host.namespace);
        let deleted = call(format!("delete {object}"), api.delete(name, &DeleteParams::default())).await;
        found(deleted).map(drop).map_err(|e| failed(&object, e))
    }

    fn revisions(&self, namespace: &str) -> Api<ControllerRevision> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Removes what an earlier version set. Other finalizers stay as they are.
    pub(super) async fn remove_finalizer(&self, plugin: &Plugin) -> Result<(), WriteError> {
        let (namespace, name) = (plugin.namespace().unwrap_or_default(), plugin.name_any());
        let object = format!("Plugin {namespace}/{name}");
        let api: Api<Plugin> = Api::namespaced(self.client.clone(), &namespace);
        let Some(found) =
            found(call(format!("read {object}"), api.get(&name)).await).map_err(|e| failed(&object, e))?
        else {
            return Ok(());
        };
        let Some(change) = without_finalizer(&found.metadata) else { return Ok(()) };
        let patch = Patch::Json::<()>(tied(&found.metadata, change));
        let written =
            call(format!("write the finalizers of {object}"), api.patch(&name, &manager(FINALIZER), &patch)).await;
        crate::api::found(written).map(drop).map_err(|e| failed(&object, e))
    }

    /// A lost event is lost; the status says the same.
    pub(super) async fn tell(&self, view: &View, note: Note) {
        let Some(about) = reference(view, &note.about) else { return };
        let namespace = about.namespace.clone().unwrap_or_default();
        let event = event(about, note, &self.instance);
        let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        if let Err(error) = call("create an event", api.create(&PostParams::default(), &event)).await {
            tracing::warn!(%error, "an event was lost");
        }
    }
}

/// None: nothing to change.
fn without_finalizer(meta: &ObjectMeta) -> Option<PatchOperation> {
    let old = meta.finalizers.clone().unwrap_or_default();
    let new: Vec<_> = old.iter().filter(|f| *f != UNLOAD_FINALIZER).cloned().collect();
    (old != new).then(|| set(&["metadata", "finalizers"], json!(new)))
}

fn reference(view: &View, about: &Subject) -> Option<ObjectReference> {
    match about {
        Subject::Host => Some(view.host.as_ref()?.object_ref(&())),
        Subject::Plugin(name) => Some(view.plugins.iter().find(|p| p.name_any() == *name)?.object_ref(&())),
    }
}

fn event(about: ObjectReference, note: Note, instance: &str) -> Event {
    Event {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", about.name.as_deref().unwrap_or_default())),
            namespace: about.namespace.clone(),
            ..ObjectMeta::default()
        },
        action: Some(note.reason.into()),
        event_time: Some(MicroTime(Timestamp::now())),
        note: Some(bounded(&note.text, LONGEST_NOTE)),
        reason: Some(note.reason.into()),
        regarding: Some(about),
        reporting_controller: Some(CONTROLLER.into()),
        reporting_instance: Some(instance.to_owned()),
        type_: Some(if note.warning { "Warning" } else { "Normal" }.into()),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(finalizers: &[&str]) -> ObjectMeta {
        let finalizers = finalizers.iter().map(ToString::to_string).collect();
        ObjectMeta { finalizers: Some(finalizers), resource_version: Some("7".into()), ..ObjectMeta::default() }
    }

    #[test]
    fn other_finalizers_stay() {
        let meta_with_ours = meta(&["x", UNLOAD_FINALIZER]);
        let patch = tied(&meta_with_ours, without_finalizer(&meta_with_ours).unwrap());
        let expected = json!([
            {"op": "add", "path": "/metadata/resourceVersion", "value": "7"},
            {"op": "add", "path": "/metadata/finalizers", "value": ["x"]},
        ]);
        assert_eq!(serde_json::to_value(patch).unwrap(), expected);
        assert!(without_finalizer(&meta(&["x"])).is_none());
    }

    #[test]
    fn a_note_is_bounded_and_says_nothing_that_cannot_be_shown() {
        let note = Note {
            about: Subject::Host,
            warning: true,
            reason: "Crashed",
            text: format!("\u{1b}[2J{}", "é".repeat(600)),
        };
        let text = event(ObjectReference::default(), note, "operator-0").note.unwrap();
        assert!(text.len() <= 1024 && text.starts_with("\\u{1b}[2J"), "{text}");
    }
}
