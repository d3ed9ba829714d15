//! What clients do with what comes.

use serde_json::Value;

use super::client::{SessionIs, Taken, Until};
use super::{Asked, MONITOR, World, shares};
use crate::packet::{self, Kind, Packet, Version};

impl World {
    /// A client looks at some of what came; whether there was anything.
    pub(super) fn read(&mut self, client: usize, most: usize) -> Result<bool, String> {
        let Some(held) = self.clients.get_mut(client) else { return Ok(false) };
        let Some(link) = held.link else { return Ok(false) };
        held.bytes.extend(self.machine.read(link));
        while let Some(len) = packet::next_len(&held.bytes).map_err(|broken| broken.0)? {
            let bytes: Vec<u8> = held.bytes.drain(..len).collect();
            held.unread.push_back(packet::decode(&bytes, held.version).map_err(|it| it.0)?);
        }
        let mut has_read = false;
        for _ in 0..most {
            let held = self.clients.get_mut(client).filter(|held| held.link == Some(link));
            let Some(packet) = held.and_then(|held| held.unread.pop_front()) else { break };
            has_read = true;
            self.note(|| format!("    -> client {client} {link:?}: {packet}"));
            self.read_one(client, packet)?;
        }
        let held = self.clients.get_mut(client).filter(|held| held.link == Some(link));
        if let Some(held) = held.filter(|held| held.unread.is_empty())
            && self.machine.ended(link).is_some()
        {
            held.leave();
            return Ok(true);
        }
        Ok(has_read)
    }

    fn read_one(&mut self, client: usize, packet: Packet) -> Result<(), String> {
        let packet_id = packet.packet_id.unwrap_or_default();
        match packet.kind {
            Kind::ConnAck => self.on_connack(client, &packet),
            Kind::Publish => self.on_publish(client, &packet),
            Kind::PubAck => self.on_acknowledged(client, &packet, 1),
            Kind::PubRec => self.on_acknowledged(client, &packet, 2),
            Kind::PubRel => {
                if let Some(held) = self.clients.get_mut(client) {
                    held.received.remove(&packet_id);
                }
                self.send(client, &Packet::ack(Kind::PubComp, packet_id, 0));
                Ok(())
            }
            Kind::PubComp => {
                if let Some(held) = self.clients.get_mut(client)
                    && let Some(at) = held.outgoing_at(packet.packet_id, 2)
                {
                    held.outgoing.remove(at);
                }
                Ok(())
            }
            Kind::SubAck | Kind::UnsubAck => self.on_suback(client, &packet),
            Kind::PingResp | Kind::Disconnect => Ok(()),
            _ => Err(format!("client {client} got {packet}")),
        }
    }

