//! A policy, compiled from its document.
//!
//! Everything that can be wrong with a document is found here, with its place; a [`Policy`] can be
//! decided without errors. Contract `policies.md` §1 to §4; its choices where AWS is silent:
//!
//! * `Version` has to be `2012-10-17`: under the older one `${…}` is plain text, which would let a
//!   Deny deny nothing.
//! * `Action` and `Resource` name at least one thing each, `Resource` an ARN or `*`.
//! * `NotAction` is accepted, `Principal` is refused (contract §1).

use std::fmt;

use thiserror::Error;

use super::action::{Actions, is_action_pattern};
use super::condition::{Condition, ConditionProblem, first_match};
use super::document::{self, Effect, OneOrMany, Text};
use super::key::Key;
use super::pattern::{Match, Pattern, PatternProblem, Wildcards};
use super::request::Request;

const VERSION: &str = "2012-10-17";

/// Bytes of a policy's name at most.
const NAME_BYTES_MAX: usize = 128;

/// Bounds of a document.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PolicyLimits {
    /// Characters of a document, white space not counted. Default 2,048. A larger one is refused.
    pub characters_max: usize,
    /// Bytes of a document with its white space. Default 404,600, the API model's own bound. A
    /// larger one is refused before it is read.
    pub bytes_max: usize,
    /// Statements of a document. Default 128. A document with more is refused.
    pub statements_max: usize,
}

impl Default for PolicyLimits {
    fn default() -> Self {
        Self { characters_max: 2048, bytes_max: 404_600, statements_max: 128 }
    }
}

/// A document that is no policy: what is wrong, and where.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{place}{problem}")]
pub struct MalformedPolicy {
    /// Where: `Statement[1].Resource[0]`. Empty where the problem says so itself.
    pub place: Place,
    /// What.
    pub problem: PolicyProblem,
}

/// Where something stands in a document.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Place(String);

impl Place {
    fn statement(index: usize) -> Self {
        Self(format!("Statement[{index}]"))
    }

    fn element(&self, name: &str) -> Self {
        Self(format!("{}.{name}", self.0))
    }

    fn item(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    fn problem(self, problem: impl Into<PolicyProblem>) -> MalformedPolicy {
        MalformedPolicy { place: self, problem: problem.into() }
    }

    /// The path; empty for the document itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, "{}: ", self.0) }
    }
}

/// What is wrong with a document.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[expect(missing_docs, reason = "each says itself")]
pub enum PolicyProblem {
    #[error("a policy's name is 1 to 128 of A-Z, a-z, 0-9 and _+=,.@-")]
    Name,
    #[error("more than {0} characters besides white space")]
    TooManyCharacters(usize),
    #[error("more than {0} bytes")]
    TooManyBytes(usize),
    #[error("{0}")]
    Json(String),
    #[error("Version has to be \"2012-10-17\"")]
    Version,
    #[error("no statement")]
    NoStatement,
    #[error("more than {0} statements")]
    TooManyStatements(usize),
    #[error("either {0} or {1} is needed, and not both")]
    EitherOr(&'static str, &'static str),
    #[error("an empty list")]
    EmptyList,
    #[error("`{0}` is not `*` or SERVICE:ACTION")]
    Action(String),
    #[error("`{0}` is not `*` or an ARN")]
    Resource(String),
    #[error(transparent)]
    Pattern(#[from] PatternProblem),
    #[error(transparent)]
    Condition(#[from] ConditionProblem),
}

/// The `Resource` or `NotResource` of a statement.
#[derive(Debug)]
struct Resources {
    negated: bool,
    patterns: Box<[Pattern]>,
}

/// A statement.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) sid: Option<Box<str>>,
    pub(super) effect: Effect,
    actions: Actions,
    resources: Resources,
    conditions: Box<[Condition]>,
}

/// How far a request gets through a statement.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reached<'a> {
    /// All of it: the statement decides.
    End,
    /// It speaks of other actions.
    OtherAction,
    /// It speaks of other resources, or a variable of its resources has no value.
    OtherResource,
    /// This condition does not hold.
    Condition(&'a Condition),
}

impl Statement {
    fn asks_for_time(&self) -> bool {
        self.conditions.iter().any(Condition::asks_for_time)
            || self.resources.patterns.iter().any(Pattern::asks_for_time)
    }

