//! The name of a PluginHost, and the bell that wakes the loop of one. No I/O.

use parking_lot::Mutex;
use std::{collections::HashMap, fmt, sync::Arc};
use tokio::sync::Notify;

/// Which PluginHost.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostKey {
    pub namespace: String,
    pub name: String,
}

impl HostKey {
    #[must_use]
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What wakes those who work for one host.
#[derive(Debug, Default)]
struct Bell {
    passes: Arc<Notify>,
    withdrawals: Arc<Notify>,
}

impl Bell {
    fn ring(&self) {
        self.passes.notify_one();
        self.withdrawals.notify_one();
    }
}

/// One bell a host, and one for the list of hosts. A ring is never lost: who is not waiting finds it later.
#[derive(Clone, Debug, Default)]
pub struct Bells {
    hosts: Arc<Mutex<HashMap<HostKey, Bell>>>,
    list: Arc<Notify>,
}

impl Bells {
    /// The bell of one host; made when first asked for.
    #[must_use]
    pub fn of(&self, host: &HostKey) -> Arc<Notify> {
        Arc::clone(&self.hosts.lock().entry(host.clone()).or_default().passes)
    }

    /// The same for what takes away, which waits for no pass.
    #[must_use]
    pub fn withdrawals_of(&self, host: &HostKey) -> Arc<Notify> {
        Arc::clone(&self.hosts.lock().entry(host.clone()).or_default().withdrawals)
    }

    /// The bell that tells that a host came or went.
    #[must_use]
    pub fn list(&self) -> Arc<Notify> {
        Arc::clone(&self.list)
    }

    /// Something of this host changed.
    pub fn ring(&self, host: &HostKey) {
        if let Some(bell) = self.hosts.lock().get(host) {
            bell.ring();
        }
    }

    /// Something that any host of this namespace may use changed.
    pub fn ring_namespace(&self, namespace: &str) {
        self.hosts.lock().iter().filter(|(key, _)| key.namespace == namespace).for_each(|(_, bell)| bell.ring());
    }

    /// A host came or went.
    pub fn ring_list(&self) {
        self.list.notify_one();
    }

    /// The host is gone.
    pub fn forget(&self, host: &HostKey) {
        self.hosts.lock().remove(host);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_ring_before_the_wait_is_found() {
        let bells = Bells::default();
        let key = HostKey::new("shop", "storefront");
        let bell = bells.of(&key);
        bells.ring_namespace("shop");
        bell.notified().await;
        bells.ring(&key);
        bell.notified().await;
        bells.withdrawals_of(&key).notified().await;
    }
}
