//! The client's half of the protocol, behind CONNACK: bytes and calls in, bytes, messages and
//! answers out.
//!
//! [`Session`] knows no clock, socket or task. A message of QoS 2 is delivered once: its Packet
//! Identifier is kept from PUBLISH to PUBREL [MQTT-4.3.3-10]. No more messages are sent than the
//! server's Receive Maximum allows [MQTT-3.3.4-7]; what is more waits, in order.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use bitts_mqtt::{
    Ack, Packet, PacketId, ProtocolVersion, QoS, ReasonCode, SubAck, SubscribeRequest, decode,
    encode, encode_subscribe, encode_unsubscribe, split,
};
use bytes::Bytes;

use super::check;
use super::error::{End, Invalid, RequestError};
use super::options::{
    Acknowledge, Answered, ConnAck, ConnectOptions, Disconnect, Filter, Message, MessageProperties,
    Publish, decode_user_properties, encode_user_properties,
};

/// The shortest time a server has to answer PINGREQ; else it has half of the Keep Alive.
const PING_TIMEOUT_MIN: Duration = Duration::from_secs(1);

/// Bytes of the largest packet that MQTT has.
const PACKET_BYTES_MAX: usize = 268_435_455 + 5;

/// Names a request to whoever made it.
pub(super) type Ticket = u64;

/// What a step asks of the outside world. The caller takes it out and reuses it.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// To be written, in order.
    pub(super) bytes: Vec<u8>,
    /// Delivered, in order.
    pub(super) messages: VecDeque<Message>,
    /// Requests that are done.
    pub(super) done: Vec<(Ticket, Result<Answered, RequestError>)>,
}

/// What the server said it takes.
#[derive(Debug)]
struct ServerLimits {
    packet_bytes_max: usize,
    qos_max: QoS,
    is_retaining: bool,
    topic_alias_maximum: u16,
}

/// What a Packet Identifier of ours waits for.
#[derive(Debug)]
enum Pending {
    /// PUBACK.
    QoS1(Ticket),
    /// PUBREC.
    QoS2(Ticket),
    /// PUBCOMP.
    Released(Ticket, Answered),
    /// SUBACK for so many filters.
    Subscribe(Ticket, usize),
    /// UNSUBACK for so many filters.
    Unsubscribe(Ticket, usize),
}

impl Pending {
    fn ticket(&self) -> Ticket {
        match self {
            Self::QoS1(ticket)
            | Self::QoS2(ticket)
            | Self::Released(ticket, _)
            | Self::Subscribe(ticket, _)
            | Self::Unsubscribe(ticket, _) => *ticket,
        }
    }
}

/// What a Packet Identifier of the server waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Inbound {
    /// The caller's acknowledgement.
    Owed(QoS),
    /// PUBREL.
    Received,
}

/// The state of one connection.
#[derive(Debug)]
pub(super) struct Session {
    version: ProtocolVersion,
    acknowledge: Acknowledge,
    packet_bytes_max: usize,
    receive_maximum: usize,
    topic_alias_maximum: u16,
    server: ServerLimits,
    /// Messages that may still be sent before the server acknowledges one.
    quota: usize,
    last_id: u16,
    pending: HashMap<PacketId, Pending>,
    waiting: VecDeque<(Ticket, Publish)>,
    inbound: HashMap<PacketId, Inbound>,
    aliases: HashMap<u16, String>,
    keep_alive: Option<Duration>,
    last_sent: Instant,
    ping_sent: Option<Instant>,
    end: Option<End>,
}

