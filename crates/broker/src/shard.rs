//! The core's one function: [`Shard::handle`] applies an input and appends what must happen next.
//!
//! A shard owns whole sessions, the retained messages of its topics and its `$share` groups;
//! nothing else ever sees them. The match in [`Shard::handle`] is the table of contents: each arm
//! names the function, and its file, where that input is decided.

use std::collections::BTreeMap;
use std::sync::Arc;

use bitts_aws::registry::Registry;
use bitts_mqtt::Packet;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use slab::Slab;
use smallvec::smallvec;

use crate::checkpoint::{self, Checkpoint};
use crate::direct::Confirmations;
use crate::hold_off::HoldOffs;
use crate::input::{ConnId, Input, Loss};
use crate::limits::Limits;
use crate::outbox::Outbox;
use crate::paging::Paging;
use crate::permit::Authority;
use crate::presence::Disconnects;
use crate::profile::Profile;
use crate::rates::{AccountRate, NameRate, Rates};
use crate::reason::{Cause, Stats, Violation};
use crate::record::{Batch, Gates, LogId, Lsn, Record, Taken};
use crate::reserved::Reserved;
use crate::route::retained::RetainedTable;
use crate::route::share::Groups;
use crate::route::{Interest, Matches, Router};
use crate::session::Session;
use crate::slot::{Placement, ShardId, Slot};
use crate::time::{Moment, Now};
use crate::timers::{Reminder, Timers};

/// A hash table whose hash is keyed, so that clients cannot choose names that collide.
pub(crate) type Map<K, V> = HashMap<K, V, FixedState>;

pub(crate) fn map<K, V>(seed: u64) -> Map<K, V> {
    HashMap::with_hasher(FixedState::with_seed(seed))
}

/// One core's sessions and everything that happens to them.
#[derive(Debug)]
pub struct Shard {
    pub(crate) id: ShardId,
    pub(crate) placement: Placement,
    pub(crate) limits: Limits,
    pub(crate) profile: Profile,
    /// Who decides what clients may do; without one everything is allowed.
    pub(crate) authority: Option<Authority>,
    pub(crate) rates: Rates,
    pub(crate) connect_rates: NameRate,
    pub(crate) retain_rates: NameRate,
    pub(crate) sessions: Slab<Session>,
    pub(crate) by_client: Map<Arc<str>, u32>,
    /// By [`ConnId::index`]: the connection's generation and its session.
    pub(crate) conns: Vec<Option<(u32, u32)>>,
    pub(crate) router: Router,
    pub(crate) interest: Arc<Interest>,
    pub(crate) retained: RetainedTable,
    pub(crate) groups: Groups,
    pub(crate) disconnects: Disconnects,
    pub(crate) reserved: Reserved,
    pub(crate) confirmations: Confirmations,
    pub(crate) hold_offs: HoldOffs,
    /// Where the client that is put off by this input is told to go.
    pub(crate) server_reference: Option<Arc<str>>,
    pub(crate) timers: Timers,
    pub(crate) stats: Stats,
    /// Bytes waiting in all sessions, and in all groups.
    pub(crate) queued_bytes: usize,
    pub(crate) parked_bytes: usize,
    pub(crate) paging: Paging,
    pub(crate) connected: usize,
    pub(crate) next_generation: u32,
    pub(crate) next_scan: u32,
    /// The position of the batch that this input fills, and what is known to be durable.
    pub(crate) lsn: Lsn,
    pub(crate) gates: Gates,
    /// The position of the last Will that was published. Events come behind it.
    pub(crate) will_gate: Lsn,
    /// The number of the next message that this shard puts into the log.
    pub(crate) next_entry: u64,
    /// How much of other shards' logs this one took: for sessions, and to retain.
    pub(crate) taken: BTreeMap<(ShardId, bool), u64>,
    pub(crate) is_disk_full: bool,
    pub(crate) checkpoint: Option<Box<Checkpoint>>,
    pending: Vec<(Slot, Record)>,
    /// Kept between messages for its capacity.
    pub(crate) matches: Matches,
    pub(crate) scratch: Vec<u8>,
}

impl Shard {
    /// A shard with nothing in it. `limits` are those of one shard ([`Limits::per_shard`]).
    #[must_use]
    pub fn new(id: ShardId, placement: Placement, limits: Limits, interest: Arc<Interest>) -> Self {
        let seed = placement.seed();
        let paging = Paging::new(limits.queued_memory_max);
        Self {
            id,
            placement,
            limits,
            profile: Profile::Open,
            authority: None,
            rates: Rates::default(),
            connect_rates: NameRate::new(seed),
            retain_rates: NameRate::new(seed),
            sessions: Slab::new(),
            by_client: map(seed),
            conns: Vec::new(),
            router: Router::new(id, Arc::clone(&interest), seed),
            interest,
            retained: RetainedTable::default(),
            groups: Groups::new(seed),
            disconnects: Disconnects::new(seed),
            reserved: Reserved::new(seed),
            confirmations: Confirmations::default(),
            hold_offs: HoldOffs::new(seed),
            server_reference: None,
            timers: Timers::default(),
            stats: Stats::default(),
            queued_bytes: 0,
            parked_bytes: 0,
            paging,
            connected: 0,
            next_generation: 0,
            next_scan: 0,
            lsn: Lsn(1),
            gates: Gates::default(),
            will_gate: Lsn::default(),
            next_entry: 1,
            taken: BTreeMap::new(),
            is_disk_full: false,
            checkpoint: None,
            pending: Vec::new(),
            matches: Matches::default(),
            scratch: Vec::new(),
        }
    }

