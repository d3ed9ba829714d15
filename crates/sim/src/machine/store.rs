//! A store that says when it likes that something is durable, and keeps what it was given.

use bitts_broker::record::{Batch, Entry};
use bitts_broker::{Lsn, Now, Outbox};
use bitts_store::{JournalStore, MemoryStore, Store, StoreEvent};

/// When what is stored becomes durable.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Durability {
    /// At once, as with `--ephemeral`.
    #[default]
    AtOnce,
    /// When [`super::Step::Durable`] happens.
    Later,
}

/// Everything that one shard handed to its store, in order.
#[derive(Debug, Default)]
pub struct Log {
    /// Records.
    pub batches: Vec<Batch>,
    /// Messages.
    pub entries: Vec<Entry>,
    /// Everything up to here is durable.
    pub durable: Lsn,
    /// The last position that was handed over.
    pub reached: Lsn,
}

#[derive(Debug)]
pub(crate) struct SimStore {
    durability: Durability,
    memory: MemoryStore,
    /// In place of memory, on a machine with a disk.
    journal: Option<JournalStore>,
    log: Log,
}

impl SimStore {
    pub(crate) fn new(durability: Durability) -> Self {
        Self { durability, memory: MemoryStore::default(), journal: None, log: Log::default() }
    }

    /// What becomes durable is said by the committer.
    pub(crate) fn on_disk(journal: JournalStore) -> Self {
        Self { journal: Some(journal), ..Self::new(Durability::Later) }
    }

    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// Whether something was handed over that is not durable.
    pub(crate) fn is_waiting(&self) -> bool {
        self.journal.is_none() && self.log.durable < self.log.reached
    }

    /// Makes everything durable.
    pub(crate) fn finish(&mut self) -> Option<Lsn> {
        let mut reached = None;
        while let Some(StoreEvent::Durable(lsn)) = self.memory.poll() {
            self.log.durable = lsn;
            reached = Some(lsn);
        }
        reached
    }
}

impl Store for SimStore {
    fn submit(&mut self, now: Now, out: &mut Outbox) {
        if let Some(journal) = &mut self.journal {
            return journal.submit(now, out);
        }
        let log = &mut self.log;
        log.batches.extend_from_slice(&out.batches);
        log.entries.extend_from_slice(&out.entries);
        self.memory.submit(now, out);
        let last_batch = log.batches.last().map(|batch| batch.lsn);
        let last = last_batch.max(log.entries.last().map(|entry| entry.lsn));
        log.reached = log.reached.max(last.unwrap_or_default());
    }

    fn poll(&mut self) -> Option<StoreEvent> {
        match self.durability {
            Durability::AtOnce => self.finish().map(StoreEvent::Durable),
            Durability::Later => None,
        }
    }
}