impl Session {
    pub(super) fn new(options: &ConnectOptions, connack: &ConnAck, now: Instant) -> Self {
        let keep_alive = connack.server_keep_alive.unwrap_or(options.keep_alive_seconds);
        let number = |number: Option<std::num::NonZeroU16>| {
            usize::from(number.map_or(u16::MAX, std::num::NonZeroU16::get))
        };
        let heed = options.heed_server_limits;
        let packet_bytes_max = connack.maximum_packet_size.filter(|_| heed);
        Self {
            version: options.version,
            acknowledge: options.acknowledge,
            packet_bytes_max: options.packet_bytes_max.get() as usize,
            receive_maximum: number(options.receive_maximum),
            topic_alias_maximum: options.topic_alias_maximum.unwrap_or(0),
            server: ServerLimits {
                packet_bytes_max: packet_bytes_max
                    .map_or(PACKET_BYTES_MAX, |bytes| bytes.get() as usize),
                qos_max: match connack.maximum_qos.filter(|_| heed) {
                    Some(number) => QoS::from_number(number).unwrap_or(QoS::Two),
                    None => QoS::Two,
                },
                is_retaining: connack.retain_available.unwrap_or(true) || !heed,
                topic_alias_maximum: if heed {
                    connack.topic_alias_maximum.unwrap_or(0)
                } else {
                    u16::MAX
                },
            },
            quota: number(connack.receive_maximum),
            last_id: 0,
            pending: HashMap::new(),
            waiting: VecDeque::new(),
            inbound: HashMap::new(),
            aliases: HashMap::new(),
            keep_alive: (keep_alive > 0).then(|| Duration::from_secs(keep_alive.into())),
            last_sent: now,
            ping_sent: None,
            end: None,
        }
    }

    /// How the connection ended; what it still wants to write is written first.
    pub(super) fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// Publishes a message, or lets it wait for the server's Receive Maximum.
    pub(super) fn publish(
        &mut self,
        now: Instant,
        ticket: Ticket,
        publish: Publish,
        out: &mut Output,
    ) {
        if let Err(invalid) = self.check_publish(&publish) {
            out.done.push((ticket, Err(invalid.into())));
        } else if publish.qos != QoS::Zero && (self.quota == 0 || !self.waiting.is_empty()) {
            self.waiting.push_back((ticket, publish));
        } else {
            self.send_publish(now, ticket, &publish, out);
        }
    }

    fn check_publish(&self, publish: &Publish) -> Result<(), Invalid> {
        check::publish(publish, self.version)?;
        let alias = publish.topic_alias.map_or(0, std::num::NonZeroU16::get);
        if publish.qos > self.server.qos_max {
            return Err(Invalid::QoS);
        }
        if publish.retain && !self.server.is_retaining {
            return Err(Invalid::Retain);
        }
        if alias > self.server.topic_alias_maximum && self.version == ProtocolVersion::V5 {
            return Err(Invalid::TopicAlias);
        }
        Ok(())
    }

    fn send_publish(&mut self, now: Instant, ticket: Ticket, publish: &Publish, out: &mut Output) {
        let packet_id = if publish.qos == QoS::Zero { None } else { Some(self.free_id()) };
        let user = encode_user_properties(&publish.properties.user_properties);
        let mut properties = publish.properties.borrowed(&user);
        properties.topic_alias = publish.topic_alias;
        let start = out.bytes.len();
        let packet = Packet::Publish(bitts_mqtt::Publish {
            dup: false,
            qos: publish.qos,
            retain: publish.retain,
            topic: &publish.topic,
            packet_id,
            properties,
            payload: &publish.payload,
        });
        self.send(now, &packet, out);
        if out.bytes.len() - start > self.server.packet_bytes_max {
            out.bytes.truncate(start);
            out.done.push((ticket, Err(Invalid::PacketTooLarge.into())));
            return;
        }
        match (packet_id, publish.qos) {
            (Some(id), QoS::One) => drop(self.pending.insert(id, Pending::QoS1(ticket))),
            (Some(id), QoS::Two) => drop(self.pending.insert(id, Pending::QoS2(ticket))),
            (_, QoS::Zero) | (None, _) => {
                out.done.push((ticket, Ok(answered(vec![ReasonCode::Success]))));
                return;
            }
        }
        self.quota -= 1;
    }

