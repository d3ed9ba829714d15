//! Control Packets as the client's side of a test sees them.
//!
//! A codec of its own: one flat [`Packet`] and one table of properties, so that a script can say
//! anything, also what no client should, and so that a mistake of `bitts-mqtt` is not undone by the
//! same mistake here. Decoding is strict about what a server may send.

mod decode;
mod encode;
mod property;
mod text;

pub use decode::{Broken, decode, next_len};
pub use encode::{encode, put_variable};
pub use property::{Property, Value};

/// MQTT 3.1.1 or 5.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Version {
    /// MQTT 3.1.1.
    #[default]
    V3,
    /// MQTT 5.
    V5,
}

macro_rules! kinds {
    ($($name:ident = $number:literal, $text:literal, $flags:literal;)*) => {
        /// The type of a Control Packet.
        #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
        #[expect(missing_docs, reason = "the standard's names")]
        pub enum Kind { #[default] $($name = $number,)* }

        impl Kind {
            /// The type with this number.
            #[must_use]
            pub const fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }

            /// The type with this name, as the standard writes it.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($text => Some(Self::$name),)* _ => None }
            }

            /// The standard's name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The flags of its fixed header; those of PUBLISH are its own.
            pub(crate) const fn flags(self) -> u8 {
                match self { $(Self::$name => $flags,)* }
            }
        }
    };
}

kinds! {
    Connect = 1, "CONNECT", 0;
    ConnAck = 2, "CONNACK", 0;
    Publish = 3, "PUBLISH", 0;
    PubAck = 4, "PUBACK", 0;
    PubRec = 5, "PUBREC", 0;
    PubRel = 6, "PUBREL", 2;
    PubComp = 7, "PUBCOMP", 0;
    Subscribe = 8, "SUBSCRIBE", 2;
    SubAck = 9, "SUBACK", 0;
    Unsubscribe = 10, "UNSUBSCRIBE", 2;
    UnsubAck = 11, "UNSUBACK", 0;
    PingReq = 12, "PINGREQ", 0;
    PingResp = 13, "PINGRESP", 0;
    Disconnect = 14, "DISCONNECT", 0;
    Auth = 15, "AUTH", 0;
}

/// The Will of a CONNECT.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Will {
    /// Will Topic.
    pub topic: String,
    /// Will Payload.
    pub payload: Vec<u8>,
    /// Will QoS; 3 can be asked for.
    pub qos: u8,
    /// Will Retain.
    pub retain: bool,
    /// Will Properties.
    pub properties: Vec<Property>,
}

/// One Topic Filter of a SUBSCRIBE with its options byte, or of an UNSUBSCRIBE.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Filter {
    /// Topic Filter.
    pub filter: String,
    /// QoS, No Local (4), Retain As Published (8) and Retain Handling (times 16).
    pub options: u8,
}

/// Any Control Packet; fields that its type does not have keep their defaults.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[expect(missing_docs, reason = "the standard's names")]
pub struct Packet {
    pub kind: Kind,
    pub dup: bool,
    pub qos: u8,
    pub retain: bool,
    pub topic: String,
    pub packet_id: Option<u16>,
    /// Reason Code or CONNACK return code.
    pub code: u8,
    /// Reason Codes of SUBACK and UNSUBACK.
    pub codes: Vec<u8>,
    pub session_present: bool,
    pub properties: Vec<Property>,
    pub payload: Vec<u8>,
    pub filters: Vec<Filter>,
    /// CONNECT: its protocol.
    pub version: Version,
    pub client_id: String,
    pub clean_start: bool,
    pub keep_alive: u16,
    pub will: Option<Will>,
    pub username: Option<String>,
    pub password: Option<Vec<u8>>,
}

impl Packet {
    /// An empty packet of a type.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self { kind, ..Self::default() }
    }

    /// An acknowledgement.
    #[must_use]
    pub fn ack(kind: Kind, packet_id: u16, code: u8) -> Self {
        Self { packet_id: Some(packet_id), code, ..Self::new(kind) }
    }

    /// The first value of a numeric property.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u32> {
        self.properties.iter().find(|held| held.name() == name).and_then(Property::number)
    }
}
