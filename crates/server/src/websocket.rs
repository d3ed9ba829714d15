//! MQTT over WebSocket: frames off what arrives, a frame around what leaves [MQTT-6.0.0-1..4].
//!
//! Data frames are a stream of bytes, however packets are cut into them; nothing is kept of a frame
//! but its header. Text frames and everything that RFC 6455 forbids end the connection with the
//! Close code it names. A Ping is answered, a Close is answered and ends the connection.

use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

/// Bytes of the payload of a control frame.
const CONTROL_BYTES_MAX: usize = 125;
/// Bytes of the longest frame header from a client.
const HEADER_BYTES_MAX: usize = 14;
/// Bytes of answers to control frames above which the client is one that floods.
const ANSWERS_BYTES_MAX: usize = 64 << 10;

/// The frame whose payload is arriving.
#[derive(Debug)]
struct Current {
    mask: [u8; 4],
    /// How much of the mask's four bytes is used.
    turn: usize,
    left: u64,
    /// A control frame, which is kept until it is whole.
    control: Option<Control>,
}

/// How the framing ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ended {
    /// The client sent a Close frame.
    ByClient,
    /// The client broke a rule; this is the code it was told.
    Broken(u16),
}

/// One connection's framing.
#[derive(Debug, Default)]
pub(crate) struct WebSocket {
    /// The beginning of a frame header, or the payload of a control frame so far.
    held: Vec<u8>,
    current: Option<Current>,
    /// A message was begun and goes on in continuation frames.
    in_message: bool,
    ended: Option<Ended>,
    is_close_sent: bool,
}

impl WebSocket {
    /// Whether, and how, the framing has ended.
    pub(crate) fn ended(&self) -> Option<Ended> {
        self.ended
    }

    /// Whether a Close frame was sent: nothing may follow it.
    pub(crate) fn is_close_sent(&self) -> bool {
        self.is_close_sent
    }

    /// Takes the frames off `bytes` in place; their payload is then at its front. Answers to
    /// control frames go to `answers`. Returns how many bytes of payload there are.
    pub(crate) fn take_frames(&mut self, bytes: &mut [u8], answers: &mut Vec<u8>) -> usize {
        let (mut read, mut written) = (0, 0);
        while read < bytes.len() && self.ended.is_none() {
            let Some(current) = &mut self.current else {
                read += self.take_header(bytes.get(read..).unwrap_or_default(), answers);
                continue;
            };
            let left = usize::try_from(current.left).unwrap_or(usize::MAX);
            let end = bytes.len().min(read.saturating_add(left));
            let Some(payload) = bytes.get_mut(read..end) else { break };
            unmask(payload, current.mask, &mut current.turn);
            current.left -= (end - read) as u64;
            let is_whole = current.left == 0;
            if current.control.is_some() {
                self.held.extend_from_slice(payload);
            } else {
                bytes.copy_within(read..end, written);
                written += end - read;
            }
            read = end;
            if is_whole {
                self.end_frame(answers);
            }
        }
        if answers.len() > ANSWERS_BYTES_MAX && self.ended.is_none() {
            self.fail(CloseCode::Policy, answers);
        }
        written
    }

    /// Takes bytes of a header; returns how many.
    fn take_header(&mut self, bytes: &[u8], answers: &mut Vec<u8>) -> usize {
        let before = self.held.len();
        let wanted = bytes.len().min(HEADER_BYTES_MAX - before.min(HEADER_BYTES_MAX));
        self.held.extend_from_slice(bytes.get(..wanted).unwrap_or_default());
        let mut cursor = Cursor::new(&self.held);
        match FrameHeader::parse(&mut cursor) {
            Ok(None) => wanted,
            Ok(Some((header, len))) => {
                let used = cursor.position() as usize - before;
                let header_len = cursor.position() as usize;
                self.held.clear();
                match self.begin_frame(&header, len, header_len) {
                    Ok(current) => {
                        self.current = Some(current);
                        if len == 0 {
                            self.end_frame(answers);
                        }
                    }
                    Err(code) => self.fail(code, answers),
                }
                used
            }
            Err(_) => {
                self.fail(CloseCode::Protocol, answers);
                wanted
            }
        }
    }