    /// The same shard under the rules of a profile.
    #[must_use]
    pub fn with_profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self.router.set_matches_parent(profile.matches_parent());
        self
    }

    /// The same shard where clients may do what a registry says, and nothing else.
    #[must_use]
    pub fn with_registry(mut self, registry: Arc<Registry>) -> Self {
        self.authority = Some(Authority::new(registry, self.placement.seed()));
        self
    }

    /// Whether a certificate is new to the registry and an authority may register it.
    #[must_use]
    pub fn may_register(&self, certificate: &[u8; 32]) -> bool {
        self.authority.as_ref().is_some_and(|it| it.may_register(certificate))
    }

    /// The same shard with rates that clients are held to.
    #[must_use]
    pub fn with_rates(mut self, rates: Rates) -> Self {
        self.rates = rates;
        self
    }

    /// Whether the account may do one more of this in this second.
    pub(crate) fn account_may(&self, now: Now, which: AccountRate, per_second: u32) -> bool {
        self.interest.account().take(which, now.moment, per_second)
    }

    /// Applies one input and appends what must happen next to `out`.
    ///
    /// Runs to completion: on return nothing is pending inside the shard, so inputs may be applied
    /// back to back and `out` performed once per turn. `now` never goes back.
    pub fn handle(&mut self, now: Now, input: Input<'_>, out: &mut Outbox) {
        match input {
            Input::Packet { conn, packet } => self.on_packet(now, conn, packet, out),
            Input::Message(message) => self.on_message(now, &message, out),
            Input::Parcel { from, parcel } => self.on_parcel(now, from, parcel, out),
            Input::Connect { conn, connect, origin, proof } => {
                self.on_connect(now, conn, connect, (origin, proof), out);
            }
            Input::Undecodable { conn, error, first } => {
                self.on_undecodable(now, conn, error, first, out);
            }
            Input::Lost { conn, loss } => self.on_lost(now, conn, loss, out),
            Input::Refreshed { conn, proof } => self.on_refreshed(now, conn, proof, out),
            Input::Congested { conn } => self.on_congested(conn),
            Input::Writable { conn } => self.on_writable(now, conn, out),
            Input::Command { command, reply } => self.on_command(now, command, reply, out),
            Input::Durable(lsn) => {
                self.gates.durable = self.gates.durable.max(lsn);
                self.call_answers(out);
            }
            Input::Loaded { session, page, bytes } => {
                self.on_loaded(now, session, page, bytes, out);
            }
            Input::DiskFull(is_full) => self.is_disk_full = is_full,
            Input::Checkpoint { begin } => {
                if begin {
                    self.begin_checkpoint();
                }
                self.go_on_with_checkpoint(out);
            }
            Input::Tick => self.on_tick(now, out),
            Input::Shutdown => self.on_shutdown(now, out),
        }
        self.server_reference = None;
        self.seal(out);
    }

    /// The next moment at which [`Input::Tick`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        self.timers.next()
    }

    /// The counters, with the gauges as they stand.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            connections: self.connected as u64,
            sessions: self.sessions.len() as u64,
            subscriptions: self.sessions.iter().map(|(_, s)| s.subscriptions.len() as u64).sum(),
            retained: self.retained.len() as u64,
            retained_bytes: self.retained.bytes() as u64,
            shadows: self.reserved.shadows.len() as u64,
            shadow_bytes: self.reserved.shadows.bytes() as u64,
            queued: self.sessions.iter().map(|(_, session)| session.queued() as u64).sum(),
            queued_bytes: (self.queued_bytes + self.parked_bytes) as u64,
            queued_memory: self.paging.memory as u64,
            ..self.stats.clone()
        }
    }

    fn on_packet(&mut self, now: Now, conn: ConnId, packet: &Packet<'_>, out: &mut Outbox) {
        let Some(index) = self.session_of(conn) else { return };
        if let Some(session) = self.sessions.get_mut(index as usize) {
            session.last_packet = now.moment;
        }
        let outcome = match packet {
            Packet::Publish(publish) => self.on_publish(now, index, publish, out),
            Packet::PubAck(ack) => self.on_puback(now, index, ack, out),
            Packet::PubRec(ack) => self.on_pubrec(now, index, ack, out),
            Packet::PubRel(ack) => self.on_pubrel(index, ack, out),
            Packet::PubComp(ack) => self.on_pubcomp(now, index, ack, out),
            Packet::Subscribe(subscribe) => self.on_subscribe(now, index, subscribe, out),
            Packet::Unsubscribe(unsubscribe) => self.on_unsubscribe(now, index, unsubscribe, out),
            Packet::PingReq => {
                self.send(index, &Packet::PingResp, out);
                Ok(())
            }
            Packet::Disconnect(disconnect) => self.on_disconnect(now, index, disconnect, out),
            Packet::Connect(_) => Err(Violation::SecondConnect),
            Packet::Auth(_) => Err(Violation::UnexpectedAuth),
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                Err(Violation::ServerPacket)
            }
        };
        if let Err(violation) = outcome {
            self.end_connection(now, index, Cause::ClientError(violation), out);
        }
    }

    fn on_lost(&mut self, now: Now, conn: ConnId, loss: Loss, out: &mut Outbox) {
        let Some(index) = self.session_of(conn) else { return };
        let cause = match loss {
            Loss::Broken => Cause::ConnectionLost,
            Loss::NotReading => Cause::ClientError(Violation::NotReading),
            Loss::PacketTooSlow => Cause::ClientError(Violation::PacketTooSlow),
            Loss::UnreadBytes => Cause::ClientError(Violation::UnreadBytes),
            Loss::SaidClose if self.profile.takes_close_for_goodbye() => {
                self.discard_will(index);
                Cause::ClientInitiated
            }
            Loss::SaidClose => Cause::ConnectionLost,
            Loss::Revoked => Cause::ForbiddenAccess,
            Loss::WebSocketBroken => Cause::ClientError(Violation::WebSocket),
        };
        self.end_connection(now, index, cause, out);
    }

    fn on_tick(&mut self, now: Now, out: &mut Outbox) {
        while let Some(reminder) = self.timers.due(now.moment) {
            match reminder {
                Reminder::Session(session) => self.look_at(now, session, out),
                Reminder::Group(group) => self.deliver_parked(now, group, out),
                Reminder::Confirmation(conn, packet_id) => {
                    self.confirmation_is_late(conn, packet_id, out);
                }
                Reminder::Shadows => self.forget_shadows(now),
                Reminder::Disconnects => self.forget_disconnects(now.moment),
            }
        }
    }

    fn on_shutdown(&mut self, now: Now, out: &mut Outbox) {
        let connected: Vec<u32> =
            self.conns.iter().flatten().map(|(_, session)| *session).collect();
        for index in connected {
            self.end_connection(now, index, Cause::ServerInitiated, out);
        }
    }

    /// The session of a connection, unless the connection is no longer anybody's.
    pub(crate) fn session_of(&self, conn: ConnId) -> Option<u32> {
        match self.conns.get(conn.index as usize) {
            Some(Some((generation, session))) if *generation == conn.generation => Some(*session),
            _ => None,
        }
    }

    /// The session at a position that is known to be in use.
    pub(crate) fn session(&mut self, index: u32) -> &mut Session {
        &mut self.sessions[index as usize]
    }

    /// Adds a record to the batch of this input and returns the position it will have.
    pub(crate) fn record(&mut self, slot: Slot, record: Record) -> Lsn {
        if let Some(message) = self.keep_named(&record) {
            // Its batch is the first one, and stands before whatever names the message.
            self.pending.insert(0, (checkpoint::SLOT, Record::Kept { message }));
        }
        self.pending.push((slot, record));
        self.lsn
    }

    /// Notes that mail of another shard was taken, up to a message of its log.
    pub(crate) fn take(&mut self, log: Option<LogId>, to_retain: bool, out: &mut Outbox) {
        let Some(LogId { shard: from, number: up_to }) = log else { return };
        self.taken.insert((from, to_retain), up_to);
        match out.taken.iter_mut().find(|held| held.from == from && held.to_retain == to_retain) {
            Some(held) => held.up_to = up_to,
            None => out.taken.push(Taken { from, to_retain, up_to }),
        }
    }

    /// Whether this input made anything that is still to become durable.
    pub(crate) fn is_pending(&self, out: &Outbox) -> bool {
        !self.pending.is_empty() || out.entries.last().is_some_and(|entry| entry.lsn == self.lsn)
    }

    /// Hands the batch of this input over, one per slot.
    pub(crate) fn seal(&mut self, out: &mut Outbox) {
        self.hand_over_pages(out);
        if !self.is_pending(out) {
            return;
        }
        for (slot, record) in self.pending.drain(..) {
            let mut of_input = out.batches.iter_mut().rev().take_while(|b| b.lsn == self.lsn);
            if let Some(batch) = of_input.find(|batch| batch.slot == slot) {
                batch.records.push(record);
            } else {
                let (lsn, records) = (self.lsn, smallvec![record]);
                out.batches.push(Batch { slot, lsn, records });
            }
        }
        self.lsn = Lsn(self.lsn.0 + 1);
    }
}
