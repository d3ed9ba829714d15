//! Who there is and what they may do: things, certificates, policies, keys, and what belongs to
//! what.
//!
//! A [`Registry`] is a snapshot: it never changes, and a copy costs some references. A change makes
//! another one and says in [`Row`]s what a store has to keep ([`row`](Row)). No clock, no
//! randomness, no IO: times, ids and key material are arguments. [`Registry::grant`] says what an
//! identity may do. Contract `control-plane-and-jobs.md` §2, `policies.md` §1 and §5.

mod authorized;
mod candidate;
mod draft;
mod grant;
mod map;
mod pairs;
mod record;
mod row;
mod standing;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub(crate) use self::draft::Draft;
use self::map::OrderedMap;
use self::pairs::Pairs;
use crate::policy::{ArnScope, Policy, PolicyLimits};

pub use authorized::Authorized;
pub use candidate::Candidate;
pub use grant::{ANONYMOUS, Grant, Identity, Refused, Rights};
pub use record::{
    AccessKey, Attributes, Authorizer, CaCertificate, Certificate, CertificateFacts,
    CertificateStatus, PolicyRecord, PolicyVersion, Secret, Thing, ThingGroup, ThingType, User,
};
pub use row::{LoadError, Row, Table};

/// Bounds of the registry. AWS's, where AWS has one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RegistryLimits {
    /// Bounds of a policy's document. A larger one is refused as malformed.
    pub policy: PolicyLimits,
    /// Versions of a policy. Default 5. One more is refused with VersionsLimitExceeded.
    pub policy_versions_max: usize,
    /// Policies of a certificate, access key, user or Cognito identity. Default 10. One more is
    /// refused with LimitExceeded.
    pub policies_per_principal_max: usize,
    /// Policies of a group of things. Default 2. One more is refused with LimitExceeded.
    pub policies_per_group_max: usize,
    /// Attributes of a thing or group. Default 50. One more is refused.
    pub attributes_max: usize,
    /// Groups that a thing is in. Default 10. One more is refused.
    pub groups_per_thing_max: usize,
    /// Groups above a group. Default 7. A deeper one is refused.
    pub group_depth_max: usize,
    /// Tags of a resource. Default 50. One more is refused.
    pub tags_max: usize,
    /// Records of each kind. Default 1,000,000. One more is refused with LimitExceeded; a record
    /// takes about a kilobyte of memory.
    pub records_max: usize,
}

impl Default for RegistryLimits {
    fn default() -> Self {
        Self {
            policy: PolicyLimits::default(),
            policy_versions_max: 5,
            policies_per_principal_max: 10,
            policies_per_group_max: 2,
            attributes_max: 50,
            groups_per_thing_max: 10,
            group_depth_max: 7,
            tags_max: 50,
            records_max: 1_000_000,
        }
    }
}

/// The tags of a resource.
pub(crate) type Tags = BTreeMap<String, String>;

/// That two belong together, and no more.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Linked {}

/// A principal bound to a thing.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Principal {
    /// Whether the principal speaks for this thing alone, under any Client Identifier.
    pub(crate) is_exclusive: bool,
}

