//! What a custom authorizer said of a client.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::policy::{MalformedPolicy, Policy, PolicyLimits};

/// Who a client is to a custom authorizer, and the documents that decide what it may do.
///
/// Two are equal if they say the same.
#[derive(Debug)]
pub struct Authorized {
    principal_id: String,
    documents: Vec<Arc<str>>,
    policies: Vec<Arc<Policy>>,
    /// When the connection ends, in milliseconds since 1970.
    pub disconnect_at_unix_ms: Option<u64>,
    /// When the authorizer is asked again, in milliseconds since 1970.
    pub refresh_at_unix_ms: Option<u64>,
}

impl Authorized {
    /// Compiles the documents; no time ends what they allow.
    pub fn new(
        principal_id: String,
        documents: Vec<Arc<str>>,
        limits: &PolicyLimits,
    ) -> Result<Self, MalformedPolicy> {
        let parse = |(number, document): (u32, &Arc<str>)| {
            Policy::parse("policyDocuments", number, document, limits).map(Arc::new)
        };
        let policies = (1..).zip(&documents).map(parse).collect::<Result<_, _>>()?;
        let (disconnect_at_unix_ms, refresh_at_unix_ms) = (None, None);
        Ok(Self { principal_id, documents, policies, disconnect_at_unix_ms, refresh_at_unix_ms })
    }

    /// The same for a connection that ends at another time.
    #[must_use]
    pub fn until(&self, disconnect_at_unix_ms: Option<u64>) -> Self {
        Self {
            principal_id: self.principal_id.clone(),
            documents: self.documents.clone(),
            policies: self.policies.clone(),
            disconnect_at_unix_ms,
            refresh_at_unix_ms: self.refresh_at_unix_ms,
        }
    }

    /// `principalId`.
    #[must_use]
    pub fn principal_id(&self) -> &str {
        &self.principal_id
    }

    /// `policyDocuments`, as they were sent.
    #[must_use]
    pub fn documents(&self) -> &[Arc<str>] {
        &self.documents
    }

    /// `policyDocuments`, compiled.
    #[must_use]
    pub fn policies(&self) -> &[Arc<Policy>] {
        &self.policies
    }

    fn said(&self) -> (&str, &[Arc<str>], Option<u64>, Option<u64>) {
        let (end, refresh) = (self.disconnect_at_unix_ms, self.refresh_at_unix_ms);
        (&self.principal_id, &self.documents, end, refresh)
    }
}

impl PartialEq for Authorized {
    fn eq(&self, other: &Self) -> bool {
        self.said() == other.said()
    }
}

impl Eq for Authorized {}

impl Hash for Authorized {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.said().hash(state);
    }
}
