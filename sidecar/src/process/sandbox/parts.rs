//! What of the sandbox this kernel enforces: found out by a child that confines itself as far as it can and tells.

use landlock::{ABI, Access, AccessFs, LandlockStatus, Ruleset, RulesetAttr};
use rockstar_seccomp::Filter;
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::fs::FileExt,
    path::Path,
    process::{Command, Stdio},
};

/// The subcommand of the child.
pub const PROBE: &str = "sandbox-probe";
/// The oldest Landlock that no write to a file escapes.
const FILES: u32 = 3;
/// The oldest that keeps signals in.
pub(super) const SIGNALS: u32 = 6;
/// The oldest that keeps connections to Unix sockets in.
pub(super) const SOCKETS: u32 = 9;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parts {
    /// Version of its interface; 0 = none.
    pub landlock: u32,
    /// System calls are filtered.
    pub filter: bool,
    /// The sidecar can be asked about calls.
    pub notifications: bool,
    /// The sidecar can read what the arguments of a call lead to.
    #[serde(default)]
    pub memory: bool,
}

impl Parts {
    /// Asks a child of this program. It must be called before anybody else waits for children.
    pub fn find(program: &Path) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.arg(PROBE).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let mut told = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut told)?;
        }
        let found = serde_json::from_str(&told).map(|Probed { parts, marker }| {
            let memory = parts.notifications && can_read(child.id(), marker);
            Self { memory, ..parts }
        });
        // It ends when its input does.
        drop(child.stdin.take());
        child.wait()?;
        found.map_err(io::Error::other)
    }

    /// What of the sandbox is not enforced, part by part.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let newer =
            |needed: u32, what: &str| format!("{what} (Landlock ABI {needed} needed, this is {})", self.landlock);
        let files = match self.landlock {
            0 => Some(
                "files and programs are not confined (the kernel has no Landlock, or it is not enabled)".to_owned(),
            ),
            1..FILES => Some(newer(FILES, "files can be truncated")),
            _ => None,
        };
        let calls = (!self.filter).then(|| "system calls are not filtered (seccomp is not available)".to_owned());
        let asked = (self.filter && !self.notifications).then(|| {
            "attempts to start programs are not observed, and modes and times of files cannot be changed (seccomp \
             notifications are not available)"
                .to_owned()
        });
        // The filter refuses signals where Landlock does not confine them.
        let signals = (!self.filter && self.landlock < SIGNALS)
            .then(|| newer(SIGNALS, "signals to other processes of the same user are not confined"));
        let read = (self.notifications && !self.memory).then(|| {
            "modes and times of files cannot be changed (the sidecar may not read the memory of its plugins: see \
             kernel.yama.ptrace_scope)"
                .to_owned()
        });
        let sockets = (!self.memory && self.landlock < SOCKETS)
            .then(|| newer(SOCKETS, "connections to Unix sockets of other programs are not confined"));
        [files, calls, asked, read, signals, sockets].into_iter().flatten().collect()
    }

    /// `enforced`, or `partial: WHY`.
    #[must_use]
    pub fn status(&self) -> String {
        let lacking = self.missing();
        match lacking.is_empty() {
            true => "enforced".to_owned(),
            false => format!("partial: {}", lacking.join("; ")),
        }
    }
}

/// What the child tells: what worked, and where in its memory the marker is.
#[derive(Serialize, Deserialize)]
struct Probed {
    #[serde(flatten)]
    parts: Parts,
    marker: u64,
}

static MARKER: [u8; 8] = *b"rockstar";

fn can_read(process: u32, address: u64) -> bool {
    let mut bytes = [0; MARKER.len()];
    let memory = File::open(format!("/proc/{process}/mem"));
    memory.and_then(|memory| memory.read_exact_at(&mut bytes, address)).is_ok() && bytes == MARKER
}

/// The child: confines itself, prints what worked, and waits for the end of its input. Gives the exit code.
#[must_use]
pub fn probe() -> u8 {
    let landlock = landlock();
    let asked = Filter { listener: true, ..Filter::default() }.install();
    let notifications = asked.is_ok();
    let filter = notifications || Filter::default().install().is_ok();
    let parts = Parts { landlock, filter, notifications, memory: false };
    let told = serde_json::to_string(&Probed { parts, marker: MARKER.as_ptr() as u64 });
    match told.map(|told| writeln!(io::stdout(), "{told}")) {
        Ok(Ok(())) => {
            io::stdin().read_to_end(&mut Vec::new()).ok();
            0
        }
        _ => 1,
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

    const ALL: Parts = Parts { landlock: 9, filter: true, notifications: true, memory: true };
    const NO_ASKING: &str = "attempts to start programs are not observed, and modes and times of files cannot be changed \
                             (seccomp notifications are not available)";
    const NO_READING: &str = "modes and times of files cannot be changed (the sidecar may not read the memory of its \
                              plugins: see kernel.yama.ptrace_scope)";
    const NO_SOCKETS: &str =
        "connections to Unix sockets of other programs are not confined (Landlock ABI 9 needed, this is 8)";

    #[test]
    fn the_status_says_each_part_that_is_not_enforced() {
        assert_eq!(ALL.status(), "enforced");
        let cases = [
            // The filter and the sidecar do what this Landlock does not.
            (Parts { landlock: 3, ..ALL }, Vec::new()),
            (Parts { landlock: 2, ..ALL }, vec!["files can be truncated (Landlock ABI 3 needed, this is 2)"]),
            (
                Parts { landlock: 0, ..ALL },
                vec!["files and programs are not confined (the kernel has no Landlock, or it is not enabled)"],
            ),
            (Parts { notifications: false, memory: false, ..ALL }, vec![NO_ASKING]),
            (Parts { memory: false, landlock: 8, ..ALL }, vec![NO_READING, NO_SOCKETS]),
            (Parts { notifications: false, memory: false, landlock: 8, ..ALL }, vec![NO_ASKING, NO_SOCKETS]),
            (
                Parts { filter: false, notifications: false, memory: false, landlock: 8 },
                vec!["system calls are not filtered (seccomp is not available)", NO_SOCKETS],
            ),
            (
                Parts { filter: false, notifications: false, memory: false, landlock: 5 },
                vec![
                    "system calls are not filtered (seccomp is not available)",
                    "signals to other processes of the same user are not confined (Landlock ABI 6 needed, this is 5)",
                    "connections to Unix sockets of other programs are not confined (Landlock ABI 9 needed, this is 5)",
                ],
            ),
        ];
        for (parts, missing) in cases {
            assert_eq!(parts.missing(), missing, "{parts:?}");
            let status =
                if missing.is_empty() { "enforced".into() } else { format!("partial: {}", missing.join("; ")) };
            assert_eq!(parts.status(), status);
        }
    }
}
