//! What a setting's value may be and how it is written: one grammar for file, environment, flags.
//!
//! Sizes are bytes, bare or with `KiB`, `MiB`, `GiB`; durations always name their unit: `ms`, `s`,
//! `m`, `h`, `d`. So no number needs a page of documentation to be read.

use std::net::SocketAddr;
use std::path::PathBuf;

/// A value as it was found.
#[derive(Clone, Copy, Debug)]
pub(super) enum Given<'a> {
    /// From the environment or a flag, where everything is text.
    Bare(&'a str),
    /// A string of the file.
    Text(&'a str),
    /// An integer of the file.
    Integer(i64),
    /// A boolean of the file.
    Boolean(bool),
    /// Another type of the file: its name.
    Other(&'static str),
}

impl Given<'_> {
    /// For an error's "found …".
    pub(super) fn describe(self) -> String {
        match self {
            Self::Bare(text) | Self::Text(text) => format!("{:?}", cut(text)),
            Self::Integer(number) => number.to_string(),
            Self::Boolean(value) => value.to_string(),
            Self::Other(name) => name.to_owned(),
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Bare(text) | Self::Text(text) => Some(text),
            Self::Integer(_) | Self::Boolean(_) | Self::Other(_) => None,
        }
    }

    fn integer(&self) -> Option<u64> {
        match self {
            Self::Bare(text) => text.parse().ok(),
            Self::Integer(number) => u64::try_from(*number).ok(),
            Self::Text(_) | Self::Boolean(_) | Self::Other(_) => None,
        }
    }

    fn switch(&self) -> Option<bool> {
        match self {
            Self::Bare("true") | Self::Boolean(true) => Some(true),
            Self::Bare("false") | Self::Boolean(false) => Some(false),
            _ => None,
        }
    }
}

/// At most 64 characters of it.
fn cut(text: &str) -> &str {
    text.char_indices().nth(64).map_or(text, |(end, _)| &text[..end])
}

/// A checked value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Value {
    Address(Option<SocketAddr>),
    Switch(bool),
    Text(String),
    Path(PathBuf),
    Number(u64),
}

impl Value {
    pub(super) fn address(&self) -> Option<SocketAddr> {
        if let Self::Address(address) = self { *address } else { None }
    }

    pub(super) fn is_on(&self) -> bool {
        *self == Self::Switch(true)
    }

    pub(super) fn text(&self) -> String {
        if let Self::Text(text) = self { text.clone() } else { String::new() }
    }

    pub(super) fn path(&self) -> Option<PathBuf> {
        if let Self::Path(path) = self { Some(path.clone()) } else { None }
    }

    pub(super) fn number(&self) -> u64 {
        if let Self::Number(number) = self { *number } else { 0 }
    }
}

/// What values a setting takes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// An address and port, or `off`.
    Address,
    /// True or false; a flag without a value is true.
    Switch,
    /// A file's name.
    Path,
    /// Text of some form: what is expected, and the test.
    Text(&'static str, fn(&str) -> bool),
    /// One of several words.
    Choice(&'static [&'static str]),
    /// A count, in its bounds.
    Count(u64, u64),
    /// Bytes, in their bounds.
    Bytes(u64, u64),
    /// A duration in milliseconds, in its bounds.
    Millis(u64, u64),
    /// A duration in whole seconds, in its bounds.
    Seconds(u64, u64),
}

/// A value is not taken: what would be.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Refusal(pub(super) String);

const MAX_TEXT_BYTES: usize = 4_096;

impl Kind {
    pub(super) fn parse(self, given: Given<'_>) -> Result<Value, Refusal> {
        let value = match self {
            Self::Choice(words) => given
                .text()
                .filter(|text| words.contains(text))
                .map(|text| Value::Text(text.to_owned())),
            Self::Address => match given.text() {
                Some("off") => Some(Value::Address(None)),
                text => text.and_then(|text| text.parse().ok()).map(|a| Value::Address(Some(a))),
            },
            Self::Switch => given.switch().map(Value::Switch),
            Self::Path => {
                given.text().filter(|text| !text.is_empty()).map(|p| Value::Path(p.into()))
            }
            Self::Text(_, is_valid) => given
                .text()
                .filter(|text| text.len() <= MAX_TEXT_BYTES && is_valid(text))
                .map(|text| Value::Text(text.to_owned())),
            Self::Count(min, max) => in_bounds(given.integer(), min, max),
            Self::Bytes(min, max) => in_bounds(scaled(&given, &BYTES, true), min, max),
            Self::Millis(min, max) => in_bounds(scaled(&given, &MILLIS, false), min, max),
            Self::Seconds(min, max) => in_bounds(scaled(&given, &SECONDS, false), min, max),
        };
        value.ok_or_else(|| Refusal(self.expected()))
    }

