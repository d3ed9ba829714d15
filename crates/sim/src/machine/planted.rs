//! Mistakes that tests plant in a machine, to see that a checker notices.
//!
//! The core is sound: what it asks for is spoiled on its way out, or what it is told on its way in,
//! so that clients see what they would see of a core with the mistake.

use bitts_broker::record::Record;
use bitts_broker::{Frame, Input, Message, Outbox, Parcel, ShardId};
use bitts_mqtt::{Connect, Packet, Publish, QoS};

use super::Machine;
use super::conn::Link;

/// A mistake of the kind that a core could have.
#[cfg_attr(not(test), expect(dead_code, reason = "only tests plant them"))]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Bug {
    /// An acknowledgement leaves before what it promises is durable.
    AckBeforeGate,
    /// The messages of one turn leave in the wrong order.
    QueueReordered,
    /// A Packet Identifier is used again before it is free.
    IdentifierReused,
    /// The client's Receive Maximum does not count.
    WindowIgnored,
    /// A session is resumed although Clean Start was asked for.
    CleanStartIgnored,
    /// A QoS 2 identifier is forgotten: its message is accepted twice.
    IdentifierForgotten,
    /// Something follows DISCONNECT.
    DisconnectNotLast,
    /// A takeover does not close the connection it takes over.
    TwoConnections,
    /// A Will is published twice.
    WillDoubled,
    /// A Will does not reach other shards.
    WillLost,
    /// A message does not reach other shards.
    MessageLost,
    /// A disconnected event does not reach other shards.
    EventLost,
    /// A retained message is not replaced.
    RetainedNotReplaced,
    /// A session that ended stays a member of its groups.
    MemberKept,
    /// A group gives a message to a member twice.
    GroupDoubled,
    /// An UNSUBSCRIBE is not in the log.
    RecordLost,
    /// A request to a shadow is carried out twice.
    RequestDoubled,
    /// An answer to a get of a shadow does not reach other shards.
    AnswerLost,
    /// What is said about an update of a shadow does not reach other shards.
    UpdateUntold,
    /// A change of a shadow is not in the log.
    ShadowUnlogged,
}

impl Machine {
    pub(super) fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// Plants a mistake.
    #[cfg(test)]
    pub(crate) fn plant(&mut self, bug: Bug) {
        self.bug = Some(bug);
    }

    /// Spoils what a shard asks for.
    pub(super) fn spoil(&mut self, shard: ShardId) {
        let Some(bug) = self.bug else { return };
        let all = self.placement.all();
        let out = &mut self.core(shard).out;
        match bug {
            Bug::AckBeforeGate => out.frames.extend(out.gated.drain(..).map(|(_, frame)| frame)),
            Bug::QueueReordered => reverse_publishes(out),
            Bug::IdentifierReused => out.frames.iter_mut().for_each(|frame| frame.packet_id = 1),
            Bug::DisconnectNotLast => {
                let is_disconnect = |frame: &Frame| first_byte(out, frame) == 0xE0;
                let (mut first, rest): (Vec<Frame>, Vec<Frame>) =
                    out.frames.iter().partition(|frame| is_disconnect(frame));
                first.extend(rest);
                out.frames = first;
            }
            Bug::TwoConnections => {
                let gated = out.gated.iter().map(|(_, frame)| frame);
                if out.frames.iter().chain(gated).any(|frame| first_byte(out, frame) == 0x20) {
                    out.closes.clear();
                }
            }
            Bug::WillDoubled => {
                let records = out.batches.iter().flat_map(|batch| &batch.records);
                let wills = records.filter_map(|record| match record {
                    Record::WillDone { published, .. } => published.clone(),
                    _ => None,
                });
                out.messages.extend(wills.map(|will| (all, will)));
            }
            Bug::WillLost => lose_messages(out, "w/"),
            Bug::MessageLost => lose_messages(out, "t/"),
            Bug::EventLost => lose_messages(out, "/presence/disconnected/"),
            Bug::AnswerLost => lose_messages(out, "/shadow/get/"),
            Bug::UpdateUntold => lose_messages(out, "/shadow/update/"),
            Bug::RetainedNotReplaced => {
                out.parcels.retain(|(_, parcel)| !matches!(parcel, Parcel::Retain(_)));
            }
            Bug::MemberKept => {
                out.parcels.retain(|(_, parcel)| !matches!(parcel, Parcel::Leave { .. }));
            }
            Bug::GroupDoubled => {
                let is_deliver = |(_, parcel): &&_| matches!(parcel, Parcel::Deliver { .. });
                let again: Vec<_> = out.parcels.iter().filter(is_deliver).cloned().collect();
                out.parcels.extend(again);
            }
            Bug::RecordLost => lose_records(out, |it| matches!(it, Record::Unsubscribed { .. })),
            Bug::ShadowUnlogged => lose_records(out, |it| matches!(it, Record::Shadow { .. })),
            Bug::RequestDoubled => {
                let is_request = |(_, parcel): &&_| matches!(parcel, Parcel::Shadow { .. });
                let again: Vec<_> = out.parcels.iter().filter(is_request).cloned().collect();
                out.parcels.extend(again);
            }
            Bug::WindowIgnored | Bug::CleanStartIgnored | Bug::IdentifierForgotten => {}
        }
    }

