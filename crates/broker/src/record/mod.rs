//! What must survive: facts about sessions, retained messages and messages that were accepted.
//!
//! The core hands these out in batches with a position; a store makes them durable and says up to
//! which position it did. They are complete facts: a record says what is true from now on, so that
//! the last one of a name wins. Nothing else of the core reaches a disk or another node. How they
//! are laid out in bytes is in `encode` and `decode`; how they become shards again is in
//! [`crate::recover`].

mod bytes;
mod decode;
mod encode;
mod saved;

use std::sync::Arc;

use ::bytes::Bytes;
use bitts_mqtt::{ProtocolVersion, SubscriptionOptions};
use smallvec::SmallVec;

use crate::message::Message;
use crate::reason::Cause;
use crate::slot::{ShardId, ShardSet, Slot};

pub use self::bytes::BadRecord;
pub use self::decode::{Item, Sink, decode, decode_page};
pub use self::encode::{encode, encode_page, encode_restart};
pub use self::saved::{
    Gone, SavedIdentity, SavedOwed, SavedPage, SavedPrincipal, SavedSession, SavedSubscription,
    SavedWill,
};

/// A position in what one shard handed to its store, rising by one with every batch.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Lsn(pub u64);

/// Names a message of the log: records refer to it instead of repeating the message.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LogId {
    /// The shard that accepted it.
    pub shard: ShardId,
    /// Rises with every message that the shard accepts, also over restarts.
    pub number: u64,
}

/// Names a page of a queue in the store.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PageId(pub u64);

impl PageId {
    /// Bits of the number; the shard is above them.
    const NUMBER_BITS: u32 = 56;

    /// The page of a shard with this number, which rises with every page.
    #[must_use]
    pub const fn new(shard: ShardId, number: u64) -> Self {
        Self((shard.0 as u64) << Self::NUMBER_BITS | number)
    }

    /// Its number, whichever shard wrote it.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0 & ((1 << Self::NUMBER_BITS) - 1)
    }
}

/// What of a shard is durable, and what waits for it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gates {
    /// Everything up to this position is durable.
    pub(crate) durable: Lsn,
    /// The highest position that a frame of the shard waits for. Later ones wait for no less, so
    /// that what waits is one queue.
    pub(crate) highest: Lsn,
}

impl Record {
    /// Unless somebody is told when it is durable, nothing is lost without it: a message of the log
    /// is given to its session again, and one that was acknowledged at QoS 1 comes again.
    #[must_use]
    pub fn may_wait(&self) -> bool {
        match self {
            Self::Owed { owed, .. } => owed.message.as_ref().is_some_and(|it| it.log.is_some()),
            Self::Sent { .. } | Self::Settled { .. } | Self::Unparked { .. } => true,
            _ => false,
        }
    }
}

/// Records that hold together: all of them become durable, or none.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The slot whose table they belong to.
    pub slot: Slot,
    /// Its position.
    pub lsn: Lsn,
    /// In the order in which they came about; most often one.
    pub records: SmallVec<[Record; 1]>,
}

/// A message accepted for somebody who must not miss it: one entry of the log.
///
/// It is durable before its publisher hears so. Other shards learn of it by mail, which is not;
/// until one says that it took the message ([`Taken`]), a restart gives it the message again.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The slot that accepted it.
    pub slot: Slot,
    /// Its position.
    pub lsn: Lsn,
    /// The message; it has a [`LogId`].
    pub message: Arc<Message>,
    /// For QoS 2 the publisher's Client Identifier and Packet Identifier: one fact with the
    /// message.
    pub received: Option<(Arc<str>, u16)>,
    /// Other shards whose sessions may want it.
    pub others: ShardSet,
    /// The shard that keeps it as its topic's retained message, where it is another.
    pub keeper: Option<ShardId>,
}

/// What of another shard's log a shard has taken from its inbox. Durable with what it led to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Taken {
    /// Whose log.
    pub from: ShardId,
    /// As a retained message; otherwise for sessions.
    pub to_retain: bool,
    /// The number of the last one.
    pub up_to: u64,
}

/// Where a QoS 1 or 2 delivery stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// PUBLISH sent, or about to be.
    Published,
    /// PUBREC seen, PUBREL due or sent.
    Released,
}

