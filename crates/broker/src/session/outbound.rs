//! What a client is owed: the queue, the window of messages in flight, and retransmission.
//!
//! Decides *when* a message goes to its client, never whether the client may see it. Order:
//! messages of one topic and QoS leave in the order in which they were accepted [MQTT-4.6.0-5];
//! nothing overtakes the queue. A resumed session first re-sends what was in flight, with the same
//! Packet Identifiers [MQTT-4.4.0-1]. At its limits the queue drops the new message and counts it.

mod once;

use std::collections::VecDeque;
use std::sync::Arc;

use bitts_mqtt::{Ack, Packet, PacketId, PublishFrame, QoS, ReasonCode};
use bytes::Bytes;
use smallvec::SmallVec;

use super::publish_frame::{put_publish, remaining, write_publish};
use super::queue::{Queue, Queued};
use super::{Connection, Session};
use crate::message::Message;
use crate::outbox::{Frame, Outbox};
use crate::rates::{AccountRate, Rates};
use crate::reason::{Dropped, Violation};
use crate::record::{LogId, Lsn, Record, SavedOwed, Stage};
use crate::route::{Interest, Merged};
use crate::shard::Shard;
use crate::slot::NameKey;
use crate::time::{Moment, Now};

pub(crate) use once::Once;

/// Subscription Identifiers of one delivery.
pub(crate) type Identifiers = SmallVec<[u32; 2]>;

/// Bytes one round of sending queued messages may produce; the next goes on a moment later.
const ROUND_BYTES: usize = 256 << 10;
/// Places that an empty queue keeps.
const KEPT_MAX: usize = 256;
/// How soon a message that waits for a rate is looked at again at the earliest, in milliseconds.
const RATE_LOOK_MS: u64 = 10;
/// Stands for the number of a message that is sent now or never; real ones begin at 1.
pub(super) const NOT_OWED: u64 = 0;
/// Messages in flight, those included that earlier connections left behind.
const INFLIGHT_MAX: usize = 32_768;

/// A message on its way through one turn, still in the bytes it arrived in.
pub(crate) struct Transit<'a> {
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a [u8],
    /// Encoded properties that every receiver gets.
    pub(crate) properties: &'a [u8],
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) publisher: NameKey,
    pub(crate) expires_at: Option<Moment>,
    pub(crate) accepted_unix_ms: u64,
    /// The QoS 2 identifier that is durable with it.
    pub(crate) received: Option<(Arc<str>, u16)>,
    /// Nobody may have it before everything up to here is durable, else a crash would repeat it.
    pub(crate) gate: Lsn,
    /// Its name in the log, if it is to be there; known before it is parked.
    pub(crate) log: Option<LogId>,
    /// The number under which a `$share` group keeps it until a member has it; 0 for none.
    pub(crate) handed: u64,
    pub(crate) parked: Option<Arc<Message>>,
    /// The key of the topic, once somebody asked for it.
    pub(crate) topic_key: Option<NameKey>,
    /// Where the payload is in the outbox, once a packet with a tail was made of it.
    pub(crate) payload_at: Option<u64>,
    /// Encoded once per version, QoS and RETAIN, where receivers do not differ otherwise.
    pub(crate) templates: [Option<Frame>; 12],
}

impl<'a> Transit<'a> {
    /// A message that was kept goes on its way.
    pub(crate) fn parked(message: &'a Arc<Message>) -> Self {
        Self {
            topic: &message.topic,
            payload: &message.payload,
            properties: &message.properties,
            qos: message.qos,
            retain: message.retain,
            publisher: message.publisher,
            expires_at: message.expires_at,
            accepted_unix_ms: message.accepted_unix_ms,
            received: None,
            gate: Lsn::default(),
            log: message.log,
            handed: 0,
            parked: Some(Arc::clone(message)),
            topic_key: None,
            payload_at: None,
            templates: Default::default(),
        }
    }

    /// A message that is kept enters the broker: it has no name in the log yet.
    pub(crate) fn entering(message: &'a Arc<Message>) -> Self {
        Self { log: None, parked: None, ..Self::parked(message) }
    }

    /// The message in a form that may be kept; copied at most once.
    pub(crate) fn park(&mut self) -> Arc<Message> {
        let parked = self.parked.get_or_insert_with(|| {
            Arc::new(Message {
                topic: self.topic.into(),
                payload: Bytes::copy_from_slice(self.payload),
                properties: self.properties.into(),
                qos: self.qos,
                retain: self.retain,
                publisher: self.publisher,
                expires_at: self.expires_at,
                accepted_unix_ms: self.accepted_unix_ms,
                log: self.log,
            })
        });
        Arc::clone(parked)
    }
}

