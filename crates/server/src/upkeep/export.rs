//! The whole of a data directory as text: a line for each fact, written as they are read.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use bitts_aws::registry::{Row, Table};
use bitts_broker::record::Record;
use bitts_store::disk::OsDisk;
use bitts_store::{Opened, StoreError, recover};

use super::line::{ExportLine, FORMAT, Line, NOW, RegistryLine};
use super::{Holds, existing, write};
use crate::registry::{RegistryError, stored_rows};

/// Whether what must not be known is part of an export.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Secrets {
    /// All of it: an import gives the same directory.
    Kept,
    /// Without access keys, users of MQTT and the secret of the directory. Messages no longer know
    /// their publisher, so No Local of a shared queue does not hold for them.
    LeftOut,
}

/// Why there is no export.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The journal cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The registry cannot be read.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The lines cannot be written.
    #[error("cannot write the export: {0}")]
    Write(#[from] io::Error),
}

/// Writes everything that a directory holds which nobody uses, and changes nothing in it.
pub fn export(data_dir: &Path, secrets: Secrets, to: impl Write) -> Result<Holds, ExportError> {
    let with_secrets = secrets == Secrets::Kept;
    let (mut opened, recovered) = recover(existing(data_dir)?, NOW)?;
    let rows = stored_rows(data_dir)?;
    let mut lines = Lines { to, count: 0 };
    let identity = opened.identity().filter(|_| with_secrets).map(write::hex);
    let shards = recovered.shards;
    lines.put(&Line::Export(ExportLine { format: FORMAT, identity, shards }))?;
    let mut outcome: Result<(), ExportError> = Ok(());
    recovered.each_record(&mut |record| {
        if outcome.is_ok() {
            outcome = put_record(&mut lines, &mut opened, record, with_secrets);
        }
    });
    outcome?;
    for untaken in &recovered.untaken {
        lines.put(&write::untaken_line(untaken, with_secrets))?;
    }
    let mut registry_rows = 0;
    for row in rows.into_iter().filter(|row| with_secrets || !is_secret(row.table)) {
        if let Some(line) = registry_line(row)? {
            lines.put(&line)?;
            registry_rows += 1;
        }
    }
    let count = lines.count;
    lines.put(&Line::End { lines: count })?;
    lines.to.flush()?;
    let torn_bytes = opened.torn.map_or(0, |torn| torn.bytes);
    Ok(Holds { registry_rows, ..Holds::of(&recovered, torn_bytes, Vec::new()) })
}

/// The line of a record, or the lines of what is in a page.
fn put_record<W: Write>(
    lines: &mut Lines<W>,
    opened: &mut Opened<OsDisk>,
    record: Record,
    with_secrets: bool,
) -> Result<(), ExportError> {
    let Record::Paged { client_id, page } = record else {
        let line = write::line_of(&record, with_secrets);
        return Ok(line.map_or(Ok(()), |line| lines.put(&line))?);
    };
    for owed in opened.owed_in(page.id, NOW)? {
        let record = Record::Owed { client_id: Arc::clone(&client_id), owed };
        if let Some(line) = write::line_of(&record, with_secrets) {
            lines.put(&line)?;
        }
    }
    Ok(())
}

struct Lines<W> {
    to: W,
    count: u64,
}

impl<W: Write> Lines<W> {
    fn put(&mut self, line: &Line) -> io::Result<()> {
        serde_json::to_writer(&mut self.to, line)?;
        self.count += 1;
        self.to.write_all(b"\n")
    }
}

fn is_secret(table: Table) -> bool {
    matches!(table, Table::AccessKey | Table::User)
}

fn registry_line(row: Row) -> io::Result<Option<Line>> {
    let Some(value) = row.value else { return Ok(None) };
    let value = serde_json::from_slice(&value)?;
    Ok(Some(Line::Registry(RegistryLine { table: row.table, key: row.key, value })))
}
