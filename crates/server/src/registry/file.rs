//! The registry on disk: `registry.log`, a line for the changes of each write, in their order.
//!
//! A line is the CRC-32C of its JSON in eight hexadecimal digits, a space, and the JSON: an array
//! of `[table, key, value]`, where no value takes a row away. Changes are on disk before they are
//! answered, and those of one line together: no line can be torn that is not the last. At start the
//! log is written anew with what is in force: to another file, synced, then renamed. A last line
//! that is torn, without its end or with a part that was never written, was never answered: it is
//! cut off and reported. Damage anywhere else is refused with its place, and nothing on disk
//! changes. A full disk refuses changes until there is room; any other failure is final.

use std::io;
use std::path::{Path, PathBuf};

use bitts_aws::registry::{LoadError, Row, Table};
use bitts_store::Damage;
use serde_json::Value;

use super::folder::{Folder, Unwritten, is_no_space};

/// The log, and the one that takes its place.
const LOG: &str = "registry.log";
const NEW: &str = "registry.new";
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
    folder: Folder,
    /// Bytes of it that are good; absent where it is not there.
    len: Option<u64>,
    /// Bytes behind them that were torn.
    torn: u64,
    /// A write failed: what is on disk is in doubt until the next start.
    has_failed: bool,
}

/// The rows of a log, and what of it they are.
struct Read {
    rows: Vec<Row>,
    len: u64,
    torn: u64,
}

impl Log {
    /// Reads the log of a folder. Nothing changes.
    pub(super) fn open(folder: Folder) -> Result<(Self, Vec<Row>), RegistryError> {
        let path = folder.path(LOG);
        let text = folder.read(LOG)?;
        let is_there = text.is_some();
        let Read { rows, len, torn } = read(&path, &text.unwrap_or_default())?;
        let len = is_there.then_some(len);
        Ok((Self { folder, len, torn, has_failed: false }, rows))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path(LOG)
    }

    /// Bytes at its end that are no line.
    pub(super) fn torn(&self) -> u64 {
        self.torn
    }

    /// Writes the log anew with these rows; from then on changes can be added. Where the disk is
    /// full the old one stays, without what was torn.
    pub(super) fn compact(&mut self, rows: impl Iterator<Item = Row>) -> Result<(), RegistryError> {
        let written = write_anew(&self.folder, rows);
        let (path, full) = match (written, self.len) {
            (Ok(len), _) => {
                self.len = Some(len);
                (self.path(), self.folder.disk().sync_directory())
            }
            (Err(error), Some(len)) if is_no_space(&error) => {
                tracing::warn!(path = %self.path().display(), "not written anew: the disk is full");
                (self.path(), self.cut(len))
            }
            (Err(error), _) => (self.folder.path(NEW), Err(error)),
        };
        self.torn = 0;
        full.map_err(|source| RegistryError::File { path, source })
    }

    /// Takes away what is not good.
    fn cut(&self, len: u64) -> io::Result<()> {
        let mut disk = self.folder.disk();
        match disk.remove(NEW) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        if self.torn > 0 {
            disk.truncate(LOG, len)?;
            disk.sync(LOG)?;
        }
        Ok(())
    }

    /// Adds changes as one line. When this returns they are on disk.
    ///
    /// Where the disk is full nothing has changed; after any other failure nothing is added any
    /// more: the system may have kept a part.
    pub(super) fn append(&mut self, rows: &[Row]) -> Result<(), Unwritten> {
        let len = self.len.filter(|_| !self.has_failed);
        let Some(len) = len else {
            return Err(io::Error::other("an earlier write failed; restart to go on").into());
        };
        let line = line(rows)?;
        let written = self.folder.append(LOG, (len, &line), true);
        self.has_failed = matches!(written, Err(Unwritten::Failed(_)));
        if written.is_ok() {
            self.len = Some(len + line.len() as u64);
        }
        written
    }
}

