//! How much one plugin may add to the log, whichever way: what it prints and records, and what the sidecar says about it.
//! What is beyond is dropped and counted. Memory only.

use crate::bounds::limits;
use parking_lot::Mutex;
use rockstar_core::limits::Limit;
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

/// Of each kind that the sidecar says about a plugin, each second: a flood of one hides no other.
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
    /// By the name of the place that says them.
    host_lines: HashMap<&'static str, u32>,
    dropped: u64,
}

impl Quota {
    /// Says each second what was dropped, as long as the quota lives.
    pub(super) fn report(&self) {
        let counts = Arc::downgrade(&self.0);
        // Without the thread nothing is said, and nothing else is lost.
        std::thread::Builder::new().name("log-quota".into()).spawn(move || report(&counts)).ok();
    }

    /// `place`: of the sidecar's code that says it; none: the plugin's own.
    fn admits(&self, plugin: &str, place: Option<&'static str>, bytes: usize, now: Instant) -> bool {
        let mut plugins = self.0.lock();
        if !plugins.contains_key(plugin) {
            plugins.insert(plugin.to_owned(), Plugin::default());
        }
        let Some(count) = plugins.get_mut(plugin) else { return true };
        if count.since.is_none_or(|since| now.duration_since(since) >= WINDOW) {
            *count = Plugin { since: Some(now), dropped: count.dropped, ..Plugin::default() };
        }
        let limits = limits();
        let lines = u32::try_from(limits.get(Limit::LogLines)).unwrap_or(u32::MAX);
        let size = limits.size(Limit::LogBytes);
        let admitted = match place {
            None => count.lines < lines && count.bytes + bytes <= size,
            Some(place) => count.host_lines.get(place).is_none_or(|lines| *lines < MAX_HOST_LINES),
        };
        match (admitted, place) {
            (false, _) => count.dropped += 1,
            (true, None) => (count.lines, count.bytes) = (count.lines + 1, count.bytes + bytes),
            (true, Some(place)) => *count.host_lines.entry(place).or_default() += 1,
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
            tracing::warn!(
                plugin,
                dropped,
                "Dropped {dropped} log lines of and about plugin {plugin}: more than limits.logLines or limits.logBytes a second"
            );
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
        let metadata = event.metadata();
        let place = (metadata.target() != "plugin").then_some(metadata.name());
        fields.is_report || fields.plugin.is_none_or(|name| self.admits(&name, place, fields.bytes, Instant::now()))
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

    fn admitted(quota: &Quota, place: Option<&'static str>, bytes: usize, now: Instant) -> usize {
        (0..3000).filter(|_| quota.admits("p", place, bytes, now)).count()
    }

    #[test]
    fn lines_and_bytes_are_bounded_each_second_and_the_rest_is_counted() {
        let (quota, now) = (Quota::default(), Instant::now());
        assert_eq!(admitted(&quota, None, 10, now), 1000);
        assert_eq!(admitted(&quota, Some("here"), 10, now), 20);
        assert!(quota.admits("q", None, 10, now));
        assert_eq!(Quota::take_dropped(&quota.0), [("p".to_owned(), 2000 + 2980)]);
        assert_eq!(admitted(&quota, None, 64 << 10, now + WINDOW), 16);
        assert_eq!(Quota::take_dropped(&quota.0).len(), 1);
        assert!(Quota::take_dropped(&quota.0).is_empty());
    }
}
