//! A data directory that is new: there as a whole, or not at all.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use bitts_store::StoreError;

use super::{REGISTRY, failed};
use crate::storage::{JOURNAL, UNFINISHED};

/// Makes a directory that is new, or one that is empty a data directory.
///
/// `write` writes the journal at the path that it is given and the registry at its place, all of it
/// synced. The journal gets its name when everything is there; where something fails, nothing is
/// left, and where the process ends before, no server takes what is there for a directory of its
/// own.
pub(super) fn anew<T, E: From<StoreError>>(
    data_dir: &Path,
    write: impl FnOnce(&Path) -> Result<T, E>,
) -> Result<T, E> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(data_dir);
    made.map_err(failed(data_dir, "make"))?;
    if fs::read_dir(data_dir).map_err(failed(data_dir, "list"))?.next().is_some() {
        return Err(StoreError::NotEmpty { place: data_dir.display().to_string() }.into());
    }
    let (path, name) = (data_dir.join(UNFINISHED), data_dir.join(JOURNAL));
    let outcome = write(&path).and_then(|written| {
        fs::rename(&path, &name).map_err(failed(&name, "rename"))?;
        let synced = File::open(data_dir).and_then(|dir| dir.sync_all());
        synced.map_err(failed(data_dir, "sync"))?;
        Ok(written)
    });
    if outcome.is_err() {
        // What was made is of no use, and not in the way of whoever tries again.
        for file in [REGISTRY, "registry.lock"] {
            drop(fs::remove_file(data_dir.join(file)));
        }
        for journal in [path, name] {
            drop(fs::remove_dir_all(journal));
        }
    }
    outcome
}
