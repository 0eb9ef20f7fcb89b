//! A writer that never waits: one thread writes to stdout, and what it cannot keep up with is dropped and counted.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::Duration,
};
use tracing_subscriber::fmt::MakeWriter;

const QUEUE: usize = 8192;
/// How long the end of the process waits for its last records.
const LAST: Duration = Duration::from_secs(1);

#[derive(Debug)]
enum Line {
    Text(Vec<u8>),
    Flush(SyncSender<()>),
}

/// See the module. Its thread lives as long as the process.
#[derive(Clone, Debug)]
pub(super) struct Lossy {
    lines: SyncSender<Line>,
    dropped: Arc<AtomicU64>,
}

impl Lossy {
    pub(super) fn stdout() -> Self {
        let (lines, inbox) = sync_channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&dropped);
        // Without the thread nothing is logged, and nothing else is lost.
        std::thread::Builder::new().name("log".into()).spawn(move || write(&inbox, &counter)).ok();
        Self { lines, dropped }
    }

    /// Waits for what was logged so far.
    pub(super) fn finish(&self) {
        let (done, written) = sync_channel(1);
        if self.lines.try_send(Line::Flush(done)).is_ok() {
            written.recv_timeout(LAST).ok();
        }
    }
}

fn write(inbox: &Receiver<Line>, dropped: &AtomicU64) {
    let mut out = io::stdout().lock();
    while let Ok(line) = inbox.recv() {
        match line {
            // Nobody may be listening; that must not end anything.
            Line::Text(line) => drop(out.write_all(&line)),
            Line::Flush(done) => drop(done.send(())),
        }
        let lost = dropped.swap(0, Relaxed);
        if lost > 0 {
            writeln!(out, "[WARN] dropped {lost} log records: stdout is too slow").ok();
        }
        out.flush().ok();
    }
}

impl Write for Lossy {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.lines.try_send(Line::Text(line.to_vec())).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lossy {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