/// One delivery: how, not to whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivery<'a> {
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) identifiers: &'a [u32],
    /// The `$share` group that chose this session.
    pub(crate) group: Option<&'a Arc<str>>,
}

impl<'a> Delivery<'a> {
    pub(crate) fn new(transit: &Transit<'_>, merged: Merged, identifiers: &'a [u32]) -> Self {
        Self {
            qos: transit.qos.min(merged.qos),
            retain: transit.retain && merged.retain_as_published,
            identifiers,
            group: None,
        }
    }

    fn saved(
        self,
        number: u64,
        message: Option<Arc<Message>>,
        sent: Option<(u16, Stage)>,
    ) -> SavedOwed {
        SavedOwed {
            number,
            qos: self.qos,
            retain: self.retain,
            identifiers: self.identifiers.into(),
            group: self.group.cloned(),
            sent,
            message,
        }
    }
}

/// What of a message in flight this connection was sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Sent {
    Nothing,
    /// It counts against the client's Receive Maximum.
    Publish,
    /// Its PUBLISH went out on an earlier connection.
    Release,
}

/// A message the client has not acknowledged in full.
#[derive(Debug)]
pub(super) struct Inflight {
    /// Which of those that the session is owed, or [`NOT_OWED`].
    pub(super) owed: u64,
    pub(super) packet_id: PacketId,
    pub(super) stage: Stage,
    pub(super) sent: Sent,
    /// How many identifiers were given out before it.
    pub(super) number: u64,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) identifiers: Identifiers,
    pub(super) group: Option<Arc<str>>,
    /// Absent where it will never be sent again.
    pub(super) message: Option<Arc<Message>>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Outbound {
    pub(crate) queue: Queue,
    pub(super) inflight: VecDeque<Inflight>,
    /// PUBLISH packets that this connection is to be sent again.
    pub(super) unsent: usize,
    /// PUBLISH packets of this connection that count against the client's Receive Maximum.
    pub(super) window_used: usize,
    /// Packet Identifiers given out.
    pub(super) numbers: u64,
    /// Messages that the session was owed so far.
    pub(super) owed: u64,
}

impl Outbound {
    /// What was in flight is to be sent again on the next connection, whose quota is new
    /// [MQTT-4.4.0-1].
    pub(crate) fn connection_ended(&mut self) {
        self.inflight.iter_mut().for_each(|held| held.sent = Sent::Nothing);
        let is_published = |held: &&Inflight| held.stage == Stage::Published;
        self.unsent = self.inflight.iter().filter(is_published).count();
        self.window_used = 0;
    }

    /// Whether another PUBLISH at QoS 1 or 2 may go out.
    fn has_room(&self, window: u16) -> bool {
        self.window_used < usize::from(window) && self.inflight.len() < INFLIGHT_MAX
    }

    /// What was long and is empty keeps no memory.
    fn let_go(&mut self) {
        self.queue.let_go();
        if self.inflight.is_empty() && self.inflight.capacity() > KEPT_MAX {
            self.inflight = VecDeque::new();
        }
    }

    fn remove(&mut self, at: usize) -> Option<Inflight> {
        let held = self.inflight.remove(at)?;
        match (held.sent, held.stage) {
            (Sent::Publish, _) => self.window_used -= 1,
            (Sent::Nothing, Stage::Published) => self.unsent -= 1,
            (Sent::Nothing | Sent::Release, _) => {}
        }
        Some(held)
    }

    /// The client has the message: PUBLISH is never sent again, PUBREL follows.
    fn release(&mut self, at: usize) {
        let Some(held) = self.inflight.get_mut(at) else { return };
        held.stage = Stage::Released;
        held.message = None;
        if held.sent == Sent::Nothing {
            held.sent = Sent::Release;
            self.unsent -= 1;
        }
    }

    /// A Packet Identifier that is not in use [MQTT-2.2.1-4].
    fn next_packet_id(&mut self) -> (PacketId, u64) {
        loop {
            let number = self.numbers;
            self.numbers += 1;
            let id = PacketId::new((number % 65_535) as u16 + 1);
            // Numbers rise along the window, so only one that is a whole round old can collide.
            let oldest = self.inflight.front().map_or(number, |held| held.number);
            let is_free = number - oldest < 65_535
                || !self.inflight.iter().any(|held| Some(held.packet_id) == id);
            if let (Some(id), true) = (id, is_free) {
                return (id, number);
            }
        }
    }