/// Writes a whole log beside the one that is there, and lets it take its place.
fn write_anew(folder: &Folder, rows: impl Iterator<Item = Row>) -> io::Result<u64> {
    let mut disk = folder.disk();
    disk.create(NEW)?;
    let mut bytes = format!("{HEADER}\n").into_bytes();
    let mut len = 0;
    let mut rows = rows.peekable();
    loop {
        let part: Vec<Row> = rows.by_ref().take(ROWS_PER_LINE).collect();
        if !part.is_empty() {
            bytes.extend_from_slice(&line(&part)?);
        }
        disk.write(NEW, len, &bytes)?;
        len += bytes.len() as u64;
        bytes.clear();
        if rows.peek().is_none() {
            break;
        }
    }
    disk.sync(NEW)?;
    disk.rename(NEW, LOG)?;
    Ok(len)
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
fn read(path: &Path, text: &[u8]) -> Result<Read, RegistryError> {
    let mut rows = Vec::new();
    let mut lines = text.split_inclusive(|byte| *byte == b'\n').peekable();
    let Some(header) = lines.next() else { return Ok(Read { rows, len: 0, torn: 0 }) };
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
                return Ok(Read { rows, len: offset as u64, torn: bytes as u64 });
            }
            None => return Err(RegistryError::Damaged { path: path.to_owned(), offset }),
        }
        offset += line.len();
    }
    Ok(Read { rows, len: offset as u64, torn: 0 })
}

