//! Which namespaces the operator looks after. No I/O.

use k8s_openapi::NamespaceResourceScope;
use kube::{Api, Client, Resource};
use std::collections::BTreeSet;

/// All namespaces, or those that are listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    Cluster,
    Namespaces(BTreeSet<String>),
}

impl Scope {
    /// No list means all.
    #[must_use]
    pub fn of(listed: &[String]) -> Self {
        let listed: BTreeSet<String> = listed.iter().filter(|name| !name.is_empty()).cloned().collect();
        if listed.is_empty() { Self::Cluster } else { Self::Namespaces(listed) }
    }

    /// The APIs through which all objects of a kind are seen.
    #[must_use]
    pub fn apis<K>(&self, client: &Client) -> Vec<Api<K>>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        match self {
            Self::Cluster => vec![Api::all(client.clone())],
            Self::Namespaces(names) => names.iter().map(|name| Api::namespaced(client.clone(), name)).collect(),
        }
    }
}
