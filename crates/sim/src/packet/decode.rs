//! From the bytes of a server to [`Packet`], refusing what no server may send.

use super::property::{Type, type_of};
use super::{Kind, Packet, Property, Value, Version};

/// Why bytes of the server are not a packet that a client accepts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Broken(pub String);

type Result<T> = std::result::Result<T, Broken>;

fn broken<T>(why: &str) -> Result<T> {
    Err(Broken(why.to_owned()))
}

/// Bytes of the first packet; `None` where some are missing.
pub fn next_len(bytes: &[u8]) -> Result<Option<usize>> {
    let mut value = 0_usize;
    for (at, byte) in bytes.iter().skip(1).take(4).enumerate() {
        value |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            let len = 2 + at + value;
            return Ok((bytes.len() >= len).then_some(len));
        }
    }
    if bytes.len() >= 5 { broken("a Remaining Length of five bytes") } else { Ok(None) }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let Some((bytes, rest)) = self.0.split_at_checked(len) else {
            return broken("the packet ends inside a field");
        };
        self.0 = rest;
        Ok(bytes)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?.first().copied().unwrap_or_default())
    }

    fn two(&mut self) -> Result<u16> {
        Ok(self.take(2)?.iter().fold(0, |value, byte| value << 8 | u16::from(*byte)))
    }

    fn four(&mut self) -> Result<u32> {
        Ok(self.take(4)?.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
    }

    fn variable(&mut self) -> Result<u32> {
        let mut value = 0;
        for at in 0..4 {
            let byte = self.byte()?;
            value |= u32::from(byte & 0x7F) << (7 * at);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        broken("a Variable Byte Integer of five bytes")
    }

    fn binary(&mut self) -> Result<Vec<u8>> {
        let len = self.two()?;
        Ok(self.take(usize::from(len))?.to_vec())
    }

    fn text(&mut self) -> Result<String> {
        String::from_utf8(self.binary()?).map_err(|_| Broken("not UTF-8".to_owned()))
    }

    fn packet_id(&mut self) -> Result<Option<u16>> {
        match self.two()? {
            0 => broken("Packet Identifier 0"),
            id => Ok(Some(id)),
        }
    }

    fn properties(&mut self, kind: Kind) -> Result<Vec<Property>> {
        let len = self.variable()? as usize;
        let mut section = Reader(self.take(len)?);
        let mut properties: Vec<Property> = Vec::new();
        while !section.0.is_empty() {
            let id = section.byte()?;
            let Some(kind_of) = type_of(id) else { return broken("an unknown property") };
            if !is_sent_by_server(kind, id) {
                return broken("a property that is not for this packet");
            }
            if !Property::is_repeatable(id) && properties.iter().any(|held| held.id == id) {
                return broken("a property twice");
            }
            let value = match kind_of {
                Type::Byte => Value::Byte(section.byte()?),
                Type::Two => Value::Two(section.two()?),
                Type::Four => Value::Four(section.four()?),
                Type::Variable => Value::Variable(section.variable()?),
                Type::Text => Value::Text(section.text()?),
                Type::Binary => Value::Binary(section.binary()?),
                Type::Pair => Value::Pair(section.text()?, section.text()?),
            };
            properties.push(Property { id, value });
        }
        Ok(properties)
    }
}

/// [MQTT5 2.2.2.2], the packets a server sends.
fn is_sent_by_server(kind: Kind, id: u8) -> bool {
    match kind {
        Kind::ConnAck => matches!(
            id,
            0x11 | 0x12 | 0x13 | 0x15 | 0x16 | 0x1A | 0x1C | 0x1F | 0x21 | 0x22 | 0x24..=0x2A
        ),
        Kind::Publish => matches!(id, 0x01..=0x03 | 0x08 | 0x09 | 0x0B | 0x23 | 0x26),
        Kind::PubAck | Kind::PubRec | Kind::PubRel | Kind::PubComp => matches!(id, 0x1F | 0x26),
        Kind::SubAck | Kind::UnsubAck => matches!(id, 0x1F | 0x26),
        Kind::Disconnect => matches!(id, 0x1C | 0x1F | 0x26),
        Kind::Auth => matches!(id, 0x15 | 0x16 | 0x1F | 0x26),
        Kind::Connect | Kind::Subscribe | Kind::Unsubscribe | Kind::PingReq | Kind::PingResp => {
            false
        }
    }
}

/// Decodes one whole packet from a server.
pub fn decode(bytes: &[u8], version: Version) -> Result<Packet> {
    let Some(len) = next_len(bytes)?.filter(|len| *len == bytes.len()) else {
        return broken("not one whole packet");
    };
    let first = bytes.first().copied().unwrap_or_default();
    let Some(kind) = Kind::from_number(first >> 4) else { return broken("a reserved type") };
    if kind != Kind::Publish && first & 0x0F != kind.flags() {
        return broken("flags of the fixed header");
    }
    let head = 1 + bytes.iter().skip(1).position(|byte| byte & 0x80 == 0).unwrap_or(0) + 1;
    let mut reader = Reader(bytes.get(head..len).unwrap_or_default());
    let mut packet = Packet::new(kind);
    match kind {
        Kind::ConnAck => connack(&mut packet, &mut reader, version)?,
        Kind::Publish => publish(&mut packet, &mut reader, version, first & 0x0F)?,
        Kind::PubAck | Kind::PubRec | Kind::PubRel | Kind::PubComp => {
            packet.packet_id = reader.packet_id()?;
            reason(&mut packet, &mut reader, version)?;
        }
        Kind::SubAck | Kind::UnsubAck => {
            packet.packet_id = reader.packet_id()?;
            if version == Version::V5 {
                packet.properties = reader.properties(kind)?;
            }
            if version == Version::V5 || kind == Kind::SubAck {
                packet.codes = std::mem::take(&mut reader.0).to_vec();
                if packet.codes.is_empty() {
                    return broken("no reason code");
                }
            }
        }
        Kind::PingResp => {}
        Kind::Disconnect | Kind::Auth if version == Version::V5 => {
            reason(&mut packet, &mut reader, version)?;
        }
        Kind::Connect
        | Kind::Subscribe
        | Kind::Unsubscribe
        | Kind::PingReq
        | Kind::Disconnect
        | Kind::Auth => return broken("a packet that a server does not send"),
    }
    if reader.0.is_empty() { Ok(packet) } else { broken("bytes behind the last field") }
}

fn connack(packet: &mut Packet, reader: &mut Reader<'_>, version: Version) -> Result<()> {
    match reader.byte()? {
        0 => {}
        1 => packet.session_present = true,
        _ => return broken("Connect Acknowledge Flags"),
    }
    packet.code = reader.byte()?;
    if packet.session_present && packet.code != 0 {
        return broken("Session Present with a refusal");
    }
    if version == Version::V5 {
        packet.properties = reader.properties(Kind::ConnAck)?;
    }
    Ok(())
}

fn publish(
    packet: &mut Packet,
    reader: &mut Reader<'_>,
    version: Version,
    flags: u8,
) -> Result<()> {
    packet.dup = flags & 8 != 0;
    packet.qos = (flags >> 1) & 3;
    packet.retain = flags & 1 != 0;
    if packet.qos == 3 || (packet.dup && packet.qos == 0) {
        return broken("QoS or DUP of a PUBLISH");
    }
    packet.topic = reader.text()?;
    if packet.topic.contains(['+', '#']) {
        return broken("a wildcard in a Topic Name");
    }
    if packet.qos > 0 {
        packet.packet_id = reader.packet_id()?;
    }
    if version == Version::V5 {
        packet.properties = reader.properties(Kind::Publish)?;
    }
    if packet.topic.is_empty() && packet.number("topic_alias").is_none() {
        return broken("an empty Topic Name");
    }
    packet.payload = std::mem::take(&mut reader.0).to_vec();
    Ok(())
}

fn reason(packet: &mut Packet, reader: &mut Reader<'_>, version: Version) -> Result<()> {
    if version == Version::V5 && !reader.0.is_empty() {
        packet.code = reader.byte()?;
        if !reader.0.is_empty() {
            packet.properties = reader.properties(packet.kind)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        let mut packet = Packet { topic: "a/b".into(), qos: 1, ..Packet::new(Kind::Publish) };
        packet.packet_id = Some(7);
        packet.payload = vec![b'x'; 300];
        packet.properties.push(Property { id: 0x0B, value: Value::Variable(200) });
        packet.properties.push(Property { id: 0x26, value: Value::Pair("n".into(), "v".into()) });
        let mut bytes = Vec::new();
        super::super::encode(&packet, Version::V5, &mut bytes);
        assert_eq!(next_len(&bytes), Ok(Some(bytes.len())));
        assert_eq!(decode(&bytes, Version::V5), Ok(packet));
    }

    #[test]
    fn an_unsuback_of_3_1_1_has_no_codes() {
        assert!(decode(&[0xB0, 3, 0, 1, 0], Version::V3).is_err());
        assert!(decode(&[0xB0, 2, 0, 1], Version::V3).is_ok());
    }
}
