//! The decoder is total, takes exactly its frame, and what it understood can be said again.

use bitts_mqtt::{Frame, Packet, ProtocolVersion, PublishProperties, decode, encode};

/// Largest packet that the targets take, in bytes.
const PACKET_BYTES_MAX: usize = 1 << 20;

/// A packet of a 3.1.1 connection.
pub fn decode_v4(data: &[u8]) {
    decode_first(ProtocolVersion::V3_1_1, data);
}

/// A packet of an MQTT 5 connection.
pub fn decode_v5(data: &[u8]) {
    decode_first(ProtocolVersion::V5, data);
}

/// Where packets end: however few bytes are there, a packet is missing, whole or refused, and what
/// was decided once stays so when more bytes come.
pub fn split(data: &[u8]) {
    let mut decided = None;
    for end in 0..=data.len().min(64) {
        let outcome = bitts_mqtt::split(data.get(..end).unwrap_or_default(), PACKET_BYTES_MAX);
        let outcome = outcome.map(|frame| frame.map(|frame| (frame.first, frame.len)));
        match (decided, outcome) {
            (None, Ok(None)) => {}
            (None, other) => {
                if let Ok(Some((_, len))) = other {
                    assert_eq!(len, end, "a packet is whole with its last byte");
                }
                decided = Some(other);
            }
            (Some(before), after) => assert_eq!(before, after, "{end} bytes change the outcome"),
        }
    }
    let mut rest = data;
    while let Ok(Some(frame)) = bitts_mqtt::split(rest, PACKET_BYTES_MAX) {
        assert!(frame.len >= 2 && frame.len <= rest.len() && frame.body.len() < frame.len);
        rest = rest.get(frame.len..).unwrap_or_default();
    }
}

/// A property section in every packet that has one.
pub fn properties(data: &[u8]) {
    let Some((kind, section)) = data.split_first() else { return };
    let mut section_with_len = Vec::new();
    crate::packet::put_variable(section.len() as u32, &mut section_with_len);
    section_with_len.extend_from_slice(section);
    let with = |before: &[u8], after: &[u8]| [before, &section_with_len, after].concat();
    let (first, body) = match kind % 11 {
        0 => (0x10, with(b"\0\x04MQTT\x05\x02\0\x0A", b"\0\x01c")),
        1 => (
            0x10,
            [b"\0\x04MQTT\x05\x06\0\x0A\0\0\x01c".to_vec(), with(b"", b"\0\x01w\0\0")].concat(),
        ),
        2 => (0x20, with(b"\0\0", b"")),
        3 => (0x30, with(b"\0\x01t", b"payload")),
        4 => (0x30, with(b"\0\0", b"payload")),
        5 => (0x40, with(b"\0\x01\0", b"")),
        6 => (0x62, with(b"\0\x01\0", b"")),
        7 => (0x82, with(b"\0\x01", b"\0\x01f\0")),
        8 => (0xA2, with(b"\0\x01", b"\0\x01f")),
        9 => (0xE0, with(b"\0", b"")),
        _ => (0xF0, with(b"\0", b"")),
    };
    let frame = Frame { first, body: &body, len: 2 + body.len() };
    decode_frame(ProtocolVersion::V5, &frame);
}

fn decode_first(version: ProtocolVersion, data: &[u8]) {
    let Ok(Some(frame)) = bitts_mqtt::split(data, PACKET_BYTES_MAX) else { return };
    let header = frame.len - frame.body.len();
    assert_eq!(data.get(header..frame.len), Some(frame.body), "a frame is a part of what came");
    decode_frame(version, &frame);
}

/// Decodes, and says what was understood again: the same packet, and the same bytes ever after.
fn decode_frame(version: ProtocolVersion, frame: &Frame<'_>) {
    let packet = match decode(version, frame) {
        Ok(packet) => packet,
        Err(error) => {
            assert!(error.reason_code().number() >= 0x80, "{error:?} is no error to its sender");
            return;
        }
    };
    look_at(&packet);
    let again = encoded(version, &packet);
    let second = bitts_mqtt::split(&again, usize::MAX);
    let Ok(Some(second)) = second else { panic!("{packet:?} becomes {again:02x?}: {second:?}") };
    assert_eq!(second.len, again.len(), "{packet:?}");
    match decode(version, &second) {
        Ok(same) => {
            assert_eq!(packet, same);
            assert_eq!(encoded(version, &same), again);
        }
        Err(error) => panic!("{packet:?} becomes {again:02x?}: {error:?}"),
    }
}

fn encoded(version: ProtocolVersion, packet: &Packet<'_>) -> Vec<u8> {
    let version = if let Packet::Connect(connect) = packet { connect.version } else { version };
    let mut bytes = Vec::new();
    encode(packet, version, &mut bytes);
    bytes
}

/// Reads everything that is read only when somebody asks.
fn look_at(packet: &Packet<'_>) {
    match packet {
        Packet::Subscribe(subscribe) => {
            assert!(!subscribe.is_empty());
            assert_eq!(subscribe.requests().count(), subscribe.len());
        }
        Packet::Unsubscribe(unsubscribe) => assert!(unsubscribe.filters().count() > 0),
        Packet::Publish(publish) => {
            assert_eq!(publish.packet_id.is_some(), publish.qos as u8 > 0);
            forward(&publish.properties);
        }
        Packet::Connect(connect) => {
            connect.will.iter().for_each(|will| forward(&will.properties));
        }
        _ => {}
    }
}

/// What is forwarded can be read back.
fn forward(properties: &PublishProperties<'_>) {
    let mut bytes = Vec::new();
    properties.encode_forwarded(&mut bytes);
    let back = PublishProperties::from_forwarded(&bytes);
    let pairs = |properties: &PublishProperties<'_>| {
        let pairs = properties.user_properties.iter();
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect::<Vec<_>>()
    };
    assert_eq!(pairs(&back), pairs(properties));
    assert_eq!(back.payload_format_indicator, properties.payload_format_indicator);
    assert_eq!(back.response_topic, properties.response_topic);
    assert_eq!(back.correlation_data, properties.correlation_data);
    assert_eq!(back.content_type, properties.content_type);
}
