//! Group commit: what all shards hand over becomes durable with one sync.
//!
//! [`Submissions`] is where shards put units and go on; [`Committer::run`] is a thread's loop that
//! writes what is there as one frame, syncs once, and says so. There is no timer: a commit begins
//! when the one before has ended and something is there that somebody waits for, so that it is at
//! once when little happens and large when much does. What nobody waits for ([`Record::may_wait`])
//! goes with the next commit, or soon by itself.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bitts_broker::record::encode;
use bitts_broker::record::{Lsn, Record, Taken};
use bitts_broker::{Now, Outbox, Page, PageId, ShardId, ShardSet};

use crate::disk::Disk;
use crate::error::StoreError;
use crate::journal::{Journal, empty_frame};
use crate::pages::PageIndex;
use crate::segment::FRAME_BYTES;
use crate::{Store, StoreEvent};

/// Bytes that wait for a commit above which nobody should accept more.
pub(crate) const BACKLOG_HIGH: u64 = 64 << 20;
/// Bytes of a journal that are no reason for a checkpoint.
const CHECKPOINT_FROM_BYTES: u64 = 64 << 20;
/// How long what nobody waits for may be kept from the disk.
const LATER: Duration = Duration::from_millis(10);
/// How often a full disk is looked at.
const FULL_RETRY: Duration = Duration::from_millis(100);
/// Messages taken from other shards before that is written by itself.
const TAKEN_MAX: usize = 1_024;

/// What a committer tells a shard.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Notice {
    /// Everything up to this position is durable.
    Durable(Lsn),
    /// Write everything again, then say [`Submissions::checkpointed`].
    Checkpoint,
    /// Every shard has: once what is in the inbox now was taken, say it again.
    Confirm,
}

/// Figures of a store, for whoever watches it.
#[derive(Debug, Default)]
pub struct Gauges {
    /// Bytes of the journal.
    pub journal_bytes: AtomicU64,
    /// Files of the journal.
    pub segments: AtomicU64,
    /// Frames written.
    pub commits: AtomicU64,
    /// Bytes written, headers included.
    pub written_bytes: AtomicU64,
    /// Bytes of the files of pages.
    pub page_bytes: AtomicU64,
    /// Bytes that wait to be written.
    pub backlog_bytes: AtomicU64,
    /// Checkpoints completed.
    pub checkpoints: AtomicU64,
    /// The disk is full: what needs it waits.
    pub is_full: AtomicBool,
}

/// What one commit makes durable.
#[derive(Debug)]
struct Load {
    /// A frame's body: units with their lengths.
    body: Vec<u8>,
    /// Pages that the units name.
    pages: Vec<Page>,
    page_bytes: u64,
    /// Pages that nothing needs once the units are durable.
    freed: Vec<PageId>,
    /// The last position of each shard in it.
    reached: Vec<Option<Lsn>>,
}

impl Load {
    fn new(shards: u8) -> Self {
        Self {
            body: empty_frame(),
            pages: Vec::new(),
            page_bytes: 0,
            freed: Vec::new(),
            reached: vec![None; usize::from(shards)],
        }
    }

    fn has_units(&self) -> bool {
        self.body.len() > FRAME_BYTES
    }

    fn is_empty(&self) -> bool {
        !self.has_units() && self.pages.is_empty() && self.freed.is_empty()
    }

    fn bytes(&self) -> u64 {
        (self.body.len() - FRAME_BYTES) as u64 + self.page_bytes
    }

    /// Takes what waits; this one is empty.
    fn take(&mut self, waiting: &mut Self) {
        std::mem::swap(&mut self.body, &mut waiting.body);
        std::mem::swap(&mut self.pages, &mut waiting.pages);
        std::mem::swap(&mut self.freed, &mut waiting.freed);
        self.page_bytes = std::mem::take(&mut waiting.page_bytes);
        self.reached.clone_from(&waiting.reached);
        waiting.reached.fill(None);
    }

