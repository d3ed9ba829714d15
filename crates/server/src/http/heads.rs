//! Where requests begin and end in what a client sends, and what their heads say of it.
//!
//! hyper parses; this counts what hyper does not tell: lines that say how long a body is. It reads
//! no further than it knows to be right, and a head that it did not find is one in doubt.

/// Bytes of a line that are looked at. No `Content-Length` that means something is longer.
const LINE_BYTES: usize = 128;

/// How the length of a request's body is told.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Lengths {
    /// Lines that say `Content-Length`.
    pub(super) content_lengths: u32,
    /// A line says `Transfer-Encoding`.
    pub(super) is_encoded: bool,
    /// A line cannot be read.
    is_odd: bool,
}

impl Lengths {
    /// A head that was not found.
    pub(super) const UNKNOWN: Self = Self { content_lengths: 0, is_encoded: false, is_odd: true };

    /// The body's end could be read in two ways.
    pub(super) fn are_in_doubt(self) -> bool {
        self.is_odd || self.content_lengths > 1 || (self.content_lengths > 0 && self.is_encoded)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Heads {
    place: Place,
    line: Vec<u8>,
    /// The line is longer than what is kept of it.
    is_cut: bool,
    /// A line of this head came.
    is_begun: bool,
    lengths: Lengths,
    body_bytes: u64,
}

#[derive(Clone, Copy, Debug, Default)]
enum Place {
    #[default]
    Head,
    /// So many bytes are left.
    Body(u64),
    /// Nothing that follows is looked at.
    Rest,
}

impl Heads {
    /// Goes on with what came; tells `found` of every head that ends in it.
    pub(super) fn scan(&mut self, mut bytes: &[u8], mut found: impl FnMut(Lengths)) {
        while let Some((byte, rest)) = bytes.split_first() {
            match &mut self.place {
                Place::Rest => return,
                Place::Body(left) => {
                    let taken = (*left).min(bytes.len() as u64);
                    *left -= taken;
                    if *left == 0 {
                        self.place = Place::Head;
                    }
                    bytes = bytes.get(taken as usize..).unwrap_or_default();
                }
                Place::Head => {
                    bytes = rest;
                    if *byte != b'\n' {
                        self.is_cut |= self.line.len() == LINE_BYTES;
                        if !self.is_cut {
                            self.line.push(*byte);
                        }
                    } else if let Some(lengths) = self.end_line() {
                        found(lengths);
                    }
                }
            }
        }
    }

    /// What the head says, where this line ends it.
    fn end_line(&mut self) -> Option<Lengths> {
        let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        let is_empty = line.is_empty() && !self.is_cut;
        if !is_empty && let Some(colon) = line.iter().position(|byte| *byte == b':') {
            let (name, value) = line.split_at(colon);
            if name.eq_ignore_ascii_case(b"transfer-encoding") {
                self.lengths.is_encoded = true;
            } else if name.eq_ignore_ascii_case(b"content-length") {
                self.lengths.content_lengths += 1;
                let value = std::str::from_utf8(value.get(1..).unwrap_or_default());
                let value = value.ok().and_then(|digits| digits.trim().parse().ok());
                self.lengths.is_odd |= value.is_none() || self.is_cut;
                self.body_bytes = value.unwrap_or_default();
            }
        }
        self.line.clear();
        self.is_cut = false;
        // Empty lines may stand before a request.
        let ends = is_empty && self.is_begun;
        self.is_begun |= !is_empty;
        ends.then(|| self.end_head())
    }

    fn end_head(&mut self) -> Lengths {
        let lengths = std::mem::take(&mut self.lengths);
        let body_bytes = std::mem::take(&mut self.body_bytes);
        self.is_begun = false;
        // A connection ends behind a request that is encoded or in doubt.
        self.place = match body_bytes {
            _ if lengths.is_encoded || lengths.are_in_doubt() => Place::Rest,
            0 => Place::Head,
            left => Place::Body(left),
        };
        lengths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every head in a text, in pieces of each size.
    fn found(text: &str) -> Vec<Lengths> {
        let mut all = Vec::new();
        for size in 1..=text.len() {
            let (mut heads, mut found) = (Heads::default(), Vec::new());
            for piece in text.as_bytes().chunks(size) {
                heads.scan(piece, |lengths| found.push(lengths));
            }
            assert!(all.is_empty() || all == found, "in pieces of {size}: {found:?}");
            all = found;
        }
        all
    }

    fn plain(content_lengths: u32) -> Lengths {
        Lengths { content_lengths, ..Lengths::default() }
    }

    #[test]
    fn requests_follow_each_other_behind_their_bodies() {
        let post =
            "POST /a HTTP/1.1\r\nHost: x\r\ncontent-Length: 19 \r\n\r\nb\nContent-Length: 5\n";
        let get = "\r\nGET /a HTTP/1.1\r\nHost: x\r\n\r\n";
        assert_eq!(
            found(&[post, post, get, post].concat()),
            [plain(1), plain(1), plain(0), plain(1)]
        );
    }

    #[test]
    fn two_ways_to_read_a_length_are_seen() {
        for lines in [
            "Content-Length: 3\r\ncontent-length: 3",
            "Transfer-Encoding: chunked\r\nContent-Length: 3",
            "Content-Length: 3\nTransfer-Encoding: identity",
            "Content-Length: three",
            "Content-Length:",
            &format!("Content-Length: {}3", " ".repeat(200)),
        ] {
            let text = format!("POST / HTTP/1.1\r\n{lines}\r\n\r\nGET / HTTP/1.1\r\n\r\n");
            let found = found(&text);
            assert!(found.len() == 1 && found[0].are_in_doubt(), "{lines}: {found:?}");
        }
    }

    #[test]
    fn nothing_is_looked_at_behind_a_body_of_chunks() {
        let text = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n";
        let found = found(text);
        assert_eq!(found, [Lengths { is_encoded: true, ..Lengths::default() }]);
        assert!(!found[0].are_in_doubt());
        assert!(Lengths::UNKNOWN.are_in_doubt());
    }
}
