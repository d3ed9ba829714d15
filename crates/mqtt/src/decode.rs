//! From bytes to packets, for both protocol versions and both directions.
//!
//! Total: every frame gives a packet or one error. A packet borrows from its frame.

use crate::error::{DecodeError, Malformed};
use crate::frame::Frame;
use crate::packet::{
    Ack, Auth, ConnAck, Connect, Disconnect, Packet, PacketId, ProtocolVersion, Publish, QoS,
    RetainHandling, SubAck, Subscribe, SubscribeRequest, SubscriptionOptions, Unsubscribe, Will,
};
use crate::property::{
    ConnAckProperties, ConnectProperties, PublishProperties, UserProperties, Value, id,
    read_section,
};
use crate::read::Reader;
use crate::reason::ReasonCode;
use crate::topic;

/// Which protocol a first packet asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ConnectVersion {
    /// MQTT 3.1.1.
    V3_1_1,
    /// MQTT 5.
    V5,
    /// MQTT at a level we do not speak.
    Unsupported {
        /// The level it names.
        level: u8,
    },
    /// No CONNECT of any MQTT.
    NotMqtt,
}

/// Which protocol a frame asks for, if it is a CONNECT.
#[must_use]
pub fn connect_version(frame: &Frame<'_>) -> ConnectVersion {
    let mut reader = Reader::new(frame.body);
    let (Ok(name), Ok(level), 0x10) = (reader.binary(), reader.byte(), frame.first) else {
        return ConnectVersion::NotMqtt;
    };
    match (name, level) {
        (b"MQTT", 4) => ConnectVersion::V3_1_1,
        (b"MQTT", 5) => ConnectVersion::V5,
        (b"MQTT" | b"MQIsdp", level) => ConnectVersion::Unsupported { level },
        _ => ConnectVersion::NotMqtt,
    }
}

/// Decodes a packet of a connection that speaks `version`; a CONNECT says its own.
///
/// Hot: once per packet. No allocation.
pub fn decode<'a>(version: ProtocolVersion, frame: &Frame<'a>) -> Result<Packet<'a>, DecodeError> {
    let reader = Reader::new(frame.body);
    let flags = frame.first & 0x0F;
    let packet = match frame.first >> 4 {
        3 => Packet::Publish(publish(version, flags, reader)?),
        4 => Packet::PubAck(ack(version, reader, PUBACK_CODES)?),
        5 => Packet::PubRec(ack(version, reader, PUBACK_CODES)?),
        6 => Packet::PubRel(ack(version, reader, PUBREL_CODES)?),
        7 => Packet::PubComp(ack(version, reader, PUBREL_CODES)?),
        8 => Packet::Subscribe(subscribe(version, reader)?),
        9 => Packet::SubAck(suback(version, reader)?),
        10 => Packet::Unsubscribe(unsubscribe(version, reader)?),
        11 => Packet::UnsubAck(unsuback(version, reader)?),
        12 => {
            reader.end()?;
            Packet::PingReq
        }
        13 => {
            reader.end()?;
            Packet::PingResp
        }
        14 => Packet::Disconnect(disconnect(version, reader)?),
        15 if version == ProtocolVersion::V5 => Packet::Auth(auth(reader)?),
        1 => Packet::Connect(connect(reader)?),
        2 => Packet::ConnAck(connack(version, reader)?),
        _ => return Err(Malformed::PacketType.into()),
    };
    Ok(packet)
}

const PUBACK_CODES: &[u8] = &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
const PUBREL_CODES: &[u8] = &[0x00, 0x92];
const DISCONNECT_CODES: &[u8] = &[
    0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95,
    0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
];
const CONNACK_CODES: &[u8] = &[
    0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97,
    0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F,
];
const SUBACK_CODES: &[u8] =
    &[0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2];
const UNSUBACK_CODES: &[u8] = &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91];
const AUTH_CODES: &[u8] = &[0x00, 0x18, 0x19];

/// A Reason Code of those that a packet may carry.
fn reason(number: u8, allowed: &[u8]) -> Result<ReasonCode, Malformed> {
    let code = ReasonCode::from_number(number).filter(|_| allowed.contains(&number));
    code.ok_or(Malformed::ReasonCode)
}

/// [MQTT-2.2.1-3]
#[inline]
fn packet_id(reader: &mut Reader<'_>) -> Result<PacketId, Malformed> {
    PacketId::new(reader.two()?).ok_or(Malformed::PacketIdentifierZero)
}