    /// D1: a session that CONNACK told of is there until something ends it.
    fn on_connack(&mut self, client: usize, packet: &Packet) -> Result<(), String> {
        let unix_ms = self.machine.now().unix_ms;
        let Some(held) = self.clients.get_mut(client) else { return Ok(()) };
        if packet.code != 0 {
            return Err(format!("client {client} is refused: {packet}"));
        }
        held.is_connected = true;
        let maximum = packet.number("receive_maximum").unwrap_or(65_535);
        held.window = if held.version == Version::V5 { maximum as usize } else { 65_535 };
        let asked_clean_start = held.asked_clean_start;
        // What was written before a deletion says nothing of what is behind it.
        let is_stale = held.links.len() <= held.sure_from;
        let session = if is_stale { SessionIs::Unsure } else { held.session };
        match (session, packet.session_present) {
            (_, true) if asked_clean_start => {
                return Err(format!("client {client} asked for Clean Start and got {packet}"));
            }
            (SessionIs::There, false) => {
                return Err(format!("the session of client {client} is lost"));
            }
            (SessionIs::Gone, true) => {
                return Err(format!("the session of client {client} was deleted, and is there"));
            }
            (_, true) => {}
            (SessionIs::Gone | SessionIs::Unsure, false) => {
                for number in held.begin_session() {
                    if let Some(sent) = self.messages.get_mut(number) {
                        sent.is_given_up = true;
                    }
                }
                self.taken.retain(|(taker, _), _| *taker != client);
            }
        }
        // A CONNECT that was left behind may still arrive, and end this session.
        let mut others = held.links.iter().rev().skip(1);
        let is_last = others.all(|link| self.machine.ended(*link).is_some());
        let is_sure =
            (is_last && !held.is_deleting && held.links.len() > held.sure_from) || held.is_member();
        held.session = if is_sure { SessionIs::There } else { SessionIs::Unsure };
        held.is_in_doubt &= !(is_sure && asked_clean_start);
        if let Some(will) = held.will.and_then(|at| self.wills.get_mut(at)) {
            will.is_set = true;
        }
        // D8: it was connected when the process died, and is back in time.
        if let Some((until, will)) = held.was_connected.take()
            && unix_ms < until
            && packet.session_present
            && let Some(will) = self.wills.get_mut(will)
        {
            if will.published > 0 {
                return Err(format!("a Will was published though its client is back: {will:?}"));
            }
            will.is_averted = true;
        }
        self.send_again(client);
        if client == MONITOR {
            self.subscribe_to(MONITOR, "w/#".to_owned(), 2);
        }
        if client == self.first_member {
            self.join_all(client);
        }
        Ok(())
    }

    /// [MQTT-4.4.0-1]
    fn send_again(&mut self, client: usize) {
        let Some(held) = self.clients.get(client) else { return };
        let mut packets = Vec::new();
        for held in &held.outgoing {
            let packet_id = held.packet.packet_id.unwrap_or_default();
            if held.released {
                packets.push(Packet::ack(Kind::PubRel, packet_id, 0));
                continue;
            }
            packets.push(Packet { dup: true, ..held.packet.clone() });
            if let Some(sent) = self.messages.get_mut(held.number) {
                sent.attempts += 1;
            }
        }
        for packet in packets {
            self.send(client, &packet);
        }
    }

    fn on_publish(&mut self, client: usize, packet: &Packet) -> Result<(), String> {
        let packet_id = packet.packet_id.unwrap_or_default();
        let Some(held) = self.clients.get_mut(client) else { return Ok(()) };
        let is_new = packet.qos < 2 || held.received.insert(packet_id);
        if is_new {
            self.take(client, packet)?;
        }
        match packet.qos {
            1 => self.send(client, &Packet::ack(Kind::PubAck, packet_id, 0)),
            2 => self.send(client, &Packet::ack(Kind::PubRec, packet_id, 0)),
            _ => {}
        }
        Ok(())
    }

    fn take(&mut self, client: usize, packet: &Packet) -> Result<(), String> {
        let text = String::from_utf8_lossy(&packet.payload);
        let kind = text.chars().next().unwrap_or_default();
        let number = text.get(1..).and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
        let number = number.ok_or_else(|| format!("client {client} got {packet}"))?;
        if kind == 'w' && client != MONITOR {
            return Ok(());
        }
        if kind == 'w' {
            let will = self.wills.get_mut(number);
            let will = will.ok_or_else(|| format!("client {client} got {packet}"))?;
            will.published += 1;
            if will.published > 1 {
                return Err(format!("Will w{number} was published twice: {will:?}"));
            }
            if will.is_averted {
                return Err(format!("Will w{number} was published though its client is back"));
            }
            return Ok(());
        }
        let sent = self.messages.get(number).filter(|sent| sent.topic == packet.topic);
        let sent = sent.ok_or_else(|| format!("client {client} got {packet}"))?;
        if shares::TOPICS.contains(&sent.topic.as_str()) {
            self.take_shared(client, number, packet)?;
        } else {
            // What was delivered at QoS 1 the crash may have forgotten.
            let times = self.taken.entry((client, number)).or_default();
            *times += usize::from(packet.qos == 2);
            let most = if sent.qos == 2 { 1 } else { sent.attempts };
            if packet.qos == 2 && *times > most {
                return Err(format!("client {client} took m{number} {times} times: {sent:?}"));
            }
        }
        if let Some(held) = self.clients.get_mut(client) {
            held.taken.push(Taken { number, qos: packet.qos });
        }
        Ok(())
    }

