//! gRPC over Unix sockets. Opens sockets, waits for them with a limit.

use anyhow::{Context as _, Result, ensure};
use hyper_util::rt::TokioIo;
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio::{
    net::{UnixListener, UnixStream},
    time::{sleep, timeout},
};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

const LIMIT: Duration = Duration::from_secs(10);

pub(crate) async fn connect(path: &Path) -> Result<Channel> {
    let path = path.to_owned();
    let connector = service_fn(move |_: Uri| open(path.clone()));
    let endpoint = Endpoint::from_static("http://localhost");
    Ok(timeout(LIMIT, endpoint.connect_with_connector(connector)).await??)
}

async fn open(path: PathBuf) -> std::io::Result<TokioIo<UnixStream>> {
    UnixStream::connect(path).await.map(TokioIo::new)
}

pub(crate) fn listen(path: &Path) -> Result<UnixListenerStream> {
    let listener = UnixListener::bind(path).with_context(|| format!("cannot listen on {}", path.display()))?;
    Ok(UnixListenerStream::new(listener))
}

/// Until something accepts there.
pub(crate) async fn wait(path: &Path) -> Result<()> {
    let end = Instant::now() + LIMIT;
    while UnixStream::connect(path).await.is_err() {
        ensure!(Instant::now() < end, "nothing listens on {}", path.display());
        sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}
