//! A client that keeps the rules of MQTT over the deaths of its server.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::machine::Link;
use crate::packet::{Packet, Version};

/// A message that was not acknowledged in full.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    pub(super) packet: Packet,
    pub(super) number: usize,
    pub(super) released: bool,
}

/// What SUBACK or UNSUBACK promised of a filter, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    /// The step of the SUBACK; none while it has not come.
    pub(super) from: Option<usize>,
    pub(super) until: Until,
}

/// How long a subscription is held.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Until {
    /// Nothing that ends it was sent.
    Open,
    /// Something was.
    Unsure,
    /// The step of its UNSUBACK.
    Over(usize),
}

/// A message as it was taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    pub(super) number: usize,
    pub(super) qos: u8,
}

/// Whether the server has a session of the client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum SessionIs {
    /// It has none.
    Gone,
    /// CONNACK told, and nothing that ends it was asked for.
    There,
    /// Something that makes or ends it was not answered.
    Unsure,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) id: String,
    /// The `$share` groups that it may be a member of; the session of a member never ends.
    pub(super) groups: Vec<usize>,
    pub(super) version: Version,
    pub(super) link: Option<Link>,
    /// All that it ever opened.
    pub(super) links: Vec<Link>,
    pub(super) is_connected: bool,
    pub(super) bytes: Vec<u8>,
    pub(super) unread: VecDeque<Packet>,
    pub(super) session: SessionIs,
    /// A DeleteConnection is not answered.
    pub(super) is_deleting: bool,
    /// Only connections behind this many tell of a session that is not deleted.
    pub(super) sure_from: usize,
    /// An application asked to delete its session: it connects with Clean Start until that is over
    /// and it was accepted.
    pub(super) is_in_doubt: bool,
    pub(super) asked_clean_start: bool,
    /// The Will of the connection.
    pub(super) will: Option<usize>,
    pub(super) outgoing: Vec<Outgoing>,
    pub(super) received: BTreeSet<u16>,
    pub(super) asked: BTreeMap<u16, String>,
    pub(super) held: BTreeMap<String, Held>,
    pub(super) taken: Vec<Taken>,
    pub(super) window: usize,
    /// It was connected when the process died: until when its Will waits for it, and which one.
    pub(super) was_connected: Option<(u64, usize)>,
}

impl Client {
    pub(super) fn new(number: usize, is_mqtt5: bool) -> Self {
        let version = if is_mqtt5 || number == super::MONITOR { Version::V5 } else { Version::V3 };
        Self {
            id: format!("client-{number}"),
            groups: Vec::new(),
            version,
            link: None,
            links: Vec::new(),
            is_connected: false,
            bytes: Vec::new(),
            unread: VecDeque::new(),
            session: SessionIs::Gone,
            is_deleting: false,
            sure_from: 0,
            is_in_doubt: false,
            asked_clean_start: false,
            will: None,
            outgoing: Vec::new(),
            received: BTreeSet::new(),
            asked: BTreeMap::new(),
            held: BTreeMap::new(),
            taken: Vec::new(),
            window: 0,
            was_connected: None,
        }
    }

    /// The connection is over.
    pub(super) fn leave(&mut self) {
        self.link = None;
        self.is_connected = false;
        self.bytes.clear();
        self.unread.clear();
        self.asked.clear();
        // What was not answered is no promise, and may have happened.
        for held in self.held.values_mut() {
            if held.from.is_none() && held.until == Until::Open {
                held.until = Until::Unsure;
            }
        }
    }

    /// The server has a new session: what the old one promised is over. Whoever published sends
    /// what was not acknowledged no more.
    pub(super) fn begin_session(&mut self) -> Vec<usize> {
        self.received.clear();
        self.held.clear();
        self.taken.clear();
        self.outgoing.drain(..).map(|held| held.number).collect()
    }

    pub(super) fn is_member(&self) -> bool {
        !self.groups.is_empty()
    }

    pub(super) fn free_id(&self) -> u16 {
        let is_free = |id: &u16| {
            !self.outgoing.iter().any(|held| held.packet.packet_id == Some(*id))
                && !self.asked.contains_key(id)
        };
        (1..=u16::MAX).find(is_free).unwrap_or(u16::MAX)
    }

    pub(super) fn outgoing_at(&self, packet_id: Option<u16>, qos: u8) -> Option<usize> {
        let is_it = |held: &Outgoing| held.packet.packet_id == packet_id && held.packet.qos == qos;
        self.outgoing.iter().position(is_it)
    }
}
