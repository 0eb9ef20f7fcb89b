//! What a sidecar with nothing to do needs. Starts one, reads /proc.

use crate::sidecar::Sidecar;
use anyhow::{Context as _, Result};
use std::{fs, time::Duration};
use tokio::time::sleep;

/// Time for allocations of the start to be given back.
const SETTLE: Duration = Duration::from_secs(2);
const STARTS: usize = 5;

#[derive(Debug)]
pub(crate) struct Footprint {
    pub(crate) idle_mib: f64,
    /// The median of several starts.
    pub(crate) ready_ms: f64,
}

pub(crate) async fn measure() -> Result<Footprint> {
    let mut starts = Vec::new();
    for _ in 1..STARTS {
        starts.push(Sidecar::start(None).await?.started_in);
    }
    let sidecar = Sidecar::start(None).await?;
    starts.push(sidecar.started_in);
    starts.sort_unstable();
    sleep(SETTLE).await;
    Ok(Footprint { idle_mib: resident_mib(sidecar.id())?, ready_ms: starts[STARTS / 2].as_secs_f64() * 1e3 })
}

fn resident_mib(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}
