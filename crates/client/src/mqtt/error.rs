//! How a connection fails to begin, how it ends, and why a request was not carried out.

use std::io;
use std::time::Duration;

use bitts_mqtt::{DecodeError, FilterError, ReasonCode, TopicError};
use thiserror::Error;

use super::options::{ConnAck, Disconnect};
use crate::tls::TlsError;

/// Why there is no connection.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The server answered CONNECT with a refusal.
    #[error("the server refused: {} ({:#04X})", .0.reason_code.phrase(), .0.reason_code.number())]
    Refused(Box<ConnAck>),
    /// The network connection ended before CONNACK, as AWS ends what it refuses in MQTT 3.1.1.
    #[error("the connection ended before CONNACK: {0}")]
    Ended(End),
    /// No network connection.
    #[error("no connection: {0}")]
    Network(#[from] io::Error),
    /// The TLS options make no TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No CONNACK in time.
    #[error("no CONNACK within {0:?}")]
    Timeout(Duration),
    /// Something in the options that MQTT cannot say.
    #[error("CONNECT cannot be sent: {0}")]
    Invalid(Invalid),
}

/// How a connection ended.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum End {
    /// We sent DISCONNECT.
    #[error("we disconnected")]
    Disconnected,
    /// We closed the connection without DISCONNECT.
    #[error("we closed the connection")]
    Aborted,
    /// The server sent DISCONNECT (MQTT 5).
    #[error(
        "the server disconnected: {} ({:#04X})",
        .0.reason_code.phrase(),
        .0.reason_code.number()
    )]
    ServerDisconnected(Box<Disconnect>),
    /// The server closed the connection without DISCONNECT.
    #[error("the server closed the connection")]
    Closed,
    /// The server did not answer PINGREQ.
    #[error("the server did not answer PINGREQ")]
    KeepAliveTimeout,
    /// The server sent what is not MQTT.
    #[error("the server sent what is {0}")]
    Malformed(DecodeError),
    /// The server sent a packet that may not stand here.
    #[error("the server broke the protocol: {0}")]
    Protocol(&'static str),
    /// The network connection failed.
    #[error("the connection failed: {0:?}")]
    Network(io::ErrorKind),
}

/// What cannot be sent.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[expect(missing_docs, reason = "each says itself")]
pub enum Invalid {
    #[error("the topic is not a Topic Name ({0:?})")]
    Topic(TopicError),
    #[error("the filter is not a Topic Filter ({0:?})")]
    Filter(FilterError),
    #[error("there is no filter")]
    NoFilter,
    #[error("a text or a property has more than 65,535 bytes")]
    TooLong,
    #[error("a text contains U+0000")]
    Nul,
    #[error("the packet is larger than the server takes")]
    PacketTooLarge,
    #[error("the server does not take this QoS")]
    QoS,
    #[error("the server does not retain messages")]
    Retain,
    #[error("the server does not take this Topic Alias")]
    TopicAlias,
    #[error("a Subscription Identifier is from 1 to 268,435,455")]
    SubscriptionIdentifier,
    #[error("MQTT 3.1.1 has no password without a user name")]
    PasswordWithoutUserName,
    #[error("MQTT 3.1.1 has no empty client identifier without a clean session")]
    ClientIdentifierEmpty,
}

/// Why a request was not carried out, as far as we know.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum RequestError {
    /// It was not sent.
    #[error("it cannot be sent: {0}")]
    Invalid(#[from] Invalid),
    /// The server refused the message.
    #[error("the server refused: {} ({:#04X})", reason_code.phrase(), reason_code.number())]
    Refused {
        /// Why.
        reason_code: ReasonCode,
        /// Reason String.
        reason_string: Option<String>,
    },
    /// The connection ended before the server answered. The request may have been carried out.
    #[error("the connection ended: {0}")]
    Ended(End),
}
