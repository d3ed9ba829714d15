//! A changed policy before it is in force: what it would decide.

use std::sync::Arc;

use super::{Grant, Registry, Rights};
use crate::policy::{MalformedPolicy, Policy};

/// A document that may become a policy's next version.
#[derive(Clone, Debug)]
pub struct Candidate(Arc<Policy>);

impl Candidate {
    /// Compiles a document as the next version of a policy.
    pub fn new(registry: &Registry, name: &str, document: &str) -> Result<Self, MalformedPolicy> {
        Policy::parse(name, 0, document, &registry.limits().policy).map(|it| Self(Arc::new(it)))
    }

    /// The grant with the candidate in the place of the policy; none where the policy is not among
    /// what decides.
    #[must_use]
    pub fn within(&self, grant: &Grant) -> Option<Grant> {
        let Rights::Policies(policies) = &grant.rights else { return None };
        let at = policies.iter().position(|policy| policy.name() == self.0.name())?;
        let mut policies = policies.clone();
        *policies.get_mut(at)? = Arc::clone(&self.0);
        Some(Grant { rights: Rights::Policies(policies), ..grant.clone() })
    }
}