    /// The number of the next message that the session is owed.
    fn next_owed(&mut self) -> u64 {
        self.owed += 1;
        self.owed
    }

    fn position(&self, packet_id: PacketId, stage: Stage) -> Option<usize> {
        self.inflight.iter().position(|held| held.packet_id == packet_id && held.stage == stage)
    }
}

impl Connection {
    /// Whether one more message to the client is in time.
    fn delivers_in_time(&mut self, now: Now, rates: &Rates, interest: &Interest) -> bool {
        let Some(held) = &mut self.rates else { return true };
        held.publishes.take(now.moment, rates.publish_requests_per_connection, 1)
            && interest.account().take(
                AccountRate::OutboundPublish,
                now.moment,
                rates.outbound_publish_requests,
            )
    }
}

impl Shard {
    /// Delivers to one session of this shard. Hot: once per delivery.
    pub(crate) fn deliver(
        &mut self,
        now: Now,
        index: u32,
        transit: &mut Transit<'_>,
        delivery: Delivery<'_>,
        out: &mut Outbox,
    ) {
        if self.sessions[index as usize].connection.is_none() {
            // What it may have is decided for the client that comes to fetch it.
            if delivery.qos > QoS::Zero {
                self.enqueue(now, index, transit, delivery);
            }
            return;
        }
        if !self.may_receive(now, index, transit) {
            return;
        }
        let session = &mut self.sessions[index as usize];
        let Some(connection) = &mut session.connection else { return };
        // Nothing on this connection overtakes what waits.
        connection.open_gate = connection.open_gate.max(transit.gate);
        if delivery.qos == QoS::Zero {
            if connection.congested {
                self.stats.drop_one(Dropped::Congested);
                return;
            }
            if !connection.delivers_in_time(now, &self.rates, &self.interest) {
                self.stats.drop_one(Dropped::RateExceeded);
                return;
            }
            let way = (None, !connection.is_open(Lsn::default(), &self.gates));
            match write_publish(connection, session.version, way, now, transit, delivery, out) {
                Some(frame) => {
                    connection.push_free(frame, &mut self.gates, out);
                    self.stats.sent[0] += 1;
                }
                None => self.stats.drop_one(Dropped::PacketTooLarge),
            }
            return;
        }
        let outbound = session.outbound.get_or_insert_default();
        let is_free = outbound.queue.is_empty()
            && outbound.unsent == 0
            && outbound.has_room(connection.window)
            && !connection.congested;
        if is_free && connection.delivers_in_time(now, &self.rates, &self.interest) {
            self.send_with_id(now, index, transit, delivery, None, out);
        } else {
            self.enqueue(now, index, transit, delivery);
            if is_free {
                self.wait_for_rate(now, index);
            }
        }
    }

    /// Sends at QoS 1 or 2 and keeps it in flight; `queued` is its number where it was queued.
    fn send_with_id(
        &mut self,
        now: Now,
        index: u32,
        transit: &mut Transit<'_>,
        delivery: Delivery<'_>,
        queued: Option<u64>,
        out: &mut Outbox,
    ) {
        let session = &mut self.sessions[index as usize];
        let persistent = session.is_persistent();
        let keep = (persistent || delivery.group.is_some()).then(|| transit.park());
        let Some(connection) = &mut session.connection else { return };
        let outbound = session.outbound.get_or_insert_default();
        let (packet_id, number) = outbound.next_packet_id();
        // The receiver must not see at QoS 2 what a crash would give another identifier.
        let is_gated = delivery.qos == QoS::Two && persistent;
        let gate = if is_gated { self.lsn } else { Lsn::default() };
        let way = (Some(packet_id), !connection.is_open(gate, &self.gates));
        let Some(frame) =
            write_publish(connection, session.version, way, now, transit, delivery, out)
        else {
            self.stats.drop_one(Dropped::PacketTooLarge);
            self.record_settled(index, queued);
            return;
        };
        if is_gated {
            connection.push(frame, gate, &mut self.gates, out);
        } else {
            connection.push_free(frame, &mut self.gates, out);
        }
        self.stats.sent[delivery.qos as usize] += 1;
        outbound.window_used += 1;
        let owed = queued.unwrap_or_else(|| outbound.next_owed());
        outbound.inflight.push_back(Inflight {
            owed,
            packet_id,
            stage: Stage::Published,
            sent: Sent::Publish,
            number,
            qos: delivery.qos,
            retain: delivery.retain,
            identifiers: delivery.identifiers.into(),
            group: delivery.group.cloned(),
            message: keep.clone(),
        });
        if !persistent {
            return;
        }
        let (slot, client_id) = (session.slot, Arc::clone(&session.client_id));
        let packet_id = packet_id.number();
        let record = if let Some(number) = queued {
            Record::Sent { client_id, number, packet_id }
        } else {
            let sent = Some((packet_id, Stage::Published));
            Record::Owed { client_id, owed: delivery.saved(owed, keep, sent) }
        };
        self.record(slot, record);
    }

