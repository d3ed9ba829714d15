//! Before CONNECT: who may wait how long, and which shard gets the connection.
//!
//! Nothing here reaches the core before a whole CONNECT has come; what is not one is closed without
//! an answer. Waiting connections are bounded in number, bytes and time.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use bitts_aws::registry::Identity;
use bitts_broker::{
    ConnId, Input, Moment, Origin, Placement, Profile, Proof, ShardId, assigned_client_id,
};
use bitts_mqtt::{Connect, ConnectVersion, Packet, ProtocolVersion};

use crate::config::ServerLimits;
use crate::conn::Phase;
use crate::identify::Credentials;
use crate::metrics::Refusal;
use crate::worker::Worker;

/// The connections of one shard's thread whose CONNECT has not come.
#[derive(Debug, Default)]
pub(crate) struct Greetings {
    /// In the order in which their time ends; those that are through are passed over.
    due: VecDeque<(Moment, ConnId)>,
    waiting: usize,
    bytes: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl Greetings {
    /// Whether one more may wait.
    pub(crate) fn may_begin(&self, address: IpAddr, limits: &ServerLimits) -> bool {
        address.is_loopback()
            || self.by_address.get(&address).is_none_or(|n| *n < limits.greetings_per_address_max)
    }

    /// One waits; without an address it counts only in total.
    pub(crate) fn begin(&mut self, conn: ConnId, address: Option<IpAddr>, due: Moment) {
        self.due.push_back((due, conn));
        self.waiting += 1;
        if let Some(address) = address {
            self.add_address(address);
        }
    }

    /// A proxy told the address of one that waits.
    pub(crate) fn add_address(&mut self, address: IpAddr) {
        *self.by_address.entry(address).or_default() += 1;
    }

    /// Its CONNECT came, or it is gone.
    pub(crate) fn end(&mut self, address: Option<IpAddr>, bytes: usize) {
        self.waiting = self.waiting.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
        if let Some(address) = address
            && let Some(count) = self.by_address.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
        if self.waiting == 0 {
            self.due.clear();
        }
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// The bytes that one holds changed.
    pub(crate) fn holds(&mut self, before: usize, after: usize) {
        self.bytes = (self.bytes + after).saturating_sub(before);
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn next_due(&self) -> Option<Moment> {
        self.due.front().map(|(due, _)| *due)
    }

    /// The next whose time is over; it may be through.
    pub(crate) fn take_due(&mut self, now: Moment) -> Option<ConnId> {
        let (due, conn) = *self.due.front()?;
        (due <= now).then(|| self.due.pop_front().map(|_| conn)).flatten()
    }

    /// The oldest; it may be through.
    pub(crate) fn take_oldest(&mut self) -> Option<ConnId> {
        self.due.pop_front().map(|(_, conn)| conn)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = ConnId> {
        self.due.iter().map(|(_, conn)| *conn)
    }
}

/// What the first bytes of a connection turned out to be.
pub(crate) enum Greeted {
    /// More bytes are needed.
    NeedMore,
    /// The core answered; this many bytes were its CONNECT.
    Taken(usize),
    /// The client belongs to another shard.
    For(ShardId),
    /// Who it is takes longer than a turn; then it goes to its owner.
    Identify(Box<Credentials>, ShardId),
    /// Not something to answer.
    Refused(Refusal),
}

impl Worker {
    /// Looks at the first bytes of a connection.
    pub(crate) fn greet(&mut self, conn: ConnId, bytes: &[u8]) -> Greeted {
        let frame = match bitts_mqtt::split(bytes, self.limits.connect_bytes_max) {
            Ok(Some(frame)) => frame,
            // Only a CONNECT may be first: no reason to wait for the rest of something else.
            Ok(None) if bytes.first().is_some_and(|first| first >> 4 != 1) => {
                return Greeted::Refused(Refusal::NotConnect);
            }
            Ok(None) => return Greeted::NeedMore,
            Err(_) => return Greeted::Refused(Refusal::NotConnect),
        };
        if frame.first >> 4 != 1 {
            return Greeted::Refused(Refusal::NotConnect);
        }
        let first = bitts_mqtt::connect_version(&frame);
        let version = match first {
            ConnectVersion::V3_1_1 => ProtocolVersion::V3_1_1,
            ConnectVersion::V5 | ConnectVersion::Unsupported { .. } => ProtocolVersion::V5,
            ConnectVersion::NotMqtt => return Greeted::Refused(Refusal::NotMqtt),
        };
        match bitts_mqtt::decode(version, &frame) {
            Ok(Packet::Connect(connect)) => {
                let revoked = Arc::clone(&self.mesh.revoked);
                if self.conn(conn).is_some_and(|conn| conn.is_revoked(&revoked)) {
                    return Greeted::Refused(Refusal::Revoked);
                }
                let owner = if connect.client_id.is_empty() {
                    self.id
                } else {
                    self.mesh.placement.owner_of(connect.client_id)
                };
                if let Some(credentials) = self.credentials_to_check(conn, &connect) {
                    return Greeted::Identify(Box::new(credentials), owner);
                }
                if owner != self.id {
                    return Greeted::For(owner);
                }
                self.enter(conn, &connect);
            }
            Ok(_) => return Greeted::Refused(Refusal::NotConnect),
            Err(error) => {
                self.set_phase(conn, Phase::Closing);
                self.handle(Input::Undecodable { conn, error, first: Some(first) });
            }
        }
        Greeted::Taken(frame.len)
    }

    /// What is to be looked at of a CONNECT, unless its client proved already who it is: by a
    /// certificate or the signature of its WebSocket.
    fn credentials_to_check(&mut self, id: ConnId, connect: &Connect<'_>) -> Option<Credentials> {
        self.identify.as_ref()?;
        let conn = self.conn(id).filter(|conn| conn.identified.is_none())?;
        let layers = conn.layers.as_ref();
        let Some(certificate) = layers.and_then(|layers| layers.certificate()) else {
            return Credentials::of(connect);
        };
        let der = layers.and_then(|layers| layers.certificate_der()).cloned();
        let is_new = self.shard.may_register(&certificate);
        der.filter(|_| is_new).map(|der| Credentials::of_certificate(connect, der))
    }

    fn enter(&mut self, conn: ConnId, connect: &Connect<'_>) {
        self.set_phase(conn, Phase::Open(connect.version));
        let Some((source, target)) = self.addresses(conn) else { return };
        let mut entropy = rand::random();
        if connect.client_id.is_empty() {
            entropy = entropy_for(&self.mesh.placement, self.id, self.profile);
        }
        let Some(held) = self.conn(conn) else { return };
        let layers = held.layers.as_ref();
        let certificate = layers.and_then(|layers| layers.certificate());
        let is_secure = layers.is_some_and(|layers| layers.is_secure());
        let is_websocket = layers.is_some_and(|layers| layers.is_websocket());
        let proof = match held.identified.take() {
            Some(mut identified) => {
                let proof = std::mem::take(&mut identified.proof);
                held.identified = identified.asked.is_some().then_some(identified);
                proof
            }
            None => {
                certificate.map_or(Proof::None, |id| Proof::Identity(Identity::Certificate(id)))
            }
        };
        let origin = Origin { source, target, entropy, certificate, is_secure, is_websocket };
        self.handle(Input::Connect { conn, connect, origin, proof });
    }
}

/// Random bits that give a client without a Client Identifier one that this shard owns.
fn entropy_for(placement: &Placement, shard: ShardId, profile: Profile) -> u128 {
    loop {
        let entropy = rand::random();
        if placement.owner_of(&assigned_client_id(profile, entropy)) == shard {
            return entropy;
        }
    }
}
