//! A JSON text read into a tree: serde_json knows the grammar, the rules are ours.
//!
//! Refused beside what is no JSON: a name twice in an object, and a number that no double can hold.
//! A lone surrogate is no JSON to serde_json.

use std::fmt;
use std::ops::Range;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::scan::{TooDeep, scan};
use super::{Json, Members, Number};

/// Why a text gives no tree.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::shadow) enum ReadError {
    /// More than [`super::NESTING_MAX`] levels; found before the text was parsed.
    TooDeep,
    /// Not JSON.
    Invalid,
}

/// Reads one value and nothing behind it.
pub(in crate::shadow) fn read(text: &str) -> Result<Json, ReadError> {
    let numbers = scan(text).map_err(|TooDeep| ReadError::TooDeep)?;
    let mut numbers = Numbers { text, ranges: numbers.into_iter() };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let tree = Tree(&mut numbers).deserialize(&mut deserializer);
    match (tree, deserializer.end()) {
        (Ok(tree), Ok(())) => Ok(tree),
        (Err(_), _) | (_, Err(_)) => Err(ReadError::Invalid),
    }
}

/// The text's numbers, as they were written: serde_json hands over their values only.
struct Numbers<'a> {
    text: &'a str,
    ranges: std::vec::IntoIter<Range<usize>>,
}

/// Reads the next value; its numbers are the next ones.
struct Tree<'a, 'b>(&'a mut Numbers<'b>);

impl Tree<'_, '_> {
    fn number<E: Error>(self) -> Result<Json, E> {
        let text = self.0.ranges.next().and_then(|range| self.0.text.get(range));
        text.and_then(Number::new).map(Json::Number).ok_or_else(|| E::custom("no number"))
    }
}

impl<'de> DeserializeSeed<'de> for Tree<'_, '_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_, '_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Json, E> {
        self.number()
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Json, E> {
        self.number()
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Json, E> {
        self.number()
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element_seed(Tree(&mut *self.0))? {
            items.push(item);
        }
        Ok(Json::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut members = Vec::new();
        while let Some(Name(name)) = map.next_key()? {
            members.push((name, map.next_value_seed(Tree(&mut *self.0))?));
        }
        let members = Members::new(members).ok_or_else(|| A::Error::custom("a name twice"))?;
        Ok(Json::Object(members))
    }
}

/// A member's name.
#[derive(Deserialize)]
#[serde(transparent)]
struct Name(Box<str>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_json_is_refused() {
        for text in [
            "",
            " ",
            "{",
            "{}{}",
            "{} x",
            "{\"a\":1,}",
            "[1,]",
            "{a:1}",
            "{'a':1}",
            "NaN",
            "[Infinity]",
            "-",
            "01",
            "1.",
            "+1",
            "[1e309]",
            "\u{feff}{}",
            "\"\\ud800\"",
            "\"\\udc00\\ud800\"",
            "\"\\x\"",
            "\"a\nb\"",
            "nul",
            "1-1",
            "[1 2]",
        ] {
            assert_eq!(read(text), Err(ReadError::Invalid), "{text}");
        }
    }

    #[test]
    fn a_name_twice_is_refused_at_any_depth() {
        for text in ["{\"a\":1,\"a\":1}", "[{\"b\":{\"a\":1,\"\\u0061\":2}}]"] {
            assert_eq!(read(text), Err(ReadError::Invalid), "{text}");
        }
        assert!(read("{\"a\":{\"a\":1},\"A\":[{\"a\":1},{\"a\":1}]}").is_ok());
    }

    #[test]
    fn deep_texts_are_refused_before_they_are_parsed() {
        assert_eq!(read(&"[".repeat(1_000_000)), Err(ReadError::TooDeep));
    }

    proptest::proptest! {
        #[test]
        fn serde_json_reads_the_same(text in r#"([\[\]{},:"\\ ]|\\u00|[01ed.-]|"a":|true|null){0,24}"#) {
            let value = serde_json::from_str::<serde_json::Value>(&text);
            match read(&text) {
                Ok(tree) => {
                    let mut out = Vec::new();
                    tree.write(&mut out);
                    let written: serde_json::Value = serde_json::from_slice(&out).unwrap();
                    proptest::prop_assert_eq!(written, value.unwrap());
                }
                // A name twice is all that serde_json takes and we do not.
                Err(_) => proptest::prop_assert!(value.is_err() || text.matches("\"a\"").count() > 1
                    || text.matches("\"\"").count() > 1),
            }
        }
    }
}
