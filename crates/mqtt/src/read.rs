//! Reading fields from the front of a slice; every read is checked.

use crate::error::Malformed;
use crate::varint;

/// What is left of a packet's body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Everything that is left.
    #[inline]
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    #[inline]
    pub(crate) fn byte(&mut self) -> Result<u8, Malformed> {
        let (byte, rest) = self.rest.split_first().ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(*byte)
    }

    #[inline]
    pub(crate) fn two(&mut self) -> Result<u16, Malformed> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(u16::from_be_bytes(*bytes))
    }

    #[inline]
    pub(crate) fn four(&mut self) -> Result<u32, Malformed> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(u32::from_be_bytes(*bytes))
    }

    pub(crate) fn variable(&mut self) -> Result<u32, Malformed> {
        let (value, used) = varint::read(self.rest)?.ok_or(Malformed::Truncated)?;
        self.bytes(used)?;
        Ok(value)
    }

    /// Binary Data.
    #[inline]
    pub(crate) fn binary(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.two()?;
        self.bytes(usize::from(len))
    }

    /// A UTF-8 Encoded String [MQTT-1.5.4-1..2].
    #[inline]
    pub(crate) fn text(&mut self) -> Result<&'a str, Malformed> {
        let bytes = self.binary()?;
        let text = std::str::from_utf8(bytes).map_err(|_| Malformed::Utf8)?;
        if text.as_bytes().contains(&0) {
            return Err(Malformed::Utf8);
        }
        Ok(text)
    }

    /// A string that names something of ours.
    #[inline]
    pub(crate) fn name(&mut self) -> Result<&'a str, Malformed> {
        let name = self.text()?;
        crate::topic::check_characters(name)?;
        Ok(name)
    }

    /// Refuses what is left.
    #[inline]
    pub(crate) const fn end(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed::TrailingBytes) }
    }
}
