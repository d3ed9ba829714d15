//! From records back to state: what a process that died had promised.
//!
//! [`Recovery`] takes units in the order of the journal and keeps what they add up to. The journal
//! may begin anywhere before a checkpoint: a record about something that is not known (any more)
//! says nothing, for the checkpoint that follows tells of it again. What a shard accepted and
//! another had not taken from its inbox is given to it again by [`Shard::restore_message`].

mod sessions;

use std::collections::BTreeMap;
use std::sync::Arc;

use bitts_mqtt::QoS;
use bytes::Bytes;
use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};

use crate::message::Message;
use crate::record::{
    BadRecord, Gone, Item, LogId, PageId, Record, SavedOwed, SavedPage, SavedSession,
    SavedSubscription, Sink, Stage, Taken, decode,
};
#[cfg(doc)]
use crate::shard::Shard;
use crate::slot::{ShardId, ShardSet};
use crate::time::Now;
use sessions::Sessions;

/// Units between two looks at which messages nothing refers to any more.
const UNITS_PER_SWEEP: usize = 4_096;

/// A message that other shards were to take from their inboxes.
#[derive(Clone, Debug)]
struct Mailed {
    message: Arc<Message>,
    others: ShardSet,
    keeper: Option<ShardId>,
}

/// A message of the log.
#[derive(Debug)]
struct Logged {
    message: Arc<Message>,
    /// A checkpoint wrote it for whoever may refer to it.
    is_kept: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Recovery {
    now: Now,
    shards: u8,
    next_entry: u64,
    next_page: u64,
    sessions: Sessions,
    retained: BTreeMap<Box<str>, Arc<Message>>,
    parked: BTreeMap<Arc<str>, BTreeMap<u64, Arc<Message>>>,
    shadows: BTreeMap<(Box<str>, Option<Box<str>>), Bytes>,
    gone: BTreeMap<Arc<str>, Gone>,
    log: HashMap<LogId, Logged, FixedState>,
    mailed: BTreeMap<LogId, Mailed>,
    /// Who took how much of whose log: for sessions, and to retain.
    taken: BTreeMap<(ShardId, ShardId, bool), u64>,
    /// What members of groups were given since the last sweep but one, newest last.
    given: [Given; 2],
    units: usize,
    unknown: u64,
}

/// Messages by the group that chose a member for them.
type Given = HashSet<(Arc<str>, LogId), FixedState>;

/// A message that some shards of the process that died had not taken.
#[derive(Clone, Debug)]
pub struct Untaken {
    /// The message.
    pub message: Arc<Message>,
    /// Their sessions may want it.
    pub others: ShardSet,
    /// It is still to be retained.
    pub to_retain: bool,
}

/// Messages that a `$share` group keeps, by number.
pub type Parked = Vec<(u64, Arc<Message>)>;

/// What the journal adds up to.
#[derive(Debug)]
pub struct Recovered {
    /// Every session, by Client Identifier. Whoever is done with one lets go of it.
    pub sessions: Vec<Box<SavedSession>>,
    /// Every retained message, by topic.
    pub retained: Vec<Arc<Message>>,
    /// What `$share` groups keep, by group and number.
    pub parked: Vec<(Arc<str>, Parked)>,
    /// Shadows: the thing's name, the shadow's if it has one, and the durable form.
    pub shadows: Vec<(Box<str>, Option<Box<str>>, Bytes)>,
    /// Clients that are remembered.
    pub gone: Vec<Gone>,
    /// Messages that are to be given to sessions again, in order.
    pub untaken: Vec<Untaken>,
    /// Shards of the process that died.
    pub shards: u8,
    /// The number of the next message of any shard's log.
    pub next_entry: u64,
    /// The number of the next page of any shard.
    pub next_page: u64,
    /// Records about something that the journal does not know.
    pub unknown: u64,
}

impl Recovery {
    /// Nothing is known. Times are told as of `now`.
    #[must_use]
    pub fn new(now: Now) -> Self {
        Self {
            now,
            shards: 1,
            next_entry: 1,
            next_page: 1,
            sessions: Sessions::new(now.unix_ms),
            retained: BTreeMap::new(),
            parked: BTreeMap::new(),
            shadows: BTreeMap::new(),
            gone: BTreeMap::new(),
            log: HashMap::with_hasher(FixedState::with_seed(now.unix_ms)),
            mailed: BTreeMap::new(),
            taken: BTreeMap::new(),
            given: [(); 2].map(|()| HashSet::with_hasher(FixedState::with_seed(now.unix_ms))),
            units: 0,
            unknown: 0,
        }
    }