fn connect(mut reader: Reader<'_>) -> Result<Connect<'_>, Malformed> {
    if reader.binary()? != b"MQTT" {
        return Err(Malformed::ProtocolName);
    }
    let version = match reader.byte()? {
        4 => ProtocolVersion::V3_1_1,
        5 => ProtocolVersion::V5,
        _ => return Err(Malformed::ProtocolLevel),
    };
    let flags = reader.byte()?;
    if flags & 1 != 0 {
        return Err(Malformed::ConnectFlags);
    }
    let is_set = |bit: u8| flags & (1 << bit) != 0;
    let (clean_start, has_will, will_retain) = (is_set(1), is_set(2), is_set(5));
    let (has_password, has_username) = (is_set(6), is_set(7));
    let will_qos = QoS::from_number((flags >> 3) & 3).ok_or(Malformed::WillFlags)?;
    if !has_will && (will_retain || will_qos != QoS::Zero) {
        return Err(Malformed::WillFlags);
    }
    let is_mqtt5 = version == ProtocolVersion::V5;
    if has_password && !has_username && !is_mqtt5 {
        return Err(Malformed::PasswordWithoutUserName);
    }
    let keep_alive = reader.two()?;
    let properties =
        if is_mqtt5 { ConnectProperties::read(&mut reader)? } else { ConnectProperties::default() };
    let client_id = reader.name()?;
    let will =
        if has_will { Some(will(&mut reader, is_mqtt5, will_qos, will_retain)?) } else { None };
    let username = if has_username { Some(reader.text()?) } else { None };
    let password = if has_password { Some(reader.binary()?) } else { None };
    reader.end()?;
    if client_id.is_empty() && !clean_start && !is_mqtt5 {
        return Err(Malformed::ClientIdentifierEmpty);
    }
    Ok(Connect {
        version,
        clean_start,
        keep_alive,
        client_id,
        will,
        username,
        password,
        properties,
    })
}

fn will<'a>(
    reader: &mut Reader<'a>,
    is_mqtt5: bool,
    qos: QoS,
    retain: bool,
) -> Result<Will<'a>, Malformed> {
    let (properties, delay_interval) =
        if is_mqtt5 { PublishProperties::read(reader, true)? } else { Default::default() };
    let topic = reader.name()?;
    topic::check_topic(topic).map_err(|_| Malformed::TopicName)?;
    let payload = reader.binary()?;
    Ok(Will { topic, payload, qos, retain, delay_interval, properties })
}

fn connack(version: ProtocolVersion, mut reader: Reader<'_>) -> Result<ConnAck<'_>, Malformed> {
    let flags = reader.byte()?;
    if flags > 1 {
        return Err(Malformed::AcknowledgeFlags);
    }
    let code = reader.byte()?;
    let (reason_code, properties) = match version {
        ProtocolVersion::V5 => {
            (reason(code, CONNACK_CODES)?, ConnAckProperties::read(&mut reader)?)
        }
        ProtocolVersion::V3_1_1 => {
            let code = match code {
                0 => ReasonCode::Success,
                1 => ReasonCode::UnsupportedProtocolVersion,
                2 => ReasonCode::ClientIdentifierNotValid,
                3 => ReasonCode::ServerUnavailable,
                4 => ReasonCode::BadUserNameOrPassword,
                5 => ReasonCode::NotAuthorized,
                _ => return Err(Malformed::ReasonCode),
            };
            (code, ConnAckProperties::default())
        }
    };
    reader.end()?;
    Ok(ConnAck { session_present: flags == 1, reason_code, properties })
}

#[inline]
fn publish(
    version: ProtocolVersion,
    flags: u8,
    mut reader: Reader<'_>,
) -> Result<Publish<'_>, Malformed> {
    let qos = QoS::from_number((flags >> 1) & 3).ok_or(Malformed::QoS)?;
    let dup = flags & 8 != 0;
    if dup && qos == QoS::Zero {
        return Err(Malformed::DupQoS0);
    }
    let topic = reader.name()?;
    let packet_id = if qos == QoS::Zero { None } else { Some(packet_id(&mut reader)?) };
    let properties = match version {
        ProtocolVersion::V5 => PublishProperties::read(&mut reader, false)?.0,
        ProtocolVersion::V3_1_1 => PublishProperties::default(),
    };
    if topic.is_empty() && properties.topic_alias.is_none() {
        return Err(Malformed::TopicNameEmpty);
    }
    if topic.bytes().any(|byte| matches!(byte, b'+' | b'#')) {
        return Err(Malformed::TopicName);
    }
    Ok(Publish {
        dup,
        qos,
        retain: flags & 1 != 0,
        topic,
        packet_id,
        properties,
        payload: reader.rest(),
    })
}

