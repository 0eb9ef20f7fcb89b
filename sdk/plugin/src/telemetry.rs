//! The stream of records (logs, metrics) to the host: bounded, and lossy rather than in the way of the plugin's work.

use crate::host::Host;
use rockstar_proto::plugin::{Record, record};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::{AbortHandle, JoinHandle},
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;

const QUEUE: usize = 1024;
const RETRY: Duration = Duration::from_millis(200);
const FLUSH: Duration = Duration::from_secs(1);

enum Item {
    Record(Record),
    Flush(oneshot::Sender<()>),
}

/// Where records go in; clones share one stream, which ends with the last of them.
#[derive(Clone, Debug)]
pub(crate) struct Telemetry {
    queue: mpsc::Sender<Item>,
    dropped: Arc<AtomicU64>,
    _pump: Arc<Pump>,
}

#[derive(Debug)]
struct Pump(AbortHandle);

impl Drop for Pump {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Telemetry {
    pub(crate) fn new(host: Host) -> Self {
        let (queue, items) = mpsc::channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let pump = tokio::spawn(pump(host, items, dropped.clone())).abort_handle();
        Self { queue, dropped, _pump: Arc::new(Pump(pump)) }
    }

    pub(crate) fn send(&self, record: Record) {
        if self.queue.try_send(Item::Record(record)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until the host has read what was sent so far, but not for long.
    pub(crate) async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        let all = async {
            if self.queue.send(Item::Flush(done)).await.is_ok() {
                let _ = flushed.await;
            }
        };
        // The host may be gone; then there is nobody to wait for.
        let _ = timeout(FLUSH, all).await;
    }
}

/// An open stream: it ends, and the host has read all of it, when the task ends.
struct Stream {
    records: mpsc::Sender<Record>,
    call: JoinHandle<()>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.call.abort();
    }
}

impl Stream {
    fn open(host: &Host) -> Self {
        let (records, outgoing) = mpsc::channel(64);
        let mut client = host.client();
        let call = tokio::spawn(async move {
            // A stream that failed is seen as closed by the next record, and opened anew.
            let _ = client.telemetry(ReceiverStream::new(outgoing)).await;
        });
        Self { records, call }
    }

    async fn close(mut self) {
        let (closed, _) = mpsc::channel(1);
        self.records = closed;
        let _ = (&mut self.call).await;
    }
}

async fn pump(host: Host, mut items: mpsc::Receiver<Item>, dropped: Arc<AtomicU64>) {
    let mut stream = None;
    while let Some(item) = items.recv().await {
        match item {
            Item::Record(record) => stream = forward(&host, stream, record, &dropped).await,
            Item::Flush(done) => {
                if let Some(open) = stream.take() {
                    Stream::close(open).await;
                }
                let _ = done.send(());
            }
        }
    }
}

async fn forward(host: &Host, stream: Option<Stream>, record: Record, dropped: &AtomicU64) -> Option<Stream> {
    let stream = stream.unwrap_or_else(|| Stream::open(host));
    let lost = dropped.swap(0, Ordering::Relaxed);
    if lost > 0 && stream.records.send(loss(lost)).await.is_err() {
        dropped.fetch_add(lost, Ordering::Relaxed);
    }
    if stream.records.send(record).await.is_ok() {
        return Some(stream);
    }
    dropped.fetch_add(1, Ordering::Relaxed);
    sleep(RETRY).await;
    None
}

fn loss(lost: u64) -> Record {
    let name = format!("{lost} records of logs and metrics were dropped");
    Record { kind: record::Kind::Log.into(), name, level: "warn".into(), ..Record::default() }
}
