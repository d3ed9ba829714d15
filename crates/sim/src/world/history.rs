//! What is known of a world from the outside: who sent what, who was told what, and when.
//!
//! Times are steps of the world, which never repeat. The checkers read this and nothing else of the
//! server but its log, its counters and its answers.

use std::collections::BTreeMap;

use bitts_aws::shadow::ShadowOperation;

use crate::machine::Link;

/// Who published a message.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Publisher {
    /// A client.
    Client(usize),
    /// The data plane.
    Api,
    /// A client's Will.
    Will(usize),
}

/// A message; its number is its position.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) topic: String,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) is_empty: bool,
    pub(crate) publisher: Publisher,
    /// How often it was sent.
    pub(crate) attempts: usize,
    pub(crate) sent_at: usize,
    /// When its sender was told that it is taken.
    pub(crate) acked_at: Option<usize>,
    /// It has a Message Expiry Interval.
    pub(crate) expires: bool,
}

/// A subscription that a client was granted.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) filter: String,
    pub(crate) qos: u8,
    pub(crate) no_local: bool,
    /// SUBACK was seen.
    pub(crate) from: usize,
    /// Something was sent that ends or changes it.
    pub(crate) until: Option<usize>,
}

/// A message as a client took it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivery {
    pub(crate) number: usize,
    pub(crate) qos: u8,
    pub(crate) dup: bool,
    pub(crate) retain: bool,
}

/// A Session, from a CONNACK without Session Present on.
#[derive(Clone, Debug, Default)]
pub(crate) struct SessionFacts {
    pub(crate) client: usize,
    /// The last connection asked for an expiry.
    pub(crate) persistent: bool,
    pub(crate) held: Vec<Held>,
    /// In the order in which the client took them.
    pub(crate) deliveries: Vec<Delivery>,
    /// It is known to be gone.
    pub(crate) is_over: bool,
}

/// A connection that was accepted.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionFacts {
    pub(crate) client: usize,
    pub(crate) link: Link,
    /// The number of its Will, and its delay in seconds; see [`Sent::retain`].
    pub(crate) will: Option<(usize, u32)>,
    pub(crate) expiry: u32,
    pub(crate) session_present: bool,
    /// The code of the DISCONNECT that the client sent, if it did.
    pub(crate) disconnect: Option<u8>,
}

/// What the monitor heard on `$aws/events/presence/…`.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) client: usize,
    pub(crate) entropy: u128,
    /// When it was, in milliseconds since the world began.
    pub(crate) moment_ms: u64,
    /// `None`: connected.
    pub(crate) reason: Option<String>,
    pub(crate) version: u64,
}

/// A request to a shadow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShadowAsked {
    pub(crate) thing: &'static str,
    pub(crate) operation: ShadowOperation,
    /// Its number as a message, which is its client token.
    pub(crate) number: usize,
    pub(crate) door: Door,
}

/// How a shadow is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Door {
    /// By a message on its topic, of MQTT or of the data plane's Publish.
    Published,
    /// By an operation of its own, which is not answered.
    Http,
    /// By one that was answered with a version.
    Accepted(u64),
    /// By one that was refused.
    Refused,
}

/// What is known of a message to one client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// Nothing: no answer came.
    Unanswered,
    /// The client was sent it, and acknowledged it where that was asked for.
    Sent,
    /// The client was not sent it.
    NotSent,
    /// The client may have it: no PUBACK came.
    Unknown,
}

/// What the monitor heard about a shadow.
#[derive(Clone, Debug)]
pub(crate) struct ShadowTold {
    pub(crate) thing: &'static str,
    /// The end of the topic: `update/accepted`.
    pub(crate) what: String,
    /// The request that it is about.
    pub(crate) number: usize,
    /// None where the request was rejected.
    pub(crate) version: Option<u64>,
}

/// A message to one client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Direct {
    pub(crate) client: usize,
    pub(crate) number: usize,
    pub(crate) is_confirmed: bool,
    pub(crate) outcome: Outcome,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) messages: Vec<Sent>,
    pub(crate) sessions: Vec<SessionFacts>,
    pub(crate) connections: Vec<ConnectionFacts>,
    pub(crate) events: Vec<Event>,
    /// Wills that the monitor got, by number.
    pub(crate) wills: BTreeMap<usize, usize>,
    /// Clients that DeleteConnection was called for, and when.
    pub(crate) deleted: Vec<(usize, usize)>,
    pub(crate) asked: Vec<ShadowAsked>,
    /// In the order in which the monitor heard it.
    pub(crate) told: Vec<ShadowTold>,
    pub(crate) directs: Vec<Direct>,
}

impl History {
    /// A new message; returns its number.
    pub(crate) fn sent(&mut self, message: Sent) -> usize {
        self.messages.push(message);
        self.messages.len() - 1
    }

    /// The payload of a message.
    pub(crate) fn payload(number: usize, len: usize) -> Vec<u8> {
        let mut payload = format!("m{number}.").into_bytes();
        payload.resize(payload.len().max(len), b'.');
        payload
    }

    /// Whether a removal of a retained message was sent more than once.
    pub(crate) fn is_removed_again(&self, topic: &str) -> bool {
        let is_gone = |sent: &Sent| sent.is_empty || sent.expires;
        self.messages.iter().any(|sent| sent.topic == topic && is_gone(sent) && sent.attempts > 1)
    }

    /// The number in a payload.
    pub(crate) fn number(payload: &[u8]) -> Option<usize> {
        let digits = payload.strip_prefix(b"m")?;
        let end = digits.iter().position(|byte| *byte == b'.')?;
        std::str::from_utf8(digits.get(..end)?).ok()?.parse().ok()
    }
}

/// Whether a filter matches a topic; small enough to be obviously right.
pub(crate) fn matches(filter: &str, topic: &str) -> bool {
    fn levels(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["#"], _) => true,
            ([], []) => true,
            (["+", filter @ ..], [_, topic @ ..]) => levels(filter, topic),
            ([wanted, filter @ ..], [name, topic @ ..]) => wanted == name && levels(filter, topic),
            _ => false,
        }
    }
    let filter: Vec<&str> = filter.split('/').collect();
    let topic: Vec<&str> = topic.split('/').collect();
    let is_hidden = topic.first().is_some_and(|first| first.starts_with('$'))
        && matches!(filter.first(), Some(&"+" | &"#"));
    !is_hidden && levels(&filter, &topic)
}
