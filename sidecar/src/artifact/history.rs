//! Which copies each plugin used last, and which are in use: all others are removed. Kept in the store across restarts.
//! Does I/O, blocking.

use crate::removal;
use parking_lot::Mutex;
use std::{collections::BTreeMap, fs, io, path::Path, path::PathBuf, sync::Arc};
use tokio::sync::{RwLock, RwLockReadGuard};

/// Copies a plugin can go back to; as many as the operator keeps revisions.
const MAX_COPIES: usize = 10;
const MAX_PLUGINS: usize = 256;
const FILE: &str = ".history.json";

#[derive(Debug)]
pub(super) struct History {
    file: PathBuf,
    used: Mutex<Used>,
    leases: Arc<Mutex<Leases>>,
    /// Held by whoever fetches: a copy may be found before it is leased.
    fetching: RwLock<()>,
}

/// The copies of each plugin, the newest last; the plugin that was used last comes last.
type Used = Vec<(String, Vec<String>)>;
type Leases = BTreeMap<String, usize>;

/// Keeps a copy from being removed until it is dropped.
#[derive(Debug)]
pub struct Lease {
    id: String,
    leases: Arc<Mutex<Leases>>,
}

impl History {
    pub(super) fn open(store: &Path) -> Self {
        let file = store.join(FILE);
        let used = fs::read(&file).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        Self { file, used: Mutex::new(used), leases: Arc::default(), fetching: RwLock::new(()) }
    }

    pub(super) async fn begin_fetch(&self) -> RwLockReadGuard<'_, ()> {
        self.fetching.read().await
    }

    pub(super) fn lease(&self, id: &str) -> Lease {
        *self.leases.lock().entry(id.to_owned()).or_default() += 1;
        Lease { id: id.to_owned(), leases: Arc::clone(&self.leases) }
    }

    pub(super) fn note_use(&self, plugin: &str, id: &str) {
        let mut used = self.used.lock();
        let known = used.iter().position(|(name, _)| name == plugin).map(|at| used.remove(at));
        let mut copies = known.map(|(_, copies)| copies).unwrap_or_default();
        copies.retain(|copy| copy != id);
        copies.push(id.to_owned());
        drop_oldest(&mut copies, MAX_COPIES);
        used.push((plugin.to_owned(), copies));
        drop_oldest(&mut used, MAX_PLUGINS);
    }

    pub(super) fn forget(&self, plugin: &str) {
        self.used.lock().retain(|(name, _)| name != plugin);
    }

    /// Removes the copies that no plugin used lately and none uses, unless somebody fetches just now.
    pub(super) fn remove_unused(&self, store: &Path) {
        let Ok(_turn) = self.fetching.try_write() else { return };
        let used = self.used.lock().clone();
        if let Err(cause) = self.save(&used).and_then(|()| self.sweep(store, &used)) {
            tracing::warn!(%cause, "Failed to remove old versions of plugins: {cause}");
        }
    }

    fn save(&self, used: &Used) -> io::Result<()> {
        let new = self.file.with_extension("new");
        fs::write(&new, serde_json::to_vec(used)?)?;
        fs::rename(new, &self.file)
    }

    fn sweep(&self, store: &Path, used: &Used) -> io::Result<()> {
        for entry in fs::read_dir(store)? {
            let entry = entry?;
            let id = entry.file_name().to_string_lossy().into_owned();
            let is_used = used.iter().any(|(_, copies)| copies.contains(&id)) || self.leases.lock().contains_key(&id);
            if !is_used && !id.starts_with('.') && entry.file_type()?.is_dir() {
                removal::remove_tree(&entry.path())?;
            }
        }
        Ok(())
    }
}

fn drop_oldest<T>(list: &mut Vec<T>, max: usize) {
    let surplus = list.len().saturating_sub(max);
    list.drain(..surplus);
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut leases = self.leases.lock();
        let left = leases.get(&self.id).map_or(0, |count| count.saturating_sub(1));
        match left {
            0 => drop(leases.remove(&self.id)),
            left => drop(leases.insert(self.id.clone(), left)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn copies_beyond_the_history_are_removed_unless_they_are_in_use() {
        let store = tempfile::tempdir().unwrap();
        let history = History::open(store.path());
        let add = |plugin: &str, id: String| {
            fs::create_dir_all(store.path().join(&id).join("deeper")).unwrap();
            history.note_use(plugin, &id);
        };
        add("other", "path-other".into());
        let lease = history.lease("path-0");
        (0..MAX_COPIES + 5).for_each(|n| add("p", format!("path-{n}")));
        let left = || fs::read_dir(store.path()).unwrap().filter(|e| e.as_ref().unwrap().path().is_dir()).count();

        let fetching = history.begin_fetch().await;
        history.remove_unused(store.path());
        assert_eq!(left(), MAX_COPIES + 6, "somebody fetches");
        drop(fetching);
        history.remove_unused(store.path());
        assert_eq!(left(), MAX_COPIES + 2);
        assert!(store.path().join("path-0").exists() && !store.path().join("path-1").exists());

        drop(lease);
        history.forget("other");
        let reopened = History::open(store.path());
        reopened.forget("other");
        reopened.remove_unused(store.path());
        assert_eq!(left(), MAX_COPIES);
    }
}
