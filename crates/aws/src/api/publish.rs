//! Publish: topic, QoS and MQTT 5 properties of a message that comes over HTTP.
//!
//! The payload is the body as it is and stays with the caller. Contract §2, §8 and §9.

use super::query::{Query, QueryWriter, encode, integer};
use super::topic::check_publish_topic;
use super::{Headers, HttpRequestParts, MessageProperties};
use crate::error::{ApiError, ErrorKind};

/// Bytes of a payload. One more is answered with 413.
pub const PAYLOAD_BYTES_MAX: usize = 131_072;

/// The longest Message Expiry Interval, in seconds: one week. A longer one is shortened to it.
pub const MESSAGE_EXPIRY_MAX: u32 = 604_800;

/// Publishes a message. Answered by [`published`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Publish {
    /// Where to, at most 256 bytes; reserved only where AWS takes messages.
    pub topic: String,
    /// 0 or 1. Default 0.
    pub qos: u8,
    /// Whether the message is retained. Default false.
    pub retain: bool,
    /// Message Expiry Interval, 1 to 604,800 seconds.
    pub message_expiry: Option<u32>,
    /// What else MQTT 5 tells of it.
    pub properties: MessageProperties,
}

pub(super) fn invalid(message: &str) -> ApiError {
    ApiError::new(ErrorKind::InvalidRequest, message)
}

impl Publish {
    pub(super) fn parse(
        topic: &str,
        query: &Query,
        headers: &dyn Headers,
        payload_len: usize,
    ) -> Result<Self, ApiError> {
        let retain = query.flag("retain")?;
        check_publish_topic(topic, retain)?;
        let publish = Self {
            topic: topic.to_owned(),
            qos: qos(query)?,
            retain,
            message_expiry: query.get("messageExpiry").map(message_expiry).transpose()?,
            properties: MessageProperties::parse(query, headers)?,
        };
        check_payload(payload_len)?;
        Ok(publish)
    }

    /// The request as AWS's SDKs write it; the body is the payload.
    #[must_use]
    pub fn encode(&self) -> HttpRequestParts {
        let query = QueryWriter::default()
            .add("qos", (self.qos != 0).then(|| self.qos.to_string()).as_deref())
            .flag("retain", self.retain);
        let query = self
            .properties
            .add_to(query)
            .add("messageExpiry", self.message_expiry.map(|s| s.to_string()).as_deref());
        HttpRequestParts {
            headers: self.properties.headers(),
            ..HttpRequestParts::new("POST", format!("/topics/{}", encode(&self.topic)), query)
        }
    }
}

pub(super) fn check_payload(payload_len: usize) -> Result<(), ApiError> {
    if payload_len <= PAYLOAD_BYTES_MAX {
        return Ok(());
    }
    let message = "The payload is larger than 131072 bytes";
    Err(ApiError::new(ErrorKind::RequestEntityTooLarge, message))
}

fn qos(query: &Query) -> Result<u8, ApiError> {
    let Some(value) = query.get("qos") else { return Ok(0) };
    integer(value).filter(|&qos| qos <= 1).ok_or_else(|| invalid("qos is 0 or 1"))
}

/// An integer of any size and sign, brought into the range.
fn message_expiry(value: &str) -> Result<u32, ApiError> {
    let (negative, digits) = match value.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, value),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(invalid("messageExpiry is an integer"));
    }
    // Too many digits for the type are too many seconds.
    let seconds = if negative { 0 } else { digits.parse().unwrap_or(u32::MAX) };
    Ok(seconds.clamp(1, MESSAGE_EXPIRY_MAX))
}

/// The body of an accepted publish: `{"message":"OK","traceId":…}`. Contract §4.
#[must_use]
pub fn published(trace_id: &str) -> Vec<u8> {
    crate::error::message_body("OK", trace_id)
}