/// One fact about durable state.
#[derive(Clone, Debug)]
pub enum Record {
    /// The session exists and a client is attached to it.
    SessionAttached {
        /// Client Identifier.
        client_id: Arc<str>,
        /// Protocol of the connection.
        version: ProtocolVersion,
        /// Session Expiry Interval, in seconds.
        expiry: u32,
        /// Keep Alive as the client asked for it, in seconds.
        keep_alive: u16,
        /// Counts the connections of the client.
        version_number: u32,
        /// Names the connection in events.
        identifier: u128,
        /// The Will that waits for the end of the connection.
        will: Option<Box<SavedWill>>,
    },
    /// Who the client is that is attached to the session; without it, nobody that policies know.
    Principal {
        /// Client Identifier.
        client_id: Arc<str>,
        /// Who it is, and where it came from.
        principal: Box<SavedPrincipal>,
    },
    /// The session's connection ended.
    SessionDetached {
        /// Client Identifier.
        client_id: Arc<str>,
        /// Why.
        cause: Cause,
        /// Session Expiry Interval that counts from now, in seconds.
        expiry: u32,
        /// Milliseconds since 1970.
        at_unix_ms: u64,
        /// The Will still waits for its delay.
        will_pending: bool,
    },
    /// The session and everything that belongs to it is gone.
    SessionEnded {
        /// Client Identifier.
        client_id: Arc<str>,
    },
    /// A client without a session is remembered for a while.
    Gone(Box<Gone>),
    /// The Will was published or discarded; the message, if published, is in the same batch.
    WillDone {
        /// Client Identifier.
        client_id: Arc<str>,
        /// The message, where it was published.
        published: Option<Arc<Message>>,
    },
    /// A subscription was made or changed.
    Subscribed {
        /// Client Identifier.
        client_id: Arc<str>,
        /// Topic Filter as sent.
        filter: Arc<str>,
        /// Options with the granted QoS.
        options: SubscriptionOptions,
        /// Subscription Identifier, 0 for none.
        identifier: u32,
    },
    /// A subscription ended.
    Unsubscribed {
        /// Client Identifier.
        client_id: Arc<str>,
        /// Topic Filter as sent.
        filter: Arc<str>,
    },
    /// A QoS 2 identifier from the client was released.
    ReceivedReleased {
        /// Client Identifier.
        client_id: Arc<str>,
        /// Packet Identifier.
        packet_id: u16,
    },
    /// The session is owed a message, behind what it is owed already.
    Owed {
        /// Client Identifier.
        client_id: Arc<str>,
        /// The message, and how it is to be delivered.
        owed: SavedOwed,
    },
    /// Messages that the session is owed, and that have no Packet Identifier, are in a page.
    Paged {
        /// Client Identifier.
        client_id: Arc<str>,
        /// The page.
        page: SavedPage,
    },
    /// A page was read: its messages are owed by the records that follow in the same unit.
    Unpaged {
        /// Client Identifier.
        client_id: Arc<str>,
        /// The page.
        page: PageId,
    },
    /// A message that is owed was given a Packet Identifier.
    Sent {
        /// Client Identifier.
        client_id: Arc<str>,
        /// Which of those owed.
        number: u64,
        /// Packet Identifier.
        packet_id: u16,
    },
    /// PUBREC of the client was seen: only PUBREL is due.
    Released {
        /// Client Identifier.
        client_id: Arc<str>,
        /// Packet Identifier.
        packet_id: u16,
    },
    /// The client has the message, or it is not owed any more for another reason.
    Settled {
        /// Client Identifier.
        client_id: Arc<str>,
        /// Which of those owed.
        number: u64,
    },
    /// A shadow, document and version in one; an empty state forgets it.
    Shadow {
        /// The thing's name.
        thing: Box<str>,
        /// The shadow's name; the classic one has none.
        shadow: Option<Box<str>>,
        /// As [`bitts_aws::shadow::Shadow::encode`] writes it.
        state: Bytes,
    },
    /// The retained message of its topic; an empty payload removes it.
    Retained {
        /// The message.
        message: Arc<Message>,
    },
    /// A `$share` group keeps a message until a member comes.
    Parked {
        /// The whole filter, `$share/{ShareName}/{filter}`.
        group: Arc<str>,
        /// Which of those it keeps.
        number: u64,
        /// The message.
        message: Arc<Message>,
    },
    /// A `$share` group does not keep a message any more.
    Unparked {
        /// The whole filter.
        group: Arc<str>,
        /// Which of those it kept.
        number: u64,
    },
    /// All of a session but what it is owed, for a checkpoint.
    Session(Box<SavedSession>),
    /// A message of the log that others refer to, for a checkpoint.
    Kept {
        /// The message; it has a [`LogId`].
        message: Arc<Message>,
    },
}
