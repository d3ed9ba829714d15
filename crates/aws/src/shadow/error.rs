//! Why the shadow service refuses: the codes and messages of contract §4, and the answers that
//! carry them.

use std::borrow::Cow;

use super::ShadowLimits;
use super::json::write_text;
use super::name::ShadowId;
use super::request::client_token;
use crate::error::{ApiError, ErrorKind};

/// A refusal. Its code over MQTT is its HTTP status.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ShadowError {
    /// Not a JSON object; a name twice in an object; a number that no double can hold.
    InvalidJson,
    /// No `state` in an update.
    MissingState,
    /// `state` is neither an object nor null.
    StateNotAnObject,
    /// `desired` is neither an object nor null.
    DesiredNotAnObject,
    /// `reported` is neither an object nor null.
    ReportedNotAnObject,
    /// `version` is no integer from 0, or not 0 or 1 where there is no shadow yet.
    InvalidVersion,
    /// `clientToken` is no string of at most 64 bytes.
    InvalidClientToken,
    /// More levels below `state` than the limit.
    TooDeep {
        /// The limit.
        depth_max: usize,
    },
    /// A member of `state` other than its sections, or a null in an array.
    InvalidNode,
    /// No credentials.
    Unauthorized,
    /// Denied by policy.
    Forbidden,
    /// There is no such shadow.
    NoShadow,
    /// `version` is not the shadow's.
    VersionConflict,
    /// The state or the request would be larger than its limit.
    TooLarge,
    /// The document is not UTF-8.
    NotUtf8,
    /// Over a rate, or too many requests in flight.
    TooManyRequests,
    /// Our own fault.
    InternalFailure,
    /// The disk is full, and it would have had to be kept.
    Unavailable,
}

impl ShadowError {
    /// The exception of the HTTP API.
    #[must_use]
    pub const fn kind(self) -> ErrorKind {
        match self {
            Self::InvalidJson
            | Self::MissingState
            | Self::StateNotAnObject
            | Self::DesiredNotAnObject
            | Self::ReportedNotAnObject
            | Self::InvalidVersion
            | Self::InvalidClientToken
            | Self::TooDeep { .. }
            | Self::InvalidNode => ErrorKind::InvalidRequest,
            Self::Unauthorized => ErrorKind::Unauthorized,
            Self::Forbidden => ErrorKind::Forbidden,
            Self::NoShadow => ErrorKind::ResourceNotFound,
            Self::VersionConflict => ErrorKind::Conflict,
            Self::TooLarge => ErrorKind::RequestEntityTooLarge,
            Self::NotUtf8 => ErrorKind::UnsupportedDocumentEncoding,
            Self::TooManyRequests => ErrorKind::Throttling,
            Self::InternalFailure => ErrorKind::InternalFailure,
            Self::Unavailable => ErrorKind::ServiceUnavailable,
        }
    }

    /// The `code` of a rejected answer.
    #[must_use]
    pub const fn code(self) -> u16 {
        self.kind().status()
    }

    /// The sentence, about the shadow `id`.
    #[must_use]
    pub fn message(self, id: &ShadowId) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::InvalidJson => "Invalid JSON",
            Self::MissingState => "Missing required node: state",
            Self::StateNotAnObject => "State node must be an object",
            Self::DesiredNotAnObject => "Desired node must be an object",
            Self::ReportedNotAnObject => "Reported node must be an object",
            Self::InvalidVersion => "Invalid version",
            Self::InvalidClientToken => "Invalid clientToken",
            Self::TooDeep { depth_max } => {
                return format!("JSON contains too many levels of nesting; maximum is {depth_max}")
                    .into();
            }
            Self::InvalidNode => "State contains an invalid node",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NoShadow => return format!("No shadow exists with name: '{id}'").into(),
            Self::VersionConflict => "Version conflict",
            Self::TooLarge => "The payload exceeds the maximum size allowed",
            // The second word is AWS's spelling.
            Self::NotUtf8 => "Unsupported documented encoding; supported encoding is UTF-8",
            Self::TooManyRequests => "Too many requests",
            Self::InternalFailure => "Internal service failure",
            Self::Unavailable => "Service unavailable",
        })
    }
}

/// A refused request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rejection {
    /// Why.
    pub error: ShadowError,
    /// The request's client token, where it has a valid one.
    pub client_token: Option<Box<str>>,
}

