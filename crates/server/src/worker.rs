//! The loop of one core: what is ready, applied to the shard, performed. Start reading in
//! [`Worker::run`].
//!
//! A turn takes the mail, accepts, reads what is readable, ticks, and flushes once: see
//! [`Worker::turn`]. Reading is in `read`, performing what the shard asks for in `flush`, what
//! comes before CONNECT in `greet`. The thread owns its sockets, its shard and nothing else.

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bitts_broker::command::Reply;
use bitts_broker::{
    ConnId, Input, Loss, Lsn, Message, Moment, Now, Outbox, Parcel, Profile, ReplyId, Shard,
    ShardId, ShardSet,
};
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::config::ServerLimits;
use crate::conn::{Conn, Phase};
use crate::descriptors;
use crate::greet::Greetings;
use crate::identify::{Again, Inquiries};
use crate::mesh::{Inbox, Mail, Mesh};
use crate::metrics::{Counters, Refusal};
use crate::storage::ShardStore;
use crate::tls::Tls;
use crate::write_buffer::Spares;

pub(crate) const WAKER: Token = Token(usize::MAX);
/// The listeners' tokens are this and the ones before it.
const LISTENER: usize = usize::MAX - 1;
/// Connections accepted in one turn; the rest in the next.
const ACCEPTED_MAX: usize = 64;
/// How long nothing is accepted after the system had no descriptor left.
const ACCEPT_PAUSE_MS: u64 = 100;
/// Connections whose certificates are looked at in one turn, once lists of revoked ones are new.
const LOOKED_AT_FOR_REVOKED: usize = 512;

/// Connections that are looked at when their time has come.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    due: BTreeSet<(Moment, ConnId)>,
}

impl Watch {
    pub(crate) fn set(&mut self, due: Moment, conn: ConnId) {
        self.due.insert((due, conn));
    }

    fn take_due(&mut self, now: Moment) -> Option<ConnId> {
        if self.next_due()? > now {
            return None;
        }
        self.due.pop_first().map(|(_, conn)| conn)
    }

    fn next_due(&self) -> Option<Moment> {
        self.due.first().map(|(due, _)| *due)
    }
}

/// A listening socket of one shard.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: TcpListener,
    /// Connections begin with a TLS handshake.
    tls: Option<Arc<Tls>>,
    /// Connections begin with a header of the PROXY protocol.
    is_proxied: bool,
    may_accept: bool,
}

impl Listener {
    pub(crate) fn new(
        socket: std::net::TcpListener,
        tls: Option<Arc<Tls>>,
        is_proxied: bool,
    ) -> Self {
        Self { socket: TcpListener::from_std(socket), tls, is_proxied, may_accept: true }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) id: ShardId,
    pub(crate) mesh: Mesh,
    pub(crate) shard: Shard,
    pub(crate) out: Outbox,
    pub(crate) store: ShardStore,
    /// Its part of a checkpoint is done, which the store is to hear once it is submitted.
    pub(crate) is_checkpointed: bool,
    /// As the core knows it.
    pub(crate) is_disk_full: bool,
    pub(crate) limits: Arc<ServerLimits>,
    pub(crate) packet_bytes_max: usize,
    pub(crate) profile: Profile,
    pub(crate) counters: Arc<Counters>,
    /// Where connections go whose client brings a password or a token.
    pub(crate) identify: Option<Inquiries>,
    clock: Clock,
    pub(crate) now: Now,
    pub(crate) poll: Poll,
    listeners: Vec<Listener>,
    accept_paused_until: Option<Moment>,
    pub(crate) conns: Slab<Box<Conn>>,
    next_generation: u32,
    pub(crate) greetings: Greetings,
    /// Those that may have something to read.
    pub(crate) ready: Vec<ConnId>,
    /// Those that have something to write.
    pub(crate) dirty: Vec<ConnId>,
    /// Those that the core may send to again.
    pub(crate) relieved: Vec<ConnId>,
    pub(crate) buffer: Vec<u8>,
    pub(crate) spares: Spares,
    mails: Vec<Mail>,
    /// Mail to this shard itself, for the next turn.
    pub(crate) own_mails: Vec<Mail>,
    pub(crate) lanes: Vec<Vec<Mail>>,
    pub(crate) replies: Slab<oneshot::Sender<Reply>>,
    pub(crate) durable: Lsn,
    pub(crate) gated: VecDeque<(Lsn, ConnId, Vec<u8>)>,
    pub(crate) gated_parcels: VecDeque<(Lsn, ShardId, Parcel)>,
    pub(crate) gated_messages: VecDeque<(Lsn, ShardSet, Arc<Message>)>,
    pub(crate) gated_replies: VecDeque<(Lsn, ReplyId, Reply)>,
    /// Bytes of all connections that are not written.
    pub(crate) unwritten_bytes: usize,
    /// Bytes of all connections that are the beginning of a packet.
    pub(crate) unread_bytes: usize,
    pub(crate) packet_watch: Watch,
    pub(crate) stall_watch: Watch,
    pub(crate) linger_watch: Watch,
    /// Clients that are read again when their rate has room.
    pub(crate) pace_watch: Watch,
    /// The server stops: when what is left is reset.
    stopping: Option<Moment>,
}

