//! Everything that can happen to a shard.

use core::net::SocketAddr;
use std::sync::Arc;

use bitts_aws::registry::Identity;
use bitts_mqtt::{Connect, ConnectVersion, DecodeError, Packet};

use crate::command::Command;
use crate::message::Message;
use crate::outbox::SessionRef;
use crate::record::{Lsn, PageId};
use crate::slot::ShardId;

/// A Network Connection, named by whoever holds its socket; a name is not used twice.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ConnId {
    /// Position in the holder's table; small and reused.
    pub index: u32,
    /// Tells users of one position apart.
    pub generation: u32,
}

/// A question whose answer somebody waits for; named by whoever asks.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ReplyId(pub u64);

/// Where a connection comes from, and what the outside world lends it.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// The client's address.
    pub source: SocketAddr,
    /// The listener's address.
    pub target: SocketAddr,
    /// 128 random bits: names the session, and the client where it sent no Client Identifier.
    pub entropy: u128,
    /// SHA-256 of the certificate that the client proved to hold the key of.
    pub certificate: Option<[u8; 32]>,
    /// It came through TLS.
    pub is_secure: bool,
    /// It is a WebSocket.
    pub is_websocket: bool,
}

/// Who the client of a connection proved to be.
#[derive(Clone, Debug, Default)]
pub enum Proof {
    /// It gave no credential.
    #[default]
    None,
    /// This is who it is.
    Identity(Identity),
    /// It gave one that is wrong.
    Failed,
}

/// How a connection ended without a packet that says so.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Loss {
    /// The peer closed it, or the network broke it.
    Broken,
    /// The client ended its WebSocket with a Close frame.
    SaidClose,
    /// The client broke a rule of WebSocket.
    WebSocketBroken,
    /// The client took no byte for the time that [`crate::Violation::NotReading`] names.
    NotReading,
    /// A packet was begun and not finished in time.
    PacketTooSlow,
    /// Its client's certificate was revoked by its authority.
    Revoked,
    /// Its unfinished packet is the largest of more than all clients together may have begun.
    UnreadBytes,
}

/// One event for a shard.
#[derive(Debug)]
pub enum Input<'a> {
    /// The first packet of a connection is a CONNECT for a client of this shard.
    Connect {
        /// The connection.
        conn: ConnId,
        /// What it asks for.
        connect: &'a Connect<'a>,
        /// Where it comes from.
        origin: Origin,
        /// Who it is.
        proof: Proof,
    },
    /// A packet on a connection that was accepted.
    Packet {
        /// The connection.
        conn: ConnId,
        /// What it says.
        packet: &'a Packet<'a>,
    },
    /// Bytes on a connection that are not a Control Packet.
    Undecodable {
        /// The connection.
        conn: ConnId,
        /// What is wrong with them.
        error: DecodeError,
        /// Where they were the connection's first packet: which protocol it asked for.
        first: Option<ConnectVersion>,
    },
    /// The connection is gone.
    Lost {
        /// The connection.
        conn: ConnId,
        /// How.
        loss: Loss,
    },
    /// Who the client of a connection is was asked again, as [`crate::Outbox::refreshes`] wants.
    Refreshed {
        /// The connection.
        conn: ConnId,
        /// Who it is.
        proof: Proof,
    },
    /// The connection takes no more bytes for now.
    Congested {
        /// The connection.
        conn: ConnId,
    },
    /// The connection takes bytes again.
    Writable {
        /// The connection.
        conn: ConnId,
    },
    /// A message that another shard accepted and that sessions or groups here may want.
    Message(Arc<Message>),
    /// Something else from a shard (or from this one, for a later turn).
    Parcel {
        /// Who sent it.
        from: ShardId,
        /// What it is.
        parcel: crate::outbox::Parcel,
    },
    /// A command for something this shard owns.
    Command {
        /// What is asked.
        command: Command,
        /// Who waits for the answer.
        reply: ReplyId,
    },
    /// Everything this shard handed to the store up to this position is durable.
    Durable(Lsn),
    /// A page that was asked for in [`crate::Outbox::reads`].
    Loaded {
        /// The session that asked for it.
        session: SessionRef,
        /// Which.
        page: PageId,
        /// As it was in [`crate::Outbox::pages`].
        bytes: &'a [u8],
    },
    /// Only a reserve of the disk is left, or there is more again.
    DiskFull(bool),
    /// A step of a checkpoint, see [`crate::Shard::is_checkpointing`]. Once it is written, one more
    /// says that the store confirmed it: what was in the inbox then was taken.
    Checkpoint {
        /// A new one begins.
        begin: bool,
    },
    /// The moment that [`crate::Shard::deadline`] named has come.
    Tick,
    /// The server shuts down: every connection ends, every session stays.
    Shutdown,
}