    /// The session is not owed this one any more, if it was.
    fn record_settled(&mut self, index: u32, number: Option<u64>) {
        let Some(number) = number.filter(|number| *number != NOT_OWED) else { return };
        let session = self.session(index);
        if session.is_persistent() {
            let (slot, client_id) = (session.slot, Arc::clone(&session.client_id));
            self.record(slot, Record::Settled { client_id, number });
        }
    }

    fn enqueue(&mut self, now: Now, index: u32, transit: &mut Transit<'_>, delivery: Delivery<'_>) {
        let message = transit.park();
        let bytes = message.bytes();
        let limits = &self.limits;
        let session = &mut self.sessions[index as usize];
        let outbound = session.outbound.get_or_insert_default();
        if outbound.queue.len() >= limits.queued_messages_max
            || outbound.queue.bytes() + bytes > limits.queued_bytes_max
        {
            self.stats.drop_one(Dropped::QueueFull);
            return;
        }
        if self.queued_bytes + bytes > limits.queued_bytes_total_max {
            self.stats.drop_one(Dropped::QueuesFull);
            return;
        }
        self.queued_bytes += bytes;
        let owed = outbound.next_owed();
        let identifiers = delivery.identifiers.into();
        let (qos, retain, group) = (delivery.qos, delivery.retain, delivery.group.cloned());
        let memory = Queued::memory_of(&message);
        self.paging.memory += memory as usize;
        let kept = Arc::clone(&message);
        outbound.queue.push(Queued { owed, message, qos, retain, memory, identifiers, group });
        if session.is_persistent() {
            let (slot, client_id) = (session.slot, Arc::clone(&session.client_id));
            let owed = delivery.saved(owed, Some(kept), None);
            self.record(slot, Record::Owed { client_id, owed });
        }
        self.relieve_memory(now, index);
    }

    /// Sends what the window has room for: first what was in flight before, then the queue.
    pub(crate) fn send_owed(&mut self, now: Now, index: u32, out: &mut Outbox) {
        let begin = out.bytes.len();
        loop {
            if out.bytes.len() - begin >= ROUND_BYTES {
                self.remind(index, now.moment.plus_millis(1));
                return;
            }
            let session = &mut self.sessions[index as usize];
            let Some(connection) = &session.connection else { return };
            let Some(outbound) = &mut session.outbound else { break };
            if connection.congested {
                return;
            }
            if outbound.unsent > 0 {
                if !outbound.has_room(connection.window) {
                    return;
                }
                self.resend_next(now, index, out);
                continue;
            }
            if !outbound.has_room(connection.window) {
                return;
            }
            if let Some(page) = outbound.queue.wants_page() {
                out.reads.push((self.session_ref(index), page));
                continue;
            }
            if !outbound.queue.is_ready() {
                if !outbound.queue.is_empty() {
                    return;
                }
                outbound.let_go();
                break;
            }
            if !self.drains_in_time(now, index) {
                self.wait_for_rate(now, index);
                return;
            }
            let Some(outbound) = &mut self.session(index).outbound else { break };
            let Some(queued) = outbound.queue.pop() else { break };
            self.queued_bytes -= queued.bytes();
            self.paging.memory -= queued.memory();
            if queued.message.is_expired(now.moment) {
                self.stats.drop_one(Dropped::Expired);
                self.record_settled(index, Some(queued.owed));
                continue;
            }
            let mut transit = Transit::parked(&queued.message);
            if !self.may_receive(now, index, &mut transit) {
                self.record_settled(index, Some(queued.owed));
                continue;
            }
            let delivery = Delivery {
                qos: queued.qos,
                retain: queued.retain,
                identifiers: &queued.identifiers,
                group: queued.group.as_ref(),
            };
            self.send_with_id(now, index, &mut transit, delivery, Some(queued.owed), out);
        }
        self.continue_scans(now, index, out);
    }