/// What a worker is made of.
pub(crate) struct Parts {
    pub(crate) shard: Shard,
    pub(crate) store: ShardStore,
    pub(crate) id: ShardId,
    pub(crate) mesh: Mesh,
    pub(crate) poll: Poll,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) clock: Clock,
    pub(crate) limits: Arc<ServerLimits>,
    pub(crate) packet_bytes_max: u32,
    pub(crate) profile: Profile,
    pub(crate) counters: Arc<Counters>,
    pub(crate) identify: Option<Inquiries>,
}

impl Worker {
    pub(crate) fn new(parts: Parts) -> io::Result<Self> {
        let Parts { shard, id, mesh, poll, mut listeners, clock, limits, .. } = parts;
        for (at, listener) in listeners.iter_mut().enumerate() {
            let token = Token(LISTENER - at);
            poll.registry().register(&mut listener.socket, token, Interest::READABLE)?;
        }
        let lanes = mesh.inboxes.iter().map(|_| Vec::new()).collect();
        Ok(Self {
            id,
            mesh,
            shard,
            out: Outbox::default(),
            store: parts.store,
            is_checkpointed: false,
            is_disk_full: false,
            limits,
            packet_bytes_max: parts.packet_bytes_max as usize,
            profile: parts.profile,
            counters: parts.counters,
            identify: parts.identify,
            now: clock.now(),
            clock,
            poll,
            listeners,
            accept_paused_until: None,
            conns: Slab::new(),
            next_generation: 0,
            greetings: Greetings::default(),
            ready: Vec::new(),
            dirty: Vec::new(),
            relieved: Vec::new(),
            buffer: Vec::new(),
            spares: Spares::default(),
            mails: Vec::new(),
            own_mails: Vec::new(),
            lanes,
            replies: Slab::new(),
            durable: Lsn::default(),
            gated: VecDeque::new(),
            gated_parcels: VecDeque::new(),
            gated_messages: VecDeque::new(),
            gated_replies: VecDeque::new(),
            unwritten_bytes: 0,
            unread_bytes: 0,
            packet_watch: Watch::default(),
            stall_watch: Watch::default(),
            linger_watch: Watch::default(),
            pace_watch: Watch::default(),
            stopping: None,
        })
    }

