//! Lists that come in pages: item by item, page by page, or all at once.
//!
//! A page's token goes back as the server gave it; what is in it is the server's business.

use bitts_aws::api::{
    Connection, HttpRequestParts, ListRetainedMessages, ListSubscriptions, PAGE_ITEMS_MAX,
    RetainedPage, RetainedSummary, Subscription, SubscriptionPage,
};
use serde::{Deserialize, Serialize};

use super::error::Failure;
use super::{
    CallError, DataPlane, ListRetainedMessagesError, ListSubscriptionsError, TransportError,
    add_parameter, get,
};

/// A page's items and the token of the next one.
pub(super) type Page<T> = (Vec<T>, Option<String>);

/// Asks for a list, page by page.
pub struct Pager<T, E> {
    data_plane: DataPlane,
    /// The request of the first page.
    first: HttpRequestParts,
    next: Next,
    read: fn(&[u8]) -> serde_json::Result<Page<T>>,
    error: fn(Failure) -> E,
}

/// Where a list goes on.
enum Next {
    First,
    After(String),
    /// Behind the last page, or behind a failure.
    End,
}

impl<T, E> Pager<T, E> {
    /// The next page, which may be empty; `None` behind the last one and behind a failure.
    pub async fn next_page(&mut self) -> Option<Result<Vec<T>, E>> {
        let token = match std::mem::replace(&mut self.next, Next::End) {
            Next::First => None,
            Next::After(token) => Some(token),
            Next::End => return None,
        };
        Some(self.page(token).await.map_err(self.error))
    }

    async fn page(&mut self, token: Option<String>) -> Result<Vec<T>, Failure> {
        let mut parts = self.first.clone();
        if let Some(token) = &token {
            add_parameter(&mut parts, "nextToken", token);
        }
        let answer = self.data_plane.inner.call(&parts, &bytes::Bytes::new()).await.0?;
        let page = (self.read)(answer.body());
        let (items, next_token) =
            page.map_err(|error| Failure::Transport(TransportError::Body(error)))?;
        if next_token.is_some() && next_token == token {
            // It would never end.
            return Err(Failure::Transport(TransportError::RepeatedToken));
        }
        self.next = next_token.map_or(Next::End, Next::After);
        Ok(items)
    }

    /// All items of all pages that are left. They are held in memory together.
    pub async fn all(mut self) -> Result<Vec<T>, E> {
        let mut all = Vec::new();
        while let Some(page) = self.next_page().await {
            all.extend(page?);
        }
        Ok(all)
    }
}

/// Which connections to list.
#[derive(Clone, Debug, Default)]
pub struct SelectConnections {
    /// What the client ids begin with.
    pub prefix: Option<String>,
    /// Only those that are connected, or only those that are not.
    pub connected: Option<bool>,
    /// Connections of a page; the server's default where `None`.
    pub max_results: Option<usize>,
}

/// A connection or a session in a list of Bitts.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ListedConnection {
    /// What GetConnection says of it.
    #[serde(flatten)]
    pub connection: Connection,
    /// `MQTT3.1.1` or `MQTT5`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// How many subscriptions its session has.
    pub subscriptions: u64,
    /// How many messages wait for it.
    pub queued: u64,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ConnectionPage {
    connections: Vec<ListedConnection>,
    next_token: Option<String>,
}

fn read_subscriptions(body: &[u8]) -> serde_json::Result<Page<Subscription>> {
    let page: SubscriptionPage = serde_json::from_slice(body)?;
    Ok((page.subscriptions, page.next_token))
}

fn read_retained(body: &[u8]) -> serde_json::Result<Page<RetainedSummary>> {
    let page: RetainedPage = serde_json::from_slice(body)?;
    Ok((page.retained_topics, page.next_token))
}

fn read_connections(body: &[u8]) -> serde_json::Result<Page<ListedConnection>> {
    let page: ConnectionPage = serde_json::from_slice(body)?;
    Ok((page.connections, page.next_token))
}

impl DataPlane {
    pub(super) fn pager<T, E>(
        &self,
        first: HttpRequestParts,
        read: fn(&[u8]) -> serde_json::Result<Page<T>>,
        error: fn(Failure) -> E,
    ) -> Pager<T, E> {
        Pager { data_plane: self.clone(), first, next: Next::First, read, error }
    }

    /// A session's subscriptions, in the largest pages.
    pub fn list_subscriptions(
        &self,
        client_id: &str,
    ) -> Pager<Subscription, ListSubscriptionsError> {
        let client_id = client_id.to_owned();
        let request = ListSubscriptions { client_id, max_results: PAGE_ITEMS_MAX, after: None };
        self.pager(request.encode(), read_subscriptions, ListSubscriptionsError::from_failure)
    }

    /// The retained messages, in the largest pages.
    pub fn list_retained_messages(&self) -> Pager<RetainedSummary, ListRetainedMessagesError> {
        let request = ListRetainedMessages { max_results: PAGE_ITEMS_MAX, after: None };
        let mut parts = request.encode();
        // Ours is the largest page by default; AWS's default is not known.
        if parts.query.is_empty() {
            add_parameter(&mut parts, "maxResults", &PAGE_ITEMS_MAX.to_string());
        }
        self.pager(parts, read_retained, ListRetainedMessagesError::from_failure)
    }

    /// Connections and sessions, `GET /bitts/v1/connections`; AWS has no such operation.
    pub fn list_connections(
        &self,
        select: &SelectConnections,
    ) -> Pager<ListedConnection, CallError> {
        let mut parts = get("/bitts/v1/connections".to_owned());
        let connected = select.connected.map(|connected| connected.to_string());
        let max_results = select.max_results.map(|number| number.to_string());
        let parameters =
            [("prefix", &select.prefix), ("connected", &connected), ("maxResults", &max_results)];
        for (name, value) in parameters {
            if let Some(value) = value {
                add_parameter(&mut parts, name, value);
            }
        }
        self.pager(parts, read_connections, CallError::from)
    }
}
