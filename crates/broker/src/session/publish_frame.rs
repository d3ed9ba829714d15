//! A message as the PUBLISH of one receiver: encoded once for all that get the same.

use bitts_mqtt::{PacketId, ProtocolVersion, PublishFrame};

use super::Connection;
use super::outbound::{Delivery, Transit};
use crate::outbox::{Frame, Outbox};
use crate::time::{Moment, Now};

/// Payloads from this size on are in the outbox once, however their packets begin.
const TAIL_FROM: usize = 4 << 10;

/// Seconds until a message expires, rounded up, so that what is sent is never 0 [MQTT-3.3.2-6].
pub(super) fn remaining(expires_at: Option<Moment>, now: Moment) -> Option<u32> {
    let millis = expires_at?.millis_since(now);
    Some(u32::try_from(millis.div_ceil(1000)).unwrap_or(u32::MAX))
}

/// Encodes a PUBLISH for one receiver, or finds it encoded; none where the client takes no packet
/// this large [MQTT-3.1.2-24].
pub(super) fn write_publish(
    connection: &mut Connection,
    version: ProtocolVersion,
    (packet_id, is_gated): (Option<PacketId>, bool),
    now: Now,
    transit: &mut Transit<'_>,
    delivery: Delivery<'_>,
    out: &mut Outbox,
) -> Option<Frame> {
    // What waits at a gate may be overtaken, so it neither makes nor uses an alias.
    let alias = connection.outbound_aliases.as_deref().filter(|_| !is_gated);
    let alias = alias.and_then(|aliases| aliases.find(transit.topic));
    let is_common = alias.is_none() && delivery.identifiers.is_empty();
    let template = usize::from(version == ProtocolVersion::V5) * 6
        + delivery.qos as usize * 2
        + usize::from(delivery.retain);
    if is_common && let Some(Some(frame)) = transit.templates.get(template) {
        let packet_id = packet_id.map_or(0, PacketId::number);
        let frame = Frame { conn: connection.id, packet_id, ..*frame };
        return (frame.bytes() <= connection.packet_bytes_max).then_some(frame);
    }
    let mut publish = PublishFrame {
        version,
        dup: false,
        qos: delivery.qos,
        retain: delivery.retain,
        topic: if alias.is_some_and(|(_, known)| known) { "" } else { transit.topic },
        packet_id,
        topic_alias: alias.map(|(alias, _)| alias),
        message_expiry_interval: remaining(transit.expires_at, now.moment),
        subscription_identifiers: delivery.identifiers,
        forwarded: transit.properties,
        payload: transit.payload,
    };
    let maximum = connection.packet_bytes_max as usize;
    let mut is_new_alias = alias.is_some_and(|(_, known)| !known);
    if is_new_alias && publish.encoded_len() > maximum {
        // It may fit without.
        publish.topic_alias = None;
        is_new_alias = false;
    }
    if publish.encoded_len() > maximum {
        return None;
    }
    if let (true, Some(aliases)) = (is_new_alias, &mut connection.outbound_aliases) {
        aliases.told(transit.topic);
    }
    let frame = put_publish(connection, &publish, &mut transit.payload_at, out);
    if is_common && let Some(place) = transit.templates.get_mut(template) {
        *place = Some(frame);
    }
    Some(frame)
}

/// Encodes a PUBLISH; of a large one the payload is put into the outbox once.
pub(super) fn put_publish(
    connection: &Connection,
    publish: &PublishFrame<'_>,
    payload_at: &mut Option<u64>,
    out: &mut Outbox,
) -> Frame {
    let is_large = publish.payload.len() >= TAIL_FROM;
    let tail_start = if is_large {
        *payload_at.get_or_insert_with(|| {
            let start = out.bytes.len() as u64;
            out.bytes.extend_from_slice(publish.payload);
            start
        })
    } else {
        0
    };
    let start = out.bytes.len();
    let packet_id_at = publish.encode_head(&mut out.bytes);
    if !is_large {
        out.bytes.extend_from_slice(publish.payload);
    }
    Frame {
        conn: connection.id,
        start: start as u64,
        len: (out.bytes.len() - start) as u32,
        tail_start,
        tail_len: if is_large { publish.payload.len() as u32 } else { 0 },
        packet_id_at: packet_id_at as u32,
        packet_id: publish.packet_id.map_or(0, PacketId::number),
    }
}
