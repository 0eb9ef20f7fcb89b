//! The Secret that holds the certificates; written only over what was read. I/O: the API server.

use super::{
    keyring::{Keyring, KeyringError},
    unreadable,
};
use crate::api::{CallError, call, found};
use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Api, Client, api::PostParams};
use std::collections::BTreeMap;

/// The Secret in the operator's namespace.
pub(crate) const SECRET: &str = "rockstar-operator-tls";
const DESCRIPTION: (&str, &str) =
    ("kubernetes.io/description", "Made and renewed by rockstar-operator. Deleted, it is made anew.");

#[derive(Clone)]
pub(super) struct Store {
    api: Api<Secret>,
}

/// What was read, and the object to write over.
pub(super) struct Stored {
    pub(super) keyring: Option<Keyring>,
    pub(super) secret: Option<Secret>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

impl Store {
    pub(super) fn new(client: Client, namespace: &str) -> Self {
        Self { api: Api::namespaced(client, namespace) }
    }

    pub(super) async fn read(&self) -> Result<Stored, CallError> {
        let secret = found(call(format!("read secret {SECRET}"), self.api.get(SECRET)).await)?;
        Ok(Stored { keyring: secret.as_ref().and_then(understood), secret })
    }

    pub(super) async fn write(&self, old: Option<Secret>, keyring: &Keyring) -> Result<(), CallError> {
        let (what, parameters) = (format!("write secret {SECRET}"), PostParams::default());
        let secret = filled(old, keyring);
        if secret.metadata.resource_version.is_some() {
            call(what, self.api.replace(SECRET, &parameters, &secret)).await?;
        } else {
            call(what, self.api.create(&parameters, &secret)).await?;
        }
        Ok(())
    }
}

fn understood(secret: &Secret) -> Option<Keyring> {
    Keyring::from_data(&texts(secret)).inspect_err(|error: &KeyringError| unreadable(secret, error)).ok()
}

fn texts(secret: &Secret) -> BTreeMap<String, String> {
    let data = secret.data.iter().flatten();
    data.filter_map(|(name, bytes)| Some((name.clone(), String::from_utf8(bytes.0.clone()).ok()?))).collect()
}

fn filled(old: Option<Secret>, keyring: &Keyring) -> Secret {
    let mut secret = old.unwrap_or_else(|| Secret {
        metadata: ObjectMeta { name: Some(SECRET.into()), ..ObjectMeta::default() },
        ..Secret::default()
    });
    secret.metadata.managed_fields = None;
    let (name, text) = DESCRIPTION;
    secret.metadata.annotations.get_or_insert_default().insert(name.into(), text.into());
    let data = keyring.to_data().into_iter();
    secret.data = Some(data.map(|(name, text)| (name, ByteString(text.into_bytes()))).collect());
    secret
}