    /// The process that wrote what follows had this many shards.
    pub fn set_shards(&mut self, shards: u8) {
        self.shards = shards.max(1);
    }

    /// Takes the next unit.
    pub fn apply(&mut self, unit: &[u8]) -> Result<(), BadRecord> {
        self.units += 1;
        decode(unit, self.now, self)
    }

    /// A frame's units were taken: forgets, now and then, messages that nobody is to take and
    /// nothing refers to.
    pub fn end_frame(&mut self) {
        if self.units < UNITS_PER_SWEEP {
            return;
        }
        self.units = 0;
        let taken = &self.taken;
        self.mailed.retain(|log, mailed| untaken(taken, *log, mailed).is_some());
        self.forget_given();
        self.log.retain(|_, held| held.is_kept || Arc::strong_count(&held.message) > 1);
    }

    /// A group does not keep what a member was given. The one may be written a little after the
    /// other, so that what was given is remembered for a while.
    fn forget_given(&mut self) {
        for (group, messages) in &mut self.parked {
            messages.retain(|_, message| {
                let given = message.log.map(|log| (Arc::clone(group), log));
                given.is_none_or(|given| !self.given.iter().any(|held| held.contains(&given)))
            });
        }
        self.parked.retain(|_, messages| !messages.is_empty());
        self.given.rotate_left(1);
        self.given[1].clear();
    }

    /// The session ended; a group may give to another member what it was given at QoS 1.
    fn take_back(&mut self, session: SavedSession) {
        for owed in session.owed.into_iter().filter(|owed| owed.qos == QoS::One) {
            if let (Some(group), Some(log)) = (owed.group, owed.message.and_then(|it| it.log)) {
                let given = (group, log);
                for held in &mut self.given {
                    held.remove(&given);
                }
            }
        }
    }

    /// The state as of the last unit.
    #[must_use]
    pub fn finish(mut self) -> Recovered {
        self.forget_given();
        let mailed = self.mailed.iter();
        let untaken = mailed.filter_map(|(log, held)| untaken(&self.taken, *log, held)).collect();
        Recovered {
            sessions: self.sessions.into_sorted(),
            retained: self.retained.into_values().collect(),
            parked: self
                .parked
                .into_iter()
                .map(|(group, messages)| (group, messages.into_iter().collect()))
                .collect(),
            shadows: self
                .shadows
                .into_iter()
                .map(|((thing, shadow), state)| (thing, shadow, state))
                .collect(),
            gone: self.gone.into_values().collect(),
            untaken,
            shards: self.shards,
            next_entry: self.next_entry,
            next_page: self.next_page,
            unknown: self.unknown,
        }
    }

    fn record(&mut self, record: Record) {
        match record {
            Record::SessionEnded { client_id } => {
                if let Some(session) = self.sessions.remove(&client_id) {
                    self.take_back(*session);
                }
            }
            Record::Gone(gone) => {
                self.gone.insert(Arc::clone(&gone.client_id), *gone);
            }
            Record::Session(session) => self.sessions.put(session),
            Record::Kept { message } => self.keep(message, true),
            Record::Shadow { thing, shadow, state } if state.is_empty() => {
                self.shadows.remove(&(thing, shadow));
            }
            Record::Shadow { thing, shadow, state } => {
                self.shadows.insert((thing, shadow), state);
            }
            Record::Retained { message } if message.payload.is_empty() => {
                self.retained.remove(&message.topic);
            }
            Record::Retained { message } => {
                self.retained.insert(message.topic.clone(), message);
            }
            Record::Parked { group, number, message } => {
                self.next_entry = self.next_entry.max(number.saturating_add(1));
                self.parked.entry(group).or_default().insert(number, message);
            }
            Record::Unparked { group, number } => {
                if let Some(parked) = self.parked.get_mut(&group) {
                    parked.remove(&number);
                    if parked.is_empty() {
                        self.parked.remove(&group);
                    }
                }
            }
            Record::Paged { ref client_id, page } => {
                self.next_page = self.next_page.max(page.id.number().saturating_add(1));
                match self.sessions.get_mut(client_id) {
                    Some(session) => session.page_out(page),
                    None => self.unknown += 1,
                }
            }
            Record::SessionAttached { .. } => self.attach(record),
            Record::Owed { client_id, owed } => self.owe(&client_id, owed),
            Record::SessionDetached { ref client_id, .. }
            | Record::Principal { ref client_id, .. }
            | Record::WillDone { ref client_id, .. }
            | Record::Subscribed { ref client_id, .. }
            | Record::Unsubscribed { ref client_id, .. }
            | Record::ReceivedReleased { ref client_id, .. }
            | Record::Unpaged { ref client_id, .. }
            | Record::Sent { ref client_id, .. }
            | Record::Released { ref client_id, .. }
            | Record::Settled { ref client_id, .. } => match self.sessions.get_mut(client_id) {
                Some(session) => session.apply(record),
                None => self.unknown += 1,
            },
        }
    }

