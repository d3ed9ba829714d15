//! Records as bytes.
//!
//! One call writes what a shard hands over in one turn: a unit, which is durable as a whole or not
//! at all. Points of the monotonic clock are written as milliseconds since 1970, so that another
//! process can read them. A message of the log is written once and named by its [`LogId`]
//! elsewhere.

use core::net::IpAddr;
use std::sync::Arc;

use bitts_mqtt::{ProtocolVersion, RetainHandling, SubscriptionOptions};

use super::bytes::{put_bytes, put_number};
use super::{
    Batch, Entry, Gone, LogId, Record, SavedIdentity, SavedOwed, SavedPrincipal, SavedSession,
    SavedWill, Stage, Taken,
};
use crate::message::Message;
use crate::reason::Cause;
use crate::slot::ShardId;
use crate::time::Now;

/// The version of what follows; others are refused.
pub(super) const FORMAT: u8 = 1;

pub(super) mod tag {
    pub(in crate::record) const RESTART: u8 = 1;
    pub(in crate::record) const ENTRY: u8 = 2;
    pub(in crate::record) const TAKEN: u8 = 3;
    pub(in crate::record) const ATTACHED: u8 = 4;
    pub(in crate::record) const DETACHED: u8 = 5;
    pub(in crate::record) const ENDED: u8 = 6;
    pub(in crate::record) const GONE: u8 = 7;
    pub(in crate::record) const WILL_DONE: u8 = 8;
    pub(in crate::record) const SUBSCRIBED: u8 = 9;
    pub(in crate::record) const UNSUBSCRIBED: u8 = 10;
    pub(in crate::record) const RECEIVED_RELEASED: u8 = 11;
    pub(in crate::record) const OWED: u8 = 12;
    pub(in crate::record) const SENT: u8 = 13;
    pub(in crate::record) const RELEASED: u8 = 14;
    pub(in crate::record) const SETTLED: u8 = 15;
    pub(in crate::record) const RETAINED: u8 = 16;
    pub(in crate::record) const PARKED: u8 = 17;
    pub(in crate::record) const UNPARKED: u8 = 18;
    pub(in crate::record) const SESSION: u8 = 19;
    pub(in crate::record) const KEPT: u8 = 20;
    pub(in crate::record) const SHADOW: u8 = 21;
    pub(in crate::record) const PRINCIPAL: u8 = 22;
    pub(in crate::record) const PAGED: u8 = 23;
    pub(in crate::record) const UNPAGED: u8 = 24;
}

/// Writes a unit of one shard: what it took from others, then batches and entries in the order of
/// their positions.
pub fn encode(
    shard: ShardId,
    now: Now,
    taken: &[Taken],
    batches: &[Batch],
    entries: &[Entry],
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(&[FORMAT, shard.0]);
    for taken in taken {
        out.extend_from_slice(&[tag::TAKEN, taken.from.0, u8::from(taken.to_retain)]);
        put_number(out, taken.up_to);
    }
    let mut entries = entries.iter().peekable();
    for batch in batches {
        while let Some(entry) = entries.next_if(|entry| entry.lsn <= batch.lsn) {
            put_entry(out, now, entry);
        }
        for record in &batch.records {
            put_record(out, now, record);
        }
    }
    for entry in entries {
        put_entry(out, now, entry);
    }
}

/// Writes that a process with this many shards takes over from here: what earlier ones still had
/// in their inboxes is in the same unit, or nowhere.
pub fn encode_restart(shards: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(&[FORMAT, 0, tag::RESTART, shards]);
}

/// Writes a page: what is owed, with each message whole and without its name in the log, for a page
/// outlives that.
pub fn encode_page(now: Now, owed: impl Iterator<Item = SavedOwed>, out: &mut Vec<u8>) {
    out.push(FORMAT);
    for owed in owed {
        put_owed_head(out, &owed);
        match owed.message {
            Some(message) => {
                out.push(2);
                put_message(out, now, &message, None);
            }
            None => out.push(0),
        }
    }
}