    fn on_acknowledged(&mut self, client: usize, packet: &Packet, qos: u8) -> Result<(), String> {
        let Some(held) = self.clients.get_mut(client) else { return Ok(()) };
        let Some(at) = held.outgoing_at(packet.packet_id, qos) else { return Ok(()) };
        let is_refused = packet.code >= 0x80;
        let Some(outgoing) = held.outgoing.get_mut(at) else { return Ok(()) };
        let number = outgoing.number;
        outgoing.released = qos == 2;
        if qos == 1 || is_refused {
            held.outgoing.remove(at);
        }
        if let Some(sent) = self.messages.get_mut(number) {
            sent.is_acked |= !is_refused;
            sent.is_given_up |= is_refused;
        }
        if qos == 2 && !is_refused {
            let packet_id = packet.packet_id.unwrap_or_default();
            self.send(client, &Packet::ack(Kind::PubRel, packet_id, 0));
        }
        Ok(())
    }

    fn on_suback(&mut self, client: usize, packet: &Packet) -> Result<(), String> {
        let at = self.at;
        let Some(held) = self.clients.get_mut(client) else { return Ok(()) };
        let packet_id = packet.packet_id.unwrap_or_default();
        let filter = held.asked.remove(&packet_id);
        let filter = filter.ok_or_else(|| format!("client {client} got {packet}"))?;
        let Some(promised) = held.held.get_mut(&filter) else { return Ok(()) };
        if packet.kind == Kind::UnsubAck {
            promised.until = Until::Over(at);
        } else if packet.codes.iter().any(|code| *code > 2) {
            return Err(format!("client {client} is refused {filter}"));
        } else {
            promised.from = Some(at);
        }
        Ok(())
    }

    pub(super) fn take_answers(&mut self) -> Result<(), String> {
        for (asked, answer) in std::mem::take(&mut self.asking) {
            let Some((status, body)) = self.machine.answer(&answer) else {
                self.asking.push((asked, answer));
                continue;
            };
            self.note(|| format!("    -> api {status} {asked:?}"));
            self.take_answer(asked, status, &body)?;
        }
        Ok(())
    }

    fn take_answer(&mut self, asked: Asked, status: u16, body: &Value) -> Result<(), String> {
        match asked {
            Asked::Publish(number) => {
                if let Some(sent) = self.messages.get_mut(number) {
                    sent.is_acked = status == 200;
                    sent.is_given_up = status != 200;
                }
            }
            Asked::Shadow { thing, value } => {
                let Some(shadow) = self.shadows.get_mut(thing) else { return Ok(()) };
                if status != 200 {
                    shadow.open.retain(|open| *open != value);
                    return Ok(());
                }
                let version = body.get("version").and_then(Value::as_u64).unwrap_or_default();
                if version <= shadow.version {
                    return Err(format!("shadow {thing}: {version} behind {shadow:?}"));
                }
                // Those before it were taken or lost.
                shadow.open.retain(|open| *open > value);
                (shadow.version, shadow.value) = (version, Some(value));
            }
            Asked::Delete { client, connects } => {
                let Some(held) = self.clients.get_mut(client) else { return Ok(()) };
                held.is_deleting = false;
                // A connection that was under way may have made another session.
                let is_away = held.links.iter().all(|link| self.machine.ended(*link).is_some());
                if (status == 200 || status == 404) && is_away && connects == Some(held.links.len())
                {
                    held.session = SessionIs::Gone;
                }
                held.sure_from = held.links.len();
            }
        }
        Ok(())
    }
}