impl Rejection {
    /// A request that is refused before anybody looks at what it asks.
    #[must_use]
    pub fn unread(error: ShadowError, payload: &[u8], limits: &ShadowLimits) -> Self {
        // A token that is none is not echoed.
        Self { error, client_token: client_token(payload, limits).unwrap_or_default() }
    }

    /// The payload of a rejected answer about the shadow `id`.
    #[must_use]
    pub fn body(&self, id: &ShadowId) -> Vec<u8> {
        let mut body = format!("{{\"code\":{},\"message\":", self.error.code()).into_bytes();
        write_text(&self.error.message(id), &mut body);
        if let Some(token) = &self.client_token {
            body.extend_from_slice(b",\"clientToken\":");
            write_text(token, &mut body);
        }
        body.push(b'}');
        body
    }

    /// The same over HTTP, where no token is echoed.
    #[must_use]
    pub fn api_error(&self, id: &ShadowId) -> ApiError {
        ApiError::new(self.error.kind(), self.error.message(id))
    }
}

impl From<ShadowError> for Rejection {
    fn from(error: ShadowError) -> Self {
        Self { error, client_token: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contract §4.
    #[test]
    fn every_error_has_its_code_and_message() {
        let id = ShadowId::new("T", None).unwrap();
        for (error, code, message) in [
            (ShadowError::InvalidJson, 400, "Invalid JSON"),
            (ShadowError::MissingState, 400, "Missing required node: state"),
            (ShadowError::StateNotAnObject, 400, "State node must be an object"),
            (ShadowError::DesiredNotAnObject, 400, "Desired node must be an object"),
            (ShadowError::ReportedNotAnObject, 400, "Reported node must be an object"),
            (ShadowError::InvalidVersion, 400, "Invalid version"),
            (ShadowError::InvalidClientToken, 400, "Invalid clientToken"),
            (
                ShadowError::TooDeep { depth_max: 6 },
                400,
                "JSON contains too many levels of nesting; maximum is 6",
            ),
            (ShadowError::InvalidNode, 400, "State contains an invalid node"),
            (ShadowError::Unauthorized, 401, "Unauthorized"),
            (ShadowError::Forbidden, 403, "Forbidden"),
            (ShadowError::NoShadow, 404, "No shadow exists with name: 'T'"),
            (ShadowError::VersionConflict, 409, "Version conflict"),
            (ShadowError::TooLarge, 413, "The payload exceeds the maximum size allowed"),
            (
                ShadowError::NotUtf8,
                415,
                "Unsupported documented encoding; supported encoding is UTF-8",
            ),
            (ShadowError::TooManyRequests, 429, "Too many requests"),
            (ShadowError::InternalFailure, 500, "Internal service failure"),
            (ShadowError::Unavailable, 503, "Service unavailable"),
        ] {
            assert_eq!((error.code(), &*error.message(&id)), (code, message));
            let rejection = Rejection::from(error);
            assert_eq!(rejection.api_error(&id), ApiError::new(error.kind(), message));
            let body = format!(r#"{{"code":{code},"message":"{message}"}}"#);
            assert_eq!(String::from_utf8(rejection.body(&id)).unwrap(), body);
        }
    }

    /// S-10, S-18.
    #[test]
    fn a_rejected_answer_echoes_the_token() {
        let id = ShadowId::new("T", Some("s")).unwrap();
        let rejection =
            Rejection { error: ShadowError::NoShadow, client_token: Some("a\"b".into()) };
        let body =
            r#"{"code":404,"message":"No shadow exists with name: 'T~s'","clientToken":"a\"b"}"#;
        assert_eq!(String::from_utf8(rejection.body(&id)).unwrap(), body);
    }

    #[test]
    fn a_request_that_nobody_read_has_its_token_echoed() {
        let (error, limits) = (ShadowError::TooManyRequests, ShadowLimits::default());
        for (payload, token) in [
            (r#"{"state":5,"clientToken":"t"}"#, Some("t")),
            (r#"{"clientToken":5}"#, None),
            ("", None),
        ] {
            let client_token = token.map(Into::into);
            let rejection = Rejection::unread(error, payload.as_bytes(), &limits);
            assert_eq!(rejection, Rejection { error, client_token });
        }
    }
}
