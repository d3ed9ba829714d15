//! What was done with identities and permissions: who asked for what, and what was decided.
//!
//! A line of JSON for each change of the control plane and each one that was denied, in
//! `audit.log` beside the registry, and to the log under the target `audit`. Names and ids only:
//! never a secret, a key or a document. The line of a change is on disk before the change is
//! answered; lines that come while others are written are written together. A file that is full
//! becomes `audit.log.1`, the one before `audit.log.2`, and the last one goes. A full disk refuses
//! a line; any other failure is final.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, PoisonError};

use serde::Serialize;
use tokio::sync::{Mutex, oneshot};

use super::RegistryError;
use super::folder::{Folder, Unwritten, is_no_space};
use crate::config::ServerLimits;

const LOG: &str = "audit.log";
/// The outcome of what was done.
pub(crate) const DONE: &str = "done";

/// Bounds of the audit log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AuditLimits {
    pub(crate) bytes_max: u64,
    pub(crate) files_max: u32,
}

impl AuditLimits {
    pub(crate) fn of(limits: &ServerLimits) -> Self {
        Self { bytes_max: limits.audit_bytes_max, files_max: limits.audit_files_max }
    }
}

/// One entry.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry<'a> {
    /// When, in milliseconds since 1970.
    pub(crate) timestamp: u64,
    /// The request's id.
    pub(crate) request_id: &'a str,
    /// Who asked.
    pub(crate) principal: &'a str,
    /// From where.
    pub(crate) source_ip: &'a str,
    /// For what: `iot:CreateThing`.
    pub(crate) action: &'a str,
    /// With what: the request's names and ids, and those of what was made.
    pub(crate) with: &'a BTreeMap<&'static str, String>,
    /// `done`, or the name of the exception.
    pub(crate) outcome: &'a str,
}

impl Entry<'_> {
    fn line(&self) -> io::Result<Vec<u8>> {
        let Entry { request_id, principal, source_ip, action, with, outcome, .. } = self;
        tracing::info!(
            target: "audit", request_id, principal, source_ip, action, ?with, outcome,
        );
        let mut line = serde_json::to_vec(self).map_err(io::Error::other)?;
        line.push(b'\n');
        Ok(line)
    }
}

/// A line that is to be written, and who waits for it.
#[derive(Debug)]
struct Waiting {
    line: Vec<u8>,
    /// It is of a change that is to be answered.
    is_promised: bool,
    written: oneshot::Sender<bool>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Audit(Option<Arc<Writer>>);

#[derive(Debug)]
struct Writer {
    waiting: std::sync::Mutex<Vec<Waiting>>,
    /// Whoever has it is the writer.
    file: Arc<Mutex<AuditFile>>,
}

impl Audit {
    pub(super) fn open(folder: Folder, limits: AuditLimits) -> Result<Self, RegistryError> {
        let file = Arc::new(Mutex::new(AuditFile::open(folder, limits)?));
        Ok(Self(Some(Arc::new(Writer { waiting: std::sync::Mutex::default(), file }))))
    }

    /// Writes an entry; `false` where it is of a change and not on disk.
    pub(crate) async fn write(&self, entry: &Entry<'_>, is_promised: bool) -> bool {
        let line = entry.line();
        let (Some(writer), Ok(line)) = (&self.0, line) else { return self.0.is_none() };
        let (written, told) = oneshot::channel();
        let waiting = Waiting { line, is_promised, written };
        writer.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(waiting);
        let writer = Arc::clone(writer);
        tokio::spawn(async move { writer.write_all().await });
        told.await.unwrap_or(false)
    }

