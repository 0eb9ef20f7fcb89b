//! Where the tables are: a PostgreSQL server, or a file. Does I/O.

use super::{embedded::Embedded, rows::Rows, server::Server};
use crate::slot::Incident;
use rockstar_core::backends::Backends;
use std::path::{Path, PathBuf};

const FILE: &str = "monitoring.db";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Addresses in the order in which they are tried: the second one counts where the first one's role may not make tables.
    Server(Vec<String>),
    File(PathBuf),
}

impl Place {
    /// The storage's role is the sidecar's own; the database's is the one that plugins have.
    pub(super) fn of(addresses: &Backends, data: &Path) -> Self {
        let is_server = |address: &&String| address.starts_with("postgres://") || address.starts_with("postgresql://");
        let servers: Vec<_> =
            [&addresses.storage, &addresses.database].into_iter().flatten().filter(is_server).cloned().collect();
        if servers.is_empty() { Self::File(data.join(FILE)) } else { Self::Server(servers) }
    }
}

pub(super) enum Engine {
    Server(Box<Server>),
    File(Embedded),
}

impl Engine {
    pub(super) async fn open(place: &Place) -> Result<Self, String> {
        match place {
            Place::Server(addresses) => Ok(Self::Server(Box::new(Server::open(addresses).await?))),
            Place::File(path) => Embedded::open(path.clone()).await.map(Self::File),
        }
    }

    pub(super) async fn write(&mut self, instance: &str, rows: &Rows, errors: &[Incident]) -> Result<(), String> {
        match self {
            Self::Server(server) => server.write(instance, rows, errors).await,
            Self::File(file) => file.write(rows.clone(), errors.to_vec()).await,
        }
    }

    /// The instance is gone for others; a file keeps what it has.
    pub(super) async fn leave(&mut self, instance: &str) {
        if let Self::Server(server) = self {
            server.leave(instance).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_goes_before_the_file_and_the_storage_before_the_database() {
        let (storage, database) = (Some("postgres://s".to_owned()), Some("postgresql://d".to_owned()));
        let of = |storage: &Option<String>, database: &Option<String>| {
            let addresses = Backends { storage: storage.clone(), database: database.clone(), ..Backends::default() };
            Place::of(&addresses, Path::new("/data"))
        };
        let file = Place::File("/data/monitoring.db".into());
        assert_eq!(of(&None, &None), file);
        assert_eq!(of(&None, &Some("sqlite:x".to_owned())), file);
        assert_eq!(of(&None, &database), Place::Server(vec!["postgresql://d".to_owned()]));
        let both = vec!["postgres://s".to_owned(), "postgresql://d".to_owned()];
        assert_eq!(of(&storage, &database), Place::Server(both));
    }
}
