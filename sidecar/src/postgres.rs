//! Connections to a PostgreSQL server: a bounded pool, TLS, and the server's errors in words. Does I/O.

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use percent_encoding::percent_decode_str;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use std::{
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};
use tokio_postgres::{Config, Error, config::SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long it may take to have a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// What a user of a connection may have left behind, down to an open transaction.
const CLEAN: &str = "ROLLBACK; CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *;
SELECT pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES";

/// One server and one role; opened when it is used.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pool: Pool,
    tls: Tls,
}

#[derive(Clone)]
pub(crate) struct Tls(pub(crate) MakeRustlsConnect);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Server {
    /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE`.
    pub(crate) fn new(address: &str, most: usize) -> Result<Self, String> {
        if !address.starts_with("postgres://") && !address.starts_with("postgresql://") {
            return Err("the address must begin with postgres://".to_owned());
        }
        let (mut config, tls) = parsed(address)?;
        config.connect_timeout(CONNECT).keepalives_idle(Duration::from_secs(30)).application_name("rockstar");
        let tls = Tls(tls);
        let recycling_method = RecyclingMethod::Custom(CLEAN.to_owned());
        let manager = Manager::from_config(config, tls.0.clone(), ManagerConfig { recycling_method });
        let pool = Pool::builder(manager).max_size(most).runtime(Runtime::Tokio1);
        let pool = pool.wait_timeout(Some(CONNECT)).create_timeout(Some(CONNECT)).recycle_timeout(Some(CONNECT));
        Ok(Self { pool: pool.build().map_err(|e| e.to_string())?, tls })
    }

    pub(crate) async fn connection(&self) -> Result<Object, String> {
        self.pool.get().await.map_err(|error| match &error {
            deadpool_postgres::PoolError::Backend(cause) => describe(cause),
            other => other.to_string(),
        })
    }

    pub(crate) fn tls(&self) -> MakeRustlsConnect {
        self.tls.0.clone()
    }
}

/// An address, and how its server is verified, which is by the authorities of `sslrootcert`, else of the system.
pub(crate) fn parsed(address: &str) -> Result<(Config, MakeRustlsConnect), String> {
    let (address, authorities) = understood(address);
    // The address holds a password: it is in no text.
    let config = Config::from_str(&address).map_err(|e| format!("the address is not valid: {e}"))?;
    let tls = match authorities {
        Some(file) => trusting(&file)?,
        None => tls(config.get_ssl_mode())?,
    };
    Ok((config, tls))
}

/// Without what only libpq knows: here, TLS that is required is always verified, the server's name too.
fn understood(address: &str) -> (String, Option<PathBuf>) {
    let password = address.find('@').unwrap_or_default();
    let Some(place) = address[password..].find('?') else { return (address.to_owned(), None) };
    let (server, options) = address.split_at(password + place);
    let mut authorities = None;
    let known = options[1..].split('&').filter_map(|option| match option.split_once('=') {
        Some(("sslrootcert", "system")) => None,
        Some(("sslrootcert", file)) => {
            authorities = Some(percent_decode_str(file).decode_utf8_lossy().into_owned().into());
            None
        }
        Some(("sslmode", "verify-ca" | "verify-full")) => Some("sslmode=require"),
        _ => Some(option),
    });
    let known = known.collect::<Vec<_>>().join("&");
    (format!("{server}?{known}"), authorities)
}

/// The system's certificate authorities; a server without TLS needs none.
fn tls(mode: SslMode) -> Result<MakeRustlsConnect, String> {
    match MakeRustlsConnect::with_native_certs() {
        Ok((tls, _)) => Ok(tls),
        Err(_) if matches!(mode, SslMode::Disable | SslMode::Prefer) => Ok(without_roots()),
        Err(errors) => {
            let causes: Vec<_> = errors.iter().map(ToString::to_string).collect();
            Err(format!("the system has no certificate authorities: {}", causes.join("; ")))
        }
    }
}

fn without_roots() -> MakeRustlsConnect {
    with_roots(RootCertStore::empty())
}

/// No other authorities than those of the file.
fn trusting(file: &Path) -> Result<MakeRustlsConnect, String> {
    let wrong = |why: String| format!("sslrootcert {}: {why}", file.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|e| wrong(e.to_string()))? {
        let certificate = certificate.map_err(|e| wrong(e.to_string()))?;
        roots.add(certificate).map_err(|e| wrong(e.to_string()))?;
    }
    match roots.is_empty() {
        true => Err(wrong("there is no certificate in it".to_owned())),
        false => Ok(with_roots(roots)),
    }
}

fn with_roots(roots: RootCertStore) -> MakeRustlsConnect {
    let config = rustls::ClientConfig::builder();
    MakeRustlsConnect::new(config.with_root_certificates(Arc::new(roots)).with_no_client_auth())
}

/// The server's own words, with the code by which they are looked up.
pub(crate) fn describe(error: &Error) -> String {
    match error.as_db_error() {
        Some(told) => {
            let detail = told.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
            format!("{}{detail} (SQLSTATE {})", told.message(), told.code().code())
        }
        None => std::error::Error::source(error).map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_libpq_are_understood() {
        let cases = [
            ("postgres://u@h/d", "postgres://u@h/d", None),
            ("postgres://u:a?b@h/d?sslmode=verify-full", "postgres://u:a?b@h/d?sslmode=require", None),
            ("postgres://h/d?sslrootcert=/a%20b.pem&options=-c", "postgres://h/d?options=-c", Some("/a b.pem")),
            ("postgres://h/d?sslrootcert=system&sslmode=verify-ca", "postgres://h/d?sslmode=require", None),
        ];
        for (address, plain, authorities) in cases {
            assert_eq!(understood(address), (plain.to_owned(), authorities.map(PathBuf::from)));
            assert!(Config::from_str(plain).is_ok(), "{plain}");
        }
    }

    #[test]
    fn authorities_that_cannot_be_read_are_told() {
        let error = parsed("postgres://u:secret@h/d?sslrootcert=/nowhere.pem").err().unwrap();
        assert!(error.starts_with("sslrootcert /nowhere.pem: ") && !error.contains("secret"), "{error}");
    }
}
