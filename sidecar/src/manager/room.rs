//! Whether the memory that plugins may use fits into what the sidecar's container may. Pure.

/// For the sidecar itself.
const OWN: u64 = 64 << 20;

/// What the plugins of this sidecar may use together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// None: as much as there is.
    limit: Option<u64>,
    taken: u64,
}

/// A plugin's memory limit does not fit beside those of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the memory limits of plugins sum up to {} with its {}, and with {} for the sidecar itself that is more than the {} of \
     its container; raise limits.memory in spec.sidecar.resources of the PluginHost and recreate the pod, or lower \
     spec.resources.memory of Plugins",
    mebibytes(*.sum), mebibytes(*.wanted), mebibytes(OWN), mebibytes(*.limit)
)]
pub(super) struct NoRoom {
    sum: u64,
    wanted: u64,
    limit: u64,
}

impl Room {
    /// With so much already promised to those that run.
    pub(super) const fn new(limit: Option<u64>, taken: u64) -> Self {
        Self { limit, taken }
    }

    /// For a plugin that runs with `had`, or 0. Who does not ask for more gets it in any case: it runs already.
    pub(super) fn take(&mut self, had: u64, wanted: u64) -> Result<(), NoRoom> {
        let sum = self.taken.saturating_sub(had).saturating_add(wanted);
        match self.limit {
            Some(limit) if wanted > had && sum.saturating_add(OWN) > limit => Err(NoRoom { sum, wanted, limit }),
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
        let mut room = Room::new(Some(256 * MIB), 0);
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
        let mut room = Room::new(Some(128 * MIB), 300 * MIB);
        room.take(100 * MIB, 100 * MIB).unwrap();
        room.take(100 * MIB, 50 * MIB).unwrap();
        room.take(100 * MIB, 101 * MIB).unwrap_err();
        room.take(200 * MIB, 0).unwrap();
        room.take(0, 14 * MIB).unwrap();
    }

    #[test]
    fn without_a_limit_there_is_room() {
        Room::new(None, u64::MAX).take(0, u64::MAX).unwrap();
    }
}
