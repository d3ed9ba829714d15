//! Where AWS IoT Core departs from the standard, as questions that the core asks.
//!
//! Every difference between the two profiles is a method here or a number in [`Limits::aws`];
//! `docs/profiles.md` lists them. Contract `mqtt-broker.md` §2 to §8.

use bitts_mqtt::{ProtocolVersion, QoS, ReasonCode};

use crate::limits::Limits;

/// Whose rules apply where the standard and AWS IoT Core differ.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Profile {
    /// The standard, whole.
    #[default]
    Open,
    /// AWS IoT Core.
    Aws,
}

/// Shortest and longest Keep Alive of AWS, in seconds.
const AWS_KEEP_ALIVE: (u16, u16) = (30, 1_200);
/// How long a persistent 3.1.1 session lives on AWS, in seconds.
const AWS_PERSISTENT_EXPIRY: u32 = 3_600;
/// Longest Message Expiry Interval of AWS, in seconds.
const AWS_MESSAGE_EXPIRY_MAX: u32 = 604_800;
/// How long a WebSocket lasts on AWS, in seconds.
const AWS_WEBSOCKET_SECONDS: u64 = 24 * 3_600;
/// How long other connections last on AWS, in seconds: AWS says one to two weeks.
const AWS_CONNECTION_SECONDS: u64 = 14 * 24 * 3_600;
/// Largest payload of AWS, in bytes.
const AWS_PAYLOAD_BYTES_MAX: usize = 131_072;

impl Profile {
    const fn is_aws(self) -> bool {
        matches!(self, Self::Aws)
    }

    /// The highest QoS of a PUBLISH, a Will and a subscription.
    pub(crate) const fn maximum_qos(self) -> QoS {
        if self.is_aws() { QoS::One } else { QoS::Two }
    }

    /// What CONNACK says of the Maximum QoS; absent is 2.
    pub(crate) const fn announced_maximum_qos(self) -> Option<u8> {
        if self.is_aws() { Some(1) } else { None }
    }

    /// Whether a SUBSCRIBE may have a Subscription Identifier (B-12).
    pub(crate) const fn takes_subscription_identifiers(self) -> bool {
        !self.is_aws()
    }

    /// Whether CONNACK names what is available although it is the default (B-3).
    pub(crate) const fn names_defaults(self) -> bool {
        self.is_aws()
    }

    /// Whether Client Identifiers that begin with `$` are the server's (B-8).
    pub(crate) const fn reserves_dollar_clients(self) -> bool {
        self.is_aws()
    }

    /// The Keep Alive that counts, in seconds; 0 is none (B-4).
    pub(crate) fn keep_alive(self, asked: u16) -> u16 {
        match self {
            Self::Open => asked,
            Self::Aws if asked == 0 => AWS_KEEP_ALIVE.1,
            Self::Aws => asked.clamp(AWS_KEEP_ALIVE.0, AWS_KEEP_ALIVE.1),
        }
    }

    /// How long a 3.1.1 session without Clean Session outlives its connection, in seconds.
    pub(crate) fn persistent_expiry(self, limits: &Limits) -> u32 {
        if self.is_aws() {
            AWS_PERSISTENT_EXPIRY.min(limits.session_expiry_max)
        } else {
            limits.session_expiry_max
        }
    }

    /// Whether a session can be resumed with another protocol version (B-11).
    pub(crate) const fn resumes_across_versions(self) -> bool {
        !self.is_aws()
    }

    /// What a CONNECT above a rate is told.
    pub(crate) const fn connect_rate_reason(self) -> ReasonCode {
        if self.is_aws() { ReasonCode::QuotaExceeded } else { ReasonCode::ConnectionRateExceeded }
    }

    /// Whether a refused 3.1.1 CONNECT is answered; else it only closes (§4).
    pub(crate) fn answers_refused(self, version: ProtocolVersion) -> bool {
        !self.is_aws() || version == ProtocolVersion::V5
    }

    /// Whether a bad filter ends a 3.1.1 connection; else it costs its code (§3).
    pub(crate) fn closes_on_bad_filter(self, version: ProtocolVersion) -> bool {
        self.is_aws() && version == ProtocolVersion::V3_1_1
    }

    /// Whether a PUBLISH that is not allowed ends the connection (§10).
    pub(crate) const fn closes_on_denied_publish(self) -> bool {
        self.is_aws()
    }

    /// Whether `sensor/#` matches `sensor` (B-1).
    pub(crate) const fn matches_parent(self) -> bool {
        !self.is_aws()
    }

    /// Whether a filter with wildcards gets retained messages (B-2).
    pub(crate) const fn wildcards_get_retained(self) -> bool {
        !self.is_aws()
    }