    fn begin_frame(
        &mut self,
        header: &FrameHeader,
        len: u64,
        header_len: usize,
    ) -> Result<Current, CloseCode> {
        let Some(mask) = header.mask else { return Err(CloseCode::Protocol) };
        let is_shortest = header.len(len) == header_len;
        if header.rsv1 || header.rsv2 || header.rsv3 || !is_shortest || len >> 63 != 0 {
            return Err(CloseCode::Protocol);
        }
        let control = match header.opcode {
            OpCode::Data(Data::Binary) if !self.in_message => None,
            OpCode::Data(Data::Continue) if self.in_message => None,
            // [MQTT-6.0.0-1]
            OpCode::Data(Data::Text) => return Err(CloseCode::Unsupported),
            OpCode::Control(control) if header.is_final && len <= CONTROL_BYTES_MAX as u64 => {
                Some(control)
            }
            OpCode::Data(_) | OpCode::Control(_) => return Err(CloseCode::Protocol),
        };
        if control.is_none() {
            self.in_message = !header.is_final;
        }
        Ok(Current { mask, turn: 0, left: len, control })
    }

    fn end_frame(&mut self, answers: &mut Vec<u8>) {
        let Some(current) = self.current.take() else { return };
        match current.control {
            Some(Control::Ping) => put_frame(OpCode::Control(Control::Pong), &self.held, answers),
            Some(Control::Close) => {
                let is_code = close_code(&self.held);
                if is_code {
                    let code = self.held.get(..2).unwrap_or_default().to_vec();
                    self.put_close(&code, answers);
                    self.ended = Some(Ended::ByClient);
                } else {
                    self.fail(CloseCode::Protocol, answers);
                }
            }
            Some(Control::Pong | Control::Reserved(_)) | None => {}
        }
        self.held.clear();
    }

    fn fail(&mut self, code: CloseCode, answers: &mut Vec<u8>) {
        let code = u16::from(code);
        self.put_close(&code.to_be_bytes(), answers);
        self.ended = Some(Ended::Broken(code));
    }

    fn put_close(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        if !self.is_close_sent {
            self.is_close_sent = true;
            put_frame(OpCode::Control(Control::Close), payload, out);
        }
    }

    /// Says that the connection ends; nothing follows.
    pub(crate) fn close(&mut self, out: &mut Vec<u8>) {
        let code = u16::from(CloseCode::Normal);
        self.put_close(&code.to_be_bytes(), out);
    }
}

/// Appends the header of a binary frame with `len` bytes of payload.
pub(crate) fn put_binary_header(len: usize, out: &mut Vec<u8>) {
    put_header(OpCode::Data(Data::Binary), len, out);
}

fn put_header(opcode: OpCode, len: usize, out: &mut Vec<u8>) {
    let header = FrameHeader { opcode, ..FrameHeader::default() };
    // Writing to a vector does not fail.
    if let Err(error) = header.format(len as u64, out) {
        tracing::error!(%error, "cannot write a frame header");
    }
}

fn put_frame(opcode: OpCode, payload: &[u8], out: &mut Vec<u8>) {
    put_header(opcode, payload.len(), out);
    out.extend_from_slice(payload);
}

/// Whether the payload of a Close frame is empty, or a code that may be sent and UTF-8.
fn close_code(payload: &[u8]) -> bool {
    match payload {
        [] => true,
        [high, low, reason @ ..] => {
            let code = CloseCode::from(u16::from_be_bytes([*high, *low]));
            code.is_allowed() && str::from_utf8(reason).is_ok()
        }
        [_] => false,
    }
}

