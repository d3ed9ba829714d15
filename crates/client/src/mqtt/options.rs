//! What a connection is asked for, and the messages and answers that travel over it.

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use bitts_mqtt::{
    PacketId, ProtocolVersion, PublishProperties, QoS, ReasonCode, SubscriptionOptions,
    UserProperties, UserPropertiesBuf,
};
use bytes::Bytes;

/// User Properties in their order.
pub type UserPropertyList = Vec<(String, String)>;

/// Who acknowledges messages of QoS 1 and 2.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Acknowledge {
    /// The client, when it queues them for [`super::Incoming`].
    #[default]
    WhenQueued,
    /// The caller, by [`super::Client::acknowledge`].
    ByCaller,
}

/// Everything that CONNECT says, and how the client behaves. What MQTT 3.1.1 lacks is not sent
/// there.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// Default MQTT 5.
    pub version: ProtocolVersion,
    /// Empty lets the server assign one.
    pub client_id: String,
    /// Clean Start (5) or Clean Session (3.1.1). Default true.
    pub clean_start: bool,
    /// Keep Alive in seconds; 0 turns it off. Default 60.
    pub keep_alive_seconds: u16,
    /// User Name.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Bytes>,
    /// The Will.
    pub will: Option<Will>,
    /// Session Expiry Interval in seconds; absent is 0, `u32::MAX` never expires.
    pub session_expiry_interval: Option<u32>,
    /// Messages of QoS 1 and 2 that may be unacknowledged; absent is 65,535.
    pub receive_maximum: Option<NonZeroU16>,
    /// Bytes of the largest packet we take; a larger one ends the connection. Default 16 MiB.
    pub packet_bytes_max: NonZeroU32,
    /// Aliases the server may use; absent is 0.
    pub topic_alias_maximum: Option<u16>,
    /// Request Response Information.
    pub request_response_information: Option<bool>,
    /// Request Problem Information.
    pub request_problem_information: Option<bool>,
    /// User Properties.
    pub user_properties: UserPropertyList,
    /// For TCP, TLS and CONNACK together. Default 10 s.
    pub timeout: Duration,
    /// Who acknowledges.
    pub acknowledge: Acknowledge,
    /// Messages that wait for [`super::Incoming::next`]. Default 1,024. At the limit the socket is
    /// not read, so the server holds back.
    pub incoming_max: usize,
    /// Whether a message is refused here that the server said it would not take: its QoS, RETAIN,
    /// its size. Default true; false is for testing servers.
    pub heed_server_limits: bool,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            version: ProtocolVersion::V5,
            client_id: String::new(),
            clean_start: true,
            keep_alive_seconds: 60,
            username: None,
            password: None,
            will: None,
            session_expiry_interval: None,
            receive_maximum: None,
            packet_bytes_max: NonZeroU32::MIN.saturating_add((16 << 20) - 1),
            topic_alias_maximum: None,
            request_response_information: None,
            request_problem_information: None,
            user_properties: Vec::new(),
            timeout: Duration::from_secs(10),
            acknowledge: Acknowledge::WhenQueued,
            incoming_max: 1024,
            heed_server_limits: true,
        }
    }
}

/// The message that the server publishes when the connection ends without our DISCONNECT.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Will {
    /// Will Topic.
    pub topic: String,
    /// Will Payload.
    pub payload: Bytes,
    /// Will QoS.
    pub qos: QoS,
    /// Will Retain.
    pub retain: bool,
    /// Will Delay Interval in seconds.
    pub delay_interval: u32,
    /// Its properties; a Subscription Identifier is not sent.
    pub properties: MessageProperties,
}

/// The MQTT 5 properties of a message.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct MessageProperties {
    /// `Some(true)`: the payload is UTF-8.
    pub payload_format_indicator: Option<bool>,
    /// Seconds.
    pub message_expiry_interval: Option<u32>,
    /// Response Topic.
    pub response_topic: Option<String>,
    /// Correlation Data.
    pub correlation_data: Option<Bytes>,
    /// Content Type.
    pub content_type: Option<String>,
    /// User Properties.
    pub user_properties: UserPropertyList,
    /// From the server only: of the subscription that matched; of several, the first.
    pub subscription_identifier: Option<u32>,
}

/// User Properties as a packet holds them. Names and values beyond 65,535 bytes were refused.
pub(super) fn encode_user_properties(list: &[(String, String)]) -> UserPropertiesBuf {
    let mut encoded = UserPropertiesBuf::new();
    for (name, value) in list {
        encoded.push(name, value);
    }
    encoded
}

pub(super) fn decode_user_properties(properties: &UserProperties<'_>) -> UserPropertyList {
    properties.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

impl MessageProperties {
    /// As a packet holds them; `user` are the encoded User Properties.
    pub(super) fn borrowed<'a>(&'a self, user: &'a UserPropertiesBuf) -> PublishProperties<'a> {
        PublishProperties {
            payload_format_indicator: self.payload_format_indicator,
            message_expiry_interval: self.message_expiry_interval,
            topic_alias: None,
            response_topic: self.response_topic.as_deref(),
            correlation_data: self.correlation_data.as_deref(),
            content_type: self.content_type.as_deref(),
            subscription_identifier: None,
            user_properties: user.as_properties(),
        }
    }

    pub(super) fn from_packet(properties: &PublishProperties<'_>) -> Self {
        Self {
            payload_format_indicator: properties.payload_format_indicator,
            message_expiry_interval: properties.message_expiry_interval,
            response_topic: properties.response_topic.map(ToOwned::to_owned),
            correlation_data: properties.correlation_data.map(Bytes::copy_from_slice),
            content_type: properties.content_type.map(ToOwned::to_owned),
            user_properties: decode_user_properties(&properties.user_properties),
            subscription_identifier: properties.subscription_identifier,
        }
    }
}

/// A message to publish.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Publish {
    /// Topic Name; may be empty with an alias that the server knows.
    pub topic: String,
    /// Payload.
    pub payload: Bytes,
    /// QoS. Default 0.
    pub qos: QoS,
    /// RETAIN.
    pub retain: bool,
    /// Topic Alias, at most what CONNACK allows.
    pub topic_alias: Option<NonZeroU16>,
    /// MQTT 5 properties.
    pub properties: MessageProperties,
}

