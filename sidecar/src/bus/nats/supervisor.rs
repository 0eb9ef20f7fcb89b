//! One consumer for each plugin of this sidecar and each event that it listens to. Owns their tasks.

use super::{Connection, consumer};
use crate::{registry::Registry, slot::Slot};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tokio::task::{AbortHandle, JoinSet};

/// A slot is another one when its plugin was unloaded and loaded again.
type Key = (String, String, usize);

pub(super) async fn run(connection: &Connection, registry: &Registry) {
    let mut version = registry.version();
    let mut tasks = JoinSet::new();
    let mut running: BTreeMap<Key, AbortHandle> = BTreeMap::new();
    loop {
        version.mark_unchanged();
        let wanted = wanted(registry);
        running.retain(|key, task| {
            let stays = wanted.contains_key(key);
            if !stays {
                task.abort();
            }
            stays
        });
        for (key, slot) in wanted {
            let event = key.1.clone();
            let start = || tasks.spawn(consumer::run(connection.clone(), slot, event));
            running.entry(key).or_insert_with(start);
        }
        while tasks.try_join_next().is_some() {}
        if version.changed().await.is_err() {
            return;
        }
    }
}

fn wanted(registry: &Registry) -> BTreeMap<Key, Arc<Slot>> {
    let slots = registry.slots();
    let of = |slot: &Arc<Slot>| {
        let registered = slot.current().map(|instance| instance.registrations());
        let events: BTreeSet<_> =
            registered.iter().flat_map(|r| r.subscriptions.iter().map(|s| s.event.clone())).collect();
        let key = |event| ((slot.name().to_owned(), event, Arc::as_ptr(slot).addr()), Arc::clone(slot));
        events.into_iter().map(key).collect::<Vec<_>>()
    };
    slots.values().flat_map(of).collect()
}