    /// How far a request gets.
    ///
    /// Hot: once per statement. No allocation.
    pub(super) fn reached(&self, request: &Request<'_>) -> Reached<'_> {
        if !self.actions.contain(&request.action) {
            return Reached::OtherAction;
        }
        if !self.resources.contain(self.effect, request) {
            return Reached::OtherResource;
        }
        let fails = |condition: &&Condition| !condition.holds(self.effect, request);
        self.conditions.iter().find(fails).map_or(Reached::End, Reached::Condition)
    }

    /// Every variable and condition key that it names.
    pub(super) fn keys(&self) -> impl Iterator<Item = (KeyUse, &Key)> {
        let variables = self.resources.patterns.iter().flat_map(Pattern::variables);
        let in_values = self.conditions.iter().flat_map(Condition::variables);
        let conditions = self.conditions.iter().map(|it| (KeyUse::Condition, it.key()));
        variables.chain(in_values).map(|key| (KeyUse::Variable, key)).chain(conditions)
    }
}

/// What a statement does with a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum KeyUse {
    Variable,
    Condition,
}

impl Resources {
    /// Whether the statement speaks of the request's resource.
    ///
    /// A pattern with a variable that has no value matches nothing (contract §4). Behind
    /// `NotResource` that would open an Allow, so there it decides for denial: an Allow does not
    /// match, a Deny does (our choice).
    fn contain(&self, effect: Effect, request: &Request<'_>) -> bool {
        let text = request.resource_text();
        let matches = self.patterns.iter().map(|pattern| pattern.matches(text, request));
        match (first_match(matches), self.negated) {
            (Match::Yes, negated) => !negated,
            (Match::No, negated) => negated,
            (Match::Unresolved, negated) => negated && effect == Effect::Deny,
        }
    }
}

/// A policy's document, ready to be decided.
#[derive(Debug)]
pub struct Policy {
    name: Box<str>,
    version_id: u32,
    is_timed: bool,
    pub(super) statements: Box<[Statement]>,
}

impl Policy {
    /// Compiles a version of a policy.
    pub fn parse(
        name: &str,
        version_id: u32,
        document: &str,
        limits: &PolicyLimits,
    ) -> Result<Self, MalformedPolicy> {
        let place = Place::default();
        if !is_policy_name(name) {
            return Err(place.problem(PolicyProblem::Name));
        }
        if document.len() > limits.bytes_max {
            return Err(place.problem(PolicyProblem::TooManyBytes(limits.bytes_max)));
        }
        let characters = document.chars().filter(|character| !character.is_whitespace());
        if characters.count() > limits.characters_max {
            return Err(place.problem(PolicyProblem::TooManyCharacters(limits.characters_max)));
        }
        let document = match document::read(document) {
            Ok(document) => document,
            Err(error) => return Err(place.problem(PolicyProblem::Json(error.to_string()))),
        };
        if document.version != VERSION {
            return Err(place.problem(PolicyProblem::Version));
        }
        let OneOrMany(statements) = document.statement;
        match statements.len() {
            0 => return Err(place.problem(PolicyProblem::NoStatement)),
            count if count > limits.statements_max => {
                return Err(place.problem(PolicyProblem::TooManyStatements(limits.statements_max)));
            }
            _ => {}
        }
        let statements = statements.into_iter().enumerate();
        let compile = |(index, document::Object(it))| statement(it, &Place::statement(index));
        let statements = statements.map(compile).collect::<Result<_, _>>()?;
        let statements: Box<[Statement]> = statements;
        let is_timed = statements.iter().any(Statement::asks_for_time);
        Ok(Self { name: name.into(), version_id, is_timed, statements })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether what it decides may be another a second later: it names the time.
    #[must_use]
    pub fn asks_for_time(&self) -> bool {
        self.is_timed
    }

    /// Which version of it, as `policyVersionId` counts.
    #[must_use]
    pub fn version_id(&self) -> u32 {
        self.version_id
    }
}

/// Whether a policy can be called so (contract §1).
#[must_use]
pub fn is_policy_name(name: &str) -> bool {
    let is_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_byte)
}

fn statement(read: document::Statement, place: &Place) -> Result<Statement, MalformedPolicy> {
    let (negated, element, patterns) =
        either(place, ("Action", read.action), ("NotAction", read.not_action))?;
    for (index, pattern) in patterns.iter().enumerate() {
        if !is_action_pattern(pattern) {
            return Err(element.item(index).problem(PolicyProblem::Action(pattern.clone())));
        }
    }
    let actions = Actions::new(negated, patterns);
    let chosen = either(place, ("Resource", read.resource), ("NotResource", read.not_resource))?;
    let resources = resources(chosen)?;
    let mut conditions = Vec::new();
    for (operator, keys) in read.condition.into_iter().flat_map(|entries| entries.0) {
        for (key, OneOrMany(values)) in keys.0 {
            let values: Vec<_> = values.into_iter().map(|value| value.0).collect();
            let condition = Condition::new(&operator, &key, &values);
            let place = || place.element("Condition").element(&operator).element(&key);
            conditions.push(condition.map_err(|problem| place().problem(problem))?);
        }
    }
    let sid = read.sid.map(Into::into);
    Ok(Statement { sid, effect: read.effect, actions, resources, conditions: conditions.into() })
}

/// An element or its negation: whether it is negated, its place and its items.
type Chosen = (bool, Place, Vec<String>);

fn either(
    place: &Place,
    (name, plain): (&'static str, Option<OneOrMany<Text>>),
    (not_name, negated): (&'static str, Option<OneOrMany<Text>>),
) -> Result<Chosen, MalformedPolicy> {
    let (is_negated, name, OneOrMany(items)) = match (plain, negated) {
        (Some(items), None) => (false, name, items),
        (None, Some(items)) => (true, not_name, items),
        (None, None) | (Some(_), Some(_)) => {
            return Err(place.clone().problem(PolicyProblem::EitherOr(name, not_name)));
        }
    };
    let place = place.element(name);
    if items.is_empty() {
        return Err(place.problem(PolicyProblem::EmptyList));
    }
    Ok((is_negated, place, items.into_iter().map(|text| text.0).collect()))
}

fn resources((negated, place, texts): Chosen) -> Result<Resources, MalformedPolicy> {
    let pattern = |(index, text): (usize, &String)| {
        if !(text.starts_with('*') || text.starts_with("arn:")) {
            return Err(place.item(index).problem(PolicyProblem::Resource(text.clone())));
        }
        Pattern::new(text, Wildcards::Match).map_err(|problem| place.item(index).problem(problem))
    };
    let patterns = texts.iter().enumerate().map(pattern).collect::<Result<_, _>>()?;
    Ok(Resources { negated, patterns })
}