    /// What was taken is written: its room is used again.
    fn let_go(&mut self) {
        self.body.truncate(FRAME_BYTES);
        self.body.shrink_to(8 << 20);
    }
}

#[derive(Debug)]
struct Waiting {
    load: Load,
    checkpointed: ShardSet,
    /// Somebody waits for what is there.
    is_awaited: bool,
    committer: Standing,
    is_closing: bool,
}

/// What the committer does, as far as whoever hands over must know.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Standing {
    /// It writes, and looks here before it sleeps.
    Busy,
    /// It sleeps, and looks soon without being told.
    Dozing,
    /// It sleeps until it is told.
    Asleep,
}

/// What shards hand over and the committer takes.
#[derive(Debug)]
pub struct Submissions {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    /// Watch it from any thread.
    pub gauges: Gauges,
}

impl Submissions {
    /// For this many shards.
    #[must_use]
    pub fn new(shards: u8) -> Arc<Self> {
        let load = Load::new(shards);
        let waiting = Mutex::new(Waiting {
            load,
            checkpointed: ShardSet::EMPTY,
            is_awaited: false,
            committer: Standing::Busy,
            is_closing: false,
        });
        Arc::new(Self { waiting, arrived: Condvar::new(), gauges: Gauges::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Whoever panicked while it held the lock ends the process.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `may_wait`: nobody waits for it.
    fn put(
        &self,
        (shard, lsn): (ShardId, Option<Lsn>),
        unit: &[u8],
        may_wait: bool,
        out: &mut Outbox,
    ) {
        let mut waiting = self.lock();
        if !unit.is_empty() {
            put_unit(&mut waiting.load.body, unit);
        }
        let pages = out.pages.iter().map(|page| page.bytes.len() as u64).sum::<u64>();
        waiting.load.page_bytes += pages;
        waiting.load.pages.append(&mut out.pages);
        waiting.load.freed.append(&mut out.freed);
        if let Some(place) = waiting.load.reached.get_mut(usize::from(shard.0)) {
            *place = lsn.or(*place);
        }
        self.gauges.backlog_bytes.store(waiting.load.bytes(), Ordering::Relaxed);
        waiting.is_awaited |= !may_wait;
        self.wake(waiting);
    }

    /// Somebody waits for what was handed over.
    fn hurry(&self) {
        let mut waiting = self.lock();
        waiting.is_awaited = true;
        self.wake(waiting);
    }

    fn wake(&self, waiting: MutexGuard<'_, Waiting>) {
        let is_told = match waiting.committer {
            Standing::Busy => false,
            Standing::Dozing => waiting.is_awaited,
            Standing::Asleep => true,
        };
        drop(waiting);
        if is_told {
            self.arrived.notify_one();
        }
    }

    /// The shard has done what [`Notice::Checkpoint`] or [`Notice::Confirm`] asks for, and
    /// submitted it.
    pub fn checkpointed(&self, shard: ShardId) {
        let mut waiting = self.lock();
        waiting.checkpointed = waiting.checkpointed.union(ShardSet::only(shard));
        waiting.is_awaited = true;
        self.wake(waiting);
    }

    /// Nothing more will come: the committer ends when everything is written.
    pub fn close(&self) {
        let mut waiting = self.lock();
        (waiting.is_closing, waiting.is_awaited) = (true, true);
        self.wake(waiting);
    }

    /// Whether more waits than the disk keeps up with.
    #[must_use]
    pub fn is_high(&self) -> bool {
        self.gauges.backlog_bytes.load(Ordering::Relaxed) > BACKLOG_HIGH
    }
}

/// Adds a unit to a frame's body.
pub(crate) fn put_unit(body: &mut Vec<u8>, unit: &[u8]) {
    body.extend_from_slice(&(unit.len() as u32).to_le_bytes());
    body.extend_from_slice(unit);
}

/// The units of a frame's body; `None` in place of one that is cut off.
pub(crate) fn units(mut body: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    std::iter::from_fn(move || {
        if body.is_empty() {
            return None;
        }
        let unit = body.split_at_checked(4).and_then(|(len, rest)| {
            let len = u32::from_le_bytes(len.try_into().ok()?);
            rest.split_at_checked(len as usize)
        });
        body = unit.map_or(&[], |(_, rest)| rest);
        Some(unit.map(|(unit, _)| unit))
    })
}

/// One shard's end of a journal.
#[derive(Debug)]
pub struct JournalStore {
    shard: ShardId,
    submissions: Arc<Submissions>,
    pages: Arc<PageIndex>,
    /// Waits for something that needs writing.
    taken: Vec<Taken>,
    taken_count: usize,
    /// The first position that was handed over without a hurry.
    unhurried: Option<Lsn>,
    unit: Vec<u8>,
}

impl JournalStore {
    /// Of one shard.
    #[must_use]
    pub fn new(shard: ShardId, submissions: Arc<Submissions>, pages: Arc<PageIndex>) -> Self {
        let (taken, unit) = (Vec::new(), Vec::new());
        Self { shard, submissions, pages, taken, taken_count: 0, unhurried: None, unit }
    }

    /// What all shards hand over.
    #[must_use]
    pub fn submissions(&self) -> &Submissions {
        &self.submissions
    }

    /// Whether anything in the outbox waits for a position from this one on.
    fn is_awaited(out: &Outbox, from: Lsn) -> bool {
        let frame = out.gated.last().map(|held| held.0);
        let reply = out.gated_replies.last().map(|held| held.0);
        let parcel = out.gated_parcels.last().map(|held| held.0);
        let message = out.gated_messages.last().map(|held| held.0);
        [frame, reply, parcel, message].into_iter().flatten().any(|gate| gate >= from)
    }
}

impl Store for JournalStore {
    fn submit(&mut self, now: Now, out: &mut Outbox) {
        for taken in out.taken.drain(..) {
            self.taken_count += 1;
            let is_it =
                |held: &&mut Taken| (held.from, held.to_retain) == (taken.from, taken.to_retain);
            match self.taken.iter_mut().find(is_it) {
                Some(held) => *held = taken,
                None => self.taken.push(taken),
            }
        }
        for page in &out.pages {
            self.pages.expect(page.id);
        }
        let is_empty = out.batches.is_empty() && out.entries.is_empty();
        if is_empty && self.taken_count < TAKEN_MAX {
            // Of a session that does not outlive its connection.
            if !out.pages.is_empty() || !out.freed.is_empty() {
                self.submissions.put((self.shard, None), &[], false, out);
            }
            if self.unhurried.is_some_and(|from| Self::is_awaited(out, from)) {
                self.unhurried = None;
                self.submissions.hurry();
            }
            return;
        }
        let first = out.batches.first().map(|batch| batch.lsn);
        let from = self.unhurried.or(first).unwrap_or_default();
        let mut records = out.batches.iter().flat_map(|batch| &batch.records);
        let may_wait = out.entries.is_empty()
            && out.pages.is_empty()
            && records.all(Record::may_wait)
            && !Self::is_awaited(out, from);
        self.unhurried = may_wait.then_some(from);
        let of_batches = out.batches.last().map(|batch| batch.lsn);
        let lsn = of_batches.max(out.entries.last().map(|entry| entry.lsn));
        self.unit.clear();
        encode(self.shard, now, &self.taken, &out.batches, &out.entries, &mut self.unit);
        self.taken.clear();
        self.taken_count = 0;
        out.batches.clear();
        out.entries.clear();
        self.submissions.put((self.shard, lsn), &self.unit, may_wait, out);
        self.unit.shrink_to(1 << 20);
    }

    fn poll(&mut self) -> Option<StoreEvent> {
        None
    }
}

/// How far a checkpoint is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    None,
    /// Shards write everything again, behind this frame.
    Writing(u64),
    /// Shards take what was in their inboxes when the last of them had.
    Confirming(u64),
}

/// See the module.
#[derive(Debug)]
pub struct Committer<D> {
    journal: Journal<D>,
    submissions: Arc<Submissions>,
    shards: ShardSet,
    phase: Phase,
    checkpoint_from_bytes: u64,
    /// Bytes of the journal after the last checkpoint.
    live_bytes: u64,
    load: Load,
}

impl<D: Disk> Committer<D> {
    /// Writes what is submitted into a journal.
    #[must_use]
    pub fn new(journal: Journal<D>, submissions: Arc<Submissions>, shards: ShardSet) -> Self {
        Self {
            journal,
            submissions,
            shards,
            phase: Phase::None,
            checkpoint_from_bytes: CHECKPOINT_FROM_BYTES,
            live_bytes: 0,
            load: Load::new(0),
        }
    }

    /// A checkpoint is due at twice the live state and this many bytes. Default 64 MiB.
    #[must_use]
    pub fn with_checkpoints_from(mut self, bytes: u64) -> Self {
        self.checkpoint_from_bytes = bytes;
        self
    }

    /// Runs until [`Submissions::close`], or until the disk fails. Then nothing that waited is ever
    /// answered, and the process must end.
    pub fn run(mut self, notify: &impl Fn(ShardId, Notice)) -> Result<(), StoreError> {
        while let Some(checkpointed) = self.wait() {
            loop {
                match self.turn(checkpointed, notify) {
                    Err(error) if error.is_no_space() && self.wait_for_space() => {}
                    outcome => break outcome?,
                }
            }
        }
        Ok(())
    }

    /// Does what [`Committer::run`] does at once, and does not wait; `false` where nothing was to
    /// be done. What had no space is tried again in the next step.
    pub fn step(&mut self, notify: &impl Fn(ShardId, Notice)) -> Result<bool, StoreError> {
        let mut waiting = self.submissions.lock();
        let is_stuck = !self.load.is_empty();
        let checkpointed = waiting.checkpointed;
        if !is_stuck && !self.is_due(&waiting) && !self.journal.is_low_on_space() {
            return Ok(false);
        }
        if !is_stuck {
            self.load.take(&mut waiting.load);
            waiting.is_awaited = false;
        }
        drop(waiting);
        match self.turn(checkpointed, notify) {
            Err(error) if error.is_no_space() => {
                self.submissions.gauges.is_full.store(true, Ordering::Relaxed);
                Ok(true)
            }
            outcome => outcome.map(|()| true),
        }
    }

    /// Writes what was taken, and takes the next step of a checkpoint.
    fn turn(
        &mut self,
        checkpointed: ShardSet,
        notify: &impl Fn(ShardId, Notice),
    ) -> Result<(), StoreError> {
        self.write_pages()?;
        if self.load.has_units() {
            self.commit()?;
            self.tell(notify);
            self.load.let_go();
        } else if self.journal.is_low_on_space() {
            self.journal.look_at_space()?;
        }
        self.journal.free_pages(&mut self.load.freed)?;
        let is_full = self.journal.is_low_on_space();
        self.submissions.gauges.is_full.store(is_full, Ordering::Relaxed);
        self.go_on(checkpointed, notify)
    }

    /// Whether there is something to write, awaited or not, or every shard has done its part of a
    /// checkpoint.
    fn is_due(&self, waiting: &Waiting) -> bool {
        let is_done = self.phase != Phase::None && waiting.checkpointed == self.shards;
        !waiting.load.is_empty() || is_done
    }

    /// Takes what was submitted, and which shards have done their part of a checkpoint. Ends where
    /// nothing more comes.
    fn wait(&mut self) -> Option<ShardSet> {
        let submissions = Arc::clone(&self.submissions);
        let mut waiting = submissions.lock();
        // What nobody waits for comes soon after a commit, if it comes: no shard need say so.
        let mut is_watching = true;
        loop {
            let is_due = self.is_due(&waiting);
            if is_due && waiting.is_awaited {
                break;
            }
            if waiting.is_closing {
                return None;
            }
            is_watching |= is_due;
            let is_low = self.journal.is_low_on_space();
            let (standing, how_long) = match (is_watching, is_low) {
                (true, _) => (Standing::Dozing, LATER),
                (false, true) => (Standing::Asleep, FULL_RETRY),
                (false, false) => (Standing::Asleep, Duration::MAX),
            };
            waiting.committer = standing;
            let (held, timeout) = submissions
                .arrived
                .wait_timeout(waiting, how_long)
                .unwrap_or_else(PoisonError::into_inner);
            waiting = held;
            waiting.committer = Standing::Busy;
            if timeout.timed_out() {
                if is_low || self.is_due(&waiting) {
                    break;
                }
                is_watching = false;
            }
        }
        self.load.take(&mut waiting.load);
        waiting.is_awaited = false;
        Some(waiting.checkpointed)
    }

    /// Pages are on stable storage before a frame says what is in them.
    fn write_pages(&mut self) -> Result<(), StoreError> {
        if self.load.pages.is_empty() {
            return Ok(());
        }
        self.journal.write_pages(&self.load.pages)?;
        self.load.pages.clear();
        self.submissions.gauges.page_bytes.store(self.journal.page_bytes(), Ordering::Relaxed);
        Ok(())
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.journal.append(&mut self.load.body)?;
        self.journal.sync()?;
        let gauges = &self.submissions.gauges;
        gauges.commits.fetch_add(1, Ordering::Relaxed);
        gauges.written_bytes.store(self.journal.written(), Ordering::Relaxed);
        gauges.journal_bytes.store(self.journal.bytes(), Ordering::Relaxed);
        gauges.segments.store(self.journal.segments() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Waits a moment; `false` where the process is to end instead.
    fn wait_for_space(&self) -> bool {
        self.submissions.gauges.is_full.store(true, Ordering::Relaxed);
        std::thread::sleep(FULL_RETRY);
        !self.submissions.lock().is_closing
    }

    fn tell(&mut self, notify: &impl Fn(ShardId, Notice)) {
        for (shard, reached) in (0_u8..).zip(&self.load.reached) {
            if let Some(lsn) = reached {
                notify(ShardId(shard), Notice::Durable(*lsn));
            }
        }
        let waiting = self.submissions.lock();
        let left = waiting.load.bytes();
        self.submissions.gauges.backlog_bytes.store(left, Ordering::Relaxed);
    }

    /// Begins a checkpoint, or takes the next step of one.
    fn go_on(
        &mut self,
        checkpointed: ShardSet,
        notify: &impl Fn(ShardId, Notice),
    ) -> Result<(), StoreError> {
        match self.phase {
            Phase::None => {
                let due = self.checkpoint_from_bytes + 2 * self.live_bytes;
                if self.journal.bytes() < due {
                    return Ok(());
                }
                match self.journal.rotate() {
                    Err(error) if error.is_no_space() => return Ok(()),
                    rotated => rotated?,
                }
                self.ask(Phase::Writing(self.journal.next()), Notice::Checkpoint, notify);
            }
            Phase::Writing(from) if checkpointed == self.shards => {
                self.ask(Phase::Confirming(from), Notice::Confirm, notify);
            }
            Phase::Confirming(from) if checkpointed == self.shards => {
                self.journal.drop_before(from)?;
                self.live_bytes = self.journal.bytes();
                self.phase = Phase::None;
                self.submissions.gauges.checkpoints.fetch_add(1, Ordering::Relaxed);
                self.submissions.gauges.journal_bytes.store(self.live_bytes, Ordering::Relaxed);
            }
            Phase::Writing(_) | Phase::Confirming(_) => {}
        }
        Ok(())
    }

    fn ask(&mut self, phase: Phase, notice: Notice, notify: &impl Fn(ShardId, Notice)) {
        self.phase = phase;
        self.submissions.lock().checkpointed = ShardSet::EMPTY;
        self.shards.iter().for_each(|shard| notify(shard, notice));
    }
}
