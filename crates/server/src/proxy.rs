//! PROXY protocol, versions 1 and 2: the client's address as the proxy in front of us tells it.
//!
//! Behind a setting, and then every connection begins with a header. It is read to its last byte
//! and no further, so that what follows is the client's.

use std::net::SocketAddr;

use proxy_header::{Error, ParseConfig, ProxyHeader};

/// Bytes of the shortest header, `PROXY UNKNOWN\r\n`.
const SHORTEST: usize = 15;
/// Bytes of the fixed part of version 2.
const FIXED_V2: usize = 16;
/// Bytes of the longest header that is taken, its extensions included.
const BYTES_MAX: usize = 2_048;
const SIGNATURE_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The header is none, or too long.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct NotProxied;

/// A header that is arriving.
#[derive(Debug, Default)]
pub(crate) struct Preamble {
    bytes: Vec<u8>,
}

impl Preamble {
    /// How many bytes may be read next without reading past the header.
    pub(crate) fn wanted(&self) -> usize {
        let len = self.bytes.len();
        if len < SHORTEST {
            return SHORTEST - len;
        }
        match (self.bytes.starts_with(SIGNATURE_V2), self.bytes.get(14..FIXED_V2)) {
            (true, Some(&[high, low])) => {
                (FIXED_V2 + usize::from(u16::from_be_bytes([high, low]))).saturating_sub(len)
            }
            _ => 1,
        }
    }

    /// Takes bytes; then the client's address, which is `peer` where the proxy tells none, or
    /// `None` where more bytes are needed.
    pub(crate) fn take(
        &mut self,
        bytes: &[u8],
        peer: SocketAddr,
    ) -> Result<Option<SocketAddr>, NotProxied> {
        self.bytes.extend_from_slice(bytes);
        let is_v2 = self.bytes.starts_with(SIGNATURE_V2);
        if self.bytes.len() >= SHORTEST && !is_v2 && !self.bytes.starts_with(b"PROXY ") {
            return Err(NotProxied);
        }
        // A line that ended needs no more bytes.
        let is_ended = self.bytes.starts_with(b"PROXY ") && self.bytes.ends_with(b"\r\n");
        match ProxyHeader::parse(&self.bytes, ParseConfig::default()) {
            Ok((header, _)) => {
                Ok(Some(header.proxied_address().map_or(peer, |address| address.source)))
            }
            Err(Error::BufferTooShort) if self.bytes.len() < BYTES_MAX && !is_ended => Ok(None),
            Err(_) => Err(NotProxied),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 1))
    }

    /// What comes of bytes that arrive as they are wanted, and how many are left.
    fn read(bytes: &[u8]) -> (Result<SocketAddr, NotProxied>, usize) {
        let mut preamble = Preamble::default();
        let mut rest = bytes;
        loop {
            let (now, later) = rest.split_at(preamble.wanted().min(rest.len()));
            rest = later;
            match preamble.take(now, peer()) {
                Ok(Some(source)) => return (Ok(source), rest.len()),
                Ok(None) if !rest.is_empty() => {}
                Ok(None) | Err(NotProxied) => return (Err(NotProxied), rest.len()),
            }
        }
    }

    #[test]
    fn a_header_is_read_to_its_last_byte() {
        let source = "192.0.2.1:56324".parse().unwrap();
        let v1 = b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\nrest";
        assert_eq!(read(v1), (Ok(source), 4));
        assert_eq!(read(b"PROXY UNKNOWN\r\nrest"), (Ok(peer()), 4));
        let mut v2 = SIGNATURE_V2.to_vec();
        v2.extend([0x21, 0x11, 0, 12, 192, 0, 2, 1, 192, 0, 2, 2, 0xDC, 0x04, 0x01, 0xBB]);
        v2.extend(b"rest");
        assert_eq!(read(&v2), (Ok(source), 4));
        // LOCAL: the proxy's own check.
        let mut local = SIGNATURE_V2.to_vec();
        local.extend([0x20, 0, 0, 0]);
        local.extend(b"rest");
        assert_eq!(read(&local), (Ok(peer()), 4));
    }

    #[test]
    fn a_header_may_come_a_byte_at_a_time() {
        let mut v2 = SIGNATURE_V2.to_vec();
        v2.extend([0x21, 0x11, 0, 12, 192, 0, 2, 1, 192, 0, 2, 2, 0xDC, 0x04, 0x01, 0xBB]);
        for header in [&b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n"[..], &v2] {
            let mut preamble = Preamble::default();
            let (last, first) = header.split_last().unwrap();
            for byte in first {
                assert_eq!(preamble.take(&[*byte], peer()), Ok(None));
            }
            let source = "192.0.2.1:56324".parse().unwrap();
            assert_eq!(preamble.take(&[*last], peer()), Ok(Some(source)));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for bytes in [
            &b"\x10\x0E\0\x04MQTT\x05\x02\0\x3C\0\0\x01c"[..],
            b"GET / HTTP/1.1\r\n\r\n",
            b"PROXY TCP4 nonsense\r\n",
            b"PROXY TCP4 1.2.3.4\r\n",
            &[b'P'; 300],
        ] {
            assert_eq!(read(bytes).0, Err(NotProxied));
        }
        let endless = [&b"PROXY TCP4 "[..], &[b'1'; 4096]].concat();
        assert_eq!(read(&endless).0, Err(NotProxied));
    }
}
