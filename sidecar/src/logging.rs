//! Log records on stdout, as JSON or as `[LEVEL] text`. The writer drops and counts rather than wait for a reader.

mod quota;
mod text;
mod writer;

use crate::args::LogFormat;
use quota::Quota;
use tracing_subscriber::{EnvFilter, Layer, fmt::MakeWriter, layer::SubscriberExt, util::SubscriberInitExt};
use writer::Lossy;

/// Writes the last records when dropped.
#[derive(Debug)]
pub struct Logging(Lossy);

impl Drop for Logging {
    fn drop(&mut self) {
        self.0.finish();
    }
}

/// For the life of the process. `RUST_LOG` chooses what is logged, `info` by default.
#[must_use]
pub fn init(format: LogFormat) -> Logging {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let writer = Lossy::stdout();
    let logging = Logging(writer.clone());
    let registry = tracing_subscriber::registry().with(filter);
    let quota = Quota::default();
    quota.report();
    // A second call, in tests, keeps the first one's settings.
    let _ = match format {
        LogFormat::Json => registry.with(json(writer).with_filter(quota)).try_init(),
        LogFormat::Text => registry
            .with(
                tracing_subscriber::fmt::layer()
                    .event_format(text::Text)
                    .with_ansi(false)
                    .with_writer(writer)
                    .with_filter(quota),
            )
            .try_init(),
    };
    logging
}

fn json<S>(writer: impl for<'w> MakeWriter<'w> + Send + Sync + 'static) -> impl tracing_subscriber::Layer<S>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    tracing_subscriber::fmt::layer().json().flatten_event(true).with_current_span(false).with_writer(writer)
}
