//! What plugins print becomes log records. Pipes are always read, so that no plugin blocks on a write; lines are cut,
//! floods are dropped and counted. Nothing is parsed. Does I/O.

use crate::bounds::limits;
use parking_lot::Mutex;
use rockstar_core::limits::Limit;
use std::{collections::VecDeque, io, os::fd::OwnedFd, sync::Arc};
use tokio::{
    io::AsyncReadExt,
    net::unix::pipe,
    task::JoinHandle,
    time::{Duration, Instant},
};

const MAX_LINE: usize = 16 << 10;
const WINDOW: Duration = Duration::from_secs(1);
/// What is kept of stderr for texts of failures.
const TAIL_LINES: usize = 10;
const TAIL_LINE: usize = 500;

/// The last lines that a process wrote to stderr.
#[derive(Debug, Default)]
pub(super) struct Tail(Mutex<VecDeque<String>>);

impl Tail {
    pub(super) fn lines(&self) -> Vec<String> {
        self.0.lock().iter().cloned().collect()
    }

    fn push(&self, line: &str) {
        let mut lines = self.0.lock();
        if lines.len() == TAIL_LINES {
            lines.pop_front();
        }
        lines.push_back(line.chars().take(TAIL_LINE).collect());
    }
}

pub(super) fn read(
    plugin: &str,
    stdout: OwnedFd,
    stderr: OwnedFd,
    tail: &Arc<Tail>,
) -> io::Result<Vec<JoinHandle<()>>> {
    let stdout = pipe::Receiver::from_owned_fd(stdout)?;
    let stderr = pipe::Receiver::from_owned_fd(stderr)?;
    let (plugin, tail) = (plugin.to_owned(), Arc::clone(tail));
    Ok(vec![
        tokio::spawn(drain(stdout, Sink { plugin: plugin.clone(), stream: "stdout", tail: None, flood: Flood::new() })),
        tokio::spawn(drain(stderr, Sink { plugin, stream: "stderr", tail: Some(tail), flood: Flood::new() })),
    ])
}

async fn drain(mut pipe: pipe::Receiver, mut sink: Sink) {
    let mut lines = Lines::default();
    let mut buffer = vec![0; MAX_LINE];
    while let Ok(n @ 1..) = pipe.read(&mut buffer).await {
        lines.feed(&buffer[..n], |line| sink.take(line));
    }
    lines.finish(|line| sink.take(line));
    sink.flood.report(&sink.plugin, sink.stream);
}

struct Sink {
    plugin: String,
    stream: &'static str,
    tail: Option<Arc<Tail>>,
    flood: Flood,
}

impl Sink {
    fn take(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        if let Some(tail) = &self.tail {
            tail.push(&line);
        }
        if self.flood.admits(Instant::now(), &self.plugin, self.stream) {
            tracing::info!(target: "plugin", plugin = self.plugin, stream = self.stream, "{line}");
        }
    }
}

/// At most so many lines a second.
#[derive(Debug)]
pub(crate) struct Flood {
    since: Instant,
    admitted: u32,
    dropped: u64,
}

impl Flood {
    pub(crate) fn new() -> Self {
        Self { since: Instant::now(), admitted: 0, dropped: 0 }
    }

    pub(crate) fn admits(&mut self, now: Instant, plugin: &str, stream: &str) -> bool {
        if now.duration_since(self.since) >= WINDOW {
            self.report(plugin, stream);
            (self.since, self.admitted) = (now, 0);
        }
        let admitted = u64::from(self.admitted) < limits().get(Limit::LogLines);
        if admitted {
            self.admitted += 1;
        } else {
            self.dropped += 1;
        }
        admitted
    }

    fn report(&mut self, plugin: &str, stream: &str) {
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0 {
            tracing::warn!(
                plugin,
                stream,
                dropped,
                "Dropped {dropped} lines of output: more than {} a second (limits.logLines)",
                limits().get(Limit::LogLines)
            );
        }
    }
}

/// Cuts a stream of bytes into lines of bounded length; what is beyond the bound is dropped.
#[derive(Default)]
struct Lines {
    open: Vec<u8>,
}

impl Lines {
    fn feed(&mut self, bytes: &[u8], mut take: impl FnMut(&[u8])) {
        let mut pieces = bytes.split(|b| *b == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            let room = MAX_LINE - self.open.len();
            self.open.extend_from_slice(&piece[..piece.len().min(room)]);
            if pieces.peek().is_some() {
                self.finish(&mut take);
            }
        }
    }

    fn finish(&mut self, mut take: impl FnMut(&[u8])) {
        let line = self.open.strip_suffix(b"\r").unwrap_or(&self.open);
        if !line.is_empty() {
            take(line);
        }
        self.open.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(chunks: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut lines, mut found) = (Lines::default(), vec![]);
        for chunk in chunks {
            lines.feed(chunk, |l| found.push(l.to_vec()));
        }
        lines.finish(|l| found.push(l.to_vec()));
        found
    }

    #[test]
    fn lines_are_joined_across_reads_and_blank_ones_left_out() {
        assert_eq!(cut(&[b"a", b"b\r\n\nc\nd"]), [&b"ab"[..], b"c", b"d"]);
    }

    #[test]
    fn a_long_line_is_cut() {
        let long = vec![b'x'; 3 * MAX_LINE];
        let found = cut(&[&long, b"y\nz"]);
        assert_eq!((found[0].len(), found[1].as_slice()), (MAX_LINE, &b"z"[..]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_dropped_and_counted() {
        let mut flood = Flood::new();
        let now = Instant::now();
        let admitted = (0..5000).filter(|_| flood.admits(now, "p", "stdout")).count();
        assert_eq!((admitted, flood.dropped), (1000, 4000));
        assert!(flood.admits(now + WINDOW, "p", "stdout"));
    }

    #[test]
    fn the_tail_keeps_the_last_lines() {
        let tail = Tail::default();
        (0..100).for_each(|n| tail.push(&n.to_string()));
        assert_eq!(tail.lines().first().map(String::as_str), Some("90"));
    }
}
