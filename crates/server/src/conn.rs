//! One network connection: its socket, what of a packet has come so far, and what is to be sent.
//!
//! It knows bytes, not sessions. An idle one owns no buffer.

use std::io::{self, ErrorKind, Read};
use std::net::{IpAddr, SocketAddr};

use bitts_broker::{Bucket, ConnId, Moment};
use bitts_mqtt::ProtocolVersion;
use mio::net::TcpStream;

use crate::identify::Identified;
use crate::layers::Layers;
use crate::proxy::{NotProxied, Preamble};
use crate::tls::Revoked;
use crate::write_buffer::{Spares, WriteBuffer};

/// Bytes one read may bring, and with that the work one connection may cause in one turn.
pub(crate) const READ_BYTES: usize = 64 << 10;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Phase {
    /// Its CONNECT has not come.
    Greeting,
    /// Its CONNECT was handed to the core.
    Open(ProtocolVersion),
    /// Ours is said; what still comes is not read as packets.
    Closing,
}

/// What to do about a read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Readiness {
    /// There may be more.
    More,
    /// The socket is drained.
    Drained,
    /// The peer sends no more, or the connection is broken.
    Ended,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) stream: TcpStream,
    pub(crate) id: ConnId,
    pub(crate) phase: Phase,
    pub(crate) source: SocketAddr,
    /// The header of the PROXY protocol that is to come first.
    pub(crate) preamble: Option<Box<Preamble>>,
    /// TLS and WebSocket; none over plain TCP.
    pub(crate) layers: Option<Box<Layers>>,
    /// The beginning of a packet, or packets that wait for their turn.
    pub(crate) partial: Vec<u8>,
    /// Bytes of `partial` that count against the limit on connections without CONNECT.
    pub(crate) counted: usize,
    pub(crate) writes: WriteBuffer,
    /// Bytes of `partial` and of `writes` that the thread has counted.
    pub(crate) unread: usize,
    pub(crate) unwritten: usize,
    /// Packets for it that wait for the store.
    pub(crate) gated: u32,
    /// `partial` holds whole packets, which come before what the socket has.
    pub(crate) has_packets: bool,
    /// It is not read until its client takes bytes.
    pub(crate) is_held: bool,
    /// It speaks 3.1.1 and publishes what the full disk cannot keep, of which it cannot be told: it
    /// is not read until there is space.
    pub(crate) waits_for_disk: bool,
    /// Bytes are in `writes` that this turn has not tried to write.
    pub(crate) is_dirty: bool,
    /// It is in the list of those that may have something to read.
    pub(crate) is_listed: bool,
    /// The peer shut its side down, so a short read does not mean that the socket is drained.
    pub(crate) is_read_closed: bool,
    /// The core knows that it takes no more bytes for now.
    pub(crate) is_congested: bool,
    /// A watch for a packet that was begun is set, or one for a peer that takes nothing.
    pub(crate) is_packet_watched: bool,
    pub(crate) is_stall_watched: bool,
    /// When the packet in `partial` was begun.
    pub(crate) begun_at: Moment,
    /// Who its client proved to be before its CONNECT was handled, and how that is asked again.
    pub(crate) identified: Option<Box<Identified>>,
    /// What it sent lately, where its bytes have a rate, and until when it is not read.
    pub(crate) pace: Option<Box<(Bucket, Moment)>>,
    /// When the peer last took a byte, or was first sent one.
    pub(crate) taken_at: Moment,
}

impl Conn {
    pub(crate) fn new(
        stream: TcpStream,
        source: SocketAddr,
        layers: Option<Box<Layers>>,
        now: Moment,
    ) -> Self {
        Self {
            stream,
            preamble: None,
            layers,
            id: ConnId::default(),
            phase: Phase::Greeting,
            source,
            partial: Vec::new(),
            counted: 0,
            writes: WriteBuffer::default(),
            unread: 0,
            unwritten: 0,
            gated: 0,
            has_packets: false,
            is_held: false,
            waits_for_disk: false,
            is_dirty: false,
            is_listed: false,
            is_read_closed: false,
            is_congested: false,
            is_packet_watched: false,
            is_stall_watched: false,
            begun_at: now,
            identified: None,
            pace: None,
            taken_at: now,
        }
    }

