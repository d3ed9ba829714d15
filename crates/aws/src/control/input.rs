//! What an operation is told: the members of path, headers, query and body, by their names.
//!
//! A member is looked for in that order, so that a name that permission was asked for cannot be
//! another one below. Types are checked where a member is read; unknown ones are ignored, as AWS
//! does. Contract `control-plane-and-jobs.md` §2.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::operation::Route;
use super::{ControlError, ControlErrorKind, body};
use crate::api::Headers;
pub(super) use crate::api::route::decode;
use crate::registry::Attributes;

/// Headers that are members.
const HEADERS: [(&str, &str); 3] = [
    ("x-amzn-principal", "principal"),
    ("x-amzn-iot-principal", "principal"),
    ("x-amzn-iot-policy", "policyName"),
];

/// The members of a request.
#[derive(Debug)]
pub struct Input {
    /// Of path, headers and query.
    texts: Vec<(String, String)>,
    body: Members,
}

/// The members of a JSON object.
#[derive(Clone, Debug, Default)]
pub(super) struct Members(Map<String, Value>);

fn must_be(name: &str, what: &str) -> ControlError {
    ControlError::invalid(format!("{name} is {what}"))
}

impl Input {
    /// Reads a request; `query` is what follows `?`, an empty body is an empty object.
    pub fn parse(
        route: &Route,
        query: Option<&str>,
        headers: &dyn Headers,
        body: &[u8],
    ) -> Result<Self, ControlError> {
        let labels = route.labels.iter().map(|(name, text)| ((*name).to_owned(), text.clone()));
        let mut texts: Vec<_> = labels.collect();
        for (header, name) in HEADERS {
            if let Some(text) = headers.get(header) {
                texts.push((name.to_owned(), text.to_owned()));
            }
        }
        for pair in query.unwrap_or("").split('&').filter(|pair| !pair.is_empty()) {
            let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
            let decoded = |text: &str| decode(&text.replace('+', "%20"));
            let pair = decoded(name).zip(decoded(text));
            let refused = || ControlError::invalid("The query is not percent-encoded UTF-8");
            texts.push(pair.ok_or_else(refused)?);
        }
        let body = if body.is_empty() {
            Map::new()
        } else {
            let not_json =
                |_| ControlError::invalid("The body is not a JSON object with each name once");
            body::read(body).map_err(not_json)?
        };
        Ok(Self { texts, body: Members(body) })
    }

    fn found(&self, name: &str) -> Option<&str> {
        self.texts.iter().find(|(known, _)| known == name).map(|(_, text)| text.as_str())
    }

    /// A text; an empty one is none.
    pub fn text(&self, name: &str) -> Result<Option<&str>, ControlError> {
        match self.found(name) {
            Some(text) => Ok(Some(text).filter(|text| !text.is_empty())),
            None => self.body.text(name),
        }
    }

    /// A text that has to be there.
    pub fn needed(&self, name: &str) -> Result<&str, ControlError> {
        self.text(name)?.ok_or_else(|| ControlError::invalid(format!("{name} is missing")))
    }

    /// A boolean; absent is false.
    pub fn flag(&self, name: &str) -> Result<bool, ControlError> {
        Ok(self.choice(name)?.unwrap_or_default())
    }

    /// A boolean that may be absent.
    pub(super) fn choice(&self, name: &str) -> Result<Option<bool>, ControlError> {
        match self.found(name) {
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(Some(true)),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(Some(false)),
            Some("") => Ok(None),
            Some(_) => Err(must_be(name, "true or false")),
            None => self.body.choice(name),
        }
    }

    /// A whole number from 0.
    pub fn integer(&self, name: &str) -> Result<Option<u64>, ControlError> {
        match self.found(name) {
            Some("") => Ok(None),
            Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.parse().map(Some).map_err(|_| must_be(name, "a whole number"))
            }
            Some(_) => Err(must_be(name, "a whole number")),
            None => match self.body.value(name) {
                None => Ok(None),
                Some(value) => {
                    value.as_u64().map(Some).ok_or_else(|| must_be(name, "a whole number"))
                }
            },
        }
    }

    /// The members of the body.
    pub(super) fn body(&self) -> &Members {
        &self.body
    }
}

