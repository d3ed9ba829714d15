//! The registry on disk: `registry.log`, a line for the changes of each write, in their order.
//!
//! A line is the CRC-32C of its JSON in eight hexadecimal digits, a space, and the JSON: an array
//! of `[table, key, value]`, where no value takes a row away. Changes are on disk before they are
//! answered, and those of one line together: no line can be torn that is not the last. At start the
//! log is written anew with what is in force: to another file, synced, then renamed. A last line
//! that is torn, without its end or with a part that was never written, was never answered: it is
//! cut off and reported. Damage anywhere else is refused with its place, and nothing on disk
//! changes.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bitts_aws::registry::{LoadError, Row, Table};
use serde_json::Value;

/// What a log begins with: its kind and the version of its form.
const HEADER: &str = "bitts registry 1";
/// Rows of one line of a log that is written anew.
const ROWS_PER_LINE: usize = 256;

/// Why a registry cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// A file or folder cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has it.
    #[error("{}: another process uses it", path.display())]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
    /// It is not of this version.
    #[error("{}: not a registry that this version can read", path.display())]
    Unknown {
        /// The log.
        path: PathBuf,
    },
    /// A line is not what was written.
    #[error("{}: damaged at byte {offset}", path.display())]
    Damaged {
        /// The log.
        path: PathBuf,
        /// Where the line begins.
        offset: usize,
    },
    /// Rows that are whole but no registry.
    #[error("{}: {problem}", path.display())]
    Rows {
        /// The log.
        path: PathBuf,
        /// What is wrong.
        problem: LoadError,
    },
}

/// An open log. Whoever has it is the only one.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    /// `None` after a write that failed: what is on disk is in doubt until the next start.
    file: Option<File>,
    _lock: File,
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> RegistryError {
    let path = path.to_owned();
    move |source| RegistryError::File { path, source }
}

impl Log {
    /// Takes the log of a folder, which is made if it is missing, and reads its rows.
    pub(crate) fn open(dir: &Path) -> Result<(Self, Vec<Row>), RegistryError> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(at(dir))?;
        let lock_path = dir.join("registry.lock");
        let lock = private(OpenOptions::new().write(true).create(true))
            .open(&lock_path)
            .map_err(at(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(RegistryError::InUse { path: lock_path }),
            Err(TryLockError::Error(source)) => return Err(at(&lock_path)(source)),
        }
        let path = dir.join("registry.log");
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(at(&path)(error)),
        };
        let rows = read(&path, &text)?;
        Ok((Self { path, file: None, _lock: lock }, rows))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the log anew with these rows; from then on changes can be added.
    pub(crate) fn compact(&mut self, rows: impl Iterator<Item = Row>) -> Result<(), RegistryError> {
        let new = self.path.with_extension("new");
        let file = write_anew(&new, rows).map_err(at(&new))?;
        fs::rename(&new, &self.path).map_err(at(&self.path))?;
        if let Some(dir) = self.path.parent() {
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(at(dir))?;
        }
        self.file = Some(file);
        Ok(())
    }

    /// Makes the next write fail.
    #[cfg(test)]
    pub(super) fn break_for_tests(&mut self) {
        self.file = Some(File::open(&self.path).unwrap());
    }

    /// Adds changes as one line. When this returns they are on disk.
    ///
    /// After a failure nothing is added any more: the system may have kept a part.
    pub(crate) fn append(&mut self, rows: &[Row]) -> io::Result<()> {
        let mut file = self
            .file
            .take()
            .ok_or_else(|| io::Error::other("an earlier write failed; restart to go on"))?;
        file.write_all(&line(rows)?)?;
        file.sync_data()?;
        self.file = Some(file);
        Ok(())
    }
}

fn write_anew(new: &Path, rows: impl Iterator<Item = Row>) -> io::Result<File> {
    let file = private(OpenOptions::new().write(true).create(true).truncate(true)).open(new)?;
    let mut writer = BufWriter::new(file);
    writeln!(writer, "{HEADER}")?;
    let mut rows = rows.peekable();
    while rows.peek().is_some() {
        let part: Vec<Row> = rows.by_ref().take(ROWS_PER_LINE).collect();
        writer.write_all(&line(&part)?)?;
    }
    let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    Ok(file)
}

/// Files that only their owner reads: they hold secrets.
pub(super) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options.mode(0o600)
}

fn line(rows: &[Row]) -> io::Result<Vec<u8>> {
    let mut written = Vec::with_capacity(rows.len());
    for row in rows {
        let value: Option<Value> = row.value.as_deref().map(serde_json::from_slice).transpose()?;
        written.push((row.table, &row.key, value));
    }
    let json = serde_json::to_string(&written)?;
    Ok(format!("{:08x} {json}\n", crc32c::crc32c(json.as_bytes())).into_bytes())
}

/// The rows of a log's text.
fn read(path: &Path, text: &[u8]) -> Result<Vec<Row>, RegistryError> {
    let mut rows = Vec::new();
    let mut lines = text.split_inclusive(|byte| *byte == b'\n').peekable();
    let Some(header) = lines.next() else { return Ok(rows) };
    if header != format!("{HEADER}\n").as_bytes() {
        return Err(RegistryError::Unknown { path: path.to_owned() });
    }
    let mut offset = header.len();
    while let Some(line) = lines.next() {
        match read_line(line) {
            Some(read) => rows.extend(read),
            None if lines.peek().is_none() && is_torn(line) => {
                let bytes = line.len();
                let path = path.display();
                tracing::warn!(%path, offset, bytes, "a torn last line is cut off");
            }
            None => return Err(RegistryError::Damaged { path: path.to_owned(), offset }),
        }
        offset += line.len();
    }
    Ok(rows)
}

