//! Durable state as a whole: what records add up to.

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bitts_mqtt::{ProtocolVersion, QoS, SubscriptionOptions};
use smallvec::SmallVec;

use super::{PageId, Stage};
use crate::message::Message;
use crate::reason::Cause;

/// A session without its connection.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedSession {
    /// Client Identifier.
    pub client_id: Arc<str>,
    /// Protocol of its latest connection.
    pub version: ProtocolVersion,
    /// Session Expiry Interval in seconds.
    pub expiry: u32,
    /// Keep Alive as the client asked for it, in seconds.
    pub keep_alive: u16,
    /// Counts the connections of the client.
    pub version_number: u32,
    /// Names its latest connection in events.
    pub identifier: u128,
    /// When and why its connection ended; absent while there is one.
    pub detached: Option<(u64, Cause)>,
    /// Who its latest client is, where that was asked; not part of a
    /// [`super::Record::Session`].
    pub principal: Option<Box<SavedPrincipal>>,
    /// The Will that is to be published.
    pub will: Option<Box<SavedWill>>,
    /// By Topic Filter.
    pub subscriptions: BTreeMap<Arc<str>, SavedSubscription>,
    /// QoS 2 identifiers of the client whose exchange is not over.
    pub received: BTreeSet<u16>,
    /// What the client is owed, in order; not part of a [`super::Record::Session`].
    pub owed: VecDeque<SavedOwed>,
    /// What of that is in pages, in order; not part of a [`super::Record::Session`] either.
    pub pages: VecDeque<SavedPage>,
}

/// A run of what a session is owed that is in a page of the store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SavedPage {
    /// The page.
    pub id: PageId,
    /// The number of its first message.
    pub first: u64,
    /// The number of its last message.
    pub last: u64,
    /// Messages in it.
    pub count: u32,
    /// Their bytes, for the limits of queues.
    pub bytes: u64,
}

/// Who a session's client is: what its Will and its queue are decided by, and whom the session
/// belongs to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SavedPrincipal {
    /// How it proved who it is.
    pub identity: SavedIdentity,
    /// Its address.
    pub source: IpAddr,
    /// The listener's port.
    pub local_port: u16,
    /// Through TLS.
    pub is_secure: bool,
    /// What let it connect names client ids.
    pub names_client: bool,
}

/// As [`bitts_aws::registry::Identity`], but without what a connection's time is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SavedIdentity {
    /// Nothing proved it.
    Anonymous,
    /// The SHA-256 of a certificate.
    Certificate([u8; 32]),
    /// An access key's id.
    AccessKey(Arc<str>),
    /// A user's name.
    User(Arc<str>),
    /// What a custom authorizer said.
    Authorizer {
        /// `principalId`.
        principal_id: Box<str>,
        /// `policyDocuments`.
        documents: Vec<Arc<str>>,
    },
}

/// A subscription.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SavedSubscription {
    /// Options with the granted QoS.
    pub options: SubscriptionOptions,
    /// Subscription Identifier, 0 for none.
    pub identifier: u32,
}

/// A Will.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedWill {
    /// What is published.
    pub message: Arc<Message>,
    /// Will Delay Interval, in seconds.
    pub delay_seconds: u32,
    /// Message Expiry Interval, in seconds from publication.
    pub message_expiry_interval: Option<u32>,
}

/// A message that a session is owed.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedOwed {
    /// Rises with every message that the session is owed.
    pub number: u64,
    /// QoS of the delivery.
    pub qos: QoS,
    /// RETAIN of the delivery.
    pub retain: bool,
    /// Subscription Identifiers.
    pub identifiers: SmallVec<[u32; 2]>,
    /// The `$share` group that chose this session.
    pub group: Option<Arc<str>>,
    /// Its Packet Identifier and stage, once it has one.
    pub sent: Option<(u16, Stage)>,
    /// The message; absent where it is never sent again.
    pub message: Option<Arc<Message>>,
}

/// A client without a session, as GetConnection remembers it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Gone {
    /// Client Identifier.
    pub client_id: Arc<str>,
    /// When its connection ended, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// Why.
    pub cause: Option<Cause>,
    /// Keep Alive as the client asked for it, in seconds.
    pub keep_alive: u16,
    /// Session Expiry Interval in seconds; 0 for a clean session.
    pub expiry: u32,
    /// Protocol of the connection.
    pub version: ProtocolVersion,
    /// Counts the connections of the client.
    pub version_number: u32,
    /// Names its latest connection in events.
    pub identifier: u128,
}

impl SavedSession {
    /// A session that nothing is known of but its client.
    pub(crate) fn new(client_id: Arc<str>) -> Self {
        Self {
            client_id,
            version: ProtocolVersion::V5,
            expiry: 0,
            keep_alive: 0,
            version_number: 0,
            identifier: 0,
            detached: None,
            principal: None,
            will: None,
            subscriptions: BTreeMap::new(),
            received: BTreeSet::new(),
            owed: VecDeque::new(),
            pages: VecDeque::new(),
        }
    }

    /// Messages that the client is owed, those in pages included.
    #[must_use]
    pub fn owed_len(&self) -> u64 {
        let in_pages: u64 = self.pages.iter().map(|page| u64::from(page.count)).sum();
        self.owed.len() as u64 + in_pages
    }

    /// All of it but what the client is owed, and who that is.
    pub(crate) fn without_owed(&self) -> Self {
        Self {
            client_id: Arc::clone(&self.client_id),
            principal: None,
            will: self.will.clone(),
            subscriptions: self.subscriptions.clone(),
            received: self.received.clone(),
            owed: VecDeque::new(),
            pages: VecDeque::new(),
            ..*self
        }
    }
}
