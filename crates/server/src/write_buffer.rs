//! What a connection is still to be sent.
//!
//! Small packets are copied behind each other and leave in one write. A large one is shared by all
//! its receivers and leaves by a gathered write. An idle connection holds no buffer.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Write};

use bytes::Bytes;

/// From how many bytes on a packet is shared and not copied.
pub(crate) const SHARED_FROM: usize = 16 << 10;
/// Most pieces of one gathered write.
const GATHERED_MAX: usize = 32;
/// Buffers up to this capacity are used again.
const KEPT_MAX: usize = 64 << 10;

#[derive(Debug)]
enum Piece {
    Own(Vec<u8>),
    Shared(Bytes),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct WriteBuffer {
    front: Vec<u8>,
    /// How much of the first piece is written.
    written: usize,
    /// What follows `front`, where something large does.
    #[expect(clippy::box_collection, reason = "few connections ever have it, all pay its place")]
    rest: Option<Box<VecDeque<Piece>>>,
    /// Bytes in all pieces.
    bytes: usize,
}

/// Spare buffers of one thread.
#[derive(Debug, Default)]
pub(crate) struct Spares(Vec<Vec<u8>>);

impl Spares {
    fn take(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_default()
    }

    fn give(&mut self, mut buffer: Vec<u8>) {
        if (1..=KEPT_MAX).contains(&buffer.capacity()) && self.0.len() < 256 {
            buffer.clear();
            self.0.push(buffer);
        }
    }
}

impl WriteBuffer {
    /// Bytes that are not written.
    pub(crate) fn len(&self) -> usize {
        self.bytes - self.written
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Appends what `put` writes.
    pub(crate) fn append(&mut self, spares: &mut Spares, put: impl FnOnce(&mut Vec<u8>)) {
        let buffer = match &mut self.rest {
            None => {
                if self.front.capacity() == 0 {
                    self.front = spares.take();
                }
                &mut self.front
            }
            Some(rest) => {
                if !matches!(rest.back(), Some(Piece::Own(_))) {
                    rest.push_back(Piece::Own(spares.take()));
                }
                match rest.back_mut() {
                    Some(Piece::Own(own)) => own,
                    _ => return,
                }
            }
        };
        let before = buffer.len();
        put(buffer);
        self.bytes += buffer.len() - before;
    }

    /// Appends bytes that other connections are sent as well.
    pub(crate) fn append_shared(&mut self, bytes: Bytes) {
        self.bytes += bytes.len();
        self.rest.get_or_insert_default().push_back(Piece::Shared(bytes));
    }

    /// Writes as much as is taken; `true` where all of it was.
    pub(crate) fn write_to(
        &mut self,
        stream: &mut impl Write,
        spares: &mut Spares,
    ) -> io::Result<bool> {
        while !self.is_empty() {
            let written = match &self.rest {
                None => stream.write(self.front.get(self.written..).unwrap_or_default()),
                Some(rest) => {
                    let rest = rest.iter().map(Piece::bytes);
                    let pieces = std::iter::once(self.front.as_slice()).chain(rest);
                    let mut slices: Vec<IoSlice<'_>> = Vec::with_capacity(GATHERED_MAX);
                    let mut skip = self.written;
                    for piece in pieces.take(GATHERED_MAX) {
                        let slice = piece.get(skip.min(piece.len())..).unwrap_or_default();
                        skip = skip.saturating_sub(piece.len());
                        slices.push(IoSlice::new(slice));
                    }
                    stream.write_vectored(&slices)
                }
            };
            match written {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => self.advance(written, spares),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Hands the next bytes to `put`, at most `max`, and forgets them.
    pub(crate) fn take(&mut self, max: usize, spares: &mut Spares, mut put: impl FnMut(&[u8])) {
        let mut left = max;
        while left > 0 && !self.is_empty() {
            let pieces = self.rest.iter().flat_map(|rest| rest.iter().map(Piece::bytes));
            let mut skip = self.written;
            let next = std::iter::once(self.front.as_slice()).chain(pieces).find_map(|piece| {
                let rest = piece.get(skip.min(piece.len())..).unwrap_or_default();
                skip = skip.saturating_sub(piece.len());
                (!rest.is_empty()).then_some(rest)
            });
            let Some(next) = next else { return };
            let len = next.len().min(left);
            put(next.get(..len).unwrap_or_default());
            left -= len;
            self.advance(len, spares);
        }
    }

    /// Lets go of the pieces that are written.
    fn advance(&mut self, written: usize, spares: &mut Spares) {
        self.written += written;
        if self.written == self.bytes {
            spares.give(std::mem::take(&mut self.front));
            *self = Self::default();
            return;
        }
        let Some(rest) = &mut self.rest else { return };
        while self.written >= self.front.len() {
            let gone = self.front.len();
            let next = match rest.pop_front() {
                Some(Piece::Own(own)) => own,
                Some(Piece::Shared(shared)) if self.written - gone >= shared.len() => {
                    self.written -= gone + shared.len();
                    self.bytes -= gone + shared.len();
                    self.front.clear();
                    continue;
                }
                Some(shared) => {
                    rest.push_front(shared);
                    self.written -= gone;
                    self.bytes -= gone;
                    self.front.clear();
                    return;
                }
                None => return,
            };
            self.written -= gone;
            self.bytes -= gone;
            spares.give(std::mem::replace(&mut self.front, next));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a few bytes at a time.
    struct Slow(Vec<u8>, usize);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.1);
            self.0.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            let mut left = self.1;
            for slice in slices {
                let taken = slice.len().min(left);
                self.0.extend_from_slice(&slice[..taken]);
                left -= taken;
            }
            Ok(self.1 - left)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn bytes_leave_in_order_however_few_are_taken_at_a_time() {
        for step in 1..40 {
            let mut spares = Spares::default();
            let mut buffer = WriteBuffer::default();
            let mut expected = vec![];
            for round in 0..6_u8 {
                let small = vec![round; usize::from(round) + 1];
                buffer.append(&mut spares, |out| out.extend_from_slice(&small));
                expected.extend_from_slice(&small);
                if round % 2 == 1 {
                    let large = vec![0x80 | round; 17];
                    buffer.append_shared(Bytes::from(large.clone()));
                    expected.extend_from_slice(&large);
                }
                assert_eq!(buffer.len(), expected.len());
            }
            let mut stream = Slow(vec![], step);
            assert!(buffer.write_to(&mut stream, &mut spares).unwrap());
            assert_eq!(stream.0, expected);
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn bytes_are_taken_in_order_however_many_at_a_time() {
        for step in 1..40 {
            let mut spares = Spares::default();
            let mut buffer = WriteBuffer::default();
            buffer.append(&mut spares, |out| out.extend_from_slice(b"front"));
            buffer.append_shared(Bytes::from_static(b"a shared piece"));
            buffer.append_shared(Bytes::from_static(b"another"));
            buffer.append(&mut spares, |out| out.extend_from_slice(b"end"));
            let mut taken = vec![];
            while !buffer.is_empty() {
                let before = taken.len();
                buffer.take(step, &mut spares, |bytes| taken.extend_from_slice(bytes));
                assert!(taken.len() - before <= step);
            }
            assert_eq!(taken, b"fronta shared pieceanotherend");
        }
    }
}
