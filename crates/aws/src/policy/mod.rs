//! AWS IoT policies: who may do what.
//!
//! A [`Policy`] is compiled once from its document; [`decide()`] answers a [`Request`] from
//! policies, without IO, a clock or an allocation. What can be wrong with a document is found when
//! it is compiled, with its place; a decision has no errors. [`explain()`] says why. Which policies
//! bind a principal is the caller's to collect ([`Authority`]).
//!
//! An explicit Deny wins, then an Allow, else the answer is no. Variables are substituted by value
//! into patterns whose structure is fixed, so a client id, a thing's name or a certificate's name
//! with `*`, `?`, `+`, `#` or `${` widens nothing. Contract `policies.md`.

mod action;
mod arn;
mod certificate;
mod condition;
mod decide;
mod document;
mod explain;
mod key;
mod operator;
mod pattern;
mod request;
mod statement;

pub use action::{Action, ActionKind};
pub use arn::{Arn, ArnScope, InvalidArn, ResourceKind};
pub use certificate::{
    CERTIFICATE_VALUES_MAX, Certificate, CertificateAttribute, Party, SUBSTITUTED_CHARACTERS_MAX,
};
pub use condition::ConditionProblem;
pub use decide::{Authority, Decider, Decision, decide};
pub use document::Effect;
pub use explain::{Explanation, Finding, StatementFinding, explain};
pub use pattern::{PatternProblem, VARIABLES_MAX};
pub use request::{Context, MqttConnection, Origin, Principal, Request, Thing};
pub use statement::{MalformedPolicy, Place, Policy, PolicyLimits, PolicyProblem, is_policy_name};