/// A Reason String and User Properties, which acknowledgements and AUTH share.
fn problem<'a>(
    reader: &mut Reader<'a>,
) -> Result<(Option<&'a str>, UserProperties<'a>), Malformed> {
    let mut reason_string = None;
    let user = read_section(reader, 0, |id, value| match (id, value) {
        (id::REASON_STRING, Value::Text(text)) => {
            reason_string = Some(text);
            Ok(())
        }
        _ => Err(Malformed::PropertyMisplaced),
    })?;
    Ok((reason_string, user))
}

#[inline]
fn ack<'a>(
    version: ProtocolVersion,
    mut reader: Reader<'a>,
    allowed: &[u8],
) -> Result<Ack<'a>, Malformed> {
    let packet_id = packet_id(&mut reader)?;
    let mut ack = Ack::new(packet_id, ReasonCode::Success);
    if version == ProtocolVersion::V5 && !reader.is_empty() {
        ack.reason_code = reason(reader.byte()?, allowed)?;
        if !reader.is_empty() {
            (ack.reason_string, ack.user_properties) = problem(&mut reader)?;
        }
    }
    reader.end()?;
    Ok(ack)
}

fn subscribe(version: ProtocolVersion, mut reader: Reader<'_>) -> Result<Subscribe<'_>, Malformed> {
    let packet_id = packet_id(&mut reader)?;
    let mut subscription_identifier = None;
    let mut user_properties = UserProperties::EMPTY;
    if version == ProtocolVersion::V5 {
        user_properties = read_section(&mut reader, 0, |id, value| match (id, value) {
            (id::SUBSCRIPTION_IDENTIFIER, Value::Variable(0)) => Err(Malformed::PropertyValue),
            (id::SUBSCRIPTION_IDENTIFIER, Value::Variable(number)) => {
                subscription_identifier = Some(number);
                Ok(())
            }
            _ => Err(Malformed::PropertyMisplaced),
        })?;
    }
    let payload = reader.rest();
    if payload.is_empty() {
        return Err(Malformed::NoFilters);
    }
    while !reader.is_empty() {
        subscribe_request(version, &mut reader)?;
    }
    Ok(Subscribe { packet_id, subscription_identifier, user_properties, payload, version })
}

fn subscribe_request<'a>(
    version: ProtocolVersion,
    reader: &mut Reader<'a>,
) -> Result<SubscribeRequest<'a>, Malformed> {
    let filter = reader.name()?;
    let byte = reader.byte()?;
    let reserved = if version == ProtocolVersion::V5 { 0xC0 } else { 0xFC };
    if byte & reserved != 0 {
        return Err(Malformed::SubscriptionOptions);
    }
    let retain_handling = match (byte >> 4) & 3 {
        0 => RetainHandling::Send,
        1 => RetainHandling::SendIfNew,
        2 => RetainHandling::DoNotSend,
        _ => return Err(Malformed::SubscriptionValue),
    };
    let options = SubscriptionOptions {
        qos: QoS::from_number(byte & 3).ok_or(Malformed::SubscriptionValue)?,
        no_local: byte & 4 != 0,
        retain_as_published: byte & 8 != 0,
        retain_handling,
    };
    if options.no_local && filter.starts_with("$share/") {
        return Err(Malformed::NoLocalShared);
    }
    Ok(SubscribeRequest { filter, options })
}

impl<'a> Subscribe<'a> {
    /// The Topic Filters with their options, in order.
    pub fn requests(&self) -> impl Iterator<Item = SubscribeRequest<'a>> + use<'a> {
        let mut reader = Reader::new(self.payload);
        let version = self.version;
        std::iter::from_fn(move || subscribe_request(version, &mut reader).ok())
    }

    /// How many Topic Filters there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.requests().count()
    }

    /// A decoded SUBSCRIBE has at least one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.payload.is_empty()
    }
}

impl<'a> Unsubscribe<'a> {
    /// The Topic Filters, in order.
    pub fn filters(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let mut reader = Reader::new(self.payload);
        std::iter::from_fn(move || reader.name().ok())
    }
}

