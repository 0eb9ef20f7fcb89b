//! TLS with the certificate of the moment: asked for each connection, so that a renewed one is used at once. No I/O.

use super::keyring::{Keyring, ends};
use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
};
use std::sync::Arc;

const HTTP1: &[u8] = b"http/1.1";
const HTTP2: &[u8] = b"h2";

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("unreadable PEM: {0}")]
    Pem(#[from] pem::Error),
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

/// What is served with, and whom clients should trust.
#[derive(Debug)]
pub struct Tls {
    current: ArcSwap<Current>,
}

#[derive(Debug)]
struct Current {
    http1: Arc<ServerConfig>,
    http2: Arc<ServerConfig>,
    bundle: Arc<str>,
    leaf_ends: i64,
}

impl Tls {
    pub(super) fn new(keyring: &Keyring) -> Result<Self, TlsError> {
        Ok(Self { current: ArcSwap::from_pointee(Current::new(keyring)?) })
    }

    pub(super) fn replace(&self, keyring: &Keyring) -> Result<(), TlsError> {
        self.current.store(Arc::new(Current::new(keyring)?));
        Ok(())
    }

    /// For webhooks.
    #[must_use]
    pub fn http1(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().http1)
    }

    /// For gRPC.
    #[must_use]
    pub fn http2(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().http2)
    }

    /// The certificates of the authorities, in PEM.
    #[must_use]
    pub fn bundle(&self) -> Arc<str> {
        Arc::clone(&self.current.load().bundle)
    }

    /// When the certificate that is served ends, in seconds since the epoch.
    #[must_use]
    pub fn leaf_ends(&self) -> i64 {
        self.current.load().leaf_ends
    }
}

impl Current {
    fn new(keyring: &Keyring) -> Result<Self, TlsError> {
        Ok(Self {
            http1: Arc::new(config(keyring, HTTP1)?),
            http2: Arc::new(config(keyring, HTTP2)?),
            bundle: keyring.bundle().into(),
            leaf_ends: ends(&keyring.leaf.certificate),
        })
    }
}

fn config(keyring: &Keyring, protocol: &[u8]) -> Result<ServerConfig, TlsError> {
    let certificates = CertificateDer::pem_slice_iter(keyring.leaf.certificate.as_bytes()).collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(keyring.leaf.key.as_bytes())?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates, key)?;
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(config)
}

#[cfg(test)]
impl Tls {
    pub(crate) fn for_tests(names: &[String]) -> Self {
        Self::new(&super::issue::fresh(names)).unwrap()
    }

    pub(crate) fn renew_for_tests(&self, names: &[String]) {
        self.replace(&super::issue::fresh(names)).unwrap();
    }
}