    /// Sends messages that waited, as many as the server takes.
    fn send_waiting(&mut self, now: Instant, out: &mut Output) {
        while self.quota > 0
            && let Some((ticket, publish)) = self.waiting.pop_front()
        {
            self.send_publish(now, ticket, &publish, out);
        }
    }

    /// Subscribes to these filters.
    pub(super) fn subscribe(
        &mut self,
        now: Instant,
        ticket: Ticket,
        (filters, identifier): (&[Filter], Option<u32>),
        out: &mut Output,
    ) {
        if let Err(invalid) = check::subscribe(filters, identifier) {
            out.done.push((ticket, Err(invalid.into())));
            return;
        }
        let id = self.free_id();
        let requests: Vec<_> = filters
            .iter()
            .map(|filter| SubscribeRequest { filter: &filter.filter, options: filter.options })
            .collect();
        encode_subscribe(self.version, id, identifier, &requests, &mut out.bytes);
        self.last_sent = now;
        self.pending.insert(id, Pending::Subscribe(ticket, filters.len()));
    }

    /// Ends these subscriptions.
    pub(super) fn unsubscribe(
        &mut self,
        now: Instant,
        ticket: Ticket,
        filters: &[String],
        out: &mut Output,
    ) {
        let filters: Vec<_> = filters.iter().map(String::as_str).collect();
        if let Err(invalid) = check::unsubscribe(filters.iter().copied()) {
            out.done.push((ticket, Err(invalid.into())));
            return;
        }
        let id = self.free_id();
        encode_unsubscribe(self.version, id, &filters, &mut out.bytes);
        self.last_sent = now;
        self.pending.insert(id, Pending::Unsubscribe(ticket, filters.len()));
    }

    /// Acknowledges a message for the caller; one that is not owed is passed over.
    pub(super) fn acknowledge(
        &mut self,
        now: Instant,
        id: PacketId,
        reason_code: ReasonCode,
        out: &mut Output,
    ) {
        let ack = Ack::new(id, reason_code);
        match self.inbound.get(&id) {
            Some(Inbound::Owed(QoS::Two)) => {
                if reason_code.is_error() && self.version == ProtocolVersion::V5 {
                    self.inbound.remove(&id);
                } else {
                    self.inbound.insert(id, Inbound::Received);
                }
                self.send(now, &Packet::PubRec(ack), out);
            }
            Some(Inbound::Owed(_)) => {
                self.inbound.remove(&id);
                self.send(now, &Packet::PubAck(ack), out);
            }
            Some(Inbound::Received) | None => {}
        }
    }

    /// Sends DISCONNECT; the connection ends.
    pub(super) fn disconnect(&mut self, now: Instant, disconnect: &Disconnect, out: &mut Output) {
        let disconnect = check::disconnect(disconnect);
        let user = encode_user_properties(&disconnect.user_properties);
        let packet = bitts_mqtt::Disconnect {
            reason_code: disconnect.reason_code,
            session_expiry_interval: disconnect.session_expiry_interval,
            reason_string: disconnect.reason_string.as_deref(),
            server_reference: None,
            user_properties: user.as_properties(),
        };
        self.send(now, &Packet::Disconnect(packet), out);
        self.finish(End::Disconnected, out);
    }

    /// The connection is over: what waits for the server waits in vain.
    pub(super) fn finish(&mut self, end: End, out: &mut Output) {
        if self.end.is_some() {
            return;
        }
        let mut tickets: Vec<_> = self.pending.values().map(Pending::ticket).collect();
        tickets.extend(self.waiting.iter().map(|(ticket, _)| *ticket));
        tickets.sort_unstable();
        let ended = |ticket| (ticket, Err(RequestError::Ended(end.clone())));
        out.done.extend(tickets.into_iter().map(ended));
        self.pending.clear();
        self.waiting.clear();
        self.end = Some(end);
    }

