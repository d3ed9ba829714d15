//! What clients do with what comes.

use super::client::Stage;
use super::history::{ConnectionFacts, Delivery, Event, Held, History, SessionFacts};
use super::{MONITOR, World};
use crate::packet::{Kind, Packet, Version};

impl World {
    /// A client looks at some of what came.
    pub(super) fn read_some(&mut self, client: usize) -> Result<(), String> {
        let most = self.clients.get(client).map_or(0, |held| held.unread.len());
        let most = if client == MONITOR || self.is_resting {
            most
        } else {
            most.min(1 + self.workload.below(6))
        };
        for _ in 0..most {
            let packet = self.clients.get_mut(client).and_then(|held| held.unread.pop_front());
            let Some(packet) = packet else { break };
            self.read_one(client, packet)?;
        }
        let Some(held) = self.clients.get(client) else { return Ok(()) };
        if let Some(link) = held.link
            && held.unread.is_empty()
            && self.machine.ended(link).is_some()
            && let Some(held) = self.clients.get_mut(client)
        {
            held.leave();
        }
        Ok(())
    }

    fn read_one(&mut self, client: usize, packet: Packet) -> Result<(), String> {
        match packet.kind {
            Kind::ConnAck => self.on_connack(client, &packet)?,
            Kind::Publish => self.on_publish(client, packet)?,
            Kind::PubAck => self.on_acknowledged(client, &packet, 1),
            Kind::PubRec => self.on_acknowledged(client, &packet, 2),
            Kind::PubRel => {
                let packet_id = packet.packet_id.unwrap_or_default();
                if let Some(held) = self.clients.get_mut(client) {
                    held.received.remove(&packet_id);
                }
                self.acknowledge(client, Kind::PubComp, packet_id);
            }
            Kind::PubComp => {
                if let Some(held) = self.clients.get_mut(client) {
                    let done = held.outgoing_at(packet.packet_id, 2);
                    done.map(|at| held.outgoing.remove(at));
                }
            }
            Kind::SubAck => self.on_suback(client, &packet)?,
            Kind::UnsubAck => {
                if let Some(held) = self.clients.get_mut(client) {
                    held.unsubscribing.remove(&packet.packet_id.unwrap_or_default());
                }
            }
            Kind::PingResp | Kind::Disconnect => {}
            _ => return Err(format!("client {client} got {packet}")),
        }
        Ok(())
    }

    fn on_connack(&mut self, client: usize, packet: &Packet) -> Result<(), String> {
        if packet.code != 0 {
            return Err(format!("client {client} is refused: {packet}"));
        }
        let Some(held) = self.clients.get_mut(client) else { return Ok(()) };
        let Some(link) = held.link else { return Ok(()) };
        held.stage = Stage::Connected;
        held.left_early.retain(|link| self.machine.ended(*link).is_none());
        held.is_in_doubt &= !held.left_early.is_empty();
        let maximum = packet.number("receive_maximum").unwrap_or(65_535);
        held.window = if held.version == Version::V5 { maximum as usize } else { 65_535 };
        if packet.session_present && held.asked.clean_start {
            return Err(format!("client {client} asked for Clean Start and got {packet}"));
        }
        let persistent = held.asked.expiry > 0;
        let session_present = packet.session_present;
        if !session_present {
            held.begin_session();
            if let Some(old) = held.session.and_then(|at| self.history.sessions.get_mut(at)) {
                old.is_over = true;
            }
            self.history.sessions.push(SessionFacts { client, ..SessionFacts::default() });
            held.session = Some(self.history.sessions.len() - 1);
        }
        let session = held.session.and_then(|at| self.history.sessions.get_mut(at));
        let Some(session) = session else {
            return Err(format!("client {client} has no session, and got {packet}"));
        };
        session.persistent = persistent;
        self.history.connections.push(ConnectionFacts {
            client,
            link,
            will: held.asked.will,
            expiry: held.asked.expiry,
            session_present,
            disconnect: None,
        });
        held.connection = Some(self.history.connections.len() - 1);
        let again = held.again();
        for at in 0..held.outgoing.len() {
            let Some(sent) = held.outgoing.get(at) else { break };
            if let Some(message) = self.history.messages.get_mut(sent.number)
                && !sent.released
            {
                message.attempts += 1;
            }
        }
        for packet in again {
            self.send(client, &packet);
        }
        Ok(())
    }

    fn on_publish(&mut self, client: usize, mut packet: Packet) -> Result<(), String> {
        let Some(held) = self.clients.get_mut(client) else { return Ok(()) };
        if let Some(alias) = packet.number("topic_alias") {
            if alias == 0 || alias > u32::from(self.plan.topic_alias_maximum) {
                return Err(format!("client {client} got {packet}"));
            }
            if packet.topic.is_empty() {
                let topic = held.aliases.get(&alias).cloned();
                packet.topic =
                    topic.ok_or_else(|| format!("client {client} knows no alias: {packet}"))?;
            } else {
                held.aliases.insert(alias, packet.topic.clone());
            }
        }
        let packet_id = packet.packet_id.unwrap_or_default();
        let is_new = packet.qos < 2 || held.received.insert(packet_id);
        if is_new {
            self.take(client, &packet)?;
        }
        match packet.qos {
            1 => self.acknowledge(client, Kind::PubAck, packet_id),
            2 => self.acknowledge(client, Kind::PubRec, packet_id),
            _ => {}
        }
        Ok(())
    }

