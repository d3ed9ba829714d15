//! Why something ended, was refused or was dropped: values that pass one point on their way out.
//!
//! Every close has a [`Cause`], every broken rule a [`Violation`], every message that does not
//! reach someone it was meant for a [`Dropped`]; [`Stats`] counts each by its name.

use std::collections::BTreeMap;

use bitts_mqtt::{DecodeError, ReasonCode};

/// Something the protocol forbids here; the connection cannot continue.
///
/// A violation is the client's doing, so to the broker it is an outcome, not a failure: the shard
/// answers with DISCONNECT (MQTT 5 only) and closes. Each variant cites the statement broken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Violation {
    /// Bytes that are not a Control Packet.
    Undecodable(DecodeError),
    /// A second CONNECT on one Network Connection. [MQTT-3.1.0-2]
    SecondConnect,
    /// A packet that only a server sends.
    ServerPacket,
    /// AUTH although no Authentication Method was agreed. [MQTT-4.12.0-6]
    UnexpectedAuth,
    /// More unacknowledged PUBLISH packets than our Receive Maximum. [MQTT-3.3.4-7]
    ReceiveMaximumExceeded,
    /// A Topic Alias above our Topic Alias Maximum. [MQTT-3.3.2-9]
    TopicAliasAboveMaximum,
    /// An empty Topic Name with a Topic Alias that stands for nothing. [MQTT-3.3.2-12]
    TopicAliasUnknown,
    /// Topics of aliases take more bytes than the limit.
    TopicAliasBytes,
    /// A Topic Name longer or deeper than the limit.
    TopicTooLong,
    /// A Subscription Identifier in a PUBLISH from a client. [MQTT-3.3.4-6]
    SubscriptionIdentifierFromClient,
    /// DISCONNECT sets a Session Expiry Interval although CONNECT had 0. [MQTT5 3.14.2.2.2]
    SessionExpiryFromZero,
    /// A QoS above our Maximum QoS. [MQTT-3.2.2-11]
    QoSNotSupported,
    /// A payload above the limit, in a packet that is not.
    PayloadTooLarge,
    /// A Subscription Identifier although CONNACK said that there are none.
    SubscriptionIdentifierNotSupported,
    /// A Topic Filter that a 3.1.1 connection of the `aws` profile does not survive.
    TopicFilter,
    /// A rule of WebSocket.
    WebSocket,
    /// The client takes no bytes although there are some for it.
    NotReading,
    /// A packet was begun and not finished in time.
    PacketTooSlow,
    /// Its unfinished packet is the largest of more than all clients together may have begun.
    UnreadBytes,
    /// One that a process before this one saw; which, is not kept.
    Earlier,
}

impl Violation {
    /// The Reason Code sent in DISCONNECT; MQTT 3.1.1 has none and only closes.
    #[must_use]
    pub fn reason_code(self) -> ReasonCode {
        match self {
            Self::Undecodable(error) => error.reason_code(),
            Self::SecondConnect
            | Self::ServerPacket
            | Self::UnexpectedAuth
            | Self::SubscriptionIdentifierFromClient
            | Self::SessionExpiryFromZero => ReasonCode::ProtocolError,
            Self::QoSNotSupported => ReasonCode::QoSNotSupported,
            Self::PayloadTooLarge => ReasonCode::QuotaExceeded,
            Self::SubscriptionIdentifierNotSupported => {
                ReasonCode::SubscriptionIdentifiersNotSupported
            }
            Self::TopicFilter => ReasonCode::TopicFilterInvalid,
            Self::WebSocket | Self::Earlier => ReasonCode::ProtocolError,
            Self::ReceiveMaximumExceeded => ReasonCode::ReceiveMaximumExceeded,
            Self::TopicAliasAboveMaximum => ReasonCode::TopicAliasInvalid,
            Self::TopicAliasUnknown => ReasonCode::ProtocolError,
            Self::TopicAliasBytes => ReasonCode::QuotaExceeded,
            Self::TopicTooLong => ReasonCode::TopicNameInvalid,
            Self::NotReading | Self::PacketTooSlow | Self::UnreadBytes => ReasonCode::QuotaExceeded,
        }
    }

