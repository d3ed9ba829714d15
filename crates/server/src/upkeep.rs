//! What is done with a data directory while no server, or while a server, uses it.

use std::fs;
use std::io;
use std::path::Path;

use bitts_broker::recover::Recovered;
use bitts_store::disk::OsDisk;
use bitts_store::{Damage, Salvaged, StoreError, recover, salvage, write_anew};

use crate::clock::Clock;
use crate::storage::JOURNAL;

/// What a journal holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Holds {
    /// Sessions.
    pub sessions: usize,
    /// Messages that sessions are owed.
    pub owed: usize,
    /// Retained messages.
    pub retained: usize,
    /// Shadows.
    pub shadows: usize,
    /// Bytes at its end that a start cuts off.
    pub torn_bytes: u64,
    /// Places that could not be read.
    pub damages: Vec<Damage>,
}

impl Holds {
    fn of(recovered: &Recovered, torn_bytes: u64, damages: Vec<Damage>) -> Self {
        Self {
            sessions: recovered.sessions.len(),
            owed: recovered.sessions.iter().map(|session| session.owed.len()).sum(),
            retained: recovered.retained.len(),
            shadows: recovered.shadows.len(),
            torn_bytes,
            damages,
        }
    }
}

fn failed(path: &Path, operation: &'static str) -> impl FnOnce(io::Error) -> StoreError {
    let place = path.display().to_string();
    move |source| StoreError::Io { place, operation, source }
}

/// The journal of a directory that has one and that nobody uses.
fn existing(data_dir: &Path) -> Result<OsDisk, StoreError> {
    let path = data_dir.join(JOURNAL);
    fs::metadata(&path).map_err(failed(&path, "open"))?;
    OsDisk::open(&path).map_err(failed(&path, "open"))
}

/// Reads all of a journal, as a start would, and changes nothing.
pub fn check(data_dir: &Path) -> Result<Holds, StoreError> {
    let (opened, recovered) = recover(existing(data_dir)?, Clock::new().now())?;
    let torn_bytes = opened.torn.map_or(0, |torn| torn.bytes);
    Ok(Holds::of(&recovered, torn_bytes, Vec::new()))
}

/// Writes what can be read of a damaged journal into a new data directory.
pub fn repair(data_dir: &Path, to: &Path) -> Result<Holds, StoreError> {
    let now = Clock::new().now();
    let Salvaged { recovered, identity, damages } = salvage(&mut existing(data_dir)?, now)?;
    let path = to.join(JOURNAL);
    let disk = OsDisk::open(&path).map_err(failed(&path, "make"))?;
    write_anew(disk, identity.unwrap_or_else(rand::random), &recovered, now)?;
    Ok(Holds::of(&recovered, 0, damages))
}

/// Copies a journal into a new data directory, also while a server writes it. Says how many bytes.
///
/// All segments but the last are complete, and the last is cut where it ends while it is copied. A
/// checkpoint that removes segments meanwhile makes the copy begin again.
pub fn backup(data_dir: &Path, to: &Path) -> Result<u64, StoreError> {
    let (from, to) = (data_dir.join(JOURNAL), to.join(JOURNAL));
    fs::create_dir_all(&to).map_err(failed(&to, "make"))?;
    if fs::read_dir(&to).map_err(failed(&to, "list"))?.next().is_some() {
        let what = "it is not empty".to_owned();
        return Err(StoreError::Missing { place: to.display().to_string(), what });
    }
    loop {
        match copy(&from, &to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && from.exists() => {}
            outcome => return outcome.map_err(failed(&from, "copy")),
        }
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<u64> {
    for file in fs::read_dir(to)? {
        fs::remove_file(file?.path())?;
    }
    let mut names = Vec::new();
    for file in fs::read_dir(from)? {
        let name = file?.file_name();
        let text = name.to_string_lossy();
        let is_part = text == "identity" || text.starts_with("journal-");
        if is_part && !text.ends_with(".tmp") {
            names.push(name);
        }
    }
    let mut bytes = 0;
    for name in names {
        bytes += fs::copy(from.join(&name), to.join(&name))?;
        fs::File::open(to.join(&name))?.sync_all()?;
    }
    fs::File::open(to)?.sync_all()?;
    Ok(bytes)
}
