//! What lies between a socket and MQTT: TLS, WebSocket, or WebSocket in TLS.
//!
//! Bytes arrive decrypted and without frames where the caller wants them, and leave framed and
//! encrypted from its write buffer. A connection over plain TCP has no layers and pays for none.

use std::io::{self, ErrorKind, Read, Write};

use bitts_broker::Loss;
use mio::net::TcpStream;
use rustls::ServerConnection;
use rustls::pki_types::CertificateDer;

use crate::conn::Readiness;
use crate::tls::certificate_id;
use crate::websocket::{Ended, WebSocket, put_binary_header};
use crate::write_buffer::{Spares, WriteBuffer};

/// Bytes of MQTT that are framed or encrypted at a time.
const STEP_BYTES: usize = 16 << 10;

/// See the module.
#[derive(Debug)]
pub(crate) struct Layers {
    tls: Option<Box<ServerConnection>>,
    websocket: Option<Box<WebSocket>>,
    /// Framed bytes that TLS or the socket has not taken, from `written` on.
    framed: Vec<u8>,
    written: usize,
    is_goodbye_said: bool,
}

impl Layers {
    /// TLS whose handshake may not even have begun.
    pub(crate) fn tls(tls: Box<ServerConnection>) -> Self {
        Self::new(Some(tls), None)
    }

    /// A WebSocket that was just upgraded, in TLS or not.
    pub(crate) fn websocket(tls: Option<Box<ServerConnection>>) -> Self {
        Self::new(tls, Some(Box::default()))
    }

    fn new(tls: Option<Box<ServerConnection>>, websocket: Option<Box<WebSocket>>) -> Self {
        Self { tls, websocket, framed: Vec::new(), written: 0, is_goodbye_said: false }
    }

    /// SHA-256 of the certificate whose key the client proved to hold.
    pub(crate) fn certificate(&self) -> Option<[u8; 32]> {
        self.certificate_der().map(certificate_id)
    }

    /// The certificate whose key the client proved to hold.
    pub(crate) fn certificate_der(&self) -> Option<&CertificateDer<'static>> {
        self.tls.as_ref()?.peer_certificates()?.first()
    }

    /// Whether what is said stays between client and server.
    pub(crate) fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    pub(crate) fn is_websocket(&self) -> bool {
        self.websocket.is_some()
    }

    /// How the connection ended, where it did.
    pub(crate) fn loss(&self) -> Loss {
        match self.websocket.as_ref().and_then(|socket| socket.ended()) {
            Some(Ended::ByClient) => Loss::SaidClose,
            Some(Ended::Broken(_)) => Loss::WebSocketBroken,
            None => Loss::Broken,
        }
    }

    /// Reads MQTT bytes into `room`.
    pub(crate) fn read(
        &mut self,
        stream: &mut TcpStream,
        room: &mut [u8],
        is_read_closed: bool,
    ) -> (usize, Readiness) {
        let (len, readiness) = match &mut self.tls {
            Some(tls) => read_tls(tls, stream, room),
            None => crate::conn::read_plain(stream, room, is_read_closed),
        };
        let bytes = room.get_mut(..len).unwrap_or_default();
        (self.take_frames(bytes), if self.is_over() { Readiness::Ended } else { readiness })
    }

    /// Takes the frames off bytes that were read already, in place.
    pub(crate) fn take_frames(&mut self, bytes: &mut [u8]) -> usize {
        match &mut self.websocket {
            Some(socket) => socket.take_frames(bytes, &mut self.framed),
            None => bytes.len(),
        }
    }

    fn is_over(&self) -> bool {
        self.websocket.as_ref().is_some_and(|socket| socket.ended().is_some())
    }

    /// Whether there are bytes below the write buffer that the socket has not taken.
    pub(crate) fn has_to_write(&self) -> bool {
        self.written < self.framed.len() || self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Writes as much as the socket takes; `true` where all of it was.
    pub(crate) fn write(
        &mut self,
        writes: &mut WriteBuffer,
        spares: &mut Spares,
        stream: &mut TcpStream,
    ) -> io::Result<bool> {
        loop {
            if !self.push(stream)? {
                return Ok(false);
            }
            if self.websocket.as_ref().is_some_and(|socket| socket.is_close_sent()) {
                // Nothing follows a Close frame.
                *writes = WriteBuffer::default();
            }
            if writes.is_empty() {
                return Ok(true);
            }
            if self.websocket.is_some() {
                put_binary_header(writes.len().min(STEP_BYTES), &mut self.framed);
            }
            writes.take(STEP_BYTES, spares, |bytes| self.framed.extend_from_slice(bytes));
        }
    }

    /// Pushes framed bytes down; `true` where the socket took all of them.
    fn push(&mut self, stream: &mut TcpStream) -> io::Result<bool> {
        let Some(tls) = &mut self.tls else {
            while let Some(rest) = self.framed.get(self.written..).filter(|rest| !rest.is_empty()) {
                match stream.write(rest) {
                    Ok(0) => return Err(ErrorKind::WriteZero.into()),
                    Ok(written) => self.written += written,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            self.let_go();
            return Ok(true);
        };
        loop {
            while tls.wants_write() {
                match tls.write_tls(stream) {
                    Ok(0) => return Err(ErrorKind::WriteZero.into()),
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            if tls.is_handshaking() || self.written == self.framed.len() {
                break;
            }
            let rest = self.framed.get(self.written..).unwrap_or_default();
            self.written += tls.writer().write(rest)?;
        }
        self.let_go();
        Ok(self.written == self.framed.len())
    }

    /// Keeps no buffer while there is nothing to write.
    fn let_go(&mut self) {
        if self.written == self.framed.len() {
            self.framed = Vec::new();
            self.written = 0;
        }
    }

    /// Says in each layer that nothing follows, once; to be written after.
    pub(crate) fn say_goodbye(&mut self) -> bool {
        if std::mem::replace(&mut self.is_goodbye_said, true) {
            return false;
        }
        if let Some(socket) = &mut self.websocket {
            socket.close(&mut self.framed);
        }
        if let Some(tls) = &mut self.tls {
            // What is still framed goes first.
            let rest = self.framed.get(self.written..).unwrap_or_default();
            if tls.writer().write(rest).is_ok() {
                self.written = self.framed.len();
            }
            tls.send_close_notify();
        }
        true
    }
}

/// Decrypts what the socket has, up to the size of `room`.
fn read_tls(
    tls: &mut ServerConnection,
    stream: &mut TcpStream,
    room: &mut [u8],
) -> (usize, Readiness) {
    let mut got = 0;
    loop {
        while let Some(rest) = room.get_mut(got..).filter(|rest| !rest.is_empty()) {
            match tls.reader().read(rest) {
                Ok(0) => return (got, Readiness::Ended),
                Ok(read) => got += read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return (got, Readiness::Ended),
            }
        }
        if got == room.len() {
            return (got, Readiness::More);
        }
        match tls.read_tls(stream) {
            Ok(0) => return (got, Readiness::Ended),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return (got, Readiness::Drained);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return (got, Readiness::Ended),
        }
        if let Err(error) = tls.process_new_packets() {
            tracing::debug!(%error, "a TLS connection broke");
            return (got, Readiness::Ended);
        }
    }
}
