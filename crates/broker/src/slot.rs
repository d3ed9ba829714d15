//! Who owns what: a name hashes to a slot, a slot runs on a shard.
//!
//! The only place that says which. Client Identifiers, retained topics, `$share` groups and the
//! topics of HTTP publishes are placed the same way. On one machine shard = slot mod shards.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

/// Slots of a server; fixed, so that a cluster can hand them around.
pub const SLOTS: u16 = 64;

/// The unit of ownership.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Slot(pub u16);

/// One core's share of the server.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ShardId(pub u8);

/// The most shards a server can have; bit 63 of a [`ShardSet`] is the rest of the cluster.
pub const SHARDS_MAX: u8 = 63;

/// A set of shards.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ShardSet(pub u64);

impl ShardSet {
    /// No shard.
    pub const EMPTY: Self = Self(0);

    /// Just this shard.
    #[must_use]
    pub const fn only(shard: ShardId) -> Self {
        Self(1 << shard.0)
    }

    /// Whether no shard is in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether this shard is in it.
    #[must_use]
    pub const fn contains(self, shard: ShardId) -> bool {
        self.0 & (1 << shard.0) != 0
    }

    /// This set without one shard.
    #[must_use]
    pub const fn without(self, shard: ShardId) -> Self {
        Self(self.0 & !(1 << shard.0))
    }

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The shards in it, ascending.
    pub fn iter(self) -> impl Iterator<Item = ShardId> {
        (0..SHARDS_MAX).map(ShardId).filter(move |shard| self.contains(*shard))
    }
}

/// A keyed 64-bit hash of a name: places it, and stands for it where equality is enough.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NameKey(pub u64);

/// How names are placed on the shards of this process.
#[derive(Clone, Copy, Debug)]
pub struct Placement {
    hash_key: (u64, u64),
    shards: u8,
}

impl Placement {
    /// Places names on `shards` shards (1 to 63) with a secret hash key.
    #[must_use]
    pub const fn new(hash_key: (u64, u64), shards: u8) -> Self {
        let shards = if shards == 0 { 1 } else { shards };
        let shards = if shards > SHARDS_MAX { SHARDS_MAX } else { shards };
        Self { hash_key, shards }
    }

    /// The same names in the same slots, on another number of shards.
    #[must_use]
    pub const fn with_shards(&self, shards: u8) -> Self {
        Self::new(self.hash_key, shards)
    }

    /// How many shards there are.
    #[must_use]
    pub const fn shards(&self) -> u8 {
        self.shards
    }

    /// Every shard of this process.
    #[must_use]
    pub const fn all(&self) -> ShardSet {
        ShardSet((1 << self.shards) - 1)
    }

    /// The secret that seeds the hash tables of the core.
    pub(crate) const fn seed(&self) -> u64 {
        self.hash_key.0 ^ self.hash_key.1.rotate_left(32)
    }

    /// The keyed hash of a name.
    #[must_use]
    pub fn key_of(&self, name: &str) -> NameKey {
        let mut hasher = SipHasher13::new_with_keys(self.hash_key.0, self.hash_key.1);
        hasher.write(name.as_bytes());
        NameKey(hasher.finish())
    }

    /// The slot of a name.
    #[must_use]
    pub fn slot_of(&self, name: &str) -> Slot {
        Slot((self.key_of(name).0 % u64::from(SLOTS)) as u16)
    }

    /// The shard that runs a slot.
    #[must_use]
    pub const fn shard_of(&self, slot: Slot) -> ShardId {
        ShardId((slot.0 % self.shards as u16) as u8)
    }

    /// The shard that owns a name.
    #[must_use]
    pub fn owner_of(&self, name: &str) -> ShardId {
        self.shard_of(self.slot_of(name))
    }
}