    /// The same while no server runs.
    pub(super) fn write_now(&self, entry: &Entry<'_>) -> Result<(), Unwritten> {
        let line = entry.line()?;
        let Some(writer) = &self.0 else { return Ok(()) };
        let mut file = writer.file.try_lock().map_err(io::Error::other)?;
        file.append(&line, true)
    }
}

impl Writer {
    async fn write_all(&self) {
        let mut file = Arc::clone(&self.file).lock_owned().await;
        let waiting =
            std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        if waiting.is_empty() {
            return;
        }
        let lines = waiting.iter().flat_map(|one| one.line.iter().copied()).collect::<Vec<u8>>();
        let is_promised = waiting.iter().any(|one| one.is_promised);
        let written = tokio::task::spawn_blocking(move || file.append(&lines, is_promised)).await;
        let is_written = match written {
            Ok(Ok(())) => true,
            Ok(Err(Unwritten::NoSpace)) => {
                tracing::error!("the audit log is not written: no space is left on the disk");
                false
            }
            Ok(Err(Unwritten::Failed(error))) => {
                tracing::error!(file = LOG, %error, "storage failed: nobody was told of a change");
                std::process::exit(1)
            }
            Err(_) => false,
        };
        for Waiting { written, .. } in waiting {
            if written.send(is_written).is_err() {
                tracing::trace!("who asked has gone");
            }
        }
    }
}

/// The files.
#[derive(Debug)]
struct AuditFile {
    folder: Folder,
    len: u64,
    limits: AuditLimits,
    /// A write failed: what is on disk is in doubt until the next start.
    has_failed: bool,
}

impl AuditFile {
    /// A last line that is torn was of nothing that was answered: it is cut off.
    fn open(folder: Folder, limits: AuditLimits) -> Result<Self, RegistryError> {
        let text = folder.read(LOG)?;
        let path = folder.path(LOG);
        let is_there = text.is_some();
        let text = text.unwrap_or_default();
        let good = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let mut disk = folder.disk();
        let made = if !is_there {
            disk.create(LOG).and_then(|()| disk.sync_directory())
        } else if good < text.len() {
            tracing::warn!(path = %path.display(), offset = good, "a torn last line is cut off");
            disk.truncate(LOG, good as u64).and_then(|()| disk.sync(LOG))
        } else {
            Ok(())
        };
        drop(disk);
        made.map_err(|source| RegistryError::File { path, source })?;
        Ok(Self { folder, len: good as u64, limits, has_failed: false })
    }

    fn append(&mut self, lines: &[u8], is_promised: bool) -> Result<(), Unwritten> {
        if self.has_failed {
            return Err(io::Error::other("an earlier write failed; restart to go on").into());
        }
        let outcome = self.begin_another(lines.len() as u64);
        let outcome =
            outcome.and_then(|()| self.folder.append(LOG, (self.len, lines), is_promised));
        self.has_failed = matches!(outcome, Err(Unwritten::Failed(_)));
        if outcome.is_ok() {
            self.len += lines.len() as u64;
        }
        outcome
    }

    /// Begins another file where this one has no room for so many bytes.
    ///
    /// Killed at any point, no file is lost but the oldest: each gets a name that none has, or that
    /// one has which goes.
    fn begin_another(&mut self, more: u64) -> Result<(), Unwritten> {
        if self.len == 0 || self.len + more <= self.limits.bytes_max {
            return Ok(());
        }
        let mut disk = self.folder.disk();
        let names = disk.names()?;
        let name = |number: u32| match number {
            0 => LOG.to_owned(),
            number => format!("{LOG}.{number}"),
        };
        // Without it an earlier try came this far.
        if names.iter().any(|name| name == LOG) {
            disk.sync(LOG)?;
            for number in (0..self.limits.files_max).rev() {
                if names.contains(&name(number)) {
                    disk.rename(&name(number), &name(number + 1))?;
                }
            }
        }
        match disk.create(LOG) {
            Err(error) if is_no_space(&error) => return Err(Unwritten::NoSpace),
            made => made?,
        }
        disk.sync_directory()?;
        drop(disk);
        self.len = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::ErrorKind;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::super::folder::tests::failing;
    use super::*;

    const LIMITS: AuditLimits = AuditLimits { bytes_max: 1_000, files_max: 3 };

    fn entry<'a>(request_id: &'a str, with: &'a BTreeMap<&'static str, String>) -> Entry<'a> {
        Entry {
            timestamp: 1,
            request_id,
            principal: "AKID",
            source_ip: "::1",
            action: "iot:CreateThing",
            with,
            outcome: "done",
        }
    }