/// The rows of every line that can be read, and where the others are; nothing is changed.
pub(super) fn salvage(folder: &Folder) -> Result<(Vec<Row>, Vec<Damage>), RegistryError> {
    let text = folder.read(LOG)?.unwrap_or_default();
    let (mut rows, mut damages, mut offset) = (Vec::new(), Vec::new(), 0);
    let mut lines = text.split_inclusive(|byte| *byte == b'\n').peekable();
    while let Some(line) = lines.next() {
        let is_header = offset == 0 && line == format!("{HEADER}\n").as_bytes();
        let is_cut_off = lines.peek().is_none() && is_torn(line);
        match read_line(line) {
            Some(read) => rows.extend(read),
            None if is_header || is_cut_off => {}
            None => damages.push(Damage {
                place: folder.path(LOG).display().to_string(),
                offset: offset as u64,
                bytes: line.len() as u64,
            }),
        }
        offset += line.len();
    }
    Ok((rows, damages))
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
    use std::fs;
    use std::io::ErrorKind;
    use std::os::unix::fs::PermissionsExt;

    use super::super::folder::tests::failing;
    use super::*;

    fn open(dir: &Path) -> Result<(Log, Vec<Row>), RegistryError> {
        Log::open(Folder::open(dir)?)
    }

    fn row(key: &str, value: Option<&str>) -> Row {
        let value = value.map(|value| value.as_bytes().to_vec());
        Row { table: Table::Thing, key: key.to_owned(), value }
    }

    /// A folder with a log of these changes.
    fn written(changes: &[Vec<Row>]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, rows) = open(dir.path()).unwrap();
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
        let (_, rows) = open(dir.path()).unwrap();
        assert_eq!(rows, three().concat());
    }

    #[test]
    fn a_log_written_anew_holds_what_it_was_given_and_goes_on() {
        let dir = written(&three());
        let (mut log, _) = open(dir.path()).unwrap();
        let kept: Vec<_> = (0..600).map(|number| row(&number.to_string(), Some("{}"))).collect();
        log.compact(kept.clone().into_iter()).unwrap();
        log.append(&[row("new", None)]).unwrap();
        drop(log);
        let (_, rows) = open(dir.path()).unwrap();
        assert_eq!(rows, [kept, vec![row("new", None)]].concat());
        assert!(!dir.path().join("registry.new").exists());
    }

    #[test]
    fn only_one_process_has_it_and_only_its_owner_reads_it() {
        let dir = written(&[]);
        let (log, _) = open(dir.path()).unwrap();
        assert!(matches!(open(dir.path()), Err(RegistryError::InUse { .. })));
        let mode = fs::metadata(log.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(log);
        open(dir.path()).unwrap();
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
            let (_, rows) = open(dir.path()).unwrap();
            assert_eq!(rows, three()[..2].concat(), "{end}");
        }
        let mut zeroed = whole.clone();
        zeroed[last..].fill(0);
        fs::write(&path, &zeroed).unwrap();
        assert_eq!(open(dir.path()).unwrap().1, three()[..2].concat());
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
            let refused = open(dir.path());
            assert!(matches!(refused, Err(RegistryError::Damaged { .. })), "{byte}");
        }
    }

    #[test]
    fn of_a_damaged_log_every_other_line_is_read() {
        let dir = written(&three());
        let path = dir.path().join("registry.log");
        let mut damaged = fs::read(&path).unwrap();
        let second = HEADER.len() + 1 + line(&three()[0]).unwrap().len();
        damaged[second + 20] ^= 1;
        damaged.extend_from_slice(b"torn");
        fs::write(&path, &damaged).unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let (rows, damages) = salvage(&folder).unwrap();
        assert_eq!(rows, [three()[0].clone(), three()[2].clone()].concat());
        assert_eq!(damages[0].offset, second as u64);
        assert_eq!((damages.len(), fs::read(&path).unwrap()), (1, damaged));
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
            match open(dir.path()).unwrap_err() {
                RegistryError::Damaged { offset, .. } => assert_eq!(offset, first, "{byte}"),
                other => panic!("{byte}: {other}"),
            }
            assert_eq!(fs::read(&path).unwrap(), damaged);
        }
        fs::write(&path, "bitts registry 2\n").unwrap();
        assert!(matches!(open(dir.path()), Err(RegistryError::Unknown { .. })));
    }

    /// Begins as a server does, and makes changes until one is refused for good.
    fn serve(folder: Folder, changes: &[Vec<Row>]) -> Result<Vec<Row>, RegistryError> {
        let (mut log, rows) = Log::open(folder)?;
        log.compact(rows.into_iter())?;
        let mut answered = Vec::new();
        for change in changes {
            loop {
                match log.append(change) {
                    Ok(()) => answered.extend(change.clone()),
                    // It passes.
                    Err(Unwritten::NoSpace) => continue,
                    Err(Unwritten::Failed(_)) => {
                        let after = log.append(change).unwrap_err().to_string();
                        assert_eq!(after, "an earlier write failed; restart to go on");
                        return Ok(answered);
                    }
                }
                break;
            }
        }
        Ok(answered)
    }

    /// D1, D4, D6: whichever operation fails, the next start has what was answered, and at most the
    /// change that was under way; a full disk passes.
    #[test]
    fn whichever_operation_fails_what_was_answered_is_there() {
        let more = [vec![row("d", Some("{}")), row("e", Some("{}"))], vec![row("d", None)]];
        for (kind, is_for_good) in
            [(ErrorKind::Other, false), (ErrorKind::Other, true), (ErrorKind::StorageFull, false)]
        {
            for at in 1.. {
                let dir = written(&three());
                let path = dir.path().join("registry.log");
                let mut torn = fs::read(&path).unwrap();
                torn.extend_from_slice(b"00000000 [[\"thing");
                fs::write(&path, torn).unwrap();
                let (folder, plan) = failing(dir.path(), Some((at, kind, is_for_good)));
                let answered = serve(folder, &more).unwrap_or_default();
                let (_, rows) = open(dir.path()).unwrap();
                let before = [three().concat(), answered].concat();
                let all = [three().concat(), more.concat()].concat();
                assert!(rows.len() >= before.len(), "{at} {kind:?}");
                assert_eq!(rows[..], all[..rows.len()], "{at} {kind:?}");
                if kind == ErrorKind::StorageFull && at > 2 {
                    let is_sync = before.len() < all.len();
                    assert!(!is_sync || plan.lock().unwrap().done >= at, "{at}");
                }
                if plan.lock().unwrap().done < at {
                    break;
                }
            }
        }
    }

    #[test]
    fn a_disk_that_is_full_at_the_start_keeps_the_log_that_is_there() {
        for at in 2..5 {
            let dir = written(&three());
            let (folder, _) = failing(dir.path(), Some((at, ErrorKind::StorageFull, false)));
            assert_eq!(serve(folder, &[vec![row("d", None)]]).unwrap(), [row("d", None)], "{at}");
            assert_eq!(
                open(dir.path()).unwrap().1,
                [three().concat(), vec![row("d", None)]].concat()
            );
            assert!(!dir.path().join("registry.new").exists());
        }
    }
}
