//! Calls of the control plane, as JSON: things, certificates, policies, credentials.

use bitts_aws::api::HttpRequestParts;
use bytes::Bytes;
use serde_json::Value;

use super::error::{CallError, TransportError};
use super::{DataPlane, Failure, add_parameter};

/// A call of the control plane.
#[derive(Clone, Debug, Default)]
pub struct ControlCall {
    /// The verb.
    pub method: &'static str,
    /// Percent-encoded already.
    pub path: String,
    /// Names and values, not encoded.
    pub query: Vec<(&'static str, String)>,
    /// Names in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// The body; null is none.
    pub body: Value,
}

impl DataPlane {
    /// Performs a call; an empty answer is null.
    pub async fn control(&self, call: ControlCall) -> Result<Value, CallError> {
        let ControlCall { method, path, query, headers, body } = call;
        let mut parts = HttpRequestParts { method, path, query: String::new(), headers };
        for (name, value) in &query {
            add_parameter(&mut parts, name, value);
        }
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        let answer = self.inner.call(&parts, &body).await.0?;
        if answer.body().is_empty() {
            return Ok(Value::Null);
        }
        let read = serde_json::from_slice(answer.body());
        Ok(read.map_err(|error| Failure::Transport(TransportError::Body(error)))?)
    }
}
