//! A directory of files as the journal needs it: the operating system's, or a simulated one.
//!
//! Each operation is one call of the system, so that a disk that fails can fail between any two.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

/// Mode of the directory.
const DIRECTORY_MODE: u32 = 0o700;
/// Mode of the files in it.
const FILE_MODE: u32 = 0o600;
/// Files that stay open between calls.
const OPEN_MAX: usize = 4;

/// Files as whoever only reads them needs them, beside who writes.
pub trait ReadAt: Send {
    /// Bytes of a file from a place on: fewer where it ends before.
    fn read_at(&mut self, name: &str, at: u64, len: usize) -> io::Result<Vec<u8>>;

    /// What a person is told where a file is.
    fn place(&self, name: &str) -> String;
}

/// See the module.
pub trait Disk: ReadAt {
    /// The names of all files, in no order.
    fn names(&mut self) -> io::Result<Vec<String>>;

    /// Bytes of a file.
    fn len(&mut self, name: &str) -> io::Result<u64>;

    /// All of a file.
    fn read(&mut self, name: &str) -> io::Result<Vec<u8>>;

    /// Makes an empty file, or empties the one that is there.
    fn create(&mut self, name: &str) -> io::Result<()>;

    /// Writes into a file, all of it or an error.
    fn write(&mut self, name: &str, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Puts what was written into a file on stable storage.
    fn sync(&mut self, name: &str) -> io::Result<()>;

    /// Makes sure that a file can be written up to `len`, without changing what is in it. Says
    /// nothing where the disk cannot do that.
    fn reserve(&mut self, name: &str, len: u64) -> io::Result<()>;

    /// Cuts a file, and gives back what was reserved beyond.
    fn truncate(&mut self, name: &str, len: u64) -> io::Result<()>;

    /// Gives a file another name.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;

    /// The same of a file that is to be written over: `false`, and nothing is done, where somebody
    /// reads it and says so with a shared lock.
    fn rename_unread(&mut self, from: &str, to: &str) -> io::Result<bool> {
        self.rename(from, to).map(|()| true)
    }

    /// Removes a file.
    fn remove(&mut self, name: &str) -> io::Result<()>;

    /// Puts names that were made, changed or removed on stable storage.
    fn sync_directory(&mut self) -> io::Result<()>;

    /// Bytes that may still be written, and bytes of the whole disk.
    fn space(&mut self) -> io::Result<(u64, u64)>;
}

/// A directory of the operating system.
#[derive(Debug)]
pub struct OsDisk {
    path: PathBuf,
    open: BTreeMap<String, File>,
    /// Held while the directory is used.
    _lock: File,
}

impl OsDisk {
    /// Opens a directory, makes it if needed, and locks it for this process.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_with(path, "bitts.lock")
    }

    /// The same with a lock of another name, for files that are not the journal's.
    pub fn open_with(path: &Path, lock: &str) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path)?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(path.join(lock))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                let what = "another process uses this directory";
                return Err(io::Error::new(io::ErrorKind::WouldBlock, what));
            }
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
        Ok(Self { path: path.to_owned(), open: BTreeMap::new(), _lock: lock })
    }

    fn file(&mut self, name: &str) -> io::Result<&File> {
        if !self.open.contains_key(name) {
            let file = OpenOptions::new().write(true).open(self.path.join(name))?;
            if self.open.len() >= OPEN_MAX {
                self.open.pop_first();
            }
            self.open.insert(name.to_owned(), file);
        }
        self.open.get(name).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

/// A directory of the operating system, for reading.
#[derive(Debug)]
pub struct OsReader {
    path: PathBuf,
}

impl OsReader {
    /// Of a directory that somebody else has opened.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }
}

impl ReadAt for OsReader {
    fn read_at(&mut self, name: &str, at: u64, len: usize) -> io::Result<Vec<u8>> {
        read_at(&self.path.join(name), at, len)
    }

    fn place(&self, name: &str) -> String {
        place(&self.path, name)
    }
}

fn place(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

fn read_at(path: &Path, at: u64, len: usize) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut bytes = vec![0; len];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at + filled as u64) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

impl ReadAt for OsDisk {
    fn read_at(&mut self, name: &str, at: u64, len: usize) -> io::Result<Vec<u8>> {
        read_at(&self.path.join(name), at, len)
    }

    fn place(&self, name: &str) -> String {
        place(&self.path, name)
    }
}

impl Disk for OsDisk {
    fn names(&mut self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        Ok(names)
    }

    fn len(&mut self, name: &str) -> io::Result<u64> {
        Ok(fs::metadata(self.path.join(name))?.len())
    }

    fn read(&mut self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.path.join(name))
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        self.open.remove(name);
        let path = self.path.join(name);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(FILE_MODE)
            .open(path)?;
        self.open.insert(name.to_owned(), file);
        Ok(())
    }

    fn write(&mut self, name: &str, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file(name)?.write_all_at(bytes, at)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.file(name)?.sync_data()
    }

    fn reserve(&mut self, name: &str, len: u64) -> io::Result<()> {
        let flags = FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(self.file(name)?, flags, 0, len) {
            Err(Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL) => Ok(()),
            outcome => outcome.map_err(io::Error::from),
        }
    }

    fn truncate(&mut self, name: &str, len: u64) -> io::Result<()> {
        self.file(name)?.set_len(len)
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))?;
        if let Some(file) = self.open.remove(from) {
            self.open.insert(to.to_owned(), file);
        }
        Ok(())
    }

    fn rename_unread(&mut self, from: &str, to: &str) -> io::Result<bool> {
        match self.file(from)?.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Ok(false),
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
        // Whoever locks it from here on finds that it has another name.
        self.rename(from, to)?;
        self.file(to)?.unlock()?;
        Ok(true)
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.open.remove(name);
        fs::remove_file(self.path.join(name))
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn space(&mut self) -> io::Result<(u64, u64)> {
        let held = rustix::fs::statvfs(&self.path)?;
        let block = held.f_frsize.max(1);
        Ok((held.f_bavail.saturating_mul(block), held.f_blocks.saturating_mul(block)))
    }
}
