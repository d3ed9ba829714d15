//! A disk in memory that forgets what was not synced, and fails when told to: for tests.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{Disk, ReadAt};

/// What is written as a whole or not at all, in bytes.
const SECTOR: usize = 512;
/// Bytes of the disk, and free ones while it is full.
const DISK_BYTES: u64 = 1 << 40;

/// A file as programs see it, and as the platters have it.
#[derive(Clone, Debug, Default)]
struct File {
    seen: Vec<u8>,
    stable: Vec<u8>,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<usize, File>,
    /// Names as programs see them, and as the platters have them.
    names: BTreeMap<String, usize>,
    stable_names: BTreeMap<String, usize>,
    next: usize,
    operations: usize,
    fails: Option<(usize, ErrorKind, bool)>,
    /// Mistakes of a disk, or of what should have called it.
    forgets_syncs: bool,
    forgets_directory_syncs: bool,
    is_full: bool,
}

/// See the module. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk(Arc<Mutex<State>>);

impl MemoryDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Syncs do nothing.
    pub fn forget_syncs(&self) {
        self.state().forgets_syncs = true;
    }

    /// Syncs of the directory do nothing.
    pub fn forget_directory_syncs(&self) {
        self.state().forgets_directory_syncs = true;
    }

    /// Operation number `at` from here on fails, once or from then on.
    pub fn fail(&self, at: usize, kind: ErrorKind, is_for_good: bool) {
        let mut state = self.state();
        state.operations = 0;
        state.fails = Some((at, kind, is_for_good));
    }

    /// Operations since [`MemoryDisk::fail`].
    pub fn operations(&self) -> usize {
        self.state().operations
    }

    /// The power goes: of what was not synced each sector stays if `keep` says so, and names that
    /// were not synced are as they were.
    pub fn lose_power(&self, mut keep: impl FnMut() -> bool) {
        let mut state = self.state();
        state.fails = None;
        state.names = state.stable_names.clone();
        for file in state.files.values_mut() {
            let len = if keep() { file.seen.len() } else { file.stable.len() };
            let mut after = file.stable.clone();
            after.resize(len, 0);
            for (at, sector) in after.chunks_mut(SECTOR).enumerate() {
                let written = file.seen.get(at * SECTOR..).unwrap_or_default();
                let len = sector.len().min(written.len());
                if keep()
                    && let (Some(to), Some(from)) = (sector.get_mut(..len), written.get(..len))
                {
                    to.copy_from_slice(from);
                }
            }
            file.seen.clone_from(&after);
            file.stable = after;
        }
    }

    /// What the system had taken is there: only the process died.
    pub fn revive(&self) {
        self.state().fails = None;
    }

    /// Nothing more can be written, or there is space again.
    pub fn set_full(&self, is_full: bool) {
        self.state().is_full = is_full;
    }

    /// Changes a bit of the last segment that was never synced, if there is one.
    pub fn flip_unsynced(&self, bit: usize) {
        let mut state = self.state();
        let is_segment = |(name, _): &(&String, &usize)| name.starts_with("journal-");
        let Some((_, at)) = state.names.iter().rfind(is_segment) else { return };
        let at = *at;
        let Some(file) = state.files.get_mut(&at) else { return };
        let stable = &file.stable;
        let bytes = file.seen.iter_mut().enumerate();
        let mut unsynced: Vec<_> =
            bytes.filter(|(at, byte)| stable.get(*at) != Some(&**byte)).collect();
        let bits = unsynced.len() * 8;
        if let Some((_, byte)) = bits.checked_sub(1).and_then(|_| unsynced.get_mut(bit % bits / 8))
        {
            **byte ^= 1 << (bit % 8);
        }
    }

    fn operate(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        state.operations += 1;
        if let Some((at, kind, is_for_good)) = state.fails
            && state.operations >= at
        {
            if !is_for_good {
                state.fails = None;
            }
            return Err(kind.into());
        }
        Ok(state)
    }
}

impl State {
    fn file(&mut self, name: &str) -> io::Result<&mut File> {
        let at = self.names.get(name).ok_or(ErrorKind::NotFound)?;
        self.files.get_mut(at).ok_or_else(|| ErrorKind::NotFound.into())
    }
}

impl ReadAt for MemoryDisk {
    fn read_at(&mut self, name: &str, at: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut state = self.operate()?;
        let seen = &state.file(name)?.seen;
        let from = seen.len().min(at as usize);
        let to = seen.len().min(from + len);
        Ok(seen.get(from..to).unwrap_or_default().to_vec())
    }

    fn place(&self, name: &str) -> String {
        format!("memory/{name}")
    }
}

impl Disk for MemoryDisk {
    fn names(&mut self) -> io::Result<Vec<String>> {
        Ok(self.operate()?.names.keys().cloned().collect())
    }

    fn len(&mut self, name: &str) -> io::Result<u64> {
        Ok(self.operate()?.file(name)?.seen.len() as u64)
    }

    fn read(&mut self, name: &str) -> io::Result<Vec<u8>> {
        Ok(self.operate()?.file(name)?.seen.clone())
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        let mut state = self.operate()?;
        if state.is_full {
            return Err(ErrorKind::StorageFull.into());
        }
        let at = state.next;
        state.next += 1;
        state.files.insert(at, File::default());
        state.names.insert(name.to_owned(), at);
        Ok(())
    }

    fn write(&mut self, name: &str, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.operate()?;
        if state.is_full {
            return Err(ErrorKind::StorageFull.into());
        }
        let file = state.file(name)?;
        let end = at as usize + bytes.len();
        if file.seen.len() < end {
            file.seen.resize(end, 0);
        }
        if let Some(place) = file.seen.get_mut(at as usize..end) {
            place.copy_from_slice(bytes);
        }
        Ok(())
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        let mut state = self.operate()?;
        if !state.forgets_syncs {
            let file = state.file(name)?;
            file.stable.clone_from(&file.seen);
        }
        Ok(())
    }

    fn reserve(&mut self, name: &str, _: u64) -> io::Result<()> {
        self.operate()?.file(name).map(drop)
    }

    fn truncate(&mut self, name: &str, len: u64) -> io::Result<()> {
        self.operate()?.file(name)?.seen.truncate(len as usize);
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.operate()?;
        let at = state.names.remove(from).ok_or(ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), at);
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let mut state = self.operate()?;
        state.names.remove(name).map(drop).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        let mut state = self.operate()?;
        if !state.forgets_directory_syncs {
            state.stable_names = state.names.clone();
        }
        Ok(())
    }

    fn space(&mut self) -> io::Result<(u64, u64)> {
        let is_full = self.operate()?.is_full;
        Ok((if is_full { 0 } else { DISK_BYTES }, DISK_BYTES))
    }
}
