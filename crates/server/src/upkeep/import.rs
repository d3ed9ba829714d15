//! A data directory from the text of an export: all of it, or nothing.
//!
//! The journal is written beside its place and read back; it gets its name when everything in it is
//! what the lines say.

use std::io::{self, BufRead};
use std::path::Path;

use bitts_aws::registry::Row;
use bitts_store::disk::OsDisk;
use bitts_store::{Anew, StoreError, recover};

use super::anew::anew;
use super::line::{ExportLine, FORMAT, Line, NOW};
use super::{Holds, failed, read};
use crate::registry::{RegistryError, write_rows};

/// Bytes of a line. A packet has 256 MiB at most, and a byte of text two in base64 or `\n`.
const LINE_BYTES_MAX: u64 = 640 << 20;

/// Why there is no directory.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The directory cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The registry cannot be written.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The text cannot be read.
    #[error("cannot read the export: {0}")]
    Read(#[from] io::Error),
    /// A line says what cannot be.
    #[error("line {line} of the export: {problem}")]
    Line {
        /// Its number, from 1.
        line: u64,
        /// What is wrong.
        problem: String,
    },
    /// Lines are missing, or name what no line before them has.
    #[error("the export is not whole: {0}")]
    NotWhole(String),
}

/// Writes what an export says into a data directory that is new.
pub fn import(data_dir: &Path, from: impl BufRead) -> Result<Holds, ImportError> {
    anew(data_dir, |path| {
        let rows = write_journal(path, from)?;
        let holds = Holds { registry_rows: rows.len(), ..check(path)? };
        write_rows(data_dir, rows)?;
        Ok(holds)
    })
}

/// What was written is read as a start would read it.
fn check(path: &Path) -> Result<Holds, ImportError> {
    let disk = OsDisk::open(path).map_err(failed(path, "open"))?;
    let (_, recovered) = recover(disk, NOW)?;
    if recovered.unknown > 0 {
        let problem = format!("{} lines name what no line before them has", recovered.unknown);
        return Err(ImportError::NotWhole(problem));
    }
    Ok(Holds::of(&recovered, 0, Vec::new()))
}

/// Writes the journal; the rows of the registry are what is left.
fn write_journal(path: &Path, from: impl BufRead) -> Result<Vec<Row>, ImportError> {
    let mut lines = Lines { from, number: 0, text: Vec::new() };
    let Some(Line::Export(ExportLine { format, identity, shards })) = lines.next()? else {
        return Err(lines.wrong("it is not the first line of an export"));
    };
    if format != FORMAT {
        let problem = format!("format {format}: this version reads format {FORMAT}");
        return Err(lines.wrong(problem));
    }
    let identity = match identity {
        Some(text) => read::identifier(&text).map_err(|problem| lines.wrong(problem))?,
        None => rand::random(),
    };
    let disk = OsDisk::open(path).map_err(failed(path, "make"))?;
    let mut anew = Anew::begin(disk, identity, shards, NOW)?;
    let mut rows = Vec::new();
    while let Some(line) = lines.next()? {
        if let Line::End { lines: told } = line {
            return lines.end(told).and_then(|()| Ok(anew.end().map(|()| rows)?));
        }
        take(line, &mut anew, &mut rows).map_err(|refused| match refused {
            Refused::Store(error) => error.into(),
            Refused::Line(problem) => lines.wrong(problem),
        })?;
    }
    Err(ImportError::NotWhole("its last line is missing".to_owned()))
}

enum Refused {
    Store(StoreError),
    Line(String),
}

impl From<String> for Refused {
    fn from(problem: String) -> Self {
        Self::Line(problem)
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

fn take(line: Line, anew: &mut Anew<OsDisk>, rows: &mut Vec<Row>) -> Result<(), Refused> {
    let record = match line {
        Line::Export(_) | Line::End { .. } => {
            return Err(Refused::Line("it stands in the middle".to_owned()));
        }
        Line::Session(session) => read::session(*session)?,
        Line::Principal(principal) => read::principal(principal)?,
        Line::Message(message) => read::kept(message)?,
        Line::Owed(owed) => read::owed(owed)?,
        Line::Retained { message } => read::retained(message)?,
        Line::Parked { group, number, message } => read::parked(group, number, message)?,
        Line::Shadow(shadow) => read::shadow(shadow)?,
        Line::Gone(gone) => read::gone(gone)?,
        Line::Untaken(untaken) => return Ok(anew.untaken(&read::untaken(untaken)?)?),
        Line::Registry(row) => {
            let value = Some(row.value.to_string().into_bytes());
            rows.push(Row { table: row.table, key: row.key, value });
            return Ok(());
        }
    };
    Ok(anew.record(record)?)
}

struct Lines<R> {
    from: R,
    number: u64,
    text: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    fn next(&mut self) -> Result<Option<Line>, ImportError> {
        self.text.clear();
        let mut bounded = io::Read::take(&mut self.from, LINE_BYTES_MAX);
        if bounded.read_until(b'\n', &mut self.text)? == 0 {
            return Ok(None);
        }
        self.number += 1;
        let line = serde_json::from_slice(&self.text);
        line.map(Some).map_err(|error| self.wrong(error.to_string()))
    }

    /// The last line was read: it says how many there are, and nothing follows.
    fn end(&mut self, told: u64) -> Result<(), ImportError> {
        let before = self.number - 1;
        if told != before {
            let problem = format!("it had {told} lines before its last, and has {before}");
            return Err(ImportError::NotWhole(problem));
        }
        match self.next()? {
            None => Ok(()),
            Some(_) => Err(self.wrong("it stands behind the last line")),
        }
    }

    fn wrong(&self, problem: impl Into<String>) -> ImportError {
        ImportError::Line { line: self.number, problem: problem.into() }
    }
}
