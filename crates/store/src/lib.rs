//! Where what a shard hands out becomes durable, and the word that it did.
//!
//! [`Store`] is all that a shard's runtime knows of durability: what a turn made durable goes in
//! with its positions, the word that it is comes out, and only then do gated answers leave. Which
//! driver is behind it, the core never sees: [`MemoryStore`] keeps nothing, [`JournalStore`] writes
//! a journal that [`recover`] reads.

mod anew;
mod commit;
pub mod disk;
mod error;
mod journal;
mod memory_disk;
mod open;
mod pages;
mod repair;
pub mod segment;
mod spares;

use bitts_broker::{Lsn, Now, Outbox};

pub use anew::{Anew, write_anew};
pub use commit::{Committer, Gauges, JournalStore, Notice, Submissions};
pub use error::StoreError;
pub use journal::{Journal, Opened, Torn};
pub use memory_disk::MemoryDisk;
pub use open::{Restart, recover};
pub use pages::PageIndex;
pub use repair::{Damage, Salvaged, salvage};

/// What one shard needs of durable storage.
///
/// Sans-IO: [`Store::submit`] returns at once, [`Store::poll`] or mail tells what became of it.
/// Positions rise from call to call.
pub trait Store {
    /// Takes everything durable out of an outbox: all of it becomes durable or nothing, after
    /// everything submitted before.
    fn submit(&mut self, now: Now, out: &mut Outbox);

    /// What happened since the last call.
    fn poll(&mut self) -> Option<StoreEvent>;
}

/// What a store tells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StoreEvent {
    /// Everything up to this position is as durable as the driver makes it.
    Durable(Lsn),
}

/// Keeps nothing past the process: what it is given counts as durable at once.
///
/// The core's own tables are the only copy, so a record is dropped as soon as it was seen.
#[derive(Debug, Default)]
pub struct MemoryStore {
    reached: Lsn,
    told: Lsn,
}

impl Store for MemoryStore {
    fn submit(&mut self, _: Now, out: &mut Outbox) {
        for lsn in out.batches.drain(..).map(|batch| batch.lsn) {
            self.reached = self.reached.max(lsn);
        }
        for lsn in out.entries.drain(..).map(|entry| entry.lsn) {
            self.reached = self.reached.max(lsn);
        }
        out.taken.clear();
    }

    fn poll(&mut self) -> Option<StoreEvent> {
        if self.reached == self.told {
            return None;
        }
        self.told = self.reached;
        Some(StoreEvent::Durable(self.reached))
    }
}

#[cfg(test)]
mod tests {
    use bitts_broker::Slot;
    use bitts_broker::record::Batch;

    use super::*;

    #[test]
    fn memory_is_durable_at_once_and_says_so_once() {
        let (mut store, mut out) = (MemoryStore::default(), Outbox::default());
        assert_eq!(store.poll(), None);
        out.batches.push(Batch { slot: Slot(1), lsn: Lsn(1), records: Vec::new().into() });
        out.batches.push(Batch { slot: Slot(2), lsn: Lsn(3), records: Vec::new().into() });
        store.submit(Now::default(), &mut out);
        assert!(out.batches.is_empty());
        assert_eq!(store.poll(), Some(StoreEvent::Durable(Lsn(3))));
        assert_eq!(store.poll(), None);
    }
}
