//! A machine whose stores are a journal on a disk in memory: it dies, and starts again.
//!
//! What shards hand over is written by the committer that servers run, one step at a time; a new
//! process recovers it and restores its shards by the code that servers start with.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bitts_broker::{Input, Moment, Outbox, PageId, Placement, ShardId, restore};
use bitts_store::{
    Committer, JournalStore, MemoryDisk, Notice, PageIndex, Restart, StoreError, Submissions,
    recover,
};

use super::conn::Ended;
use super::store::SimStore;
use super::{Core, Machine};

/// Bytes of a journal that are no reason for a checkpoint: few, so that there are many.
const CHECKPOINT_FROM_BYTES: u64 = 16 << 10;
/// The moment at which a process starts.
const START: Moment = Moment(1 << 42);

/// A disk, and what writes it while the process lives.
#[derive(Debug)]
pub(super) struct Medium {
    pub(super) disk: MemoryDisk,
    process: Option<Process>,
    starts: u64,
    /// What the disk was told to be.
    pub(super) is_full: bool,
}

#[derive(Debug)]
struct Process {
    submissions: Arc<Submissions>,
    committer: Committer<MemoryDisk>,
    pages: Arc<PageIndex>,
    /// Something may be there to write.
    is_busy: bool,
}

impl Machine {
    /// A machine with a journal on an empty disk; start it with [`Machine::restart`].
    #[must_use]
    pub fn on_disk(options: super::Options) -> Self {
        let mut machine = Self::new(options);
        let disk = MemoryDisk::default();
        machine.medium = Some(Medium { disk, process: None, starts: 0, is_full: false });
        machine
    }

    /// The disk, on a machine that has one.
    #[must_use]
    pub fn disk(&self) -> Option<MemoryDisk> {
        self.medium.as_ref().map(|medium| medium.disk.clone())
    }

