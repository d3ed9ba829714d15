//! The data plane of AWS IoT: who asks, whether they may, and the way to the shards and back.
//!
//! Paths, parameters, limits and errors are `bitts-aws`'s, commands and answers
//! [`bitts_broker::data_plane`]'s. Contract `data-plane-http.md`.

use bitts_aws::api::{self, Operation, Route};
use bitts_aws::error::{ApiError, ErrorKind};
use bitts_aws::sigv4;
use bitts_broker::command::Further;
use bitts_broker::data_plane;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::HeaderValue;
use hyper::http::request::Parts;
use hyper::{HeaderMap, Request};

use super::Front;
use super::answer::{Answer, Trace};
use super::authenticate::Door;

/// Longest time that a client id is held off, in seconds: a day.
pub(super) const HOLD_OFF_SECONDS_MAX: u32 = 86_400;

/// hyper's headers as the contract reads them.
pub(super) struct RequestHeaders<'a>(pub(super) &'a HeaderMap);

impl api::Headers for RequestHeaders<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(|value| value.to_str().ok())
    }
}

impl Front {
    /// Answers a request that is not one of our own paths.
    pub(super) async fn data_plane(
        &self,
        request: Request<Incoming>,
        trace: &Trace,
        door: &Door,
    ) -> Answer {
        let (head, body) = request.into_parts();
        let route = match api::route(head.method.as_str(), head.uri.path()) {
            Ok(route) => route,
            Err(error) => {
                let error = ApiError::from(error);
                self.counters.answered(None, error.kind.status());
                return Answer::error(&error, trace);
            }
        };
        let operation = route.operation;
        let (answer, is_read) = match self.read_body(body).await {
            Ok(payload) => {
                let answer = match self.allowed(&route, &head, &payload, door).await {
                    Ok(asked) => {
                        let outcome = self.perform(asked, payload, &head, trace).await;
                        outcome.unwrap_or_else(|error| Answer::error(&error, trace))
                    }
                    Err(error) => refuse(operation, &error, trace),
                };
                (answer, true)
            }
            Err(error) => (Answer::error(&error, trace), false),
        };
        self.counters.answered(Some(operation), answer.status());
        if is_read { answer } else { answer.closing() }
    }

    /// The request, if whoever sends it may, it is valid, and it is not one too many.
    async fn allowed(
        &self,
        route: &Route,
        head: &Parts,
        payload: &[u8],
        door: &Door,
    ) -> Result<api::Request, ApiError> {
        let query = head.uri.query();
        self.authenticate(door, head, payload, sigv4::SERVICES).await?.may(route, query)?;
        let headers = RequestHeaders(&head.headers);
        let asked = api::Request::parse(route, query, &headers, payload.len())?;
        self.throttle.check(route.operation, self.clock.now().moment)?;
        Ok(asked)
    }

    pub(super) async fn read_body(&self, body: Incoming) -> Result<Bytes, ApiError> {
        let too_large = || {
            let message = "The payload is larger than 131072 bytes";
            ApiError::new(ErrorKind::RequestEntityTooLarge, message)
        };
        if body.size_hint().lower() > self.limits.http_body_bytes_max as u64 {
            return Err(too_large());
        }
        let limited = Limited::new(body, self.limits.http_body_bytes_max).collect();
        match tokio::time::timeout(self.limits.http_timeout, limited).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(too_large()),
            Ok(Err(_)) => Err(ApiError::new(ErrorKind::InvalidRequest, "The body is incomplete")),
            Err(_) => {
                let message = "The body did not come in time";
                Err(ApiError::new(ErrorKind::InvalidRequest, message))
            }
        }
    }

    async fn perform(
        &self,
        asked: api::Request,
        payload: Bytes,
        head: &Parts,
        trace: &Trace,
    ) -> Result<Answer, ApiError> {
        let further = match &asked {
            api::Request::DeleteConnection(_) => further(&head.headers)?,
            _ => Further::default(),
        };
        let (owner, command) = data_plane::command(&asked, payload, further)?;
        let replies = match owner {
            Some(name) => {
                let owner = self.mesh.placement.owner_of(name);
                self.mesh.call(owner, command).await.map(|reply| vec![reply])
            }
            None => self.mesh.call_all(command).await,
        };
        let replies = replies.ok_or_else(|| stopping(&asked))?;
        Ok(match data_plane::answer(&asked, replies)?.body(trace.as_str()) {
            Some(body) => Answer::json_bytes(body, trace),
            None => Answer::empty(trace),
        })
    }
}

/// What a DeleteConnection asks beyond AWS's, in headers of our own: `x-bitts-if-session` and
/// `x-bitts-hold-off`, in seconds.
fn further(headers: &HeaderMap) -> Result<Further, ApiError> {
    let invalid = |message| ApiError::new(ErrorKind::InvalidRequest, message);
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str());
    let if_session = text("x-bitts-if-session").transpose();
    let if_session = if_session.map_err(|_| invalid("x-bitts-if-session is not text"))?;
    let hold_off_seconds = match text("x-bitts-hold-off") {
        None => 0,
        Some(text) => {
            let seconds = text.ok().and_then(|text| text.parse().ok());
            let seconds = seconds.filter(|seconds| *seconds <= HOLD_OFF_SECONDS_MAX);
            seconds.ok_or_else(|| invalid("x-bitts-hold-off is from 0 to 86400 seconds"))?
        }
    };
    Ok(Further {
        if_session: if_session.map(str::to_owned),
        hold_off_seconds,
        server_reference: None,
    })
}

/// No shard answers: the server stops.
pub(super) fn unavailable() -> ApiError {
    ApiError::new(ErrorKind::ServiceUnavailable, "The server is stopping")
}

/// The same as the operation's model has it: not each knows 503.
fn stopping(asked: &api::Request) -> ApiError {
    match asked {
        api::Request::DeleteConnection(_)
        | api::Request::GetConnection(_)
        | api::Request::ListSubscriptions(_)
        | api::Request::SendDirectMessage(_)
        | api::Request::Publish(_) => {
            ApiError::new(ErrorKind::InternalFailure, "The server is stopping")
        }
        api::Request::GetRetainedMessage(_)
        | api::Request::ListRetainedMessages(_)
        | api::Request::GetThingShadow(_)
        | api::Request::UpdateThingShadow(_)
        | api::Request::DeleteThingShadow(_)
        | api::Request::ListNamedShadowsForThing(_) => unavailable(),
    }
}

/// The answer to a request that nobody looked at further. A sender who may not send direct messages
/// gets no body, unlike one whose receiver may not receive them (`delete-connection.md` §3).
fn refuse(operation: Operation, error: &ApiError, trace: &Trace) -> Answer {
    let answer = Answer::error(error, trace);
    let is_sender = operation == Operation::SendDirectMessage && error.kind == ErrorKind::Forbidden;
    if is_sender { answer.without_body() } else { answer }
}
