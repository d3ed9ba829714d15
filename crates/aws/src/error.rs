//! What an operation answers when it refuses: AWS's exceptions, their statuses and their wire form.
//!
//! An [`ApiError`] is what the caller may read: its message is short, stable and never repeats the
//! input. Contract `data-plane-http.md` §3 and §4.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

macro_rules! error_kinds {
    ($($(#[$doc:meta])* $kind:ident = $status:literal, $name:literal;)*) => {
        /// An exception of the data plane's model.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum ErrorKind { $($(#[$doc])* $kind,)* }

        impl ErrorKind {
            const ALL: &[Self] = &[$(Self::$kind,)*];

            /// The HTTP status.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$kind => $status,)* }
            }

            /// The bare name, as `x-amzn-ErrorType` carries it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }
        }
    };
}

error_kinds! {
    /// The request breaks a rule of the operation.
    InvalidRequest = 400, "InvalidRequestException";
    /// No credentials, where the operation's model knows no [`ErrorKind::Forbidden`].
    Unauthorized = 401, "UnauthorizedException";
    /// Denied by policy, or unknown credentials.
    Forbidden = 403, "ForbiddenException";
    /// A signature that does not verify, or not any more.
    InvalidSignature = 403, "InvalidSignatureException";
    /// Nothing by that name.
    ResourceNotFound = 404, "ResourceNotFoundException";
    /// A path of the data plane with another verb.
    MethodNotAllowed = 405, "MethodNotAllowedException";
    /// The shadow's version is another one.
    Conflict = 409, "ConflictException";
    /// The payload or the shadow document is over its limit.
    RequestEntityTooLarge = 413, "RequestEntityTooLargeException";
    /// The shadow document is not UTF-8.
    UnsupportedDocumentEncoding = 415, "UnsupportedDocumentEncodingException";
    /// Over a rate.
    Throttling = 429, "ThrottlingException";
    /// Our own fault.
    InternalFailure = 500, "InternalFailureException";
    /// Not taking work at the moment.
    ServiceUnavailable = 503, "ServiceUnavailableException";
    /// The receiver of a direct message did not confirm in time.
    GatewayTimeout = 504, "GatewayTimeoutException";
}

impl ErrorKind {
    /// The kind of a bare name, of `Name:http://…` or of `namespace#Name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let bare = name.split(':').next()?.rsplit('#').next()?.trim();
        Self::ALL.iter().copied().find(|kind| kind.name() == bare)
    }

    /// Whether AWS's SDKs send such a request again.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(self.status(), 429 | 500 | 503 | 504)
    }

    /// The kind of a status that came without a name.
    fn from_status(status: u16) -> Self {
        let same = Self::ALL.iter().copied().find(|kind| kind.status() == status);
        match same {
            Some(kind) => kind,
            None if (400..500).contains(&status) => Self::InvalidRequest,
            None => Self::InternalFailure,
        }
    }
}

/// The message of [`ErrorKind::Throttling`] for whoever asks too often.
pub const RATE_EXCEEDED: &str = "Rate exceeded";

/// Bytes kept of a message that a response brought; the rest is cut off.
const MESSAGE_BYTES_MAX: usize = 1024;

/// An operation's refusal, as its caller reads it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ApiError {
    /// Which exception.
    pub kind: ErrorKind,
    /// One short sentence; empty where a response brought none.
    pub message: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    message: &'a str,
    trace_id: &'a str,
}

/// What error bodies hold; values of another type than a string count as absent.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ReceivedBody {
    #[serde(rename = "__type")]
    error_type: Value,
    code: Value,
    message: Value,
    #[serde(rename = "Message")]
    message_capitalised: Value,
}

impl ApiError {
    /// An error with this message.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// The error for whoever asks too often.
    #[must_use]
    pub fn rate_exceeded() -> Self {
        Self::new(ErrorKind::Throttling, RATE_EXCEEDED)
    }

    /// The JSON body. `trace_id` is the response's `x-amzn-RequestId`.
    #[must_use]
    pub fn body(&self, trace_id: &str) -> Vec<u8> {
        message_body(&self.message, trace_id)
    }

    /// What a response of this status says.
    ///
    /// The kind comes from `error_type` (header `x-amzn-ErrorType`), else from the body's `__type`
    /// or `code`, else from the status; a body that is not JSON counts as empty.
    #[must_use]
    pub fn from_response(status: u16, error_type: Option<&str>, body: &[u8]) -> Self {
        let body: ReceivedBody = serde_json::from_slice(body).unwrap_or_default();
        let kind = [error_type, body.error_type.as_str(), body.code.as_str()]
            .into_iter()
            .flatten()
            .find_map(ErrorKind::from_name)
            .unwrap_or_else(|| ErrorKind::from_status(status));
        let message = body.message.as_str().or(body.message_capitalised.as_str()).unwrap_or("");
        Self::new(kind, &message[..message.floor_char_boundary(MESSAGE_BYTES_MAX)])
    }
}