    fn owe(&mut self, client_id: &Arc<str>, owed: SavedOwed) {
        let Some(session) = self.sessions.get_mut(client_id) else {
            self.unknown += 1;
            return;
        };
        let log = owed.message.as_ref().and_then(|it| it.log);
        if let (Some(group), Some(log)) = (&owed.group, log) {
            self.given[1].insert((Arc::clone(group), log));
        }
        session.owe(owed);
    }

    fn attach(&mut self, record: Record) {
        let Record::SessionAttached {
            client_id,
            version,
            expiry,
            keep_alive,
            version_number,
            identifier,
            will,
        } = record
        else {
            return;
        };
        self.gone.remove(&client_id);
        let session = self.sessions.entry(&client_id);
        session.version = version;
        session.expiry = expiry;
        session.keep_alive = keep_alive;
        session.version_number = version_number;
        session.identifier = identifier;
        session.principal = None;
        session.will = will;
        session.detached = None;
    }

    fn keep(&mut self, message: Arc<Message>, is_kept: bool) {
        let Some(log) = message.log else { return };
        self.next_entry = self.next_entry.max(log.number.saturating_add(1));
        let held = self.log.entry(log).or_insert(Logged { message, is_kept });
        held.is_kept |= is_kept;
    }
}

impl Sink for Recovery {
    fn take(&mut self, shard: ShardId, item: Item) {
        match item {
            Item::Restart { shards } => {
                self.shards = shards.max(1);
                self.mailed.clear();
                self.taken.clear();
            }
            Item::Entry { message, others, keeper, received } => {
                if let (Some(log), true) = (message.log, !others.is_empty() || keeper.is_some()) {
                    let message = Arc::clone(&message);
                    self.mailed.insert(log, Mailed { message, others, keeper });
                }
                if let Some((client_id, packet_id)) = received {
                    match self.sessions.get_mut(&client_id) {
                        Some(session) => drop(session.received.insert(packet_id)),
                        None => self.unknown += 1,
                    }
                }
                self.keep(message, false);
            }
            Item::Taken(Taken { from, to_retain, up_to }) => {
                let held = self.taken.entry((shard, from, to_retain)).or_default();
                *held = up_to.max(*held);
            }
            Item::Record(record) => self.record(record),
        }
    }