/// Whether a line was not written to its end: it has none, or a part that was never written. One
/// that is whole and wrong was answered, and is damaged.
fn is_torn(line: &[u8]) -> bool {
    !line.ends_with(b"\n") || line.contains(&0)
}

fn read_line(line: &[u8]) -> Option<Vec<Row>> {
    let (checksum, json) = str::from_utf8(line).ok()?.strip_suffix('\n')?.split_once(' ')?;
    let is_right = u32::from_str_radix(checksum, 16) == Ok(crc32c::crc32c(json.as_bytes()));
    let rows: Vec<(Table, String, Option<Value>)> =
        is_right.then(|| serde_json::from_str(json).ok())??;
    let row = |(table, key, value): (_, _, Option<Value>)| Row {
        table,
        key,
        value: value.map(|value| value.to_string().into_bytes()),
    };
    Some(rows.into_iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn row(key: &str, value: Option<&str>) -> Row {
        let value = value.map(|value| value.as_bytes().to_vec());
        Row { table: Table::Thing, key: key.to_owned(), value }
    }

    /// A folder with a log of these changes.
    fn written(changes: &[Vec<Row>]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, rows) = Log::open(dir.path()).unwrap();
        assert!(rows.is_empty());
        log.compact([].into_iter()).unwrap();
        for change in changes {
            log.append(change).unwrap();
        }
        dir
    }

    fn three() -> Vec<Vec<Row>> {
        vec![
            vec![row("a", Some(r#"{"id":"1"}"#)), row("b\nö", Some("{}"))],
            vec![row("a", None)],
            vec![row("c", Some("{}"))],
        ]
    }

    #[test]
    fn what_was_added_is_read_in_order() {
        let dir = written(&three());
        let (_, rows) = Log::open(dir.path()).unwrap();
        assert_eq!(rows, three().concat());
    }

    #[test]
    fn a_log_written_anew_holds_what_it_was_given_and_goes_on() {
        let dir = written(&three());
        let (mut log, _) = Log::open(dir.path()).unwrap();
        let kept: Vec<_> = (0..600).map(|number| row(&number.to_string(), Some("{}"))).collect();
        log.compact(kept.clone().into_iter()).unwrap();
        log.append(&[row("new", None)]).unwrap();
        drop(log);
        let (_, rows) = Log::open(dir.path()).unwrap();
        assert_eq!(rows, [kept, vec![row("new", None)]].concat());
        assert!(!dir.path().join("registry.new").exists());
    }

    #[test]
    fn only_one_process_has_it_and_only_its_owner_reads_it() {
        let dir = written(&[]);
        let (log, _) = Log::open(dir.path()).unwrap();
        assert!(matches!(Log::open(dir.path()), Err(RegistryError::InUse { .. })));
        let mode = fs::metadata(log.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(log);
        Log::open(dir.path()).unwrap();
    }

    /// Wherever the last write is torn, what was answered before it is there.
    #[test]
    fn a_torn_last_line_is_cut_off_at_any_byte() {
        let dir = written(&three());
        let path = dir.path().join("registry.log");
        let whole = fs::read(&path).unwrap();
        let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
        for end in last..whole.len() {
            fs::write(&path, &whole[..end]).unwrap();
            let (_, rows) = Log::open(dir.path()).unwrap();
            assert_eq!(rows, three()[..2].concat(), "{end}");
        }
        let mut zeroed = whole.clone();
        zeroed[last..].fill(0);
        fs::write(&path, &zeroed).unwrap();
        assert_eq!(Log::open(dir.path()).unwrap().1, three()[..2].concat());
    }

    /// A last line that was written whole was answered: a changed bit of it is no tear.
    #[test]
    fn damage_of_the_last_line_is_refused() {
        let dir = written(&three());
        let path = dir.path().join("registry.log");
        let whole = fs::read(&path).unwrap();
        let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
        for byte in last..whole.len() - 1 {
            let mut damaged = whole.clone();
            damaged[byte] ^= 1;
            fs::write(&path, &damaged).unwrap();
            let refused = Log::open(dir.path());
            assert!(matches!(refused, Err(RegistryError::Damaged { .. })), "{byte}");
        }
    }

    /// One changed bit before the last line is found, whichever it is.
    #[test]
    fn damage_in_the_middle_is_refused_with_its_place() {
        let dir = written(&three());
        let path = dir.path().join("registry.log");
        let whole = fs::read(&path).unwrap();
        let first = HEADER.len() + 1;
        let second = whole[first..].iter().position(|byte| *byte == b'\n').unwrap() + first + 1;
        for byte in first..second - 1 {
            let mut damaged = whole.clone();
            damaged[byte] ^= 1;
            fs::write(&path, &damaged).unwrap();
            match Log::open(dir.path()).unwrap_err() {
                RegistryError::Damaged { offset, .. } => assert_eq!(offset, first, "{byte}"),
                other => panic!("{byte}: {other}"),
            }
            assert_eq!(fs::read(&path).unwrap(), damaged);
        }
        fs::write(&path, "bitts registry 2\n").unwrap();
        assert!(matches!(Log::open(dir.path()), Err(RegistryError::Unknown { .. })));
    }

    #[test]
    fn nothing_is_added_after_a_failure() {
        let dir = written(&[]);
        let (mut log, _) = Log::open(dir.path()).unwrap();
        log.compact([].into_iter()).unwrap();
        log.break_for_tests();
        assert!(log.append(&[row("a", Some("{}"))]).is_err());
        let after = log.append(&[row("a", Some("{}"))]).unwrap_err();
        assert_eq!(after.to_string(), "an earlier write failed; restart to go on");
        drop(log);
        assert!(Log::open(dir.path()).unwrap().1.is_empty());
    }
}