    /// A message reached the application.
    fn take(&mut self, client: usize, packet: &Packet) -> Result<(), String> {
        if let Some(event) = packet.topic.strip_prefix("$aws/events/presence/") {
            return self.take_event(event, &packet.payload);
        }
        if packet.topic.starts_with("$aws/things/") {
            return self.take_shadow_answer(&packet.topic, &packet.payload);
        }
        let Some(number) = History::number(&packet.payload) else {
            // An empty payload removes a retained message and has no number.
            let is_removal = packet.payload.is_empty() && packet.topic.starts_with(['r', 'w']);
            return if is_removal { Ok(()) } else { Err(format!("client {client} got {packet}")) };
        };
        let sent = self.history.messages.get(number).map(|sent| sent.topic.as_str());
        if sent != Some(packet.topic.as_str()) {
            return Err(format!("client {client} got {packet}, sent to {sent:?}"));
        }
        if client == MONITOR {
            *self.history.wills.entry(number).or_default() += 1;
        }
        let session = self.clients.get(client).and_then(|held| held.session);
        if let Some(session) = session.and_then(|at| self.history.sessions.get_mut(at)) {
            let (qos, dup, retain) = (packet.qos, packet.dup, packet.retain);
            session.deliveries.push(Delivery { number, qos, dup, retain });
        }
        Ok(())
    }

    fn take_event(&mut self, event: &str, payload: &[u8]) -> Result<(), String> {
        let broken = || format!("{event}: {}", String::from_utf8_lossy(payload));
        let (kind, client_id) = event.split_once('/').ok_or_else(broken)?;
        let client = self.clients.iter().position(|held| held.id == client_id);
        let client = client.ok_or_else(broken)?;
        let json: serde_json::Value = serde_json::from_slice(payload).map_err(|_| broken())?;
        let name = json.get("sessionIdentifier").and_then(|name| name.as_str());
        let digits = name.and_then(|name| name.rsplit('-').next()).ok_or_else(broken)?;
        let entropy = u128::from_str_radix(digits, 16).map_err(|_| broken())?;
        let number = |field| json.get(field).and_then(serde_json::Value::as_u64);
        let moment_ms = Self::moment_of(number("timestamp").ok_or_else(broken)?);
        let version = number("versionNumber").ok_or_else(broken)?;
        let reason = json.get("disconnectReason").and_then(|reason| reason.as_str());
        let reason = reason.map(str::to_owned);
        if reason.is_some() != (kind == "disconnected") {
            return Err(broken());
        }
        self.history.events.push(Event { client, entropy, moment_ms, reason, version });
        Ok(())
    }

    fn acknowledge(&mut self, client: usize, kind: Kind, packet_id: u16) {
        if kind != Kind::PubRec
            && let Some(link) = self.link(client)
        {
            self.tap.acknowledged(link, Some(packet_id));
        }
        self.send(client, &Packet::ack(kind, packet_id, 0));
    }

    /// PUBACK or PUBREC for what the client published.
    fn on_acknowledged(&mut self, client: usize, packet: &Packet, qos: u8) {
        let at = self.at;
        let Some(held) = self.clients.get_mut(client) else { return };
        let Some(place) = held.outgoing_at(packet.packet_id, qos) else { return };
        let Some(sent) = held.outgoing.get_mut(place) else { return };
        let was_released = std::mem::replace(&mut sent.released, qos == 2);
        if packet.code < 0x80
            && !was_released
            && let Some(message) = self.history.messages.get_mut(sent.number)
        {
            message.acked_at = Some(at);
        }
        if qos == 1 || packet.code >= 0x80 {
            held.outgoing.remove(place);
        } else {
            let packet_id = packet.packet_id.unwrap_or_default();
            self.send(client, &Packet::ack(Kind::PubRel, packet_id, 0));
        }
    }

    fn on_suback(&mut self, client: usize, packet: &Packet) -> Result<(), String> {
        let at = self.at;
        let Some(held) = self.clients.get_mut(client) else { return Ok(()) };
        let asked = held.subscribing.remove(&packet.packet_id.unwrap_or_default());
        let asked = asked.ok_or_else(|| format!("client {client} got {packet}"))?;
        if asked.filters.len() != packet.codes.len() {
            return Err(format!("client {client} got {packet} for {asked:?}"));
        }
        // Filters that were asked for again meanwhile are no certainty.
        let is_pending = |filter: &str| {
            let pending = held.subscribing.values().flat_map(|other| &other.filters);
            pending.into_iter().any(|(other, _)| other == filter)
        };
        let unsubscribing = !held.unsubscribing.is_empty();
        let granted: Vec<Held> = asked
            .filters
            .iter()
            .zip(&packet.codes)
            .filter(|((filter, _), _)| !is_pending(filter) && !unsubscribing)
            .map(|((filter, options), code)| Held {
                filter: filter.clone(),
                qos: *code,
                no_local: options & 4 != 0,
                from: at,
                until: None,
            })
            .collect();
        if let Some(refused) = granted.iter().find(|held| held.qos > 2) {
            return Err(format!("client {client} is refused {}", refused.filter));
        }
        let session = held.session.and_then(|at| self.history.sessions.get_mut(at));
        if let Some(session) = session {
            session.held.extend(granted);
        }
        Ok(())
    }
}