fn put_entry(out: &mut Vec<u8>, now: Now, entry: &Entry) {
    out.push(tag::ENTRY);
    put_message(out, now, &entry.message, entry.message.log);
    put_number(out, entry.others.0);
    out.push(entry.keeper.map_or(u8::MAX, |shard| shard.0));
    match &entry.received {
        Some((client_id, packet_id)) => {
            put_number(out, u64::from(*packet_id));
            put_bytes(out, client_id.as_bytes());
        }
        None => put_number(out, 0),
    }
}

fn put_record(out: &mut Vec<u8>, now: Now, record: &Record) {
    match record {
        Record::SessionAttached {
            client_id,
            version,
            expiry,
            keep_alive,
            version_number,
            identifier,
            will,
        } => {
            put_client(out, tag::ATTACHED, client_id);
            let numbers = (*expiry, *keep_alive, *version_number);
            put_standing(out, *version, numbers, *identifier);
            put_will(out, now, will.as_deref());
        }
        Record::SessionDetached { client_id, cause, expiry, at_unix_ms, will_pending } => {
            put_client(out, tag::DETACHED, client_id);
            put_detached(out, *cause, *expiry, *at_unix_ms, *will_pending);
        }
        Record::Principal { client_id, principal } => put_principal(out, client_id, principal),
        Record::SessionEnded { client_id } => put_client(out, tag::ENDED, client_id),
        Record::Gone(gone) => put_gone(out, gone),
        Record::WillDone { client_id, .. } => put_client(out, tag::WILL_DONE, client_id),
        Record::Subscribed { client_id, filter, options, identifier } => {
            put_client(out, tag::SUBSCRIBED, client_id);
            put_subscription(out, filter, *options, *identifier);
        }
        Record::Unsubscribed { client_id, filter } => {
            put_names(out, tag::UNSUBSCRIBED, client_id, filter);
        }
        Record::ReceivedReleased { client_id, packet_id } => {
            put_numbered(out, tag::RECEIVED_RELEASED, client_id, u64::from(*packet_id));
        }
        Record::Owed { .. }
        | Record::Paged { .. }
        | Record::Unpaged { .. }
        | Record::Sent { .. }
        | Record::Released { .. }
        | Record::Settled { .. } => put_queue_record(out, now, record),
        Record::Parked { group, number, message } => {
            put_numbered(out, tag::PARKED, group, *number);
            put_body(out, now, Some(message));
        }
        Record::Unparked { group, number } => put_numbered(out, tag::UNPARKED, group, *number),
        Record::Session(session) => put_session(out, now, session),
        Record::Shadow { thing, shadow, state } => {
            put_client(out, tag::SHADOW, thing);
            put_optional(out, shadow.as_deref());
            put_bytes(out, state);
        }
        Record::Retained { message } => {
            out.push(tag::RETAINED);
            put_body(out, now, Some(message));
        }
        Record::Kept { message } => {
            out.push(tag::KEPT);
            put_message(out, now, message, message.log);
        }
    }
}

/// What a session is owed, and how far that is.
fn put_queue_record(out: &mut Vec<u8>, now: Now, record: &Record) {
    match record {
        Record::Owed { client_id, owed } => {
            put_client(out, tag::OWED, client_id);
            put_owed(out, now, owed);
        }
        Record::Paged { client_id, page } => {
            put_numbered(out, tag::PAGED, client_id, page.id.0);
            put_number(out, page.first);
            put_number(out, page.last);
            put_number(out, u64::from(page.count));
            put_number(out, page.bytes);
        }
        Record::Unpaged { client_id, page } => {
            put_numbered(out, tag::UNPAGED, client_id, page.0);
        }
        Record::Sent { client_id, number, packet_id } => {
            put_numbered(out, tag::SENT, client_id, *number);
            put_number(out, u64::from(*packet_id));
        }
        Record::Released { client_id, packet_id } => {
            put_numbered(out, tag::RELEASED, client_id, u64::from(*packet_id));
        }
        Record::Settled { client_id, number } => {
            put_numbered(out, tag::SETTLED, client_id, *number);
        }
        _ => {}
    }
}