    /// The process died, for instance because its disk failed.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.medium.as_ref().is_some_and(|medium| medium.process.is_none())
    }

    /// The process ends at once. What was written to sockets may still be read.
    pub fn die(&mut self) {
        if let Some(medium) = &mut self.medium {
            medium.process = None;
        }
        for conn in &mut self.conns {
            conn.place = None;
            conn.ended.get_or_insert(Ended::Dropped);
        }
        self.replies.clear();
    }

    /// A new process with this many shards recovers what the disk has. Where the disk fails
    /// meanwhile, it is dead again.
    pub fn restart(&mut self, shards: u8) -> Result<(), StoreError> {
        let Some(medium) = &mut self.medium else { return Ok(()) };
        medium.starts += 1;
        self.now.moment = START.plus_seconds(medium.starts);
        self.options.shards = shards;
        self.placement = Placement::new(self.options.hash_key, shards);
        let now = self.now;
        let (opened, recovered) = recover(medium.disk.clone(), now)?;
        let next_page = recovered.next_page;
        self.interest = Arc::new(bitts_broker::Interest::new(&self.placement));
        let mut restored: Vec<_> = (0..shards).map(|number| self.make_shard(number)).collect();
        let mut outs: Vec<Outbox> = restored.iter().map(|_| Outbox::default()).collect();
        restore(&mut restored, &mut outs, recovered, self.placement, now).map_err(|shadow| {
            let (place, what) = ("memory".to_owned(), format!("{shadow:?} cannot be read"));
            StoreError::Missing { place, what }
        })?;
        let mut restart = Restart::new(shards);
        restart.submit(now, &mut restored, &mut outs);
        let journal = restart.begin(opened, 7, true)?;
        let pages = journal.page_index();
        for shard in &mut restored {
            shard.keep_pages(next_page);
        }
        let submissions = Submissions::new(shards);
        let committer = Committer::new(journal, Arc::clone(&submissions), self.placement.all())
            .with_checkpoints_from(CHECKPOINT_FROM_BYTES);
        let store = |number| {
            JournalStore::new(ShardId(number), Arc::clone(&submissions), Arc::clone(&pages))
        };
        self.cores = (0..shards)
            .zip(restored)
            .map(|(number, shard)| Core::new(shard, SimStore::on_disk(store(number)), shards))
            .collect();
        if let Some(medium) = &mut self.medium {
            medium.process = Some(Process { submissions, committer, pages, is_busy: true });
        }
        Ok(())
    }

    /// Whether there may be something to commit.
    pub(super) fn is_commit_due(&self) -> bool {
        let process = self.medium.as_ref().and_then(|medium| medium.process.as_ref());
        process.is_some_and(|process| process.is_busy)
    }

    /// Something was handed over.
    pub(super) fn mark_submitted(&mut self) {
        if let Some(process) = self.medium.as_mut().and_then(|medium| medium.process.as_mut()) {
            process.is_busy = true;
        }
    }

    /// Whether whoever asked for a page can have it: it was written, or is gone.
    pub(super) fn may_read(&self, page: PageId) -> bool {
        let process = self.medium.as_ref().and_then(|medium| medium.process.as_ref());
        process.is_none_or(|process| !process.pages.is_expected(page))
    }

    /// A page; none where its session is gone, or the process ends with its disk.
    pub(super) fn read_page(&mut self, page: PageId) -> Option<Vec<u8>> {
        let Some(medium) = &mut self.medium else { return self.pages.get(&page).cloned() };
        let process = medium.process.as_ref()?;
        let outcome = process.pages.read(&mut medium.disk, page);
        if outcome.is_err() {
            self.die();
        }
        outcome.ok().flatten()
    }

    /// The committer writes what was handed over. A disk that fails ends the process.
    pub(super) fn commit(&mut self) {
        let Some(process) = self.medium.as_mut().and_then(|it| it.process.as_mut()) else {
            return;
        };
        let notices = RefCell::new(Vec::new());
        let notify = |shard, notice| notices.borrow_mut().push((shard, notice));
        let outcome = process.committer.step(&notify);
        let is_full = process.submissions.gauges.is_full.load(Ordering::Relaxed);
        match outcome {
            Ok(is_busy) => process.is_busy = is_busy,
            Err(_) => return self.die(),
        }
        for (shard, notice) in notices.into_inner() {
            self.take_notice(shard, notice);
        }
        self.tell_full(is_full);
    }

    fn tell_full(&mut self, is_full: bool) {
        let Some(medium) = self.medium.as_mut().filter(|medium| medium.is_full != is_full) else {
            return;
        };
        medium.is_full = is_full;
        for shard in (0..self.options.shards).map(ShardId) {
            self.handle(shard, Input::DiskFull(is_full));
        }
    }

    fn take_notice(&mut self, shard: ShardId, notice: Notice) {
        match notice {
            Notice::Durable(lsn) => self.reach(shard, lsn),
            Notice::Checkpoint => self.handle(shard, Input::Checkpoint { begin: true }),
            Notice::Confirm => {
                let core = self.core(shard);
                core.confirms =
                    Some(core.lanes.iter().map(std::collections::VecDeque::len).collect());
            }
        }
    }

    /// A shard's next part of a checkpoint, if there is one under way.
    pub(super) fn go_on_with_checkpoint(&mut self, shard: ShardId) {
        let core = self.core(shard);
        if core.shard.is_checkpointing() {
            self.handle(shard, Input::Checkpoint { begin: false });
            if self.core(shard).shard.is_checkpointing() {
                return;
            }
        } else if core.confirms.take_if(|left| left.iter().all(|mails| *mails == 0)).is_some() {
            self.handle(shard, Input::Checkpoint { begin: false });
        } else {
            return;
        }
        self.flush(shard);
        if let Some(process) = self.medium.as_mut().and_then(|it| it.process.as_mut()) {
            process.submissions.checkpointed(shard);
            process.is_busy = true;
        }
    }
}
