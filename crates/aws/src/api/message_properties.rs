//! What MQTT 5 tells of a message beside its topic and payload, as Publish and SendDirectMessage
//! carry it: some of it in the query, some in headers. Contract `data-plane-http.md` §8 and §9.

use data_encoding::BASE64;

use super::publish::invalid;
use super::query::{Query, QueryWriter};
use super::topic::check_response_topic;
use super::{Headers, properties};
use crate::error::ApiError;

/// Bytes of a Content Type or of Correlation Data: what an MQTT string can hold.
const PROPERTY_BYTES_MAX: usize = 65_535;

const USER_PROPERTIES: &str = "x-amz-mqtt5-user-properties";
const PAYLOAD_FORMAT_INDICATOR: &str = "x-amz-mqtt5-payload-format-indicator";
const CORRELATION_DATA: &str = "x-amz-mqtt5-correlation-data";

/// See the module.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct MessageProperties {
    /// Content Type, at most 65,535 bytes.
    pub content_type: Option<String>,
    /// Response Topic, 1 to 256 bytes.
    pub response_topic: Option<String>,
    /// User Properties in their order, at most 8 KiB together.
    pub user_properties: Vec<(String, String)>,
    /// Payload Format Indicator: whether the payload is UTF-8.
    pub payload_format_indicator: Option<bool>,
    /// Correlation Data, at most 65,535 bytes.
    pub correlation_data: Option<Vec<u8>>,
}

impl MessageProperties {
    pub(super) fn parse(query: &Query, headers: &dyn Headers) -> Result<Self, ApiError> {
        Ok(Self {
            user_properties: user_properties(headers)?,
            content_type: content_type(query)?,
            response_topic: response_topic(query)?,
            payload_format_indicator: payload_format_indicator(headers)?,
            correlation_data: correlation_data(headers)?,
        })
    }

    /// Adds what stands in the query.
    pub(super) fn add_to(&self, query: QueryWriter) -> QueryWriter {
        query
            .add("contentType", self.content_type.as_deref())
            .add("responseTopic", self.response_topic.as_deref())
    }

    /// The three headers, as AWS's SDKs write them.
    pub(super) fn headers(&self) -> Vec<(&'static str, String)> {
        let user_properties = (!self.user_properties.is_empty())
            .then(|| (USER_PROPERTIES, properties::encode(&self.user_properties)));
        let payload_format_indicator = self.payload_format_indicator.map(|utf8| {
            let value = if utf8 { "UTF8_DATA" } else { "UNSPECIFIED_BYTES" };
            (PAYLOAD_FORMAT_INDICATOR, value.to_owned())
        });
        let correlation_data = self.correlation_data.as_ref();
        let correlation_data = correlation_data.map(|it| (CORRELATION_DATA, BASE64.encode(it)));
        [user_properties, payload_format_indicator, correlation_data]
            .into_iter()
            .flatten()
            .collect()
    }
}

fn user_properties(headers: &dyn Headers) -> Result<Vec<(String, String)>, ApiError> {
    let Some(encoded) = headers.get(USER_PROPERTIES) else { return Ok(Vec::new()) };
    properties::decode(encoded).map_err(invalid)
}

fn content_type(query: &Query) -> Result<Option<String>, ApiError> {
    let value = query.get("contentType");
    if value.is_some_and(|value| value.len() > PROPERTY_BYTES_MAX) {
        return Err(invalid("contentType is longer than 65535 bytes"));
    }
    Ok(value.map(ToOwned::to_owned))
}

fn response_topic(query: &Query) -> Result<Option<String>, ApiError> {
    let value = query.get("responseTopic");
    value.map(check_response_topic).transpose()?;
    Ok(value.map(ToOwned::to_owned))
}

fn payload_format_indicator(headers: &dyn Headers) -> Result<Option<bool>, ApiError> {
    match headers.get(PAYLOAD_FORMAT_INDICATOR) {
        None => Ok(None),
        Some("UNSPECIFIED_BYTES") => Ok(Some(false)),
        Some("UTF8_DATA") => Ok(Some(true)),
        Some(_) => Err(invalid("The payload format indicator is UNSPECIFIED_BYTES or UTF8_DATA")),
    }
}

fn correlation_data(headers: &dyn Headers) -> Result<Option<Vec<u8>>, ApiError> {
    let Some(encoded) = headers.get(CORRELATION_DATA) else { return Ok(None) };
    let Ok(data) = BASE64.decode(encoded.as_bytes()) else {
        return Err(invalid("The correlation data is not base64"));
    };
    if data.len() > PROPERTY_BYTES_MAX {
        return Err(invalid("The correlation data is longer than 65535 bytes"));
    }
    Ok(Some(data))
}
