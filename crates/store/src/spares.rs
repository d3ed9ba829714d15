//! Files that were segments, or are to be: room that is the journal's already.
//!
//! A sync of bytes that stand in place of others is one write of the disk. In a file that grows it
//! is two and more, for the file system writes down first that it grew. So a segment that a
//! checkpoint leaves behind becomes a later one. One file is kept for when the disk has no other
//! room.

use crate::disk::Disk;
use crate::error::StoreError;
use crate::journal::failed;

const PREFIX: &str = "spare";
/// Files that are kept; more are removed.
const KEPT_MAX: usize = 6;

/// A file without a use.
#[derive(Clone, Debug)]
pub(crate) struct Spare {
    pub(crate) name: String,
    /// Bytes of it that were written: to write there again does not make it grow.
    pub(crate) written: u64,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spares(Vec<Spare>);

impl Spares {
    /// Those of a directory with these names.
    pub(crate) fn open(disk: &mut impl Disk, names: &[String]) -> Result<Self, StoreError> {
        let mut spares = Self::default();
        for name in names.iter().filter(|name| name.starts_with(PREFIX)) {
            let written = disk.len(name).map_err(failed(disk, name, "look at"))?;
            spares.put(Spare { name: name.clone(), written });
        }
        Ok(spares)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one of which least was written is first.
    fn put(&mut self, spare: Spare) {
        let at = self.0.partition_point(|held| held.written <= spare.written);
        self.0.insert(at, spare);
    }

    /// One of those that are not the last.
    pub(crate) fn take(&mut self) -> Option<Spare> {
        if self.0.len() > 1 { self.0.pop() } else { None }
    }

    /// The last one too.
    pub(crate) fn take_last(&mut self) -> Option<Spare> {
        self.0.pop()
    }

    /// Sets room for a segment aside, if the disk has it.
    pub(crate) fn make(&mut self, disk: &mut impl Disk, bytes: u64) -> Result<(), StoreError> {
        let name = PREFIX.to_owned();
        let made = disk.create(&name).and_then(|()| disk.reserve(&name, bytes));
        match made.map_err(failed(disk, &name, "create")) {
            Err(error) if error.is_no_space() => Ok(()),
            made => {
                made?;
                self.put(Spare { name, written: 0 });
                Ok(())
            }
        }
    }

    /// Keeps a file that is of no use any more, or removes it: also where a copy is made of it just
    /// now. The directory is to be synced before
    /// the file is taken: until then the power may give it its name back.
    pub(crate) fn keep(
        &mut self,
        disk: &mut impl Disk,
        (name, written): (&str, u64),
        bytes: u64,
    ) -> Result<(), StoreError> {
        let (_, number) = name.split_once('-').unwrap_or_default();
        let spare = Spare { name: format!("{PREFIX}-{number}"), written };
        let is_kept = self.0.len() < KEPT_MAX
            && disk.rename_unread(name, &spare.name).map_err(failed(disk, name, "rename"))?;
        if !is_kept {
            return disk.remove(name).map_err(failed(disk, name, "remove"));
        }
        let reserved = disk.reserve(&spare.name, bytes);
        match reserved.map_err(failed(disk, &spare.name, "reserve")) {
            // One that is short is of use too.
            Err(error) if !error.is_no_space() => return Err(error),
            _ => self.put(spare),
        }
        Ok(())
    }

    /// Gives the disk back all but one while it has less free than this, and says what it has.
    pub(crate) fn give_back(
        &mut self,
        disk: &mut impl Disk,
        needed: u64,
    ) -> Result<u64, StoreError> {
        loop {
            let (free, _) = disk.space().map_err(failed(disk, "", "look at"))?;
            if free > needed || self.0.len() <= 1 {
                return Ok(free);
            }
            let Spare { name, .. } = self.0.remove(0);
            disk.remove(&name).map_err(failed(disk, &name, "remove"))?;
        }
    }
}
