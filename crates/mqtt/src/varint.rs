//! Variable Byte Integers [MQTT5 1.5.5].

use crate::error::Malformed;

/// The largest value.
pub(crate) const MAX: u32 = 268_435_455;

/// Reads one from the beginning: its value and length; `None` where bytes are missing.
#[inline]
pub(crate) fn read(bytes: &[u8]) -> Result<Option<(u32, usize)>, Malformed> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            // [MQTT-1.5.5-1]: the fewest bytes that hold the value.
            if *byte == 0 && at > 0 {
                return Err(Malformed::VariableByteInteger);
            }
            return Ok(Some((value, at + 1)));
        }
    }
    if bytes.len() >= 4 { Err(Malformed::VariableByteInteger) } else { Ok(None) }
}

/// How many bytes a value takes.
#[inline]
pub(crate) const fn len(value: usize) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

/// Appends one.
#[inline]
pub(crate) fn write(value: usize, out: &mut Vec<u8>) {
    let mut rest = value.min(MAX as usize);
    loop {
        let byte = (rest & 0x7F) as u8;
        rest >>= 7;
        if rest == 0 {
            out.push(byte);
            return;
        }
        out.push(byte | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of [MQTT5 1.5.5], its edges both ways.
    #[test]
    fn values_take_the_fewest_bytes() {
        for (value, bytes) in [
            (0_u32, &[0x00_u8][..]),
            (127, &[0x7F]),
            (128, &[0x80, 0x01]),
            (16_383, &[0xFF, 0x7F]),
            (16_384, &[0x80, 0x80, 0x01]),
            (2_097_151, &[0xFF, 0xFF, 0x7F]),
            (2_097_152, &[0x80, 0x80, 0x80, 0x01]),
            (MAX, &[0xFF, 0xFF, 0xFF, 0x7F]),
        ] {
            let mut out = Vec::new();
            write(value as usize, &mut out);
            assert_eq!(out, bytes);
            assert_eq!(len(value as usize), bytes.len());
            assert_eq!(read(bytes), Ok(Some((value, bytes.len()))));
            assert_eq!(read(bytes.split_last().unwrap().1), Ok(None));
        }
    }

    #[test]
    fn longer_forms_are_malformed() {
        for bytes in [&[0x80, 0x00][..], &[0xFF, 0x80, 0x00], &[0xFF, 0xFF, 0xFF, 0xFF, 0x01]] {
            assert_eq!(read(bytes), Err(Malformed::VariableByteInteger));
        }
        assert_eq!(read(&[0xFF, 0xFF, 0xFF, 0x80]), Err(Malformed::VariableByteInteger));
    }
}
