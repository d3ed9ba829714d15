//! The wire of MQTT 3.1.1 and 5: Control Packets, properties, Topic Names and Topic Filters.
//!
//! Decoding is total and borrows: every byte string gives a packet, "need more bytes", or one
//! [`DecodeError`]; nothing is allocated per packet. One set of packet types serves both protocol
//! versions; what 3.1.1 lacks is absent there. This crate knows no session and no IO: what a packet
//! means is decided in `bitts-broker`.

mod decode;
mod encode;
mod error;
mod frame;
mod packet;
mod property;
mod read;
mod reason;
mod topic;
mod varint;

pub use decode::{ConnectVersion, connect_version, decode};
pub use encode::{PublishFrame, encode, encode_subscribe, encode_unsubscribe};
pub use error::{DecodeError, Malformed};
pub use frame::{Frame, split};
pub use packet::{
    Ack, Auth, ConnAck, Connect, Disconnect, Packet, PacketId, PacketType, ProtocolVersion,
    Publish, QoS, RetainHandling, SubAck, Subscribe, SubscribeRequest, SubscriptionOptions,
    Unsubscribe, Will,
};
pub use property::{
    ConnAckProperties, ConnectProperties, PublishProperties, UserProperties, UserPropertiesBuf,
};
pub use reason::ReasonCode;
pub use topic::{
    FilterError, SharedFilter, TopicError, check_filter, check_topic, matches, shared_filter,
};
