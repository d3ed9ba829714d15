//! Group commit: what all shards hand over becomes durable with one sync.
//!
//! [`Submissions`] is where shards put units and go on; [`Committer::run`] is a thread's loop that
//! writes what is there as one frame, syncs once, and says so. There is no timer: a commit begins
//! when the one before has ended and something is there, so that it is at once when little happens
//! and large when much does.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bitts_broker::record::encode;
use bitts_broker::record::{Lsn, Taken};
use bitts_broker::{Now, Outbox, ShardId, ShardSet};

use crate::disk::Disk;
use crate::error::StoreError;
use crate::journal::{Journal, empty_frame};
use crate::{Store, StoreEvent};

/// Bytes that wait for a commit above which nobody should accept more.
pub(crate) const BACKLOG_HIGH: u64 = 64 << 20;
/// Bytes of a journal that are no reason for a checkpoint.
const CHECKPOINT_FROM_BYTES: u64 = 64 << 20;
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
    /// Bytes that wait to be written.
    pub backlog_bytes: AtomicU64,
    /// Checkpoints completed.
    pub checkpoints: AtomicU64,
    /// The disk is full: what needs it waits.
    pub is_full: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    /// A frame's body: units with their lengths.
    body: Vec<u8>,
    /// The last position of each shard in it.
    reached: Vec<Option<Lsn>>,
    checkpointed: ShardSet,
    is_closing: bool,
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
        let reached = vec![None; usize::from(shards)];
        let waiting = Waiting { body: empty_frame(), reached, ..Waiting::default() };
        let waiting = Mutex::new(waiting);
        Arc::new(Self { waiting, arrived: Condvar::new(), gauges: Gauges::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Whoever panicked while it held the lock ends the process.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, shard: ShardId, lsn: Option<Lsn>, unit: &[u8]) {
        let mut waiting = self.lock();
        put_unit(&mut waiting.body, unit);
        if let Some(place) = waiting.reached.get_mut(usize::from(shard.0)) {
            *place = lsn.or(*place);
        }
        self.gauges.backlog_bytes.store(waiting.body.len() as u64, Ordering::Relaxed);
        drop(waiting);
        self.arrived.notify_one();
    }

    /// The shard has done what [`Notice::Checkpoint`] or [`Notice::Confirm`] asks for, and
    /// submitted it.
    pub fn checkpointed(&self, shard: ShardId) {
        let mut waiting = self.lock();
        waiting.checkpointed = waiting.checkpointed.union(ShardSet::only(shard));
        drop(waiting);
        self.arrived.notify_one();
    }

    /// Nothing more will come: the committer ends when everything is written.
    pub fn close(&self) {
        self.lock().is_closing = true;
        self.arrived.notify_one();
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
    /// Waits for something that needs writing.
    taken: Vec<Taken>,
    taken_count: usize,
    unit: Vec<u8>,
}

impl JournalStore {
    /// Of one shard.
    #[must_use]
    pub fn new(shard: ShardId, submissions: Arc<Submissions>) -> Self {
        Self { shard, submissions, taken: Vec::new(), taken_count: 0, unit: Vec::new() }
    }

    /// What all shards hand over.
    #[must_use]
    pub fn submissions(&self) -> &Submissions {
        &self.submissions
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
        if out.batches.is_empty() && out.entries.is_empty() && self.taken_count < TAKEN_MAX {
            return;
        }
        let of_batches = out.batches.last().map(|batch| batch.lsn);
        let lsn = of_batches.max(out.entries.last().map(|entry| entry.lsn));
        self.unit.clear();
        encode(self.shard, now, &self.taken, &out.batches, &out.entries, &mut self.unit);
        self.taken.clear();
        self.taken_count = 0;
        out.batches.clear();
        out.entries.clear();
        self.submissions.put(self.shard, lsn, &self.unit);
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
    body: Vec<u8>,
    reached: Vec<Option<Lsn>>,
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
            body: empty_frame(),
            reached: Vec::new(),
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
        let is_stuck = self.body.len() > empty_frame().len();
        let checkpointed = waiting.checkpointed;
        if !is_stuck && !self.is_due(&waiting) && !self.journal.is_low_on_space() {
            return Ok(false);
        }
        if !is_stuck {
            take(&mut self.body, &mut self.reached, &mut waiting);
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
        if self.body.len() > empty_frame().len() {
            self.commit()?;
            self.tell(notify);
            self.let_go();
        } else if self.journal.is_low_on_space() {
            self.journal.look_at_space()?;
        }
        let is_full = self.journal.is_low_on_space();
        self.submissions.gauges.is_full.store(is_full, Ordering::Relaxed);
        self.go_on(checkpointed, notify)
    }

    /// Whether there is something to write, or every shard has done its part of a checkpoint.
    fn is_due(&self, waiting: &Waiting) -> bool {
        let is_done = self.phase != Phase::None && waiting.checkpointed == self.shards;
        waiting.body.len() > empty_frame().len() || is_done
    }

    /// Takes what was submitted, and which shards have done their part of a checkpoint. Ends where
    /// nothing more comes.
    fn wait(&mut self) -> Option<ShardSet> {
        let mut waiting = self.submissions.lock();
        while !self.is_due(&waiting) {
            if waiting.is_closing {
                return None;
            }
            waiting = if self.journal.is_low_on_space() {
                let (waiting, timeout) = self
                    .submissions
                    .arrived
                    .wait_timeout(waiting, FULL_RETRY)
                    .unwrap_or_else(PoisonError::into_inner);
                if timeout.timed_out() {
                    return Some(waiting.checkpointed);
                }
                waiting
            } else {
                self.submissions.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner)
            };
        }
        take(&mut self.body, &mut self.reached, &mut waiting);
        Some(waiting.checkpointed)
    }

    /// What was taken is written: its room is used again.
    fn let_go(&mut self) {
        self.body.truncate(empty_frame().len());
        self.body.shrink_to(8 << 20);
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.journal.append(&mut self.body)?;
        self.journal.sync()?;
        let gauges = &self.submissions.gauges;
        gauges.commits.fetch_add(1, Ordering::Relaxed);
        gauges.written_bytes.fetch_add(self.body.len() as u64, Ordering::Relaxed);
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
        for (shard, reached) in (0_u8..).zip(&self.reached) {
            if let Some(lsn) = reached {
                notify(ShardId(shard), Notice::Durable(*lsn));
            }
        }
        let waiting = self.submissions.lock();
        let left = waiting.body.len() as u64;
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

/// Moves what waits out of the way of those that submit.
fn take(body: &mut Vec<u8>, reached: &mut Vec<Option<Lsn>>, waiting: &mut Waiting) {
    std::mem::swap(body, &mut waiting.body);
    reached.clone_from(&waiting.reached);
    waiting.reached.fill(None);
}
