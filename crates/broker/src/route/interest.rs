//! Which shards want a topic: the one structure that shards share.
//!
//! A table of cells, each a set of shards; a filter's key names its cell. A shard sets its bit at
//! its first filter in a cell and clears it at its last. Filters that meet in one cell cost a
//! hand-off to a shard that then finds nothing, never a loss. Reading never writes, so the cells
//! stay in every core's cache. The wildcard shapes in use are shared the same way, as one snapshot.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use arc_swap::ArcSwap;

use super::retained::Change;
use super::shape::{Keys, Levels, Shape};
use crate::limits::Limits;
use crate::rates::AccountRates;
use crate::slot::{Placement, ShardId, ShardSet};

/// Cells; 2^17 of 16 bytes are 2 MiB for a server, whatever it holds.
pub(crate) const CELLS: usize = 1 << 17;

/// A wildcard shape in use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShapeUse {
    pub(crate) shape: Shape,
    users: ShardSet,
}

/// See the module.
#[derive(Debug)]
pub struct Interest {
    keys: Keys,
    cells: Box<[AtomicU64]>,
    persistent: Box<[AtomicU64]>,
    shapes: ArcSwap<Vec<ShapeUse>>,
    generation: AtomicU64,
    deep: AtomicU64,
    /// Filters of all shards that are too deep for a shape.
    deep_filters: AtomicU64,
    retained_messages: AtomicI64,
    retained_bytes: AtomicI64,
    account: AccountRates,
}

/// Which shards want a topic, and which of them for a session that outlives its connection.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) shards: ShardSet,
    pub(crate) persistent: ShardSet,
}

impl Interest {
    /// Nobody wants anything yet.
    #[must_use]
    pub fn new(placement: &Placement) -> Self {
        let cells = || (0..CELLS).map(|_| AtomicU64::new(0)).collect();
        Self {
            keys: Keys::new(placement.seed()),
            cells: cells(),
            persistent: cells(),
            shapes: ArcSwap::default(),
            generation: AtomicU64::new(0),
            deep: AtomicU64::new(0),
            deep_filters: AtomicU64::new(0),
            retained_messages: AtomicI64::new(0),
            retained_bytes: AtomicI64::new(0),
            account: AccountRates::default(),
        }
    }

    /// The shards that want this topic.
    #[must_use]
    pub fn shards_for(&self, topic: &str) -> ShardSet {
        let mut levels = Levels::default();
        self.keys.levels(topic, &mut levels);
        let mut shards = self.wanted(self.keys.exact(&levels)).shards;
        for used in self.shapes.load().iter() {
            if let Some(key) = self.keys.shaped(&levels, used.shape) {
                shards = shards.union(self.wanted(key).shards);
            }
        }
        shards.union(self.deep())
    }

    /// What all shards together did in this second.
    #[must_use]
    pub fn account(&self) -> &AccountRates {
        &self.account
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Who wants what is found under this key.
    pub(crate) fn wanted(&self, key: u64) -> Wanted {
        let load = |cells: &[AtomicU64]| {
            cells.get(cell_of(key)).map_or(ShardSet::EMPTY, |c| ShardSet(c.load(Ordering::Acquire)))
        };
        Wanted { shards: load(&self.cells), persistent: load(&self.persistent) }
    }

    /// Who has filters too deep for a shape, and therefore gets everything.
    pub(crate) fn deep(&self) -> ShardSet {
        ShardSet(self.deep.load(Ordering::Acquire))
    }

    /// Rises with every change of the shapes in use.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(crate) fn shapes(&self) -> Arc<Vec<ShapeUse>> {
        self.shapes.load_full()
    }

    pub(crate) fn set(&self, shard: ShardId, key: u64, wanted: bool, persistent: bool) {
        let cells = if persistent { &self.persistent } else { &self.cells };
        if let Some(cell) = cells.get(cell_of(key)) {
            set_bit(cell, shard, wanted);
        }
    }

    /// Each filter without a shape costs every topic as much as a shape does.
    pub(crate) fn deep_filters(&self) -> u64 {
        self.deep_filters.load(Ordering::Acquire)
    }

    pub(crate) fn count_deep(&self, more: bool) {
        if more {
            self.deep_filters.fetch_add(1, Ordering::AcqRel);
        } else {
            self.deep_filters.fetch_sub(1, Ordering::AcqRel);
        }
    }

    pub(crate) fn set_deep(&self, shard: ShardId, wanted: bool) {
        set_bit(&self.deep, shard, wanted);
    }

    /// Counts retained messages of all shards, for the limit on them.
    pub(crate) fn count_retained(&self, change: Change) {
        if change != Change::default() {
            self.retained_messages.fetch_add(change.messages, Ordering::AcqRel);
            self.retained_bytes.fetch_add(change.bytes, Ordering::AcqRel);
        }
    }

    /// Whether all shards together hold as many retained messages, or bytes of them, as they may.
    pub(crate) fn is_retained_full(&self, limits: &Limits) -> bool {
        let is_over = |held: &AtomicI64, max: usize| {
            usize::try_from(held.load(Ordering::Acquire)).unwrap_or(0) >= max
        };
        is_over(&self.retained_messages, limits.retained_messages_max)
            || is_over(&self.retained_bytes, limits.retained_bytes_max)
    }

    /// Says that a shard has, or no longer has, filters of this shape.
    pub(crate) fn set_shape(&self, shard: ShardId, shape: Shape, wanted: bool) {
        self.shapes.rcu(|shapes| {
            let mut shapes = Vec::clone(shapes);
            let bit = ShardSet::only(shard);
            match shapes.iter_mut().find(|used| used.shape == shape) {
                Some(used) if wanted => used.users = used.users.union(bit),
                Some(used) => used.users = used.users.without(shard),
                None if wanted => shapes.push(ShapeUse { shape, users: bit }),
                None => {}
            }
            shapes.retain(|used| !used.users.is_empty());
            shapes
        });
        self.generation.fetch_add(1, Ordering::AcqRel);
    }
}

/// The cell of a key.
pub(crate) fn cell_of(key: u64) -> usize {
    (key as usize) & (CELLS - 1)
}

fn set_bit(cell: &AtomicU64, shard: ShardId, wanted: bool) {
    let bit = ShardSet::only(shard).0;
    if wanted {
        cell.fetch_or(bit, Ordering::AcqRel);
    } else {
        cell.fetch_and(!bit, Ordering::AcqRel);
    }
}
