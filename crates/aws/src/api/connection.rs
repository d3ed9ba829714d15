//! DeleteConnection, GetConnection and ListSubscriptions: what they ask and what they answer.
//!
//! Contract `data-plane-http.md` §2 and §4, `delete-connection.md` §2 and §3.

use serde::{Deserialize, Serialize};

use super::page::next_token;
use super::query::{Query, QueryWriter, encode};
use super::topic::check_client_id;
use super::{HttpRequestParts, PAGE_ITEMS_MAX};
use crate::error::ApiError;

/// Ends a client's connection. Answered by an empty body.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeleteConnection {
    /// Whose connection, 1 to 128 bytes.
    pub client_id: String,
    /// Whether the session ends too. Default false.
    pub clean_session: bool,
    /// Whether the will is dropped. Default false.
    pub prevent_will_message: bool,
}

impl DeleteConnection {
    pub(super) fn parse(client_id: &str, query: &Query) -> Result<Self, ApiError> {
        check_client_id(client_id)?;
        Ok(Self {
            client_id: client_id.to_owned(),
            clean_session: query.flag("cleanSession")?,
            prevent_will_message: query.flag("preventWillMessage")?,
        })
    }

    /// The request as AWS's SDKs write it.
    #[must_use]
    pub fn encode(&self) -> HttpRequestParts {
        let query = QueryWriter::default()
            .flag("cleanSession", self.clean_session)
            .flag("preventWillMessage", self.prevent_will_message);
        HttpRequestParts::new("DELETE", format!("/connections/{}", encode(&self.client_id)), query)
    }
}

/// Asks for a client's state. Answered by [`Connection`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GetConnection {
    /// Whose state, 1 to 128 bytes.
    pub client_id: String,
    /// Whether the answer names addresses and ports. Default false.
    pub include_socket_information: bool,
}

impl GetConnection {
    pub(super) fn parse(client_id: &str, query: &Query) -> Result<Self, ApiError> {
        check_client_id(client_id)?;
        Ok(Self {
            client_id: client_id.to_owned(),
            include_socket_information: query.flag("includeSocketInformation")?,
        })
    }

    /// The request as AWS's SDKs write it.
    #[must_use]
    pub fn encode(&self) -> HttpRequestParts {
        let query = QueryWriter::default()
            .flag("includeSocketInformation", self.include_socket_information);
        HttpRequestParts::new("GET", format!("/connections/{}", encode(&self.client_id)), query)
    }
}

/// Asks for a page of a session's subscriptions. Answered by [`SubscriptionPage`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListSubscriptions {
    /// Whose subscriptions, 1 to 128 bytes.
    pub client_id: String,
    /// Subscriptions of the page at most, 1 to 200. Default 20.
    pub max_results: usize,
    /// The filter the page begins behind, from `nextToken`; `None` is the first page.
    pub after: Option<String>,
}

impl ListSubscriptions {
    const MAX_RESULTS_DEFAULT: usize = 20;

    pub(super) fn parse(client_id: &str, query: &Query) -> Result<Self, ApiError> {
        check_client_id(client_id)?;
        Ok(Self {
            client_id: client_id.to_owned(),
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
            .add("maxResults", max_results.as_deref())
            .add("nextToken", self.after.as_deref().map(next_token).as_deref());
        let path = format!("/connections/{}/subscriptions", encode(&self.client_id));
        HttpRequestParts::new("GET", path, query)
    }
}

const _: () = assert!(ListSubscriptions::MAX_RESULTS_DEFAULT <= PAGE_ITEMS_MAX);

/// A client's state. What does not apply is left out.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Connection {
    /// Whether a network connection is open.
    pub connected: bool,
    /// The client id asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Whether the session ends with the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clean_session: Option<bool>,
    /// Since when it is connected, in milliseconds since 1970; only while connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connected_since: Option<u64>,
    /// Since when it is not, in milliseconds since 1970; known for 30 minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disconnected_since: Option<u64>,
    /// Why the last connection ended, as [`crate::events::DisconnectReason`] names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disconnect_reason: Option<String>,
    /// The keep-alive asked for, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_alive_duration: Option<u32>,
    /// The Session Expiry Interval, in seconds; left out for clean sessions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_expiry: Option<u64>,
    /// The thing tied to the principal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thing_name: Option<String>,
    /// The client's address; the four of the socket only if asked for and allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_ip: Option<String>,
    /// The client's port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_port: Option<u16>,
    /// The server's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_ip: Option<String>,
    /// The server's port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_port: Option<u16>,
}

/// One subscription of a session.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Subscription {
    /// The filter, with `$share/{group}/` where shared.
    pub topic_filter: String,
    /// The QoS granted, 0 or 1.
    pub qos: u8,
}

