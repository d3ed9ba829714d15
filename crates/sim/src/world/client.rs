//! A client that keeps the rules of MQTT: what it sends, what it must answer, what it remembers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::machine::Link;
use crate::packet::{Kind, Packet, Version};

/// Where a client stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stage {
    /// It has no connection.
    Away,
    /// CONNECT is sent.
    Connecting,
    /// CONNACK has come.
    Connected,
}

/// A message that its receiver has not acknowledged in full.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) packet: Packet,
    pub(crate) number: usize,
    /// PUBREC has come.
    pub(crate) released: bool,
}

/// What was asked for with the CONNECT that is under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) clean_start: bool,
    pub(crate) expiry: u32,
    pub(crate) will: Option<(usize, u32)>,
}

/// A SUBSCRIBE that waits for its SUBACK.
#[derive(Clone, Debug)]
pub(crate) struct Subscribing {
    pub(crate) filters: Vec<(String, u8)>,
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) version: Version,
    pub(crate) stage: Stage,
    pub(crate) link: Option<Link>,
    pub(crate) asked: Asked,
    /// The session it has, in the history; none before the first CONNACK.
    pub(crate) session: Option<usize>,
    /// The connection it has, in the history.
    pub(crate) connection: Option<usize>,
    /// Packets that came and that it has not looked at.
    pub(crate) unread: VecDeque<Packet>,
    pub(crate) is_congested: bool,
    /// It closed its end and still reads what comes.
    pub(crate) is_half_closed: bool,
    /// It left a connection before its CONNACK: until that is over, and one with Clean Start was
    /// accepted, it does not know which session it has.
    pub(crate) is_in_doubt: bool,
    /// Those connections.
    pub(crate) left_early: Vec<Link>,
    pub(crate) outgoing: Vec<Outgoing>,
    /// QoS 2 identifiers of the server.
    pub(crate) received: BTreeSet<u16>,
    pub(crate) subscribing: BTreeMap<u16, Subscribing>,
    pub(crate) unsubscribing: BTreeSet<u16>,
    /// Topic Aliases of the server.
    pub(crate) aliases: BTreeMap<u32, String>,
    /// What the server lets it have in flight.
    pub(crate) window: usize,
}

impl Client {
    pub(crate) fn new(id: String, version: Version) -> Self {
        Self {
            id,
            version,
            stage: Stage::Away,
            link: None,
            asked: Asked::default(),
            session: None,
            connection: None,
            unread: VecDeque::new(),
            is_congested: false,
            is_half_closed: false,
            is_in_doubt: false,
            left_early: Vec::new(),
            outgoing: Vec::new(),
            received: BTreeSet::new(),
            subscribing: BTreeMap::new(),
            unsubscribing: BTreeSet::new(),
            aliases: BTreeMap::new(),
            window: 1,
        }
    }

    /// Forgets its connection, and what does not outlive one.
    pub(crate) fn leave(&mut self) {
        if self.stage == Stage::Connecting {
            self.is_in_doubt = true;
            self.left_early.extend(self.link);
        }
        self.stage = Stage::Away;
        self.link = None;
        self.connection = None;
        self.unread.clear();
        self.is_congested = false;
        self.is_half_closed = false;
        self.subscribing.clear();
        self.unsubscribing.clear();
        self.aliases.clear();
    }

    /// Forgets its session.
    pub(crate) fn begin_session(&mut self) {
        self.outgoing.clear();
        self.received.clear();
    }

    /// An identifier that is not in use.
    pub(crate) fn free_id(&self) -> u16 {
        (1..=u16::MAX)
            .find(|id| {
                !self.outgoing.iter().any(|held| held.packet.packet_id == Some(*id))
                    && !self.subscribing.contains_key(id)
                    && !self.unsubscribing.contains(id)
            })
            .unwrap_or(u16::MAX)
    }

    /// What a resumed session sends again, in order [MQTT-4.4.0-1].
    pub(crate) fn again(&self) -> Vec<Packet> {
        let again = self.outgoing.iter().map(|held| {
            if held.released {
                return Packet::ack(Kind::PubRel, held.packet.packet_id.unwrap_or_default(), 0);
            }
            Packet { dup: true, ..held.packet.clone() }
        });
        again.collect()
    }

    /// The message that an acknowledgement speaks of.
    pub(crate) fn outgoing_at(&self, packet_id: Option<u16>, qos: u8) -> Option<usize> {
        self.outgoing
            .iter()
            .position(|held| held.packet.packet_id == packet_id && held.packet.qos == qos)
    }
}