    /// Whether the queue's first message may go: what waited while the session was offline has a
    /// rate of its own.
    fn drains_in_time(&mut self, now: Now, index: u32) -> bool {
        let stored_per_second = self.rates.stored_messages_per_session;
        let Some(connection) = &mut self.sessions[index as usize].connection else { return true };
        if let Some(rates) = &mut connection.rates
            && rates.stored_left > 0
            && stored_per_second > 0
        {
            if !rates.stored.take(now.moment, stored_per_second, 1) {
                return false;
            }
            rates.stored_left -= 1;
        }
        connection.delivers_in_time(now, &self.rates, &self.interest)
    }

    /// Looks at the queue again when a rate has room.
    fn wait_for_rate(&mut self, now: Now, index: u32) {
        let Rates { stored_messages_per_session, publish_requests_per_connection, .. } = self.rates;
        let connection = self.session(index).connection.as_ref();
        let at = connection.and_then(|held| held.rates.as_ref()).map_or(now.moment, |rates| {
            let publishes = rates.publishes.next(publish_requests_per_connection);
            let stored = rates.stored.next(stored_messages_per_session);
            if rates.stored_left > 0 { publishes.max(stored) } else { publishes }
        });
        // The account's second says nothing of when it has room.
        self.remind(index, at.max(now.moment.plus_millis(RATE_LOOK_MS)));
    }

    /// Sends the next message of an earlier connection again [MQTT-4.4.0-1].
    fn resend_next(&mut self, now: Now, index: u32, out: &mut Outbox) {
        let Some(outbound) = &mut self.session(index).outbound else { return };
        let is_next =
            |held: &Inflight| held.sent == Sent::Nothing && held.stage == Stage::Published;
        let Some(at) = outbound.inflight.iter().position(is_next) else {
            outbound.unsent = 0;
            return;
        };
        let Some(held) = outbound.inflight.get(at) else { return };
        let Some(message) = held.message.clone() else {
            outbound.remove(at);
            return;
        };
        if !self.may_receive(now, index, &mut Transit::parked(&message)) {
            let outbound = &mut self.session(index).outbound;
            let removed = outbound.as_mut().and_then(|outbound| outbound.remove(at));
            self.record_settled(index, removed.map(|held| held.owed));
            return;
        }
        let session = &mut self.sessions[index as usize];
        let (Some(connection), Some(outbound)) = (&mut session.connection, &mut session.outbound)
        else {
            return;
        };
        let Some(held) = outbound.inflight.get_mut(at) else { return };
        let frame = PublishFrame {
            version: session.version,
            dup: self.profile.marks_resent(),
            qos: held.qos,
            retain: held.retain,
            topic: &message.topic,
            packet_id: Some(held.packet_id),
            topic_alias: None,
            message_expiry_interval: remaining(message.expires_at, now.moment),
            subscription_identifiers: &held.identifiers,
            forwarded: &message.properties,
            payload: &message.payload,
        };
        if frame.encoded_len() > connection.packet_bytes_max as usize {
            let owed = held.owed;
            outbound.remove(at);
            self.stats.drop_one(Dropped::PacketTooLarge);
            self.record_settled(index, Some(owed));
            return;
        }
        let frame = put_publish(connection, &frame, &mut None, out);
        connection.push_free(frame, &mut self.gates, out);
        held.sent = Sent::Publish;
        outbound.unsent -= 1;
        outbound.window_used += 1;
    }

    /// The client is back: what it is owed follows the CONNACK. Every PUBREL goes out at once, for
    /// it needs no quota; messages go out as far as the client's Receive Maximum allows.
    pub(crate) fn resume_deliveries(&mut self, now: Now, index: u32, out: &mut Outbox) {
        let Some(outbound) = &mut self.session(index).outbound else { return };
        let mut released = Vec::new();
        for held in &mut outbound.inflight {
            if held.stage == Stage::Released {
                held.sent = Sent::Release;
                released.push(held.packet_id);
            }
        }
        for packet_id in released {
            self.send(index, &Packet::PubRel(Ack::new(packet_id, ReasonCode::Success)), out);
        }
        let waiting = self.session(index).queued();
        if let Some(connection) = &mut self.session(index).connection
            && let Some(rates) = &mut connection.rates
        {
            rates.stored_left = waiting;
        }
        self.send_owed(now, index, out);
    }

