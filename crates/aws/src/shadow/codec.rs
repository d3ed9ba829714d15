//! The durable form of a shadow: compact, and led by the number of its format.
//!
//! Lengths, counts, versions and times are variable-length integers, seven bits a byte, low ones
//! first. A leaf's time is how much older it is than the document's newest one. Reading takes any
//! bytes and gives a shadow or an error.

use thiserror::Error;

use super::document::{Document, Life, Shadow};
use super::json::{Json, Members, NESTING_MAX, Number};
use super::section::{Node, Section};

/// The format that is written.
const FORMAT: u8 = 1;

/// The highest version that is read. No shadow gets there by updates.
const VERSION_MAX: u64 = 1 << 53;

/// Why bytes give no shadow.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum DecodeError {
    /// Written by a later release.
    #[error("shadow of format {0}, which this release does not read")]
    UnknownFormat(u8),
    /// Cut off or altered.
    #[error("bytes that are no shadow")]
    Damaged,
}

use DecodeError::Damaged;

/// What stands in front of a value.
mod tag {
    pub(super) const NULL: u8 = 0;
    pub(super) const FALSE: u8 = 1;
    pub(super) const TRUE: u8 = 2;
    pub(super) const NUMBER: u8 = 3;
    pub(super) const TEXT: u8 = 4;
    pub(super) const ARRAY: u8 = 5;
    pub(super) const OBJECT: u8 = 6;
}

/// Which [`Life`] it is.
mod life {
    pub(super) const NONE: u8 = 0;
    pub(super) const LIVE: u8 = 1;
    pub(super) const DELETED: u8 = 2;
}

impl Shadow {
    /// Its durable form.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        match &self.0 {
            Life::None => out.push(life::NONE),
            Life::Live(document) => {
                let newest = newest(&document.desired).max(newest(&document.reported));
                out.push(life::LIVE);
                write_integer(document.version, &mut out);
                write_integer(newest, &mut out);
                write_section(&document.desired, newest, &mut out);
                write_section(&document.reported, newest, &mut out);
            }
            Life::Deleted { version, at } => {
                out.push(life::DELETED);
                write_integer(*version, &mut out);
                write_integer(*at, &mut out);
            }
        }
        out
    }

    /// Reads a durable form.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader(bytes);
        match reader.byte()? {
            FORMAT => {}
            format => return Err(DecodeError::UnknownFormat(format)),
        }
        let life = match reader.byte()? {
            life::NONE => Life::None,
            life::LIVE => {
                let version = reader.version()?;
                let newest = reader.integer()?;
                let desired = reader.section(newest, NESTING_MAX)?;
                let reported = reader.section(newest, NESTING_MAX)?;
                Life::Live(Document { version, desired, reported })
            }
            life::DELETED => Life::Deleted { version: reader.version()?, at: reader.integer()? },
            _ => return Err(Damaged),
        };
        if reader.0.is_empty() { Ok(Self(life)) } else { Err(Damaged) }
    }
}

/// The time of the newest leaf; 0 without any.
fn newest(section: &Section) -> u64 {
    let times = section.iter().map(|(_, node)| match node {
        Node::Leaf { timestamp, .. } => *timestamp,
        Node::Object(section) => newest(section),
    });
    times.max().unwrap_or_default()
}

fn write_integer(mut value: u64, out: &mut Vec<u8>) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    write_integer(text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

fn write_section(section: &Section, newest: u64, out: &mut Vec<u8>) {
    write_integer(section.len() as u64, out);
    for (name, node) in section.iter() {
        write_text(name, out);
        match node {
            Node::Leaf { value, timestamp } => {
                write_value(value, out);
                write_integer(newest - timestamp, out);
            }
            Node::Object(section) => {
                out.push(tag::OBJECT);
                write_section(section, newest, out);
            }
        }
    }
}

fn write_value(value: &Json, out: &mut Vec<u8>) {
    match value {
        Json::Null => out.push(tag::NULL),
        Json::Bool(false) => out.push(tag::FALSE),
        Json::Bool(true) => out.push(tag::TRUE),
        Json::Number(number) => {
            out.push(tag::NUMBER);
            write_text(number.text(), out);
        }
        Json::Text(text) => {
            out.push(tag::TEXT);
            write_text(text, out);
        }
        Json::Array(items) => {
            out.push(tag::ARRAY);
            write_integer(items.len() as u64, out);
            for item in items {
                write_value(item, out);
            }
        }
        Json::Object(members) => {
            out.push(tag::OBJECT);
            write_integer(members.len() as u64, out);
            for (name, value) in members.iter() {
                write_text(name, out);
                write_value(value, out);
            }
        }
    }
}

/// What is still to be read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8, DecodeError> {
        let (&byte, rest) = self.0.split_first().ok_or(Damaged)?;
        self.0 = rest;
        Ok(byte)
    }

    fn integer(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(Damaged);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Damaged)
    }

    fn version(&mut self) -> Result<u64, DecodeError> {
        self.integer()
            .and_then(|it| if (1..=VERSION_MAX).contains(&it) { Ok(it) } else { Err(Damaged) })
    }

    fn text(&mut self) -> Result<&'a str, DecodeError> {
        let length = usize::try_from(self.integer()?).map_err(|_| Damaged)?;
        let (text, rest) = self.0.split_at_checked(length).ok_or(Damaged)?;
        self.0 = rest;
        str::from_utf8(text).map_err(|_| Damaged)
    }

    /// A counted list of what `item` reads. Nothing is reserved for a count that is only claimed.
    fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let count = self.integer()?;
        (0..count).map(|_| item(self)).collect()
    }

    /// Members whose values `value` reads.
    fn members<T>(
        &mut self,
        mut value: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Members<T>, DecodeError> {
        let members = self.list(|reader| Ok((reader.text()?.into(), value(reader)?)))?;
        Members::new(members).ok_or(Damaged)
    }

    /// `depth` is how many levels may follow.
    fn section(&mut self, newest: u64, depth: usize) -> Result<Section, DecodeError> {
        let depth = depth.checked_sub(1).ok_or(Damaged)?;
        self.members(|reader| match reader.byte()? {
            tag::OBJECT => reader.section(newest, depth).map(Node::Object),
            tag => {
                let value = reader.value(tag, depth)?;
                let timestamp = newest.checked_sub(reader.integer()?).ok_or(Damaged)?;
                Ok(Node::Leaf { value, timestamp })
            }
        })
    }

    fn value(&mut self, tag: u8, depth: usize) -> Result<Json, DecodeError> {
        let inner = depth.checked_sub(1);
        match tag {
            tag::NULL => Ok(Json::Null),
            tag::FALSE => Ok(Json::Bool(false)),
            tag::TRUE => Ok(Json::Bool(true)),
            tag::NUMBER => Number::new(self.text()?).map(Json::Number).ok_or(Damaged),
            tag::TEXT => Ok(Json::Text(self.text()?.into())),
            tag::ARRAY => {
                let inner = inner.ok_or(Damaged)?;
                self.list(|reader| reader.tagged_value(inner)).map(Json::Array)
            }
            tag::OBJECT => {
                let inner = inner.ok_or(Damaged)?;
                self.members(|reader| reader.tagged_value(inner)).map(Json::Object)
            }
            _ => Err(Damaged),
        }
    }

    fn tagged_value(&mut self, depth: usize) -> Result<Json, DecodeError> {
        let tag = self.byte()?;
        self.value(tag, depth)
    }
}