    /// Spoils what a shard is told of a CONNECT.
    pub(super) fn spoil_connect(&self, connect: &mut Connect<'_>) {
        if self.has(Bug::WindowIgnored) {
            connect.properties.receive_maximum = None;
        }
        if self.has(Bug::CleanStartIgnored) {
            connect.clean_start = false;
        }
    }

    /// Tells a shard of a message that it has already accepted.
    pub(super) fn spoil_packet(&mut self, link: Link, packet: &Packet<'_>) {
        let Some((shard, conn)) = self.conn(link).place else { return };
        if let Packet::Publish(publish) = packet
            && self.has(Bug::IdentifierForgotten)
            && publish.dup
            && publish.qos == QoS::Two
        {
            let (dup, qos, packet_id) = (false, QoS::Zero, None);
            let packet = Packet::Publish(Publish { dup, qos, packet_id, ..publish.clone() });
            self.handle(shard, Input::Packet { conn, packet: &packet });
        }
    }
}

fn first_byte(out: &Outbox, frame: &Frame) -> u8 {
    out.bytes.get(frame.start as usize).copied().unwrap_or_default()
}

/// The places of PUBLISH packets stay, and each connection's come in reverse.
fn reverse_publishes(out: &mut Outbox) {
    let is_publish = |frame: &Frame| first_byte(out, frame) >> 4 == 3;
    let mut publishes: Vec<Frame> = out.frames.iter().copied().filter(is_publish).collect();
    let places: Vec<usize> =
        (0..out.frames.len()).filter(|at| out.frames.get(*at).is_some_and(is_publish)).collect();
    for at in places {
        let Some(place) = out.frames.get(at).copied() else { continue };
        let last = publishes.iter().rposition(|frame| frame.conn == place.conn);
        if let Some(last) = last {
            out.frames[at] = publishes.remove(last);
        }
    }
}

/// Messages whose topic begins with this, or holds it where this begins between two levels.
fn lose_messages(out: &mut Outbox, topics: &str) {
    let is_lost = |message: &Message| {
        let topic = &message.topic;
        topic.starts_with(topics) || (topics.starts_with('/') && topic.contains(topics))
    };
    out.messages.retain(|(_, message)| !is_lost(message));
    out.gated_messages.retain(|(_, _, message)| !is_lost(message));
}

fn lose_records(out: &mut Outbox, is_lost: fn(&Record) -> bool) {
    for batch in &mut out.batches {
        batch.records.retain(|record| !is_lost(record));
    }
}
