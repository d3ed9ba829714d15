//! The data directory as the registry and the audit log use it: one process, and each operation one
//! call of a [`Disk`], so that a test can let any of them fail.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bitts_store::disk::{Disk, OsDisk};

use super::RegistryError;

/// Held while the directory is used.
const LOCK: &str = "registry.lock";

/// See the module. Clones are the same directory.
#[derive(Clone)]
pub(super) struct Folder(Arc<Mutex<dyn Disk>>);

impl fmt::Debug for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Folder")
    }
}

impl Folder {
    pub(super) fn new(disk: impl Disk + 'static) -> Self {
        Self(Arc::new(Mutex::new(disk)))
    }

    /// Opens a directory, makes it if needed, and locks it for this process.
    pub(super) fn open(dir: &Path) -> Result<Self, RegistryError> {
        let path = dir.join(LOCK);
        match OsDisk::open_with(dir, LOCK) {
            Ok(disk) => Ok(Self::new(disk)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                Err(RegistryError::InUse { path })
            }
            Err(source) => Err(RegistryError::File { path, source }),
        }
    }

    pub(super) fn disk(&self) -> MutexGuard<'_, dyn Disk + 'static> {
        // A call of the system does not panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of a file; none if it is not there.
    pub(super) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, RegistryError> {
        let mut disk = self.disk();
        match disk.read(name) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(RegistryError::File { path: disk.place(name).into(), source }),
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.disk().place(name).into()
    }

    /// Adds bytes to a file that has `len`; when this returns they are on disk, if `is_promised`.
    ///
    /// Room for them is made sure of first: where there is none nothing has changed.
    pub(super) fn append(
        &self,
        name: &str,
        (len, bytes): (u64, &[u8]),
        is_promised: bool,
    ) -> Result<(), Unwritten> {
        let mut disk = self.disk();
        let end = len + bytes.len() as u64;
        if let Err(error) = disk.reserve(name, end) {
            return Err(if is_no_space(&error) { Unwritten::NoSpace } else { error.into() });
        }
        match disk.write(name, len, bytes) {
            Err(error) if is_no_space(&error) => {
                disk.truncate(name, len)?;
                return Err(Unwritten::NoSpace);
            }
            written => written?,
        }
        if is_promised {
            disk.sync(name)?;
        }
        Ok(())
    }
}

/// Why something is not on disk.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unwritten {
    /// There is no room for it, and nothing has changed.
    #[error("no space is left on the disk")]
    NoSpace,
    /// What is on disk is not known.
    #[error(transparent)]
    Failed(#[from] io::Error),
}

/// Whether the disk is full, which passes.
pub(super) fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

#[cfg(test)]
pub(super) mod tests {
    use bitts_store::disk::ReadAt;

    use super::*;

    /// A directory of the system whose operations fail when a test says so.
    pub(in super::super) struct FailingDisk {
        inner: OsDisk,
        plan: Arc<Mutex<Plan>>,
    }

    /// Which operation fails, how, and whether all after it do.
    #[derive(Debug, Default)]
    pub(in super::super) struct Plan {
        pub(in super::super) done: usize,
        pub(in super::super) fails: Option<(usize, ErrorKind, bool)>,
    }

    /// A folder whose operation number `at` fails, and what counts them.
    pub(in super::super) fn failing(
        dir: &Path,
        fails: Option<(usize, ErrorKind, bool)>,
    ) -> (Folder, Arc<Mutex<Plan>>) {
        let plan = Arc::new(Mutex::new(Plan { done: 0, fails }));
        let inner = OsDisk::open_with(dir, LOCK).unwrap();
        (Folder::new(FailingDisk { inner, plan: Arc::clone(&plan) }), plan)
    }

    impl FailingDisk {
        fn next(&mut self) -> io::Result<&mut OsDisk> {
            let mut plan = self.plan.lock().unwrap();
            plan.done += 1;
            if let Some((at, kind, is_for_good)) = plan.fails
                && (plan.done == at || (is_for_good && plan.done > at))
            {
                return Err(kind.into());
            }
            drop(plan);
            Ok(&mut self.inner)
        }
    }

    impl ReadAt for FailingDisk {
        fn read_at(&mut self, name: &str, at: u64, len: usize) -> io::Result<Vec<u8>> {
            self.next()?.read_at(name, at, len)
        }

        fn place(&self, name: &str) -> String {
            self.inner.place(name)
        }
    }

    impl Disk for FailingDisk {
        fn names(&mut self) -> io::Result<Vec<String>> {
            self.next()?.names()
        }

        fn len(&mut self, name: &str) -> io::Result<u64> {
            self.next()?.len(name)
        }

        fn read(&mut self, name: &str) -> io::Result<Vec<u8>> {
            self.next()?.read(name)
        }

        fn create(&mut self, name: &str) -> io::Result<()> {
            self.next()?.create(name)
        }

        /// One that fails wrote a part.
        fn write(&mut self, name: &str, at: u64, bytes: &[u8]) -> io::Result<()> {
            match self.next() {
                Ok(disk) => disk.write(name, at, bytes),
                Err(error) => {
                    self.inner.write(name, at, &bytes[..bytes.len() / 2])?;
                    Err(error)
                }
            }
        }

        fn sync(&mut self, name: &str) -> io::Result<()> {
            self.next()?.sync(name)
        }

        fn reserve(&mut self, name: &str, len: u64) -> io::Result<()> {
            self.next()?.reserve(name, len)
        }

        fn truncate(&mut self, name: &str, len: u64) -> io::Result<()> {
            self.next()?.truncate(name, len)
        }

        fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
            self.next()?.rename(from, to)
        }

        fn remove(&mut self, name: &str) -> io::Result<()> {
            self.next()?.remove(name)
        }

        fn sync_directory(&mut self) -> io::Result<()> {
            self.next()?.sync_directory()
        }

        fn space(&mut self) -> io::Result<(u64, u64)> {
            self.next()?.space()
        }
    }
}