    /// The ids of the requests that are in the files, the oldest first.
    fn written(dir: &Path) -> Vec<u64> {
        let names = ["audit.log.3", "audit.log.2", "audit.log.1", "audit.log"];
        let texts = names.map(|name| fs::read_to_string(dir.join(name)).unwrap_or_default());
        let id = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["requestId"].as_str().unwrap().parse().unwrap()
        };
        texts.concat().lines().map(id).collect()
    }

    #[test]
    fn entries_are_lines_of_json() {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let audit = Audit::open(Folder::open(dir.path()).unwrap(), LIMITS).unwrap();
            let with = BTreeMap::from([("thingName", "a\nb".to_owned())]);
            audit.write_now(&entry("r", &with)).unwrap();
        }
        let path = dir.path().join(LOG);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(path).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[1]["with"]["thingName"], "a\nb");
        assert_eq!(lines[1]["outcome"], "done");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_full_file_makes_room_for_another_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let audit = Audit::open(Folder::open(dir.path()).unwrap(), LIMITS).unwrap();
        let write = |number: u64| {
            let audit = audit.clone();
            async move {
                let with = BTreeMap::new();
                assert!(
                    audit.write(&entry(&number.to_string(), &with), number.is_multiple_of(2)).await
                );
            }
        };
        for number in 0..100 {
            write(number).await;
        }
        let ids = written(dir.path());
        assert!((15..50).contains(&ids.len()), "{ids:?}");
        assert!(ids.iter().copied().eq(100 - ids.len() as u64..100), "{ids:?}");
        for name in ["audit.log", "audit.log.1", "audit.log.2", "audit.log.3"] {
            let metadata = fs::metadata(dir.path().join(name)).unwrap();
            assert!(metadata.len() <= 1_000 && metadata.permissions().mode() & 0o777 == 0o600);
        }
        assert!(!dir.path().join("audit.log.4").exists());
        // Together, in one write.
        let all: Vec<_> = (100..130).map(|number| tokio::spawn(write(number))).collect();
        for one in all {
            one.await.unwrap();
        }
        assert!((100..130).all(|number| written(dir.path()).contains(&number)));
    }

    /// Whichever operation fails, what was said to be written is there, once, in order.
    #[test]
    fn no_line_that_was_promised_is_lost() {
        for (kind, is_for_good) in
            [(ErrorKind::Other, false), (ErrorKind::Other, true), (ErrorKind::StorageFull, false)]
        {
            let mut passed = false;
            for at in 1.. {
                let dir = tempfile::tempdir().unwrap();
                let torn = format!("{}\n{{\"requestId\":\"", r#"{"requestId":"0"}"#);
                fs::write(dir.path().join(LOG), torn).unwrap();
                let (folder, plan) = failing(dir.path(), Some((at, kind, is_for_good)));
                let mut promised = vec![0];
                if let Ok(audit) = Audit::open(folder, LIMITS) {
                    let with = BTreeMap::new();
                    promised.extend((1..20_u64).filter(|number| {
                        audit.write_now(&entry(&number.to_string(), &with)).is_ok()
                    }));
                    passed |= promised.len() == 19 && promised.contains(&19);
                }
                // The next start.
                let folder = Folder::open(dir.path()).unwrap();
                Audit::open(folder, LIMITS).unwrap();
                let ids = written(dir.path());
                assert!(promised.iter().all(|id| ids.contains(id)), "{at} {kind:?}: {ids:?}");
                assert!(ids.is_sorted_by(|a, b| a < b), "{at} {kind:?}: {ids:?}");
                if plan.lock().unwrap().done < at {
                    break;
                }
            }
            // Of a full disk one line was refused, and those behind it were not.
            assert_eq!(passed, kind == ErrorKind::StorageFull);
        }
    }
}
