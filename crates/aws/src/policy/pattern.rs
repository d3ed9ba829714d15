//! Texts with wildcards and variables, compiled once.
//!
//! `*` is any run of characters, across `/`; `?` is one character; `+` and `#` are themselves;
//! `${name}` is a variable; `${*}`, `${?}` and `${$}` are the three characters (contract
//! `policies.md` §3). The structure is fixed here, before any value is known: a variable's value is
//! compared as it is, so a client id `*` or `${x}` matches only itself.
//!
//! Matching allocates nothing and does not recurse. Time is linear in the text where the parts
//! between wildcards begin with plain text, and at most the product of both lengths otherwise.

use thiserror::Error;

use super::key::{Key, Source};
use super::request::Request;

/// Variables of one string at most; more are refused when the policy is compiled.
pub const VARIABLES_MAX: usize = 16;

/// Whether `*` and `?` are wildcards.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Wildcards {
    Match,
    Literal,
}

/// Whether a text is what a pattern says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Match {
    Yes,
    No,
    /// A variable of the pattern has no value, or a value is of another kind than the pattern.
    Unresolved,
}

impl From<bool> for Match {
    fn from(matched: bool) -> Self {
        if matched { Self::Yes } else { Self::No }
    }
}

/// Why a text is no pattern.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[expect(missing_docs, reason = "each says itself")]
pub enum PatternProblem {
    #[error("`${{` without its `}}`")]
    UnclosedVariable,
    #[error("`${{{0}}}` is not the name of a variable")]
    VariableName(String),
    #[error("more than {VARIABLES_MAX} variables")]
    TooManyVariables,
}

#[derive(Debug)]
enum Part {
    Text(Box<str>),
    /// `?`
    AnyCharacter,
    /// By its place in [`Pattern::variables`].
    Variable(usize),
}

/// A compiled text.
#[derive(Debug)]
pub(super) struct Pattern {
    /// What stands before the first `*`.
    head: Box<[Part]>,
    /// What follows each `*`; empty where there is none.
    tail: Box<[Box<[Part]>]>,
    variables: Box<[Key]>,
}

impl Pattern {
    /// Whether one of its variables is the time.
    pub(super) fn asks_for_time(&self) -> bool {
        self.variables.iter().any(|key| key.source == Source::Time)
    }

    pub(super) fn new(text: &str, wildcards: Wildcards) -> Result<Self, PatternProblem> {
        let mut builder = Builder::default();
        let mut rest = text;
        while let Some(character) = rest.chars().next() {
            let after = rest.get(character.len_utf8()..).unwrap_or_default();
            rest = match (character, wildcards) {
                ('$', _) if after.starts_with('{') => builder.variable(after)?,
                ('*', Wildcards::Match) => {
                    builder.star();
                    after
                }
                ('?', Wildcards::Match) => {
                    builder.part(Part::AnyCharacter);
                    after
                }
                _ => {
                    builder.literal.push(character);
                    after
                }
            };
        }
        Ok(builder.finish())
    }

    /// Whether a text matches, with the variables of a request.
    ///
    /// Hot: once per resource of a statement. No allocation.
    pub(super) fn matches(&self, text: &str, request: &Request<'_>) -> Match {
        if self.variables.is_empty() {
            return self.glob(text, &[]).into();
        }
        let mut values = [""; VARIABLES_MAX];
        if self.resolve(&mut values, request) {
            self.glob(text, &values).into()
        } else {
            Match::Unresolved
        }
    }

    /// Whether a text is this one but for case; for patterns without wildcards.
    pub(super) fn equals_ignoring_case(&self, text: &str, request: &Request<'_>) -> Match {
        let mut values = [""; VARIABLES_MAX];
        if !self.resolve(&mut values, request) {
            return Match::Unresolved;
        }
        let pieces = self.head.iter().map(|part| match part {
            Part::Text(literal) => &**literal,
            Part::AnyCharacter => "?",
            Part::Variable(at) => values.get(*at).copied().unwrap_or_default(),
        });
        pieces.flat_map(str::chars).flat_map(char::to_lowercase).eq(lowercase(text)).into()
    }

    /// The variables it names.
    pub(super) fn variables(&self) -> &[Key] {
        &self.variables
    }