    /// Ends the connection because of the server, which is told why where MQTT 5 can say it.
    fn give_up(&mut self, now: Instant, end: End, reason_code: ReasonCode, out: &mut Output) {
        if self.version == ProtocolVersion::V5 && self.end.is_none() {
            let packet = bitts_mqtt::Disconnect {
                reason_code,
                session_expiry_interval: None,
                reason_string: None,
                server_reference: None,
                user_properties: bitts_mqtt::UserProperties::EMPTY,
            };
            self.send(now, &Packet::Disconnect(packet), out);
        }
        self.finish(end, out);
    }

    fn violation(&mut self, now: Instant, what: &'static str, out: &mut Output) {
        self.give_up(now, End::Protocol(what), ReasonCode::ProtocolError, out);
    }

    /// Takes what the server sent; returns how many bytes were whole packets.
    pub(super) fn receive(&mut self, now: Instant, bytes: &[u8], out: &mut Output) -> usize {
        let mut used = 0;
        while self.end.is_none() {
            let rest = bytes.get(used..).unwrap_or_default();
            let frame = match split(rest, self.packet_bytes_max) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => {
                    self.give_up(now, End::Malformed(error), error.reason_code(), out);
                    break;
                }
            };
            used += frame.len;
            match decode(self.version, &frame) {
                Ok(packet) => self.on_packet(now, packet, out),
                Err(error) => {
                    self.give_up(now, End::Malformed(error), error.reason_code(), out);
                }
            }
        }
        used
    }

    fn on_packet(&mut self, now: Instant, packet: Packet<'_>, out: &mut Output) {
        match packet {
            Packet::Publish(publish) => self.on_publish(now, &publish, out),
            Packet::PubAck(ack) => self.on_puback(now, &ack, out),
            Packet::PubRec(ack) => self.on_pubrec(now, &ack, out),
            Packet::PubRel(ack) => self.on_pubrel(now, &ack, out),
            Packet::PubComp(ack) => self.on_pubcomp(now, &ack, out),
            Packet::SubAck(suback) => self.on_suback(now, &suback, false, out),
            Packet::UnsubAck(unsuback) => self.on_suback(now, &unsuback, true, out),
            Packet::PingResp => self.ping_sent = None,
            Packet::Disconnect(disconnect) if self.version == ProtocolVersion::V5 => {
                let disconnect = Disconnect {
                    reason_code: disconnect.reason_code,
                    session_expiry_interval: disconnect.session_expiry_interval,
                    reason_string: disconnect.reason_string.map(ToOwned::to_owned),
                    server_reference: disconnect.server_reference.map(ToOwned::to_owned),
                    user_properties: decode_user_properties(&disconnect.user_properties),
                };
                self.finish(End::ServerDisconnected(Box::new(disconnect)), out);
            }
            Packet::Disconnect(_) => self.violation(now, "DISCONNECT in MQTT 3.1.1", out),
            Packet::ConnAck(_) => self.violation(now, "a second CONNACK", out),
            Packet::Auth(_) => self.violation(now, "AUTH that nobody asked for", out),
            Packet::Connect(_)
            | Packet::Subscribe(_)
            | Packet::Unsubscribe(_)
            | Packet::PingReq => self.violation(now, "a packet that only clients send", out),
        }
    }

    fn on_publish(&mut self, now: Instant, publish: &bitts_mqtt::Publish<'_>, out: &mut Output) {
        let Some(topic) = self.topic(publish) else {
            let end = End::Protocol("a Topic Alias that it never set or that we do not take");
            return self.give_up(now, end, ReasonCode::TopicAliasInvalid, out);
        };
        if let Some(id) = publish.packet_id {
            let is_new = !self.inbound.contains_key(&id);
            if is_new && self.inbound.len() >= self.receive_maximum {
                let end = End::Protocol("more messages than our Receive Maximum");
                return self.give_up(now, end, ReasonCode::ReceiveMaximumExceeded, out);
            }
            match (self.inbound.get(&id), publish.qos, self.acknowledge) {
                // Delivered before [MQTT-4.3.3-10].
                (Some(Inbound::Received), _, _) => {
                    let ack = Ack::new(id, ReasonCode::Success);
                    return self.send(now, &Packet::PubRec(ack), out);
                }
                (Some(Inbound::Owed(QoS::Two)), _, _) => return,
                (_, qos, Acknowledge::ByCaller) => {
                    self.inbound.insert(id, Inbound::Owed(qos));
                }
                (_, QoS::Two, Acknowledge::WhenQueued) => {
                    self.inbound.insert(id, Inbound::Received);
                    let ack = Ack::new(id, ReasonCode::Success);
                    self.send(now, &Packet::PubRec(ack), out);
                }
                (_, _, Acknowledge::WhenQueued) => {
                    let ack = Ack::new(id, ReasonCode::Success);
                    self.send(now, &Packet::PubAck(ack), out);
                }
            }
        }
        out.messages.push_back(Message {
            topic,
            payload: Bytes::copy_from_slice(publish.payload),
            qos: publish.qos,
            retain: publish.retain,
            dup: publish.dup,
            packet_id: publish.packet_id,
            properties: MessageProperties::from_packet(&publish.properties),
        });
    }

    /// The topic of a message, behind its alias where it has one.
    fn topic(&mut self, publish: &bitts_mqtt::Publish<'_>) -> Option<String> {
        let Some(alias) = publish.properties.topic_alias else {
            return Some(publish.topic.to_owned());
        };
        if alias.get() > self.topic_alias_maximum {
            return None;
        }
        if publish.topic.is_empty() {
            return self.aliases.get(&alias.get()).cloned();
        }
        self.aliases.insert(alias.get(), publish.topic.to_owned());
        Some(publish.topic.to_owned())
    }

    fn on_puback(&mut self, now: Instant, ack: &Ack<'_>, out: &mut Output) {
        match self.pending.remove(&ack.packet_id) {
            Some(Pending::QoS1(ticket)) => self.published(now, ticket, ack, out),
            Some(_) => self.violation(now, "PUBACK for what is no message of QoS 1", out),
            // Of an earlier connection of the session.
            None => {}
        }
    }

    fn on_pubrec(&mut self, now: Instant, ack: &Ack<'_>, out: &mut Output) {
        let id = ack.packet_id;
        let reason_code = match self.pending.remove(&id) {
            Some(Pending::QoS2(ticket)) if ack.reason_code.is_error() => {
                return self.published(now, ticket, ack, out);
            }
            Some(Pending::QoS2(ticket)) => {
                self.pending.insert(id, Pending::Released(ticket, answer_of(ack)));
                ReasonCode::Success
            }
            Some(released @ Pending::Released(..)) => {
                self.pending.insert(id, released);
                ReasonCode::Success
            }
            Some(_) => {
                return self.violation(now, "PUBREC for what is no message of QoS 2", out);
            }
            None if ack.reason_code.is_error() => return,
            None => ReasonCode::PacketIdentifierNotFound,
        };
        self.send(now, &Packet::PubRel(Ack::new(id, reason_code)), out);
    }

    fn on_pubcomp(&mut self, now: Instant, ack: &Ack<'_>, out: &mut Output) {
        match self.pending.remove(&ack.packet_id) {
            Some(Pending::Released(ticket, answer)) => {
                out.done.push((ticket, Ok(answer)));
                self.quota += 1;
                self.send_waiting(now, out);
            }
            Some(_) => self.violation(now, "PUBCOMP for what was not released", out),
            None => {}
        }
    }

    fn published(&mut self, now: Instant, ticket: Ticket, ack: &Ack<'_>, out: &mut Output) {
        let result = if ack.reason_code.is_error() {
            let reason_string = ack.reason_string.map(ToOwned::to_owned);
            Err(RequestError::Refused { reason_code: ack.reason_code, reason_string })
        } else {
            Ok(answer_of(ack))
        };
        out.done.push((ticket, result));
        self.quota += 1;
        self.send_waiting(now, out);
    }

    /// [MQTT-4.3.3-11]
    fn on_pubrel(&mut self, now: Instant, ack: &Ack<'_>, out: &mut Output) {
        let reason_code = match self.inbound.get(&ack.packet_id) {
            Some(Inbound::Received) => {
                self.inbound.remove(&ack.packet_id);
                ReasonCode::Success
            }
            Some(Inbound::Owed(_)) => {
                return self.violation(now, "PUBREL for what was not received", out);
            }
            None => ReasonCode::PacketIdentifierNotFound,
        };
        self.send(now, &Packet::PubComp(Ack::new(ack.packet_id, reason_code)), out);
    }

    fn on_suback(
        &mut self,
        now: Instant,
        suback: &SubAck<'_>,
        is_unsuback: bool,
        out: &mut Output,
    ) {
        let (ticket, filters) = match (self.pending.remove(&suback.packet_id), is_unsuback) {
            (Some(Pending::Subscribe(ticket, filters)), false)
            | (Some(Pending::Unsubscribe(ticket, filters)), true) => (ticket, filters),
            (Some(_), _) => return self.violation(now, "SUBACK for another packet", out),
            (None, _) => return,
        };
        // UNSUBACK of 3.1.1 has no codes [MQTT-3.11.3-1 of 5 does not hold there].
        let codes = if is_unsuback && self.version == ProtocolVersion::V3_1_1 {
            vec![ReasonCode::Success; filters]
        } else {
            suback.codes.iter().filter_map(|code| ReasonCode::from_number(*code)).collect()
        };
        if codes.len() != filters {
            let end = End::Protocol("SUBACK with another number of codes");
            out.done.push((ticket, Err(RequestError::Ended(end))));
            return self.violation(now, "SUBACK with another number of codes", out);
        }
        let answer = Answered {
            codes,
            reason_string: suback.reason_string.map(ToOwned::to_owned),
            user_properties: decode_user_properties(&suback.user_properties),
        };
        out.done.push((ticket, Ok(answer)));
    }

    /// When [`Session::tick`] is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let keep_alive = self.keep_alive?;
        match self.ping_sent {
            Some(sent) => Some(sent + (keep_alive / 2).max(PING_TIMEOUT_MIN)),
            None => Some(self.last_sent + keep_alive),
        }
    }

    /// Whether the server owes PINGRESP.
    pub(super) fn is_pinging(&self) -> bool {
        self.ping_sent.is_some()
    }

    /// The server's answers were not read for a while: its time to answer begins again.
    pub(super) fn resume_reading(&mut self, now: Instant) {
        self.ping_sent = self.ping_sent.map(|_| now);
    }

    /// Sends PINGREQ when nothing was sent for the Keep Alive [MQTT-3.1.2-20], and gives up when it
    /// was not answered.
    pub(super) fn tick(&mut self, now: Instant, out: &mut Output) {
        if self.end.is_some() || self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        if self.ping_sent.is_some() {
            self.finish(End::KeepAliveTimeout, out);
            return;
        }
        self.send(now, &Packet::PingReq, out);
        self.ping_sent = Some(now);
    }

    fn send(&mut self, now: Instant, packet: &Packet<'_>, out: &mut Output) {
        encode(packet, self.version, &mut out.bytes);
        self.last_sent = now;
    }

    /// A Packet Identifier that is not in use. The driver bounds requests far below 65,535.
    fn free_id(&mut self) -> PacketId {
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            if let Some(id) = PacketId::new(self.last_id)
                && !self.pending.contains_key(&id)
            {
                return id;
            }
        }
    }
}

fn answered(codes: Vec<ReasonCode>) -> Answered {
    Answered { codes, reason_string: None, user_properties: Vec::new() }
}

fn answer_of(ack: &Ack<'_>) -> Answered {
    Answered {
        codes: vec![ack.reason_code],
        reason_string: ack.reason_string.map(ToOwned::to_owned),
        user_properties: decode_user_properties(&ack.user_properties),
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
