//! The Control Packets of MQTT 3.1.1 and 5, borrowed from the bytes they were decoded from.

use std::num::NonZeroU16;

use crate::property::{ConnAckProperties, ConnectProperties, PublishProperties, UserProperties};
use crate::reason::ReasonCode;

/// The protocol version a CONNECT asked for.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum ProtocolVersion {
    /// MQTT 3.1.1, protocol level 4.
    #[default]
    V3_1_1,
    /// MQTT 5.0, protocol level 5.
    V5,
}

/// Quality of Service.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum QoS {
    /// At most once.
    #[default]
    Zero = 0,
    /// At least once.
    One = 1,
    /// Exactly once.
    Two = 2,
}

impl QoS {
    /// The level for its number on the wire; 3 is malformed.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Zero),
            1 => Some(Self::One),
            2 => Some(Self::Two),
            _ => None,
        }
    }
}

/// A Packet Identifier; zero is not one [MQTT-2.2.1-3].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PacketId(pub NonZeroU16);

impl PacketId {
    /// The identifier with this number, unless it is zero.
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        match NonZeroU16::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0.get()
    }
}

/// The type of a Control Packet, bits 7-4 of its first byte.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
#[expect(missing_docs, reason = "the standard's names")]
pub enum PacketType {
    Connect = 1,
    ConnAck = 2,
    Publish = 3,
    PubAck = 4,
    PubRec = 5,
    PubRel = 6,
    PubComp = 7,
    Subscribe = 8,
    SubAck = 9,
    Unsubscribe = 10,
    UnsubAck = 11,
    PingReq = 12,
    PingResp = 13,
    Disconnect = 14,
    Auth = 15,
}

