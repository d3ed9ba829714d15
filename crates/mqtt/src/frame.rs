//! Where one Control Packet ends and the next begins.

use crate::error::{DecodeError, Malformed};
use crate::varint;

/// The bytes of one Control Packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Frame<'a> {
    /// Type and flags.
    pub first: u8,
    /// Everything behind the fixed header.
    pub body: &'a [u8],
    /// Bytes of the whole packet.
    pub len: usize,
}

/// Splits the first packet off; `None` where bytes are missing.
///
/// A reserved type, wrong flags and a packet beyond `packet_bytes_max` are refused from the header
/// alone. Hot: once per packet.
#[inline]
pub fn split(bytes: &[u8], packet_bytes_max: usize) -> Result<Option<Frame<'_>>, DecodeError> {
    let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
    check_first(first)?;
    let Some((remaining, used)) = varint::read(rest)? else { return Ok(None) };
    let remaining = remaining as usize;
    let len = 1 + used + remaining;
    if len > packet_bytes_max {
        return Err(Malformed::TooLarge.into());
    }
    let body = rest.get(used..).and_then(|rest| rest.get(..remaining));
    Ok(body.map(|body| Frame { first, body, len }))
}

/// [MQTT-2.1.3-1]: the flags of a type are its own; only PUBLISH has a choice.
#[inline]
fn check_first(first: u8) -> Result<(), Malformed> {
    match (first >> 4, first & 0x0F) {
        (3, _) | (6 | 8 | 10, 0b0010) | (1 | 2 | 4 | 5 | 7 | 9 | 11..=15, 0) => Ok(()),
        (0, _) => Err(Malformed::PacketType),
        _ => Err(Malformed::Flags),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_whole_or_waits() {
        let bytes = [0x30, 0x03, 0, 1, b'a', 0xC0];
        for end in 0..5 {
            assert_eq!(split(&bytes[..end], 100), Ok(None));
        }
        let frame = split(&bytes, 100).unwrap().unwrap();
        assert_eq!((frame.first, frame.len), (0x30, 5));
    }

    #[test]
    fn the_header_alone_refuses() {
        assert_eq!(split(&[0x00], 100), Err(Malformed::PacketType.into()));
        for first in [0x11, 0x62 ^ 2, 0x80, 0x92, 0xC1, 0xE8, 0xF1] {
            assert_eq!(split(&[first], 100), Err(Malformed::Flags.into()), "{first:x}");
        }
        assert_eq!(split(&[0x30, 0x64], 100), Err(Malformed::TooLarge.into()));
        assert_eq!(
            split(&[0x10, 0xFF, 0xFF, 0xFF, 0xFF], 1000),
            Err(Malformed::VariableByteInteger.into())
        );
    }
}
