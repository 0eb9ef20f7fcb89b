//! What follows from a lease that was seen. Pure.

use super::record;
use k8s_openapi::api::coordination::v1::Lease;
use std::time::Duration;
use tokio::time::Instant;

/// For a lease that does not say.
const UNKNOWN_DURATION: Duration = Duration::from_secs(15);

/// What we know of the lease, and since when it is so on our own clock.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    lease: Option<Lease>,
    since: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Nobody holds it, or who holds it is gone.
    Take,
    /// It is ours.
    Renew,
    /// Another one holds it.
    Wait,
}

impl Observed {
    pub(super) const fn nothing(now: Instant) -> Self {
        Self { lease: None, since: now }
    }

    pub(super) const fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    pub(super) fn update(&mut self, seen: Option<Lease>, now: Instant) {
        let version = |lease: &Option<Lease>| lease.as_ref().and_then(|l| l.metadata.resource_version.clone());
        if version(&self.lease) != version(&seen) {
            self.since = now;
        }
        self.lease = seen;
    }
}

pub(super) fn decide(observed: &Observed, me: &str, now: Instant) -> Decision {
    let Some(lease) = &observed.lease else { return Decision::Take };
    match record::holder(lease) {
        None => Decision::Take,
        Some(holder) if holder == me => Decision::Renew,
        Some(_) if now.duration_since(observed.since) >= duration(lease) => Decision::Take,
        Some(_) => Decision::Wait,
    }
}

fn duration(lease: &Lease) -> Duration {
    let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
    seconds.and_then(|s| u64::try_from(s).ok()).map_or(UNKNOWN_DURATION, Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::{super::record::Candidate, *};

    fn candidate(identity: &str) -> Candidate {
        Candidate { identity: identity.into(), address: format!("{identity}:9443"), duration: Duration::from_secs(15) }
    }

    fn stored(mut lease: Lease, version: &str) -> Option<Lease> {
        lease.metadata.resource_version = Some(version.into());
        Some(lease)
    }

    fn held_by(identity: &str, version: &str) -> Option<Lease> {
        stored(candidate(identity).taken(None, "rockstar-operator"), version)
    }

    #[test]
    fn what_nobody_holds_is_taken() {
        let now = Instant::now();
        assert_eq!(decide(&Observed::nothing(now), "a", now), Decision::Take);
        let mut observed = Observed::nothing(now);
        let released = record::released(&held_by("b", "1").unwrap());
        observed.update(stored(released, "2"), now);
        assert_eq!(decide(&observed, "a", now), Decision::Take);
    }

    #[test]
    fn what_is_ours_is_renewed_however_old() {
        let now = Instant::now();
        let mut observed = Observed::nothing(now);
        observed.update(held_by("a", "1"), now);
        assert_eq!(decide(&observed, "a", now + Duration::from_secs(3600)), Decision::Renew);
    }

    #[test]
    fn anothers_is_taken_only_after_it_stood_still() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut observed = Observed::nothing(start);
        observed.update(held_by("b", "1"), after(0));
        assert_eq!(decide(&observed, "a", after(14)), Decision::Wait);
        assert_eq!(decide(&observed, "a", after(15)), Decision::Take);
        observed.update(held_by("b", "1"), after(10));
        assert_eq!(decide(&observed, "a", after(15)), Decision::Take, "a read of the same version is no sign of life");
        observed.update(held_by("b", "2"), after(14));
        assert_eq!(decide(&observed, "a", after(28)), Decision::Wait);
        assert_eq!(decide(&observed, "a", after(29)), Decision::Take);
    }

    #[test]
    fn the_clock_of_the_holder_does_not_matter() {
        let now = Instant::now();
        let mut lease = held_by("b", "1").unwrap();
        lease.spec.as_mut().unwrap().renew_time = None;
        let mut observed = Observed::nothing(now);
        observed.update(Some(lease), now);
        assert_eq!(decide(&observed, "a", now), Decision::Wait);
    }

    #[test]
    fn taking_counts_and_keeps_the_version() {
        let old = held_by("b", "7").unwrap();
        let new = candidate("a").taken(Some(&old), "rockstar-operator");
        assert_eq!(new.metadata.resource_version.as_deref(), Some("7"));
        assert_eq!(new.spec.as_ref().unwrap().lease_transitions, Some(1));
        assert_eq!(record::holder(&new), Some("a"));
        assert_eq!(record::address(&new).as_deref(), Some("a:9443"));
        let renewed = candidate("a").renewed(&new);
        assert_eq!(renewed.spec.as_ref().unwrap().lease_transitions, Some(1));
        assert_eq!(renewed.spec.as_ref().unwrap().acquire_time, new.spec.as_ref().unwrap().acquire_time);
    }
}
