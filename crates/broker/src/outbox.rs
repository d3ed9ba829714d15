//! Everything a turn of a shard asks of the outside world.
//!
//! Owned and reused by the caller: clearing it keeps its capacity, so a turn allocates nothing.
//! What it holds is performed in this order: records and entries to the store, parcels and messages
//! to other shards, replies, frames, closes. Other shards therefore know of a message before its
//! publisher's acknowledgement leaves.

use std::sync::Arc;

use bitts_mqtt::{PacketId, SubscriptionOptions};

use crate::command::Reply;
use crate::input::{ConnId, ReplyId};
use crate::message::Message;
use crate::record::{Batch, Entry, Lsn, PageId, Taken};
use crate::reserved::{Asker, ShadowRequest};
use crate::slot::{ShardId, ShardSet};

/// An encoded packet for one connection: two ranges of [`Outbox::bytes`], shared between receivers.
///
/// The tail is the payload of a large PUBLISH, which is there once for all receivers, also where
/// their packets begin differently.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Frame {
    /// Who gets it.
    pub conn: ConnId,
    /// Where it begins in [`Outbox::bytes`].
    pub start: u64,
    /// How long that part is.
    pub len: u32,
    /// How long its tail is; 0 for none.
    pub tail_len: u32,
    /// Where its tail begins.
    pub tail_start: u64,
    /// Where in the packet this receiver's Packet Identifier goes; 0 for nowhere.
    pub packet_id_at: u32,
    /// The Packet Identifier to write there.
    pub packet_id: u16,
}

impl Frame {
    /// Bytes of the whole packet.
    #[must_use]
    pub const fn bytes(&self) -> u32 {
        self.len.saturating_add(self.tail_len)
    }
}

/// How a connection is to be closed, once its frames are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Close {
    /// Send what is queued, then FIN; reset after at most a second.
    Flush,
    /// The peer is gone or must get nothing: drop it.
    Now,
}

/// A run of a queue, as the store keeps it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Page {
    /// Its name.
    pub id: PageId,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// A session as other shards name it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct SessionRef {
    /// Its owner.
    pub shard: ShardId,
    /// Position in the owner's table.
    pub index: u32,
    /// Tells users of one position apart.
    pub generation: u32,
}

/// A member of a `$share` group.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its session.
    pub session: SessionRef,
    /// Granted QoS and the other options.
    pub options: SubscriptionOptions,
    /// Subscription Identifier, 0 for none.
    pub identifier: u32,
    /// Its session outlives its connection.
    pub persistent: bool,
    /// It is connected.
    pub connected: bool,
}

/// What shards tell each other beside messages.
#[derive(Clone, Debug)]
pub enum Parcel {
    /// Keep this as its topic's retained message; an empty payload removes it. To the topic's
    /// owner.
    Retain(Arc<Message>),
    /// Which retained messages match? To every shard that may own one.
    RetainedWanted {
        /// Who asks.
        session: SessionRef,
        /// Which of its questions this belongs to.
        scan: u32,
        /// The Topic Filter, without a `$share` prefix.
        filter: Arc<str>,
        /// Go on behind this topic.
        after: Option<Box<str>>,
    },
    /// Some retained messages that match.
    RetainedFound {
        /// Who asked.
        session: SessionRef,
        /// Which of its questions this belongs to.
        scan: u32,
        /// What was found in this step.
        messages: Vec<Arc<Message>>,
        /// There may be more behind this topic.
        next: Option<Box<str>>,
    },
    /// The next filter of a SUBSCRIBE gets its retained messages. To the session's owner, from
    /// itself.
    NextScan {
        /// Whose.
        session: SessionRef,
    },
    /// Make or change a group's member. To the group's owner.
    Join {
        /// The whole filter, `$share/{ShareName}/{filter}`.
        group: Arc<str>,
        /// The member.
        member: Member,
        /// The SUBSCRIBE that waits for [`Parcel::Joined`], if any.
        packet_id: Option<PacketId>,
    },
    /// The group's owner routes for this member from now on. To the member's owner.
    Joined {
        /// The member.
        session: SessionRef,
        /// The whole filter.
        group: Arc<str>,
        /// The SUBSCRIBE that waits.
        packet_id: PacketId,
        /// It is a member; otherwise the group has as many as it may.
        accepted: bool,
    },
    /// A member left. To the group's owner.
    Leave {
        /// The whole filter.
        group: Arc<str>,
        /// The member.
        session: SessionRef,
    },
    /// A request to a shadow. To the thing's owner.
    Shadow {
        /// What is asked.
        request: Box<ShadowRequest>,
        /// Who waits for [`Parcel::Answered`].
        asker: Asker,
    },
    /// A request was carried out, and that is durable. To the shard where somebody waits.
    Answered {
        /// Who waits.
        asker: Asker,
    },
    /// Answers that waited for the store may leave. To the shard itself.
    AnswersDue,
    /// A message for one member of a group. To the member's owner.
    Deliver {
        /// The whole filter.
        group: Arc<str>,
        /// The member chosen.
        session: SessionRef,
        /// The message.
        message: Arc<Message>,
        /// How many members were asked before.
        tried: u16,
        /// The number under which the group keeps it until [`Parcel::Delivered`]; 0 for none.
        handed: u64,
    },
    /// The member has it. To the group's owner, who keeps it no longer.
    Delivered {
        /// The whole filter.
        group: Arc<str>,
        /// The number under which it is kept.
        handed: u64,
    },
    /// The member could not take it. To the group's owner, who asks another.
    Undelivered {
        /// The whole filter.
        group: Arc<str>,
        /// The member that was asked.
        session: SessionRef,
        /// The message.
        message: Arc<Message>,
        /// How many members were asked, this one included.
        tried: u16,
        /// The number under which the group keeps it; 0 for none.
        handed: u64,
    },
}