fn put_client(out: &mut Vec<u8>, tag: u8, client_id: &str) {
    out.push(tag);
    put_bytes(out, client_id.as_bytes());
}

fn put_names(out: &mut Vec<u8>, tag: u8, name: &str, of_it: &str) {
    put_client(out, tag, name);
    put_bytes(out, of_it.as_bytes());
}

fn put_detached(out: &mut Vec<u8>, cause: Cause, expiry: u32, at_unix_ms: u64, will_pending: bool) {
    put_cause(out, cause);
    put_number(out, u64::from(expiry));
    put_number(out, at_unix_ms);
    out.push(u8::from(will_pending));
}

/// Where it came from, then who it is, each behind what kind it is of.
fn put_principal(out: &mut Vec<u8>, client_id: &str, principal: &SavedPrincipal) {
    put_client(out, tag::PRINCIPAL, client_id);
    let SavedPrincipal { identity, source, local_port, is_secure, names_client } = principal;
    out.push(u8::from(*is_secure) | u8::from(*names_client) << 1);
    match source {
        IpAddr::V4(address) => put_bytes(out, &address.octets()),
        IpAddr::V6(address) => put_bytes(out, &address.octets()),
    }
    put_number(out, u64::from(*local_port));
    match identity {
        SavedIdentity::Anonymous => out.push(0),
        SavedIdentity::Certificate(id) => {
            out.push(1);
            out.extend_from_slice(id);
        }
        SavedIdentity::AccessKey(id) => put_client(out, 2, id),
        SavedIdentity::User(name) => put_client(out, 3, name),
        SavedIdentity::Authorizer { principal_id, documents } => {
            put_client(out, 4, principal_id);
            put_number(out, documents.len() as u64);
            for document in documents {
                put_bytes(out, document.as_bytes());
            }
        }
    }
}

fn put_numbered(out: &mut Vec<u8>, tag: u8, name: &str, number: u64) {
    put_client(out, tag, name);
    put_number(out, number);
}

fn put_optional(out: &mut Vec<u8>, text: Option<&str>) {
    out.push(u8::from(text.is_some()));
    put_bytes(out, text.unwrap_or_default().as_bytes());
}

const fn version_number(version: ProtocolVersion) -> u8 {
    match version {
        ProtocolVersion::V3_1_1 => 4,
        ProtocolVersion::V5 => 5,
    }
}

fn put_version(out: &mut Vec<u8>, version: ProtocolVersion) {
    out.push(version_number(version));
}

/// Protocol; Session Expiry Interval, Keep Alive and version number; what names the connection.
fn put_standing(
    out: &mut Vec<u8>,
    version: ProtocolVersion,
    (expiry, keep_alive, version_number): (u32, u16, u32),
    identifier: u128,
) {
    put_version(out, version);
    put_number(out, u64::from(expiry));
    put_number(out, u64::from(keep_alive));
    put_number(out, u64::from(version_number));
    out.extend_from_slice(&identifier.to_le_bytes());
}

/// What a client did wrong is for the moment; that it did something wrong is kept.
fn put_cause(out: &mut Vec<u8>, cause: Cause) {
    out.push(match cause {
        Cause::ClientInitiated => 1,
        Cause::ClientError(_) => 2,
        Cause::AuthError => 3,
        Cause::ConnectionLost => 4,
        Cause::DuplicateClientId => 5,
        Cause::KeepAliveTimeout => 6,
        Cause::ServerInitiated => 7,
        Cause::ApiInitiated => 8,
        Cause::ForbiddenAccess => 9,
        Cause::WebSocketTtlExpiration => 10,
        Cause::CustomAuthTtlExpiration => 11,
    });
}

fn put_subscription(
    out: &mut Vec<u8>,
    filter: &Arc<str>,
    options: SubscriptionOptions,
    identifier: u32,
) {
    put_bytes(out, filter.as_bytes());
    let handling = match options.retain_handling {
        RetainHandling::Send => 0,
        RetainHandling::SendIfNew => 1,
        RetainHandling::DoNotSend => 2,
    };
    let flags = u8::from(options.no_local) << 2 | u8::from(options.retain_as_published) << 3;
    out.push(options.qos as u8 | flags | handling << 4);
    put_number(out, u64::from(identifier));
}

