//! `$SYS`: what dashboards made for other brokers read.
//!
//! Mosquitto's topics under `$SYS/broker/`, as far as there is a value of the same meaning here;
//! retained, and published again when they change. Off in the `aws` profile.

use std::collections::HashMap;
use std::time::Duration;

use bitts_broker::command::{Command, Reply};
use bitts_broker::{Dropped, NewMessage, Stats};
use bitts_mqtt::QoS;

use crate::mesh::Mesh;

/// How often values are looked at.
pub(crate) const INTERVAL: Duration = Duration::from_secs(10);

/// The last value of each topic.
#[derive(Debug, Default)]
struct Values {
    told: HashMap<&'static str, String>,
    connected_max: u64,
}

/// Publishes for as long as the server runs.
pub(crate) async fn publish(mesh: Mesh, started: std::time::Instant) {
    let mut values = Values::default();
    let mut ticks = tokio::time::interval(INTERVAL);
    loop {
        ticks.tick().await;
        let Some(stats) = stats(&mesh).await else { return };
        for message in values.changed(&stats, started.elapsed().as_secs()) {
            let owner = mesh.placement.owner_of(&message.topic);
            if mesh.call(owner, Command::PublishSystem(message)).await.is_none() {
                return;
            }
        }
    }
}

/// The counters of all shards together; none while the server stops.
pub(crate) async fn stats(mesh: &Mesh) -> Option<Stats> {
    let mut stats = Stats::default();
    for reply in mesh.call_all(Command::Stats).await? {
        if let Reply::Stats(one) = reply {
            stats.add(&one);
        }
    }
    Some(stats)
}

impl Values {
    fn changed(&mut self, stats: &Stats, uptime_seconds: u64) -> Vec<NewMessage> {
        self.connected_max = self.connected_max.max(stats.connections);
        let dropped: u64 = Dropped::ALL.iter().map(|reason| stats.dropped(*reason)).sum();
        let offline = stats.sessions.saturating_sub(stats.connections);
        let numbers = [
            ("$SYS/broker/clients/connected", stats.connections),
            ("$SYS/broker/clients/active", stats.connections),
            ("$SYS/broker/clients/disconnected", offline),
            ("$SYS/broker/clients/inactive", offline),
            ("$SYS/broker/clients/total", stats.sessions),
            ("$SYS/broker/clients/maximum", self.connected_max),
            ("$SYS/broker/subscriptions/count", stats.subscriptions),
            ("$SYS/broker/retained messages/count", stats.retained),
            ("$SYS/broker/store/messages/count", stats.retained + stats.queued),
            ("$SYS/broker/store/messages/bytes", stats.retained_bytes + stats.queued_bytes),
            ("$SYS/broker/publish/messages/received", stats.received.iter().sum()),
            ("$SYS/broker/publish/messages/sent", stats.sent.iter().sum()),
            ("$SYS/broker/publish/messages/dropped", dropped),
        ];
        let texts = [
            (
                "$SYS/broker/version",
                concat!("bitts version ", env!("CARGO_PKG_VERSION")).to_owned(),
            ),
            ("$SYS/broker/uptime", format!("{uptime_seconds} seconds")),
        ];
        let numbers = numbers.into_iter().map(|(topic, number)| (topic, number.to_string()));
        texts
            .into_iter()
            .chain(numbers)
            .filter(|(topic, value)| self.told.get(topic) != Some(value))
            .collect::<Vec<_>>()
            .into_iter()
            .map(|(topic, value)| {
                let payload = value.clone().into_bytes().into();
                self.told.insert(topic, value);
                message(topic, payload)
            })
            .collect()
    }
}

fn message(topic: &str, payload: bytes::Bytes) -> NewMessage {
    NewMessage {
        topic: topic.to_owned(),
        payload,
        qos: QoS::Zero,
        retain: true,
        properties: Vec::new(),
        message_expiry_interval: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed_is_told_again() {
        let mut values = Values::default();
        let mut stats = Stats { connections: 2, sessions: 5, ..Stats::default() };
        assert_eq!(values.changed(&stats, 0).len(), 15);
        stats.connections = 1;
        let told: Vec<_> = values
            .changed(&stats, 0)
            .into_iter()
            .map(|message| (message.topic, message.payload))
            .collect();
        assert!(told.contains(&("$SYS/broker/clients/connected".into(), "1".into())));
        assert!(told.contains(&("$SYS/broker/clients/inactive".into(), "4".into())));
        assert!(!told.iter().any(|(topic, _)| topic.ends_with("maximum")));
    }
}
