//! What is counted around the core, and how all of it is told to Prometheus.
//!
//! The core's own counters are [`Stats`], added up over the shards when somebody asks.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bitts_aws::api::Operation;
use bitts_broker::{Dropped, Stats};
use bitts_store::Submissions;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use crate::config::Config;
use crate::storage::Writer;

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// Why a connection was closed before its CONNECT reached the core.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub(crate) enum Refusal { $($(#[$doc])* $name,)* }

        impl Refusal {
            const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its name in counters.
            const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

refusals! {
    /// Its address has as many that wait as it may.
    AddressLimit = "address_limit";
    /// The system had no descriptor left.
    NoDescriptors = "no_descriptors";
    /// More wait than may; it was the oldest.
    TooManyGreetings = "too_many_waiting";
    /// Those that wait hold more bytes than they may; it held most.
    GreetingBytes = "waiting_bytes";
    /// No complete CONNECT came in time.
    ConnectTimeout = "connect_timeout";
    /// The peer closed it first.
    ClosedBeforeConnect = "closed_before_connect";
    /// Its first packet is no CONNECT. [MQTT-3.1.0-1]
    NotConnect = "not_connect";
    /// It does not begin with a header of the PROXY protocol.
    NotProxied = "not_proxied";
    /// Its first packet names another protocol. [MQTT-3.1.2-1]
    NotMqtt = "not_mqtt";
    /// Its certificate was revoked after its handshake.
    Revoked = "revoked";
}

/// Counters that all threads share; none of them is on the path of a message.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// `sync`, `os` or `none`.
    pub(crate) durability: &'static str,
    /// Where there is a journal.
    storage: Option<Arc<Submissions>>,
    accepted: AtomicU64,
    refused: [AtomicU64; Refusal::ALL.len()],
    http: [[AtomicU64; STATUSES.len()]; OPERATIONS.len() + 1],
}

/// The operations that are counted by name; whatever else is asked counts as `other`.
const OPERATIONS: [Operation; 11] = [
    Operation::DeleteConnection,
    Operation::GetConnection,
    Operation::ListSubscriptions,
    Operation::SendDirectMessage,
    Operation::Publish,
    Operation::GetRetainedMessage,
    Operation::ListRetainedMessages,
    Operation::GetThingShadow,
    Operation::UpdateThingShadow,
    Operation::DeleteThingShadow,
    Operation::ListNamedShadowsForThing,
];

/// The statuses that are counted by number; the last stands for all others.
const STATUSES: [u16; 13] = [200, 400, 401, 403, 404, 405, 409, 413, 415, 429, 500, 503, 0];

impl Counters {
    pub(crate) fn new(config: &Config, writer: Option<&Writer>) -> Self {
        let durability = writer.map_or("none", |_| config.durability.name());
        let storage = writer.map(|writer| Arc::clone(&writer.submissions));
        Self { durability, storage, ..Self::default() }
    }

    /// The disk is full: what needs it is refused or waits.
    pub(crate) fn is_disk_full(&self) -> bool {
        let gauges = self.storage.as_ref().map(|storage| &storage.gauges);
        gauges.is_some_and(|gauges| gauges.is_full.load(Ordering::Relaxed))
    }

