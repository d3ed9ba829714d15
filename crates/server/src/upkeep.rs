//! What is done with a data directory while no server, or while a server, uses it.

mod export;
mod import;
mod line;
mod read;
#[cfg(test)]
mod tests;
mod write;

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use bitts_broker::recover::Recovered;
use bitts_store::disk::OsDisk;
use bitts_store::{Damage, Salvaged, StoreError, recover, salvage, write_anew};

pub use self::export::{ExportError, Secrets, export};
pub use self::import::{ImportError, import};
use crate::clock::Clock;
use crate::registry::{RegistryError, check_rows, salvaged_rows, write_rows};
use crate::storage::JOURNAL;

/// The registry in the data directory.
const REGISTRY: &str = "registry.log";

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
    /// Rows of the registry of identities.
    pub registry_rows: usize,
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
            registry_rows: 0,
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

/// What is wrong with the registry, as what is wrong with a file.
fn unusable(error: RegistryError) -> StoreError {
    match error {
        RegistryError::File { path, source } => failed(&path, "use")(source),
        RegistryError::InUse { path } => {
            failed(&path, "open")(io::Error::other("another process uses this directory"))
        }
        RegistryError::Damaged { path, offset } => StoreError::Damaged {
            place: path.display().to_string(),
            offset: offset as u64,
            what: "a line",
        },
        RegistryError::Unknown { ref path } | RegistryError::Rows { ref path, .. } => {
            StoreError::Missing { place: path.display().to_string(), what: error.to_string() }
        }
    }
}

/// Reads all of a journal and of the registry, as a start would, and changes nothing.
pub fn check(data_dir: &Path) -> Result<Holds, StoreError> {
    let (opened, recovered) = recover(existing(data_dir)?, Clock::new().now())?;
    let torn_bytes = opened.torn.map_or(0, |torn| torn.bytes);
    let (registry_rows, torn) = check_rows(data_dir).map_err(unusable)?;
    Ok(Holds { registry_rows, ..Holds::of(&recovered, torn_bytes + torn, Vec::new()) })
}

/// Writes what can be read of a damaged journal, and of the registry, into a new data directory.
pub fn repair(data_dir: &Path, to: &Path) -> Result<Holds, StoreError> {
    let now = Clock::new().now();
    let Salvaged { recovered, identity, mut damages } = salvage(&mut existing(data_dir)?, now)?;
    let (rows, more) = salvaged_rows(data_dir).map_err(unusable)?;
    damages.extend(more);
    let path = to.join(JOURNAL);
    let disk = OsDisk::open(&path).map_err(failed(&path, "make"))?;
    write_anew(disk, identity.unwrap_or_else(rand::random), &recovered, now)?;
    write_rows(to, rows).map_err(unusable)?;
    let (registry_rows, _) = check_rows(to).map_err(unusable)?;
    Ok(Holds { registry_rows, ..Holds::of(&recovered, 0, damages) })
}

/// Copies a journal and the registry into a new data directory, also while a server writes them.
/// Says how many bytes.
///
/// The registry is one file to which lines are added: a copy may end in a line that is torn.
///
/// All segments but the last are complete, and the last is cut where it ends while it is copied. A
/// checkpoint that removes segments meanwhile makes the copy begin again.
pub fn backup(data_dir: &Path, to: &Path) -> Result<u64, StoreError> {
    let (registry, copied) = (data_dir.join(REGISTRY), to.join(REGISTRY));
    let (from, to) = (data_dir.join(JOURNAL), to.join(JOURNAL));
    DirBuilder::new().recursive(true).mode(0o700).create(&to).map_err(failed(&to, "make"))?;
    if fs::read_dir(&to).map_err(failed(&to, "list"))?.next().is_some() {
        return Err(StoreError::NotEmpty { place: to.display().to_string() });
    }
    let rows = match fs::copy(&registry, &copied) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Ok(bytes) => fs::File::open(&copied).and_then(|file| file.sync_all()).map(|()| bytes),
        failed => failed,
    };
    let rows = rows.map_err(failed(&registry, "copy"))?;
    loop {
        match copy(&from, &to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && from.exists() => {}
            outcome => return outcome.map(|it| it + rows).map_err(failed(&from, "copy")),
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
