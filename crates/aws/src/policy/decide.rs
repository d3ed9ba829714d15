//! The decision: an explicit Deny first, then an Allow, else no (contract `policies.md` §5).
//!
//! A [`Decision`] says which statement made it. It is a pure function of policies and request:
//! it may be remembered until either changes.

use std::borrow::Borrow;

use super::action::ActionKind;
use super::document::Effect;
use super::request::Request;
use super::statement::{Policy, Reached};

/// The statement that decided.
#[derive(Clone, Copy, Debug)]
pub struct Decider<'a> {
    /// Of which policy and version.
    pub policy: &'a Policy,
    /// Its place among the policy's statements, from 0.
    pub statement: usize,
}

impl<'a> Decider<'a> {
    /// The statement's `Sid`.
    #[must_use]
    pub fn sid(&self) -> Option<&'a str> {
        self.policy.statements.get(self.statement)?.sid.as_deref()
    }
}

/// Whether a request may go on, and why.
#[derive(Clone, Copy, Debug)]
pub enum Decision<'a> {
    /// A statement allows it and none denies it.
    Allowed(Decider<'a>),
    /// Whoever asks is bound by no policy: [`Authority::Unrestricted`].
    Unrestricted,
    /// A statement denies it.
    ExplicitDeny(Decider<'a>),
    /// No statement allows it.
    ImplicitDeny,
}

impl Decision<'_> {
    /// Whether the request may go on.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        match self {
            Self::Allowed(_) | Self::Unrestricted => true,
            Self::ExplicitDeny(_) | Self::ImplicitDeny => false,
        }
    }

    /// The word of TestAuthorization's `authDecision`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Allowed(_) | Self::Unrestricted => "ALLOWED",
            Self::ExplicitDeny(_) => "EXPLICIT_DENY",
            Self::ImplicitDeny => "IMPLICIT_DENY",
        }
    }
}

/// Decides a request by one set of policies.
///
/// The first Deny in the order of policies and statements decides; otherwise the first Allow.
///
/// Hot: once per PUBLISH, delivery and SUBSCRIBE filter that is not remembered. No allocation.
pub fn decide<'a, P: Borrow<Policy>>(policies: &'a [P], request: &Request<'_>) -> Decision<'a> {
    let mut allowed = None;
    for policy in policies.iter().map(Borrow::borrow) {
        for (index, statement) in policy.statements.iter().enumerate() {
            let is_spare = statement.effect == Effect::Allow && allowed.is_some();
            if is_spare || !matches!(statement.reached(request), Reached::End) {
                continue;
            }
            let decider = Decider { policy, statement: index };
            match statement.effect {
                Effect::Deny => return Decision::ExplicitDeny(decider),
                Effect::Allow => allowed = Some(decider),
            }
        }
    }
    allowed.map_or(Decision::ImplicitDeny, Decision::Allowed)
}

/// Whose policies bind a principal (contract §5).
#[derive(Clone, Copy, Debug)]
pub enum Authority<'a, P> {
    /// One set: a certificate's policies with those of its thing's groups; a custom authorizer's
    /// documents; an access key's or an unauthenticated Cognito identity's documents.
    Policies(&'a [P]),
    /// An authenticated Cognito identity: its role's documents and the policies attached to it
    /// both have to allow what devices do; the role alone decides everything else.
    Cognito {
        /// The role's documents.
        role: &'a [P],
        /// The policies attached to the identity; none allow nothing.
        attached: &'a [P],
    },
    /// No policy at all: an access key without documents, where the configuration says so.
    Unrestricted,
}

impl<'a, P: Borrow<Policy>> Authority<'a, P> {
    /// Decides a request.
    #[must_use]
    pub fn decide(&self, request: &Request<'_>) -> Decision<'a> {
        match self {
            Self::Policies(policies) => decide(policies, request),
            Self::Cognito { role, .. } if !needs_attached(request) => decide(role, request),
            Self::Cognito { role, attached } => {
                both(decide(role, request), decide(attached, request))
            }
            Self::Unrestricted => Decision::Unrestricted,
        }
    }
}

/// Both have to allow; an explicit denial is told before an implicit one.
fn both<'a>(first: Decision<'a>, second: Decision<'a>) -> Decision<'a> {
    match (first, second) {
        (deny @ Decision::ExplicitDeny(_), _) | (_, deny @ Decision::ExplicitDeny(_)) => deny,
        (Decision::ImplicitDeny, _) | (_, Decision::ImplicitDeny) => Decision::ImplicitDeny,
        (Decision::Allowed(_) | Decision::Unrestricted, allowed) => allowed,
    }
}

/// Whether an authenticated Cognito identity needs its attached policies for an action.
fn needs_attached(request: &Request<'_>) -> bool {
    request.action.kind().is_some_and(|kind| {
        matches!(
            kind,
            ActionKind::Connect
                | ActionKind::Publish
                | ActionKind::Subscribe
                | ActionKind::Receive
                | ActionKind::GetThingShadow
                | ActionKind::UpdateThingShadow
                | ActionKind::DeleteThingShadow
        )
    })
}
