//! Reads the directory again whenever a file in it changes. I/O: files.

use super::Directory;
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::time::{MissedTickBehavior, interval};

/// How often the directory is looked at. A change counts once two looks agree, so that no half-written file is read.
const INTERVAL: Duration = Duration::from_millis(200);

/// What tells that a file changed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    path: PathBuf,
    modified: Option<SystemTime>,
    len: u64,
}

/// Keeps the world as the directory is, until dropped.
pub async fn watch(directory: Arc<Directory>) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut loaded, mut last) = (None, None);
    loop {
        ticks.tick().await;
        let now = look(&directory).await;
        if now.is_some() && now != loaded && now == last {
            load(&directory, now.as_deref().unwrap_or_default()).await;
            loaded.clone_from(&now);
        }
        last = now;
    }
}

/// Reads the directory once.
pub async fn read(directory: &Arc<Directory>) {
    if let Some(stamps) = look(directory).await {
        load(directory, &stamps).await;
    }
}

async fn look(directory: &Arc<Directory>) -> Option<Vec<Stamp>> {
    let path = directory.path().to_owned();
    tokio::task::spawn_blocking(move || stamps(&path)).await.ok().flatten()
}

async fn load(directory: &Arc<Directory>, stamps: &[Stamp]) {
    let paths: Vec<PathBuf> = stamps.iter().map(|s| s.path.clone()).collect();
    let read = move || paths.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path))).collect::<Vec<_>>();
    if let Ok(files) = tokio::task::spawn_blocking(read).await {
        directory.load(&files);
    }
}

/// The files by name; None if the directory cannot be read.
fn stamps(path: &Path) -> Option<Vec<Stamp>> {
    let mut found: Vec<Stamp> = match entries(path) {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the directory cannot be read; all stays as it is");
            return None;
        }
    };
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Some(found)
}

fn entries(path: &Path) -> io::Result<Vec<Stamp>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let path = entry?.path();
        let readable = path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json");
        if let (true, Ok(meta)) = (readable, std::fs::metadata(&path)) {
            found.push(Stamp { path, modified: meta.modified().ok(), len: meta.len() });
        }
    }
    Ok(found)
}