    fn resolve<'a>(&self, values: &mut [&'a str], request: &Request<'a>) -> bool {
        values
            .iter_mut()
            .zip(&self.variables)
            .all(|(value, key)| request.substitution(key).map(|text| *value = text).is_some())
    }

    fn glob(&self, text: &str, values: &[&str]) -> bool {
        let Some(text) = strip_start(&self.head, text, values) else { return false };
        let [middle @ .., last] = &*self.tail else { return text.is_empty() };
        let Some(text) = strip_end(last, text, values) else { return false };
        middle.iter().try_fold(text, |text, parts| strip_first(parts, text, values)).is_some()
    }
}

fn lowercase(text: &str) -> impl Iterator<Item = char> {
    text.chars().flat_map(char::to_lowercase)
}

/// What follows the parts at the start of a text.
fn strip_start<'t>(parts: &[Part], text: &'t str, values: &[&str]) -> Option<&'t str> {
    parts.iter().try_fold(text, |text, part| match part {
        Part::Text(literal) => text.strip_prefix(&**literal),
        Part::Variable(at) => text.strip_prefix(*values.get(*at)?),
        Part::AnyCharacter => {
            let mut characters = text.chars();
            characters.next().map(|_| characters.as_str())
        }
    })
}

/// What precedes the parts at the end of a text.
fn strip_end<'t>(parts: &[Part], text: &'t str, values: &[&str]) -> Option<&'t str> {
    parts.iter().rev().try_fold(text, |text, part| match part {
        Part::Text(literal) => text.strip_suffix(&**literal),
        Part::Variable(at) => text.strip_suffix(*values.get(*at)?),
        Part::AnyCharacter => {
            let mut characters = text.chars();
            characters.next_back().map(|_| characters.as_str())
        }
    })
}

/// What follows the parts where they first stand in a text.
///
/// The first place is the right one: the parts have a fixed number of characters, so no later
/// place leaves more of the text to those that follow.
fn strip_first<'t>(parts: &[Part], mut text: &'t str, values: &[&str]) -> Option<&'t str> {
    loop {
        if let Some(Part::Text(literal)) = parts.first() {
            text = text.get(text.find(&**literal)?..)?;
        }
        if let Some(rest) = strip_start(parts, text, values) {
            return Some(rest);
        }
        let mut characters = text.chars();
        characters.next()?;
        text = characters.as_str();
    }
}

/// A pattern so far.
#[derive(Default)]
struct Builder {
    literal: String,
    parts: Vec<Part>,
    /// Complete ones, each ended by a `*`.
    segments: Vec<Box<[Part]>>,
    variables: Vec<Key>,
}

impl Builder {
    /// Ends the plain text so far.
    fn end_literal(&mut self) {
        if !self.literal.is_empty() {
            let literal = std::mem::take(&mut self.literal);
            self.parts.push(Part::Text(literal.into()));
        }
    }

    fn part(&mut self, part: Part) {
        self.end_literal();
        self.parts.push(part);
    }

    fn segment(&mut self) -> Box<[Part]> {
        self.end_literal();
        std::mem::take(&mut self.parts).into()
    }

    /// A `*`; one right behind another changes nothing.
    fn star(&mut self) {
        let segment = self.segment();
        if self.segments.is_empty() || !segment.is_empty() {
            self.segments.push(segment);
        }
    }

    /// A variable or an escape, from its `{` on; answers what follows its `}`.
    fn variable<'a>(&mut self, from_brace: &'a str) -> Result<&'a str, PatternProblem> {
        let inside = from_brace.strip_prefix('{').unwrap_or_default();
        let (name, rest) = inside.split_once('}').ok_or(PatternProblem::UnclosedVariable)?;
        match name {
            "*" | "?" | "$" => self.literal.push_str(name),
            name if !is_variable_name(name) => {
                return Err(PatternProblem::VariableName(name.to_owned()));
            }
            name if self.variables.len() < VARIABLES_MAX => {
                self.part(Part::Variable(self.variables.len()));
                self.variables.push(Key::new(name));
            }
            _ => return Err(PatternProblem::TooManyVariables),
        }
        Ok(rest)
    }

    fn finish(mut self) -> Pattern {
        let last = self.segment();
        let mut segments = std::mem::take(&mut self.segments).into_iter();
        let (head, tail) = match segments.next() {
            None => (last, Vec::new()),
            Some(head) => (head, segments.chain([last]).collect()),
        };
        Pattern { head, tail: tail.into(), variables: self.variables.into() }
    }
}

/// Graphic ASCII without what would nest or give a default value, `${key, 'value'}`.
fn is_variable_name(name: &str) -> bool {
    let is_byte = |byte: u8| byte.is_ascii_graphic() && !b"'\"{$*?".contains(&byte);
    !name.is_empty() && name.bytes().all(is_byte)
}
