//! What a world is like: drawn from its seed, before anything happens.

use bitts_broker::{Limits, Profile, Rates};

use super::random::Random;
use crate::machine::{Durability, Options};

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) options: Options,
    /// Clients, the monitor not counted.
    pub(crate) clients: usize,
    /// Things that happen before the world comes to rest.
    pub(crate) steps: usize,
    /// Clients take no more than this many messages at once.
    pub(crate) receive_maximum: u16,
    /// Clients offer this many Topic Aliases.
    pub(crate) topic_alias_maximum: u16,
    /// Whether queues are so short that messages are dropped.
    pub(crate) has_short_queues: bool,
    /// Whether shadows are deleted; where they are not, every version is an update's.
    pub(crate) deletes_shadows: bool,
    /// In how many of a hundred cases a client leaves what came unread.
    pub(crate) laziness: usize,
    /// Largest payload, in bytes.
    pub(crate) payload_max: usize,
}

impl Plan {
    pub(crate) fn of(seed: u64) -> Self {
        let mut random = Random::new(seed, 1);
        let has_short_queues = random.chance(20);
        let limits = Limits {
            queued_memory_max: random.pick(&[600, 4_000, 64 << 20]).unwrap_or(600),
            queued_messages_max: if has_short_queues { 4 } else { 100_000 },
            group_queued_messages_max: if has_short_queues { 2 } else { 100_000 },
            retained_step: 1 + random.below(4),
            receive_maximum: random.pick(&[4, 1_024]).unwrap_or(4),
            inflight_max: random.pick(&[8, 1_024]).unwrap_or(8),
            ..Limits::default()
        };
        let durability = if random.chance(60) { Durability::Later } else { Durability::AtOnce };
        let options = Options {
            rates: Rates::default(),
            registry: None,
            shards: 1 + random.below(4) as u8,
            durability,
            inputs_per_turn: random.pick(&[1, 3, 50]).unwrap_or(1),
            bytes_per_read: usize::MAX,
            limits,
            profile: Profile::Open,
            hash_key: (random.next(), random.next()),
        };
        Self {
            options,
            clients: 3 + random.below(8),
            steps: 1_500 + random.below(2_000),
            receive_maximum: random.pick(&[1, 3, 65_535]).unwrap_or(1),
            topic_alias_maximum: random.pick(&[0, 2]).unwrap_or(0),
            has_short_queues,
            deletes_shadows: random.chance(50),
            laziness: random.pick(&[5, 30, 70]).unwrap_or(5),
            payload_max: random.pick(&[20, 400]).unwrap_or(20),
        }
    }
}