/// `{"message":…,"traceId":…}`, the body of errors and of accepted publishes.
pub(crate) fn message_body(message: &str, trace_id: &str) -> Vec<u8> {
    // Two strings: there is nothing that cannot be written.
    serde_json::to_vec(&Body { message, trace_id }).unwrap_or_default()
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name())?;
        if self.message.is_empty() { Ok(()) } else { write!(f, ": {}", self.message) }
    }
}

impl std::error::Error for ApiError {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contract §3.
    #[test]
    fn every_kind_has_its_status_and_name() {
        let table = [400, 401, 403, 403, 404, 405, 409, 413, 415, 429, 500, 503, 504];
        assert_eq!(ErrorKind::ALL.iter().map(|kind| kind.status()).collect::<Vec<_>>(), table);
        for kind in ErrorKind::ALL.iter().copied() {
            assert_eq!(kind.name(), format!("{kind:?}Exception"));
            assert_eq!(ErrorKind::from_name(kind.name()), Some(kind));
            let of_status = ErrorKind::from_status(kind.status());
            assert!(of_status == kind || of_status == ErrorKind::Forbidden, "{kind:?}");
            assert_eq!(kind.is_retryable(), [429, 500, 503, 504].contains(&kind.status()));
        }
    }

    /// Contract §4: the forms a name arrives in.
    #[test]
    fn names_arrive_with_suffix_and_namespace() {
        for name in [
            "ThrottlingException",
            "ThrottlingException:http://internal.amazon.com/coral/x#y/",
            "com.amazonaws.iotdataplane#ThrottlingException",
            "com.amazonaws.iotdataplane#ThrottlingException:http://x/",
        ] {
            assert_eq!(ErrorKind::from_name(name), Some(ErrorKind::Throttling), "{name}");
        }
        for name in ["", "#", ":", "AccessDeniedException", "throttlingexception"] {
            assert_eq!(ErrorKind::from_name(name), None, "{name}");
        }
    }

    /// H-11, the body's part: `message` and `traceId`, nothing else, quoted as JSON.
    #[test]
    fn h_11_error_body_has_message_and_trace_id() {
        let error = ApiError::new(ErrorKind::Forbidden, "Forb\"idden");
        assert_eq!(error.body("602536fa"), br#"{"message":"Forb\"idden","traceId":"602536fa"}"#);
    }

    #[test]
    fn a_response_is_read_header_first_then_body_then_status() {
        let not_found = "ResourceNotFoundException";
        let cases: [(u16, Option<&str>, &str, ErrorKind, &str); 12] = [
            (404, Some(not_found), r#"{"message":"m"}"#, ErrorKind::ResourceNotFound, "m"),
            (404, Some(not_found), "", ErrorKind::ResourceNotFound, ""),
            (404, Some(not_found), r#"{"code":404}"#, ErrorKind::ResourceNotFound, ""),
            (400, None, r#"{"__type":"a#ConflictException"}"#, ErrorKind::Conflict, ""),
            (400, None, r#"{"code":"ConflictException"}"#, ErrorKind::Conflict, ""),
            (400, Some("Odd"), r#"{"code":"ConflictException"}"#, ErrorKind::Conflict, ""),
            (403, Some("AccessDeniedException"), "{}", ErrorKind::Forbidden, ""),
            (403, Some("InvalidSignatureException"), "{}", ErrorKind::InvalidSignature, ""),
            (403, None, r#"{"Message":"Forbidden"}"#, ErrorKind::Forbidden, "Forbidden"),
            (403, None, r#"{"message":null}"#, ErrorKind::Forbidden, ""),
            (502, None, "<html>", ErrorKind::InternalFailure, ""),
            (418, None, "[1]", ErrorKind::InvalidRequest, ""),
        ];
        for (status, error_type, body, kind, message) in cases {
            let error = ApiError::from_response(status, error_type, body.as_bytes());
            assert_eq!(error, ApiError::new(kind, message), "{status} {error_type:?} {body}");
        }
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let body = format!(r#"{{"message":"a{}"}}"#, "ü".repeat(1024));
        assert_eq!(ApiError::from_response(500, None, body.as_bytes()).message.len(), 1023);
    }

    #[test]
    fn display_names_the_exception() {
        assert_eq!(
            ApiError::new(ErrorKind::Forbidden, "Forbidden").to_string(),
            "ForbiddenException: Forbidden"
        );
        assert_eq!(ApiError::new(ErrorKind::Conflict, "").to_string(), "ConflictException");
    }

    proptest::proptest! {
        #[test]
        fn any_response_is_read(status: u16, name: String, body: Vec<u8>) {
            let error = ApiError::from_response(status, Some(&name), &body);
            proptest::prop_assert!(error.message.len() <= MESSAGE_BYTES_MAX);
        }
    }
}