/// What the registry decides by, and how often it changed.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Settings {
    pub(crate) generation: u64,
    /// Whether a key that no policy was ever attached to may do nothing rather than everything.
    pub(crate) binds_keys_without_policies: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) default_authorizer: Option<String>,
    /// What proves, as a Common Name, that an authority's key is held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) registration_code: Option<String>,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Registry {
    pub(crate) scope: Arc<ArnScope>,
    pub(crate) limits: Arc<RegistryLimits>,
    pub(crate) settings: Settings,
    pub(crate) things: OrderedMap<Arc<str>, Arc<Thing>>,
    pub(crate) thing_types: OrderedMap<Arc<str>, Arc<ThingType>>,
    pub(crate) thing_groups: OrderedMap<Arc<str>, Arc<ThingGroup>>,
    pub(crate) certificates: OrderedMap<Arc<str>, Arc<Certificate>>,
    pub(crate) ca_certificates: OrderedMap<Arc<str>, Arc<CaCertificate>>,
    pub(crate) policies: OrderedMap<Arc<str>, Arc<PolicyRecord>>,
    pub(crate) authorizers: OrderedMap<Arc<str>, Arc<Authorizer>>,
    pub(crate) access_keys: OrderedMap<Arc<str>, Arc<AccessKey>>,
    pub(crate) users: OrderedMap<Arc<str>, Arc<User>>,
    /// By `KIND/NAME`.
    pub(crate) tags: OrderedMap<Arc<str>, Arc<Tags>>,
    /// Groups and the things in them.
    pub(crate) members: Pairs<Linked>,
    /// Targets and the policies on them.
    pub(crate) attachments: Pairs<Linked>,
    /// Things and the principals that speak for them.
    pub(crate) principals: Pairs<Principal>,
}

/// A record by its name.
pub(crate) fn named<'a, T>(map: &'a OrderedMap<Arc<str>, Arc<T>>, name: &str) -> Option<&'a T> {
    map.find(|known| (**known).cmp(name)).map(|record| &**record)
}

impl Registry {
    /// The same where access keys to which no policy was ever attached may do nothing, or
    /// everything.
    #[must_use]
    pub fn with_keys_bound(mut self, are_bound: bool) -> Self {
        self.settings.binds_keys_without_policies = are_bound;
        self
    }

    /// An empty registry for this partition, region and account.
    #[must_use]
    pub fn new(scope: ArnScope, limits: RegistryLimits) -> Self {
        Self {
            scope: Arc::new(scope),
            limits: Arc::new(limits),
            settings: Settings::default(),
            things: OrderedMap::default(),
            thing_types: OrderedMap::default(),
            thing_groups: OrderedMap::default(),
            certificates: OrderedMap::default(),
            ca_certificates: OrderedMap::default(),
            policies: OrderedMap::default(),
            authorizers: OrderedMap::default(),
            access_keys: OrderedMap::default(),
            users: OrderedMap::default(),
            tags: OrderedMap::default(),
            members: Pairs::default(),
            attachments: Pairs::default(),
            principals: Pairs::default(),
        }
    }

    /// Rises with every change.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.settings.generation
    }

    /// Where its resources are.
    #[must_use]
    pub fn scope(&self) -> &ArnScope {
        &self.scope
    }

    /// An access key: its secret, session token and status.
    #[must_use]
    pub fn access_key(&self, id: &str) -> Option<&AccessKey> {
        named(&self.access_keys, id)
    }

    /// A user of MQTT: its password's hash and status.
    #[must_use]
    pub fn user(&self, name: &str) -> Option<&User> {
        named(&self.users, name)
    }

    /// A client's certificate, by its id.
    #[must_use]
    pub fn certificate(&self, id: &str) -> Option<&Certificate> {
        named(&self.certificates, id)
    }

    /// The certificates of authorities that are active, with their ids.
    pub fn active_authorities(&self) -> impl Iterator<Item = (&str, &CaCertificate)> {
        let all = self.ca_certificates.iter().map(|(id, record)| (&**id, &**record));
        all.filter(|(_, record)| record.is_active)
    }

    /// A custom authorizer.
    #[must_use]
    pub fn authorizer(&self, name: &str) -> Option<&Authorizer> {
        named(&self.authorizers, name)
    }

    /// The name of the authorizer that is asked where a client names none.
    #[must_use]
    pub fn default_authorizer(&self) -> Option<&str> {
        self.settings.default_authorizer.as_deref()
    }

    /// What proves, as a Common Name, that the key of an authority to be registered is held.
    #[must_use]
    pub fn registration_code(&self) -> Option<&str> {
        self.settings.registration_code.as_deref()
    }

    /// The version in force of a policy.
    #[must_use]
    pub fn policy(&self, name: &str) -> Option<&Arc<Policy>> {
        named(&self.policies, name)?.compiled.as_ref()
    }
}
