//! From packets to bytes. What a protocol version lacks is left out.

use crate::packet::{
    Ack, Auth, ConnAck, Connect, Disconnect, Packet, PacketId, ProtocolVersion, Publish, QoS,
    SubAck, SubscribeRequest, Will,
};
use crate::property::{Section, UserProperties, id, put_binary, put_text};
use crate::reason::ReasonCode;
use crate::varint;

/// Appends a packet. Strings and data beyond 65,535 bytes are cut there.
pub fn encode(packet: &Packet<'_>, version: ProtocolVersion, out: &mut Vec<u8>) {
    match packet {
        Packet::Connect(connect) => put(0x10, out, |out| put_connect(connect, out)),
        Packet::ConnAck(connack) => put(0x20, out, |out| put_connack(connack, version, out)),
        Packet::Publish(publish) => put_publish(publish, version, out),
        Packet::PubAck(ack) => put_ack(0x40, ack, version, out),
        Packet::PubRec(ack) => put_ack(0x50, ack, version, out),
        Packet::PubRel(ack) => put_ack(0x62, ack, version, out),
        Packet::PubComp(ack) => put_ack(0x70, ack, version, out),
        Packet::Subscribe(subscribe) => put(0x82, out, |out| {
            put_subscribe_head(
                version,
                subscribe.packet_id,
                subscribe.subscription_identifier,
                &subscribe.user_properties,
                out,
            );
            out.extend_from_slice(subscribe.payload);
        }),
        Packet::SubAck(suback) => put(0x90, out, |out| put_suback(suback, version, out)),
        Packet::Unsubscribe(unsubscribe) => put(0xA2, out, |out| {
            let id = unsubscribe.packet_id;
            put_subscribe_head(version, id, None, &unsubscribe.user_properties, out);
            out.extend_from_slice(unsubscribe.payload);
        }),
        // 3.1.1 acknowledges all filters at once.
        Packet::UnsubAck(unsuback) if version == ProtocolVersion::V3_1_1 => {
            put(0xB0, out, |out| put_id(unsuback.packet_id, out));
        }
        Packet::UnsubAck(unsuback) => put(0xB0, out, |out| put_suback(unsuback, version, out)),
        Packet::PingReq => out.extend_from_slice(&[0xC0, 0]),
        Packet::PingResp => out.extend_from_slice(&[0xD0, 0]),
        Packet::Disconnect(disconnect) => put_disconnect(disconnect, version, out),
        Packet::Auth(auth) => put_auth(auth, out),
    }
}

