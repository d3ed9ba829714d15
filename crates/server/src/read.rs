//! From readable sockets to inputs of the shard.
//!
//! One connection gets one read of [`READ_BYTES`] in a turn; what it causes is flushed as soon as
//! it is much, and what is left of its bytes waits for the next turn.

use bitts_broker::{ConnId, Input, Loss, Moment, ShardId};
use bitts_mqtt::{Packet, ProtocolVersion, QoS};

use crate::conn::{Conn, Phase, READ_BYTES, Readiness};
use crate::flush::GATED_MAX;
use crate::greet::Greeted;
use crate::identify::{Credentials, Pending};
use crate::mesh::Mail;
use crate::metrics::Refusal;
use crate::worker::Worker;

/// What happens to a connection after some of its bytes were used.
enum Then {
    /// What is left is the beginning of a packet.
    Wait,
    /// There are more packets, for the next turn.
    Again,
    /// It goes to the shard that owns its client.
    HandOver(ShardId),
    /// Who its client is takes longer to find out; then it goes to its owner.
    Identify(Box<Credentials>, ShardId),
    /// It is not answered.
    Refuse(Refusal),
}

/// Whether a connection is not read now. Who takes no answers makes us owe no more of them, nor
/// does one whose answers wait for the store.
fn is_held_back(conn: &mut Conn, write_bytes_max: usize, now: Moment) -> bool {
    let is_held = conn.gated > GATED_MAX || conn.writes.len() > write_bytes_max;
    conn.is_held |= is_held;
    is_held || conn.waits_for_disk || conn.pace.as_ref().is_some_and(|pace| pace.1 > now)
}

/// Whether a packet may ask for something to be kept.
fn is_kept(packet: &Packet<'_>) -> bool {
    matches!(packet, Packet::Publish(publish) if publish.qos > QoS::Zero)
}

impl Worker {
    pub(crate) fn read_ready(&mut self) {
        let mut ready = std::mem::take(&mut self.ready);
        for id in ready.drain(..) {
            self.read_conn(id);
            self.flush_if_large();
        }
        // Whoever has more to read was listed again meanwhile.
        ready.append(&mut self.ready);
        self.ready = ready;
    }

    fn read_conn(&mut self, id: ConnId) {
        let at = id.index as usize;
        let Some(conn) = self.conns.get_mut(at).filter(|conn| conn.id == id) else { return };
        conn.is_listed = false;
        if conn.preamble.is_some() && !self.introduce(id) {
            return;
        }
        let Some(conn) = self.conns.get_mut(at).filter(|conn| conn.id == id) else { return };
        if is_held_back(conn, self.limits.write_bytes_max + READ_BYTES, self.now.moment) {
            return;
        }
        let have = conn.partial.len();
        // A large packet grows where it is, a cut one is completed in the shared buffer.
        let is_large = have >= READ_BYTES;
        let mut bytes = std::mem::take(if is_large { &mut conn.partial } else { &mut self.buffer });
        if !is_large && have > 0 {
            let needed = bytes.len().max(have);
            bytes.resize(needed, 0);
            if let Some(front) = bytes.get_mut(..have) {
                front.copy_from_slice(&conn.partial);
            }
        }
        let (len, readiness) = if std::mem::take(&mut conn.has_packets) {
            (have, Readiness::More)
        } else {
            conn.read(&mut bytes, have)
        };
        if conn.layers.is_some() && conn.has_to_write() {
            self.mark_dirty(id);
        }
        self.pace(id, len - have);
        let (used, then) = self.take_bytes(id, bytes.get(..len).unwrap_or_default());
        let rest = if is_large && used == 0 {
            bytes.truncate(len);
            bytes
        } else {
            let rest = bytes.get(used..len).unwrap_or_default().to_vec();
            if !is_large {
                self.buffer = bytes;
            }
            rest
        };
        let is_new = used > 0 || have == 0;
        self.keep(id, rest, is_new);
        self.limit_unread_bytes();
        match then {
            Then::Wait if readiness == Readiness::Ended => self.on_ended(id),
            Then::Wait if readiness == Readiness::More => self.list(id),
            Then::Wait => {}
            Then::Again => {
                if let Some(conn) = self.conn(id) {
                    conn.has_packets = !conn.partial.is_empty();
                }
                self.list(id);
            }
            Then::HandOver(owner) => self.hand_over(id, owner),
            Then::Identify(credentials, owner) => self.identify(id, *credentials, owner),
            Then::Refuse(refusal) => {
                self.counters.refuse(refusal);
                self.drop_conn(id);
            }
        }
    }

