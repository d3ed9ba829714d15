//! An Application Message that is kept or crosses to another shard.
//!
//! A message that stays within one turn of one shard is never one of these: it is routed from the
//! bytes it arrived in ([`crate::route`]) and parked only when something must hold on to it.

use bitts_mqtt::QoS;
use bytes::Bytes;

use crate::record::LogId;
use crate::slot::NameKey;
use crate::time::Moment;

/// An Application Message with everything its receivers are due.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Message {
    /// Topic Name.
    pub topic: Box<str>,
    /// Payload.
    pub payload: Bytes,
    /// The encoded properties every receiver gets: Payload Format Indicator, Content Type, Response
    /// Topic, Correlation Data and User Properties in order.
    pub properties: Box<[u8]>,
    /// QoS it was published with.
    pub qos: QoS,
    /// RETAIN as published.
    pub retain: bool,
    /// Key of the publishing Client Identifier, for No Local; 0 where no client published it.
    pub publisher: NameKey,
    /// When its Message Expiry Interval has passed.
    pub expires_at: Option<Moment>,
    /// When it was accepted, in milliseconds since 1970.
    pub accepted_unix_ms: u64,
    /// Its name in the log, where it is there.
    pub log: Option<LogId>,
}

impl Message {
    /// Whether its Message Expiry Interval has passed [MQTT-3.3.2-5].
    #[must_use]
    pub fn is_expired(&self, now: Moment) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// It must not overtake others on its way to another shard: subscribers may have been promised
    /// the order, and the shard says by the number of one that it took all before it.
    #[must_use]
    pub fn is_in_order(&self) -> bool {
        self.qos > QoS::Zero
    }

    /// Bytes it holds on to, for the limits of queues.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.topic.len() + self.payload.len() + self.properties.len() + size_of::<Self>()
    }
}

/// A message to publish that no client sent: from the HTTP API.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// A valid Topic Name.
    pub topic: String,
    /// Payload.
    pub payload: Bytes,
    /// QoS 0 or 1.
    pub qos: QoS,
    /// Store it as the topic's retained message.
    pub retain: bool,
    /// Encoded by [`bitts_mqtt::PublishProperties::encode_forwarded`].
    pub properties: Vec<u8>,
    /// Seconds.
    pub message_expiry_interval: Option<u32>,
}
