//! Which processes of ours still run. Orphans come to this process, so that none escapes the look. Reads /proc.

use rustix::process::{WaitOptions, getpid, set_child_subreaper, wait};
use std::{collections::BTreeMap, fs, io, time::Duration};
use tokio::time::{Instant, sleep};

/// What processes get to end after those that started them.
const LIMIT: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(50);

/// From now on orphaned descendants are children of this process.
pub(super) fn adopt() -> io::Result<()> {
    Ok(set_child_subreaper(Some(getpid()))?)
}

/// Names of those that do not end.
pub(super) async fn left() -> io::Result<Vec<String>> {
    let limit = Instant::now() + LIMIT;
    loop {
        reap();
        let left = descendants()?;
        if left.is_empty() || Instant::now() > limit {
            return Ok(left);
        }
        sleep(LOOK).await;
    }
}

/// Takes the status of orphans that have ended.
fn reap() {
    while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
}

fn descendants() -> io::Result<Vec<String>> {
    let mut parents = BTreeMap::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse::<u32>() else { continue };
        // It may have ended since.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        if let Some((name, parent)) = parse(&stat) {
            parents.insert(pid, (name, parent));
        }
    }
    let ours = parents.keys().filter(|pid| descends(**pid, std::process::id(), &parents));
    Ok(ours.map(|pid| format!("{} ({pid})", parents[pid].0)).collect())
}

/// Name and parent, from `PID (NAME) STATE PARENT …`; the name may hold anything.
fn parse(stat: &str) -> Option<(String, u32)> {
    let (head, rest) = stat.rsplit_once(") ")?;
    let name = head.split_once(" (")?.1.to_owned();
    Some((name, rest.split(' ').nth(1)?.parse().ok()?))
}

fn descends(pid: u32, ancestor: u32, parents: &BTreeMap<u32, (String, u32)>) -> bool {
    let mut at = pid;
    while let Some((_, parent)) = parents.get(&at) {
        if *parent == ancestor {
            return true;
        }
        at = *parent;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_hold_anything() {
        assert_eq!(parse("12 (a ) (b) S 7 12 12"), Some(("a ) (b".to_owned(), 7)));
    }

    #[test]
    fn grandchildren_descend_too() {
        let parents = [(2, 1), (3, 2), (4, 3), (9, 1)].map(|(pid, parent)| (pid, (String::new(), parent)));
        let parents = parents.into();
        assert!(descends(4, 2, &parents) && descends(3, 2, &parents));
        assert!(!descends(2, 2, &parents) && !descends(9, 2, &parents));
    }
}