    /// For an error's "expected …" and for documentation.
    pub(super) fn expected(self) -> String {
        match self {
            Self::Address => "an address such as \"127.0.0.1:1883\", or \"off\"".to_owned(),
            Self::Switch => "true or false".to_owned(),
            Self::Path => "the name of a file".to_owned(),
            Self::Text(expected, _) => expected.to_owned(),
            Self::Choice(words) => {
                words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" or ")
            }
            Self::Count(min, max) => format!("an integer from {min} to {max}"),
            Self::Bytes(min, max) => format!(
                "bytes such as 1048576 or \"1MiB\", from {} to {}",
                show(min, &BYTES),
                show(max, &BYTES)
            ),
            Self::Millis(min, max) => duration_expected(min, max, &MILLIS),
            Self::Seconds(min, max) => duration_expected(min, max, &SECONDS),
        }
    }

    /// A value as one would write it.
    pub(super) fn show(self, value: &Value) -> String {
        match (self, value) {
            (Self::Bytes(..), Value::Number(number)) => show(*number, &BYTES),
            (Self::Millis(..), Value::Number(number)) => show(*number, &MILLIS),
            (Self::Seconds(..), Value::Number(number)) => show(*number, &SECONDS),
            (_, Value::Number(number)) => number.to_string(),
            (_, Value::Address(address)) => address.map_or("off".to_owned(), |a| a.to_string()),
            (_, Value::Switch(value)) => value.to_string(),
            (_, Value::Text(text)) => text.clone(),
            (_, Value::Path(path)) => path.display().to_string(),
        }
    }
}

fn duration_expected(min: u64, max: u64, units: &[(&str, u64)]) -> String {
    format!("a duration such as \"10s\", from {} to {}", show(min, units), show(max, units))
}

fn in_bounds(number: Option<u64>, min: u64, max: u64) -> Option<Value> {
    number.filter(|number| (min..=max).contains(number)).map(Value::Number)
}

/// Units from the largest to the smallest, each in the last one.
const BYTES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
const MILLIS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
const SECONDS: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];

/// A number with its unit; without one only where `bare` says what it is.
fn scaled(given: &Given<'_>, units: &[(&str, u64)], bare: bool) -> Option<u64> {
    if bare && let Some(number) = given.integer() {
        return Some(number);
    }
    let text = given.text()?;
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let (_, scale) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    digits.parse::<u64>().ok()?.checked_mul(*scale)
}

/// A number in the largest unit that makes it whole; nothing is nothing in every unit.
fn show(number: u64, units: &[(&str, u64)]) -> String {
    let fits = |(_, scale): &&(&str, u64)| number != 0 && number.is_multiple_of(*scale);
    match units.iter().find(fits) {
        Some((name, scale)) if *scale > 1 || *name != "B" => format!("{}{name}", number / scale),
        _ => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Kind = Kind::Bytes(1, 1 << 30);
    const WAIT: Kind = Kind::Millis(1, 86_400_000);

    fn number(kind: Kind, given: Given<'_>) -> Option<u64> {
        kind.parse(given).ok().map(|value| value.number())
    }

    #[test]
    fn a_size_is_bytes_or_names_its_unit() {
        assert_eq!(number(SIZE, Given::Integer(512)), Some(512));
        assert_eq!(number(SIZE, Given::Bare("512")), Some(512));
        assert_eq!(number(SIZE, Given::Text("16MiB")), Some(16 << 20));
        assert_eq!(number(SIZE, Given::Bare("1 KiB")), Some(1024));
        for bad in ["", "MiB", "16MB", "16mib", "1.5KiB", "-1", "99999999999999999999B", "2GiB"] {
            assert_eq!(number(SIZE, Given::Text(bad)), None, "{bad:?}");
        }
    }

    #[test]
    fn a_duration_always_names_its_unit() {
        assert_eq!(number(WAIT, Given::Text("10s")), Some(10_000));
        assert_eq!(number(WAIT, Given::Bare("250ms")), Some(250));
        assert_eq!(number(Kind::Seconds(0, 1 << 30), Given::Text("30d")), Some(2_592_000));
        assert_eq!(number(Kind::Seconds(0, 10), Given::Text("250ms")), None);
        assert_eq!(number(WAIT, Given::Integer(10)), None);
        assert_eq!(number(WAIT, Given::Text("10")), None);
    }

    #[test]
    fn a_string_of_the_file_is_no_number_and_no_switch() {
        assert_eq!(number(Kind::Count(0, 9), Given::Text("5")), None);
        assert_eq!(number(Kind::Count(0, 9), Given::Bare("5")), Some(5));
        assert!(Kind::Switch.parse(Given::Text("true")).is_err());
        assert_eq!(Kind::Switch.parse(Given::Bare("true")), Ok(Value::Switch(true)));
    }

    #[test]
    fn a_value_is_shown_as_one_would_write_it() {
        for text in ["384KiB", "16MiB", "1GiB", "1000", "1"] {
            let value = SIZE.parse(Given::Bare(text)).expect(text);
            assert_eq!(SIZE.show(&value), text);
        }
        for text in ["10s", "1m", "90s", "250ms", "1d"] {
            let value = WAIT.parse(Given::Bare(text)).expect(text);
            assert_eq!(WAIT.show(&value), text);
        }
        assert_eq!(Kind::Address.show(&Value::Address(None)), "off");
    }
}