#[cfg(test)]
mod tests {
    use super::super::ShadowLimits;
    use super::*;

    fn shadow() -> Shadow {
        let mut shadow = Shadow::default();
        let limits = ShadowLimits::default();
        let older = br#"{"state":{"reported":{"a":{"b":{"c":{"d":{"e":[true,{}]}}}}}}}"#;
        shadow.update(older, 1_000, &limits).unwrap();
        let newer = br#"{"state":{"desired":{"n":-1.50e3,"t":"\u00fc","o":{}}}}"#;
        shadow.update(newer, 2_000, &limits).unwrap();
        shadow
    }

    /// Format 1, byte by byte: what is on a disk is read by every later release.
    #[test]
    fn format_1_is_fixed() {
        let mut expected = vec![1, 1, 2, 0xd0, 0x0f, 3];
        expected.extend(b"\x01n\x03\x07-1.50e3\x00");
        expected.extend("\x01t\x04\x02ü\x00\x01o\x06\x00".as_bytes());
        expected.extend(b"\x01\x01a\x06\x01\x01b\x06\x01\x01c\x06\x01\x01d\x06");
        expected.extend(b"\x01\x01e\x05\x02\x02\x06\x00\xe8\x07");
        assert_eq!(shadow().encode(), expected);
        assert_eq!(Shadow::decode(&expected), Ok(shadow()));
        let mut deleted = shadow();
        deleted.delete(b"", 300, &ShadowLimits::default()).unwrap();
        assert_eq!(deleted.encode(), [1, 2, 3, 0xac, 0x02]);
        assert_eq!(Shadow::decode(&[1, 2, 3, 0xac, 0x02]), Ok(deleted));
        assert_eq!(Shadow::default().encode(), [1, 0]);
        assert_eq!(Shadow::decode(&[1, 0]), Ok(Shadow::default()));
    }

    #[test]
    fn a_cut_or_longer_form_is_damaged() {
        let bytes = shadow().encode();
        for length in 0..bytes.len() {
            assert_eq!(Shadow::decode(&bytes[..length]), Err(Damaged), "{length}");
        }
        assert_eq!(Shadow::decode(&[&bytes[..], &[0]].concat()), Err(Damaged));
    }

    #[test]
    fn a_later_format_is_named() {
        let error = DecodeError::UnknownFormat(2);
        assert_eq!(Shadow::decode(&[2, 0]), Err(error));
        assert_eq!(error.to_string(), "shadow of format 2, which this release does not read");
    }

    #[test]
    fn what_no_shadow_can_be_is_damaged() {
        for bytes in [
            &[1, 3][..],
            // Version 0, and one beyond any.
            &[1, 2, 0, 0],
            &[1, 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0],
            // An integer of more than 64 bits.
            &[1, 2, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
            // More members than there are bytes.
            &[1, 1, 1, 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 0],
            // A name twice, a number that is none, a text that is not UTF-8, an unknown tag.
            b"\x01\x01\x01\x00\x02\x01a\x01\x00\x01a\x01\x00\x00",
            b"\x01\x01\x01\x00\x01\x01a\x03\x03NaN\x00\x00",
            b"\x01\x01\x01\x00\x01\x01a\x04\x01\xff\x00\x00",
            b"\x01\x01\x01\x00\x01\x01a\x07\x00\x00",
            // A leaf that is older than time.
            b"\x01\x01\x01\x00\x01\x01a\x01\x01\x00",
        ] {
            assert_eq!(Shadow::decode(bytes), Err(Damaged), "{bytes:?}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |levels: usize, element: &[u8]| {
            let mut bytes = vec![1, 1, 1, 0];
            bytes.extend(element.repeat(levels));
            Shadow::decode(&bytes)
        };
        assert_eq!(nested(1_000_000, b"\x01\x01a\x06"), Err(Damaged));
        assert_eq!(nested(1_000_000, b"\x01\x01a\x05\x01"), Err(Damaged));
    }
}