/// Any Control Packet.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the standard's names")]
pub enum Packet<'a> {
    Connect(Connect<'a>),
    ConnAck(ConnAck<'a>),
    Publish(Publish<'a>),
    PubAck(Ack<'a>),
    PubRec(Ack<'a>),
    PubRel(Ack<'a>),
    PubComp(Ack<'a>),
    Subscribe(Subscribe<'a>),
    SubAck(SubAck<'a>),
    Unsubscribe(Unsubscribe<'a>),
    /// In 3.1.1 it has no reason codes.
    UnsubAck(SubAck<'a>),
    PingReq,
    PingResp,
    Disconnect(Disconnect<'a>),
    Auth(Auth<'a>),
}

/// CONNECT.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Connect<'a> {
    /// Protocol level 4 or 5; any other is not decoded.
    pub version: ProtocolVersion,
    /// Clean Start (5) or Clean Session (3.1.1).
    pub clean_start: bool,
    /// Keep Alive in seconds; 0 turns it off.
    pub keep_alive: u16,
    /// May be empty.
    pub client_id: &'a str,
    /// The Will Message, if any.
    pub will: Option<Will<'a>>,
    /// User Name.
    pub username: Option<&'a str>,
    /// Password: binary data.
    pub password: Option<&'a [u8]>,
    /// All absent in 3.1.1.
    pub properties: ConnectProperties<'a>,
}

/// The Will of a CONNECT.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Will<'a> {
    /// Will Topic; a valid Topic Name.
    pub topic: &'a str,
    /// Will Payload.
    pub payload: &'a [u8],
    /// Will QoS.
    pub qos: QoS,
    /// Will Retain.
    pub retain: bool,
    /// Will Delay Interval in seconds, 0 where absent.
    pub delay_interval: u32,
    /// The properties the Will Message is published with; no alias, no Subscription Identifiers.
    pub properties: PublishProperties<'a>,
}

/// CONNACK.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnAck<'a> {
    /// Session Present.
    pub session_present: bool,
    /// In 3.1.1 encoded as the nearest return code (0 to 5).
    pub reason_code: ReasonCode,
    /// Not sent in 3.1.1.
    pub properties: ConnAckProperties<'a>,
}

/// PUBLISH.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Publish<'a> {
    /// DUP.
    pub dup: bool,
    /// QoS.
    pub qos: QoS,
    /// RETAIN.
    pub retain: bool,
    /// Topic Name; empty only with a Topic Alias.
    pub topic: &'a str,
    /// Present exactly when QoS is 1 or 2.
    pub packet_id: Option<PacketId>,
    /// All absent in 3.1.1.
    pub properties: PublishProperties<'a>,
    /// Application Message payload.
    pub payload: &'a [u8],
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Clone, Debug, PartialEq)]
pub struct Ack<'a> {
    /// The Packet Identifier acknowledged.
    pub packet_id: PacketId,
    /// Success in 3.1.1.
    pub reason_code: ReasonCode,
    /// Reason String.
    pub reason_string: Option<&'a str>,
    /// User Properties.
    pub user_properties: UserProperties<'a>,
}

impl Ack<'_> {
    /// An acknowledgement without properties.
    #[must_use]
    pub const fn new(packet_id: PacketId, reason_code: ReasonCode) -> Self {
        Self { packet_id, reason_code, reason_string: None, user_properties: UserProperties::EMPTY }
    }
}

/// How retained messages are sent when a subscription is made.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum RetainHandling {
    /// Send retained messages at the time of the subscribe.
    #[default]
    Send = 0,
    /// Send them only if the subscription does not exist yet.
    SendIfNew = 1,
    /// Do not send them.
    DoNotSend = 2,
}

/// Subscription Options; 3.1.1 has only the QoS.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct SubscriptionOptions {
    /// Maximum QoS.
    pub qos: QoS,
    /// No Local.
    pub no_local: bool,
    /// Retain As Published.
    pub retain_as_published: bool,
    /// Retain Handling.
    pub retain_handling: RetainHandling,
}

/// One Topic Filter of a SUBSCRIBE with its options.
///
/// The filter is a UTF-8 string without U+0000; whether it is a valid Topic Filter is for
/// [`crate::check_filter`], because a bad one costs its SUBACK code and not the connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SubscribeRequest<'a> {
    /// Topic Filter as sent.
    pub filter: &'a str,
    /// Its options.
    pub options: SubscriptionOptions,
}

/// SUBSCRIBE.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscribe<'a> {
    /// Packet Identifier.
    pub packet_id: PacketId,
    /// Subscription Identifier, 1 to 268,435,455.
    pub subscription_identifier: Option<u32>,
    /// User Properties.
    pub user_properties: UserProperties<'a>,
    /// The validated payload; iterate with [`Subscribe::requests`]. Never empty.
    pub(crate) payload: &'a [u8],
    /// The version decides how an options byte reads.
    pub(crate) version: ProtocolVersion,
}

/// SUBACK or UNSUBACK.
#[derive(Clone, Debug, PartialEq)]
pub struct SubAck<'a> {
    /// Packet Identifier.
    pub packet_id: PacketId,
    /// Reason String.
    pub reason_string: Option<&'a str>,
    /// User Properties.
    pub user_properties: UserProperties<'a>,
    /// One raw code for each filter; in 3.1.1 SUBACK 0, 1, 2 or 0x80, in 3.1.1 UNSUBACK empty.
    pub codes: &'a [u8],
}

/// UNSUBSCRIBE.
#[derive(Clone, Debug, PartialEq)]
pub struct Unsubscribe<'a> {
    /// Packet Identifier.
    pub packet_id: PacketId,
    /// User Properties.
    pub user_properties: UserProperties<'a>,
    /// The validated payload; iterate with [`Unsubscribe::filters`]. Never empty.
    pub(crate) payload: &'a [u8],
}

/// DISCONNECT.
#[derive(Clone, Debug, PartialEq)]
pub struct Disconnect<'a> {
    /// Normal disconnection (0x00) in 3.1.1.
    pub reason_code: ReasonCode,
    /// Session Expiry Interval in seconds.
    pub session_expiry_interval: Option<u32>,
    /// Reason String.
    pub reason_string: Option<&'a str>,
    /// Server Reference.
    pub server_reference: Option<&'a str>,
    /// User Properties.
    pub user_properties: UserProperties<'a>,
}

/// AUTH (MQTT 5).
#[derive(Clone, Debug, PartialEq)]
pub struct Auth<'a> {
    /// Success, Continue authentication or Re-authenticate.
    pub reason_code: ReasonCode,
    /// Authentication Method.
    pub method: Option<&'a str>,
    /// Authentication Data.
    pub data: Option<&'a [u8]>,
    /// Reason String.
    pub reason_string: Option<&'a str>,
    /// User Properties.
    pub user_properties: UserProperties<'a>,
}
