//! A copy of a data directory, also while a server uses it.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use bitts_store::disk::OsDisk;
use bitts_store::{StoreError, recover};

use super::anew::anew;
use super::{REGISTRY, failed};
use crate::clock::Clock;
use crate::storage::JOURNAL;

/// How often a copy is tried that a checkpoint takes files from.
const ATTEMPTS: usize = 20;

/// Copies a journal and the registry into a new data directory, also while a server writes them.
/// Says how many bytes.
///
/// The registry is one file to which lines are added: a copy may end in a line that is torn.
///
/// All segments but the last are complete, and the last is cut where it ends while it is copied. A
/// shared lock on each keeps the server from writing over it. A checkpoint that gives segments up
/// before all are locked makes the copy begin again. Files of pages are held open from before the
/// segments are copied, so that what is freed meanwhile is there; a copy is read as a start would
/// read it, and begun again where it lacks a page.
pub fn backup(data_dir: &Path, to: &Path) -> Result<u64, StoreError> {
    anew(to, |copied| {
        let rows = copy_registry(&data_dir.join(REGISTRY), &to.join(REGISTRY))?;
        Ok(rows + copy_journal(&data_dir.join(JOURNAL), copied)?)
    })
}

fn copy_registry(from: &Path, to: &Path) -> Result<u64, StoreError> {
    match open_file(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        file => file.and_then(|file| copy_file(file, to)).map_err(failed(from, "copy")),
    }
}

/// Copies until a copy is whole.
fn copy_journal(from: &Path, to: &Path) -> Result<u64, StoreError> {
    DirBuilder::new().mode(0o700).create(to).map_err(failed(to, "make"))?;
    let mut attempts = 0;
    loop {
        attempts += 1;
        let bytes = match copy(from, to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && attempts < ATTEMPTS => {
                continue;
            }
            outcome => outcome.map_err(failed(from, "copy"))?,
        };
        let disk = OsDisk::open(to).map_err(failed(to, "open"))?;
        match recover(disk, Clock::new().now()) {
            Err(StoreError::Missing { .. }) if attempts < ATTEMPTS => {}
            outcome => return outcome.map(|_| bytes),
        }
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<u64> {
    for file in fs::read_dir(to)? {
        fs::remove_file(file?.path())?;
    }
    let held = open_files(from, "pages-")?;
    let mut bytes = 0;
    for (name, file) in
        open_files(from, "identity")?.into_iter().chain(open_files(from, "journal-")?)
    {
        bytes += copy_file(file, &to.join(name))?;
    }
    let mut begun_meanwhile = open_files(from, "pages-")?;
    begun_meanwhile.retain(|(name, _)| held.iter().all(|(other, _)| other != name));
    for (name, file) in held.into_iter().chain(begun_meanwhile) {
        bytes += copy_file(file, &to.join(name))?;
    }
    File::open(to)?.sync_all()?;
    Ok(bytes)
}

/// The finished files of a directory whose names begin so. One that is removed meanwhile is passed
/// over where it holds pages; without a segment there is no copy.
fn open_files(from: &Path, prefix: &str) -> io::Result<Vec<(OsString, File)>> {
    let mut files = Vec::new();
    for file in fs::read_dir(from)? {
        let name = file?.file_name();
        let text = name.to_string_lossy();
        if !text.starts_with(prefix) || text.ends_with(".tmp") {
            continue;
        }
        match open_file(&from.join(&name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && prefix == "pages-" => {}
            file => files.push((name, file?)),
        }
    }
    Ok(files)
}

fn copy_file(mut from: File, to: &Path) -> io::Result<u64> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(to)?;
    let bytes = io::copy(&mut from, &mut file)?;
    file.sync_all()?;
    Ok(bytes)
}

/// Opens a file that is not written over while it is open.
fn open_file(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    file.lock_shared()?;
    // It may have become another one before it was locked.
    if fs::metadata(path)?.ino() == file.metadata()?.ino() {
        Ok(file)
    } else {
        Err(io::ErrorKind::NotFound.into())
    }
}
