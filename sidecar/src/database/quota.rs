//! How many connections a plugin may have at once. Memory only.

use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

#[derive(Debug)]
pub(super) struct Quota {
    each: usize,
    plugins: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// The right to one connection, given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Quota {
    pub(super) fn new(each: usize) -> Self {
        Self { each, plugins: Mutex::default() }
    }

    /// Waits until the plugin has fewer connections than it may.
    pub(super) async fn share(&self, plugin: &str) -> Share {
        let semaphore = {
            let mut plugins = self.plugins.lock();
            let new = || Arc::new(Semaphore::new(self.each));
            Arc::clone(plugins.entry(plugin.to_owned()).or_insert_with(new))
        };
        // It is never closed.
        Share { _permit: semaphore.acquire_owned().await.ok() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn a_plugin_that_has_its_share_waits_and_others_do_not() {
        let quota = Quota::new(1);
        let first = quota.share("p").await;
        assert!(quota.share("p").now_or_never().is_none());
        assert!(quota.share("q").now_or_never().is_some());
        drop(first);
        assert!(quota.share("p").now_or_never().is_some());
    }
}
