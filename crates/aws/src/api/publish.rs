//! Publish: topic, QoS and MQTT 5 properties of a message that comes over HTTP.
//!
//! The payload is the body as it is and stays with the caller. Contract §2, §8 and §9.

use data_encoding::BASE64;

use super::properties;
use super::query::{Query, QueryWriter, encode, integer};
use super::topic::{check_publish_topic, check_response_topic};
use super::{Headers, HttpRequestParts};
use crate::error::{ApiError, ErrorKind};

/// Bytes of a payload. One more is answered with 413.
pub const PAYLOAD_BYTES_MAX: usize = 131_072;

/// The longest Message Expiry Interval, in seconds: one week. A longer one is shortened to it.
pub const MESSAGE_EXPIRY_MAX: u32 = 604_800;

/// Bytes of a Content Type or of Correlation Data: what an MQTT string can hold.
const PROPERTY_BYTES_MAX: usize = 65_535;

const USER_PROPERTIES: &str = "x-amz-mqtt5-user-properties";
const PAYLOAD_FORMAT_INDICATOR: &str = "x-amz-mqtt5-payload-format-indicator";
const CORRELATION_DATA: &str = "x-amz-mqtt5-correlation-data";

/// Publishes a message. Answered by [`published`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Publish {
    /// Where to, at most 256 bytes; reserved only where AWS takes messages.
    pub topic: String,
    /// 0 or 1. Default 0.
    pub qos: u8,
    /// Whether the message is retained. Default false.
    pub retain: bool,
    /// Content Type, at most 65,535 bytes.
    pub content_type: Option<String>,
    /// Response Topic, 1 to 256 bytes.
    pub response_topic: Option<String>,
    /// Message Expiry Interval, 1 to 604,800 seconds.
    pub message_expiry: Option<u32>,
    /// User Properties in their order, at most 8 KiB together.
    pub user_properties: Vec<(String, String)>,
    /// Payload Format Indicator: whether the payload is UTF-8.
    pub payload_format_indicator: Option<bool>,
    /// Correlation Data, at most 65,535 bytes.
    pub correlation_data: Option<Vec<u8>>,
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
        let user_properties = user_properties(headers)?;
        let publish = Self {
            topic: topic.to_owned(),
            qos: qos(query)?,
            retain,
            content_type: content_type(query)?,
            response_topic: response_topic(query)?,
            message_expiry: query.get("messageExpiry").map(message_expiry).transpose()?,
            user_properties,
            payload_format_indicator: payload_format_indicator(headers)?,
            correlation_data: correlation_data(headers)?,
        };
        check_payload(payload_len)?;
        Ok(publish)
    }

    /// The request as AWS's SDKs write it; the body is the payload.
    #[must_use]
    pub fn encode(&self) -> HttpRequestParts {
        let query = QueryWriter::default()
            .add("qos", (self.qos != 0).then(|| self.qos.to_string()).as_deref())
            .flag("retain", self.retain)
            .add("contentType", self.content_type.as_deref())
            .add("responseTopic", self.response_topic.as_deref())
            .add("messageExpiry", self.message_expiry.map(|s| s.to_string()).as_deref());
        HttpRequestParts {
            headers: message_headers(
                &self.user_properties,
                self.payload_format_indicator,
                self.correlation_data.as_deref(),
            ),
            ..HttpRequestParts::new("POST", format!("/topics/{}", encode(&self.topic)), query)
        }
    }
}

/// The three headers of a message, as AWS's SDKs write them.
pub(super) fn message_headers(
    user_properties: &[(String, String)],
    payload_format_indicator: Option<bool>,
    correlation_data: Option<&[u8]>,
) -> Vec<(&'static str, String)> {
    let user_properties = (!user_properties.is_empty())
        .then(|| (USER_PROPERTIES, properties::encode(user_properties)));
    let payload_format_indicator = payload_format_indicator.map(|utf8| {
        let value = if utf8 { "UTF8_DATA" } else { "UNSPECIFIED_BYTES" };
        (PAYLOAD_FORMAT_INDICATOR, value.to_owned())
    });
    let correlation_data = correlation_data.map(|data| (CORRELATION_DATA, BASE64.encode(data)));
    [user_properties, payload_format_indicator, correlation_data].into_iter().flatten().collect()
}

pub(super) fn check_payload(payload_len: usize) -> Result<(), ApiError> {
    if payload_len <= PAYLOAD_BYTES_MAX {
        return Ok(());
    }
    let message = "The payload is larger than 131072 bytes";
    Err(ApiError::new(ErrorKind::RequestEntityTooLarge, message))
}

pub(super) fn user_properties(headers: &dyn Headers) -> Result<Vec<(String, String)>, ApiError> {
    let Some(encoded) = headers.get(USER_PROPERTIES) else { return Ok(Vec::new()) };
    properties::decode(encoded).map_err(invalid)
}

fn qos(query: &Query) -> Result<u8, ApiError> {
    let Some(value) = query.get("qos") else { return Ok(0) };
    integer(value).filter(|&qos| qos <= 1).ok_or_else(|| invalid("qos is 0 or 1"))
}

pub(super) fn content_type(query: &Query) -> Result<Option<String>, ApiError> {
    let value = query.get("contentType");
    if value.is_some_and(|value| value.len() > PROPERTY_BYTES_MAX) {
        return Err(invalid("contentType is longer than 65535 bytes"));
    }
    Ok(value.map(ToOwned::to_owned))
}

pub(super) fn response_topic(query: &Query) -> Result<Option<String>, ApiError> {
    let value = query.get("responseTopic");
    value.map(check_response_topic).transpose()?;
    Ok(value.map(ToOwned::to_owned))
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

pub(super) fn payload_format_indicator(headers: &dyn Headers) -> Result<Option<bool>, ApiError> {
    match headers.get(PAYLOAD_FORMAT_INDICATOR) {
        None => Ok(None),
        Some("UNSPECIFIED_BYTES") => Ok(Some(false)),
        Some("UTF8_DATA") => Ok(Some(true)),
        Some(_) => Err(invalid("The payload format indicator is UNSPECIFIED_BYTES or UTF8_DATA")),
    }
}

pub(super) fn correlation_data(headers: &dyn Headers) -> Result<Option<Vec<u8>>, ApiError> {
    let Some(encoded) = headers.get(CORRELATION_DATA) else { return Ok(None) };
    let Ok(data) = BASE64.decode(encoded.as_bytes()) else {
        return Err(invalid("The correlation data is not base64"));
    };
    if data.len() > PROPERTY_BYTES_MAX {
        return Err(invalid("The correlation data is longer than 65535 bytes"));
    }
    Ok(Some(data))
}

/// The body of an accepted publish: `{"message":"OK","traceId":…}`. Contract §4.
#[must_use]
pub fn published(trace_id: &str) -> Vec<u8> {
    crate::error::message_body("OK", trace_id)
}