    pub(crate) fn accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn refuse(&self, refusal: Refusal) {
        if let Some(counter) = self.refused.get(refusal as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// An HTTP request was answered.
    pub(crate) fn answered(&self, operation: Option<Operation>, status: u16) {
        let row = OPERATIONS.iter().position(|known| Some(*known) == operation);
        let column = STATUSES.iter().position(|known| *known == status);
        let counter = self
            .http
            .get(row.unwrap_or(OPERATIONS.len()))
            .and_then(|row| row.get(column.unwrap_or(STATUSES.len() - 1)));
        if let Some(counter) = counter {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// One scrape in the text form of OpenMetrics.
pub(crate) fn text(
    stats: Stats,
    counters: &std::sync::Arc<Counters>,
) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("bitts");
    registry.register_collector(Box::new(Scrape { stats, counters: counters.clone() }));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Scrape {
    stats: Stats,
    counters: std::sync::Arc<Counters>,
}

/// Writes metrics one after the other.
struct Metrics<'a>(DescriptorEncoder<'a>);

impl Metrics<'_> {
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let counter = ConstCounter::new(value);
        counter.encode(self.0.encode_descriptor(name, help, None, MetricType::Counter)?)
    }

    fn gauge(&mut self, name: &str, help: &str, unit: Option<&Unit>, value: u64) -> fmt::Result {
        let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
        gauge.encode(self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?)
    }

    /// Counters that differ in one label.
    fn counters<'n>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'n str, u64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (value, count) in values {
            let labels = [(label, value)];
            ConstCounter::new(count).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut metrics = Metrics(encoder);
        self.connections(&mut metrics)?;
        self.messages(&mut metrics)?;
        self.storage(&mut metrics)?;
        self.http(&mut metrics)
    }
}

impl Scrape {
    fn connections(&self, metrics: &mut Metrics<'_>) -> fmt::Result {
        let Self { stats, counters } = self;
        let named = |map: &std::collections::BTreeMap<&'static str, u64>| {
            map.iter().map(|(name, count)| (*name, *count)).collect::<Vec<_>>()
        };
        let accepted = counters.accepted.load(Ordering::Relaxed);
        metrics.counter("connections_accepted", "Network Connections accepted", accepted)?;
        let refused = Refusal::ALL.iter().zip(&counters.refused);
        metrics.counters(
            "connections_refused",
            "Network Connections closed before their CONNECT was complete",
            "reason",
            refused.map(|(refusal, count)| (refusal.name(), count.load(Ordering::Relaxed))),
        )?;
        metrics.counter("connects", "CONNECT packets accepted", stats.connects)?;
        let refused = named(&stats.refused);
        metrics.counters("connects_refused", "CONNECT packets refused", "reason", refused)?;
        let ended = named(&stats.disconnects);
        metrics.counters("disconnects", "Connections ended", "reason", ended)?;
        let violations = named(&stats.violations);
        metrics.counters("violations", "Rules broken by clients", "rule", violations)?;
        let denied = named(&stats.denied);
        metrics.counters("denied", "Operations denied", "reason", denied)?;
        metrics.gauge("connections", "Connected clients", None, stats.connections)?;
        metrics.gauge("sessions", "Sessions, connected or not", None, stats.sessions)?;
        metrics.gauge("subscriptions", "Subscriptions", None, stats.subscriptions)
    }

    fn messages(&self, metrics: &mut Metrics<'_>) -> fmt::Result {
        let stats = &self.stats;
        let by_qos = |counts: [u64; 3]| ["0", "1", "2"].into_iter().zip(counts);
        let (received, sent) = (by_qos(stats.received), by_qos(stats.sent));
        metrics.counters("publish_received", "PUBLISH packets from clients", "qos", received)?;
        metrics.counters("publish_sent", "PUBLISH packets to clients", "qos", sent)?;
        let injected = stats.injected;
        metrics.counter("messages_injected", "Messages that no client published", injected)?;
        metrics.counters(
            "deliveries_dropped",
            "Deliveries dropped",
            "reason",
            Dropped::ALL.iter().map(|reason| (reason.name(), stats.dropped(*reason))),
        )?;
        metrics.counter("wills_published", "Wills published", stats.wills_published)?;
        metrics.counter("wills_discarded", "Wills discarded", stats.wills_discarded)?;
        metrics.gauge("retained_messages", "Retained messages", None, stats.retained)?;
        let bytes = Some(&Unit::Bytes);
        metrics.gauge("retained", "Retained messages", bytes, stats.retained_bytes)?;
        metrics.gauge("shadows", "Device shadows", None, stats.shadows)?;
        metrics.gauge("shadow", "Device shadows as stored", bytes, stats.shadow_bytes)?;
        metrics.gauge("queued_messages", "Messages waiting in sessions", None, stats.queued)?;
        metrics.gauge("queued", "Messages waiting in sessions", bytes, stats.queued_bytes)?;
        let memory = "Memory that messages waiting in sessions hold";
        metrics.gauge("queued_memory", memory, bytes, stats.queued_memory)?;
        metrics.counter("pages_written", "Pages of queues to disk", stats.pages_written)?;
        metrics.counter("pages_read", "Pages of queues from disk", stats.pages_read)
    }

    fn storage(&self, metrics: &mut Metrics<'_>) -> fmt::Result {
        let labels = [("durability", self.counters.durability)];
        let info = metrics.0.encode_descriptor(
            "storage",
            "What outlives the process",
            None,
            MetricType::Info,
        )?;
        prometheus_client::metrics::info::Info::new(labels).encode(info)?;
        let Some(storage) = &self.counters.storage else { return Ok(()) };
        let gauges = &storage.gauges;
        let read = |value: &AtomicU64| value.load(Ordering::Relaxed);
        let bytes = Some(&Unit::Bytes);
        metrics.counter("journal_commits", "Writes of the journal", read(&gauges.commits))?;
        let written = read(&gauges.written_bytes);
        metrics.counter("journal_written_bytes", "Bytes written to the journal", written)?;
        metrics.counter("journal_checkpoints", "Checkpoints", read(&gauges.checkpoints))?;
        metrics.gauge("journal", "Size of the journal", bytes, read(&gauges.journal_bytes))?;
        metrics.gauge("pages", "Size of the pages of queues", bytes, read(&gauges.page_bytes))?;
        metrics.gauge("journal_segments", "Files of the journal", None, read(&gauges.segments))?;
        let backlog = read(&gauges.backlog_bytes);
        metrics.gauge("journal_backlog", "What waits to be written", bytes, backlog)?;
        let is_full = u64::from(self.counters.is_disk_full());
        metrics.gauge("journal_disk_full", "Whether only the reserve is left", None, is_full)
    }

    fn http(&self, metrics: &mut Metrics<'_>) -> fmt::Result {
        let mut metric = metrics.0.encode_descriptor(
            "http_requests",
            "HTTP requests answered",
            None,
            MetricType::Counter,
        )?;
        for (at, row) in self.counters.http.iter().enumerate() {
            let operation = OPERATIONS.get(at).map_or("other", |operation| operation.name());
            for (status, count) in STATUSES.iter().zip(row) {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    let labels = [("operation", operation.to_owned()), ("status", code(*status))];
                    ConstCounter::new(count).encode(metric.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }
}

fn code(status: u16) -> String {
    if status == 0 { "other".to_owned() } else { status.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_names_every_reason_once() {
        let counters = std::sync::Arc::new(Counters::default());
        counters.accepted();
        counters.refuse(Refusal::NotMqtt);
        counters.answered(Some(Operation::DeleteConnection), 404);
        counters.answered(None, 418);
        let mut stats = Stats { connections: 3, ..Stats::default() };
        stats.disconnects.insert("CLIENT_ERROR", 2);
        let text = text(stats, &counters).unwrap();
        for line in [
            "bitts_connections_accepted_total 1",
            "bitts_connections_refused_total{reason=\"not_mqtt\"} 1",
            "bitts_connections_refused_total{reason=\"connect_timeout\"} 0",
            "bitts_connections 3",
            "bitts_disconnects_total{reason=\"CLIENT_ERROR\"} 2",
            "bitts_deliveries_dropped_total{reason=\"queue_full\"} 0",
            "bitts_http_requests_total{operation=\"DeleteConnection\",status=\"404\"} 1",
            "bitts_http_requests_total{operation=\"other\",status=\"other\"} 1",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
