//! What an operation of the control plane answers when it refuses.
//!
//! Not the data plane's table: throttling is 400 here, and there are kinds that only identities
//! have. Contract `control-plane-and-jobs.md` §1.

use std::fmt;

use serde::Serialize;

macro_rules! error_kinds {
    ($($(#[$doc:meta])* $kind:ident = $status:literal;)*) => {
        /// An exception of the control plane's model; its name is that of the variant and
        /// `Exception`.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum ControlErrorKind { $($(#[$doc])* $kind,)* }

        impl ControlErrorKind {
            /// The HTTP status.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$kind => $status,)* }
            }

            /// The bare name, as `x-amzn-ErrorType` carries it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => concat!(stringify!($kind), "Exception"),)* }
            }
        }
    };
}

error_kinds! {
    /// The request breaks a rule of the operation.
    InvalidRequest = 400;
    /// A document that is no policy; the message names the place.
    MalformedPolicy = 400;
    /// A certificate that cannot be read, or that another did not sign.
    CertificateValidation = 400;
    /// An authorizer cannot be asked, or its answer cannot be used.
    InvalidResponse = 400;
    /// A verification certificate without the registration code.
    RegistrationCodeValidation = 400;
    /// Over a rate.
    Throttling = 400;
    /// No credentials.
    Unauthorized = 401;
    /// Denied by policy.
    AccessDenied = 403;
    /// Nothing by that name.
    ResourceNotFound = 404;
    /// A path of the control plane with another verb.
    MethodNotAllowed = 405;
    /// The certificate's status does not allow it.
    CertificateState = 406;
    /// Something else by that name is there.
    ResourceAlreadyExists = 409;
    /// What is still in use cannot go.
    DeleteConflict = 409;
    /// The version is another one.
    VersionConflict = 409;
    /// No version more.
    VersionsLimitExceeded = 409;
    /// No more of these.
    LimitExceeded = 410;
    /// The body is over its limit.
    RequestEntityTooLarge = 413;
    /// Our own fault.
    InternalFailure = 500;
    /// Not taking work at the moment.
    ServiceUnavailable = 503;
}

/// An operation's refusal, as its caller reads it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ControlError {
    /// Which exception.
    pub kind: ControlErrorKind,
    /// One short sentence.
    pub message: String,
    /// What is there already, its id and ARN: of [`ControlErrorKind::ResourceAlreadyExists`].
    pub resource: Option<Box<(String, String)>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_arn: Option<&'a str>,
}

impl ControlError {
    /// An error with this message.
    #[must_use]
    pub fn new(kind: ControlErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), resource: None }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ControlErrorKind::InvalidRequest, message)
    }

    /// Nothing of a kind by that name.
    pub(super) fn not_found(what: &str, name: &str) -> Self {
        let name: String = name.chars().take(256).collect();
        Self::new(ControlErrorKind::ResourceNotFound, format!("No {what} {name}"))
    }

    pub(super) fn exists(what: &str, id: impl Into<String>, arn: impl Into<String>) -> Self {
        let (id, arn) = (id.into(), arn.into());
        let message = format!("The {what} {id} exists already");
        let resource = Some(Box::new((id, arn)));
        Self { kind: ControlErrorKind::ResourceAlreadyExists, message, resource }
    }

    /// The JSON body.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        let resource = self.resource.as_deref();
        let body = Body {
            message: &self.message,
            resource_id: resource.map(|(id, _)| id.as_str()),
            resource_arn: resource.map(|(_, arn)| arn.as_str()),
        };
        // Strings: there is nothing that cannot be written.
        serde_json::to_vec(&body).unwrap_or_default()
    }
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.name(), self.message)
    }
}

impl std::error::Error for ControlError {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contract §1, trap 2: the statuses that differ from the data plane's.
    #[test]
    fn kinds_have_the_control_planes_statuses_and_names() {
        for (kind, status, name) in [
            (ControlErrorKind::Throttling, 400, "ThrottlingException"),
            (ControlErrorKind::CertificateState, 406, "CertificateStateException"),
            (ControlErrorKind::LimitExceeded, 410, "LimitExceededException"),
            (ControlErrorKind::ResourceAlreadyExists, 409, "ResourceAlreadyExistsException"),
        ] {
            assert_eq!((kind.status(), kind.name()), (status, name));
        }
    }

    #[test]
    fn what_exists_is_named_by_id_and_arn() {
        let error = ControlError::exists("thing", "t", "arn:x");
        let body =
            r#"{"message":"The thing t exists already","resourceId":"t","resourceArn":"arn:x"}"#;
        assert_eq!(error.body(), body.as_bytes());
        assert_eq!(ControlError::invalid("m").body(), br#"{"message":"m"}"#);
    }
}
