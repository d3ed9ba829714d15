//! Pages: runs of queues that sessions keep on the disk instead of in memory.
//!
//! A page is a frame whose number is its name, in files of their own beside the journal's segments.
//! It is on stable storage before the journal says what is in it, and stays until the journal has
//! said, durably, that nothing needs it. [`PageIndex`] knows where each page is; files that hold
//! little besides what nobody needs are written together anew.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bitts_broker::{Page, PageId};

use crate::disk::{Disk, ReadAt};
use crate::error::{SYNC, StoreError};
use crate::journal::{empty_frame, failed, make};
use crate::segment::{FRAME_BYTES, Frame, HEADER_BYTES, Header, head_of, seal};

const PREFIX: &str = "pages-";
/// Bytes of a file at which the next is begun.
const FILE_BYTES: u64 = 16 << 20;
/// Bytes that nobody needs are no reason to write pages anew, up to here.
const WASTE_MIN: u64 = 4 * FILE_BYTES;

/// Where a page is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Place {
    file: u64,
    at: u64,
    /// With its header.
    len: u32,
}

/// Which pages there are and where.
#[derive(Debug, Default)]
pub struct PageIndex {
    /// Without a place is one that was handed over and is not written yet.
    places: Mutex<HashMap<PageId, Option<Place>>>,
    written: Condvar,
}

