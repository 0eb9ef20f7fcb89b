//! What of the sandbox this kernel enforces: found out by a child that confines itself as far as it can and tells.

use landlock::{ABI, Access, AccessFs, LandlockStatus, Ruleset, RulesetAttr};
use rockstar_seccomp::{Exec, Filter};
use serde::{Deserialize, Serialize};
use std::{
    io,
    path::Path,
    process::{Command, Stdio},
};

/// The subcommand of the child.
pub const PROBE: &str = "sandbox-probe";
/// The oldest Landlock that no write to a file escapes.
const NEEDED: u32 = 3;
/// The oldest that keeps signals in.
const SIGNALS: u32 = 6;
/// The oldest that keeps connections to Unix sockets in.
const SOCKETS: u32 = 9;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parts {
    /// Version of its interface; 0 = none.
    pub landlock: u32,
    /// System calls are filtered.
    pub filter: bool,
    /// The sidecar can be asked about starting programs.
    pub notifications: bool,
}

impl Parts {
    /// Asks a child of this program. It must be called before anybody else waits for children.
    pub fn find(program: &Path) -> io::Result<Self> {
        let mut command = Command::new(program);
        let output = command.arg(PROBE).env_clear().stdin(Stdio::null()).stderr(Stdio::null()).output()?;
        serde_json::from_slice(&output.stdout).map_err(io::Error::other)
    }

    /// What `Required` requires and the kernel does not do.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let landlock = match self.landlock {
            0 => Some(
                "files and programs are not confined (the kernel has no Landlock, or it is not enabled)".to_owned(),
            ),
            1..NEEDED => {
                Some(format!("files can be truncated (Landlock ABI {NEEDED} needed, this is {})", self.landlock))
            }
            _ => None,
        };
        let filter = (!self.filter).then_some("system calls are not filtered (seccomp is not available)");
        let notifications = (self.filter && !self.notifications)
            .then_some("attempts to start programs are not observed (seccomp notifications are not available)");
        landlock.into_iter().chain([filter, notifications].into_iter().flatten().map(str::to_owned)).collect()
    }

    /// What else it does not do.
    #[must_use]
    pub fn open(&self) -> Vec<String> {
        let newer = |needed: u32, what: &str| {
            (self.landlock < needed)
                .then(|| format!("{what} (Landlock ABI {needed} needed, this is {})", self.landlock))
        };
        let signals = newer(SIGNALS, "signals to other processes of the same user are not confined");
        let sockets = newer(SOCKETS, "connections to Unix sockets of other programs are not confined");
        signals.into_iter().chain(sockets).collect()
    }

    /// `enforced`, or `partial: WHY`.
    #[must_use]
    pub fn status(&self) -> String {
        let signals = self.open().into_iter().filter(|_| self.landlock < SIGNALS).take(1);
        let lacking: Vec<_> = self.missing().into_iter().chain(signals).collect();
        match lacking.is_empty() {
            true => "enforced".to_owned(),
            false => format!("partial: {}", lacking.join("; ")),
        }
    }
}

/// The child: confines itself and prints what worked. Gives the exit code.
#[must_use]
pub fn probe() -> u8 {
    let landlock = landlock();
    let asked = Filter { network: false, exec: Exec::Asked }.install();
    let notifications = asked.is_ok();
    let filter = notifications || Filter { network: false, exec: Exec::Allowed }.install().is_ok();
    let parts = Parts { landlock, filter, notifications };
    match serde_json::to_writer(io::stdout(), &parts) {
        Ok(()) => 0,
        Err(_) => 1,
    }
}

fn landlock() -> u32 {
    let restricted = Ruleset::default()
        .handle_access(AccessFs::from_all(ABI::V1))
        .and_then(Ruleset::create)
        .and_then(landlock::RulesetCreated::restrict_self);
    match restricted.map(|status| status.landlock) {
        Ok(LandlockStatus::Available { effective_abi, kernel_abi }) => {
            kernel_abi.and_then(|abi| u32::try_from(abi).ok()).unwrap_or(effective_abi as u32)
        }
        Ok(LandlockStatus::NotEnabled | LandlockStatus::NotImplemented) | Err(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Parts = Parts { landlock: 9, filter: true, notifications: true };

    #[test]
    fn the_status_says_what_is_not_enforced() {
        assert_eq!(ALL.status(), "enforced");
        assert_eq!(Parts { landlock: 6, ..ALL }.status(), "enforced");
        let cases = [
            (
                Parts { landlock: 5, ..ALL },
                "partial: signals to other processes of the same user are not confined (Landlock ABI 6 needed, this is 5)",
            ),
            (
                Parts { notifications: false, ..ALL },
                "partial: attempts to start programs are not observed (seccomp notifications are not available)",
            ),
        ];
        for (parts, status) in cases {
            assert_eq!(parts.status(), status);
        }
    }

    #[test]
    fn signals_and_unix_sockets_are_not_required() {
        assert!(Parts { landlock: 3, ..ALL }.missing().is_empty());
        assert_eq!(Parts { landlock: 3, ..ALL }.open().len(), 2);
        assert_eq!(Parts { landlock: 2, ..ALL }.missing().len(), 1);
        assert_eq!(Parts::default().missing().len(), 2);
    }
}
