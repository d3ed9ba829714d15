//! Where what a shard hands out becomes durable, and the word that it did.
//!
//! [`Store`] is all that a shard's runtime knows of durability: batches and entries go in with
//! their positions, [`StoreEvent::Durable`] comes out, and only then do gated answers leave. Which
//! driver is behind it, the core never sees.

use bitts_broker::Lsn;
use bitts_broker::record::{Batch, Entry};

/// What one shard needs of durable storage.
///
/// Sans-IO: [`Store::submit`] and [`Store::append`] return at once, [`Store::poll`] tells what
/// became of them. Positions rise from call to call.
pub trait Store {
    /// Records that hold together: all of them become durable, after everything submitted before.
    fn submit(&mut self, batch: Batch);

    /// A message of the log.
    fn append(&mut self, entry: Entry);

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
    fn submit(&mut self, batch: Batch) {
        self.reached = self.reached.max(batch.lsn);
    }

    fn append(&mut self, entry: Entry) {
        self.reached = self.reached.max(entry.lsn);
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

    use super::*;

    #[test]
    fn memory_is_durable_at_once_and_says_so_once() {
        let mut store = MemoryStore::default();
        assert_eq!(store.poll(), None);
        store.submit(Batch { slot: Slot(1), lsn: Lsn(1), records: vec![] });
        store.submit(Batch { slot: Slot(2), lsn: Lsn(3), records: vec![] });
        assert_eq!(store.poll(), Some(StoreEvent::Durable(Lsn(3))));
        assert_eq!(store.poll(), None);
    }
}
