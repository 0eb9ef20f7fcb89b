//! Turns at writing. SQLite has one writer at a time and lets those in who wait by chance; here plugins take turns, so that
//! one that writes without end keeps another waiting for one statement or transaction. Memory only.

use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};
use tokio::sync::{Mutex as Queue, OwnedMutexGuard};

/// One of a plugin's writers waits for the file, the others for the plugin's own queue.
#[derive(Debug, Default)]
pub(super) struct Turns {
    file: Arc<Queue<()>>,
    plugins: Mutex<HashMap<String, Arc<Queue<()>>>>,
}

/// The right to write until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _file: OwnedMutexGuard<()>,
    _own: OwnedMutexGuard<()>,
}

impl Turns {
    pub(super) async fn take(&self, plugin: &str) -> Turn {
        let queue = Arc::clone(self.plugins.lock().entry(plugin.to_owned()).or_default());
        let own = queue.lock_owned().await;
        Turn { _file: Arc::clone(&self.file).lock_owned().await, _own: own }
    }

    /// How many write, or wait for the file.
    #[cfg(test)]
    pub(super) fn writers(&self) -> usize {
        Arc::strong_count(&self.file) - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn plugins_take_turns_however_many_writers_one_has() {
        let turns = Turns::default();
        let first = turns.take("p").await;
        let (mut second, mut other) = (Box::pin(turns.take("p")), Box::pin(turns.take("q")));
        assert!(second.as_mut().now_or_never().is_none() && other.as_mut().now_or_never().is_none());
        drop(first);
        assert!(second.as_mut().now_or_never().is_none());
        drop(other.now_or_never().unwrap());
        assert!(second.now_or_never().is_some());
    }
}
