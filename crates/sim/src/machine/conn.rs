//! A client's socket and the server's half of it: bytes to packets, packets to inputs.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bitts_broker::{ConnId, Input, Loss, Origin, Proof, ShardId, assigned_client_id};
use bitts_mqtt::{ConnectVersion, Packet, ProtocolVersion};

use super::{Machine, Mail};

/// A connection as its client names it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Link(pub usize);

/// How the server ended a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ended {
    /// What was written arrives, then the end.
    Closed,
    /// At once.
    Dropped,
}

/// What the server knows of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// No CONNECT has come.
    Greeting,
    /// The core decides.
    Open(ProtocolVersion),
    /// What else the client sends is passed over.
    Closing,
}

#[derive(Debug)]
pub(crate) struct Conn {
    source: SocketAddr,
    /// Written by the client, on the way.
    pub(crate) sent: VecDeque<u8>,
    /// When the client began to write what is under way, as a number that rises.
    pub(crate) written: u64,
    /// Nothing follows `sent`.
    pub(crate) hung_up: bool,
    /// Written by the server, not read by the client.
    pub(crate) received: Vec<u8>,
    pub(crate) ended: Option<Ended>,
    /// Who holds it, and under which name.
    pub(crate) place: Option<(ShardId, ConnId)>,
    phase: Phase,
    partial: Vec<u8>,
    /// Names the connection in events.
    pub(crate) entropy: u128,
    /// Who its client proved to be.
    pub(crate) proof: Proof,
    /// It is a WebSocket.
    pub(crate) is_websocket: bool,
}

impl Conn {
    pub(crate) fn new(source: SocketAddr) -> Self {
        Self {
            source,
            sent: VecDeque::new(),
            written: 0,
            hung_up: false,
            received: Vec::new(),
            ended: None,
            place: None,
            phase: Phase::Greeting,
            partial: Vec::new(),
            entropy: 0,
            proof: Proof::None,
            is_websocket: false,
        }
    }

    pub(crate) fn is_mqtt3(&self) -> bool {
        self.phase == Phase::Open(ProtocolVersion::V3_1_1)
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.phase == Phase::Closing
    }

    /// The server reads it: it was accepted, and is not in the mail to another shard.
    pub(crate) fn is_with_server(&self) -> bool {
        self.ended.is_none() && (self.place.is_some() || self.partial.is_empty())
    }
}

enum Greeted {
    NeedMore,
    Taken(usize),
    HandOver(ShardId),
    Refused,
}

impl Machine {
    /// Some bytes of a client arrive, `max` at most.
    pub fn receive(&mut self, link: Link, max: usize) {
        if self.conn(link).place.is_none() {
            let shard = ShardId((link.0 % usize::from(self.options.shards)) as u8);
            self.adopt(shard, link);
        }
        let conn = self.conn(link);
        let len = conn.sent.len().min(max);
        let mut bytes = std::mem::take(&mut conn.partial);
        bytes.extend(conn.sent.drain(..len));
        self.use_bytes(link, bytes);
    }

    /// A shard names a connection.
    fn adopt(&mut self, shard: ShardId, link: Link) {
        let core = self.core(shard);
        core.next_generation += 1;
        let index = core.links.iter().position(Option::is_none).unwrap_or(core.links.len());
        if index == core.links.len() {
            core.links.push(None);
        }
        core.links[index] = Some(link);
        let conn = ConnId { index: index as u32, generation: core.next_generation };
        self.conn(link).place = Some((shard, conn));
    }

    /// The shard no longer holds the connection.
    pub(crate) fn release(&mut self, link: Link) {
        if let Some((shard, conn)) = self.conn(link).place.take()
            && let Some(place) = self.core(shard).links.get_mut(conn.index as usize)
        {
            *place = None;
        }
    }

    pub(crate) fn take_over(&mut self, shard: ShardId, link: Link) {
        self.adopt(shard, link);
        let bytes = std::mem::take(&mut self.conn(link).partial);
        self.use_bytes(link, bytes);
    }

    /// Uses as many bytes as are whole packets and keeps the rest.
    fn use_bytes(&mut self, link: Link, bytes: Vec<u8>) {
        let mut used = 0;
        loop {
            let rest = bytes.get(used..).unwrap_or_default();
            let Some((shard, conn)) = self.conn(link).place else { return };
            if rest.is_empty() {
                break;
            }
            match self.conn(link).phase {
                Phase::Closing => return,
                Phase::Greeting => match self.greet(link, shard, conn, rest) {
                    Greeted::NeedMore => break,
                    Greeted::Taken(len) => used += len,
                    Greeted::HandOver(owner) => {
                        self.release(link);
                        self.conn(link).partial = rest.to_vec();
                        self.post(owner, shard.0, Mail::Conn(link));
                        return;
                    }
                    Greeted::Refused => {
                        self.release(link);
                        self.conn(link).ended = Some(Ended::Dropped);
                        return;
                    }
                },
                Phase::Open(version) => match self.take_packet(link, version, rest) {
                    0 => break,
                    len => used += len,
                },
            }
        }
        self.conn(link).partial = bytes.get(used..).unwrap_or_default().to_vec();
    }