/// A page of a session's subscriptions, in the order of the filters' bytes.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SubscriptionPage {
    /// The page.
    pub subscriptions: Vec<Subscription>,
    /// Where the next page begins; left out on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contract `delete-connection.md` GC-2: what does not apply is left out.
    #[test]
    fn a_connection_leaves_out_what_does_not_apply() {
        let connection = Connection {
            client_id: Some("c".into()),
            clean_session: Some(false),
            disconnected_since: Some(1_573_002_230_757),
            disconnect_reason: Some("API_INITIATED_DISCONNECT".into()),
            ..Connection::default()
        };
        let json = r#"{"connected":false,"clientId":"c","cleanSession":false,"disconnectedSince":1573002230757,"disconnectReason":"API_INITIATED_DISCONNECT"}"#;
        assert_eq!(serde_json::to_string(&connection).unwrap(), json);
        assert_eq!(serde_json::from_str::<Connection>(json).unwrap(), connection);
    }

    /// Contract `delete-connection.md` GC-7.
    #[test]
    fn a_connection_names_its_socket() {
        let connection = Connection {
            connected: true,
            connected_since: Some(1),
            keep_alive_duration: Some(1200),
            session_expiry: Some(3600),
            thing_name: Some("t".into()),
            source_ip: Some("192.0.2.1".into()),
            source_port: Some(65535),
            target_ip: Some("2001:db8::1".into()),
            target_port: Some(8883),
            ..Connection::default()
        };
        let json = r#"{"connected":true,"connectedSince":1,"keepAliveDuration":1200,"sessionExpiry":3600,"thingName":"t","sourceIp":"192.0.2.1","sourcePort":65535,"targetIp":"2001:db8::1","targetPort":8883}"#;
        assert_eq!(serde_json::to_string(&connection).unwrap(), json);
        assert_eq!(serde_json::from_str::<Connection>(json).unwrap(), connection);
    }

    /// Contract §4: nulls and unknown members are accepted.
    #[test]
    fn a_connection_is_read_leniently() {
        let json = r#"{"connected":true,"thingName":null,"vpcEndpointId":"vpce-1"}"#;
        let connection = Connection { connected: true, ..Connection::default() };
        assert_eq!(serde_json::from_str::<Connection>(json).unwrap(), connection);
        assert_eq!(serde_json::from_str::<Connection>("{}").unwrap(), Connection::default());
    }

    /// Contract `delete-connection.md` LS-1 and LS-2.
    #[test]
    fn a_page_of_subscriptions() {
        let last = SubscriptionPage::default();
        assert_eq!(serde_json::to_string(&last).unwrap(), r#"{"subscriptions":[]}"#);
        let page = SubscriptionPage {
            subscriptions: vec![Subscription { topic_filter: "a/+".into(), qos: 1 }],
            next_token: Some("t".into()),
        };
        let json = r#"{"subscriptions":[{"topicFilter":"a/+","qos":1}],"nextToken":"t"}"#;
        assert_eq!(serde_json::to_string(&page).unwrap(), json);
        assert_eq!(serde_json::from_str::<SubscriptionPage>(json).unwrap(), page);
    }
}
