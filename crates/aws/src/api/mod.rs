//! What the data plane is asked over HTTP, from a request line to a validated [`Request`], and what
//! it answers.
//!
//! Two steps, because permission comes before validation: [`route()`] gives the operation and the
//! name in its path, [`Request::parse`] the rest. Contract `data-plane-http.md`.

mod answer;
mod connection;
mod direct;
mod list_connections;
mod message_properties;
mod page;
mod permission;
mod properties;
mod publish;
pub(crate) mod query;
mod retained;
pub(crate) mod route;
mod shadow;
mod throttle_next;
mod topic;

pub use answer::Answer;
pub use connection::{
    Connection, DeleteConnection, GetConnection, ListSubscriptions, Subscription, SubscriptionPage,
};
pub use direct::SendDirectMessage;
pub use list_connections::ListConnections;
pub use message_properties::MessageProperties;
pub use page::next_token;
pub use permission::Permission;
pub use properties::USER_PROPERTIES_BYTES_MAX;
pub use publish::{MESSAGE_EXPIRY_MAX, PAYLOAD_BYTES_MAX, Publish, published};
pub use retained::{
    GetRetainedMessage, ListRetainedMessages, RetainedMessage, RetainedPage, RetainedSummary,
};
pub use route::{Operation, Route, RouteError, route};
pub use shadow::{
    DeleteThingShadow, GetThingShadow, ListNamedShadowsForThing, NamedShadowPage, UpdateThingShadow,
};
pub use throttle_next::{ThrottleNext, Throttled};

pub use crate::shadow::ShadowId;

use self::query::{Query, QueryWriter};
use crate::error::ApiError;

/// Items of a page at most: the upper end of `maxResults`.
pub const PAGE_ITEMS_MAX: usize = 200;

/// The headers of a request.
pub trait Headers {
    /// The value of a header; `name` is in lower case.
    fn get(&self, name: &str) -> Option<&str>;
}

/// Names in any case; the first of repeated ones counts.
impl Headers for &[(&str, &str)] {
    fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|&(_, value)| value)
    }
}

/// A request line and headers to be sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HttpRequestParts {
    /// The verb.
    pub method: &'static str,
    /// The raw path, percent-encoded.
    pub path: String,
    /// What follows `?`, percent-encoded; empty is no `?`.
    pub query: String,
    /// The operation's own headers, names in lower case.
    pub headers: Vec<(&'static str, String)>,
}

impl HttpRequestParts {
    fn new(method: &'static str, path: String, query: QueryWriter) -> Self {
        Self { method, path, query: query.into_string(), headers: Vec::new() }
    }
}

/// A validated request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Request {
    /// `DELETE /connections/{clientId}`
    DeleteConnection(DeleteConnection),
    /// `GET /connections/{clientId}`
    GetConnection(GetConnection),
    /// `GET /connections/{clientId}/subscriptions`
    ListSubscriptions(ListSubscriptions),
    /// `POST /connections/{clientId}/messages`
    SendDirectMessage(SendDirectMessage),
    /// `POST /topics/{topic}`
    Publish(Publish),
    /// `GET /retainedMessage/{topic}`
    GetRetainedMessage(GetRetainedMessage),
    /// `GET /retainedMessage`
    ListRetainedMessages(ListRetainedMessages),
    /// `GET /things/{thingName}/shadow`
    GetThingShadow(GetThingShadow),
    /// `POST /things/{thingName}/shadow`
    UpdateThingShadow(UpdateThingShadow),
    /// `DELETE /things/{thingName}/shadow`
    DeleteThingShadow(DeleteThingShadow),
    /// `GET /api/things/shadow/ListNamedShadowsForThing/{thingName}`
    ListNamedShadowsForThing(ListNamedShadowsForThing),
}

impl Request {
    /// Validates what `route` asks for. `query` is what follows `?`; `payload_len` is in bytes.
    pub fn parse(
        route: &Route,
        query: Option<&str>,
        headers: &dyn Headers,
        payload_len: usize,
    ) -> Result<Self, ApiError> {
        let name = &route.name;
        let query = &Query::parse(query)?;
        match route.operation {
            Operation::DeleteConnection => {
                DeleteConnection::parse(name, query).map(Self::DeleteConnection)
            }
            Operation::GetConnection => GetConnection::parse(name, query).map(Self::GetConnection),
            Operation::ListSubscriptions => {
                ListSubscriptions::parse(name, query).map(Self::ListSubscriptions)
            }
            Operation::Publish => {
                Publish::parse(name, query, headers, payload_len).map(Self::Publish)
            }
            Operation::GetRetainedMessage => {
                GetRetainedMessage::parse(name).map(Self::GetRetainedMessage)
            }
            Operation::ListRetainedMessages => {
                ListRetainedMessages::parse(query).map(Self::ListRetainedMessages)
            }
            Operation::SendDirectMessage => {
                SendDirectMessage::parse(name, query, headers, payload_len)
                    .map(Self::SendDirectMessage)
            }
            Operation::GetThingShadow => {
                GetThingShadow::parse(name, query).map(Self::GetThingShadow)
            }
            Operation::UpdateThingShadow => {
                UpdateThingShadow::parse(name, query).map(Self::UpdateThingShadow)
            }
            Operation::DeleteThingShadow => {
                DeleteThingShadow::parse(name, query).map(Self::DeleteThingShadow)
            }
            Operation::ListNamedShadowsForThing => {
                ListNamedShadowsForThing::parse(name, query).map(Self::ListNamedShadowsForThing)
            }
        }
    }
}
