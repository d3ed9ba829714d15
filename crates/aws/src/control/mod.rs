//! The control plane: what identities and permissions are asked over HTTP, and what is answered.
//!
//! [`route`] gives the operation of a request line, [`Input::parse`] its members,
//! [`Registry::apply`] its answer with the registry that it makes. Permission comes between the
//! first two: [`Route::action`] and [`Route::resource`] say for what. Contract
//! `control-plane-and-jobs.md` §1 and §2.

mod attachment;
mod authority;
mod authorization;
mod authorizer;
mod body;
mod certificate;
mod credential;
mod error;
mod group;
mod input;
mod operation;
mod page;
mod policy;
mod principal;
mod tag;
mod target;
mod thing;
mod thing_type;

pub use error::{ControlError, ControlErrorKind};
pub use input::Input;
pub use operation::{Material, Operation, Route, RouteError, TEST_INVOKE, operation_name, route};

use serde_json::{Map, Value};

use self::operation::Handler;
use crate::registry::{CertificateFacts, Draft, Registry, Row, Secret};

/// What operations may not find out themselves: the time, chance, and what cryptography made.
#[derive(Debug, Default)]
pub struct Given {
    /// The time, in milliseconds since 1970.
    pub unix_ms: u64,
    /// A random UUID, for whatever is made.
    pub uuid: String,
    /// 64 random hexadecimal digits.
    pub code: String,
    /// Where the caller found this server, without a scheme.
    pub endpoint: String,
    /// The certificate of the operation's [`Material`].
    pub certificate: Option<NewCertificate>,
    /// The credential of the operation's [`Material`].
    pub credential: Option<NewCredential>,
}

/// A certificate that was made or read.
#[derive(Clone, Debug, Default)]
pub struct NewCertificate {
    /// SHA-256 of its DER, 64 hexadecimal digits.
    pub id: String,
    /// The certificate, PEM.
    pub pem: String,
    /// What was read from it.
    pub facts: CertificateFacts,
    /// The id of the registered authority that signed it.
    pub ca_id: Option<String>,
}

/// A secret that was made.
#[derive(Clone, Debug)]
pub enum NewCredential {
    /// An access key.
    AccessKey {
        /// Its id.
        id: String,
        /// Its secret.
        secret: Secret,
    },
    /// The argon2id hash of a user's password, as a PHC string.
    Password(Secret),
}

/// What an operation did.
#[derive(Debug)]
pub struct Applied {
    /// The registry after it.
    pub registry: Registry,
    /// What a store has to keep of it; none for an operation that changed nothing.
    pub rows: Vec<Row>,
    /// The answer's members; none for an empty body.
    pub answer: Value,
}

impl Registry {
    /// Performs an operation: the registry after it and the answer, or a refusal that changed
    /// nothing.
    pub fn apply(
        &self,
        operation: &Operation,
        input: &Input,
        given: &Given,
    ) -> Result<Applied, ControlError> {
        match operation.handler {
            Handler::Read(read) => {
                let answer = without_nulls(read(self, input, given)?);
                Ok(Applied { registry: self.clone(), rows: Vec::new(), answer })
            }
            Handler::Change(change) => {
                let mut draft = Draft::new(self);
                let answer = without_nulls(change(&mut draft, input, given)?);
                let (registry, rows) = draft.finish();
                Ok(Applied { registry, rows, answer })
            }
        }
    }
}

/// What has no value is left out of answers.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members.into_iter().filter(|(_, value)| !value.is_null());
            kept.map(|(name, value)| (name, without_nulls(value))).collect::<Map<_, _>>().into()
        }
        Value::Array(items) => items.into_iter().map(without_nulls).collect::<Vec<_>>().into(),
        value => value,
    }
}

/// A time in seconds since 1970, as answers carry it.
#[expect(clippy::cast_precision_loss, reason = "milliseconds fit until the year 287396")]
fn seconds(unix_ms: u64) -> Value {
    (unix_ms as f64 / 1000.0).into()
}

/// Refuses a name of a thing, a group or a type that is none (contract §2, Names).
fn check_name(member: &str, name: &str) -> Result<(), ControlError> {
    let is_byte = |byte: u8| byte.is_ascii_alphanumeric() || b":_-".contains(&byte);
    if (1..=128).contains(&name.len()) && name.bytes().all(is_byte) {
        return Ok(());
    }
    Err(ControlError::invalid(format!("{member} is 1 to 128 of A-Z, a-z, 0-9 and :_-")))
}

/// Refuses one record more of a kind that is at its limit.
fn check_room(count: usize, registry: &Registry) -> Result<(), ControlError> {
    let max = registry.limits.records_max;
    if count < max {
        return Ok(());
    }
    Err(ControlError::new(ControlErrorKind::LimitExceeded, format!("There are {max} already")))
}

#[cfg(test)]
mod tests;
