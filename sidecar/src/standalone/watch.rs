//! Reading the plugins file again when it changes, or on SIGHUP. A file that cannot be used changes nothing. Does I/O.

use super::{Loaded, Standalone, read};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::{convert::Infallible, path::Path, time::Duration};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::sleep,
};

/// Editors write in several steps.
const SETTLE: Duration = Duration::from_millis(200);

/// Runs until dropped. `text` is what the file held before it was loaded: what changed since counts too.
pub async fn follow(standalone: &Standalone, path: &Path, mut text: Option<Vec<u8>>) -> Infallible {
    let (bell, mut changes) = mpsc::channel(1);
    let _watcher = match watcher(path, bell.clone()) {
        Ok(watcher) => Some(watcher),
        Err(cause) => {
            tracing::warn!("Changes of {} are not noticed, send SIGHUP: {cause}", path.display());
            None
        }
    };
    let mut hangups = signal(SignalKind::hangup()).ok();
    loop {
        let now = std::fs::read(path).ok();
        if now != text {
            text = now;
            again(standalone, path).await;
        }
        tokio::select! {
            _ = changes.recv() => sleep(SETTLE).await,
            () = hangup(&mut hangups) => {
                standalone.forgive().await;
                text = None;
            }
        }
        while changes.try_recv().is_ok() {}
    }
}

async fn hangup(signals: &mut Option<Signal>) {
    match signals {
        Some(signals) => drop(signals.recv().await),
        None => std::future::pending().await,
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

async fn again(standalone: &Standalone, path: &Path) {
    match read(path) {
        Ok(file) => report(path, &standalone.load(file).await),
        Err(error) => tracing::error!("Configuration not changed: {error}"),
    }
}

fn report(path: &Path, loaded: &Loaded) {
    tracing::info!("Configuration reloaded from {}: {} plugins run", path.display(), loaded.running);
    for (name, error) in &loaded.failed {
        tracing::error!("Plugin {name}: {error}");
    }
}