    /// Counts what a client sent, where that has a rate; above it the client is not read for a
    /// while.
    fn pace(&mut self, id: ConnId, bytes: usize) {
        let (now, per_second) = (self.now.moment, self.limits.throughput_max);
        if per_second == 0 || bytes == 0 {
            return;
        }
        let Some(conn) = self.conn(id) else { return };
        let pace = conn.pace.get_or_insert_default();
        let until = pace.0.charge(now, per_second, u32::try_from(bytes).unwrap_or(u32::MAX));
        if until > now {
            pace.1 = until;
            self.pace_watch.set(until, id);
        }
    }

    /// Reads what a proxy tells of the client; `false` where that is not complete, or refused.
    fn introduce(&mut self, id: ConnId) -> bool {
        let Some(conn) = self.conns.get_mut(id.index as usize).filter(|conn| conn.id == id) else {
            return false;
        };
        let refusal = match conn.read_preamble() {
            Ok(false) => return false,
            Ok(true) => {
                let address = conn.source.ip();
                let may_begin = self.greetings.may_begin(address, &self.limits);
                self.greetings.add_address(address);
                if may_begin {
                    return true;
                }
                Refusal::AddressLimit
            }
            Err(_) => Refusal::NotProxied,
        };
        self.counters.refuse(refusal);
        self.drop_conn(id);
        false
    }

    /// Uses as many bytes as are whole packets and fit this turn. Hot: once per read.
    fn take_bytes(&mut self, id: ConnId, bytes: &[u8]) -> (usize, Then) {
        let mut used = 0;
        loop {
            let rest = bytes.get(used..).unwrap_or_default();
            let Some(phase) = self.conn(id).map(|conn| conn.phase) else {
                return (bytes.len(), Then::Wait);
            };
            if rest.is_empty() {
                return (used, Then::Wait);
            }
            if self.is_large() {
                return (used, Then::Again);
            }
            match phase {
                Phase::Closing => return (bytes.len(), Then::Wait),
                Phase::Greeting => match self.greet(id, rest) {
                    Greeted::NeedMore => return (used, Then::Wait),
                    Greeted::Taken(len) => used += len,
                    Greeted::For(owner) => return (used, Then::HandOver(owner)),
                    Greeted::Identify(credentials, owner) => {
                        return (used, Then::Identify(credentials, owner));
                    }
                    Greeted::Refused(refusal) => return (used, Then::Refuse(refusal)),
                },
                Phase::Open(version) => {
                    let (len, is_done) = self.take_packets(id, version, rest);
                    used += len;
                    if is_done {
                        return (used, Then::Wait);
                    }
                }
            }
        }
    }

    fn hold_for_disk(&mut self, id: ConnId) {
        if let Some(conn) = self.conn(id) {
            conn.waits_for_disk = true;
        }
    }

    /// There is space again: everybody is read.
    pub(crate) fn read_those_that_waited(&mut self) {
        for (_, conn) in &mut self.conns {
            if std::mem::take(&mut conn.waits_for_disk) && !conn.is_listed {
                conn.is_listed = true;
                self.ready.push(conn.id);
            }
        }
    }

    /// Hands packets to the shard; returns their bytes, and whether what follows is not a packet
    /// yet.
    fn take_packets(
        &mut self,
        id: ConnId,
        version: ProtocolVersion,
        bytes: &[u8],
    ) -> (usize, bool) {
        let mut used = 0;
        while !self.is_large() {
            let rest = bytes.get(used..).unwrap_or_default();
            let packet = bitts_mqtt::split(rest, self.packet_bytes_max).and_then(|frame| {
                frame.map(|frame| Ok((frame.len, bitts_mqtt::decode(version, &frame)?))).transpose()
            });
            match packet {
                Ok(Some((len, packet))) => {
                    used += len;
                    self.handle(Input::Packet { conn: id, packet: &packet });
                    if self.is_disk_full && version == ProtocolVersion::V3_1_1 && is_kept(&packet) {
                        self.hold_for_disk(id);
                        return (used, false);
                    }
                }
                Ok(None) => return (used, true),
                Err(error) => {
                    self.handle(Input::Undecodable { conn: id, error, first: None });
                    self.set_phase(id, Phase::Closing);
                    return (bytes.len(), true);
                }
            }
        }
        (used, false)
    }

