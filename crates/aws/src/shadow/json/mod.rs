//! JSON as a shadow keeps it: members in the order they came, numbers as they were written.
//!
//! A tree comes from [`read()`] only, which bounds its depth, so that whatever walks through it may
//! call itself. Names are unique within an object.

mod members;
mod number;
mod read;
mod scan;

pub(super) use members::Members;
pub(super) use number::Number;
pub(super) use read::{ReadError, read};
pub(super) use scan::NESTING_MAX;

/// A value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Number(Number),
    Text(Box<str>),
    Array(Vec<Json>),
    Object(Members<Json>),
}

impl Json {
    /// Whether both are the same value: numbers by value, members in any order.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(one), Self::Bool(other)) => one == other,
            (Self::Number(one), Self::Number(other)) => one.is_same(other),
            (Self::Text(one), Self::Text(other)) => one == other,
            (Self::Array(one), Self::Array(other)) => {
                one.len() == other.len()
                    && one.iter().zip(other).all(|(one, other)| one.is_same(other))
            }
            (Self::Object(one), Self::Object(other)) => {
                let names = other.names();
                let is_in = |(name, value): (&str, &Self)| {
                    names.find(name).is_some_and(|found| value.is_same(found))
                };
                one.len() == other.len() && one.iter().all(is_in)
            }
            (
                Self::Null
                | Self::Bool(_)
                | Self::Number(_)
                | Self::Text(_)
                | Self::Array(_)
                | Self::Object(_),
                _,
            ) => false,
        }
    }

    /// How many arrays and objects stand around the innermost thing, this one included.
    ///
    /// An empty one has nothing inside and does not count.
    pub(super) fn depth(&self) -> usize {
        let inner = match self {
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) => None,
            Self::Array(items) => items.iter().map(Self::depth).max(),
            Self::Object(members) => members.iter().map(|(_, value)| value.depth()).max(),
        };
        inner.map_or(0, |inner| inner + 1)
    }

    /// Whether a null stands somewhere in it.
    pub(super) fn has_null(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Bool(_) | Self::Number(_) | Self::Text(_) => false,
            Self::Array(items) => items.iter().any(Self::has_null),
            Self::Object(members) => members.iter().any(|(_, value)| value.has_null()),
        }
    }

    /// Appends its compact text.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Bool(true) => out.extend_from_slice(b"true"),
            Self::Bool(false) => out.extend_from_slice(b"false"),
            Self::Number(number) => out.extend_from_slice(number.text().as_bytes()),
            Self::Text(text) => write_text(text, out),
            Self::Array(items) => write_array(items, out, Self::write),
            Self::Object(members) => write_object(members.iter(), out, |value, out| {
                value.write(out);
            }),
        }
    }
}

/// Appends `[…]`, each item written by `write`.
pub(super) fn write_array<T>(items: &[T], out: &mut Vec<u8>, write: impl Fn(&T, &mut Vec<u8>)) {
    out.push(b'[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(item, out);
    }
    out.push(b']');
}

/// Appends `{…}`, each value written by `write`.
pub(super) fn write_object<'a, T>(
    members: impl Iterator<Item = (&'a str, T)>,
    out: &mut Vec<u8>,
    write: impl Fn(T, &mut Vec<u8>),
) {
    out.push(b'{');
    for (index, (name, value)) in members.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_text(name, out);
        out.push(b':');
        write(value, out);
    }
    out.push(b'}');
}

/// Appends a string in quotes. What need not be escaped is not.
pub(super) fn write_text(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    let mut written = 0;
    out.push(b'"');
    for (at, &byte) in bytes.iter().enumerate() {
        let short = match byte {
            b'"' | b'\\' => byte,
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x08 => b'b',
            0x0c => b'f',
            0..0x20 => b'u',
            _ => continue,
        };
        out.extend_from_slice(&bytes[written..at]);
        out.extend_from_slice(&[b'\\', short]);
        if short == b'u' {
            let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
            out.extend_from_slice(&[b'0', b'0', high, low]);
        }
        written = at + 1;
    }
    out.extend_from_slice(&bytes[written..]);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json {
        read(text).unwrap()
    }

    fn written(text: &str) -> String {
        let mut out = Vec::new();
        json(text).write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn order_and_numbers_are_kept_and_space_is_not() {
        let text = r#" { "b" : 1.50 , "a" : [ -0 , 1e5, 123456789012345678901234567890 ] } "#;
        let compact = r#"{"b":1.50,"a":[-0,1e5,123456789012345678901234567890]}"#;
        assert_eq!(written(text), compact);
    }

    #[test]
    fn strings_are_escaped_where_they_must_be() {
        let text = r#"{"\u0000\u001f\b\f\n\r\t\"\\\/ü\ud83d\ude00\u007f":"\u00fc"}"#;
        let compact = "{\"\\u0000\\u001f\\b\\f\\n\\r\\t\\\"\\\\/ü😀\u{7f}\":\"ü\"}";
        assert_eq!(written(text), compact);
        assert_eq!(json(text), json(compact));
    }

    /// S-15, and the order of members.
    #[test]
    fn values_are_compared_by_value() {
        for (one, other) in [
            ("1", "1.0"),
            ("[1,{\"a\":1,\"b\":2}]", "[1.0,{\"b\":2,\"a\":1e0}]"),
            ("{}", "{}"),
            ("\"\\u0061\"", "\"a\""),
        ] {
            assert!(json(one).is_same(&json(other)), "{one} {other}");
        }
        for (one, other) in [
            ("1", "\"1\""),
            ("1", "true"),
            ("{\"a\":1}", "{\"a\":1,\"b\":2}"),
            ("{\"a\":1,\"b\":2}", "{\"a\":1}"),
            ("{\"a\":1}", "{\"b\":1}"),
            ("[]", "{}"),
            ("[1,2]", "[2,1]"),
            ("[1]", "[1,1]"),
            ("null", "false"),
        ] {
            assert!(!json(one).is_same(&json(other)), "{one} {other}");
        }
    }

    /// S-22: an empty object has no level of its own.
    #[test]
    fn depth_counts_what_is_around_something() {
        for (text, depth) in [
            ("1", 0),
            ("{}", 0),
            ("[]", 0),
            ("[1]", 1),
            ("{\"a\":{}}", 1),
            ("{\"a\":{\"b\":null}}", 2),
            ("[[1],[[2]],3]", 3),
        ] {
            assert_eq!(json(text).depth(), depth, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_written_as_json_reads_it(text: String) {
            let mut out = Vec::new();
            write_text(&text, &mut out);
            proptest::prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }
}
