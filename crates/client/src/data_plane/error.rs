//! How a call fails: an exception of AWS's, one type for each operation, or no answer at all.

use std::io;
use std::time::Duration;

use bitts_aws::error::{ApiError, ErrorKind};
use http::StatusCode;
use http::header::HeaderMap;
use thiserror::Error;

/// An exception, as the server sent it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// AWS's name of it, such as `ForbiddenException`. A name that the data plane's model does not
    /// know, such as `InvalidSignatureException`, stands as sent.
    pub name: String,
    /// One sentence; empty where the response brought none.
    pub message: String,
    /// `x-amzn-RequestId`, to be looked up in the server's log.
    pub request_id: Option<String>,
    /// HTTP status.
    pub status: u16,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)?;
        if self.message.is_empty() { Ok(()) } else { write!(f, ": {}", self.message) }
    }
}

/// Why no answer came that can be read.
#[derive(Debug, Error)]
pub enum TransportError {
    /// No connection: nothing was sent.
    #[error("no connection to {endpoint}: {source}")]
    Connect {
        /// Where to.
        endpoint: String,
        /// Why.
        source: io::Error,
    },
    /// The connection broke; the request may have been carried out.
    #[error("the connection broke: {0}")]
    Broken(#[source] hyper::Error),
    /// More than [`super::RESPONSE_BYTES_MAX`] bytes.
    #[error("the response is larger than {} bytes", super::RESPONSE_BYTES_MAX)]
    TooLarge,
    /// A success whose body is not the operation's.
    #[error("the response is not what the operation answers: {0}")]
    Body(#[source] serde_json::Error),
    /// A page whose token is the one that asked for it.
    #[error("the server gave the same nextToken twice")]
    RepeatedToken,
    /// A path or header that HTTP does not allow.
    #[error("the request is not HTTP: {0}")]
    Request(#[source] http::Error),
}

/// How any call fails.
#[derive(Debug, Error)]
pub enum CallError {
    /// The server answered with an exception.
    #[error("{0}")]
    Refused(Refusal),
    /// No answer within the time for one attempt.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// No answer that can be read.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

impl CallError {
    /// The exception, if it is one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Timeout(_) | Self::Transport(_) => None,
        }
    }
}

/// What a response that is no success says.
pub(super) fn refusal(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
) -> (ErrorKind, Refusal) {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let error_type = text("x-amzn-errortype");
    let error = ApiError::from_response(status.as_u16(), error_type, body);
    let bare = error_type.and_then(|name| name.split(':').next()?.rsplit('#').next());
    let name = bare.map(str::trim).filter(|name| !name.is_empty());
    let refusal = Refusal {
        // A name in the header that the model lacks says more than the kind of its status.
        name: match name {
            Some(name) if ErrorKind::from_name(name).is_none() => name.to_owned(),
            _ => error.kind.name().to_owned(),
        },
        message: error.message,
        request_id: text("x-amzn-requestid").map(ToOwned::to_owned),
        status: status.as_u16(),
    };
    // A signature that does not hold is no exception of an operation's model.
    let is_signature = error.kind == ErrorKind::InvalidSignature;
    (if is_signature { ErrorKind::Forbidden } else { error.kind }, refusal)
}

/// The error type of an operation: the exceptions of its model, and what happens to every call.
macro_rules! operation_errors {
    ($($operation:literal $name:ident: $($kind:ident)*;)*) => { $(
        #[doc = concat!("How ", $operation, " fails.")]
        #[derive(Debug, Error)]
        #[non_exhaustive]
        pub enum $name {
            $(
                #[doc = concat!("`", stringify!($kind), "Exception`")]
                #[error("{0}")]
                $kind(Refusal),
            )*
            /// An exception that the operation's model does not list.
            #[error("{0}")]
            Unexpected(Refusal),
            /// No answer within the time for one attempt, at the last attempt.
            #[error("no answer within {0:?}")]
            Timeout(Duration),
            /// No answer that can be read, at the last attempt.
            #[error(transparent)]
            Transport(TransportError),
        }

        impl $name {
            /// The exception, if it is one.
            pub fn refusal(&self) -> Option<&Refusal> {
                match self {
                    $(Self::$kind(refusal) => Some(refusal),)*
                    Self::Unexpected(refusal) => Some(refusal),
                    Self::Timeout(_) | Self::Transport(_) => None,
                }
            }

            pub(super) fn from_failure(failure: Failure) -> Self {
                match failure {
                    $(Failure::Refused(ErrorKind::$kind, refusal) => Self::$kind(refusal),)*
                    Failure::Refused(_, refusal) => Self::Unexpected(refusal),
                    Failure::Timeout(after) => Self::Timeout(after),
                    Failure::Transport(error) => Self::Transport(error),
                }
            }
        }

        impl From<$name> for CallError {
            fn from(error: $name) -> Self {
                match error {
                    $($name::$kind(refusal) => Self::Refused(refusal),)*
                    $name::Unexpected(refusal) => Self::Refused(refusal),
                    $name::Timeout(after) => Self::Timeout(after),
                    $name::Transport(error) => Self::Transport(error),
                }
            }
        }
    )* };
}

// Contract `data-plane-http.md` §3; 403 also where the model lists only 401.
operation_errors! {
    "DeleteConnection" DeleteConnectionError:
        InvalidRequest Forbidden ResourceNotFound Throttling InternalFailure;
    "GetConnection" GetConnectionError:
        InvalidRequest Forbidden ResourceNotFound Throttling InternalFailure;
    "ListSubscriptions" ListSubscriptionsError:
        InvalidRequest Forbidden ResourceNotFound Throttling InternalFailure;
    "Publish" PublishError:
        InvalidRequest Unauthorized Forbidden MethodNotAllowed RequestEntityTooLarge Throttling
        InternalFailure;
    "GetRetainedMessage" GetRetainedMessageError:
        InvalidRequest Unauthorized Forbidden ResourceNotFound MethodNotAllowed Throttling
        InternalFailure ServiceUnavailable;
    "SendDirectMessage" SendDirectMessageError:
        InvalidRequest Unauthorized Forbidden ResourceNotFound RequestEntityTooLarge Throttling
        InternalFailure GatewayTimeout;
    "GetThingShadow" GetThingShadowError:
        InvalidRequest Unauthorized Forbidden ResourceNotFound MethodNotAllowed
        UnsupportedDocumentEncoding Throttling InternalFailure ServiceUnavailable;
    "UpdateThingShadow" UpdateThingShadowError:
        InvalidRequest Unauthorized Forbidden MethodNotAllowed Conflict RequestEntityTooLarge
        UnsupportedDocumentEncoding Throttling InternalFailure ServiceUnavailable;
    "DeleteThingShadow" DeleteThingShadowError:
        InvalidRequest Unauthorized Forbidden ResourceNotFound MethodNotAllowed
        UnsupportedDocumentEncoding Throttling InternalFailure ServiceUnavailable;
    "ListNamedShadowsForThing" ListNamedShadowsForThingError:
        InvalidRequest Unauthorized Forbidden ResourceNotFound MethodNotAllowed Throttling
        InternalFailure ServiceUnavailable;
    "ListRetainedMessages" ListRetainedMessagesError:
        InvalidRequest Unauthorized Forbidden MethodNotAllowed Throttling InternalFailure
        ServiceUnavailable;
}

/// How an attempt fails, before it becomes an operation's error.
#[derive(Debug)]
pub(super) enum Failure {
    Refused(ErrorKind, Refusal),
    Timeout(Duration),
    Transport(TransportError),
}

impl Failure {
    /// Whether AWS's SDKs send such a request again.
    pub(super) fn is_retryable(&self) -> bool {
        match self {
            Self::Refused(kind, refusal) => {
                *kind == ErrorKind::Throttling
                    || matches!(refusal.status, 429 | 500 | 502 | 503 | 504)
            }
            Self::Timeout(_) => true,
            Self::Transport(error) => {
                matches!(error, TransportError::Connect { .. } | TransportError::Broken(_))
            }
        }
    }

    /// Whether the server may have carried the request out all the same.
    pub(super) fn may_have_been_done(&self) -> bool {
        match self {
            Self::Refused(kind, _) => *kind != ErrorKind::Throttling,
            Self::Timeout(_) => true,
            Self::Transport(error) => matches!(error, TransportError::Broken(_)),
        }
    }
}

impl From<Failure> for CallError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(_, refusal) => Self::Refused(refusal),
            Failure::Timeout(after) => Self::Timeout(after),
            Failure::Transport(error) => Self::Transport(error),
        }
    }
}