impl PageIndex {
    fn lock(&self) -> MutexGuard<'_, HashMap<PageId, Option<Place>>> {
        // Nothing panics while it holds the lock.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, page: PageId) -> Option<Place> {
        self.lock().get(&page).copied().flatten()
    }

    /// A page was handed over, and will be written.
    pub(crate) fn expect(&self, page: PageId) {
        self.lock().insert(page, None);
    }

    /// Whether a page was handed over and is not written yet.
    #[must_use]
    pub fn is_expected(&self, page: PageId) -> bool {
        self.lock().get(&page).is_some_and(Option::is_none)
    }

    /// Reads a page. One that was handed over and is not written yet is waited for; none is there
    /// where nothing needs it any more.
    pub fn read(
        &self,
        disk: &mut impl ReadAt,
        page: PageId,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        loop {
            let Some(place) = self.wait(page) else { return Ok(None) };
            match read_frame(disk, page, place) {
                // Meanwhile it was written elsewhere and the file removed, or it was freed.
                Err(_) if self.wait(page) != Some(place) => {}
                outcome => return outcome.map(Some),
            }
        }
    }

    fn wait(&self, page: PageId) -> Option<Place> {
        let mut places = self.lock();
        loop {
            match places.get(&page) {
                None => return None,
                Some(Some(place)) => return Some(*place),
                Some(None) => {
                    places = self.written.wait(places).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

fn read_frame(disk: &mut impl ReadAt, page: PageId, place: Place) -> Result<Vec<u8>, StoreError> {
    let name = name_of(place.file);
    let bytes = disk
        .read_at(&name, place.at, place.len as usize)
        .map_err(|source| StoreError::Io { place: disk.place(&name), operation: "read", source })?;
    match Frame::parse(&bytes).filter(|frame| frame.number == page.0) {
        Some(frame) if frame.len() == bytes.len() => Ok(frame.body.to_vec()),
        _ => Err(StoreError::Damaged {
            place: disk.place(&name),
            offset: place.at,
            what: "not the page that the journal names",
        }),
    }
}

/// The journal names a page that is nowhere.
pub(crate) fn missing_page(place: String, page: PageId) -> StoreError {
    StoreError::Missing { place, what: format!("page {:#x} of a queue is missing", page.0) }
}

fn name_of(file: u64) -> String {
    format!("{PREFIX}{file:016x}")
}

/// The files of pages among these names, oldest first.
fn files_of(names: &[String]) -> Vec<u64> {
    let number = |name: &String| {
        let digits = name.strip_prefix(PREFIX).filter(|digits| digits.len() == 16)?;
        u64::from_str_radix(digits, 16).ok()
    };
    let mut files: Vec<u64> = names.iter().filter_map(number).collect();
    files.sort_unstable();
    files
}

/// A file of pages.
#[derive(Clone, Copy, Debug, Default)]
struct PageFile {
    bytes: u64,
    /// Bytes of pages in it that are needed.
    live: u64,
}

/// The pages of a directory, as its one writer knows them.
#[derive(Debug)]
pub(crate) struct Pages {
    index: Arc<PageIndex>,
    files: BTreeMap<u64, PageFile>,
    /// The file that is written, if one was begun.
    current: Option<u64>,
    next_file: u64,
    next_page: u64,
}

impl Pages {
    /// Looks which pages there are: at what each says of its length, not at what is in it.
    pub(crate) fn open(disk: &mut impl Disk, names: &[String]) -> Result<Self, StoreError> {
        let mut pages = Self {
            index: Arc::default(),
            files: BTreeMap::new(),
            current: None,
            next_file: 1,
            next_page: 1,
        };
        for file in files_of(names) {
            pages.open_file(disk, file)?;
        }
        Ok(pages)
    }

    fn open_file(&mut self, disk: &mut impl Disk, file: u64) -> Result<(), StoreError> {
        let name = name_of(file);
        let mut at = HEADER_BYTES as u64;
        self.next_file = self.next_file.max(file + 1);
        self.files.insert(file, PageFile { bytes: at, live: 0 });
        loop {
            let head = disk.read_at(&name, at, FRAME_BYTES).map_err(failed(disk, &name, "read"))?;
            let Some((number, len)) = head_of(&head) else { return Ok(()) };
            let page = PageId(number);
            self.next_page = self.next_page.max(page.number() + 1);
            self.put(page, Place { file, at, len });
            at += u64::from(len);
            if let Some(held) = self.files.get_mut(&file) {
                held.bytes = at;
            }
        }
    }

    /// Where pages are, for whoever reads them.
    pub(crate) fn index(&self) -> Arc<PageIndex> {
        Arc::clone(&self.index)
    }

    /// A number that no page has.
    pub(crate) fn next_page(&self) -> u64 {
        self.next_page
    }

    /// Bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.values().map(|file| file.bytes).sum()
    }

    /// Whether a page is there.
    pub(crate) fn has(&self, page: PageId) -> bool {
        self.index.get(page).is_some()
    }

    /// Reads a page, which there may not be.
    pub(crate) fn read(&self, disk: &mut impl ReadAt, page: PageId) -> Result<Vec<u8>, StoreError> {
        match self.index.get(page) {
            Some(place) => read_frame(disk, page, place),
            None => Err(missing_page(disk.place(""), page)),
        }
    }

    /// Where a page is, or would be.
    pub(crate) fn place(&self, disk: &impl ReadAt, page: PageId) -> (String, u64) {
        match self.index.get(page) {
            Some(place) => (disk.place(&name_of(place.file)), place.at),
            None => (disk.place(""), 0),
        }
    }

    /// Every page but these is needed by nobody: a process before this one had not come to say so.
    pub(crate) fn retain(&mut self, is_needed: impl Fn(PageId) -> bool) {
        let known: Vec<PageId> = self.index.lock().keys().copied().collect();
        known.into_iter().filter(|page| !is_needed(*page)).for_each(|page| self.forget(page));
    }

    /// Counts a page that is in a file.
    fn put(&mut self, page: PageId, place: Place) {
        self.forget(page);
        self.index.lock().insert(page, Some(place));
        self.index.written.notify_all();
        if let Some(held) = self.files.get_mut(&place.file) {
            held.live += u64::from(place.len);
        }
    }

    fn forget(&mut self, page: PageId) {
        let place = self.index.lock().remove(&page);
        if let Some(Some(place)) = place
            && let Some(held) = self.files.get_mut(&place.file)
        {
            held.live -= u64::from(place.len);
        }
    }

    /// Puts pages on stable storage. After an error that is about space the same pages may be
    /// tried again.
    pub(crate) fn write(
        &mut self,
        disk: &mut impl Disk,
        identity: u128,
        pages: &[Page],
    ) -> Result<(), StoreError> {
        let mut frame = empty_frame();
        let mut placed = Vec::new();
        for page in pages {
            frame.truncate(FRAME_BYTES);
            frame.extend_from_slice(&page.bytes);
            placed.push((page.id, self.append(disk, identity, page.id, &mut frame)?));
        }
        self.sync(disk)?;
        // Known only now: what is read is stable.
        for (page, place) in placed {
            self.put(page, place);
        }
        Ok(())
    }

    fn append(
        &mut self,
        disk: &mut impl Disk,
        identity: u128,
        page: PageId,
        frame: &mut [u8],
    ) -> Result<Place, StoreError> {
        let file = self.file(disk, identity)?;
        let name = name_of(file);
        let at = self.files.get(&file).map_or(0, |held| held.bytes);
        seal(frame, page.0, true);
        disk.write(&name, at, frame).map_err(failed(disk, &name, "write"))?;
        if let Some(held) = self.files.get_mut(&file) {
            held.bytes += frame.len() as u64;
        }
        Ok(Place { file, at, len: frame.len() as u32 })
    }

    /// The file that takes the next page. One that is full is on stable storage before another is
    /// begun.
    fn file(&mut self, disk: &mut impl Disk, identity: u128) -> Result<u64, StoreError> {
        let current = self.current.and_then(|file| Some((file, *self.files.get(&file)?)));
        if let Some((file, _)) = current.filter(|(_, held)| held.bytes < FILE_BYTES) {
            return Ok(file);
        }
        self.sync(disk)?;
        let file = self.next_file;
        let header = Header { identity, first: file, shards: 0 };
        make(disk, &name_of(file), &header)?;
        self.next_file += 1;
        self.current = Some(file);
        self.files.insert(file, PageFile { bytes: HEADER_BYTES as u64, live: 0 });
        Ok(file)
    }

    fn sync(&self, disk: &mut impl Disk) -> Result<(), StoreError> {
        let Some(file) = self.current else { return Ok(()) };
        let name = name_of(file);
        disk.sync(&name).map_err(failed(disk, &name, SYNC))
    }

    /// Nothing needs these pages any more, and that is durable: gives back what room it can.
    pub(crate) fn free(
        &mut self,
        disk: &mut impl Disk,
        identity: u128,
        pages: &[PageId],
    ) -> Result<(), StoreError> {
        for page in pages {
            self.forget(*page);
        }
        self.remove_empty(disk)?;
        let Some(file) = self.wasteful() else { return Ok(()) };
        match self.write_anew(disk, identity, file) {
            // Nothing is lost: it stays where it is.
            Err(error) if error.is_no_space() => Ok(()),
            outcome => outcome,
        }
    }

    /// Removes files in which nothing is needed, but for the one that is written.
    pub(crate) fn remove_empty(&mut self, disk: &mut impl Disk) -> Result<(), StoreError> {
        let is_empty =
            |(file, held): &(&u64, &PageFile)| held.live == 0 && Some(**file) != self.current;
        let empty: Vec<u64> = self.files.iter().filter(is_empty).map(|(file, _)| *file).collect();
        for file in empty {
            let name = name_of(file);
            disk.remove(&name).map_err(failed(disk, &name, "remove"))?;
            self.files.remove(&file);
        }
        Ok(())
    }

    /// The file with the least that is needed, where more than half of all bytes are for nothing.
    fn wasteful(&self) -> Option<u64> {
        let live: u64 = self.files.values().map(|held| held.live).sum();
        if self.bytes() - live <= live.max(WASTE_MIN) {
            return None;
        }
        let full = self.files.iter().filter(|(file, _)| Some(**file) != self.current);
        full.min_by_key(|(_, held)| held.live).map(|(file, _)| *file)
    }

    /// Writes what is needed of a file behind everything else.
    fn write_anew(
        &mut self,
        disk: &mut impl Disk,
        identity: u128,
        file: u64,
    ) -> Result<(), StoreError> {
        let held: Vec<(PageId, Place)> = self
            .index
            .lock()
            .iter()
            .filter_map(|(page, place)| Some((*page, (*place)?)))
            .filter(|(_, place)| place.file == file)
            .collect();
        let mut pages = Vec::new();
        for (id, place) in held {
            pages.push(Page { id, bytes: read_frame(disk, id, place)? });
        }
        self.write(disk, identity, &pages)
    }
}