impl Members {
    /// A member; null is none.
    pub(super) fn value(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, ControlError> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            Some(_) => Err(must_be(name, "a string")),
        }
    }

    pub(super) fn choice(&self, name: &str) -> Result<Option<bool>, ControlError> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(_) => Err(must_be(name, "true or false")),
        }
    }

    /// An object; absent is empty.
    pub(super) fn members(&self, name: &str) -> Result<Self, ControlError> {
        match self.value(name) {
            None => Ok(Self::default()),
            Some(Value::Object(members)) => Ok(Self(members.clone())),
            Some(_) => Err(must_be(name, "an object")),
        }
    }

    /// A list of strings; absent is empty.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<&str>, ControlError> {
        let items = self.items(name)?.iter().map(Value::as_str);
        items.collect::<Option<_>>().ok_or_else(|| must_be(name, "a list of strings"))
    }

    /// A list of objects; absent is empty.
    pub(super) fn objects(&self, name: &str) -> Result<Vec<Self>, ControlError> {
        let items = self.items(name)?.iter();
        let items = items.map(|item| item.as_object().cloned().map(Self));
        items.collect::<Option<_>>().ok_or_else(|| must_be(name, "a list of objects"))
    }

    fn items(&self, name: &str) -> Result<&[Value], ControlError> {
        match self.value(name) {
            None => Ok(&[]),
            Some(Value::Array(items)) => Ok(items),
            Some(_) => Err(must_be(name, "a list")),
        }
    }

    /// Strings by name; absent is `None`.
    pub(super) fn map(&self, name: &str) -> Result<Option<BTreeMap<String, String>>, ControlError> {
        let refused = || must_be(name, "an object of strings");
        let Some(value) = self.value(name) else { return Ok(None) };
        let members = value.as_object().ok_or_else(refused)?;
        let text = |(name, text): (&String, &Value)| Some((name.clone(), text.as_str()?.into()));
        members.iter().map(text).collect::<Option<_>>().map(Some).ok_or_else(refused)
    }

    /// `attributePayload`: the attributes, and whether they are laid over those that are there.
    pub(super) fn attributes(&self) -> Result<Option<(Attributes, bool)>, ControlError> {
        let payload = self.members("attributePayload")?;
        let Some(attributes) = payload.map("attributes")? else { return Ok(None) };
        for (name, value) in &attributes {
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_.,@/:#-".contains(&byte);
            let is_value = |byte: u8| is_name(byte) || b"=[]".contains(&byte);
            if name.is_empty() || name.len() > 128 || !name.bytes().all(is_name) {
                let message = "An attribute's name is 1 to 128 of A-Z, a-z, 0-9 and _.,@/:#-";
                return Err(ControlError::invalid(message));
            }
            if value.len() > 800 || !value.bytes().all(is_value) {
                let message = "An attribute's value is up to 800 of A-Z, a-z, 0-9 and _.,@/:#=[]-";
                return Err(ControlError::invalid(message));
            }
        }
        Ok(Some((attributes, payload.choice("merge")?.unwrap_or_default())))
    }
}

/// What a change of attributes leaves; an attribute without a value goes.
pub(super) fn changed_attributes(
    before: &Attributes,
    change: Option<(Attributes, bool)>,
    max: usize,
) -> Result<Attributes, ControlError> {
    let Some((given, merges)) = change else { return Ok(before.clone()) };
    let mut after = if merges { before.clone() } else { Attributes::new() };
    after.extend(given);
    after.retain(|_, value| !value.is_empty());
    if after.len() > max {
        return Err(ControlError::invalid(format!("More than {max} attributes")));
    }
    Ok(after)
}

/// Refuses where the version is not the one that the caller expects.
pub(super) fn expect_version(input: &Input, version: u64) -> Result<(), ControlError> {
    match input.integer("expectedVersion")? {
        Some(expected) if expected != version => {
            let message = format!("The version is {version}, not {expected}");
            Err(ControlError::new(ControlErrorKind::VersionConflict, message))
        }
        Some(_) | None => Ok(()),
    }
}
