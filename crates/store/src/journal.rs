//! The journal: numbered frames in segments, in one directory.
//!
//! [`Opened::read`] reads what is there and decides; [`Opened::begin`] makes a journal that can be
//! appended to, in a segment of its own. A damaged end of the last segment is a write that was torn
//! and is cut off; damage with good frames behind it, or a segment that is missing, is refused.
//! Nothing on the disk changes before that is decided.

use std::io;
use std::sync::Arc;

use bitts_broker::record::{SavedOwed, decode_page};
use bitts_broker::{Now, Page, PageId};

use crate::disk::Disk;
use crate::error::{SYNC, StoreError};
use crate::pages::{PageIndex, Pages};
use crate::segment::{
    BadHeader, END, FORMAT, FRAME_BYTES, Frame, HEADER_BYTES, Header, is_end, proves_synced, seal,
    torn_bytes,
};
use crate::spares::{Spare, Spares};

/// Bytes after which a segment is full, and that are reserved for it: one in 64 of the disk, within
/// these. The last frame may go beyond.
const SEGMENT_BYTES: (u64, u64) = (1 << 20, 16 << 20);
/// Bytes that stay free for what must be written when the disk is full: this, or one in a hundred
/// where that is less.
const RESERVE_BYTES: u64 = 64 << 20;
/// Bytes written between two looks at the disk's space.
const SPACE_EVERY_BYTES: u64 = 256 << 10;

/// Names the data directory. A journal without it, or with another, is not this directory's.
const IDENTITY: &str = "identity";
const PREFIX: &str = "journal-";
const UNFINISHED: &str = ".tmp";
/// Bytes behind the end of a segment that are written together, so that frames do not make it grow.
const AHEAD_BYTES: u64 = 256 << 10;
/// Frames from this size on make it grow: what that costs is little beside them.
const AHEAD_OF_BYTES: u64 = 64 << 10;

/// Where a journal was cut because its end was torn.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Torn {
    /// The file.
    pub place: String,
    /// Bytes that were cut off.
    pub bytes: u64,
    /// The number of the last good frame.
    pub after: u64,
}

/// What was read from a directory.
#[derive(Debug)]
pub struct Opened<D> {
    disk: D,
    /// Absent in a directory that is new.
    identity: Option<u128>,
    has_identity_file: bool,
    spares: Spares,
    segments: Vec<Segment>,
    next: u64,
    unfinished: Vec<String>,
    pages: Pages,
    /// What was found torn, and is cut off when the journal begins.
    pub torn: Option<Torn>,
}

/// A segment on the disk.
#[derive(Clone, Debug)]
struct Segment {
    name: String,
    first: u64,
    bytes: u64,
}

