//! What an operation answers where it does what it is asked. Contract `data-plane-http.md` §4.

use serde::Serialize;

use super::{
    Connection, NamedShadowPage, RetainedMessage, RetainedPage, SubscriptionPage, published,
};

/// The answer of an operation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// DeleteConnection.
    Empty,
    /// Publish and SendDirectMessage.
    Published,
    /// GetConnection.
    Connection(Box<Connection>),
    /// ListSubscriptions.
    Subscriptions(SubscriptionPage),
    /// GetRetainedMessage.
    Retained(RetainedMessage),
    /// ListRetainedMessages.
    RetainedPage(RetainedPage),
    /// GetThingShadow, UpdateThingShadow and DeleteThingShadow: the service's body, as it is.
    Shadow(Vec<u8>),
    /// ListNamedShadowsForThing.
    NamedShadows(NamedShadowPage),
}

impl Answer {
    /// The JSON body; `None` is a response without one. `trace_id` is the response's
    /// `x-amzn-RequestId`.
    #[must_use]
    pub fn body(self, trace_id: &str) -> Option<Vec<u8>> {
        match self {
            Self::Empty => None,
            Self::Published => Some(published(trace_id)),
            Self::Connection(connection) => Some(json(&connection)),
            Self::Subscriptions(page) => Some(json(&page)),
            Self::Retained(message) => Some(json(&message)),
            Self::RetainedPage(page) => Some(json(&page)),
            Self::Shadow(body) => Some(body),
            Self::NamedShadows(page) => Some(json(&page)),
        }
    }
}

fn json(body: &impl Serialize) -> Vec<u8> {
    // Strings, numbers and booleans only: there is nothing that cannot be written.
    serde_json::to_vec(body).unwrap_or_default()
}
