//! The operator's own certificate authority: who signs, what replaces it and when, where its certificate is handed out.
//!
//! `issue` makes certificates, `keyring` holds them, `decide` says what to do next (pure); `store` keeps them in a
//! Secret, `publish` hands out the bundle, `tls` serves with them. I/O here: the API server.

mod decide;
mod issue;
mod keyring;
pub mod publish;
mod store;
pub mod tls;

pub(crate) use store::SECRET;

use crate::api::CallError;
use decide::{Facts, Step, decide};
use issue::IssueError;
use k8s_openapi::{api::core::v1::Secret, jiff::Timestamp};
use keyring::{Keyring, KeyringError};
use kube::Client;
use std::{sync::Arc, time::Duration};
use store::{Store, Stored};
use tls::{Tls, TlsError};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// What another replica made is followed so soon: until then this one would serve with the authority before.
const LOOK: Duration = Duration::from_secs(5);
/// An authority takes over only after this process has handed its certificate out for so long: the operator may have been
/// away while it should have been.
const HANDED_OUT: Duration = Duration::from_secs(600);
const FIRST_RETRY: Duration = Duration::from_millis(500);
const ATTEMPTS: usize = 5;

#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("failed to make a certificate: {0}")]
    Issue(#[from] IssueError),
    #[error("failed to serve with the certificate: {0}")]
    Tls(#[from] TlsError),
    #[error("gave up after {ATTEMPTS} attempts: other replicas kept changing the Secret")]
    Contended,
}

/// Keeps the Secret as it should be, and what is served and handed out in step with it.
#[derive(Debug)]
pub struct Certificates {
    store: Store,
    names: Vec<String>,
    tls: Arc<Tls>,
}

impl Certificates {
    /// Reads or makes the certificates; what is returned can serve.
    ///
    /// # Errors
    /// If the Secret can be neither read nor written.
    pub async fn start(client: Client, namespace: &str, service: &str) -> Result<Self, CertificateError> {
        let store = Store::new(client, namespace);
        let names = names(namespace, service);
        let keyring = settle(&store, &names, false).await?;
        let tls = Arc::new(Tls::new(&keyring)?);
        Ok(Self { store, names, tls })
    }

    #[must_use]
    pub fn tls(&self) -> Arc<Tls> {
        Arc::clone(&self.tls)
    }

    /// Renews in time, and follows what other replicas renewed, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let began = Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(LOOK) => {}
            }
            if let Err(error) = self.refresh(began.elapsed() >= HANDED_OUT).await {
                tracing::warn!(%error, "the certificates could not be looked after; the present ones stay");
            }
        }
    }

    async fn refresh(&self, is_handed_out: bool) -> Result<(), CertificateError> {
        let keyring = settle(&self.store, &self.names, is_handed_out).await?;
        Ok(self.tls.replace(&keyring)?)
    }
}

/// The names by which the service is reached.
fn names(namespace: &str, service: &str) -> Vec<String> {
    let short = format!("{service}.{namespace}");
    vec![format!("{short}.svc"), format!("{short}.svc.cluster.local"), short]
}

/// Does what is due, one step after the other; who loses a race looks again.
async fn settle(store: &Store, names: &[String], is_handed_out: bool) -> Result<Keyring, CertificateError> {
    for _ in 0..ATTEMPTS {
        let Stored { keyring, secret } = store.read().await?;
        let now = Timestamp::now().as_second();
        let facts = keyring.as_ref().map(Facts::of);
        let step = decide(facts.as_ref(), names, now, is_handed_out);
        let next = match (step, keyring) {
            (Step::Nothing, Some(keyring)) => return Ok(keyring),
            (step, keyring) => issue::perform(step, keyring, names, now)?,
        };
        match store.write(secret, &next).await {
            Ok(()) => tracing::info!(?step, "certificates changed"),
            Err(error) if error.is_conflict() => sleep(FIRST_RETRY).await,
            Err(error) => return Err(error.into()),
        }
    }
    Err(CertificateError::Contended)
}

/// For a Secret that cannot be understood.
fn unreadable(secret: &Secret, error: &KeyringError) {
    let name = secret.metadata.name.as_deref().unwrap_or_default();
    tracing::error!(%error, secret = name, "the certificates are unreadable and made anew");
}
