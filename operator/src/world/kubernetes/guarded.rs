//! An object as the API server sent it: decoded, or as plain JSON with the reason why this version cannot decode it. Pure.

use kube::{Resource, core::ObjectMeta};
use serde::{Deserialize, Deserializer, de::DeserializeOwned, de::Error};
use serde_json::Value;
use std::borrow::Cow;

#[derive(Clone, Debug)]
pub(super) struct Guarded<K> {
    pub(super) metadata: ObjectMeta,
    pub(super) object: Result<K, Undecoded>,
}

#[derive(Clone, Debug)]
pub(super) struct Undecoded {
    pub(super) raw: Value,
    pub(super) error: String,
}

impl Undecoded {
    /// A text at a JSON pointer, if there is one.
    pub(super) fn text(&self, pointer: &str) -> Option<String> {
        self.raw.pointer(pointer).and_then(Value::as_str).map(str::to_owned)
    }
}

impl<'de, K: DeserializeOwned + Resource> Deserialize<'de> for Guarded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Value::deserialize(deserializer)?;
        match K::deserialize(&raw) {
            Ok(mut object) => {
                object.meta_mut().managed_fields = None;
                Ok(Self { metadata: object.meta().clone(), object: Ok(object) })
            }
            Err(error) => {
                let metadata =
                    raw.get("metadata").map(ObjectMeta::deserialize).transpose().map_err(D::Error::custom)?;
                let undecoded = Undecoded { error: error.to_string(), raw };
                Ok(Self { metadata: metadata.unwrap_or_default(), object: Err(undecoded) })
            }
        }
    }
}

impl<K: Resource> Resource for Guarded<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(dynamic: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(dynamic)
    }

    fn group(dynamic: &Self::DynamicType) -> Cow<'_, str> {
        K::group(dynamic)
    }

    fn version(dynamic: &Self::DynamicType) -> Cow<'_, str> {
        K::version(dynamic)
    }

    fn plural(dynamic: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(dynamic)
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rockstar_crds::Plugin;
    use serde_json::json;

    #[test]
    fn what_cannot_be_decoded_still_tells_what_it_is() {
        let object = |policy: &str| {
            json!({
                "apiVersion": "plugins.rockstar-framework.dev/v1alpha1", "kind": "Plugin",
                "metadata": {"name": "auth", "namespace": "shop", "uid": "u"},
                "spec": {"manifest": {"name": "auth-plugin"}, "source": {"path": "/p"}, "failurePolicy": policy},
            })
        };
        let good: Guarded<Plugin> = serde_json::from_value(object("Closed")).unwrap();
        assert!(good.object.is_ok());
        let bad: Guarded<Plugin> = serde_json::from_value(object("Later")).unwrap();
        assert_eq!(bad.metadata.name.as_deref(), Some("auth"));
        let undecoded = bad.object.unwrap_err();
        assert!(undecoded.error.contains("Later"), "{}", undecoded.error);
        assert_eq!(undecoded.text("/spec/manifest/name").as_deref(), Some("auth-plugin"));
        assert_eq!(undecoded.text("/spec/host"), None);
    }
}
