//! The log: lines on stderr, filtered by a setting that can change while the server runs.

use std::io;

use anstream::AutoStream;
use anstream::ColorChoice;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, fmt, reload};

/// The filter in force.
pub(super) struct LogFilter(reload::Handle<Targets, Registry>);

/// Begins to log by a filter that the settings have checked.
pub(super) fn start(filter: &str) -> LogFilter {
    let (filter, handle) = reload::Layer::new(targets(filter));
    let has_colour = AutoStream::choice(&io::stderr()) != ColorChoice::Never;
    let lines = fmt::layer().with_writer(io::stderr).with_ansi(has_colour);
    tracing_subscriber::registry().with(filter).with(lines).init();
    LogFilter(handle)
}

impl LogFilter {
    pub(super) fn set(&self, filter: &str) {
        if let Err(error) = self.0.reload(targets(filter)) {
            tracing::error!(%error, "the log's filter is not changed");
        }
    }
}

/// Checked text always parses; `info` stands for what could not.
fn targets(filter: &str) -> Targets {
    filter.parse().unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO))
}
