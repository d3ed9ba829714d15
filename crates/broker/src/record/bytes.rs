//! The few shapes that records are made of: numbers, texts, options.
//!
//! Numbers are in base 128, least part first, as in MQTT but up to 64 bits. Reading is total:
//! whatever the bytes, it ends with a value or [`BadRecord`], and allocates no more than is there.

use crate::slot::ShardId;

/// Bytes that are not records of this format.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BadRecord {
    /// How many bytes were left where reading stopped.
    pub left: usize,
}

pub(super) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// What is left to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    pub(super) bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn bad(self) -> BadRecord {
        BadRecord { left: self.bytes.len() }
    }

    pub(super) fn byte(&mut self) -> Result<u8, BadRecord> {
        let (first, rest) = self.bytes.split_first().ok_or_else(|| self.bad())?;
        self.bytes = rest;
        Ok(*first)
    }

    pub(super) fn number(&mut self) -> Result<u64, BadRecord> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7F);
            if shift == 63 && part > 1 {
                return Err(self.bad());
            }
            number |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(self.bad())
    }

    /// A number of a smaller type.
    pub(super) fn small<T: TryFrom<u64>>(&mut self) -> Result<T, BadRecord> {
        let number = self.number()?;
        T::try_from(number).map_err(|_| self.bad())
    }

    pub(super) fn shard(&mut self) -> Result<ShardId, BadRecord> {
        self.byte().map(ShardId)
    }

    /// Bytes of a known number.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], BadRecord> {
        let (first, rest) = self.bytes.split_first_chunk().ok_or_else(|| self.bad())?;
        self.bytes = rest;
        Ok(*first)
    }

    pub(super) fn take(&mut self) -> Result<&'a [u8], BadRecord> {
        let len: usize = self.small()?;
        let (taken, rest) = self.bytes.split_at_checked(len).ok_or_else(|| self.bad())?;
        self.bytes = rest;
        Ok(taken)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, BadRecord> {
        let bytes = self.take()?;
        std::str::from_utf8(bytes).map_err(|_| self.bad())
    }
}
