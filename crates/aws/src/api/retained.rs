//! GetRetainedMessage and ListRetainedMessages: what they ask and what they answer.
//!
//! Contract §2 and §4.

use serde::{Deserialize, Serialize};

use super::page::next_token;
use super::query::{Query, QueryWriter, encode};
use super::topic::check_topic;
use super::{HttpRequestParts, PAGE_ITEMS_MAX, properties};
use crate::error::ApiError;

/// Asks for a topic's retained message. Answered by [`RetainedMessage`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GetRetainedMessage {
    /// Which topic, at most 256 bytes.
    pub topic: String,
}

impl GetRetainedMessage {
    pub(super) fn parse(topic: &str) -> Result<Self, ApiError> {
        check_topic(topic)?;
        Ok(Self { topic: topic.to_owned() })
    }

    /// The request as AWS's SDKs write it.
    #[must_use]
    pub fn encode(&self) -> HttpRequestParts {
        let path = format!("/retainedMessage/{}", encode(&self.topic));
        HttpRequestParts::new("GET", path, QueryWriter::default())
    }
}

/// Asks for a page of the retained messages. Answered by [`RetainedPage`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListRetainedMessages {
    /// Messages of the page at most, 1 to 200. Default 200; AWS names none.
    pub max_results: usize,
    /// The topic the page begins behind, from `nextToken`; `None` is the first page.
    pub after: Option<String>,
}

impl ListRetainedMessages {
    const MAX_RESULTS_DEFAULT: usize = PAGE_ITEMS_MAX;

    pub(super) fn parse(query: &Query) -> Result<Self, ApiError> {
        Ok(Self {
            max_results: query.max_results(Self::MAX_RESULTS_DEFAULT)?,
            after: query.after()?,
        })
    }

    /// The request as AWS's SDKs write it.
    #[must_use]
    pub fn encode(&self) -> HttpRequestParts {
        let max_results =
            (self.max_results != Self::MAX_RESULTS_DEFAULT).then(|| self.max_results.to_string());
        let query = QueryWriter::default()
            .add("nextToken", self.after.as_deref().map(next_token).as_deref())
            .add("maxResults", max_results.as_deref());
        HttpRequestParts::new("GET", "/retainedMessage".to_owned(), query)
    }
}

/// A retained message.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RetainedMessage {
    /// Its topic.
    pub topic: String,
    /// Its payload; base64 in JSON.
    #[serde(with = "base64")]
    pub payload: Vec<u8>,
    /// The QoS it was published with, 0 or 1.
    pub qos: u8,
    /// When it was stored, in milliseconds since 1970.
    pub last_modified_time: u64,
    /// User Properties in their order; base64 of a JSON array of one-key objects in JSON.
    #[serde(with = "properties::member", skip_serializing_if = "Option::is_none")]
    pub user_properties: Option<Vec<(String, String)>>,
}

/// A retained message in a list.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RetainedSummary {
    /// Its topic.
    pub topic: String,
    /// Bytes of its payload.
    pub payload_size: u64,
    /// The QoS it was published with, 0 or 1.
    pub qos: u8,
    /// When it was stored, in milliseconds since 1970.
    pub last_modified_time: u64,
}

/// A page of the retained messages, in the order of the topics' bytes.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RetainedPage {
    /// The page.
    pub retained_topics: Vec<RetainedSummary>,
    /// Where the next page begins; left out on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

/// Bytes as base64; null is none.
mod base64 {
    use data_encoding::BASE64;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        let encoded: Option<String> = Option::deserialize(deserializer)?;
        let encoded = encoded.unwrap_or_default();
        BASE64.decode(encoded.as_bytes()).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retained_message_is_base64_in_json() {
        let message = RetainedMessage {
            topic: "a/b".into(),
            payload: b"on".to_vec(),
            qos: 1,
            last_modified_time: 1_654_950_000_000,
            user_properties: Some(vec![("a".into(), "b".into())]),
        };
        let json = r#"{"topic":"a/b","payload":"b24=","qos":1,"lastModifiedTime":1654950000000,"userProperties":"W3siYSI6ImIifV0="}"#;
        assert_eq!(serde_json::to_string(&message).unwrap(), json);
        assert_eq!(serde_json::from_str::<RetainedMessage>(json).unwrap(), message);
    }

    #[test]
    fn a_retained_message_without_properties() {
        let message = RetainedMessage { topic: "a".into(), ..RetainedMessage::default() };
        let json = r#"{"topic":"a","payload":"","qos":0,"lastModifiedTime":0}"#;
        assert_eq!(serde_json::to_string(&message).unwrap(), json);
        for json in [json, r#"{"topic":"a","payload":null,"userProperties":null,"new":1}"#] {
            assert_eq!(serde_json::from_str::<RetainedMessage>(json).unwrap(), message);
        }
        for json in [r#"{"payload":"*"}"#, r#"{"userProperties":"*"}"#, r#"{"qos":1.0}"#] {
            assert!(serde_json::from_str::<RetainedMessage>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn a_page_of_retained_messages() {
        let last = RetainedPage::default();
        assert_eq!(serde_json::to_string(&last).unwrap(), r#"{"retainedTopics":[]}"#);
        let summary =
            RetainedSummary { topic: "a".into(), payload_size: 2, qos: 1, last_modified_time: 3 };
        let page = RetainedPage { retained_topics: vec![summary], next_token: Some("t".into()) };
        let json = r#"{"retainedTopics":[{"topic":"a","payloadSize":2,"qos":1,"lastModifiedTime":3}],"nextToken":"t"}"#;
        assert_eq!(serde_json::to_string(&page).unwrap(), json);
        assert_eq!(serde_json::from_str::<RetainedPage>(json).unwrap(), page);
    }
}
