//! One shadow: its document, its version, and what an update, a get and a delete make of them.
//!
//! Versions rise by one with every accepted update and every deletion. A deleted shadow keeps its
//! version for 48 hours, so that a client that knew it sees a higher one when it is created again.

use super::answer::Body;
use super::error::{Rejection, ShadowError};
use super::json::{Json, write_object};
use super::request::{Update, client_token};
use super::section::{self, Differences, Section};
use super::{ShadowLimits, VERSION_MEMORY_SECONDS};

/// A shadow, or what is left of one. By default it never existed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Shadow(pub(super) Life);

#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) enum Life {
    /// Never created.
    #[default]
    None,
    /// It exists.
    Live(Document),
    /// Deleted at a time, in seconds since 1970; the deletion's version is kept.
    Deleted { version: u64, at: u64 },
}

/// What exists of a shadow.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Document {
    pub(super) version: u64,
    pub(super) desired: Section,
    pub(super) reported: Section,
}

/// An accepted update.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Updated {
    /// The shadow's version from now on.
    pub version: u64,
    /// For `…/update/accepted` and as the HTTP body.
    pub accepted: Vec<u8>,
    /// For `…/update/delta`, where the sections differ.
    pub delta: Option<Vec<u8>>,
    /// For `…/update/documents`.
    pub documents: Vec<u8>,
}

impl Shadow {
    /// Applies an update. `now` is in seconds since 1970.
    pub fn update(
        &mut self,
        payload: &[u8],
        now: u64,
        limits: &ShadowLimits,
    ) -> Result<Updated, Rejection> {
        let request = Update::parse(payload, limits)?;
        let current = match self.updated(&request, now, limits) {
            Ok(current) => current,
            Err(error) => return Err(Rejection { error, client_token: request.client_token }),
        };
        let updated = Updated {
            version: current.version,
            accepted: accepted(&request, current.version, now),
            delta: current.delta_body(&request, now),
            documents: documents(self.document(), &current, &request, now),
        };
        self.0 = Life::Live(current);
        Ok(updated)
    }

    /// The document, for `…/get/accepted` and as the HTTP body.
    pub fn get(
        &self,
        payload: &[u8],
        now: u64,
        limits: &ShadowLimits,
    ) -> Result<Vec<u8>, Rejection> {
        let client_token = client_token(payload, limits)?;
        let Some(document) = self.document() else {
            return Err(Rejection { error: ShadowError::NoShadow, client_token });
        };
        let differences = document.differences();
        let delta = Some(&differences).filter(|differences| !differences.is_empty());
        let body = Body::new()
            .member("state", |out| document.write_state(delta, out))
            .member("metadata", |out| document.write_metadata(delta, out))
            .number("version", document.version)
            .number("timestamp", now);
        Ok(body.answer(client_token.as_deref()))
    }

    /// Deletes it. The answer, for `…/delete/accepted` and as the HTTP body, names the version
    /// that was deleted.
    pub fn delete(
        &mut self,
        payload: &[u8],
        now: u64,
        limits: &ShadowLimits,
    ) -> Result<Vec<u8>, Rejection> {
        let client_token = client_token(payload, limits)?;
        let Some(version) = self.version() else {
            return Err(Rejection { error: ShadowError::NoShadow, client_token });
        };
        self.0 = Life::Deleted { version: version + 1, at: now };
        let body = Body::new().number("version", version).number("timestamp", now);
        Ok(body.answer(client_token.as_deref()))
    }

    /// The version, where the shadow exists.
    #[must_use]
    pub fn version(&self) -> Option<u64> {
        self.document().map(|document| document.version)
    }

    /// Whether nothing is left to remember: never created, or deleted more than 48 hours ago.
    #[must_use]
    pub fn is_forgotten(&self, now: u64) -> bool {
        match self.0 {
            Life::None => true,
            Life::Live(_) => false,
            Life::Deleted { at, .. } => now.saturating_sub(at) > VERSION_MEMORY_SECONDS,
        }
    }

    fn document(&self) -> Option<&Document> {
        match &self.0 {
            Life::Live(document) => Some(document),
            Life::None | Life::Deleted { .. } => None,
        }
    }

