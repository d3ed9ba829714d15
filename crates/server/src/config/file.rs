//! The configuration file: TOML, read to its keys with the lines they stand on.

use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::Path;

use toml::de::{DeInteger, DeTable, DeValue};

use super::error::{ConfigError, Origin};
use super::value::Given;

/// Bytes of a configuration file. A larger one is refused.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The one table of the file.
pub(super) const LIMITS: &str = "limits";

/// The file's text.
pub(super) fn read(path: &Path, named_at: &Origin) -> Result<String, ConfigError> {
    let refused =
        |what: String| ConfigError::at(named_at, "config", format!("{}: {what}", path.display()));
    let mut text = String::new();
    let file = File::open(path).map_err(|error| refused(error.to_string()))?;
    file.take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| refused(error.to_string()))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(refused("expected a file of at most 1 MiB".to_owned()));
    }
    Ok(text)
}

/// A key of the file with its value.
pub(super) struct Entry<'a> {
    /// With its table before it: `limits.receive-maximum`.
    pub(super) name: String,
    pub(super) given: Given<'a>,
    pub(super) origin: Origin,
}

/// Calls `each` for each key, in the order of the file.
pub(super) fn entries(
    path: &Path,
    text: &str,
    mut each: impl FnMut(Entry<'_>) -> Result<(), ConfigError>,
) -> Result<(), ConfigError> {
    let document = DeTable::parse(text).map_err(|error| {
        let line = line_of(text, error.span().unwrap_or(0..0));
        let message = error.message().replace('\n', ", ");
        ConfigError::new(format!("{}:{line}: not TOML: {message}", path.display()))
    })?;
    let mut found = Vec::new();
    collect(document.get_ref(), "", &mut found);
    found.sort_by_key(|(_, span, _)| span.start);
    for (name, span, given) in found {
        let origin = Origin::File { path: path.to_owned(), line: line_of(text, span) };
        each(Entry { name, given, origin })?;
    }
    Ok(())
}

/// Only `limits` has keys of its own; another table is a value of the wrong type.
fn collect<'a>(
    table: &'a DeTable<'a>,
    prefix: &str,
    found: &mut Vec<(String, Range<usize>, Given<'a>)>,
) {
    for (key, value) in table {
        let name = format!("{prefix}{}", key.get_ref());
        match value.get_ref() {
            DeValue::Table(table) if name == LIMITS => collect(table, "limits.", found),
            value => found.push((name, key.span(), given(value))),
        }
    }
}

fn given<'a>(value: &'a DeValue<'a>) -> Given<'a> {
    match value {
        DeValue::String(text) => Given::Text(text),
        DeValue::Integer(number) => {
            integer(number).map_or(Given::Other("a number"), Given::Integer)
        }
        DeValue::Boolean(value) => Given::Boolean(*value),
        DeValue::Float(_) => Given::Other("a number with a fraction"),
        DeValue::Datetime(_) => Given::Other("a date"),
        DeValue::Array(_) => Given::Other("a list"),
        DeValue::Table(_) => Given::Other("a table"),
    }
}

fn integer(number: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

fn line_of(text: &str, span: Range<usize>) -> usize {
    1 + text.bytes().take(span.start).filter(|byte| *byte == b'\n').count()
}
