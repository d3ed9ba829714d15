//! What must survive: records of a slot's table, and entries of the message log.
//!
//! The core hands these out in batches with a position; a store makes them durable and says up to
//! which position it did. They are complete facts: a record says what is true from now on, so that
//! the last one of a name wins. Nothing else of the core reaches a disk or another node.

use std::sync::Arc;

use bitts_mqtt::{ProtocolVersion, SubscriptionOptions};
use bytes::Bytes;

use crate::message::Message;
use crate::reason::Cause;
use crate::slot::Slot;

/// A position in what one shard handed to its store, rising by one with every batch.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Lsn(pub u64);

/// What of a shard is durable, and what waits for it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gates {
    /// Everything up to this position is durable.
    pub(crate) durable: Lsn,
    /// The highest position that a frame of the shard waits for. Later ones wait for no less, so
    /// that what waits is one queue.
    pub(crate) highest: Lsn,
}

/// Records that hold together: all of them become durable, or none.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The slot whose table they belong to.
    pub slot: Slot,
    /// Its position.
    pub lsn: Lsn,
    /// In the order in which they came about.
    pub records: Vec<Record>,
}

/// A message accepted for at least one session that outlives its connection: one entry of the log.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The slot that accepted it.
    pub slot: Slot,
    /// Its position.
    pub lsn: Lsn,
    /// The message.
    pub message: Arc<Message>,
    /// For QoS 2 the publisher's Client Identifier and Packet Identifier: one fact with the
    /// message.
    pub received: Option<(Arc<str>, u16)>,
}

/// Where a QoS 2 delivery stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// PUBLISH sent, or about to be.
    Published,
    /// PUBREC seen, PUBREL due or sent.
    Released,
    /// PUBCOMP seen: the identifier is free.
    Complete,
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
        /// The Will that waits for the end of the connection, and its delay in seconds.
        will: Option<(Arc<Message>, u32)>,
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
    /// A QoS 2 delivery to the client moved on.
    Delivery {
        /// Client Identifier.
        client_id: Arc<str>,
        /// Packet Identifier.
        packet_id: u16,
        /// Where it stands now.
        stage: Stage,
        /// The message, when it is first sent.
        message: Option<Arc<Message>>,
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
}
