//! Reading the plugins file again when it changes, on SIGHUP, and after a while where disk or network kept a plugin from
//! running. A file that cannot be used changes nothing. Does I/O.

use super::{Loaded, Standalone, read};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::{convert::Infallible, path::Path, time::Duration};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};

/// Editors write in several steps.
const SETTLE: Duration = Duration::from_millis(200);
/// Before another attempt at what only its surroundings kept from running; doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Runs until dropped. `text` is what the file held before it was loaded as `loaded`: what changed since counts too.
pub async fn follow(
    standalone: &Standalone,
    path: &Path,
    mut text: Option<Vec<u8>>,
    mut loaded: Option<Loaded>,
    mut hangups: Hangups,
) -> Infallible {
    let (bell, mut changes) = mpsc::channel(1);
    let _watcher = match watcher(path, bell.clone()) {
        Ok(watcher) => Some(watcher),
        Err(cause) => {
            tracing::warn!("Changes of {} are not noticed, send SIGHUP: {cause}", path.display());
            None
        }
    };
    let (mut pause, mut next) = (FIRST_PAUSE, Instant::now() + FIRST_PAUSE);
    loop {
        let now = std::fs::read(path).ok();
        if now != text {
            text = now;
            loaded = again(standalone, path).await.or(loaded);
            (pause, next) = (FIRST_PAUSE, Instant::now() + FIRST_PAUSE);
        }
        tokio::select! {
            () = sleep_until(next), if loaded.as_ref().is_some_and(|l| l.again) => {
                loaded = again(standalone, path).await.or(loaded);
                pause = (pause * 2).min(LONGEST_PAUSE);
                next = Instant::now() + pause;
            }
            _ = changes.recv() => sleep(SETTLE).await,
            () = hangups.next() => {
                standalone.forgive().await;
                text = None;
            }
        }
        while changes.try_recv().is_ok() {}
    }
}

/// SIGHUP from now on: it asks for another load, and ends nothing, even while the first one runs.
#[derive(Debug)]
pub struct Hangups(Option<Signal>);

impl Hangups {
    #[must_use]
    pub fn new() -> Self {
        Self(signal(SignalKind::hangup()).ok())
    }

    async fn next(&mut self) {
        match &mut self.0 {
            Some(signals) => drop(signals.recv().await),
            None => std::future::pending().await,
        }
    }
}

impl Default for Hangups {
    fn default() -> Self {
        Self::new()
    }
}

/// The directory is watched, since editors and config maps replace files rather than write into them.
fn watcher(path: &Path, bell: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // A full channel has the same news in it already.
    let ring = move |_: notify::Result<notify::Event>| {
        let _ = bell.try_send(());
    };
    let mut watcher = notify::recommended_watcher(ring)?;
    watcher.watch(directory, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

/// None where the file cannot be used.
async fn again(standalone: &Standalone, path: &Path) -> Option<Loaded> {
    match read(path) {
        Ok(file) => {
            let loaded = standalone.load(file).await;
            report(path, &loaded);
            Some(loaded)
        }
        Err(error) => {
            tracing::error!("Configuration not changed: {error}");
            None
        }
    }
}

fn report(path: &Path, loaded: &Loaded) {
    tracing::info!("Configuration reloaded from {}: {} plugins run", path.display(), loaded.running);
    for (name, error) in &loaded.failed {
        tracing::error!("Plugin {name}: {error}");
    }
}
