//! Why a request was decided so: how far it got through every statement, and what was missing.
//!
//! Asks the same [`Statement::reached`] as [`decide`], so the two cannot disagree. It allocates,
//! and is for people: TestAuthorization, `bitts policy check`, `explain`.

use std::borrow::Borrow;

use super::decide::{Decider, Decision, decide};
use super::document::Effect;
use super::request::{Request, Values};
use super::statement::{KeyUse, Policy, Reached, Statement};

/// Why a statement did or did not decide.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Finding<'a> {
    /// It matches.
    Matches,
    /// It speaks of other actions.
    OtherAction,
    /// It speaks of other resources, or a variable of its resources has no value.
    OtherResource,
    /// A condition does not hold.
    ConditionFails {
        /// The condition's operator.
        operator: &'a str,
        /// The condition's key.
        key: &'a str,
    },
}

/// What one statement had to say.
#[derive(Clone, Copy, Debug)]
pub struct StatementFinding<'a> {
    /// Which statement.
    pub statement: Decider<'a>,
    /// What it does where it matches.
    pub effect: Effect,
    /// Whether it matches.
    pub finding: Finding<'a>,
}

/// A decision with everything that led to it.
#[derive(Clone, Debug)]
pub struct Explanation<'a> {
    /// The decision.
    pub decision: Decision<'a>,
    /// Every statement, in order.
    pub statements: Vec<StatementFinding<'a>>,
    /// Names of keys and variables without a value in statements on this action, ascending, each
    /// once: TestAuthorization's `missingContextValues`.
    pub missing_context_values: Vec<&'a str>,
}

/// Decides a request by one set of policies, and says why.
pub fn explain<'a, P: Borrow<Policy>>(policies: &'a [P], request: &Request<'_>) -> Explanation<'a> {
    let mut statements = Vec::new();
    let mut missing_context_values = Vec::new();
    for policy in policies.iter().map(Borrow::borrow) {
        for (index, statement) in policy.statements.iter().enumerate() {
            let finding = finding(statement.reached(request));
            if finding != Finding::OtherAction {
                missing_context_values.extend(missing(statement, request));
            }
            let decider = Decider { policy, statement: index };
            statements.push(StatementFinding {
                statement: decider,
                effect: statement.effect,
                finding,
            });
        }
    }
    missing_context_values.sort_unstable();
    missing_context_values.dedup();
    Explanation { decision: decide(policies, request), statements, missing_context_values }
}

fn finding(reached: Reached<'_>) -> Finding<'_> {
    match reached {
        Reached::End => Finding::Matches,
        Reached::OtherAction => Finding::OtherAction,
        Reached::OtherResource => Finding::OtherResource,
        Reached::Condition(condition) => Finding::ConditionFails {
            operator: condition.operator_name(),
            key: &condition.key().name,
        },
    }
}

/// The names of a statement that have no value in a request.
fn missing<'a>(statement: &'a Statement, request: &Request<'_>) -> impl Iterator<Item = &'a str> {
    let is_missing = |key_use, key: &_| match key_use {
        KeyUse::Variable => request.substitution(key).is_none(),
        KeyUse::Condition => matches!(request.values(key), Values::Missing),
    };
    let missing = statement.keys().filter(move |(key_use, key)| is_missing(*key_use, key));
    missing.map(|(_, key)| &*key.name)
}
