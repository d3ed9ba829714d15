//! A Session: who it belongs to, what it subscribes to, what it is owed and how long it lives.
//!
//! A session outlives its Network Connections by its Session Expiry Interval. Everything about it
//! is decided on the shard that owns its Client Identifier.

mod alias;
mod connect;
mod end;
mod expiry;
mod inbound;
mod outbound;
mod publish_frame;
mod queue;
mod restore;
mod scan;
mod share;
mod subscribe;
mod will;

use core::net::SocketAddr;
use std::collections::VecDeque;
use std::sync::Arc;

use bitts_mqtt::{Packet, ProtocolVersion, SubscriptionOptions};
use smallvec::SmallVec;

use crate::input::ConnId;
use crate::outbox::{Frame, Outbox, SessionRef};
use crate::permit::Access;
use crate::rates::ConnectionRates;
use crate::reason::Cause;
use crate::record::{Gates, Lsn};
use crate::reserved::held::Held;
use crate::route::shape::Shape;
use crate::shard::Shard;
use crate::slot::{NameKey, Slot};
use crate::time::Moment;
#[cfg(doc)]
use crate::timers::NEVER;

pub use connect::assigned_client_id;
pub(crate) use outbound::{Delivery, Identifiers, Once, Transit};
pub(crate) use queue::{Queue, Queued};

use alias::{InboundAliases, OutboundAliases};
use inbound::Inbound;
use outbound::Outbound;
use scan::{EarlyCopy, Scan};
use subscribe::PendingSubAck;
use will::SessionWill;

/// Never expires.
pub(crate) const EXPIRY_NEVER: u32 = u32::MAX;

/// The Network Connection of a connected session, and what was agreed for it.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: ConnId,
    /// The client's address, and the listener's.
    pub(crate) source: SocketAddr,
    pub(crate) target: SocketAddr,
    /// Takes no more bytes for now.
    pub(crate) congested: bool,
    /// The client wants Reason Strings and User Properties on failures [MQTT-3.1.2-29].
    pub(crate) problem_information: bool,
    /// The most unacknowledged QoS 1 and 2 messages the client takes.
    pub(crate) window: u16,
    /// The largest packet the client takes, in bytes.
    pub(crate) packet_bytes_max: u32,
    pub(crate) inbound_aliases: Option<Box<InboundAliases>>,
    pub(crate) outbound_aliases: Option<Box<OutboundAliases>>,
    /// Acknowledgements wait at least for this position, so that they leave in order.
    pub(crate) ack_gate: Lsn,
    /// The position of the CONNACK, or of a Will: nothing leaves before it [MQTT-3.2.0-1].
    pub(crate) open_gate: Lsn,
    /// The highest position that a frame waits for: DISCONNECT is the last [MQTT-3.14.4-1].
    pub(crate) last_gate: Lsn,
    /// When it ends by itself, whoever its client is.
    pub(crate) ends: Moment,
    pub(crate) is_websocket: bool,
    /// What it did lately, where rates are asked for.
    pub(crate) rates: Option<Box<ConnectionRates>>,
    /// QoS 2 identifiers that the client opened on this connection and has not released.
    pub(crate) received: u32,
    /// Requests on reserved topics that are not carried out, and what waits behind them.
    pub(crate) held: Option<Box<Held>>,
    /// Positions that its PUBACK packets wait for, in order; those that are durable have left.
    #[expect(clippy::box_collection, reason = "most connections have none, and it is four words")]
    pub(crate) unacknowledged: Option<Box<VecDeque<Lsn>>>,
}

impl Connection {
    /// Whether a frame that waits for `gate` may leave at once.
    pub(crate) fn is_open(&self, gate: Lsn, gates: &Gates) -> bool {
        gate.max(self.open_gate) <= gates.durable
    }

    /// Sends a frame that promises nothing, but not before the CONNACK nor before frames of its
    /// kind that wait for that.
    pub(crate) fn push_free(&mut self, frame: Frame, gates: &mut Gates, out: &mut Outbox) {
        self.open_gate = self.push(frame, self.open_gate, gates, out);
    }

