//! The JSON of a policy document, before its strings mean anything (contract `policies.md` §1).
//!
//! An element that the contract does not name is refused with its name, and so is one that stands
//! twice, a value of another type, and whatever follows the document. The shape bounds the depth:
//! nothing is read below a list of condition values.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A document.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct Document {
    pub(super) version: String,
    pub(super) statement: OneOrMany<Object<Statement>>,
}

/// A statement.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct Statement {
    pub(super) sid: Option<String>,
    pub(super) effect: Effect,
    pub(super) action: Option<OneOrMany<Text>>,
    pub(super) not_action: Option<OneOrMany<Text>>,
    pub(super) resource: Option<OneOrMany<Text>>,
    pub(super) not_resource: Option<OneOrMany<Text>>,
    pub(super) condition: Option<Entries<Entries<OneOrMany<Scalar>>>>,
}

/// What a statement does where it matches.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
pub enum Effect {
    /// Allows, unless another statement denies.
    Allow,
    /// Denies, whatever else allows.
    Deny,
}

/// Something that is an object, never the array that serde takes for one.
#[derive(Debug)]
pub(super) struct Object<T>(pub(super) T);

/// A text, in a list or alone.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Text(pub(super) String);

/// A condition value: a text, a number or a truth value, as text.
#[derive(Debug)]
pub(super) struct Scalar(pub(super) String);

/// One value alone, or a list.
#[derive(Debug)]
pub(super) struct OneOrMany<T>(pub(super) Vec<T>);

/// An object's members in their order, each name once.
#[derive(Debug)]
pub(super) struct Entries<T>(pub(super) Vec<(String, T)>);

/// Reads a document and nothing behind it.
pub(super) fn read(text: &str) -> Result<Document, serde_json::Error> {
    serde_json::from_str(text).map(|Object(document)| document)
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(members)).map(Object)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct OneOrManyVisitor<T>(PhantomData<T>);

/// A value alone, read as a list's items are.
fn one<'de, T, D>(deserializer: D) -> Result<OneOrMany<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    T::deserialize(deserializer).map(|value| OneOrMany(vec![value]))
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrManyVisitor<T> {
    type Value = OneOrMany<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one value or a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = items.next_element()? {
            values.push(value);
        }
        Ok(OneOrMany(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
        one(MapAccessDeserializer::new(members))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        one(serde::de::value::StrDeserializer::new(text))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        one(serde::de::value::BoolDeserializer::new(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        one(serde::de::value::U64Deserializer::new(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        one(serde::de::value::I64Deserializer::new(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        one(serde::de::value::F64Deserializer::new(value))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrManyVisitor(PhantomData))
    }
}

struct EntriesVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for EntriesVisitor<T> {
    type Value = Entries<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut entries: Vec<(String, T)> = Vec::new();
        while let Some(name) = members.next_key::<String>()? {
            if entries.iter().any(|(known, _)| known.eq_ignore_ascii_case(&name)) {
                return Err(A::Error::custom(format_args!("duplicate field `{name}`")));
            }
            entries.push((name, members.next_value()?));
        }
        Ok(Entries(entries))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor(PhantomData))
    }
}

struct ScalarVisitor;

impl Visitor<'_> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, a number or a boolean")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Scalar(text.to_owned()))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Scalar(value.to_string()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Scalar(value.to_string()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Scalar(value.to_string()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Scalar(value.to_string()))
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}
