//! The Lease object: who holds it, and how it reads once taken, renewed or released. Pure but for the time of day,
//! which is for people only.

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use std::time::Duration;

/// Where sidecars reach the holder.
const ADDRESS: &str = "plugins.rockstar-framework.dev/address";

/// One that wants to hold it.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) identity: String,
    /// Where sidecars reach it; empty: nobody needs to.
    pub(super) address: String,
    pub(super) duration: Duration,
}

impl Candidate {
    pub(super) fn taken(&self, old: Option<&Lease>, name: &str) -> Lease {
        let mut metadata = old.map_or_else(|| named(name), |old| old.metadata.clone());
        metadata.managed_fields = None;
        self.address(&mut metadata);
        let before = old.and_then(|old| old.spec.as_ref());
        let now = MicroTime(Timestamp::now());
        let spec = LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(self.duration.as_secs()).ok(),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: Some(before.map_or(0, |spec| spec.lease_transitions.unwrap_or(0).saturating_add(1))),
            ..LeaseSpec::default()
        };
        Lease { metadata, spec: Some(spec) }
    }

    pub(super) fn renewed(&self, old: &Lease) -> Lease {
        let mut lease = old.clone();
        lease.metadata.managed_fields = None;
        self.address(&mut lease.metadata);
        lease.spec.get_or_insert_default().renew_time = Some(MicroTime(Timestamp::now()));
        lease
    }

    fn address(&self, metadata: &mut ObjectMeta) {
        if !self.address.is_empty() {
            metadata.annotations.get_or_insert_default().insert(ADDRESS.into(), self.address.clone());
        }
    }
}

pub(super) fn released(old: &Lease) -> Lease {
    let mut lease = old.clone();
    lease.metadata.managed_fields = None;
    if let Some(annotations) = &mut lease.metadata.annotations {
        annotations.remove(ADDRESS);
    }
    lease.spec.get_or_insert_default().holder_identity = None;
    lease
}

pub(super) fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

pub(super) fn address(lease: &Lease) -> Option<String> {
    holder(lease)?;
    lease.metadata.annotations.as_ref()?.get(ADDRESS).cloned()
}

fn named(name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() }
}
