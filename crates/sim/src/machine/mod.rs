//! A whole server without a machine: shards, the mail between them, sockets, stores and a clock.
//!
//! [`Machine`] does with a shard's [`Outbox`] what a server does, in the same order, but one step
//! at a time and only when told to: whoever drives it decides which bytes arrive when, which mail
//! is taken first and when a store says that something is durable. Everything that happens is a
//! function of the calls made.

mod api;
mod conn;
mod medium;
mod perform;
mod planted;
mod store;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bitts_aws::registry::Registry;
use bitts_broker::command::{Command, Reply};
use bitts_broker::record::SavedSession;
use bitts_broker::recover::{Recovered, Recovery};
use bitts_broker::{
    ConnId, Input, Interest, Limits, Loss, Lsn, Message, Moment, Now, Outbox, PageId, Parcel,
    Placement, Profile, Proof, Rates, ReplyId, SessionRef, Shard, ShardId, ShardSet,
};

pub use api::{Answer, Request};
pub use conn::{Ended, Link};
pub use store::{Durability, Log};

use conn::Conn;
use medium::Medium;
#[cfg(test)]
pub(crate) use planted::Bug;
#[cfg(not(test))]
use planted::Bug;
use store::SimStore;

/// Milliseconds since 1970 when a machine starts: 2026-01-01.
pub(crate) const START_UNIX_MS: u64 = 1_767_225_600_000;

/// What a machine is like.
#[derive(Clone, Debug)]
pub struct Options {
    /// Shards.
    pub shards: u8,
    /// When what is stored becomes durable.
    pub durability: Durability,
    /// Inputs that are applied before a shard's outbox is performed.
    pub inputs_per_turn: usize,
    /// Most bytes that arrive at once.
    pub bytes_per_read: usize,
    /// Whose rules hold.
    pub profile: Profile,
    /// The core's limits.
    pub limits: Limits,
    /// What clients may do in a second.
    pub rates: Rates,
    /// Who may do what; without one everybody may do everything.
    pub registry: Option<Arc<Registry>>,
    /// Places names on shards.
    pub hash_key: (u64, u64),
}

impl Default for Options {
    fn default() -> Self {
        Self {
            shards: 1,
            durability: Durability::AtOnce,
            inputs_per_turn: 1,
            bytes_per_read: usize::MAX,
            profile: Profile::Open,
            limits: Limits::default(),
            rates: Rates::default(),
            registry: None,
            hash_key: (0x5EED, 0xB177),
        }
    }
}

/// What a shard finds in its inbox.
#[derive(Debug)]
enum Mail {
    Message(Arc<Message>),
    Parcel(ShardId, Parcel),
    /// A connection that was accepted elsewhere, with what it sent so far.
    Conn(Link),
    Command(Command, ReplyId),
    Shutdown,
}

/// A shard with everything that a server keeps around it.
#[derive(Debug)]
struct Core {
    shard: Shard,
    out: Outbox,
    /// Inputs applied since the outbox was performed.
    inputs: usize,
    store: SimStore,
    durable: Lsn,
    /// One lane from each shard, and one from outside; what is in a lane stays in order.
    lanes: Vec<VecDeque<Mail>>,
    /// By [`ConnId::index`].
    links: Vec<Option<Link>>,
    next_generation: u32,
    gated: VecDeque<(Lsn, ConnId, Vec<u8>)>,
    gated_replies: VecDeque<(Lsn, ReplyId, Reply)>,
    /// Mails of each lane that are to be taken before a checkpoint is confirmed.
    confirms: Option<Vec<usize>>,
    gated_parcels: VecDeque<(Lsn, ShardId, Parcel)>,
    gated_messages: VecDeque<(Lsn, ShardSet, Arc<Message>)>,
    /// Pages that its sessions asked for.
    reads: VecDeque<(SessionRef, PageId)>,
}

