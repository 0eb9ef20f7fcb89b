//! Callers that call as fast as they are answered, and how long each call took. Does the I/O that its caller does.

use anyhow::Result;
use futures::future::try_join_all;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Something that can be called from many tasks at once.
pub(crate) trait Target: Clone + Send + Sync + 'static {
    fn call(&self) -> impl Future<Output = Result<()>> + Send;
}

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) warm_up: Duration,
    pub(crate) counted: Duration,
}

/// In the form that all programs of this benchmark print.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) callers: usize,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) per_second: f64,
}

pub(crate) async fn measure<T: Target>(target: &T, callers: usize, window: Window) -> Result<Measured> {
    let begin = Instant::now() + window.warm_up;
    let end = begin + window.counted;
    let tasks = (0..callers).map(|_| tokio::spawn(call_until(target.clone(), begin, end)));
    let mut all = Vec::new();
    for samples in try_join_all(tasks).await? {
        all.extend(samples?);
    }
    Ok(summary(callers, all, window.counted))
}

async fn call_until<T: Target>(target: T, begin: Instant, end: Instant) -> Result<Vec<Duration>> {
    let mut samples = Vec::new();
    loop {
        let sent = Instant::now();
        if sent > end {
            return Ok(samples);
        }
        target.call().await?;
        if sent >= begin {
            samples.push(sent.elapsed());
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts of calls are small")]
fn summary(callers: usize, mut samples: Vec<Duration>, counted: Duration) -> Measured {
    samples.sort_unstable();
    let per_second = samples.len() as f64 / counted.as_secs_f64();
    Measured { callers, p50_us: quantile(&samples, 50), p99_us: quantile(&samples, 99), per_second }
}

fn quantile(sorted: &[Duration], percent: usize) -> f64 {
    let at = sorted.len().saturating_sub(1) * percent / 100;
    sorted.get(at).map_or(0.0, |sample| sample.as_secs_f64() * 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_has_quantiles_and_rate() {
        let samples = (1..=100).map(Duration::from_micros).collect();
        let found = summary(4, samples, Duration::from_secs(2));
        assert_eq!((found.p50_us.round(), found.p99_us.round(), found.per_second.round()), (50.0, 99.0, 50.0));
    }

    #[test]
    fn nothing_measured_is_zero() {
        let found = summary(1, Vec::new(), Duration::from_secs(1));
        assert_eq!((found.p50_us, found.per_second), (0.0, 0.0));
    }
}
