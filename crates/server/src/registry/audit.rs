//! What was done with identities and permissions: who asked for what, and what was decided.
//!
//! A line of JSON for each change of the control plane and each one that was denied, in
//! `audit.log` beside the registry, and to the log under the target `audit`. Names and ids only:
//! never a secret, a key or a document.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use super::file::private;

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

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Audit(Option<Mutex<File>>);

impl Audit {
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let path = dir.join("audit.log");
        let file = private(OpenOptions::new().append(true).create(true)).open(path)?;
        Ok(Self(Some(Mutex::new(file))))
    }

    /// Writes an entry; a disk that does not take it is reported, and stops nothing.
    pub(crate) fn write(&self, entry: &Entry<'_>) {
        let Entry { request_id, principal, source_ip, action, with, outcome, .. } = entry;
        tracing::info!(
            target: "audit", request_id, principal, source_ip, action, ?with, outcome,
        );
        let Some(file) = &self.0 else { return };
        let written = serde_json::to_vec(entry).map_err(io::Error::other).and_then(|mut line| {
            line.push(b'\n');
            file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line)
        });
        if let Err(error) = written {
            tracing::error!(%error, "the audit log is not written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_lines_of_json() {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let audit = Audit::open(dir.path()).unwrap();
            audit.write(&Entry {
                timestamp: 1,
                request_id: "r",
                principal: "AKID",
                source_ip: "::1",
                action: "iot:CreateThing",
                with: &BTreeMap::from([("thingName", "a\nb".to_owned())]),
                outcome: "done",
            });
        }
        let text = std::fs::read_to_string(dir.path().join("audit.log")).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[1]["with"]["thingName"], "a\nb");
        assert_eq!(lines[1]["outcome"], "done");
    }
}
