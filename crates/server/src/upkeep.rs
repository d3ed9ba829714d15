//! What is done with a data directory while no server, or while a server, uses it.

mod anew;
mod backup;
mod export;
mod import;
mod line;
mod read;
#[cfg(test)]
mod tests;
mod write;

use std::fs;
use std::io;
use std::path::Path;

use bitts_broker::recover::Recovered;
use bitts_store::disk::OsDisk;
use bitts_store::{Damage, Salvaged, StoreError, recover, salvage, write_anew};

pub use self::backup::backup;
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
            owed: recovered.sessions.iter().map(|session| session.owed_len() as usize).sum(),
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
    let now = Clock::new().now();
    let (mut opened, recovered) = recover(existing(data_dir)?, now)?;
    for page in recovered.sessions.iter().flat_map(|session| &session.pages) {
        opened.owed_in(page.id, now)?;
    }
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
    anew::anew(to, |path| {
        let disk = OsDisk::open(path).map_err(failed(path, "make"))?;
        write_anew(disk, identity.unwrap_or_else(rand::random), &recovered, now)?;
        write_rows(to, rows).map_err(unusable)?;
        let (registry_rows, _) = check_rows(to).map_err(unusable)?;
        Ok(Holds { registry_rows, ..Holds::of(&recovered, 0, damages) })
    })
}
