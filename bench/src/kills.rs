//! Kills a plugin's process again and again under a sidecar, and looks at what that leaves behind. Reads /proc.

use crate::sidecar::{PLUGIN, Sidecar};
use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fmt::Write as _,
    fs,
    path::Path,
    time::{Duration, Instant},
};
use tokio::time::sleep;

const STEP: Duration = Duration::from_millis(2);
const RESTART_TIMEOUT: Duration = Duration::from_secs(20);
/// Every other process is killed while it starts, the rest once it serves.
const SERVING_AFTER: Duration = Duration::from_millis(60);
const SETTLE_TIMEOUT: Duration = Duration::from_secs(20);
/// The first restarts bring in code and buffers that stay.
const WARM_UP: usize = 20;
const ROWS: usize = 4;
/// Allows for what an allocator keeps of what was given back.
const MEMORY_TOLERANCE_KIB: u64 = 4 << 10;

/// Counts what the sidecar holds at one time.
#[derive(Clone, Copy, Debug)]
struct Held {
    memory_kib: u64,
    descriptors: usize,
    threads: usize,
    /// Counts those of plugins' processes, in the run directory.
    directories: usize,
    /// Children that ended and were not waited for.
    zombies: usize,
}

/// Prints a table; fails where something does not return to where it was.
pub(crate) async fn run(plugin: &Path, kills: usize) -> Result<()> {
    let sidecar = Sidecar::start(Some(plugin)).await?;
    let mut last = None;
    for kill in 0..WARM_UP {
        last = Some(kill_next(&sidecar, last, kill).await?);
    }
    let before = settled(&sidecar, last, None).await?;
    let mut text =
        String::from("| kills | memory | descriptors | threads | directories | zombies |\n|---|---|---|---|---|---|\n");
    row(&mut text, 0, &before);
    for kill in 1..=kills {
        last = Some(kill_next(&sidecar, last, kill).await?);
        if kill % (kills / ROWS).max(1) == 0 {
            row(&mut text, kill, &settled(&sidecar, last, Some(&before)).await?);
        }
    }
    print!("{text}");
    Ok(())
}

fn row(text: &mut String, kills: usize, held: &Held) {
    let Held { memory_kib, descriptors, threads, directories, zombies } = held;
    let memory = *memory_kib as f64 / 1024.0;
    let _ = writeln!(text, "| {kills} | {memory:.1} MiB | {descriptors} | {threads} | {directories} | {zombies} |");
}

/// Kills the process that came after `last`.
async fn kill_next(sidecar: &Sidecar, last: Option<u32>, count: usize) -> Result<u32> {
    let pid = next_process(sidecar, last).await?;
    if count.is_multiple_of(2) {
        sleep(SERVING_AFTER).await;
    }
    let named = Pid::from_raw(i32::try_from(pid)?).context("no process id")?;
    kill_process(named, Signal::KILL).with_context(|| format!("process {pid} ended by itself"))?;
    Ok(pid)
}

async fn next_process(sidecar: &Sidecar, last: Option<u32>) -> Result<u32> {
    let end = Instant::now() + RESTART_TIMEOUT;
    loop {
        let found = children(sidecar.id())?.into_iter().find(|pid| Some(*pid) != last && is_plugin(*pid));
        if let Some(pid) = found {
            return Ok(pid);
        }
        ensure!(Instant::now() < end, "the plugin is not started again after {last:?}");
        sleep(STEP).await;
    }
}

fn is_plugin(pid: u32) -> bool {
    fs::read_link(format!("/proc/{pid}/exe"))
        .is_ok_and(|program| program.file_name().is_some_and(|name| name == PLUGIN))
}

/// The children of all of a process's threads.
fn children(pid: u32) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end meanwhile.
        let text = fs::read_to_string(thread?.path().join("children")).unwrap_or_default();
        found.extend(text.split_ascii_whitespace().filter_map(|word| word.parse::<u32>().ok()));
    }
    Ok(found)
}

/// Waits until the plugin serves again and, given what was held before, until no more is held than then.
async fn settled(sidecar: &Sidecar, last: Option<u32>, before: Option<&Held>) -> Result<Held> {
    next_process(sidecar, last).await?;
    let end = Instant::now() + SETTLE_TIMEOUT;
    sleep(SETTLE_TIMEOUT / 8).await;
    loop {
        let held = held(sidecar)?;
        let Some(before) = before else { return Ok(held) };
        let is_back = held.memory_kib <= before.memory_kib + MEMORY_TOLERANCE_KIB
            && held.descriptors <= before.descriptors
            && held.threads <= before.threads
            && held.directories <= before.directories
            && held.zombies <= before.zombies;
        if is_back {
            return Ok(held);
        }
        ensure!(Instant::now() < end, "before: {before:?}, now: {held:?}");
        sleep(STEP * 50).await;
    }
}

fn held(sidecar: &Sidecar) -> Result<Held> {
    let proc = format!("/proc/{}", sidecar.id());
    let status = fs::read_to_string(format!("{proc}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let count = |path: &str| Ok::<_, std::io::Error>(fs::read_dir(path)?.count());
    let run = sidecar.run_directory();
    let removed = run.join("removed");
    Ok(Held {
        memory_kib: line.trim().trim_end_matches(" kB").parse()?,
        descriptors: count(&format!("{proc}/fd"))?,
        threads: count(&format!("{proc}/task"))?,
        directories: fs::read_dir(run.join("p"))?.count() + fs::read_dir(removed).map_or(0, Iterator::count),
        zombies: children(sidecar.id())?.into_iter().filter(|pid| is_zombie(*pid)).count(),
    })
}

fn is_zombie(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
}