    /// The document that an update leads to; contract §3, steps 8 to 11.
    fn updated(
        &self,
        request: &Update,
        now: u64,
        limits: &ShadowLimits,
    ) -> Result<Document, ShadowError> {
        let version = match (&self.0, request.version) {
            (Life::Live(document), Some(version)) if version != document.version => {
                return Err(ShadowError::VersionConflict);
            }
            (Life::Live(document), _) => document.version,
            // Choice: what does not exist has version 0, or will have 1.
            (Life::None | Life::Deleted { .. }, Some(2..)) => {
                return Err(ShadowError::InvalidVersion);
            }
            (Life::Deleted { version, .. }, _) if !self.is_forgotten(now) => *version,
            (Life::None | Life::Deleted { .. }, _) => 0,
        };
        let mut document = self.document().cloned().unwrap_or_default();
        document.version = version + 1;
        document.apply(&request.state, now);
        if document.state_bytes() > limits.document_bytes_max {
            return Err(ShadowError::TooLarge);
        }
        Ok(document)
    }
}

impl Document {
    /// Changes the sections as a request's `state` says. Null clears a section, or both.
    fn apply(&mut self, state: &Json, now: u64) {
        for (name, section) in [("desired", &mut self.desired), ("reported", &mut self.reported)] {
            let request = match state {
                Json::Object(sections) => sections.find(name),
                null => Some(null),
            };
            match request {
                Some(Json::Object(members)) => section::merge(section, members, now),
                Some(_) => *section = Section::default(),
                None => {}
            }
        }
    }

    /// What its size limit counts: the sections' compact JSON.
    fn state_bytes(&self) -> usize {
        let mut out = Vec::new();
        for (_, part) in self.parts(None) {
            part.write_state(&mut out);
        }
        out.len()
    }

    fn differences(&self) -> Differences<'_> {
        section::differences(&self.desired, &self.reported)
    }

    fn delta_body(&self, request: &Update, now: u64) -> Option<Vec<u8>> {
        let differences = self.differences();
        if differences.is_empty() {
            return None;
        }
        let body = Body::new()
            .number("version", self.version)
            .number("timestamp", now)
            .member("state", |out| differences.write_state(out))
            .member("metadata", |out| differences.write_metadata(out));
        Some(body.answer(request.client_token.as_deref()))
    }

    fn write_state(&self, delta: Option<&Differences<'_>>, out: &mut Vec<u8>) {
        write_object(self.parts(delta), out, |part, out| part.write_state(out));
    }

    fn write_metadata(&self, delta: Option<&Differences<'_>>, out: &mut Vec<u8>) {
        write_object(self.parts(delta), out, |part, out| part.write_metadata(out));
    }

    /// The document as `documents` shows it.
    fn write(&self, out: &mut Vec<u8>) {
        let body = Body::new()
            .member("state", |out| self.write_state(None, out))
            .member("metadata", |out| self.write_metadata(None, out))
            .number("version", self.version);
        out.extend(body.end());
    }

    /// The members of its state: sections without members do not show.
    fn parts<'a>(
        &'a self,
        delta: Option<&'a Differences<'a>>,
    ) -> impl Iterator<Item = (&'a str, Part<'a>)> {
        let sections = [("desired", &self.desired), ("reported", &self.reported)].into_iter();
        let sections = sections.filter(|(_, section)| !section.is_empty());
        sections
            .map(|(name, section)| (name, Part::Section(section)))
            .chain(delta.map(|delta| ("delta", Part::Delta(delta))))
    }
}

/// A member of `state`, and of `metadata`.
enum Part<'a> {
    Section(&'a Section),
    Delta(&'a Differences<'a>),
}

impl Part<'_> {
    fn write_state(&self, out: &mut Vec<u8>) {
        match self {
            Self::Section(section) => section::write_state(section, out),
            Self::Delta(differences) => differences.write_state(out),
        }
    }

    fn write_metadata(&self, out: &mut Vec<u8>) {
        match self {
            Self::Section(section) => section::write_metadata(section, out),
            Self::Delta(differences) => differences.write_metadata(out),
        }
    }
}

/// What the request contained, nulls included, and the time of each of its leaves.
fn accepted(request: &Update, version: u64, now: u64) -> Vec<u8> {
    let body = Body::new()
        .member("state", |out| request.state.write(out))
        .member("metadata", |out| section::write_stamps(&request.state, now, out))
        .number("version", version)
        .number("timestamp", now);
    body.answer(request.client_token.as_deref())
}

/// The document before and after an update.
fn documents(
    previous: Option<&Document>,
    current: &Document,
    request: &Update,
    now: u64,
) -> Vec<u8> {
    let body = Body::new()
        .member("previous", |out| match previous {
            Some(previous) => previous.write(out),
            None => Json::Null.write(out),
        })
        .member("current", |out| current.write(out))
        .number("timestamp", now);
    body.answer(request.client_token.as_deref())
}