impl Publish {
    /// A message of QoS 0.
    pub fn new(topic: impl Into<String>, payload: impl Into<Bytes>) -> Self {
        Self { topic: topic.into(), payload: payload.into(), ..Self::default() }
    }

    /// The same with this QoS.
    #[must_use]
    pub fn qos(self, qos: QoS) -> Self {
        Self { qos, ..self }
    }

    /// The same, retained.
    #[must_use]
    pub fn retained(self) -> Self {
        Self { retain: true, ..self }
    }
}

/// A Topic Filter to subscribe to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Filter {
    /// Topic Filter.
    pub filter: String,
    /// Its options; 3.1.1 has only the QoS.
    pub options: SubscriptionOptions,
}

impl Filter {
    /// A filter with this Maximum QoS.
    pub fn new(filter: impl Into<String>, qos: QoS) -> Self {
        let options = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
        Self { filter: filter.into(), options }
    }
}

/// A message that the server delivered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Message {
    /// Topic Name, with its alias resolved.
    pub topic: String,
    /// Payload.
    pub payload: Bytes,
    /// QoS.
    pub qos: QoS,
    /// RETAIN.
    pub retain: bool,
    /// DUP.
    pub dup: bool,
    /// Present exactly when QoS is 1 or 2.
    pub packet_id: Option<PacketId>,
    /// MQTT 5 properties.
    pub properties: MessageProperties,
}

/// The server's CONNACK.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the standard's names")]
pub struct ConnAck {
    pub session_present: bool,
    /// Success for a connection that stands.
    pub reason_code: ReasonCode,
    pub session_expiry_interval: Option<u32>,
    pub receive_maximum: Option<NonZeroU16>,
    pub maximum_qos: Option<u8>,
    pub retain_available: Option<bool>,
    pub maximum_packet_size: Option<NonZeroU32>,
    pub assigned_client_identifier: Option<String>,
    pub topic_alias_maximum: Option<u16>,
    pub reason_string: Option<String>,
    pub wildcard_subscription_available: Option<bool>,
    pub subscription_identifiers_available: Option<bool>,
    pub shared_subscription_available: Option<bool>,
    pub server_keep_alive: Option<u16>,
    pub response_information: Option<String>,
    pub server_reference: Option<String>,
    pub user_properties: UserPropertyList,
}

impl ConnAck {
    pub(super) fn from_packet(packet: &bitts_mqtt::ConnAck<'_>) -> Self {
        let properties = &packet.properties;
        let text = |text: Option<&str>| text.map(ToOwned::to_owned);
        Self {
            session_present: packet.session_present,
            reason_code: packet.reason_code,
            session_expiry_interval: properties.session_expiry_interval,
            receive_maximum: properties.receive_maximum,
            maximum_qos: properties.maximum_qos,
            retain_available: properties.retain_available,
            maximum_packet_size: properties.maximum_packet_size,
            assigned_client_identifier: text(properties.assigned_client_identifier),
            topic_alias_maximum: properties.topic_alias_maximum,
            reason_string: text(properties.reason_string),
            wildcard_subscription_available: properties.wildcard_subscription_available,
            subscription_identifiers_available: properties.subscription_identifiers_available,
            shared_subscription_available: properties.shared_subscription_available,
            server_keep_alive: properties.server_keep_alive,
            response_information: text(properties.response_information),
            server_reference: text(properties.server_reference),
            user_properties: decode_user_properties(&properties.user_properties),
        }
    }
}

/// The server's answer to a SUBSCRIBE or an UNSUBSCRIBE.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answered {
    /// One code for each filter, in their order. UNSUBACK of 3.1.1 has none: Success for each.
    pub codes: Vec<ReasonCode>,
    /// Reason String.
    pub reason_string: Option<String>,
    /// User Properties.
    pub user_properties: UserPropertyList,
}

/// The server took a message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Published {
    /// Success, or No matching subscribers. Success at once for QoS 0.
    pub reason_code: ReasonCode,
    /// Reason String.
    pub reason_string: Option<String>,
    /// User Properties.
    pub user_properties: UserPropertyList,
}

/// A DISCONNECT, ours or the server's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Disconnect {
    /// Why. Default Success, Normal disconnection. Not sent in 3.1.1.
    pub reason_code: ReasonCode,
    /// Ours only: the session's new expiry in seconds.
    pub session_expiry_interval: Option<u32>,
    /// Reason String.
    pub reason_string: Option<String>,
    /// The server's only.
    pub server_reference: Option<String>,
    /// User Properties.
    pub user_properties: UserPropertyList,
}

impl Default for Disconnect {
    fn default() -> Self {
        Self {
            reason_code: ReasonCode::Success,
            session_expiry_interval: None,
            reason_string: None,
            server_reference: None,
            user_properties: Vec::new(),
        }
    }
}