    /// Sends a frame once everything up to `gate` is durable; returns the position it waits for.
    pub(crate) fn push(
        &mut self,
        frame: Frame,
        gate: Lsn,
        gates: &mut Gates,
        out: &mut Outbox,
    ) -> Lsn {
        let gate = gate.max(self.open_gate);
        if gate <= gates.durable {
            out.frames.push(frame);
            return gate;
        }
        gates.highest = gates.highest.max(gate);
        self.last_gate = gates.highest;
        out.gated.push((gates.highest, frame));
        gates.highest
    }
}

/// A subscription of a session.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    /// As sent, with its `$share` prefix.
    pub(crate) filter: Arc<str>,
    /// With the granted QoS.
    pub(crate) options: SubscriptionOptions,
    /// Subscription Identifier, 0 for none.
    pub(crate) identifier: u32,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client_id: Arc<str>,
    pub(crate) key: NameKey,
    pub(crate) slot: Slot,
    /// Tells users of this position apart.
    pub(crate) generation: u32,
    pub(crate) version: ProtocolVersion,
    /// Session Expiry Interval in seconds; 0 ends it with its connection.
    pub(crate) expiry: u32,
    /// Keep Alive as the client asked for it, in seconds.
    pub(crate) keep_alive: u16,
    /// Keep Alive that counts, in seconds; 0 is none.
    pub(crate) keep_alive_counted: u16,
    pub(crate) connection: Option<Box<Connection>>,
    pub(crate) last_packet: Moment,
    /// When it was connected or disconnected, in milliseconds since 1970.
    pub(crate) changed_unix_ms: u64,
    pub(crate) disconnected_at: Moment,
    pub(crate) cause: Option<Cause>,
    /// Names the latest connection in events.
    pub(crate) identifier: u128,
    pub(crate) version_number: u32,
    /// SHA-256 of the client's certificate, which names its principal.
    pub(crate) certificate: Option<Box<[u8; 32]>>,
    /// Who its client is and what it may do; none where everything is allowed.
    pub(crate) access: Option<Box<Access>>,
    /// The store knows of it.
    pub(crate) is_recorded: bool,
    /// When the shard looks at it again, [`NEVER`] where nothing of it is due.
    pub(crate) reminder: Moment,
    /// By filter.
    pub(crate) subscriptions: Vec<Subscription>,
    /// None where no filter has a wildcard.
    pub(crate) shapes: Option<Box<Shapes>>,
    pub(crate) will: Option<Box<SessionWill>>,
    pub(crate) inbound: Option<Box<Inbound>>,
    pub(crate) outbound: Option<Box<Outbound>>,
    pub(crate) extra: Option<Box<Extra>>,
}

/// What a session needs while retained messages or answers to SUBSCRIBE are under way.
#[derive(Debug, Default)]
pub(crate) struct Extra {
    pub(crate) scans: Vec<Scan>,
    /// Filters whose retained messages are due when the scan under way is done.
    pub(crate) scans_waiting: VecDeque<Arc<str>>,
    pub(crate) early_copies: Vec<EarlyCopy>,
    pub(crate) subacks: VecDeque<PendingSubAck>,
}

/// What a session's filters with wildcards cost a router.
#[derive(Debug, Default)]
pub(crate) struct Shapes {
    /// The shapes of its filters, and how many filters have each.
    pub(crate) shaped: SmallVec<[(Shape, u32); 1]>,
    /// Its filters that are too deep for a shape.
    pub(crate) deep: usize,
}

impl Extra {
    fn is_empty(&self) -> bool {
        self.scans.is_empty()
            && self.scans_waiting.is_empty()
            && self.early_copies.is_empty()
            && self.subacks.is_empty()
    }
}

impl Session {
    /// Lets go of the memory for what is not under way any more.
    pub(crate) fn let_go_of_extra(&mut self) {
        if self.extra.as_ref().is_some_and(|extra| extra.is_empty()) {
            self.extra = None;
        }
    }