    /// Keeps what is left of a connection's bytes, and sees to it that a packet once begun is
    /// finished.
    fn keep(&mut self, id: ConnId, rest: Vec<u8>, is_new: bool) {
        let now = self.now.moment;
        let timeout = self.limits.packet_timeout.as_millis() as u64;
        let Some(conn) = self.conns.get_mut(id.index as usize).filter(|conn| conn.id == id) else {
            return;
        };
        let held = rest.capacity();
        conn.partial = rest;
        if held > 0 && is_new {
            conn.begun_at = now;
        }
        self.unread_bytes += held;
        self.unread_bytes -= std::mem::replace(&mut conn.unread, held);
        match conn.phase {
            Phase::Greeting => {
                let before = std::mem::replace(&mut conn.counted, held);
                self.greetings.holds(before, held);
                self.limit_greeting_bytes();
            }
            Phase::Open(_) if held > 0 && !conn.is_packet_watched => {
                conn.is_packet_watched = true;
                self.packet_watch.set(now.plus_millis(timeout), id);
            }
            Phase::Open(_) | Phase::Closing => {}
        }
    }

    /// Puts off the clients that hold the most bytes of packets that are not finished.
    fn limit_unread_bytes(&mut self) {
        while self.unread_bytes > self.limits.unread_bytes_max / self.lanes.len().max(1) {
            let open = self.conns.iter().map(|(_, conn)| conn);
            let open = open.filter(|conn| matches!(conn.phase, Phase::Open(_)));
            let biggest = open.max_by_key(|conn| conn.unread).filter(|conn| conn.unread > 0);
            let Some(biggest) = biggest.map(|conn| conn.id) else { return };
            self.handle(Input::Lost { conn: biggest, loss: Loss::UnreadBytes });
            self.keep(biggest, Vec::new(), true);
        }
    }

    /// Closes the connections that hold the most bytes before their CONNECT is complete.
    fn limit_greeting_bytes(&mut self) {
        while self.greetings.bytes() > self.limits.greeting_bytes_max / self.lanes.len().max(1) {
            let ids: Vec<ConnId> = self.greetings.ids().collect();
            let held = |id: &ConnId| {
                let conn = self.conns.get(id.index as usize).filter(|conn| conn.id == *id);
                conn.filter(|conn| conn.phase == Phase::Greeting).map_or(0, |conn| conn.counted)
            };
            let Some(biggest) = ids.iter().copied().max_by_key(held) else { return };
            self.counters.refuse(Refusal::GreetingBytes);
            self.drop_conn(biggest);
        }
    }

    /// Reads it again in the next turn.
    pub(crate) fn list(&mut self, id: ConnId) {
        if let Some(conn) = self.conn(id)
            && !conn.is_listed
        {
            conn.is_listed = true;
            self.ready.push(id);
        }
    }

    /// The peer sends no more.
    fn on_ended(&mut self, id: ConnId) {
        if let Some(layers) = self.conn(id).and_then(|conn| conn.layers.as_mut()) {
            // A handshake that failed and a Close frame have an answer.
            layers.say_goodbye();
            self.write(id);
        }
        match self.conn(id).map(|conn| conn.phase) {
            Some(Phase::Open(_)) => {
                let layers = self.conn(id).and_then(|conn| conn.layers.as_ref());
                let loss = layers.map_or(Loss::Broken, |layers| layers.loss());
                self.handle(Input::Lost { conn: id, loss });
            }
            Some(Phase::Greeting) => {
                self.counters.refuse(Refusal::ClosedBeforeConnect);
                self.drop_conn(id);
            }
            Some(Phase::Closing) => self.drop_conn(id),
            None => {}
        }
    }

    /// Lets a connection out of the loop until it is known whose it is.
    fn identify(&mut self, id: ConnId, credentials: Credentials, owner: ShardId) {
        let Some(mut conn) = self.release(id) else { return };
        conn.phase = Phase::Greeting;
        let pending = Pending { conn, credentials, owner };
        let sent = self.identify.as_ref().map(|identify| identify.pending.try_send(pending));
        if !matches!(sent, Some(Ok(()))) {
            self.counters.refuse(Refusal::TooManyGreetings);
        }
    }

    fn hand_over(&mut self, id: ConnId, owner: ShardId) {
        if let Some(mut conn) = self.release(id) {
            conn.phase = Phase::Greeting;
            if let Some(lane) = self.lanes.get_mut(usize::from(owner.0)) {
                lane.push(Mail::Conn(conn));
            }
        }
    }
}
