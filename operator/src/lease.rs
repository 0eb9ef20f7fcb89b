//! Takes part in the election of the replica that leads, by a Lease. I/O: the API server.
//!
//! Every write carries the resourceVersion of what was read, so that of two rivals one loses. Whether another's claim
//! has lapsed is measured on our own clock, from when we saw it last change; our own claim ends a while before others
//! may take it.

mod decide;
pub mod owner;
mod record;

use crate::{
    api::{CallError, call, found},
    leadership::Leadership,
};
use decide::{Decision, Observed, decide};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, api::PostParams};
use rand::Rng;
use record::Candidate;
use std::{future, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

/// Others may take a claim that did not change for so long.
const DURATION: Duration = Duration::from_secs(15);
/// Our own claim ends so long after the start of the last write that renewed it.
const CLAIM: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Who takes part, and by which object.
#[derive(Clone, Debug)]
pub struct Settings {
    pub name: String,
    /// One of a kind among the replicas: the pod's name.
    pub identity: String,
    /// Where sidecars reach this replica when it leads, host:port.
    pub address: String,
}

/// Takes part until `stop`, then gives the claim back. Stands for it, and keeps it, only while `fit`.
pub async fn run(
    api: Api<Lease>,
    settings: Settings,
    fit: watch::Receiver<bool>,
    leadership: watch::Sender<Leadership>,
    stop: CancellationToken,
) {
    let mut election = Election::new(api, settings, fit, leadership);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = lapse(election.claim) => election.lapse(),
            () = election.turn() => {}
        }
    }
    election.leave().await;
}

async fn lapse(claim: Option<Instant>) {
    match claim {
        Some(end) => sleep_until(end).await,
        None => future::pending().await,
    }
}

struct Election {
    api: Api<Lease>,
    name: String,
    candidate: Candidate,
    fit: watch::Receiver<bool>,
    leadership: watch::Sender<Leadership>,
    observed: Observed,
    /// Until when we lead.
    claim: Option<Instant>,
}

impl Election {
    fn new(
        api: Api<Lease>,
        settings: Settings,
        fit: watch::Receiver<bool>,
        leadership: watch::Sender<Leadership>,
    ) -> Self {
        let Settings { name, identity, address } = settings;
        let candidate = Candidate { identity, address, duration: DURATION };
        Self { api, name, candidate, fit, leadership, observed: Observed::nothing(Instant::now()), claim: None }
    }

    /// One look at the lease, what follows from it, and the pause until the next.
    async fn turn(&mut self) {
        match self.step().await {
            Ok(()) => pause().await,
            Err(error) if error.is_conflict() => {
                tracing::debug!(%error, "the lease changed meanwhile");
                sleep(LOOK_AGAIN).await;
            }
            Err(error) => {
                tracing::warn!(%error, "the lease is out of reach");
                pause().await;
            }
        }
    }

    async fn step(&mut self) -> Result<(), CallError> {
        let seen = found(call(format!("read lease {}", self.name), self.api.get(&self.name)).await)?;
        self.observed.update(seen, Instant::now());
        let is_fit = *self.fit.borrow();
        match decide(&self.observed, &self.candidate.identity, Instant::now()) {
            Decision::Take if is_fit => self.take().await,
            Decision::Renew if is_fit => self.renew().await,
            Decision::Take => {
                self.resign();
                Ok(())
            }
            Decision::Renew => {
                tracing::warn!("this replica does not see the cluster as it is; another one may lead");
                self.resign();
                self.give_back().await
            }
            Decision::Wait => {
                self.follow();
                Ok(())
            }
        }
    }

    async fn take(&mut self) -> Result<(), CallError> {
        let started = Instant::now();
        let lease = self.candidate.taken(self.observed.lease(), &self.name);
        self.write(lease).await?;
        self.lead(started);
        Ok(())
    }

    async fn renew(&mut self) -> Result<(), CallError> {
        let Some(lease) = self.observed.lease() else { return Ok(()) };
        let (started, lease) = (Instant::now(), self.candidate.renewed(lease));
        self.write(lease).await?;
        self.lead(started);
        Ok(())
    }

    async fn write(&mut self, lease: Lease) -> Result<(), CallError> {
        let parameters = PostParams::default();
        let what = format!("write lease {}", self.name);
        let written = if lease.metadata.resource_version.is_some() {
            call(what, self.api.replace(&self.name, &parameters, &lease)).await?
        } else {
            call(what, self.api.create(&parameters, &lease)).await?
        };
        self.observed.update(Some(written), Instant::now());
        Ok(())
    }

    fn lead(&mut self, since: Instant) {
        self.claim = Some(since + CLAIM);
        self.publish(Leadership::Leading);
    }

    fn follow(&mut self) {
        self.claim = None;
        let address = self.observed.lease().and_then(record::address).unwrap_or_default();
        self.publish(Leadership::Following { address });
    }

    /// Nobody can be told to go elsewhere yet: there may be no other.
    fn lapse(&mut self) {
        tracing::warn!("the claim on the lease {} was not renewed in time", self.name);
        self.claim = None;
        self.publish(Leadership::Following { address: String::new() });
    }

    fn publish(&self, now: Leadership) {
        self.leadership.send_if_modified(|before| {
            let changed = *before != now;
            if changed {
                tracing::info!(leading = now.is_leading(), "leadership changed");
                *before = now;
            }
            changed
        });
    }

    /// Ends the claim here, before anybody else may take it.
    fn resign(&mut self) {
        self.claim = None;
        self.publish(Leadership::Following { address: String::new() });
    }

    /// Lets the others know, so that they need not wait.
    async fn give_back(&mut self) -> Result<(), CallError> {
        let Some(lease) = self.observed.lease() else { return Ok(()) };
        let lease = record::released(lease);
        self.write(lease).await
    }

    async fn leave(mut self) {
        let was_held = self.claim.is_some();
        self.resign();
        if was_held && let Err(error) = self.give_back().await {
            tracing::info!(%error, "the claim lapses by itself");
        }
    }
}

async fn pause() {
    let jitter = rand::rng().random_range(0.8..1.2);
    sleep(RETRY.mul_f64(jitter)).await;
}

#[cfg(test)]
mod tests;
