//! SendDirectMessage: one message to one client, whether it subscribes to the topic or not.
//!
//! The payload is the body as it is and stays with the caller. Contract `data-plane-http.md` §2,
//! §8 and §9, `delete-connection.md` §4.

use super::publish::{check_payload, invalid};
use super::query::{Query, QueryWriter, encode, integer};
use super::topic::{check_client_id, check_topic};
use super::{Headers, HttpRequestParts, MessageProperties};
use crate::error::ApiError;

/// Seconds to wait for a confirmation where the request names none.
const TIMEOUT_DEFAULT: u8 = 5;

/// The longest time to wait, in seconds.
const TIMEOUT_MAX: u8 = 15;

/// Sends a message to one client. Answered by [`super::published`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SendDirectMessage {
    /// To whom, 1 to 128 bytes.
    pub client_id: String,
    /// The Topic Name that the client reads, at most 256 bytes, not reserved.
    pub topic: String,
    /// Seconds to wait for the client's PUBACK, 1 to 15; without, the message is sent at QoS 0 and
    /// nobody waits.
    pub confirmation: Option<u8>,
    /// What MQTT 5 tells of it.
    pub properties: MessageProperties,
}

impl SendDirectMessage {
    pub(super) fn parse(
        client_id: &str,
        query: &Query,
        headers: &dyn Headers,
        payload_len: usize,
    ) -> Result<Self, ApiError> {
        check_client_id(client_id)?;
        let topic = query.get("topic").unwrap_or_default();
        check_topic(topic)?;
        if topic.starts_with('$') {
            return Err(invalid("The topic is reserved"));
        }
        let is_confirmed = query.flag("confirmation")?;
        let sent = Self {
            client_id: client_id.to_owned(),
            topic: topic.to_owned(),
            confirmation: if is_confirmed { Some(timeout(query)?) } else { None },
            properties: MessageProperties::parse(query, headers)?,
        };
        check_payload(payload_len)?;
        Ok(sent)
    }

    /// The request as AWS's SDKs write it; the body is the payload.
    #[must_use]
    pub fn encode(&self) -> HttpRequestParts {
        let timeout = self.confirmation.filter(|seconds| *seconds != TIMEOUT_DEFAULT);
        let query = QueryWriter::default().add("topic", Some(&self.topic));
        let query = self
            .properties
            .add_to(query)
            .flag("confirmation", self.confirmation.is_some())
            .add("timeout", timeout.map(|seconds| seconds.to_string()).as_deref());
        let path = format!("/connections/{}/messages", encode(&self.client_id));
        HttpRequestParts {
            headers: self.properties.headers(),
            ..HttpRequestParts::new("POST", path, query)
        }
    }
}

fn timeout(query: &Query) -> Result<u8, ApiError> {
    let Some(value) = query.get("timeout") else { return Ok(TIMEOUT_DEFAULT) };
    let seconds = integer(value).filter(|seconds| (1..=TIMEOUT_MAX).contains(seconds));
    seconds.ok_or_else(|| invalid("timeout is an integer from 1 to 15"))
}

#[cfg(test)]
mod tests {
    use super::super::{Request, route};
    use super::*;
    use crate::error::ErrorKind;

    fn parse(query: &str, headers: &[(&str, &str)], len: usize) -> Result<Request, ApiError> {
        let route = route("POST", "/connections/c/messages").unwrap();
        Request::parse(&route, Some(query), &headers, len)
    }

    const REFUSED: Result<Option<u8>, ErrorKind> = Err(ErrorKind::InvalidRequest);

    fn confirmation(query: &str) -> Result<Option<u8>, ErrorKind> {
        match parse(query, &[], 0) {
            Ok(Request::SendDirectMessage(sent)) => Ok(sent.confirmation),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.kind),
        }
    }

    #[test]
    fn dm_06_reserved_topics_wildcards_and_none_are_refused() {
        for query in ["", "topic=", "topic=%24aws%2Fx", "topic=%24x", "topic=a%2F%2B", "topic=%23"]
        {
            assert_eq!(confirmation(query), REFUSED, "{query}");
        }
        let long = format!("topic={}", "a".repeat(257));
        assert_eq!(confirmation(&long), REFUSED);
        assert_eq!(confirmation("topic=a%2Fb"), Ok(None));
    }

    #[test]
    fn dm_12_a_timeout_counts_only_with_confirmation() {
        for (timeout, seconds) in [("1", Some(1)), ("15", Some(15)), ("0", None), ("16", None)] {
            let query = format!("topic=t&confirmation=TRUE&timeout={timeout}");
            let expected = seconds.map_or(REFUSED, |seconds| Ok(Some(seconds)));
            assert_eq!(confirmation(&query), expected, "{timeout}");
            assert_eq!(confirmation(&format!("topic=t&timeout={timeout}")), Ok(None));
        }
        assert_eq!(confirmation("topic=t&confirmation=true&timeout=abc"), REFUSED);
        assert_eq!(confirmation("topic=t&confirmation=false&timeout=abc"), Ok(None));
        assert_eq!(confirmation("topic=t&confirmation=true"), Ok(Some(5)));
        assert_eq!(confirmation("topic=t&confirmation=1"), REFUSED);
    }

    /// H-14
    #[test]
    fn h_14_a_payload_has_131072_bytes() {
        assert!(parse("topic=t", &[], 131_072).is_ok());
        let error = parse("topic=t", &[], 131_073).unwrap_err();
        assert_eq!(error.kind, ErrorKind::RequestEntityTooLarge);
    }

    #[test]
    fn what_is_written_is_read() {
        for confirmation in [None, Some(5), Some(15)] {
            let sent = SendDirectMessage {
                client_id: "c".into(),
                topic: "a/b c".into(),
                confirmation,
                properties: MessageProperties {
                    content_type: Some("text/plain".into()),
                    response_topic: Some("r/1".into()),
                    user_properties: vec![("n".into(), "v".into()), ("n".into(), String::new())],
                    payload_format_indicator: Some(true),
                    correlation_data: Some(vec![0, 255]),
                },
            };
            let parts = sent.encode();
            assert_eq!(parts.path, "/connections/c/messages");
            let headers: Vec<_> =
                parts.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let read = parse(&parts.query, &headers, 0);
            assert_eq!(read, Ok(Request::SendDirectMessage(sent)));
        }
    }
}
