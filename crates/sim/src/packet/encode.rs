//! From [`Packet`] to bytes, right or wrong as the script wants it.

use super::{Kind, Packet, Property, Value, Version};

/// Appends a packet.
pub fn encode(packet: &Packet, version: Version, out: &mut Vec<u8>) {
    let mut body = Vec::new();
    match packet.kind {
        Kind::Connect => put_connect(packet, &mut body),
        Kind::ConnAck => {
            body.extend_from_slice(&[u8::from(packet.session_present), packet.code]);
            put_properties(&packet.properties, version, &mut body);
        }
        Kind::Publish => {
            put_binary(packet.topic.as_bytes(), &mut body);
            put_packet_id(packet, &mut body);
            put_properties(&packet.properties, version, &mut body);
            body.extend_from_slice(&packet.payload);
        }
        Kind::PubAck | Kind::PubRec | Kind::PubRel | Kind::PubComp => {
            put_packet_id(packet, &mut body);
            if packet.code != 0 || !packet.properties.is_empty() {
                put_reason(packet, &mut body);
            }
        }
        Kind::Subscribe | Kind::Unsubscribe => {
            put_packet_id(packet, &mut body);
            put_properties(&packet.properties, version, &mut body);
            for filter in &packet.filters {
                put_binary(filter.filter.as_bytes(), &mut body);
                if packet.kind == Kind::Subscribe {
                    body.push(filter.options);
                }
            }
        }
        Kind::SubAck | Kind::UnsubAck => {
            put_packet_id(packet, &mut body);
            put_properties(&packet.properties, version, &mut body);
            body.extend_from_slice(&packet.codes);
        }
        Kind::PingReq | Kind::PingResp => {}
        Kind::Disconnect | Kind::Auth => {
            if packet.code != 0 || !packet.properties.is_empty() {
                put_reason(packet, &mut body);
            }
        }
    }
    let flags = match packet.kind {
        Kind::Publish => {
            u8::from(packet.dup) << 3 | (packet.qos & 3) << 1 | u8::from(packet.retain)
        }
        kind => kind.flags(),
    };
    out.push((packet.kind as u8) << 4 | flags);
    put_variable(body.len() as u32, out);
    out.extend_from_slice(&body);
}

fn put_connect(packet: &Packet, out: &mut Vec<u8>) {
    put_binary(b"MQTT", out);
    out.push(if packet.version == Version::V5 { 5 } else { 4 });
    let mut flags = u8::from(packet.clean_start) << 1;
    if let Some(will) = &packet.will {
        flags |= 4 | (will.qos & 3) << 3 | u8::from(will.retain) << 5;
    }
    flags |= u8::from(packet.password.is_some()) << 6;
    flags |= u8::from(packet.username.is_some()) << 7;
    out.push(flags);
    out.extend_from_slice(&packet.keep_alive.to_be_bytes());
    put_properties(&packet.properties, packet.version, out);
    put_binary(packet.client_id.as_bytes(), out);
    if let Some(will) = &packet.will {
        put_properties(&will.properties, packet.version, out);
        put_binary(will.topic.as_bytes(), out);
        put_binary(&will.payload, out);
    }
    if let Some(username) = &packet.username {
        put_binary(username.as_bytes(), out);
    }
    if let Some(password) = &packet.password {
        put_binary(password, out);
    }
}

fn put_packet_id(packet: &Packet, out: &mut Vec<u8>) {
    if let Some(packet_id) = packet.packet_id {
        out.extend_from_slice(&packet_id.to_be_bytes());
    }
}

fn put_reason(packet: &Packet, out: &mut Vec<u8>) {
    out.push(packet.code);
    if !packet.properties.is_empty() {
        put_properties(&packet.properties, Version::V5, out);
    }
}

fn put_properties(properties: &[Property], version: Version, out: &mut Vec<u8>) {
    if version == Version::V3 {
        return;
    }
    let mut section = Vec::new();
    for property in properties {
        section.push(property.id);
        match &property.value {
            Value::Byte(value) => section.push(*value),
            Value::Two(value) => section.extend_from_slice(&value.to_be_bytes()),
            Value::Four(value) => section.extend_from_slice(&value.to_be_bytes()),
            Value::Variable(value) => put_variable(*value, &mut section),
            Value::Text(value) => put_binary(value.as_bytes(), &mut section),
            Value::Binary(value) => put_binary(value, &mut section),
            Value::Pair(name, value) => {
                put_binary(name.as_bytes(), &mut section);
                put_binary(value.as_bytes(), &mut section);
            }
        }
    }
    put_variable(section.len() as u32, out);
    out.extend_from_slice(&section);
}

fn put_binary(data: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(data.len() as u16).to_be_bytes());
    out.extend_from_slice(data);
}

/// Appends a Variable Byte Integer.
pub fn put_variable(value: u32, out: &mut Vec<u8>) {
    let mut rest = value;
    loop {
        let byte = (rest & 0x7F) as u8;
        rest >>= 7;
        out.push(if rest > 0 { byte | 0x80 } else { byte });
        if rest == 0 {
            return;
        }
    }
}
