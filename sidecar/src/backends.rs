//! The services that plugins use through the framework, embedded or engines elsewhere, and their change while the sidecar
//! runs. Nothing is opened before it is used; the services do their own I/O.

use crate::{cache::Cache, configuration::Configuration, database::Database, storage::Storage};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rockstar_core::backends::{self, Backends as Addresses, MISSING};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// See the module.
#[derive(Debug)]
pub struct Backends {
    data: PathBuf,
    database: ArcSwap<Database>,
    cache: ArcSwap<Cache>,
    storage: ArcSwap<Storage>,
    configuration: ArcSwap<Configuration>,
    applied: Mutex<Applied>,
}

fn shared_role(addresses: &Addresses) -> Option<String> {
    backends::shared_role(addresses.database.as_deref(), addresses.storage.as_deref())
}

fn exposed(role: &str) -> String {
    format!(
        "StorageIsolated=False: backends.database and backends.storage both use the PostgreSQL role '{role}', so that a \
         plugin's SQL reaches the storage of all plugins; give the storage a role of its own"
    )
}

/// Why an address could not be had, where that is so.
pub(crate) fn missing(address: &str) -> Option<String> {
    address.strip_prefix(MISSING).map(str::to_owned)
}

/// Whose they are, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Applied {
    host: String,
    addresses: Addresses,
    strict: bool,
}

impl Backends {
    /// All embedded, with their files in the data directory.
    #[must_use]
    pub fn new(data: &Path) -> Self {
        Self {
            data: data.to_owned(),
            database: ArcSwap::from_pointee(Database::new(None, data, false)),
            cache: ArcSwap::from_pointee(Cache::new(None)),
            storage: ArcSwap::from_pointee(Storage::new(None, data, "")),
            configuration: ArcSwap::default(),
            applied: Mutex::default(),
        }
    }

    /// Uses these from now on; those whose address is the same as before are kept with all they hold. What runs goes on
    /// with what it began with. `host` tells the storage of this host's plugins from that of other hosts. `strict`: a database by
    /// which plugins would reach each other's storage is refused, and not only complained about.
    pub fn apply(&self, host: &str, addresses: &Addresses, configuration: Configuration, strict: bool) {
        self.configuration.store(Arc::new(configuration));
        let new = Applied { host: host.to_owned(), addresses: addresses.clone(), strict };
        let mut applied = self.applied.lock();
        let old = std::mem::replace(&mut *applied, new);
        let database = |a: &Applied| (a.addresses.database.clone(), a.strict, shared_role(&a.addresses));
        if database(&old) != database(&applied) {
            self.database.store(Arc::new(self.open(addresses, strict)));
        }
        if old.addresses.cache != addresses.cache {
            self.cache.store(Arc::new(Cache::new(addresses.cache.as_deref())));
        }
        if (&old.host, &old.addresses.storage) != (&applied.host, &addresses.storage) {
            self.storage.store(Arc::new(Storage::new(addresses.storage.as_deref(), &self.data, host)));
        }
    }

    fn open(&self, addresses: &Addresses, strict: bool) -> Database {
        match shared_role(addresses) {
            Some(role) if strict => Database::unusable(exposed(&role)),
            Some(role) => {
                tracing::warn!("{}", exposed(&role));
                Database::new(addresses.database.as_deref(), &self.data, strict)
            }
            None => Database::new(addresses.database.as_deref(), &self.data, strict),
        }
    }

    pub fn database(&self) -> Arc<Database> {
        self.database.load_full()
    }

    pub fn cache(&self) -> Arc<Cache> {
        self.cache.load_full()
    }

    pub fn storage(&self) -> Arc<Storage> {
        self.storage.load_full()
    }

    pub fn configuration(&self) -> Arc<Configuration> {
        self.configuration.load_full()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_keeps_its_address_is_kept() {
        let data = tempfile::tempdir().unwrap();
        let backends = Backends::new(data.path());
        let (database, cache) = (backends.database(), backends.cache());
        let file = data.path().join("x.sqlite").display().to_string();
        let elsewhere = Addresses { database: Some(format!("sqlite:{file}")), ..Addresses::default() };
        backends.apply("", &elsewhere, Configuration::default(), false);
        assert!(!Arc::ptr_eq(&database, &backends.database()) && Arc::ptr_eq(&cache, &backends.cache()));
        let database = backends.database();
        backends.apply("", &elsewhere, Configuration::default(), false);
        assert!(Arc::ptr_eq(&database, &backends.database()));
    }
}
