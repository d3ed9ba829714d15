//! What the registry keeps of each kind of thing: the values of its rows.
//!
//! Names, relations and tags stand beside them, in the registry's maps. Times are milliseconds
//! since 1970. Secrets show nothing in `Debug`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use subtle::ConstantTimeEq;

use crate::policy::{self, CertificateAttribute, Party, Policy};

/// Attributes of a thing or group.
pub type Attributes = BTreeMap<String, String>;

/// A thing.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Thing {
    /// Its id, a UUID.
    pub id: String,
    /// Rises by one with every change of it, from 1.
    pub version: u64,
    /// The name of its type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub type_name: Option<String>,
    /// Its attributes, 50 at most.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: Attributes,
    /// The name of its billing group, kept and given back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub billing_group: Option<String>,
}

/// A type of things.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ThingType {
    /// Its id, a UUID.
    pub id: String,
    /// What people say of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Attributes that things of this type are searched by, 3 at most.
    pub searchable_attributes: Vec<String>,
    /// `mqtt5Configuration`, kept and given back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mqtt5: Option<Value>,
    /// Since when no thing may take it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deprecated_unix_ms: Option<u64>,
    /// When it was made.
    pub created_unix_ms: u64,
}

/// A static group of things.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ThingGroup {
    /// Its id, a UUID.
    pub id: String,
    /// Rises by one with every change of it, from 1.
    pub version: u64,
    /// What people say of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its attributes, 50 at most.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: Attributes,
    /// The group that it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// When it was made.
    pub created_unix_ms: u64,
}

/// What a certificate is good for.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CertificateStatus {
    /// Connects.
    Active,
    /// Does not connect.
    #[default]
    Inactive,
    /// Does not connect, and should never again.
    Revoked,
    /// On its way to another account; does not connect.
    PendingTransfer,
    /// Registered by its authority, not yet made active; does not connect.
    RegisterInactive,
    /// May only be provisioned.
    PendingActivation,
}

impl CertificateStatus {
    /// AWS's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Inactive => "INACTIVE",
            Self::Revoked => "REVOKED",
            Self::PendingTransfer => "PENDING_TRANSFER",
            Self::RegisterInactive => "REGISTER_INACTIVE",
            Self::PendingActivation => "PENDING_ACTIVATION",
        }
    }
}

/// What was read from an X.509 certificate when it was registered.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CertificateFacts {
    /// Its serial number, in lower-case hexadecimal digits.
    pub serial_number: String,
    /// Valid from.
    pub not_before_unix_ms: u64,
    /// Valid until.
    pub not_after_unix_ms: u64,
    /// Values of the subject by the names of [`CertificateAttribute`], in the certificate's order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subject: Vec<(String, String)>,
    /// Values of the issuer, likewise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub issuer: Vec<(String, String)>,
}

impl CertificateFacts {
    /// The certificate as policies see it.
    #[must_use]
    pub fn for_policies(&self, id: &str) -> policy::Certificate {
        let mut certificate = policy::Certificate::new(id);
        if !self.serial_number.is_empty() {
            certificate = certificate.with_serial_number(&self.serial_number);
        }
        for (party, values) in [(Party::Subject, &self.subject), (Party::Issuer, &self.issuer)] {
            for (name, value) in values {
                let is_named = |known: &&CertificateAttribute| known.name() == name;
                if let Some(attribute) = CertificateAttribute::ALL.iter().find(is_named) {
                    certificate = certificate.with(party, *attribute, value);
                }
            }
        }
        certificate
    }
}

/// A client's certificate.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Certificate {
    /// The certificate, PEM.
    pub pem: String,
    /// What it is good for.
    pub status: CertificateStatus,
    /// What was read from it.
    pub facts: CertificateFacts,
    /// The id of the registered authority that signed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_id: Option<String>,
    /// Whether it was registered without an authority.
    pub is_sni_only: bool,
    /// When it was registered.
    pub created_unix_ms: u64,
    /// When its status changed last.
    pub modified_unix_ms: u64,
    /// Rises by one with every change of it, from 1.
    pub version: u64,
}

/// A registered authority, which signs certificates of clients.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CaCertificate {
    /// The certificate, PEM.
    pub pem: String,
    /// Whether it is active: an inactive one registers nothing.
    pub is_active: bool,
    /// Whether clients' certificates signed by it are registered at their first connection.
    pub auto_registers: bool,
    /// What was read from it.
    pub facts: CertificateFacts,
    /// Whether it was registered without a proof that its key is held.
    pub is_sni_only: bool,
    /// `registrationConfig`, kept and given back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registration_config: Option<Value>,
    /// When it was registered.
    pub created_unix_ms: u64,
    /// When it changed last.
    pub modified_unix_ms: u64,
    /// Rises by one with every change of it, from 1.
    pub version: u64,
}

/// A policy with its versions.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PolicyRecord {
    /// By number, 5 at most.
    pub versions: BTreeMap<u32, PolicyVersion>,
    /// The version in force.
    pub default_version: u32,
    /// The number of the last version ever made.
    pub last_version: u32,
    /// When it was made.
    pub created_unix_ms: u64,
    /// When its versions changed last.
    pub modified_unix_ms: u64,
    /// Of the version in force; made from its document.
    #[serde(skip)]
    pub compiled: Option<Arc<Policy>>,
}

/// A version of a policy.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PolicyVersion {
    /// Its text, as it came.
    pub document: String,
    /// When it was made.
    pub created_unix_ms: u64,
}

/// A custom authorizer.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Authorizer {
    /// What it asks: a function's ARN, or the URL of a webhook.
    pub function: String,
    /// The name of the token in requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_key_name: Option<String>,
    /// Public keys that a token's signature may be made with, PEM by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub token_signing_public_keys: BTreeMap<String, String>,
    /// Whether tokens need no signature.
    pub signing_disabled: bool,
    /// Whether it is asked at all.
    pub is_active: bool,
    /// Whether answers are remembered for HTTP.
    pub caches_for_http: bool,
    /// When it was made.
    pub created_unix_ms: u64,
    /// When it changed last.
    pub modified_unix_ms: u64,
}

/// A text that `Debug` does not show and that compares in constant time.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// This text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for whoever has to compute with it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it is this text; takes as long for every text of one length.
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        self.0.as_bytes().ct_eq(text.as_bytes()).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A key that requests are signed with.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct AccessKey {
    /// What signatures are made with.
    pub secret: Secret,
    /// What has to come with every request, where the key is temporary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_token: Option<Secret>,
    /// Until when it is good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_unix_ms: Option<u64>,
    /// Whose it is: `aws:username`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_name: Option<String>,
    /// Whether it may do everything, whatever is attached to it.
    pub is_admin: bool,
    /// Whether policies bind it; so from the first policy attached, also once none is.
    pub is_bound: bool,
    /// Whether it is good for anything.
    pub is_active: bool,
    /// When it was made.
    pub created_unix_ms: u64,
}

/// A user of MQTT, with a password.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct User {
    /// The password's argon2id hash, as a PHC string.
    pub password_hash: Secret,
    /// Whether it may connect.
    pub is_active: bool,
    /// When it was made.
    pub created_unix_ms: u64,
}