    /// Whether its client's certificate is revoked.
    pub(crate) fn is_revoked(&self, revoked: &Revoked) -> bool {
        let certificate = self.layers.as_ref().and_then(|layers| layers.certificate_der());
        certificate.is_some_and(|certificate| revoked.names(certificate))
    }

    /// The address that counts against the limit on those that wait; while a proxy has not told it,
    /// none.
    pub(crate) fn greeted_as(&self) -> Option<IpAddr> {
        self.preamble.is_none().then(|| self.source.ip())
    }

    /// Reads once, behind the first `have` bytes of `buffer`, which grows as bytes arrive and never
    /// from a length that the peer claims. Returns how many bytes there are then.
    pub(crate) fn read(&mut self, buffer: &mut Vec<u8>, have: usize) -> (usize, Readiness) {
        if buffer.len() < have + READ_BYTES {
            // Little more than is read, for what is not used is held too.
            buffer.reserve_exact(have + READ_BYTES + have / 8 - buffer.len());
            buffer.resize(have + READ_BYTES, 0);
        }
        let room = buffer.get_mut(have..have + READ_BYTES).unwrap_or_default();
        let (read, readiness) = match &mut self.layers {
            None => read_plain(&mut self.stream, room, self.is_read_closed),
            Some(layers) => layers.read(&mut self.stream, room, self.is_read_closed),
        };
        (have + read, readiness)
    }

    /// Reads the header of the PROXY protocol, if one is to come first; `true` once it is through.
    pub(crate) fn read_preamble(&mut self) -> Result<bool, NotProxied> {
        let Some(preamble) = &mut self.preamble else { return Ok(true) };
        let mut buffer = [0; 256];
        loop {
            let wanted = preamble.wanted().min(buffer.len());
            let room = buffer.get_mut(..wanted).unwrap_or_default();
            let (read, readiness) = read_plain(&mut self.stream, room, false);
            match preamble.take(room.get(..read).unwrap_or_default(), self.source)? {
                Some(source) => {
                    self.source = source;
                    self.preamble = None;
                    return Ok(true);
                }
                None if readiness == Readiness::Ended => return Err(NotProxied),
                None if read == 0 => return Ok(false),
                None => {}
            }
        }
    }

    /// Whether the socket is still to take bytes.
    pub(crate) fn has_to_write(&self) -> bool {
        !self.writes.is_empty() || self.layers.as_ref().is_some_and(|layers| layers.has_to_write())
    }

    /// Writes as much as the socket takes; `true` where all of it was.
    pub(crate) fn write(&mut self, spares: &mut Spares) -> io::Result<bool> {
        match &mut self.layers {
            None => self.writes.write_to(&mut self.stream, spares),
            Some(layers) => layers.write(&mut self.writes, spares, &mut self.stream),
        }
    }

    /// Says that we send no more.
    pub(crate) fn shut_down_writes(&self) -> io::Result<()> {
        self.stream.shutdown(std::net::Shutdown::Write)
    }
}

/// Reads once from a socket.
pub(crate) fn read_plain(
    stream: &mut TcpStream,
    room: &mut [u8],
    is_read_closed: bool,
) -> (usize, Readiness) {
    loop {
        return match stream.read(room) {
            Ok(0) => (0, Readiness::Ended),
            Ok(read) if read == room.len() || is_read_closed => (read, Readiness::More),
            Ok(read) => (read, Readiness::Drained),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == ErrorKind::WouldBlock => (0, Readiness::Drained),
            Err(_) => (0, Readiness::Ended),
        };
    }
}
