//! How much one plugin may add to the log, whichever way: what it prints and records, and what the sidecar says about it.
//! What is beyond is dropped and counted. Memory only.

use parking_lot::Mutex;
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::layer::{Context, Filter};

/// Of a plugin's own, each second.
const MAX_LINES: u32 = 1000;
const MAX_BYTES: usize = 1 << 20;
/// Of the sidecar's about a plugin, each second.
const MAX_HOST_LINES: u32 = 20;
const WINDOW: Duration = Duration::from_secs(1);

/// Counts per plugin.
#[derive(Clone, Debug, Default)]
pub(super) struct Quota(Arc<Mutex<HashMap<String, Plugin>>>);

#[derive(Debug, Default)]
struct Plugin {
    since: Option<Instant>,
    lines: u32,
    bytes: usize,
    host_lines: u32,
    dropped: u64,
}

impl Quota {
    /// Says each second what was dropped, as long as the quota lives.
    pub(super) fn report(&self) {
        let counts = Arc::downgrade(&self.0);
        // Without the thread nothing is said, and nothing else is lost.
        std::thread::Builder::new().name("log-quota".into()).spawn(move || report(&counts)).ok();
    }

    fn admits(&self, plugin: &str, own: bool, bytes: usize, now: Instant) -> bool {
        let mut plugins = self.0.lock();
        if !plugins.contains_key(plugin) {
            plugins.insert(plugin.to_owned(), Plugin::default());
        }
        let Some(count) = plugins.get_mut(plugin) else { return true };
        if count.since.is_none_or(|since| now.duration_since(since) >= WINDOW) {
            *count = Plugin { since: Some(now), dropped: count.dropped, ..Plugin::default() };
        }
        let admitted = match own {
            true => count.lines < MAX_LINES && count.bytes + bytes <= MAX_BYTES,
            false => count.host_lines < MAX_HOST_LINES,
        };
        match (admitted, own) {
            (false, _) => count.dropped += 1,
            (true, true) => (count.lines, count.bytes) = (count.lines + 1, count.bytes + bytes),
            (true, false) => count.host_lines += 1,
        }
        admitted
    }

    fn take_dropped(plugins: &Mutex<HashMap<String, Plugin>>) -> Vec<(String, u64)> {
        let mut plugins = plugins.lock();
        let dropped = plugins.iter_mut().map(|(name, count)| (name.clone(), std::mem::take(&mut count.dropped)));
        dropped.filter(|(_, count)| *count > 0).collect()
    }
}

fn report(plugins: &Weak<Mutex<HashMap<String, Plugin>>>) {
    loop {
        std::thread::sleep(WINDOW);
        let Some(plugins) = plugins.upgrade() else { return };
        for (plugin, dropped) in Quota::take_dropped(&plugins) {
            tracing::warn!(plugin, dropped, "Dropped {dropped} log lines of and about plugin {plugin}: too many");
        }
    }
}

impl<S: Subscriber> Filter<S> for Quota {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let own = event.metadata().target() == "plugin";
        fields.is_report || fields.plugin.is_none_or(|name| self.admits(&name, own, fields.bytes, Instant::now()))
    }
}

/// What counts of an event.
#[derive(Default)]
struct Fields {
    plugin: Option<String>,
    bytes: usize,
    is_report: bool,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.bytes += value.len();
        match field.name() {
            "plugin" => self.plugin = Some(value.to_owned()),
            "dropped" => self.is_report = true,
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut counted = Counted(0);
        // It never fails.
        let _ = fmt::write(&mut counted, format_args!("{value:?}"));
        self.bytes += counted.0;
        match field.name() {
            "plugin" => self.plugin = Some(format!("{value:?}")),
            "dropped" => self.is_report = true,
            _ => {}
        }
    }
}

/// Counts what is written.
struct Counted(usize);

impl fmt::Write for Counted {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(quota: &Quota, own: bool, bytes: usize, now: Instant) -> usize {
        (0..3000).filter(|_| quota.admits("p", own, bytes, now)).count()
    }

    #[test]
    fn lines_and_bytes_are_bounded_each_second_and_the_rest_is_counted() {
        let (quota, now) = (Quota::default(), Instant::now());
        assert_eq!(admitted(&quota, true, 10, now), 1000);
        assert_eq!(admitted(&quota, false, 10, now), 20);
        assert!(quota.admits("q", true, 10, now));
        assert_eq!(Quota::take_dropped(&quota.0), [("p".to_owned(), 2000 + 2980)]);
        assert_eq!(admitted(&quota, true, 64 << 10, now + WINDOW), 16);
        assert_eq!(Quota::take_dropped(&quota.0).len(), 1);
        assert!(Quota::take_dropped(&quota.0).is_empty());
    }
}