fn unmask(payload: &mut [u8], mask: [u8; 4], turn: &mut usize) {
    let mut mask = mask;
    mask.rotate_left(*turn % 4);
    *turn = (*turn + payload.len()) % 4;
    let whole = u64::from_ne_bytes([
        mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3],
    ]);
    let mut words = payload.chunks_exact_mut(8);
    for word in &mut words {
        let value = word.try_into().map_or(0, u64::from_ne_bytes) ^ whole;
        word.copy_from_slice(&value.to_ne_bytes());
    }
    for (byte, mask) in words.into_remainder().iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASK: [u8; 4] = [7, 1, 0xFF, 0x80];

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first];
        match payload.len() {
            len @ 0..126 => bytes.push(0x80 | len as u8),
            len => {
                bytes.push(0x80 | 0x7E);
                bytes.extend((len as u16).to_be_bytes());
            }
        }
        bytes.extend(MASK);
        bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        bytes
    }

    /// What comes of `bytes` that arrive `step` at a time.
    fn take(bytes: &[u8], step: usize) -> (Vec<u8>, Vec<u8>, Option<Ended>) {
        let mut socket = WebSocket::default();
        let (mut payload, mut answers) = (vec![], vec![]);
        for chunk in bytes.chunks(step) {
            let mut chunk = chunk.to_vec();
            let len = socket.take_frames(&mut chunk, &mut answers);
            payload.extend_from_slice(&chunk[..len]);
        }
        (payload, answers, socket.ended())
    }

    /// [MQTT-6.0.0-2] [MQTT3-6.0.0-2]: packets and frames need not coincide.
    #[test]
    fn frames_are_a_stream_however_they_are_cut() {
        let long: Vec<u8> = (0..300_u16).map(|byte| byte as u8).collect();
        let parts = [
            frame(0x82, b"one"),
            frame(0x02, b"tw"),
            frame(0x89, b"ping"),
            frame(0x80, b"o"),
            frame(0x82, b""),
            frame(0x82, &long),
            frame(0x8A, b""),
        ];
        let bytes = parts.concat();
        let mut expected = b"onetwo".to_vec();
        expected.extend_from_slice(&long);
        for step in [1, 2, 3, 5, 7, 13, 64, 1000] {
            let (payload, answers, ended) = take(&bytes, step);
            assert_eq!((payload, ended), (expected.clone(), None), "{step}");
            assert_eq!(answers, b"\x8A\x04ping");
        }
    }

    #[test]
    fn a_close_is_answered_and_ends_the_stream() {
        let bytes = [frame(0x88, &[0x03, 0xE8, b'b']), frame(0x82, b"late")].concat();
        let (payload, answers, ended) = take(&bytes, 1000);
        assert_eq!((payload, answers), (vec![], vec![0x88, 2, 0x03, 0xE8]));
        assert_eq!(ended, Some(Ended::ByClient));
        assert_eq!(take(&frame(0x88, b""), 1).1, [0x88, 0]);
    }

    /// [MQTT-6.0.0-1] [MQTT3-6.0.0-1]: a data frame that is not binary, among others.
    #[test]
    fn what_is_forbidden_ends_with_its_code() {
        let mut unmasked = vec![0x82, 1, b'x'];
        unmasked.extend(frame(0x82, b"x"));
        let long_length = [vec![0x82, 0x80 | 0x7E, 0, 1], MASK.to_vec(), vec![0]].concat();
        for (bytes, code) in [
            (frame(0x81, b"text"), 1003),
            (unmasked, 1002),
            (frame(0xC2, b"rsv"), 1002),
            (frame(0x83, b"reserved"), 1002),
            (frame(0x8B, b"reserved"), 1002),
            (frame(0x09, b"fragment"), 1002),
            (frame(0x89, &[0; 126]), 1002),
            (frame(0x80, b"nothing begun"), 1002),
            ([frame(0x02, b"begun"), frame(0x82, b"begun again")].concat(), 1002),
            (frame(0x88, &[3]), 1002),
            (frame(0x88, &[0x03, 0xED]), 1002),
            (long_length, 1002),
        ] {
            let (_, answers, ended) = take(&bytes, 1000);
            assert_eq!(ended, Some(Ended::Broken(code)), "{bytes:x?}");
            let code = code.to_be_bytes();
            assert_eq!(answers, [0x88, 2, code[0], code[1]], "{bytes:x?}");
        }
    }

    #[test]
    fn a_flood_of_pings_ends() {
        let flood = frame(0x89, &[0; 125]).repeat(600);
        assert_eq!(take(&flood, flood.len()).2, Some(Ended::Broken(1008)));
    }
}