    /// Its name in counters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Undecodable(error) => error.name(),
            Self::SecondConnect => "second_connect",
            Self::ServerPacket => "server_packet",
            Self::UnexpectedAuth => "unexpected_auth",
            Self::ReceiveMaximumExceeded => "receive_maximum_exceeded",
            Self::TopicAliasAboveMaximum => "topic_alias_above_maximum",
            Self::TopicAliasUnknown => "topic_alias_unknown",
            Self::TopicAliasBytes => "topic_alias_bytes",
            Self::TopicTooLong => "topic_too_long",
            Self::SubscriptionIdentifierFromClient => "subscription_identifier_from_client",
            Self::SessionExpiryFromZero => "session_expiry_from_zero",
            Self::QoSNotSupported => "qos_not_supported",
            Self::PayloadTooLarge => "payload_too_large",
            Self::SubscriptionIdentifierNotSupported => "subscription_identifier_not_supported",
            Self::TopicFilter => "topic_filter",
            Self::WebSocket => "websocket",
            Self::NotReading => "not_reading",
            Self::PacketTooSlow => "packet_too_slow",
            Self::UnreadBytes => "unread_bytes",
            Self::Earlier => "earlier",
        }
    }
}

/// Why a connection ended: AWS's `disconnectReason` (contract `mqtt-broker.md` §9) with our detail.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cause {
    /// DISCONNECT from the client.
    ClientInitiated,
    /// The client broke a rule.
    ClientError(Violation),
    /// Not allowed what it did.
    AuthError,
    /// The Network Connection broke.
    ConnectionLost,
    /// Another connection took the Client Identifier over.
    DuplicateClientId,
    /// Nothing came for one and a half times the Keep Alive.
    KeepAliveTimeout,
    /// The server shuts down.
    ServerInitiated,
    /// DeleteConnection.
    ApiInitiated,
    /// Not allowed to be connected any more: its certificate, key or user was made inactive.
    ForbiddenAccess,
    /// A WebSocket connection is a day old.
    WebSocketTtlExpiration,
    /// The time that a custom authorizer gave is over.
    CustomAuthTtlExpiration,
}

impl Cause {
    /// AWS's name for it.
    #[must_use]
    pub const fn disconnect_reason(self) -> bitts_aws::events::DisconnectReason {
        use bitts_aws::events::DisconnectReason as Reason;
        match self {
            Self::ClientInitiated => Reason::ClientInitiatedDisconnect,
            Self::ClientError(_) => Reason::ClientError,
            Self::AuthError => Reason::AuthError,
            Self::ConnectionLost => Reason::ConnectionLost,
            Self::DuplicateClientId => Reason::DuplicateClientId,
            Self::KeepAliveTimeout => Reason::MqttKeepAliveTimeout,
            Self::ServerInitiated => Reason::ServerInitiatedDisconnect,
            Self::ApiInitiated => Reason::ApiInitiatedDisconnect,
            Self::ForbiddenAccess => Reason::ForbiddenAccess,
            Self::WebSocketTtlExpiration => Reason::WebsocketTtlExpiration,
            Self::CustomAuthTtlExpiration => Reason::CustomauthTtlExpiration,
        }
    }

    /// The Reason Code of the DISCONNECT that MQTT 5 clients get first, if any.
    #[must_use]
    pub fn reason_code(self) -> Option<ReasonCode> {
        match self {
            Self::ClientInitiated | Self::ConnectionLost => None,
            Self::ClientError(violation) => Some(violation.reason_code()),
            Self::AuthError | Self::ForbiddenAccess | Self::CustomAuthTtlExpiration => {
                Some(ReasonCode::NotAuthorized)
            }
            Self::WebSocketTtlExpiration => Some(ReasonCode::AdministrativeAction),
            Self::DuplicateClientId => Some(ReasonCode::SessionTakenOver),
            Self::KeepAliveTimeout => Some(ReasonCode::KeepAliveTimeout),
            Self::ServerInitiated => Some(ReasonCode::ServerShuttingDown),
            Self::ApiInitiated => Some(ReasonCode::AdministrativeAction),
        }
    }
}