impl Core {
    fn new(shard: Shard, store: SimStore, shards: u8) -> Self {
        Self {
            shard,
            out: Outbox::default(),
            inputs: 0,
            store,
            durable: Lsn::default(),
            lanes: (0..=shards).map(|_| VecDeque::new()).collect(),
            links: Vec::new(),
            next_generation: 0,
            gated: VecDeque::new(),
            gated_replies: VecDeque::new(),
            confirms: None,
            gated_parcels: VecDeque::new(),
            gated_messages: VecDeque::new(),
            reads: VecDeque::new(),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Machine {
    options: Options,
    placement: Placement,
    interest: Arc<Interest>,
    now: Now,
    cores: Vec<Core>,
    conns: Vec<Conn>,
    replies: BTreeMap<u64, Reply>,
    /// Commands that were answered.
    answered: BTreeSet<u64>,
    /// How often clients wrote.
    writes: u64,
    next_reply: u64,
    next_entropy: u128,
    /// What should never happen, in the words of whoever noticed.
    faults: Vec<String>,
    /// What all shards handed over, in order, as bytes.
    journal: Vec<Vec<u8>>,
    /// Where the journal is, on a machine that can die.
    medium: Option<Medium>,
    /// Pages that shards handed over and need.
    pages: BTreeMap<PageId, Vec<u8>>,
    /// What a test planted.
    bug: Option<Bug>,
}

/// One thing that can happen next inside a machine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Some bytes of a client arrive.
    Bytes(Link),
    /// The client's end of a connection arrives.
    End(Link),
    /// A shard takes the first mail of a lane.
    Mail {
        /// Whose inbox.
        to: u8,
        /// Which lane: a shard's number, or the number of shards for what comes from outside.
        lane: u8,
    },
    /// A shard's outbox is performed.
    Flush(u8),
    /// A shard's store has made something durable.
    Durable(u8),
    /// What shards handed over is written.
    Commit,
    /// A shard writes its next part of a checkpoint.
    Checkpoint(u8),
    /// A page that a shard's session asked for has been read.
    Load(u8),
    /// A shard's deadline has come.
    Tick(u8),
}

impl Machine {
    /// A machine on which nothing has happened.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let placement = Placement::new(options.hash_key, options.shards);
        let interest = Arc::new(Interest::new(&placement));
        let mut machine = Self {
            cores: Vec::new(),
            options,
            placement,
            interest,
            now: Now { moment: Moment(0), unix_ms: START_UNIX_MS },
            conns: Vec::new(),
            replies: BTreeMap::new(),
            answered: BTreeSet::new(),
            writes: 0,
            next_reply: 0,
            next_entropy: 0,
            faults: Vec::new(),
            journal: Vec::new(),
            medium: None,
            pages: BTreeMap::new(),
            bug: None,
        };
        let new = |number| {
            let store = SimStore::new(machine.options.durability);
            let mut shard = machine.make_shard(number);
            shard.keep_pages(1);
            Core::new(shard, store, machine.options.shards)
        };
        machine.cores = (0..machine.options.shards).map(new).collect();
        machine
    }

    fn make_shard(&self, number: u8) -> Shard {
        let options = &self.options;
        let limits = options.limits.clone().per_shard(options.shards);
        let shard = Shard::new(ShardId(number), self.placement, limits, Arc::clone(&self.interest))
            .with_profile(options.profile)
            .with_rates(options.rates.clone());
        match &options.registry {
            Some(registry) => shard.with_registry(Arc::clone(registry)),
            None => shard,
        }
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Now {
        self.now
    }

    /// Moves the clock; what is due happens in later steps.
    pub fn pass(&mut self, millis: u64) {
        self.now.moment = self.now.moment.plus_millis(millis);
        self.now.unix_ms += millis;
    }

    /// Sets the wall clock off, as an operator or NTP does; the core must not notice.
    pub fn set_wall_clock(&mut self, unix_ms: u64) {
        self.now.unix_ms = unix_ms;
    }

    /// The next moment at which a shard wants to be woken.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        self.cores.iter().filter_map(|core| core.shard.deadline()).min()
    }

    /// A new connection.
    pub fn connect(&mut self) -> Link {
        let link = Link(self.conns.len());
        let port = u16::try_from(20_000 + link.0 % 40_000).unwrap_or(u16::MAX);
        let source = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)), port);
        self.conns.push(Conn::new(source));
        link
    }

    /// A new connection through a WebSocket; what is written and read is what is in its frames.
    pub fn connect_websocket(&mut self) -> Link {
        let link = self.connect();
        self.conn(link).is_websocket = true;
        link
    }

    /// A new connection of a client that proved who it is.
    pub fn connect_as(&mut self, proof: Proof) -> Link {
        let link = self.connect();
        if let Some(conn) = self.conns.get_mut(link.0) {
            conn.proof = proof;
        }
        link
    }

    /// Bytes that a client writes; they arrive in [`Step::Bytes`].
    pub fn write(&mut self, link: Link, bytes: &[u8]) {
        self.mark_written(link);
        self.conn(link).sent.extend(bytes);
    }

    fn mark_written(&mut self, link: Link) {
        self.writes += 1;
        let writes = self.writes;
        let conn = self.conn(link);
        if conn.sent.is_empty() && !conn.hung_up {
            conn.written = writes;
        }
    }

    /// The client closes its end, after what it wrote.
    pub fn hang_up(&mut self, link: Link) {
        self.mark_written(link);
        self.conn(link).hung_up = true;
    }

    /// What the server wrote to the client since the last call.
    pub fn read(&mut self, link: Link) -> Vec<u8> {
        std::mem::take(&mut self.conn(link).received)
    }

    /// Bytes the client has not read.
    #[must_use]
    pub fn unread(&self, link: Link) -> usize {
        self.conns.get(link.0).map_or(0, |conn| conn.received.len())
    }

    /// The random bits that name the connection in events; 0 before its CONNECT.
    #[must_use]
    pub fn entropy(&self, link: Link) -> u128 {
        self.conns.get(link.0).map_or(0, |conn| conn.entropy)
    }

    /// Bytes that the client wrote and that have not arrived.
    #[must_use]
    pub fn under_way(&self, link: Link) -> usize {
        self.conns.get(link.0).map_or(0, |conn| conn.sent.len())
    }

    /// Whether any shard still wants a topic.
    #[must_use]
    pub fn is_wanted(&self, topic: &str) -> bool {
        !self.interest.shards_for(topic).is_empty()
    }

    /// Whether the server still listens to the connection.
    #[must_use]
    pub fn is_heard(&self, link: Link) -> bool {
        self.conns.get(link.0).is_some_and(|conn| conn.ended.is_none() && !conn.is_closing())
    }

    /// Whether everything that a shard asked for is done.
    #[must_use]
    pub fn is_performed(&self, shard: ShardId) -> bool {
        self.cores.get(usize::from(shard.0)).is_none_or(|core| core.inputs == 0)
    }

    /// How the server ended the connection, if it did.
    #[must_use]
    pub fn ended(&self, link: Link) -> Option<Ended> {
        self.conns.get(link.0).and_then(|conn| conn.ended)
    }

    /// The connection takes no more bytes, or does again: what a socket's full buffer tells.
    pub fn set_congested(&mut self, link: Link, congested: bool) {
        let Some((shard, conn)) = self.conn(link).place else { return };
        let input = if congested { Input::Congested { conn } } else { Input::Writable { conn } };
        self.handle(shard, input);
    }

    /// The server gives the connection up.
    pub fn lose(&mut self, link: Link, loss: Loss) {
        let Some((shard, conn)) = self.conn(link).place else { return };
        self.handle(shard, Input::Lost { conn, loss });
    }

    /// Sends a command to a shard; its answer is found with [`Machine::reply`].
    pub fn command(&mut self, shard: ShardId, command: Command) -> u64 {
        let id = self.next_reply;
        self.next_reply += 1;
        self.post(shard, self.options.shards, Mail::Command(command, ReplyId(id)));
        id
    }

    /// The answer to a command, once.
    pub fn reply(&mut self, id: u64) -> Option<Reply> {
        self.replies.remove(&id)
    }

    /// Tells every shard that the server stops.
    pub fn shut_down(&mut self) {
        for shard in 0..self.options.shards {
            self.post(ShardId(shard), self.options.shards, Mail::Shutdown);
        }
    }

    /// Everything that could happen next.
    pub fn steps(&self, into: &mut Vec<Step>) {
        into.clear();
        if self.is_dead() {
            return;
        }
        // Of 3.1.1 clients that publish what a full disk cannot keep nothing is read.
        let is_full = self.medium.as_ref().is_some_and(|medium| medium.is_full);
        for (at, conn) in self.conns.iter().enumerate() {
            if !conn.is_with_server() || (is_full && conn.is_mqtt3()) {
                continue;
            }
            if !conn.sent.is_empty() {
                into.push(Step::Bytes(Link(at)));
            } else if conn.hung_up {
                into.push(Step::End(Link(at)));
            }
        }
        for (number, core) in (0_u8..).zip(&self.cores) {
            for (lane, mails) in (0_u8..).zip(&core.lanes) {
                if !mails.is_empty() {
                    into.push(Step::Mail { to: number, lane });
                }
            }
            if core.inputs > 0 {
                into.push(Step::Flush(number));
            }
            if core.reads.front().is_some_and(|(_, page)| self.may_read(*page)) {
                into.push(Step::Load(number));
            }
            if core.store.is_waiting() {
                into.push(Step::Durable(number));
            }
            if core.shard.deadline().is_some_and(|due| due <= self.now.moment) {
                into.push(Step::Tick(number));
            }
            let is_confirmed = |left: &Vec<usize>| left.iter().all(|mails| *mails == 0);
            if core.shard.is_checkpointing() || core.confirms.as_ref().is_some_and(is_confirmed) {
                into.push(Step::Checkpoint(number));
            }
        }
        if self.is_commit_due() {
            into.push(Step::Commit);
        }
    }

    /// Lets one thing happen.
    pub fn step(&mut self, step: Step) {
        match step {
            Step::Bytes(link) => self.receive(link, self.options.bytes_per_read),
            Step::End(link) => self.on_end(link),
            Step::Mail { to, lane } => self.take_mail(ShardId(to), lane),
            Step::Flush(shard) => self.flush(ShardId(shard)),
            Step::Durable(shard) => self.on_durable(ShardId(shard)),
            Step::Commit => self.commit(),
            Step::Checkpoint(shard) => self.go_on_with_checkpoint(ShardId(shard)),
            Step::Load(shard) => self.load(ShardId(shard)),
            Step::Tick(shard) => self.handle(ShardId(shard), Input::Tick),
        }
    }

    /// Lets everything happen that can: what clients did, in that order, then what follows from it;
    /// what becomes durable comes last.
    pub fn settle(&mut self) {
        let mut steps = Vec::new();
        for _ in 0..1_000_000 {
            self.steps(&mut steps);
            let rank = |step: &Step| match step {
                Step::Bytes(link) | Step::End(link) => {
                    (0, self.conns.get(link.0).map_or(0, |conn| conn.written))
                }
                Step::Mail { .. } => (1, 0),
                Step::Tick(_) => (2, 0),
                Step::Flush(_) | Step::Load(_) => (3, 0),
                Step::Durable(_) | Step::Commit | Step::Checkpoint(_) => (4, 0),
            };
            let Some(step) = steps.iter().min_by_key(|step| rank(step)) else { return };
            self.step(*step);
        }
        self.faults.push("the machine does not come to rest".to_owned());
    }

    /// Runs until `millis` have passed, stopping at every deadline on the way.
    pub fn advance(&mut self, millis: u64) {
        self.settle();
        let end = self.now.moment.plus_millis(millis);
        while self.now.moment < end {
            let next = self.deadline().map_or(end, |due| due.min(end)).max(self.now.moment);
            self.pass(next.millis_since(self.now.moment));
            self.settle();
        }
    }

    /// What went wrong that no client could see; empty in a sound server.
    pub fn take_faults(&mut self) -> Vec<String> {
        std::mem::take(&mut self.faults)
    }

    /// The counters of all shards together.
    #[must_use]
    pub fn stats(&self) -> bitts_broker::Stats {
        let mut sum = bitts_broker::Stats::default();
        self.cores.iter().for_each(|core| sum.add(&core.shard.stats()));
        sum
    }

    /// What a shard handed to its store.
    #[must_use]
    pub fn log(&self, shard: u8) -> Option<&Log> {
        self.cores.get(usize::from(shard)).map(|core| core.store.log())
    }

    /// What a process would find that came after this one was killed, in units from one on.
    pub fn recover(&self, from: usize) -> Result<Recovered, String> {
        let mut recovery = Recovery::new(self.now);
        recovery.set_shards(self.options.shards);
        for unit in self.journal.iter().skip(from) {
            recovery.apply(unit).map_err(|bad| format!("{bad:?} in {unit:02x?}"))?;
            recovery.end_frame();
        }
        Ok(recovery.finish())
    }

    /// Performs what every shard asked for.
    pub fn perform(&mut self) {
        for shard in (0..self.options.shards).map(ShardId) {
            self.flush(shard);
        }
    }

    /// Every shard writes everything again; says from which unit on.
    pub fn checkpoint(&mut self) -> usize {
        let from = self.journal.len();
        for shard in (0..self.options.shards).map(ShardId) {
            self.handle(shard, Input::Checkpoint { begin: true });
            while self.core(shard).shard.is_checkpointing() {
                self.handle(shard, Input::Checkpoint { begin: false });
            }
            self.flush(shard);
        }
        from
    }

    /// Every session of every shard that outlives its connection, by Client Identifier.
    #[must_use]
    pub fn sessions(&self) -> Vec<SavedSession> {
        let all = self.cores.iter().flat_map(|core| core.shard.saved_sessions());
        let mut kept: Vec<_> = all.filter(|session| session.expiry > 0).collect();
        kept.sort_by(|a, b| a.client_id.cmp(&b.client_id));
        kept
    }

    /// Pages that a session's queue is in, and that the store does not have.
    #[must_use]
    pub fn missing_pages(&self) -> Vec<PageId> {
        let sessions = self.sessions();
        let needed = sessions.iter().flat_map(|session| &session.pages).map(|page| page.id);
        needed.filter(|page| !self.pages.contains_key(page)).collect()
    }

    /// Pages that the store has.
    #[must_use]
    pub fn pages(&self) -> usize {
        self.pages.len()
    }

    fn load(&mut self, shard: ShardId) {
        let Some((session, page)) = self.core(shard).reads.pop_front() else { return };
        if let Some(bytes) = self.read_page(page) {
            self.handle(shard, Input::Loaded { session, page, bytes: &bytes });
        }
    }

    /// Where names are placed.
    #[must_use]
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    fn conn(&mut self, link: Link) -> &mut Conn {
        &mut self.conns[link.0]
    }

    fn core(&mut self, shard: ShardId) -> &mut Core {
        &mut self.cores[usize::from(shard.0)]
    }

    fn post(&mut self, to: ShardId, lane: u8, mail: Mail) {
        if let Some(mails) = self.core(to).lanes.get_mut(usize::from(lane)) {
            mails.push_back(mail);
        }
    }

    fn take_mail(&mut self, to: ShardId, lane: u8) {
        let core = self.core(to);
        let mail = core.lanes.get_mut(usize::from(lane)).and_then(VecDeque::pop_front);
        if let Some(left) = core.confirms.as_mut().and_then(|it| it.get_mut(usize::from(lane))) {
            *left = left.saturating_sub(1);
        }
        match mail {
            Some(Mail::Message(message)) => self.handle(to, Input::Message(message)),
            Some(Mail::Parcel(from, parcel)) => self.handle(to, Input::Parcel { from, parcel }),
            Some(Mail::Conn(link)) => self.take_over(to, link),
            Some(Mail::Command(command, reply)) => {
                self.handle(to, Input::Command { command, reply });
            }
            Some(Mail::Shutdown) => self.handle(to, Input::Shutdown),
            None => {}
        }
    }

    /// Applies one input, and performs the outbox where a turn is full.
    fn handle(&mut self, shard: ShardId, input: Input<'_>) {
        let (now, inputs_max) = (self.now, self.options.inputs_per_turn);
        let core = self.core(shard);
        core.shard.handle(now, input, &mut core.out);
        core.inputs += 1;
        if core.inputs >= inputs_max {
            self.flush(shard);
        }
    }
}
