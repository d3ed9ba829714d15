//! The bytes of a segment: a header, then frames until its end.
//!
//! A frame is what was written and synced at once. It carries its length, its number, and a CRC32C
//! over all of it, so that a reader knows a good one wherever it meets it. A segment is known by
//! its own header, which is on stable storage before the segment has its name.
//!
//! Behind the last frame of the last segment stands [`END`], and behind that may be anything: the
//! file may have been another segment. A frame of that one has a lower number.

/// Version of this layout.
pub const FORMAT: u16 = 1;
/// Bytes of a segment's header.
pub const HEADER_BYTES: usize = 64;
/// Bytes of a frame's header.
pub const FRAME_BYTES: usize = 24;

/// Stands behind the last frame.
pub const END: [u8; FRAME_BYTES] = [0; FRAME_BYTES];

const SEGMENT_MAGIC: [u8; 8] = *b"BITTSJNL";
const FRAME_MAGIC: [u8; 4] = *b"Bfrm";
/// Everything before the frame was on stable storage when the frame was written.
const AFTER_SYNC: u32 = 1;

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// Names the data directory; all its segments have it.
    pub identity: u128,
    /// The number of its first frame.
    pub first: u64,
    /// Shards of the process that wrote it.
    pub shards: u8,
}

/// Why a header is none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BadHeader {
    /// These bytes are not a segment's header.
    Damaged,
    /// A version of the layout that this one does not read.
    Format(u16),
}

impl Header {
    /// The header as bytes.
    #[must_use]
    pub fn bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&SEGMENT_MAGIC);
        bytes[8..10].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[10] = self.shards;
        bytes[16..32].copy_from_slice(&self.identity.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.first.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a header.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadHeader> {
        let bytes = bytes.get(..HEADER_BYTES).ok_or(BadHeader::Damaged)?;
        let (covered, crc) = bytes.split_at(60);
        let is_whole = number(crc) == u64::from(crc32c::crc32c(covered));
        if covered.get(..8) != Some(&SEGMENT_MAGIC) || !is_whole {
            return Err(BadHeader::Damaged);
        }
        let format = number(&covered[8..10]) as u16;
        if format != FORMAT {
            return Err(BadHeader::Format(format));
        }
        let identity =
            u128::from(number(&covered[16..24])) | u128::from(number(&covered[24..32])) << 64;
        Ok(Self { identity, first: number(&covered[32..40]), shards: covered[10] })
    }
}

/// A good frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Frame<'a> {
    /// Its number; they rise by one.
    pub number: u64,
    /// Everything before it was on stable storage when it was written.
    pub after_sync: bool,
    /// What it carries.
    pub body: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads the frame that these bytes begin with.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (head, rest) = bytes.split_at_checked(FRAME_BYTES)?;
        let (magic, head) = head.split_at(4);
        let len = usize::try_from(number(&head[4..8])).ok()?;
        let body = rest.get(..len)?;
        if magic != FRAME_MAGIC || number(&head[16..20]) != u64::from(crc_of(&head[..16], body)) {
            return None;
        }
        let flags = number(&head[..4]) as u32;
        Some(Self { number: number(&head[8..16]), after_sync: flags & AFTER_SYNC != 0, body })
    }

    /// Bytes of the whole frame.
    #[must_use]
    pub fn len(&self) -> usize {
        FRAME_BYTES + self.body.len()
    }

    /// Whether it carries nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.body.is_empty()
    }
}

/// The number of a frame and the bytes of all of it, as its header says; nothing is known of what
/// is in it.
#[must_use]
pub fn head_of(header: &[u8]) -> Option<(u64, u32)> {
    let header = header.get(..FRAME_BYTES).filter(|header| header.starts_with(&FRAME_MAGIC))?;
    let len = (number(&header[8..12]) as u32).checked_add(FRAME_BYTES as u32)?;
    Some((number(&header[12..20]), len))
}

/// Makes a frame of bytes that begin with [`FRAME_BYTES`] of room for its header.
pub fn seal(bytes: &mut [u8], frame_number: u64, after_sync: bool) {
    let Some((head, body)) = bytes.split_at_mut_checked(FRAME_BYTES) else { return };
    head[..4].copy_from_slice(&FRAME_MAGIC);
    head[4..8].copy_from_slice(&u32::from(after_sync).to_le_bytes());
    head[8..12].copy_from_slice(&(body.len() as u32).to_le_bytes());
    head[12..20].copy_from_slice(&frame_number.to_le_bytes());
    let crc = crc_of(&head[4..20], body);
    head[20..24].copy_from_slice(&crc.to_le_bytes());
}

fn crc_of(head: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(head), body)
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Whether the last segment ends before these bytes as it should.
#[must_use]
pub fn is_end(bytes: &[u8]) -> bool {
    bytes.iter().take(END.len()).all(|byte| *byte == 0)
}

/// Bytes of a write that was torn, as far as can be told: up to the last that is not zero.
#[must_use]
pub fn torn_bytes(bytes: &[u8]) -> u64 {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1)
}

/// The next good frame from a number on that may stand anywhere, and where; others are left over
/// from an earlier segment.
#[must_use]
pub fn next_frame(bytes: &[u8], from: u64) -> Option<(usize, Frame<'_>)> {
    frames(bytes).find(|(_, frame)| frame.number >= from)
}

/// Whether any good frame behind a damaged place shows that what is damaged had been on stable
/// storage; it would have had this number.
#[must_use]
pub fn proves_synced(bytes: &[u8], number: u64) -> bool {
    frames(bytes).any(|(_, frame)| frame.number >= number && frame.after_sync)
}

/// Every good frame, wherever it begins.
fn frames(bytes: &[u8]) -> impl Iterator<Item = (usize, Frame<'_>)> {
    let mut from = 0;
    std::iter::from_fn(move || {
        loop {
            let rest = bytes.get(from..)?;
            let at = from + rest.windows(4).position(|four| four == FRAME_MAGIC)?;
            from = at + 1;
            if let Some(frame) = bytes.get(at..).and_then(Frame::parse) {
                return Some((at, frame));
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; FRAME_BYTES];
        bytes.extend_from_slice(body);
        seal(&mut bytes, 7, true);
        bytes
    }

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        let bytes = frame(b"hello");
        let read = Frame::parse(&bytes).unwrap();
        assert_eq!((read.number, read.after_sync, read.body), (7, true, &b"hello"[..]));
        assert_eq!(read.len(), bytes.len());
    }

    #[test]
    fn no_single_bit_of_a_frame_or_header_may_change() {
        let header = Header { identity: 3, first: 9, shards: 2 };
        assert_eq!(Header::parse(&header.bytes()), Ok(header));
        let (frame, header) = (frame(b"hello"), header.bytes().to_vec());
        for bit in 0..frame.len() * 8 {
            let mut bytes = frame.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Frame::parse(&bytes), None, "bit {bit}");
        }
        for bit in 0..header.len() * 8 {
            let mut bytes = header.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::parse(&bytes).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_frame_behind_damage_is_found() {
        let mut bytes = b"Bfrm and other garbage".to_vec();
        assert!(!proves_synced(&bytes, 7));
        bytes.extend(frame(b"hello"));
        assert!(proves_synced(&bytes, 7) && !proves_synced(&bytes, 8));
        assert_eq!(
            next_frame(&bytes, 7).map(|(at, frame)| (at, frame.body)),
            Some((22, &b"hello"[..]))
        );
        assert_eq!(next_frame(&bytes, 8), None);
    }
}