    fn find(&mut self, log: LogId) -> Option<Arc<Message>> {
        let found = self.log.get(&log).map(|held| Arc::clone(&held.message));
        self.unknown += u64::from(found.is_none());
        found
    }
}

/// What of a mailed message nobody says that it took.
fn untaken(
    taken: &BTreeMap<(ShardId, ShardId, bool), u64>,
    log: LogId,
    mailed: &Mailed,
) -> Option<Untaken> {
    let has_taken = |shard: ShardId, to_retain: bool| {
        taken.get(&(shard, log.shard, to_retain)).is_some_and(|up_to| *up_to >= log.number)
    };
    let missing = mailed.others.iter().filter(|shard| !has_taken(*shard, false));
    let others = missing.fold(ShardSet::EMPTY, |set, shard| set.union(ShardSet::only(shard)));
    let to_retain = mailed.keeper.is_some_and(|keeper| !has_taken(keeper, true));
    let message = Arc::clone(&mailed.message);
    (to_retain || !others.is_empty()).then_some(Untaken { message, others, to_retain })
}

impl Recovered {
    /// The same state as records, in an order in which they can be read: what is owed and kept
    /// names messages that stand before it. What is untaken is not among them.
    pub fn each_record(&self, take: &mut impl FnMut(Record)) {
        let mut kept = HashSet::with_hasher(FixedState::with_seed(self.next_entry));
        for session in &self.sessions {
            take(Record::Session(Box::new(session.without_owed())));
            if let Some(principal) = session.principal.clone() {
                take(Record::Principal { client_id: Arc::clone(&session.client_id), principal });
            }
            let client_id = &session.client_id;
            let paged = |page| Record::Paged { client_id: Arc::clone(client_id), page };
            let mut pages = session.pages.iter().copied().peekable();
            for owed in &session.owed {
                while let Some(page) = pages.next_if(|page| page.first < owed.number) {
                    take(paged(page));
                }
                owed.message.iter().for_each(|message| keep(message, &mut kept, take));
                let client_id = Arc::clone(&session.client_id);
                take(Record::Owed { client_id, owed: owed.clone() });
            }
            pages.for_each(|page| take(paged(page)));
        }
        for message in &self.retained {
            keep(message, &mut kept, take);
            take(Record::Retained { message: Arc::clone(message) });
        }
        for (group, (number, message)) in
            self.parked.iter().flat_map(|(group, held)| held.iter().map(move |one| (group, one)))
        {
            keep(message, &mut kept, take);
            let (group, number, message) = (Arc::clone(group), *number, Arc::clone(message));
            take(Record::Parked { group, number, message });
        }
        for (thing, shadow, state) in self.shadows.iter().cloned() {
            take(Record::Shadow { thing, shadow, state });
        }
        self.gone.iter().for_each(|gone| take(Record::Gone(Box::new(gone.clone()))));
    }
}

/// A message of the log stands once, before what names it.
fn keep(
    message: &Arc<Message>,
    kept: &mut HashSet<LogId, FixedState>,
    take: &mut impl FnMut(Record),
) {
    if message.log.is_some_and(|log| kept.insert(log)) {
        take(Record::Kept { message: Arc::clone(message) });
    }
}

impl SavedSession {
    /// A fact about this session, which exists.
    fn apply(&mut self, record: Record) {
        match record {
            Record::SessionDetached { cause, expiry, at_unix_ms, will_pending, .. } => {
                self.detached = Some((at_unix_ms, cause));
                self.expiry = expiry;
                self.will = self.will.take().filter(|_| will_pending);
            }
            Record::Principal { principal, .. } => self.principal = Some(principal),
            Record::WillDone { .. } => self.will = None,
            Record::Subscribed { filter, options, identifier, .. } => {
                self.subscriptions.insert(filter, SavedSubscription { options, identifier });
            }
            Record::Unsubscribed { filter, .. } => {
                self.subscriptions.remove(&filter);
            }
            Record::ReceivedReleased { packet_id, .. } => {
                self.received.remove(&packet_id);
            }
            Record::Unpaged { page, .. } => self.pages.retain(|held| held.id != page),
            Record::Sent { number, packet_id, .. } => {
                if let Ok(at) = self.find_owed(number)
                    && let Some(owed) = self.owed.get_mut(at)
                {
                    owed.sent = Some((packet_id, Stage::Published));
                }
            }
            Record::Released { packet_id, .. } => {
                let is_it =
                    |owed: &&mut SavedOwed| owed.sent == Some((packet_id, Stage::Published));
                if let Some(owed) = self.owed.iter_mut().find(is_it) {
                    owed.sent = Some((packet_id, Stage::Released));
                    owed.message = None;
                }
            }
            Record::Settled { number, .. } => {
                if let Ok(at) = self.find_owed(number) {
                    self.owed.remove(at);
                }
            }
            Record::SessionAttached { .. }
            | Record::Owed { .. }
            | Record::SessionEnded { .. }
            | Record::Paged { .. }
            | Record::Gone(_)
            | Record::Retained { .. }
            | Record::Parked { .. }
            | Record::Unparked { .. }
            | Record::Session(_)
            | Record::Shadow { .. }
            | Record::Kept { .. } => {}
        }
    }

    /// A run of what is owed is in a page; a checkpoint may say it again.
    fn page_out(&mut self, page: SavedPage) {
        let from = self.owed.partition_point(|owed| owed.number < page.first);
        let behind = self.owed.partition_point(|owed| owed.number <= page.last);
        self.owed.drain(from..behind);
        if let Err(at) = self.pages.binary_search_by_key(&page.first, |held| held.first) {
            self.pages.insert(at, page);
        }
    }

    /// What a page holds is owed without it.
    pub fn put_back(&mut self, page: PageId, owed: Vec<SavedOwed>) {
        self.pages.retain(|held| held.id != page);
        for owed in owed {
            self.owe(owed);
        }
    }

    fn find_owed(&self, number: u64) -> Result<usize, usize> {
        self.owed.binary_search_by_key(&number, |owed| owed.number)
    }

    /// Adds what is owed; a checkpoint may say it again.
    fn owe(&mut self, owed: SavedOwed) {
        match self.find_owed(owed.number) {
            Ok(at) => {
                if let Some(held) = self.owed.get_mut(at) {
                    *held = owed;
                }
            }
            Err(at) => {
                if self.owed.is_empty() {
                    // Most sessions are owed nothing or one message.
                    self.owed.reserve_exact(1);
                }
                self.owed.insert(at, owed);
            }
        }
    }
}
