//! Which shadow: a thing's name, and a shadow's name where it is not the classic one. Contract §1.

use std::fmt;

use thiserror::Error;

/// Bytes of a thing's name.
const THING_NAME_BYTES_MAX: usize = 128;

/// Bytes of a shadow's name.
const SHADOW_NAME_BYTES_MAX: usize = 64;

/// A shadow of a thing. The thing need not exist.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ShadowId {
    thing: Box<str>,
    name: Option<Box<str>>,
}

/// Why a name is none.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum InvalidName {
    /// A thing's name is 1 to 128 of A–Z, a–z, 0–9 and `:_-`.
    #[error("The thing name is 1 to 128 of A-Z, a-z, 0-9 and :_-")]
    Thing,
    /// A shadow's name is 1 to 64 of the same and `$`.
    #[error("The shadow name is 1 to 64 of A-Z, a-z, 0-9 and :_-$")]
    Shadow,
}

impl ShadowId {
    /// The shadow of this name, or the classic shadow.
    pub fn new(thing: &str, name: Option<&str>) -> Result<Self, InvalidName> {
        if !is_thing_name(thing) {
            return Err(InvalidName::Thing);
        }
        if name.is_some_and(|name| !is_shadow_name(name)) {
            return Err(InvalidName::Shadow);
        }
        Ok(Self { thing: thing.into(), name: name.map(Into::into) })
    }

    /// The thing's name.
    #[must_use]
    pub fn thing(&self) -> &str {
        &self.thing
    }

    /// The shadow's name; the classic shadow has none.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

/// As error messages name it: `thing`, or `thing~shadow`.
impl fmt::Display for ShadowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.thing)?;
        self.name.as_ref().map_or(Ok(()), |name| write!(f, "~{name}"))
    }
}

/// Whether a thing can be called so.
#[must_use]
pub fn is_thing_name(name: &str) -> bool {
    (1..=THING_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_name_byte)
}

/// Whether a shadow can be called so.
#[must_use]
pub fn is_shadow_name(name: &str) -> bool {
    let is_byte = |byte: u8| byte == b'$' || is_name_byte(byte);
    (1..=SHADOW_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_byte)
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b":_-".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contract §1, names.
    #[test]
    fn names_have_their_letters_and_lengths() {
        let (longest, too_long) = ("t".repeat(128), "t".repeat(129));
        for thing in ["T", "a:b_c-9", &longest] {
            assert_eq!(ShadowId::new(thing, None).unwrap().thing(), thing);
        }
        for thing in ["", "$a", "a/b", "a b", "a.b", "ü", "+", "#", "a\0", &too_long] {
            assert_eq!(ShadowId::new(thing, None), Err(InvalidName::Thing), "{thing}");
        }
        let (longest, too_long) = ("s".repeat(64), "s".repeat(65));
        for name in ["s", "$s", "a:b_c-9$", &longest] {
            assert_eq!(ShadowId::new("T", Some(name)).unwrap().name(), Some(name));
        }
        for name in ["", "a/b", "a~b", "ü", "+", &too_long] {
            assert_eq!(ShadowId::new("T", Some(name)), Err(InvalidName::Shadow), "{name}");
        }
    }

    #[test]
    fn a_shadow_is_called_by_its_thing_and_its_name() {
        assert_eq!(ShadowId::new("T", None).unwrap().to_string(), "T");
        assert_eq!(ShadowId::new("T", Some("s")).unwrap().to_string(), "T~s");
    }
}