fn put_will(out: &mut Vec<u8>, now: Now, will: Option<&SavedWill>) {
    let Some(will) = will else {
        out.push(0);
        return;
    };
    out.push(1);
    put_message(out, now, &will.message, will.message.log);
    put_number(out, u64::from(will.delay_seconds));
    put_number(out, will.message_expiry_interval.map_or(0, |seconds| u64::from(seconds) + 1));
}

fn put_owed(out: &mut Vec<u8>, now: Now, owed: &SavedOwed) {
    put_owed_head(out, owed);
    put_body(out, now, owed.message.as_ref());
}

fn put_owed_head(out: &mut Vec<u8>, owed: &SavedOwed) {
    put_number(out, owed.number);
    let sent = match owed.sent {
        None => 0,
        Some((_, Stage::Published)) => 1,
        Some((_, Stage::Released)) => 2,
    };
    let group = u8::from(owed.group.is_some());
    out.push(owed.qos as u8 | u8::from(owed.retain) << 2 | group << 3 | sent << 4);
    if let Some((packet_id, _)) = owed.sent {
        put_number(out, u64::from(packet_id));
    }
    if let Some(group) = &owed.group {
        put_bytes(out, group.as_bytes());
    }
    put_number(out, owed.identifiers.len() as u64);
    for identifier in &owed.identifiers {
        put_number(out, u64::from(*identifier));
    }
}

/// A message that something refers to: its name where it is in the log, else all of it.
fn put_body(out: &mut Vec<u8>, now: Now, message: Option<&Arc<Message>>) {
    let Some(message) = message else {
        out.push(0);
        return;
    };
    if let Some(LogId { shard, number }) = message.log {
        out.extend_from_slice(&[1, shard.0]);
        put_number(out, number);
    } else {
        out.push(2);
        put_message(out, now, message, None);
    }
}

fn put_message(out: &mut Vec<u8>, now: Now, message: &Message, log: Option<LogId>) {
    let flags = u8::from(message.retain) << 2
        | u8::from(message.expires_at.is_some()) << 3
        | u8::from(log.is_some()) << 4;
    out.push(message.qos as u8 | flags);
    if let Some(LogId { shard, number }) = log {
        out.push(shard.0);
        put_number(out, number);
    }
    if let Some(at) = message.expires_at {
        put_number(out, now.unix_ms_of(at));
    }
    put_number(out, message.accepted_unix_ms);
    out.extend_from_slice(&message.publisher.0.to_le_bytes());
    put_bytes(out, message.topic.as_bytes());
    put_bytes(out, &message.properties);
    put_bytes(out, &message.payload);
}

fn put_session(out: &mut Vec<u8>, now: Now, session: &SavedSession) {
    put_client(out, tag::SESSION, &session.client_id);
    let numbers = (session.expiry, session.keep_alive, session.version_number);
    put_standing(out, session.version, numbers, session.identifier);
    match session.detached {
        Some((at_unix_ms, cause)) => {
            put_cause(out, cause);
            put_number(out, at_unix_ms);
        }
        None => out.push(0),
    }
    put_will(out, now, session.will.as_deref());
    put_number(out, session.subscriptions.len() as u64);
    for (filter, held) in &session.subscriptions {
        put_subscription(out, filter, held.options, held.identifier);
    }
    put_number(out, session.received.len() as u64);
    for packet_id in &session.received {
        put_number(out, u64::from(*packet_id));
    }
}

fn put_gone(out: &mut Vec<u8>, gone: &Gone) {
    put_client(out, tag::GONE, &gone.client_id);
    put_number(out, gone.at_unix_ms);
    match gone.cause {
        Some(cause) => put_cause(out, cause),
        None => out.push(0),
    }
    put_number(out, u64::from(gone.keep_alive));
    put_number(out, u64::from(gone.expiry));
    put_version(out, gone.version);
    put_number(out, u64::from(gone.version_number));
    out.extend_from_slice(&gone.identifier.to_le_bytes());
}