    /// Runs until the server stops and every connection is closed.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            self.wait(&mut events)?;
            self.turn();
            if self.stopping.is_some_and(|until| self.conns.is_empty() || until <= self.now.moment)
            {
                return Ok(());
            }
        }
    }

    fn turn(&mut self) {
        self.now = self.clock.now();
        self.look_at_store();
        self.take_mail();
        self.accept();
        self.relieve();
        // While a neighbour has more mail than it keeps up with, nobody reads sockets, and nobody
        // is put off for what was not read.
        if !self.mesh.is_high() && !self.store.is_high() {
            self.read_ready();
            if self.shard.deadline().is_some_and(|due| due <= self.now.moment) {
                self.handle(Input::Tick);
            }
            self.check_watches();
        }
        self.checkpoint();
        self.flush();
    }

    /// Applies an input to the shard.
    pub(crate) fn handle(&mut self, input: Input<'_>) {
        self.shard.handle(self.now, input, &mut self.out);
    }

    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let is_idle = self.ready.is_empty()
            && self.own_mails.is_empty()
            && self.relieved.is_empty()
            && !self.shard.is_checkpointing()
            && !self.may_accept();
        let timeout = if is_idle
            && self.mesh.inbox(self.id).is_some_and(|inbox| inbox.may_sleep(self.durable))
        {
            self.next_due().map(|due| Duration::from_millis(due.millis_since(self.now.moment) + 1))
        } else if self.mesh.is_high() || self.store.is_high() {
            Some(Duration::from_millis(1))
        } else {
            Some(Duration::ZERO)
        };
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            Ok(()) | Err(_) => {}
        }
        if let Some(inbox) = self.mesh.inbox(self.id) {
            inbox.awake();
        }
        for event in events.iter() {
            match event.token() {
                WAKER => {}
                Token(token) => match self.listeners.get_mut(LISTENER.wrapping_sub(token)) {
                    Some(listener) => listener.may_accept = true,
                    None => self.on_readiness(token, event),
                },
            }
        }
        Ok(())
    }

    fn on_readiness(&mut self, index: usize, event: &mio::event::Event) {
        let Some(conn) = self.conns.get_mut(index) else { return };
        let is_readable = event.is_readable() || event.is_read_closed() || event.is_error();
        conn.is_read_closed |= event.is_read_closed() || event.is_error();
        if is_readable && !conn.is_listed {
            conn.is_listed = true;
            self.ready.push(conn.id);
        }
        if event.is_writable() && conn.has_to_write() && !conn.is_dirty {
            conn.is_dirty = true;
            self.dirty.push(conn.id);
        }
    }

    fn next_due(&self) -> Option<Moment> {
        let watches = [&self.packet_watch, &self.stall_watch, &self.linger_watch, &self.pace_watch];
        watches
            .into_iter()
            .filter_map(Watch::next_due)
            .chain(self.shard.deadline())
            .chain(self.greetings.next_due())
            .chain(self.accept_paused_until)
            .chain(self.stopping)
            .min()
    }

    fn take_mail(&mut self) {
        let mut mails = std::mem::take(&mut self.mails);
        if let Some(inbox) = self.mesh.inbox(self.id) {
            inbox.take(&mut mails);
        }
        // Its own comes behind what was there before it.
        mails.append(&mut self.own_mails);
        for mail in mails.drain(..) {
            self.on_mail(mail);
            self.flush_if_large();
        }
        self.mails = mails;
        self.mails.shrink_to(4096);
    }

    fn on_mail(&mut self, mail: Mail) {
        match mail {
            Mail::Message(message) => self.handle(Input::Message(message)),
            Mail::Parcel { from, parcel } => self.handle(Input::Parcel { from, parcel }),
            Mail::Conn(conn) => self.begin(conn),
            Mail::Command(command, sender) => {
                let reply = ReplyId(self.replies.insert(sender) as u64);
                self.handle(Input::Command { command, reply });
            }
            Mail::Loaded { session, page, bytes } => {
                self.handle(Input::Loaded { session, page, bytes: &bytes });
            }
            Mail::Checkpoint => self.handle(Input::Checkpoint { begin: true }),
            Mail::ConfirmCheckpoint => {
                self.handle(Input::Checkpoint { begin: false });
                self.is_checkpointed = true;
            }
            Mail::Refreshed(again) => self.refreshed(again),
            Mail::LookForRevoked { from } => self.look_for_revoked(from),
            Mail::Shutdown => self.shut_down(),
        }
    }

    /// What waited for the store leaves before anything else happens in the turn: what the core
    /// sends once it knows must not overtake it.
    fn look_at_store(&mut self) {
        let durable = self.mesh.inbox(self.id).map_or(self.durable, Inbox::durable);
        if durable > self.durable {
            self.durable = durable;
            self.handle(Input::Durable(durable));
            self.release_gated_mail();
            self.release_gated();
        }
        let is_full = self.store.is_full();
        if is_full != self.is_disk_full {
            self.is_disk_full = is_full;
            if !is_full {
                self.read_those_that_waited();
            }
            self.handle(Input::DiskFull(is_full));
        }
    }

    /// The next step of a checkpoint.
    fn checkpoint(&mut self) {
        if self.shard.is_checkpointing() {
            self.handle(Input::Checkpoint { begin: false });
            self.is_checkpointed = !self.shard.is_checkpointing();
        }
    }

    fn shut_down(&mut self) {
        if self.stopping.is_none() {
            let drain = self.limits.drain_timeout.as_millis() as u64;
            self.stopping = Some(self.now.moment.plus_millis(drain));
            self.listeners.clear();
            let greeting: Vec<ConnId> = self.greetings.ids().collect();
            for conn in greeting {
                if self.conn(conn).is_some_and(|conn| conn.phase == Phase::Greeting) {
                    self.drop_conn(conn);
                }
            }
            self.handle(Input::Shutdown);
        }
    }

    /// The core wants to know again who a client is.
    pub(crate) fn refresh(&mut self, id: ConnId) {
        let owner = self.id;
        let identified = self.conn(id).and_then(|conn| conn.identified.take());
        let (Some(identified), Some(inquiries)) = (identified, &self.identify) else { return };
        // Without a receiver the server stops, and the connection with it.
        drop(inquiries.again.send(Again { conn: id, owner, identified }));
    }

    fn refreshed(&mut self, again: Again) {
        let Again { conn: id, mut identified, .. } = again;
        let proof = std::mem::take(&mut identified.proof);
        if let Some(conn) = self.conn(id) {
            conn.identified = Some(identified);
        }
        self.handle(Input::Refreshed { conn: id, proof });
    }

    /// Ends connections from one on whose certificates are revoked: some in each turn.
    fn look_for_revoked(&mut self, from: usize) {
        let end = from + LOOKED_AT_FOR_REVOKED;
        for at in from..end {
            let Some(conn) = self.conns.get(at).filter(|conn| conn.is_revoked(&self.mesh.revoked))
            else {
                continue;
            };
            let (id, phase) = (conn.id, conn.phase);
            match phase {
                Phase::Greeting => self.drop_conn(id),
                Phase::Open(_) => self.handle(Input::Lost { conn: id, loss: Loss::Revoked }),
                Phase::Closing => {}
            }
        }
        if end < self.conns.capacity() {
            self.own_mails.push(Mail::LookForRevoked { from: end });
        }
    }

    fn may_accept(&self) -> bool {
        self.accept_paused_until.is_none()
            && self.listeners.iter().any(|listener| listener.may_accept)
    }

    fn accept(&mut self) {
        if self.accept_paused_until.is_some_and(|until| until <= self.now.moment) {
            self.accept_paused_until = None;
        }
        for at in 0..self.listeners.len() {
            for _ in 0..ACCEPTED_MAX {
                if !self.may_accept() || !self.accept_one(at) {
                    break;
                }
            }
        }
    }

    /// Accepts from a listener; `false` where there is nothing more.
    fn accept_one(&mut self, at: usize) -> bool {
        let Some(listener) = self.listeners.get_mut(at).filter(|listener| listener.may_accept)
        else {
            return false;
        };
        match listener.socket.accept().and_then(descriptors::admit) {
            Ok((stream, source)) => {
                self.counters.accepted();
                let layers = listener.tls.as_ref().map(|tls| tls.accept()).transpose();
                if !self.greetings.may_begin(source.ip(), &self.limits) {
                    self.counters.refuse(Refusal::AddressLimit);
                } else if let Ok(layers) = layers {
                    let mut conn = Conn::new(stream, source, layers, self.now.moment);
                    conn.preamble = listener.is_proxied.then(Box::default);
                    self.begin(Box::new(conn));
                }
                true
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock => {
                    listener.may_accept = false;
                    false
                }
                // Of what the peer did meanwhile the next accept knows nothing any more.
                ErrorKind::Interrupted | ErrorKind::ConnectionAborted => true,
                _ => {
                    tracing::warn!(%error, "cannot accept connections");
                    self.counters.refuse(Refusal::NoDescriptors);
                    self.drop_oldest_greeting();
                    self.accept_paused_until = Some(self.now.moment.plus_millis(ACCEPT_PAUSE_MS));
                    false
                }
            },
        }
    }

    /// A connection whose CONNECT is still to be handled, accepted here or elsewhere.
    fn begin(&mut self, conn: Box<Conn>) {
        let address = conn.greeted_as();
        let timeout = self.limits.connect_timeout.as_millis() as u64;
        let due = self.now.moment.plus_millis(timeout);
        if self.stopping.is_some() {
            return;
        }
        if let Some(id) = self.adopt(conn) {
            self.greetings.begin(id, address, due);
            if self.greetings.waiting() > self.limits.greetings_max / self.lanes.len().max(1) {
                self.counters.refuse(Refusal::TooManyGreetings);
                self.drop_oldest_greeting();
            }
        }
    }

    fn adopt(&mut self, mut conn: Box<Conn>) -> Option<ConnId> {
        self.next_generation = self.next_generation.wrapping_add(1);
        let entry = self.conns.vacant_entry();
        conn.id = ConnId { index: entry.key() as u32, generation: self.next_generation };
        let token = Token(entry.key());
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(&mut conn.stream, token, interest) {
            tracing::warn!(%error, "cannot watch a connection");
            return None;
        }
        // What came before it was watched is not announced, and no list of this thread has it.
        conn.is_listed = true;
        self.ready.push(conn.id);
        conn.is_packet_watched = false;
        conn.is_stall_watched = false;
        conn.is_dirty = conn.has_to_write();
        if conn.is_dirty {
            self.dirty.push(conn.id);
        }
        Some(entry.insert(conn).id)
    }

    pub(crate) fn conn(&mut self, id: ConnId) -> Option<&mut Box<Conn>> {
        self.conns.get_mut(id.index as usize).filter(|conn| conn.id == id)
    }

    pub(crate) fn set_phase(&mut self, id: ConnId, phase: Phase) {
        let Some(conn) = self.conn(id) else { return };
        let before = std::mem::replace(&mut conn.phase, phase);
        let (address, bytes) = (conn.greeted_as(), std::mem::take(&mut conn.counted));
        if before == Phase::Greeting && phase != Phase::Greeting {
            self.greetings.end(address, bytes);
        }
    }

    /// The client's address and ours.
    pub(crate) fn addresses(&mut self, id: ConnId) -> Option<(SocketAddr, SocketAddr)> {
        let conn = self.conn(id)?;
        Some((conn.source, conn.stream.local_addr().unwrap_or(conn.source)))
    }

    /// Takes a connection out of the loop.
    pub(crate) fn release(&mut self, id: ConnId) -> Option<Box<Conn>> {
        self.set_phase(id, Phase::Closing);
        self.conn(id)?;
        let mut conn = self.conns.remove(id.index as usize);
        self.unwritten_bytes -= std::mem::take(&mut conn.unwritten);
        self.unread_bytes -= std::mem::take(&mut conn.unread);
        if let Err(error) = self.poll.registry().deregister(&mut conn.stream) {
            tracing::debug!(%error, "cannot stop watching a connection");
        }
        Some(conn)
    }

    /// Drops a connection that the core does not know, or no longer.
    pub(crate) fn drop_conn(&mut self, id: ConnId) {
        drop(self.release(id));
    }

    pub(crate) fn drop_oldest_greeting(&mut self) {
        while let Some(id) = self.greetings.take_oldest() {
            if self.conn(id).is_some_and(|conn| conn.phase == Phase::Greeting) {
                self.drop_conn(id);
                return;
            }
        }
    }

    fn check_watches(&mut self) {
        let now = self.now.moment;
        while let Some(id) = self.greetings.take_due(now) {
            if self.conn(id).is_some_and(|conn| conn.phase == Phase::Greeting) {
                self.counters.refuse(Refusal::ConnectTimeout);
                self.drop_conn(id);
            }
        }
        while let Some(id) = self.packet_watch.take_due(now) {
            self.check_packet(id);
        }
        while let Some(id) = self.stall_watch.take_due(now) {
            self.check_stall(id);
        }
        while let Some(id) = self.pace_watch.take_due(now) {
            self.list(id);
        }
        while let Some(id) = self.linger_watch.take_due(now) {
            self.drop_conn(id);
        }
    }

    /// A packet was begun: it is done, may take longer, or the client is put off.
    fn check_packet(&mut self, id: ConnId) {
        let (now, timeout) = (self.now.moment, self.limits.packet_timeout.as_millis() as u64);
        let Some(conn) = self.conn(id) else { return };
        let allowed = timeout + conn.partial.len() as u64 * 1000 / 1024;
        let due = conn.begun_at.plus_millis(allowed);
        if conn.partial.is_empty() || conn.waits_for_disk || !matches!(conn.phase, Phase::Open(_)) {
            conn.is_packet_watched = false;
        } else if due <= now {
            self.handle(Input::Lost { conn: id, loss: Loss::PacketTooSlow });
        } else {
            self.packet_watch.set(due, id);
        }
    }

    /// Bytes could not be sent: they are, or the client is put off.
    fn check_stall(&mut self, id: ConnId) {
        let (now, timeout) = (self.now.moment, self.limits.stall_timeout.as_millis() as u64);
        let Some(conn) = self.conn(id) else { return };
        let due = conn.taken_at.plus_millis(timeout);
        if !conn.has_to_write() {
            conn.is_stall_watched = false;
        } else if due <= now {
            self.handle(Input::Lost { conn: id, loss: Loss::NotReading });
        } else {
            self.stall_watch.set(due, id);
        }
    }

    /// Connections take bytes again.
    fn relieve(&mut self) {
        for id in std::mem::take(&mut self.relieved) {
            self.handle(Input::Writable { conn: id });
            self.flush_if_large();
        }
    }
}
