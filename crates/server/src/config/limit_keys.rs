//! The settings of the table `limits`: each field of [`ServerLimits`] and of [`Limits`], with the
//! values it takes.

use std::time::Duration;

use bitts_broker::{Limits, Rates};

use super::key::{Key, Scope};
use super::value::{Kind, Value};
use super::{RequestRates, ServerLimits};

/// How a field holds a setting's number.
trait Field {
    fn store(&mut self, number: u64);
    fn load(&self) -> u64;
}

macro_rules! integer_fields {
    ($($integer:ty)*) => { $(
        impl Field for $integer {
            fn store(&mut self, number: u64) {
                *self = <$integer>::try_from(number).unwrap_or(<$integer>::MAX);
            }

            fn load(&self) -> u64 {
                u64::try_from(*self).unwrap_or(u64::MAX)
            }
        }
    )* };
}

integer_fields!(u16 u32 u64 usize);

impl Field for Duration {
    fn store(&mut self, number: u64) {
        *self = Self::from_millis(number);
    }

    fn load(&self) -> u64 {
        u64::try_from(self.as_millis()).unwrap_or(u64::MAX)
    }
}

/// The rows, and a pattern that does not compile while a field has none: the compiler then speaks
/// of inaccessible fields.
macro_rules! limit_keys {
    ($($set:ident: $limits:ident { $($name:literal $field:ident: $kind:expr;)* })*) => {
        pub(super) static LIMITS: &[Key] = &[$($(
            Key {
                name: concat!("limits.", $name),
                about: "A limit",
                kind: $kind,
                scope: Scope::Limit,
                apply: |settings, value| settings.config.$set.$field.store(value.number()),
                current: |settings| Value::Number(settings.config.$set.$field.load()),
            },
        )*)*];

        $(const _: fn(&$limits) = |$limits { $($field: _,)* }| {};)*
    };
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;
const HOUR_MS: u64 = 3_600_000;
/// A Remaining Length of four bytes, MQTT's largest, and the fixed header before it.
const PACKET_MAX: u64 = 268_435_455 + 5;
const BILLION: u64 = 1_000_000_000;
/// So many a second; 0 is no limit.
const RATE: Kind = Kind::Count(0, 100_000_000);
/// A Session Expiry Interval of `0xFFFFFFFF` never expires; the largest limit is one below.
const EXPIRY_MAX: u64 = u32::MAX as u64 - 1;

limit_keys! {
    server_limits: ServerLimits {
        "connect-bytes-max" connect_bytes_max: Kind::Bytes(KIB, 16 * MIB);
        "greeting-bytes-max" greeting_bytes_max: Kind::Bytes(16 * KIB, TIB);
        "greetings-max" greetings_max: Kind::Count(1, 1_000_000);
        "greetings-per-address-max" greetings_per_address_max: Kind::Count(1, 1_000_000);
        "connect-timeout" connect_timeout: Kind::Millis(100, HOUR_MS);
        "packet-timeout" packet_timeout: Kind::Millis(100, HOUR_MS);
        "write-bytes-max" write_bytes_max: Kind::Bytes(4 * KIB, 1024 * MIB);
        "unwritten-bytes-max" unwritten_bytes_max: Kind::Bytes(16 * KIB, TIB);
        "unread-bytes-max" unread_bytes_max: Kind::Bytes(16 * KIB, TIB);
        "stall-timeout" stall_timeout: Kind::Millis(100, 24 * HOUR_MS);
        "linger" linger: Kind::Millis(0, 60_000);
        "drain-timeout" drain_timeout: Kind::Millis(0, HOUR_MS);
        "http-connections-max" http_connections_max: Kind::Count(1, 1_000_000);
        "http-head-bytes-max" http_head_bytes_max: Kind::Bytes(8 * KIB, MIB);
        "http-path-bytes-max" http_path_bytes_max: Kind::Bytes(KIB, 64 * KIB);
        "http-headers-max" http_headers_max: Kind::Count(16, 1_024);
        "http-body-bytes-max" http_body_bytes_max: Kind::Bytes(KIB, 16 * MIB);
        "throughput-per-second-per-connection" throughput_max: Kind::Bytes(0, 1024 * MIB);
        "audit-bytes-max" audit_bytes_max: Kind::Bytes(4 * KIB, TIB);
        "audit-files-max" audit_files_max: Kind::Count(1, 10_000);
        "http-timeout" http_timeout: Kind::Millis(100, HOUR_MS);
    }
    limits: Limits {
        "packet-bytes-max" packet_bytes_max: Kind::Bytes(KIB, PACKET_MAX);
        "topic-bytes-max" topic_bytes_max: Kind::Bytes(1, 65_535);
        "topic-levels-max" topic_levels_max: Kind::Count(1, 65_535);
        "filters-per-subscribe-max" filters_per_subscribe_max: Kind::Count(1, 1_000_000);
        "subscriptions-per-session-max" subscriptions_per_session_max: Kind::Count(1, BILLION);
        "shapes-per-session-max" shapes_per_session_max: Kind::Count(0, 65_535);
        "shapes-max" shapes_max: Kind::Count(0, 1_000_000);
        "client-id-bytes-max" client_id_bytes_max: Kind::Bytes(23, 65_535);
        "receive-maximum" receive_maximum: Kind::Count(1, 65_535);
        "inflight-max" inflight_max: Kind::Count(1, 65_535);
        "topic-alias-maximum" topic_alias_maximum: Kind::Count(0, 65_535);
        "topic-alias-bytes-max" topic_alias_bytes_max: Kind::Bytes(0, 1024 * MIB);
        "queued-messages-max" queued_messages_max: Kind::Count(0, BILLION);
        "queued-bytes-max" queued_bytes_max: Kind::Bytes(0, TIB);
        "queued-bytes-total-max" queued_bytes_total_max: Kind::Bytes(0, TIB);
        "queued-memory-max" queued_memory_max: Kind::Bytes(0, TIB);
        "session-expiry-max" session_expiry_max: Kind::Seconds(0, EXPIRY_MAX);
        "retained-messages-max" retained_messages_max: Kind::Count(0, BILLION);
        "retained-bytes-max" retained_bytes_max: Kind::Bytes(0, TIB);
        "connections-max" connections_max: Kind::Count(1, BILLION);
        "sessions-max" sessions_max: Kind::Count(1, BILLION);
        "group-queued-messages-max" group_queued_messages_max: Kind::Count(0, BILLION);
        "group-queued-bytes-total-max" group_queued_bytes_total_max: Kind::Bytes(0, TIB);
        "group-members-max" group_members_max: Kind::Count(1, BILLION);
        "disconnect-memory" disconnect_memory_seconds: Kind::Seconds(0, 30 * 86_400);
        "disconnects-remembered-max" disconnects_remembered_max: Kind::Count(0, BILLION);
        "shadow-document-bytes-max" shadow_document_bytes_max: Kind::Bytes(2, 128 * KIB);
        "shadow-depth-max" shadow_depth_max: Kind::Count(1, 30);
        "shadow-bytes-max" shadow_bytes_max: Kind::Bytes(0, TIB);
        "shadow-requests-in-flight-max" shadow_requests_in_flight_max: Kind::Count(1, 65_535);
        "shadow-answer-bytes-max" shadow_answer_bytes_max: Kind::Bytes(0, TIB);
        "direct-messages-waiting-max" direct_messages_waiting_max: Kind::Count(0, BILLION);
        "retained-step" retained_step: Kind::Count(1, 65_535);
    }
    rates: Rates {
        "connect-requests-per-second" connect_requests: RATE;
        "connect-requests-per-second-per-client-id" connect_requests_per_client_id: RATE;
        "inbound-publish-requests-per-second" inbound_publish_requests: RATE;
        "outbound-publish-requests-per-second" outbound_publish_requests: RATE;
        "publish-requests-per-second-per-connection" publish_requests_per_connection: RATE;
        "subscriptions-per-second" subscriptions: RATE;
        "retained-publish-requests-per-second" retained_publish_requests: RATE;
        "retained-publish-requests-per-second-per-topic" retained_publish_requests_per_topic: RATE;
        "stored-messages-per-second-per-session" stored_messages_per_session: RATE;
        "shared-messages-per-second-per-subscriber" shared_messages_per_subscriber: RATE;
        "shadow-requests-per-second-per-thing" shadow_requests_per_thing: RATE;
    }
    request_rates: RequestRates {
        "delete-connection-requests-per-second" delete_connection: RATE;
        "get-connection-requests-per-second" get_connection: RATE;
        "list-subscriptions-requests-per-second" list_subscriptions: RATE;
        "get-retained-message-requests-per-second" get_retained_message: RATE;
        "list-retained-messages-requests-per-second" list_retained_messages: RATE;
        "control-plane-requests-per-second" control_plane: RATE;
    }
}