fn unsubscribe(
    version: ProtocolVersion,
    mut reader: Reader<'_>,
) -> Result<Unsubscribe<'_>, Malformed> {
    let packet_id = packet_id(&mut reader)?;
    let mut user_properties = UserProperties::EMPTY;
    if version == ProtocolVersion::V5 {
        user_properties = read_section(&mut reader, 0, |_, _| Err(Malformed::PropertyMisplaced))?;
    }
    let payload = reader.rest();
    if payload.is_empty() {
        return Err(Malformed::NoFilters);
    }
    while !reader.is_empty() {
        reader.name()?;
    }
    Ok(Unsubscribe { packet_id, user_properties, payload })
}

fn suback(version: ProtocolVersion, mut reader: Reader<'_>) -> Result<SubAck<'_>, Malformed> {
    let packet_id = packet_id(&mut reader)?;
    let (reason_string, user_properties) = match version {
        ProtocolVersion::V5 => problem(&mut reader)?,
        ProtocolVersion::V3_1_1 => (None, UserProperties::EMPTY),
    };
    let codes = reader.rest();
    let allowed =
        if version == ProtocolVersion::V5 { SUBACK_CODES } else { &[0x00, 0x01, 0x02, 0x80] };
    if codes.is_empty() || codes.iter().any(|code| !allowed.contains(code)) {
        return Err(Malformed::ReasonCode);
    }
    Ok(SubAck { packet_id, reason_string, user_properties, codes })
}

fn unsuback(version: ProtocolVersion, mut reader: Reader<'_>) -> Result<SubAck<'_>, Malformed> {
    let packet_id = packet_id(&mut reader)?;
    let (reason_string, user_properties) = match version {
        ProtocolVersion::V5 => problem(&mut reader)?,
        ProtocolVersion::V3_1_1 => (None, UserProperties::EMPTY),
    };
    let codes = reader.rest();
    match version {
        ProtocolVersion::V3_1_1 => reader.end()?,
        ProtocolVersion::V5 => {
            if codes.is_empty() || codes.iter().any(|code| !UNSUBACK_CODES.contains(code)) {
                return Err(Malformed::ReasonCode);
            }
        }
    }
    Ok(SubAck { packet_id, reason_string, user_properties, codes })
}

fn disconnect(
    version: ProtocolVersion,
    mut reader: Reader<'_>,
) -> Result<Disconnect<'_>, Malformed> {
    let mut packet = Disconnect {
        reason_code: ReasonCode::Success,
        session_expiry_interval: None,
        reason_string: None,
        server_reference: None,
        user_properties: UserProperties::EMPTY,
    };
    if version == ProtocolVersion::V5 && !reader.is_empty() {
        packet.reason_code = reason(reader.byte()?, DISCONNECT_CODES)?;
        if !reader.is_empty() {
            packet.user_properties = read_section(&mut reader, 0, |id, value| {
                match (id, value) {
                    (id::SESSION_EXPIRY_INTERVAL, Value::Four(seconds)) => {
                        packet.session_expiry_interval = Some(seconds);
                    }
                    (id::REASON_STRING, Value::Text(text)) => packet.reason_string = Some(text),
                    (id::SERVER_REFERENCE, Value::Text(text)) => {
                        packet.server_reference = Some(text);
                    }
                    _ => return Err(Malformed::PropertyMisplaced),
                }
                Ok(())
            })?;
        }
    }
    reader.end()?;
    Ok(packet)
}

fn auth(mut reader: Reader<'_>) -> Result<Auth<'_>, Malformed> {
    let mut packet = Auth {
        reason_code: ReasonCode::Success,
        method: None,
        data: None,
        reason_string: None,
        user_properties: UserProperties::EMPTY,
    };
    if reader.is_empty() {
        return Ok(packet);
    }
    packet.reason_code = reason(reader.byte()?, AUTH_CODES)?;
    if !reader.is_empty() {
        packet.user_properties = read_section(&mut reader, 0, |id, value| {
            match (id, value) {
                (id::AUTHENTICATION_METHOD, Value::Text(text)) => packet.method = Some(text),
                (id::AUTHENTICATION_DATA, Value::Binary(data)) => packet.data = Some(data),
                (id::REASON_STRING, Value::Text(text)) => packet.reason_string = Some(text),
                _ => return Err(Malformed::PropertyMisplaced),
            }
            Ok(())
        })?;
    }
    reader.end()?;
    if packet.data.is_some() && packet.method.is_none() {
        return Err(Malformed::AuthenticationData);
    }
    Ok(packet)
}