/// Appends a SUBSCRIBE for these filters.
pub fn encode_subscribe(
    version: ProtocolVersion,
    packet_id: PacketId,
    subscription_identifier: Option<u32>,
    requests: &[SubscribeRequest<'_>],
    out: &mut Vec<u8>,
) {
    put(0x82, out, |out| {
        let user = UserProperties::EMPTY;
        put_subscribe_head(version, packet_id, subscription_identifier, &user, out);
        for request in requests {
            put_text(request.filter, out);
            let options = request.options;
            let mut byte = options.qos as u8;
            if version == ProtocolVersion::V5 {
                byte |= u8::from(options.no_local) << 2;
                byte |= u8::from(options.retain_as_published) << 3;
                byte |= (options.retain_handling as u8) << 4;
            }
            out.push(byte);
        }
    });
}

/// Appends an UNSUBSCRIBE for these filters.
pub fn encode_unsubscribe(
    version: ProtocolVersion,
    packet_id: PacketId,
    filters: &[&str],
    out: &mut Vec<u8>,
) {
    put(0xA2, out, |out| {
        put_subscribe_head(version, packet_id, None, &UserProperties::EMPTY, out);
        for filter in filters {
            put_text(filter, out);
        }
    });
}

/// Appends a fixed header and the body that `body` writes.
fn put(first: u8, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.push(first);
    out.push(0);
    body(out);
    let len = out.len() - start - 2;
    if len < 0x80 {
        if let Some(place) = out.get_mut(start + 1) {
            *place = len as u8;
        }
        return;
    }
    let mut length = Vec::with_capacity(4);
    varint::write(len, &mut length);
    out.splice(start + 1..start + 2, length);
}

/// Appends a property section that `properties` writes.
fn put_properties(out: &mut Vec<u8>, properties: impl FnOnce(&mut Section<'_>)) {
    let start = out.len();
    out.push(0);
    properties(&mut Section { out });
    let len = out.len() - start - 1;
    if len < 0x80 {
        if let Some(place) = out.get_mut(start) {
            *place = len as u8;
        }
        return;
    }
    let mut length = Vec::with_capacity(4);
    varint::write(len, &mut length);
    out.splice(start..=start, length);
}

fn put_id(packet_id: PacketId, out: &mut Vec<u8>) {
    out.extend_from_slice(&packet_id.number().to_be_bytes());
}

fn put_connect(connect: &Connect<'_>, out: &mut Vec<u8>) {
    let is_mqtt5 = connect.version == ProtocolVersion::V5;
    put_text("MQTT", out);
    out.push(if is_mqtt5 { 5 } else { 4 });
    let mut flags = u8::from(connect.clean_start) << 1;
    if let Some(will) = &connect.will {
        flags |= 4 | (will.qos as u8) << 3 | u8::from(will.retain) << 5;
    }
    flags |= u8::from(connect.password.is_some()) << 6;
    flags |= u8::from(connect.username.is_some()) << 7;
    out.push(flags);
    out.extend_from_slice(&connect.keep_alive.to_be_bytes());
    if is_mqtt5 {
        put_properties(out, |section| connect.properties.write(section));
    }
    put_text(connect.client_id, out);
    if let Some(will) = &connect.will {
        put_will(will, is_mqtt5, out);
    }
    if let Some(username) = connect.username {
        put_text(username, out);
    }
    if let Some(password) = connect.password {
        put_binary(password, out);
    }
}

fn put_will(will: &Will<'_>, is_mqtt5: bool, out: &mut Vec<u8>) {
    if is_mqtt5 {
        put_properties(out, |section| {
            let delay = (will.delay_interval > 0).then_some(will.delay_interval);
            section.four(id::WILL_DELAY_INTERVAL, delay);
            will.properties.write(section);
        });
    }
    put_text(will.topic, out);
    put_binary(will.payload, out);
}

fn put_connack(connack: &ConnAck<'_>, version: ProtocolVersion, out: &mut Vec<u8>) {
    out.push(u8::from(connack.session_present));
    match version {
        ProtocolVersion::V3_1_1 => out.push(connack.reason_code.connect_return_code()),
        ProtocolVersion::V5 => {
            out.push(connack.reason_code.number());
            put_properties(out, |section| connack.properties.write(section));
        }
    }
}

fn put_publish(publish: &Publish<'_>, version: ProtocolVersion, out: &mut Vec<u8>) {
    let first =
        0x30 | u8::from(publish.dup) << 3 | (publish.qos as u8) << 1 | u8::from(publish.retain);
    put(first, out, |out| {
        put_text(publish.topic, out);
        if let Some(packet_id) = publish.packet_id {
            put_id(packet_id, out);
        }
        if version == ProtocolVersion::V5 {
            put_properties(out, |section| publish.properties.write(section));
        }
        out.extend_from_slice(publish.payload);
    });
}

fn put_ack(first: u8, ack: &Ack<'_>, version: ProtocolVersion, out: &mut Vec<u8>) {
    let has_properties = ack.reason_string.is_some() || !ack.user_properties.is_empty();
    let is_short = ack.reason_code == ReasonCode::Success && !has_properties;
    if version == ProtocolVersion::V3_1_1 || is_short {
        let [high, low] = ack.packet_id.number().to_be_bytes();
        out.extend_from_slice(&[first, 2, high, low]);
        return;
    }
    put(first, out, |out| {
        put_id(ack.packet_id, out);
        out.push(ack.reason_code.number());
        if has_properties {
            put_properties(out, |section| {
                section.text(id::REASON_STRING, ack.reason_string);
                section.user(&ack.user_properties);
            });
        }
    });
}

fn put_subscribe_head(
    version: ProtocolVersion,
    packet_id: PacketId,
    subscription_identifier: Option<u32>,
    user_properties: &UserProperties<'_>,
    out: &mut Vec<u8>,
) {
    put_id(packet_id, out);
    if version == ProtocolVersion::V5 {
        put_properties(out, |section| {
            if let Some(number) = subscription_identifier {
                section.variable(id::SUBSCRIPTION_IDENTIFIER, number);
            }
            section.user(user_properties);
        });
    }
}

fn put_suback(suback: &SubAck<'_>, version: ProtocolVersion, out: &mut Vec<u8>) {
    put_id(suback.packet_id, out);
    if version == ProtocolVersion::V5 {
        put_properties(out, |section| {
            section.text(id::REASON_STRING, suback.reason_string);
            section.user(&suback.user_properties);
        });
    }
    out.extend_from_slice(suback.codes);
}

/// [MQTT5 3.14.2.1]: only 0x00 may be left out.
fn put_disconnect(disconnect: &Disconnect<'_>, version: ProtocolVersion, out: &mut Vec<u8>) {
    let is_plain = disconnect.reason_code == ReasonCode::Success
        && disconnect.session_expiry_interval.is_none()
        && disconnect.reason_string.is_none()
        && disconnect.server_reference.is_none()
        && disconnect.user_properties.is_empty();
    if version == ProtocolVersion::V3_1_1 || is_plain {
        out.extend_from_slice(&[0xE0, 0]);
        return;
    }
    put(0xE0, out, |out| {
        out.push(disconnect.reason_code.number());
        put_properties(out, |section| {
            section.four(id::SESSION_EXPIRY_INTERVAL, disconnect.session_expiry_interval);
            section.text(id::REASON_STRING, disconnect.reason_string);
            section.text(id::SERVER_REFERENCE, disconnect.server_reference);
            section.user(&disconnect.user_properties);
        });
    });
}

fn put_auth(auth: &Auth<'_>, out: &mut Vec<u8>) {
    put(0xF0, out, |out| {
        out.push(auth.reason_code.number());
        put_properties(out, |section| {
            section.text(id::AUTHENTICATION_METHOD, auth.method);
            section.binary(id::AUTHENTICATION_DATA, auth.data);
            section.text(id::REASON_STRING, auth.reason_string);
            section.user(&auth.user_properties);
        });
    });
}

/// A PUBLISH to send, from parts that are encoded already where they can be.
#[derive(Clone, Copy, Debug)]
pub struct PublishFrame<'a> {
    /// The receiver's protocol.
    pub version: ProtocolVersion,
    /// DUP.
    pub dup: bool,
    /// QoS.
    pub qos: QoS,
    /// RETAIN.
    pub retain: bool,
    /// Topic Name; empty where the alias is known.
    pub topic: &'a str,
    /// Present exactly when QoS is 1 or 2.
    pub packet_id: Option<PacketId>,
    /// Topic Alias.
    pub topic_alias: Option<u16>,
    /// Message Expiry Interval that is left, in seconds.
    pub message_expiry_interval: Option<u32>,
    /// Subscription Identifiers.
    pub subscription_identifiers: &'a [u32],
    /// What [`crate::PublishProperties::encode_forwarded`] wrote.
    pub forwarded: &'a [u8],
    /// Payload.
    pub payload: &'a [u8],
}

impl PublishFrame<'_> {
    fn properties_len(&self) -> usize {
        let identifiers = self.subscription_identifiers.iter();
        let identifiers: usize = identifiers.map(|id| 1 + varint::len(*id as usize)).sum();
        let expiry = if self.message_expiry_interval.is_some() { 5 } else { 0 };
        let alias = if self.topic_alias.is_some() { 3 } else { 0 };
        expiry + alias + identifiers + self.forwarded.len()
    }

    fn remaining_len(&self) -> (usize, usize) {
        let id = if self.packet_id.is_some() { 2 } else { 0 };
        let plain = 2 + self.topic.len() + id + self.payload.len();
        if self.version == ProtocolVersion::V3_1_1 {
            return (plain, 0);
        }
        let properties = self.properties_len();
        (plain + varint::len(properties) + properties, properties)
    }

    /// Bytes of the whole packet.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let (remaining, _) = self.remaining_len();
        1 + varint::len(remaining) + remaining
    }

    /// Appends the packet; returns where in it the Packet Identifier stands, 0 for nowhere.
    ///
    /// Hot: once per delivery, or once per message where receivers do not differ.
    pub fn encode(&self, out: &mut Vec<u8>) -> usize {
        let packet_id_at = self.encode_head(out);
        out.extend_from_slice(self.payload);
        packet_id_at
    }

    /// The same without the payload, which is to follow.
    pub fn encode_head(&self, out: &mut Vec<u8>) -> usize {
        let (remaining, properties) = self.remaining_len();
        let start = out.len();
        out.reserve(remaining + 5 - self.payload.len());
        let flags = u8::from(self.dup) << 3 | (self.qos as u8) << 1 | u8::from(self.retain);
        out.push(0x30 | flags);
        varint::write(remaining, out);
        put_text(self.topic, out);
        let mut packet_id_at = 0;
        if let Some(packet_id) = self.packet_id {
            packet_id_at = out.len() - start;
            put_id(packet_id, out);
        }
        if self.version == ProtocolVersion::V5 {
            varint::write(properties, out);
            let mut section = Section { out };
            section.four(id::MESSAGE_EXPIRY_INTERVAL, self.message_expiry_interval);
            section.two(id::TOPIC_ALIAS, self.topic_alias);
            for number in self.subscription_identifiers {
                section.variable(id::SUBSCRIPTION_IDENTIFIER, *number);
            }
            out.extend_from_slice(self.forwarded);
        }
        packet_id_at
    }
}