    pub(crate) fn on_congested(&mut self, conn: crate::ConnId) {
        let Some(index) = self.session_of(conn) else { return };
        if let Some(connection) = &mut self.session(index).connection {
            connection.congested = true;
        }
    }

    pub(crate) fn on_writable(&mut self, now: Now, conn: crate::ConnId, out: &mut Outbox) {
        let Some(index) = self.session_of(conn) else { return };
        let session = self.session(index);
        session.last_packet = now.moment;
        if let Some(connection) = &mut session.connection {
            connection.congested = false;
        }
        self.send_owed(now, index, out);
        self.remind_of_next(index);
    }

    pub(crate) fn on_puback(
        &mut self,
        now: Now,
        index: u32,
        ack: &Ack<'_>,
        out: &mut Outbox,
    ) -> Result<(), Violation> {
        if let Some(outbound) = &mut self.session(index).outbound
            && let Some(at) = outbound.position(ack.packet_id, Stage::Published)
            && outbound.inflight.get(at).is_some_and(|held| held.qos == QoS::One)
        {
            let removed = outbound.remove(at);
            if ack.reason_code.is_error() {
                self.stats.drop_one(Dropped::Rejected);
            }
            self.record_settled(index, removed.map(|held| held.owed));
            self.confirm(index, ack.packet_id, ack.reason_code, out);
            self.send_owed(now, index, out);
        }
        Ok(())
    }

    /// PUBREC: the client has it, or refuses it and gives the quota back [MQTT-4.3.3-4].
    pub(crate) fn on_pubrec(
        &mut self,
        now: Now,
        index: u32,
        ack: &Ack<'_>,
        out: &mut Outbox,
    ) -> Result<(), Violation> {
        let session = self.session(index);
        let (slot, persistent) = (session.slot, session.is_persistent());
        let client_id = Arc::clone(&session.client_id);
        let Some(outbound) = &mut session.outbound else {
            self.release(index, ack.packet_id, ReasonCode::PacketIdentifierNotFound, None, out);
            return Ok(());
        };
        let at = outbound.position(ack.packet_id, Stage::Published);
        let at = at.filter(|at| outbound.inflight.get(*at).is_some_and(|h| h.qos == QoS::Two));
        let packet_id = ack.packet_id.number();
        let Some(at) = at else {
            let is_known = outbound.position(ack.packet_id, Stage::Released).is_some();
            if ack.reason_code.is_error() {
                return Ok(());
            }
            let reason =
                if is_known { ReasonCode::Success } else { ReasonCode::PacketIdentifierNotFound };
            self.release(index, ack.packet_id, reason, None, out);
            return Ok(());
        };
        if ack.reason_code.is_error() {
            let removed = outbound.remove(at);
            self.stats.drop_one(Dropped::Rejected);
            self.record_settled(index, removed.map(|held| held.owed));
            self.send_owed(now, index, out);
            return Ok(());
        }
        outbound.release(at);
        let gate = persistent.then(|| self.record(slot, Record::Released { client_id, packet_id }));
        self.release(index, ack.packet_id, ReasonCode::Success, gate, out);
        Ok(())
    }

    fn release(
        &mut self,
        index: u32,
        packet_id: PacketId,
        reason: ReasonCode,
        gate: Option<Lsn>,
        out: &mut Outbox,
    ) {
        self.acknowledge(index, &Packet::PubRel(Ack::new(packet_id, reason)), gate, out);
    }

    pub(crate) fn on_pubcomp(
        &mut self,
        now: Now,
        index: u32,
        ack: &Ack<'_>,
        out: &mut Outbox,
    ) -> Result<(), Violation> {
        if let Some(outbound) = &mut self.session(index).outbound
            && let Some(at) = outbound.position(ack.packet_id, Stage::Released)
        {
            let removed = outbound.remove(at);
            self.record_settled(index, removed.map(|held| held.owed));
            self.send_owed(now, index, out);
        }
        Ok(())
    }
}

impl Session {
    /// It is connected, and its window has room for another message.
    pub(crate) fn has_room(&self) -> bool {
        let Some(connection) = &self.connection else { return false };
        !connection.congested
            && self.outbound.as_ref().is_none_or(|outbound| {
                outbound.queue.is_empty()
                    && outbound.unsent == 0
                    && outbound.has_room(connection.window)
            })
    }
}