macro_rules! counted {
    ($(#[$doc:meta])* $name:ident {
        $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// Every one, in the order of its counters.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name in counters.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

counted! {
    /// Why a message did not reach a receiver it was meant for.
    Dropped {
        /// QoS 0 for a client whose connection takes no more bytes.
        Congested = "congested",
        /// The session's queue holds as many messages as it may.
        QueueFull = "queue_full",
        /// The queues of all sessions hold as many bytes as they may.
        QueuesFull = "queues_full",
        /// Its Message Expiry Interval passed before it could be sent.
        Expired = "expired",
        /// Larger than the client's Maximum Packet Size. [MQTT-3.1.2-24]
        PacketTooLarge = "packet_too_large",
        /// Its session ended first.
        SessionEnded = "session_ended",
        /// The receiver refused it with a Reason Code of 0x80 or more.
        Rejected = "rejected",
        /// A `$share` group without a member that could take it.
        NoGroupMember = "no_group_member",
        /// The `$share` group keeps as many messages as it may.
        GroupQueueFull = "group_queue_full",
        /// `$aws/rules/…` names a rule that does not exist.
        RuleUnknown = "rule_unknown",
        /// More messages a second than the connection or the account may publish or get.
        RateExceeded = "rate_exceeded",
        /// The receiver's policies do not let it have the message.
        NotAuthorized = "not_authorized",
        /// The disk is full, and the message would have had to be kept.
        DiskFull = "disk_full",
        /// A retained message beyond the limit was refused.
        RetainedFull = "retained_full",
        /// The page of the queue that it was on came back as something else.
        PageUnreadable = "page_unreadable",
    }
}

/// The counters and gauges of one shard; those of a server are their sum.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// CONNECT packets that were accepted.
    pub connects: u64,
    /// CONNECT packets that were refused, by Reason Code phrase or violation name.
    pub refused: BTreeMap<&'static str, u64>,
    /// Connections that ended, by `disconnectReason`.
    pub disconnects: BTreeMap<&'static str, u64>,
    /// Rules broken, by name; each ended a connection.
    pub violations: BTreeMap<&'static str, u64>,
    /// Operations denied without ending the connection, by name.
    pub denied: BTreeMap<&'static str, u64>,
    /// PUBLISH packets received, by QoS.
    pub received: [u64; 3],
    /// PUBLISH packets sent, by QoS.
    pub sent: [u64; 3],
    /// Messages published by the HTTP API, as wills and as events.
    pub injected: u64,
    /// Deliveries dropped, in the order of [`Dropped::ALL`].
    pub dropped: [u64; Dropped::ALL.len()],
    /// Wills published.
    pub wills_published: u64,
    /// Wills suppressed: by a clean DISCONNECT, a return in time, or the API.
    pub wills_discarded: u64,
    /// Gauge: Network Connections.
    pub connections: u64,
    /// Gauge: sessions, connected or not.
    pub sessions: u64,
    /// Gauge: subscriptions of all sessions.
    pub subscriptions: u64,
    /// Gauge: retained messages.
    pub retained: u64,
    /// Gauge: bytes of retained messages.
    pub retained_bytes: u64,
    /// Gauge: shadows, those included of which only the version is kept.
    pub shadows: u64,
    /// Gauge: bytes of shadows as they are stored.
    pub shadow_bytes: u64,
    /// Gauge: messages waiting in sessions.
    pub queued: u64,
    /// Gauge: bytes waiting in sessions.
    pub queued_bytes: u64,
    /// Gauge: bytes of memory that messages waiting in sessions hold.
    pub queued_memory: u64,
    /// Pages of queues that went to disk.
    pub pages_written: u64,
    /// Pages of queues that came back.
    pub pages_read: u64,
}

impl Stats {
    /// Counts one drop.
    pub(crate) fn drop_one(&mut self, reason: Dropped) {
        self.drop_many(reason, 1);
    }

    /// Counts several drops for one reason.
    pub(crate) fn drop_many(&mut self, reason: Dropped, count: u64) {
        if let Some(counter) = self.dropped.get_mut(reason as usize) {
            *counter += count;
        }
    }

    /// How often deliveries were dropped for this reason.
    #[must_use]
    pub fn dropped(&self, reason: Dropped) -> u64 {
        self.dropped.get(reason as usize).copied().unwrap_or(0)
    }

    /// Adds another shard's counters to these.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in [
            (&mut self.refused, &other.refused),
            (&mut self.disconnects, &other.disconnects),
            (&mut self.violations, &other.violations),
            (&mut self.denied, &other.denied),
        ] {
            for (name, count) in theirs {
                *mine.entry(name).or_default() += count;
            }
        }
        let add = |mine: &mut [u64], theirs: &[u64]| {
            mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine += theirs);
        };
        add(&mut self.received, &other.received);
        add(&mut self.sent, &other.sent);
        add(&mut self.dropped, &other.dropped);
        self.connects += other.connects;
        self.injected += other.injected;
        self.wills_published += other.wills_published;
        self.wills_discarded += other.wills_discarded;
        self.connections += other.connections;
        self.sessions += other.sessions;
        self.subscriptions += other.subscriptions;
        self.retained += other.retained;
        self.retained_bytes += other.retained_bytes;
        self.shadows += other.shadows;
        self.shadow_bytes += other.shadow_bytes;
        self.queued += other.queued;
        self.queued_bytes += other.queued_bytes;
        self.queued_memory += other.queued_memory;
        self.pages_written += other.pages_written;
        self.pages_read += other.pages_read;
    }
}