impl Parcel {
    /// See [`Message::is_in_order`].
    #[must_use]
    pub fn is_in_order(&self) -> bool {
        matches!(self, Self::Retain(message) if message.is_in_order())
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Outbox {
    /// What must become durable, by slot.
    pub batches: Vec<Batch>,
    /// Messages for the log.
    pub entries: Vec<Entry>,
    /// Runs of queues: on stable storage before the batches.
    pub pages: Vec<Page>,
    /// Pages that a session needs: [`crate::Input::Loaded`] answers.
    pub reads: Vec<(SessionRef, PageId)>,
    /// Pages that nothing needs, once the batches are durable.
    pub freed: Vec<PageId>,
    /// What of other shards' logs was taken from the inbox: durable with what it led to, and by
    /// itself of no use to anybody, so that it may wait for the next batch.
    pub taken: Vec<Taken>,
    /// For one shard each, in order; this shard's own are for a later turn. Push these before
    /// [`Outbox::messages`].
    pub parcels: Vec<(ShardId, Parcel)>,
    /// Messages for the shards that are interested. For a message with RETAIN the caller asks
    /// [`crate::Interest::shards_for`] again after pushing the parcels and adds what it says: then
    /// a session that subscribes meanwhile sees it retained or live, perhaps both, never neither.
    pub messages: Vec<(ShardSet, Arc<Message>)>,
    /// Parcels that may leave only once everything up to the position is durable; positions never
    /// fall.
    pub gated_parcels: Vec<(Lsn, ShardId, Parcel)>,
    /// Messages that may, behind these parcels. While some wait, mail of later turns that is in
    /// order waits behind them ([`Message::is_in_order`]).
    pub gated_messages: Vec<(Lsn, ShardSet, Arc<Message>)>,
    /// Answers to commands.
    pub replies: Vec<(ReplyId, Reply)>,
    /// Answers that may leave only once everything up to the position is durable.
    pub gated_replies: Vec<(Lsn, ReplyId, Reply)>,
    /// Encoded packets that [`Frame`]s point into.
    pub bytes: Vec<u8>,
    /// Frames that may leave at once, in order per connection.
    pub frames: Vec<Frame>,
    /// Frames that may leave only once everything up to the position is durable; positions never
    /// fall.
    pub gated: Vec<(Lsn, Frame)>,
    /// Connections whose custom authorizer is to be asked again: [`crate::Input::Refreshed`].
    pub refreshes: Vec<ConnId>,
    /// Connections to close, after their frames.
    pub closes: Vec<(ConnId, Close)>,
}

impl Outbox {
    /// Empties it and keeps its capacity, up to a megabyte of packets.
    pub fn clear(&mut self) {
        self.batches.clear();
        self.entries.clear();
        self.pages.clear();
        self.reads.clear();
        self.freed.clear();
        self.taken.clear();
        self.parcels.clear();
        self.messages.clear();
        self.gated_parcels.clear();
        self.gated_messages.clear();
        self.replies.clear();
        self.gated_replies.clear();
        self.bytes.clear();
        self.bytes.shrink_to(1 << 20);
        self.frames.clear();
        self.gated.clear();
        self.refreshes.clear();
        self.closes.clear();
    }

    /// Behind mail that waits all mail waits that is in order with it.
    pub(crate) fn push_message(&mut self, shards: ShardSet, message: Arc<Message>) {
        match self.gated_messages.last() {
            Some((gate, ..)) if message.is_in_order() => {
                self.gated_messages.push((*gate, shards, message));
            }
            _ => self.messages.push((shards, message)),
        }
    }

    /// A parcel with a message of the log, as [`Outbox::push_message`].
    pub(crate) fn push_mail(&mut self, to: ShardId, parcel: Parcel) {
        match self.gated_messages.last() {
            Some((gate, ..)) if parcel.is_in_order() => {
                self.gated_parcels.push((*gate, to, parcel));
            }
            _ => self.parcels.push((to, parcel)),
        }
    }

    /// How many parcels and messages there are.
    pub(crate) fn mail(&self) -> (usize, usize) {
        (self.parcels.len(), self.messages.len())
    }

    /// What came since then waits until everything up to `gate` is durable.
    pub(crate) fn hold_mail(&mut self, (parcels, messages): (usize, usize), gate: Lsn) {
        let parcels = self.parcels.drain(parcels..);
        self.gated_parcels.extend(parcels.map(|(to, parcel)| (gate, to, parcel)));
        let messages = self.messages.drain(messages..);
        self.gated_messages.extend(messages.map(|(to, message)| (gate, to, message)));
    }

    fn range(&self, start: u64, len: u32) -> &[u8] {
        let start = start as usize;
        self.bytes.get(start..start + len as usize).unwrap_or_default()
    }

    /// The tail of a frame, which other frames may share.
    #[must_use]
    pub fn tail(&self, frame: &Frame) -> &[u8] {
        self.range(frame.tail_start, frame.tail_len)
    }

    /// Appends a frame without its tail to a connection's write buffer.
    ///
    /// Hot: once per delivery. One copy.
    pub fn copy_head(&self, frame: &Frame, out: &mut Vec<u8>) {
        let at = out.len() + frame.packet_id_at as usize;
        out.extend_from_slice(self.range(frame.start, frame.len));
        if frame.packet_id_at != 0
            && let Some(place) = out.get_mut(at..at + 2)
        {
            place.copy_from_slice(&frame.packet_id.to_be_bytes());
        }
    }

    /// Appends a whole frame.
    pub fn copy_frame(&self, frame: &Frame, out: &mut Vec<u8>) {
        self.copy_head(frame, out);
        out.extend_from_slice(self.tail(frame));
    }
}
