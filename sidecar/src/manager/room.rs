//! Whether the memory that plugins may use fits into what the sidecar's container may. Pure.

use rockstar_core::limits::{Limit, Limits};

/// For the sidecar itself, with what plugins may have in its memory by default.
const OWN: u64 = 64 << 20;
/// What plugins together may have in it.
const IN_MEMORY: [Limit; 2] = [Limit::TotalCache, Limit::QueuedEventBytes];

/// What the plugins of this sidecar may use together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// None: as much as there is.
    limit: Option<u64>,
    own: u64,
    taken: u64,
}

/// Limits for which the container has no memory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "limits.totalCache {cache} and limits.queuedEventBytes {events} need {} for the sidecar itself, which is more than the {} \
     of its container: their defaults count until limits.memory in spec.sidecar.resources of the PluginHost is raised and the \
     pod is recreated",
    mebibytes(*.own), mebibytes(*.limit)
)]
pub(super) struct LimitsDoNotFit {
    cache: String,
    events: String,
    own: u64,
    limit: u64,
}

/// What the sidecar itself needs. Raised limits raise it, lowered ones do not lower it.
pub(super) fn own(limits: &Limits) -> u64 {
    let raised = IN_MEMORY.map(|limit| limits.get(limit).saturating_sub(limit.default_value()));
    raised.into_iter().fold(OWN, u64::saturating_add)
}

/// Gives limits in the sidecar's memory back to their defaults where the container has none for them: one plugin could
/// end the sidecar and all others.
pub(super) fn fit(mut limits: Limits, container: Option<u64>) -> (Limits, Result<(), LimitsDoNotFit>) {
    let own = own(&limits);
    let Some(limit) = container.filter(|container| own > OWN && own > *container) else { return (limits, Ok(())) };
    let (cache, events) = (limits.format(Limit::TotalCache), limits.format(Limit::QueuedEventBytes));
    IN_MEMORY.into_iter().for_each(|limit| limits.set(limit, limits.get(limit).min(limit.default_value())));
    (limits, Err(LimitsDoNotFit { cache, events, own, limit }))
}

/// A plugin's memory limit does not fit beside those of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the memory limits of plugins sum up to {} with its {}, and with {} for the sidecar itself that is more than the {} of \
     its container; raise limits.memory in spec.sidecar.resources of the PluginHost and recreate the pod, or lower \
     spec.resources.memory of Plugins",
    mebibytes(*.sum), mebibytes(*.wanted), mebibytes(*.own), mebibytes(*.limit)
)]
pub(super) struct NoRoom {
    sum: u64,
    wanted: u64,
    own: u64,
    limit: u64,
}

impl Room {
    /// With so much for the sidecar itself, and so much already promised to those that run.
    pub(super) const fn new(limit: Option<u64>, own: u64, taken: u64) -> Self {
        Self { limit, own, taken }
    }

    /// For a plugin that runs with `had`, or 0. Who does not ask for more gets it in any case: it runs already.
    pub(super) fn take(&mut self, had: u64, wanted: u64) -> Result<(), NoRoom> {
        let sum = self.taken.saturating_sub(had).saturating_add(wanted);
        match self.limit {
            Some(limit) if wanted > had && sum.saturating_add(self.own) > limit => {
                Err(NoRoom { sum, wanted, own: self.own, limit })
            }
            _ => {
                self.taken = sum;
                Ok(())
            }
        }
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn what_does_not_fit_is_told_with_what_to_do() {
        let mut room = Room::new(Some(256 * MIB), OWN, 0);
        room.take(0, 100 * MIB).unwrap();
        let error = room.take(0, 100 * MIB).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the memory limits of plugins sum up to 200 MiB with its 100 MiB, and with 64 MiB for the sidecar itself that is \
             more than the 256 MiB of its container; raise limits.memory in spec.sidecar.resources of the PluginHost and \
             recreate the pod, or lower spec.resources.memory of Plugins"
        );
        room.take(0, 92 * MIB).unwrap();
    }

    #[test]
    fn who_runs_already_and_asks_for_no_more_goes_on() {
        let mut room = Room::new(Some(128 * MIB), OWN, 300 * MIB);
        room.take(100 * MIB, 100 * MIB).unwrap();
        room.take(100 * MIB, 50 * MIB).unwrap();
        room.take(100 * MIB, 101 * MIB).unwrap_err();
        room.take(200 * MIB, 0).unwrap();
        room.take(0, 14 * MIB).unwrap();
    }

    #[test]
    fn what_limits_raise_in_the_sidecars_memory_is_its_own_share() {
        let mut limits = Limits::default();
        assert_eq!(own(&limits), OWN);
        limits.set(Limit::TotalCache, MIB);
        assert_eq!(own(&limits), OWN, "it needs no less for that");
        limits.set(Limit::TotalCache, 124 * MIB);
        limits.set(Limit::QueuedEventBytes, 26 * MIB);
        assert_eq!(own(&limits), OWN + 110 * MIB);
        let mut room = Room::new(Some(256 * MIB), own(&limits), 0);
        let error = room.take(0, 100 * MIB).unwrap_err();
        assert!(error.to_string().contains("and with 174 MiB for the sidecar itself"), "{error}");
        room.take(0, 82 * MIB).unwrap();
    }

    #[test]
    fn limits_that_the_container_has_no_memory_for_keep_their_defaults() {
        let mut limits = Limits::default();
        limits.set(Limit::TotalCache, 1024 * MIB);
        limits.set(Limit::Storage, MIB);
        let raised = limits.clone();
        assert_eq!(fit(raised.clone(), None), (raised.clone(), Ok(())));
        assert_eq!(fit(raised.clone(), Some(2048 * MIB)), (raised.clone(), Ok(())));
        let (limits, error) = fit(raised, Some(512 * MIB));
        assert_eq!((limits.get(Limit::TotalCache), limits.get(Limit::Storage)), (24 * MIB, MIB));
        let text = "limits.totalCache 1Gi and limits.queuedEventBytes 16Mi need 1064 MiB for the sidecar itself, which is \
                    more than the 512 MiB of its container";
        assert!(error.unwrap_err().to_string().starts_with(text));
        assert_eq!(fit(Limits::default(), Some(MIB)).1, Ok(()), "the defaults are no matter of limits");
    }

    #[test]
    fn without_a_limit_there_is_room() {
        Room::new(None, OWN, u64::MAX).take(0, u64::MAX).unwrap();
    }
}