/// What reads frames: the shards of the process that wrote them, and the frame.
type Apply<'a> = &'a mut dyn FnMut(u8, Frame<'_>) -> Result<(), &'static str>;

/// A journal that is written.
#[derive(Debug)]
pub struct Journal<D> {
    disk: D,
    identity: u128,
    shards: u8,
    is_synced: bool,
    segments: Vec<Segment>,
    next: u64,
    /// Everything before this frame is on stable storage.
    synced: u64,
    segment_bytes: u64,
    /// Bytes of the last segment's file that were written, by whatever segment.
    filled: u64,
    spares: Spares,
    written: u64,
    pages: Pages,
    /// Pages that nothing needs once everything appended is on stable storage.
    freed: Vec<PageId>,
    unlooked_bytes: u64,
    free_bytes: u64,
    reserve_bytes: u64,
}

pub(crate) fn failed(
    disk: &impl Disk,
    name: &str,
    operation: &'static str,
) -> impl FnOnce(io::Error) -> StoreError {
    let place = disk.place(name);
    move |source| StoreError::Io { place, operation, source }
}

fn name_of(first: u64) -> String {
    format!("{PREFIX}{first:016x}")
}

impl<D: Disk> Opened<D> {
    /// The secret of the directory, from which places of names are drawn; absent in a new one.
    #[must_use]
    pub fn identity(&self) -> Option<u128> {
        self.identity
    }

    /// What a person is told where the directory is.
    #[must_use]
    pub fn place(&self) -> String {
        self.disk.place("")
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// The pages that are there.
    pub(crate) fn pages(&mut self) -> &mut Pages {
        &mut self.pages
    }

    /// Reads a page of a queue.
    pub fn read_page(&mut self, page: PageId) -> Result<Vec<u8>, StoreError> {
        self.pages.read(&mut self.disk, page)
    }

    /// Reads what a session is owed from a page.
    pub fn owed_in(&mut self, page: PageId, now: Now) -> Result<Vec<SavedOwed>, StoreError> {
        let bytes = self.read_page(page)?;
        decode_page(&bytes, now).map_err(|_| {
            let (place, offset) = self.pages.place(&self.disk, page);
            StoreError::Damaged { place, offset, what: "not records of this version" }
        })
    }

    /// Reads everything, oldest first.
    pub fn read(mut disk: D, apply: Apply<'_>) -> Result<Self, StoreError> {
        let names = disk.names().map_err(failed(&disk, "", "list"))?;
        let segments = sorted_segments(&names);
        let unfinished = names.iter().filter(|name| name.ends_with(UNFINISHED)).cloned().collect();
        let has_identity_file = names.iter().any(|name| name == IDENTITY);
        let identity = if has_identity_file { Some(read_identity(&mut disk)?) } else { None };
        if identity.is_some() && segments.is_empty() {
            let what = "its journal is missing".to_owned();
            return Err(StoreError::Missing { place: disk.place(""), what });
        }
        let pages = Pages::open(&mut disk, &names)?;
        let spares = Spares::open(&mut disk, &names)?;
        let mut opened = Self {
            disk,
            pages,
            identity,
            has_identity_file,
            spares,
            segments: Vec::new(),
            next: 1,
            unfinished,
            torn: None,
        };
        for (at, name) in segments.iter().enumerate() {
            opened.read_segment(name, segments.get(at + 1).is_none(), apply)?;
        }
        Ok(opened)
    }

    fn read_segment(
        &mut self,
        name: &str,
        is_last: bool,
        apply: Apply<'_>,
    ) -> Result<(), StoreError> {
        let bytes = self.disk.read(name).map_err(failed(&self.disk, name, "read"))?;
        let damaged = |offset: usize, what| StoreError::Damaged {
            place: self.disk.place(name),
            offset: offset as u64,
            what,
        };
        let header = match Header::parse(&bytes) {
            Ok(header) => header,
            Err(BadHeader::Damaged) => return Err(damaged(0, "not the header of a segment")),
            Err(BadHeader::Format(found)) => {
                let place = self.disk.place(name);
                return Err(StoreError::Format { place, found, known: FORMAT });
            }
        };
        if self.identity.is_some_and(|identity| identity != header.identity) {
            return Err(damaged(16, "a segment of another directory"));
        }
        if name_of(header.first) != name || (!self.segments.is_empty() && header.first != self.next)
        {
            return Err(damaged(32, "a segment before it is missing"));
        }
        let mut next = header.first;
        let mut at = HEADER_BYTES;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let Some(frame) = Frame::parse(rest).filter(|frame| frame.number == next) else {
                if !is_last || proves_synced(rest, next) {
                    return Err(damaged(at, "not a frame"));
                }
                if !is_end(rest) {
                    let place = self.disk.place(name);
                    let (after, cut) = (next - 1, torn_bytes(rest));
                    self.torn = Some(Torn { place, bytes: cut, after });
                }
                break;
            };
            apply(header.shards, frame).map_err(|what| damaged(at, what))?;
            next += 1;
            at += frame.len();
        }
        self.identity = Some(header.identity);
        self.next = next;
        let name = name.to_owned();
        self.segments.push(Segment { name, first: header.first, bytes: at as u64 });
        Ok(())
    }

    /// Goes on in a segment of its own: `body` is its first frame. A new directory is named by
    /// `identity`. Nothing is promised before this returns.
    pub fn begin(
        mut self,
        identity: u128,
        shards: u8,
        is_synced: bool,
        body: &mut Vec<u8>,
    ) -> Result<Journal<D>, StoreError> {
        // The process that wrote the end may have died before it was synced, and had reserved more.
        if let Some(Segment { name, bytes, .. }) = self.segments.last() {
            self.disk.truncate(name, *bytes).map_err(failed(&self.disk, name, "truncate"))?;
            self.disk.sync(name).map_err(failed(&self.disk, name, SYNC))?;
        }
        for name in &self.unfinished {
            self.disk.remove(name).map_err(failed(&self.disk, name, "remove"))?;
        }
        // An empty last segment has the name that the next one gets.
        if let Some(last) = self.segments.last().filter(|last| last.first == self.next) {
            let name = last.name.clone();
            self.disk.remove(&name).map_err(failed(&self.disk, &name, "remove"))?;
            self.segments.pop();
        }
        let has_identity_file = self.has_identity_file;
        self.pages.remove_empty(&mut self.disk)?;
        let mut journal = Journal {
            identity: self.identity.unwrap_or(identity),
            disk: self.disk,
            shards,
            is_synced,
            segments: self.segments,
            next: self.next,
            synced: self.next,
            segment_bytes: 0,
            filled: 0,
            spares: self.spares,
            written: 0,
            pages: self.pages,
            freed: Vec::new(),
            unlooked_bytes: 0,
            free_bytes: 0,
            reserve_bytes: 0,
        };
        journal.look_at_space()?;
        journal.rotate()?;
        if !has_identity_file {
            journal.write_identity()?;
        }
        journal.append(body)?;
        journal.sync_always()?;
        Ok(journal)
    }
}

fn sorted_segments(names: &[String]) -> Vec<String> {
    let mut segments: Vec<String> = names.iter().filter(|name| is_segment(name)).cloned().collect();
    segments.sort_unstable();
    segments
}

/// The names of a directory's segments, oldest first.
pub(crate) fn segments_of(disk: &mut impl Disk) -> Result<Vec<String>, StoreError> {
    let names = disk.names().map_err(failed(disk, "", "list"))?;
    Ok(sorted_segments(&names))
}

fn is_segment(name: &str) -> bool {
    name.strip_prefix(PREFIX).is_some_and(|number| {
        number.len() == 16 && number.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

fn read_identity(disk: &mut impl Disk) -> Result<u128, StoreError> {
    let bytes = disk.read(IDENTITY).map_err(failed(disk, IDENTITY, "read"))?;
    match Header::parse(&bytes) {
        Ok(header) if bytes.len() == HEADER_BYTES => Ok(header.identity),
        Err(BadHeader::Format(found)) => {
            Err(StoreError::Format { place: disk.place(IDENTITY), found, known: FORMAT })
        }
        Ok(_) | Err(BadHeader::Damaged) => {
            let what = "not what names a data directory";
            Err(StoreError::Damaged { place: disk.place(IDENTITY), offset: 0, what })
        }
    }
}

impl<D: Disk> Journal<D> {
    /// The number of the next frame.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Files of the journal.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Whether only the reserve is left of the disk.
    #[must_use]
    pub fn is_low_on_space(&self) -> bool {
        self.free_bytes < self.reserve_bytes || self.spares.is_empty()
    }

    /// Appends a frame: `body` begins with [`FRAME_BYTES`] of room for its header. After an error
    /// that is about space the same frame may be tried again.
    pub fn append(&mut self, body: &mut Vec<u8>) -> Result<(), StoreError> {
        if self.unlooked_bytes >= SPACE_EVERY_BYTES {
            self.look_at_space()?;
        }
        if self.segments.last().is_none_or(|last| last.bytes >= self.segment_bytes) {
            self.rotate()?;
        }
        seal(body, self.next, self.synced == self.next && self.is_synced);
        let Some(last) = self.segments.last_mut() else { return Ok(()) };
        let len = body.len();
        body.extend_from_slice(&END);
        let outcome = self.disk.write(&last.name, last.bytes, body);
        body.truncate(len);
        outcome.map_err(failed(&self.disk, &last.name, "write"))?;
        last.bytes += len as u64;
        self.unlooked_bytes += len as u64;
        self.written += len as u64;
        self.next += 1;
        self.fill_ahead(len as u64)
    }

    /// Writes behind the end before frames do, in place of what they would add to the file.
    fn fill_ahead(&mut self, frame_bytes: u64) -> Result<(), StoreError> {
        let Some(last) = self.segments.last() else { return Ok(()) };
        let from = last.bytes + END.len() as u64;
        if from <= self.filled {
            return Ok(());
        }
        self.filled = from;
        let to = (from + AHEAD_BYTES).min(self.segment_bytes);
        if frame_bytes >= AHEAD_OF_BYTES || to <= from || self.is_low_on_space() {
            return Ok(());
        }
        let zeros = vec![0; (to - from) as usize];
        let written = self.disk.write(&last.name, from, &zeros);
        match written.map_err(failed(&self.disk, &last.name, "write")) {
            Err(error) if !error.is_no_space() => return Err(error),
            Err(_) => {}
            Ok(()) => {
                self.filled = to;
                self.written += to - from;
            }
        }
        Ok(())
    }

    /// Bytes written into segments since this process began.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Looks how much may still be written.
    pub fn look_at_space(&mut self) -> Result<(), StoreError> {
        let (_, all) = self.disk.space().map_err(failed(&self.disk, "", "look at"))?;
        self.reserve_bytes = RESERVE_BYTES.min(all / 100);
        let (least, most) = SEGMENT_BYTES;
        self.segment_bytes = (all / 64).clamp(least, most);
        self.unlooked_bytes = 0;
        let needed = self.reserve_bytes + 2 * self.segment_bytes;
        self.free_bytes = self.spares.give_back(&mut self.disk, needed)?;
        if self.spares.is_empty() && self.free_bytes > needed {
            self.spares.make(&mut self.disk, self.segment_bytes)?;
        }
        Ok(())
    }

    /// A file for the next segment: one that was used before, or a new one with room reserved, or
    /// the last spare one where there is no other room.
    fn next_file(&mut self, name: &str) -> Result<Spare, StoreError> {
        if let Some(spare) = self.spares.take() {
            return Ok(spare);
        }
        let name = format!("{name}{UNFINISHED}");
        let disk = &mut self.disk;
        let created = disk.create(&name).map_err(failed(disk, &name, "create"));
        let reserved = disk.reserve(&name, self.segment_bytes);
        let reserved = reserved.map_err(failed(disk, &name, "reserve"));
        match created.and(reserved) {
            // Where there is none at all, what fits is written all the same.
            Err(error) if error.is_no_space() => {
                let last = self.spares.take_last();
                Ok(last.unwrap_or(Spare { name, written: 0 }))
            }
            outcome => outcome.map(|()| Spare { name, written: 0 }),
        }
    }

    /// Makes everything durable that was appended, as far as this journal promises.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        if self.is_synced { self.sync_always() } else { Ok(()) }
    }

    fn sync_always(&mut self) -> Result<(), StoreError> {
        let Some(last) = self.segments.last() else { return Ok(()) };
        self.disk.sync(&last.name).map_err(failed(&self.disk, &last.name, SYNC))?;
        self.synced = self.next;
        Ok(())
    }

    /// Goes on in a new segment, with what was appended before on stable storage: of a segment that
    /// is not the last nothing may be missing.
    pub fn rotate(&mut self) -> Result<(), StoreError> {
        if self.segments.last().is_some_and(|last| last.first == self.next) {
            return Ok(());
        }
        // Nothing more is written there: what is reserved beyond its end is free.
        if let Some(Segment { name, bytes, .. }) = self.segments.last() {
            self.disk.truncate(name, *bytes).map_err(failed(&self.disk, name, "truncate"))?;
        }
        self.sync_always()?;
        let name = name_of(self.next);
        let header = Header { identity: self.identity, first: self.next, shards: self.shards };
        let file = self.next_file(&name)?;
        let mut bytes = header.bytes().to_vec();
        bytes.extend_from_slice(&END);
        make_of(&mut self.disk, &file.name, &name, &bytes)?;
        self.filled = file.written.max(bytes.len() as u64);
        self.written += bytes.len() as u64;
        let bytes = HEADER_BYTES as u64;
        self.segments.push(Segment { name, first: self.next, bytes });
        Ok(())
    }

    fn write_identity(&mut self) -> Result<(), StoreError> {
        let header = Header { identity: self.identity, first: 0, shards: 0 };
        make(&mut self.disk, IDENTITY, &header)
    }

    /// Puts pages on stable storage, before a frame that names them is appended. After an error
    /// that is about space the same pages may be tried again.
    pub fn write_pages(&mut self, pages: &[Page]) -> Result<(), StoreError> {
        if self.unlooked_bytes >= SPACE_EVERY_BYTES {
            self.look_at_space()?;
        }
        self.pages.write(&mut self.disk, self.identity, pages)?;
        self.unlooked_bytes += pages.iter().map(|page| page.bytes.len() as u64).sum::<u64>();
        Ok(())
    }

    /// What was appended says that nothing needs these pages: once that is on stable storage they
    /// go.
    pub fn free_pages(&mut self, pages: &mut Vec<PageId>) -> Result<(), StoreError> {
        self.freed.append(pages);
        if self.freed.is_empty() || self.synced != self.next {
            return Ok(());
        }
        let freed = std::mem::take(&mut self.freed);
        self.pages.free(&mut self.disk, self.identity, &freed)
    }

    /// Where pages are, for whoever reads them.
    #[must_use]
    pub fn page_index(&self) -> Arc<PageIndex> {
        self.pages.index()
    }

    /// Bytes of the files of pages.
    #[must_use]
    pub fn page_bytes(&self) -> u64 {
        self.pages.bytes()
    }

    /// Gives up segments that end before a frame.
    pub fn drop_before(&mut self, number: u64) -> Result<(), StoreError> {
        while let [_, second, ..] = &self.segments[..]
            && second.first <= number
        {
            let first = self.segments.remove(0);
            self.spares.keep(&mut self.disk, (&first.name, first.bytes), self.segment_bytes)?;
        }
        self.disk.sync_directory().map_err(failed(&self.disk, "", SYNC))
    }
}

/// A file that has its name only once its content is on stable storage.
pub(crate) fn make(disk: &mut impl Disk, name: &str, header: &Header) -> Result<(), StoreError> {
    let unfinished = format!("{name}{UNFINISHED}");
    disk.create(&unfinished).map_err(failed(disk, &unfinished, "create"))?;
    make_of(disk, &unfinished, name, &header.bytes())
}

/// The same of a file that has another name.
fn make_of(disk: &mut impl Disk, file: &str, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
    disk.write(file, 0, bytes).map_err(failed(disk, file, "write"))?;
    disk.sync(file).map_err(failed(disk, file, SYNC))?;
    disk.rename(file, name).map_err(failed(disk, name, "rename"))?;
    disk.sync_directory().map_err(failed(disk, name, SYNC))
}

/// A frame's body with room for its header.
#[must_use]
pub(crate) fn empty_frame() -> Vec<u8> {
    vec![0; FRAME_BYTES]
}