    fn greet(&mut self, link: Link, shard: ShardId, conn: ConnId, bytes: &[u8]) -> Greeted {
        let frame = match bitts_mqtt::split(bytes, self.options.limits.packet_bytes_max as usize) {
            Ok(Some(frame)) => frame,
            Ok(None) if bytes.first().is_some_and(|first| first >> 4 != 1) => {
                return Greeted::Refused;
            }
            Ok(None) => return Greeted::NeedMore,
            Err(_) => return Greeted::Refused,
        };
        if frame.first >> 4 != 1 {
            return Greeted::Refused;
        }
        let first = bitts_mqtt::connect_version(&frame);
        let version = match first {
            ConnectVersion::V3_1_1 => ProtocolVersion::V3_1_1,
            ConnectVersion::V5 | ConnectVersion::Unsupported { .. } => ProtocolVersion::V5,
            ConnectVersion::NotMqtt => return Greeted::Refused,
        };
        match bitts_mqtt::decode(version, &frame) {
            Ok(Packet::Connect(mut connect)) => {
                self.spoil_connect(&mut connect);
                let owner = if connect.client_id.is_empty() {
                    shard
                } else {
                    self.placement.owner_of(connect.client_id)
                };
                if owner != shard {
                    return Greeted::HandOver(owner);
                }
                self.conn(link).phase = Phase::Open(connect.version);
                let origin = self.origin(link, shard, connect.client_id.is_empty());
                let proof = self.conn(link).proof.clone();
                self.handle(shard, Input::Connect { conn, connect: &connect, origin, proof });
            }
            Ok(_) => return Greeted::Refused,
            Err(error) => {
                self.conn(link).phase = Phase::Closing;
                self.handle(shard, Input::Undecodable { conn, error, first: Some(first) });
            }
        }
        Greeted::Taken(frame.len)
    }

    fn origin(&mut self, link: Link, shard: ShardId, assigned: bool) -> Origin {
        let profile = self.options.profile;
        loop {
            self.next_entropy += 1;
            let entropy = self.next_entropy;
            if !assigned || self.placement.owner_of(&assigned_client_id(profile, entropy)) == shard
            {
                let target = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1883);
                self.conn(link).entropy = entropy;
                let (source, is_websocket) = (self.conn(link).source, self.conn(link).is_websocket);
                return Origin {
                    source,
                    target,
                    entropy,
                    certificate: None,
                    is_secure: false,
                    is_websocket,
                };
            }
        }
    }

    /// Hands one packet to the core; returns its bytes, 0 where it is not whole.
    fn take_packet(&mut self, link: Link, version: ProtocolVersion, bytes: &[u8]) -> usize {
        let Some((shard, conn)) = self.conn(link).place else { return bytes.len() };
        let max = self.options.limits.packet_bytes_max as usize;
        let packet = bitts_mqtt::split(bytes, max).and_then(|frame| {
            frame.map(|frame| Ok((frame.len, bitts_mqtt::decode(version, &frame)?))).transpose()
        });
        match packet {
            Ok(Some((len, packet))) => {
                self.handle(shard, Input::Packet { conn, packet: &packet });
                self.spoil_packet(link, &packet);
                len
            }
            Ok(None) => 0,
            Err(error) => {
                self.handle(shard, Input::Undecodable { conn, error, first: None });
                self.conn(link).phase = Phase::Closing;
                bytes.len()
            }
        }
    }

    /// The client's end has arrived.
    pub(crate) fn on_end(&mut self, link: Link) {
        let conn = self.conn(link);
        match (conn.phase, conn.place) {
            (Phase::Open(_), Some((shard, id))) => {
                conn.hung_up = false;
                self.handle(shard, Input::Lost { conn: id, loss: Loss::Broken });
            }
            (Phase::Greeting | Phase::Closing, _) | (Phase::Open(_), None) => {
                self.release(link);
                self.conn(link).ended = Some(Ended::Dropped);
            }
        }
    }

    pub(crate) fn set_closing(&mut self, link: Link) {
        self.conn(link).phase = Phase::Closing;
    }
}