    /// Whether UNSUBACK and PUBACK say that there was nobody (§10).
    pub(crate) const fn says_nobody(self) -> bool {
        !self.is_aws()
    }

    /// Whether what is sent again is marked with DUP (§2).
    pub(crate) const fn marks_resent(self) -> bool {
        !self.is_aws()
    }

    /// Whether a filter under `$` may be subscribed to.
    pub(crate) fn may_subscribe(self, filter: &str) -> bool {
        if !self.is_aws() || !filter.starts_with('$') {
            return true;
        }
        let is_rules = filter.starts_with("$aws/rules/") || filter == "$aws/rules";
        filter.starts_with("$aws/") && !is_rules
    }

    /// The part of a topic that its limits count: on AWS without `$aws/rules/{rule}/` (B-6).
    pub(crate) fn counted_topic(self, topic: &str) -> &str {
        const PREFIX: &str = "$aws/rules/";
        if !self.is_aws() {
            return topic;
        }
        let is_rules =
            topic.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX));
        let rest = topic.get(PREFIX.len()..).filter(|_| is_rules);
        rest.map_or(topic, |rest| rest.split_once('/').map_or("", |(_, topic)| topic))
    }

    /// The Message Expiry Interval that counts, in seconds (B-10).
    pub(crate) fn message_expiry(self, asked: Option<u32>) -> Option<u32> {
        if self.is_aws() {
            asked.map(|seconds| seconds.clamp(1, AWS_MESSAGE_EXPIRY_MAX))
        } else {
            asked
        }
    }

    /// Largest payload, in bytes, where it is bounded apart from its packet.
    pub(crate) const fn payload_bytes_max(self) -> usize {
        if self.is_aws() { AWS_PAYLOAD_BYTES_MAX } else { usize::MAX }
    }

    /// How long a connection may last, in seconds, where that is bounded (§1).
    pub(crate) fn connection_seconds_max(self, is_websocket: bool) -> Option<u64> {
        let seconds = if is_websocket { AWS_WEBSOCKET_SECONDS } else { AWS_CONNECTION_SECONDS };
        self.is_aws().then_some(seconds)
    }

    /// Whether a WebSocket Close frame is the client's goodbye (§7); by the standard only
    /// DISCONNECT is.
    pub(crate) const fn takes_close_for_goodbye(self) -> bool {
        self.is_aws()
    }
}

impl Limits {
    /// The bounds of the `aws` profile: AWS's numbers where it names one.
    #[must_use]
    pub fn aws() -> Self {
        Self {
            packet_bytes_max: 149_504,
            topic_bytes_max: 256,
            topic_levels_max: 8,
            filters_per_subscribe_max: 8,
            subscriptions_per_session_max: 50,
            shapes_per_session_max: 50,
            client_id_bytes_max: 128,
            receive_maximum: 100,
            inflight_max: 100,
            topic_alias_maximum: 8,
            session_expiry_max: 7 * 24 * 3600,
            retained_messages_max: 500_000,
            shadow_requests_in_flight_max: 10,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// B-6
    #[test]
    fn b_06_the_rule_of_basic_ingest_counts_for_nothing() {
        assert_eq!(Profile::Aws.counted_topic("$aws/rules/r/a/b"), "a/b");
        assert_eq!(Profile::Aws.counted_topic("$AWS/Rules/r/a"), "a");
        assert_eq!(Profile::Aws.counted_topic("$aws/rules/r"), "");
        assert_eq!(Profile::Aws.counted_topic("$aws/things/t/x"), "$aws/things/t/x");
        assert_eq!(Profile::Open.counted_topic("$aws/rules/r/a/b"), "$aws/rules/r/a/b");
    }

    /// B-4
    #[test]
    fn b_04_keep_alive_has_two_ends() {
        for (asked, counts) in [(0, 1200), (1, 30), (30, 30), (600, 600), (1201, 1200)] {
            assert_eq!(Profile::Aws.keep_alive(asked), counts);
            assert_eq!(Profile::Open.keep_alive(asked), asked);
        }
    }

    #[test]
    fn of_the_dollar_topics_only_those_of_aws_are_subscribed_to() {
        for (filter, may) in [
            ("a/#", true),
            ("$aws/events/presence/+/x", true),
            ("$aws/things/t/shadow/get/+", true),
            ("$aws/rules/r/x", false),
            ("$SYS/#", false),
            ("$x", false),
        ] {
            assert_eq!(Profile::Aws.may_subscribe(filter), may, "{filter}");
            assert!(Profile::Open.may_subscribe(filter));
        }
    }
}
