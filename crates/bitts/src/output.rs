//! What commands print: a table for people, JSON for programs, and text that clients made.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use jiff::Timestamp;
use serde::Serialize;

use crate::failure::Failure;

/// How answers are printed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Format {
    /// One JSON document, as the API gives it.
    Json,
    /// Columns.
    Table,
}

impl Format {
    /// A table where stdout is a terminal, else JSON.
    pub(crate) fn or_by_terminal(asked: Option<Self>) -> Self {
        let by_terminal = || if io::stdout().is_terminal() { Self::Table } else { Self::Json };
        asked.unwrap_or_else(by_terminal)
    }
}

/// Prints a line; its colours go where there are none.
pub(crate) fn say(line: &str) -> Result<(), Failure> {
    let mut stdout = anstream::stdout();
    writeln!(stdout, "{line}")?;
    Ok(stdout.flush()?)
}

/// Prints a document, indented where people read it.
pub(crate) fn say_json(document: &impl Serialize) -> Result<(), Failure> {
    let text = if io::stdout().is_terminal() {
        serde_json::to_string_pretty(document)
    } else {
        serde_json::to_string(document)
    };
    say(&text.map_err(io::Error::other)?)
}

/// Prints rows under a header, their text escaped.
pub(crate) fn say_table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> Result<(), Failure> {
    let mut table = Table::new();
    table.set_header(header);
    say_rows(table, rows)
}

/// Prints names and what is so named, their text escaped.
pub(crate) fn say_facts(facts: impl IntoIterator<Item = [String; 2]>) -> Result<(), Failure> {
    say_rows(Table::new(), facts)
}

fn say_rows<const N: usize>(
    mut table: Table,
    rows: impl IntoIterator<Item = [String; N]>,
) -> Result<(), Failure> {
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    for row in rows {
        table.add_row(row.iter().map(|text| escape(text)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    say(&table.trim_fmt())
}

/// A time of the API, in milliseconds since 1970.
pub(crate) fn time(unix_ms: u64) -> String {
    let time = i64::try_from(unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| unix_ms.to_string(), |time| time.to_string())
}

/// Text that a client or server made, safe for a terminal: control characters and those that change
/// the direction of writing as `\u{…}`.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if is_unsafe(character) {
            let written = write!(escaped, "{}", character.escape_default());
            debug_assert!(written.is_ok(), "a String takes everything");
        } else {
            escaped.push(character);
        }
    }
    escaped
}

fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200E}' | '\u{200F}')
        || ('\u{2028}'..='\u{202E}').contains(&character)
        || ('\u{2066}'..='\u{2069}').contains(&character)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_steer_a_terminal_is_escaped() {
        assert_eq!(escape("lamp/1 \u{e9}\u{4e2d}"), "lamp/1 \u{e9}\u{4e2d}");
        assert_eq!(escape("\u{1b}[2J\r\n\u{9b}"), "\\u{1b}[2J\\r\\n\\u{9b}");
        assert_eq!(escape("a\u{202e}b\u{2066}"), "a\\u{202e}b\\u{2066}");
    }
}