    /// It outlives its connection.
    pub(crate) fn is_persistent(&self) -> bool {
        self.expiry > 0
    }

    pub(crate) fn is_mqtt5(&self) -> bool {
        self.version == ProtocolVersion::V5
    }

    /// Messages waiting for the client.
    pub(crate) fn queued(&self) -> usize {
        self.outbound.as_ref().map_or(0, |outbound| outbound.queue.len())
    }

    /// The position of a subscription, or where it would be.
    pub(crate) fn find_subscription(&self, filter: &str) -> Result<usize, usize> {
        self.subscriptions.binary_search_by(|held| (*held.filter).cmp(filter))
    }
}

/// The name of a session in events: a version 4 UUID.
pub(crate) fn uuid_text(random: u128) -> String {
    let random = (random & !(0xF000_u128 << 64) & !(0xC000_u128 << 48)) | (4 << 76) | (0x8 << 60);
    let hex = format!("{random:032x}");
    let part = |range| hex.get(range).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0..8), part(8..12), part(12..16), part(16..20), part(20..32))
}

impl Shard {
    pub(crate) fn session_ref(&self, index: u32) -> SessionRef {
        let generation = self.sessions.get(index as usize).map_or(0, |session| session.generation);
        SessionRef { shard: self.id, index, generation }
    }

    /// The position a reference stands for, if its session still exists.
    pub(crate) fn resolve(&self, session: SessionRef) -> Option<u32> {
        let held = self.sessions.get(session.index as usize)?;
        (held.generation == session.generation).then_some(session.index)
    }

    /// Sends a packet at once.
    pub(crate) fn send(&mut self, index: u32, packet: &Packet<'_>, out: &mut Outbox) {
        let session = &mut self.sessions[index as usize];
        if let Some(connection) = &mut session.connection {
            let frame = encode_frame(connection.id, packet, session.version, out);
            if frame.bytes() <= connection.packet_bytes_max {
                connection.push_free(frame, &mut self.gates, out);
            }
        }
    }

    /// Sends an acknowledgement once everything up to `gate` is durable, behind earlier ones. One
    /// that is larger than the client takes is not sent and counted [MQTT-3.1.2-24].
    pub(crate) fn acknowledge(
        &mut self,
        index: u32,
        packet: &Packet<'_>,
        gate: Option<Lsn>,
        out: &mut Outbox,
    ) {
        let session = &mut self.sessions[index as usize];
        let Some(connection) = &mut session.connection else { return };
        let frame = encode_frame(connection.id, packet, session.version, out);
        if frame.bytes() > connection.packet_bytes_max {
            *self.stats.denied.entry("acknowledgement_too_large").or_default() += 1;
            return;
        }
        if let Some(held) = connection.held.as_mut().filter(|held| held.is_holding()) {
            let mut bytes = Vec::new();
            out.copy_frame(&frame, &mut bytes);
            if !held.push(bytes, gate.unwrap_or_default()) {
                *self.stats.denied.entry("acknowledgements_too_many").or_default() += 1;
            }
            return;
        }
        let gate = connection.ack_gate.max(gate.unwrap_or_default());
        connection.ack_gate = connection.push(frame, gate, &mut self.gates, out);
    }
}

/// Encodes a packet for one receiver.
pub(crate) fn encode_frame(
    conn: ConnId,
    packet: &Packet<'_>,
    version: ProtocolVersion,
    out: &mut Outbox,
) -> Frame {
    let start = out.bytes.len();
    bitts_mqtt::encode(packet, version, &mut out.bytes);
    let len = out.bytes.len() - start;
    Frame {
        conn,
        start: start as u64,
        len: len as u32,
        tail_start: 0,
        tail_len: 0,
        packet_id_at: 0,
        packet_id: 0,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_session_is_named_by_a_version_4_uuid() {
        assert_eq!(super::uuid_text(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(super::uuid_text(0), "00000000-0000-4000-8000-000000000000");
    }
}
