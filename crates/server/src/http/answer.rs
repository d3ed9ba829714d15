//! What leaves: status, headers and body in AWS's form (`data-plane-http.md` §4).

use bitts_aws::error::{ApiError, ErrorKind};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use hyper::{HeaderMap, StatusCode};
use serde::Serialize;

/// What hyper sends.
pub(super) type Response = hyper::Response<Full<Bytes>>;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// One UUID for each request: `x-amzn-RequestId`, and `traceId` in the body (H-11).
#[derive(Debug)]
pub(super) struct Trace(String);

impl Trace {
    pub(super) fn new() -> Self {
        let uuid = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
        Self(uuid.hyphenated().to_string())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn new(status: StatusCode, body: Bytes, trace: &Trace) -> Self {
        let mut headers = HeaderMap::with_capacity(4);
        if let Ok(id) = HeaderValue::from_str(trace.as_str()) {
            headers.insert(REQUEST_ID, id);
        }
        Self { status, headers, body }
    }

    /// 200 without a body.
    pub(super) fn empty(trace: &Trace) -> Self {
        Self::new(StatusCode::OK, Bytes::new(), trace)
    }

    /// 200 with a body that is JSON already.
    pub(super) fn json_bytes(body: Vec<u8>, trace: &Trace) -> Self {
        let mut answer = Self::new(StatusCode::OK, body.into(), trace);
        answer.headers.insert(CONTENT_TYPE, JSON);
        answer
    }

    /// 200 with a body as JSON.
    pub(super) fn json(body: &impl Serialize, trace: &Trace) -> Self {
        // Strings, numbers and booleans only: there is nothing that cannot be written.
        Self::json_bytes(serde_json::to_vec(body).unwrap_or_default(), trace)
    }

    /// 101: the connection speaks MQTT over WebSocket behind it.
    pub(super) fn switching(accept_key: &str, trace: &Trace) -> Self {
        let mut answer = Self::new(StatusCode::SWITCHING_PROTOCOLS, Bytes::new(), trace);
        answer.headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        answer.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        answer.headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("mqtt"));
        if let Ok(key) = HeaderValue::from_str(accept_key) {
            answer.headers.insert(SEC_WEBSOCKET_ACCEPT, key);
        }
        answer
    }

    /// 200 with text.
    pub(super) fn text(content_type: &'static str, body: String, trace: &Trace) -> Self {
        let mut answer = Self::new(StatusCode::OK, body.into(), trace);
        answer.headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        answer
    }

    /// An AWS exception.
    pub(super) fn error(error: &ApiError, trace: &Trace) -> Self {
        let status = StatusCode::from_u16(error.kind.status());
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut answer = Self::new(status, error.body(trace.as_str()).into(), trace);
        answer.headers.insert(CONTENT_TYPE, JSON);
        answer.headers.insert(ERROR_TYPE, HeaderValue::from_static(error.kind.name()));
        if error.kind == ErrorKind::Throttling {
            answer.headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        answer
    }

    /// An exception of another model than the data plane's.
    pub(super) fn exception(status: u16, name: &'static str, body: Vec<u8>, trace: &Trace) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut answer = Self::new(status, body.into(), trace);
        answer.headers.insert(CONTENT_TYPE, JSON);
        answer.headers.insert(ERROR_TYPE, HeaderValue::from_static(name));
        answer
    }

    /// The same with another status.
    pub(super) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// The same with another header.
    pub(super) fn with_header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }

    /// The same with nothing to read but its headers.
    pub(super) fn without_body(mut self) -> Self {
        self.body = Bytes::new();
        self
    }

    /// Ends the connection behind it.
    pub(super) fn closing(mut self) -> Self {
        self.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        self
    }

    pub(super) fn status(&self) -> u16 {
        self.status.as_u16()
    }

    pub(super) fn into_response(self) -> Response {
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}
