//! Connections to a PostgreSQL server: a bounded pool, TLS, and the server's errors in words. Does I/O.

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use std::{str::FromStr, sync::Arc, time::Duration};
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
        // The address holds a password: it is in no text.
        let mut config = Config::from_str(address).map_err(|e| format!("the address is not valid: {e}"))?;
        config.connect_timeout(CONNECT).keepalives_idle(Duration::from_secs(30)).application_name("rockstar");
        let tls = Tls(tls(config.get_ssl_mode())?);
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
    let config = rustls::ClientConfig::builder();
    MakeRustlsConnect::new(
        config.with_root_certificates(Arc::new(rustls::RootCertStore::empty())).with_no_client_auth(),
    )
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
