//! Values of Secrets and ConfigMaps, read by name when asked for: the operator may not list Secrets, so it cannot watch
//! them. I/O: the API server.

use crate::{
    api::{call, found},
    world::{ValueRef, Values, config_map_value, secret_value, whole_config_map},
};
use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client, api::GetParams};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};
use tokio::time::Instant;

/// A rotated value is seen after so long at the latest, and after the loop's own pause.
const FRESH: Duration = Duration::from_secs(3);
/// What nobody asked for is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(60);
const AT_ONCE: usize = 8;

/// Namespace and reference to an object.
type Source = (String, ObjectRef);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum ObjectRef {
    Secret(String),
    ConfigMap(String),
}

#[derive(Clone, Debug)]
enum Object {
    Secret(Option<Box<Secret>>),
    ConfigMap(Option<Box<ConfigMap>>),
}

pub(super) struct ValueReader {
    client: Client,
    known: Mutex<HashMap<Source, (Instant, Object)>>,
}

impl ValueReader {
    pub(super) fn new(client: Client) -> Self {
        Self { client, known: Mutex::default() }
    }

    pub(super) async fn values(&self, namespace: &str, wanted: &[ValueRef]) -> Values {
        let objects: BTreeSet<ObjectRef> = wanted.iter().map(object_of).collect();
        let read = stream::iter(objects).map(|at| async move {
            let object = self.object(namespace, &at).await;
            (at, object)
        });
        let objects: BTreeMap<ObjectRef, Result<Object, String>> = read.buffer_unordered(AT_ONCE).collect().await;
        wanted.iter().map(|at| (at.clone(), value(namespace, at, objects.get(&object_of(at))))).collect()
    }

    async fn object(&self, namespace: &str, at: &ObjectRef) -> Result<Object, String> {
        let source = (namespace.to_owned(), at.clone());
        let known = self.known.lock().get(&source).cloned();
        if let Some((_, object)) = known.as_ref().filter(|(read, _)| read.elapsed() < FRESH) {
            return Ok(object.clone());
        }
        match self.read(namespace, at).await {
            Ok(object) => {
                self.remember(source, object.clone());
                Ok(object)
            }
            // The last known value is better than none.
            Err(error) => known.map(|(_, object)| object).ok_or(error),
        }
    }

    fn remember(&self, source: Source, object: Object) {
        let mut known = self.known.lock();
        known.retain(|_, (read, _)| read.elapsed() < FORGOTTEN);
        known.insert(source, (Instant::now(), object));
    }

    async fn read(&self, namespace: &str, at: &ObjectRef) -> Result<Object, String> {
        let parameters = GetParams::any();
        let read = match at {
            ObjectRef::Secret(name) => {
                let api = Api::<Secret>::namespaced(self.client.clone(), namespace);
                let answer = call(format!("read Secret {namespace}/{name}"), api.get_with(name, &parameters)).await;
                found(answer).map(|s| Object::Secret(s.map(Box::new)))
            }
            ObjectRef::ConfigMap(name) => {
                let api = Api::<ConfigMap>::namespaced(self.client.clone(), namespace);
                let answer = call(format!("read ConfigMap {namespace}/{name}"), api.get_with(name, &parameters)).await;
                found(answer).map(|m| Object::ConfigMap(m.map(Box::new)))
            }
        };
        read.map_err(|e| e.to_string())
    }
}

fn object_of(at: &ValueRef) -> ObjectRef {
    match at {
        ValueRef::Secret(at) => ObjectRef::Secret(at.name.clone()),
        ValueRef::ConfigMap(at) => ObjectRef::ConfigMap(at.name.clone()),
        ValueRef::WholeConfigMap(name) => ObjectRef::ConfigMap(name.clone()),
    }
}

fn value(namespace: &str, at: &ValueRef, object: Option<&Result<Object, String>>) -> Result<String, String> {
    match (at, object) {
        (ValueRef::Secret(at), Some(Ok(Object::Secret(found)))) => secret_value(namespace, at, found.as_deref()),
        (ValueRef::ConfigMap(at), Some(Ok(Object::ConfigMap(found)))) => {
            config_map_value(namespace, at, found.as_deref())
        }
        (ValueRef::WholeConfigMap(name), Some(Ok(Object::ConfigMap(found)))) => {
            whole_config_map(namespace, name, found.as_deref())
        }
        (_, Some(Err(error))) => Err(error.clone()),
        _ => Err("not read yet".into()),
    }
}
