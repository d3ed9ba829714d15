//! Why bytes are not MQTT, and what the sender is told.

use std::fmt;

use crate::reason::ReasonCode;

macro_rules! malformed {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $code:ident;)*) => {
        /// Each way in which bytes can be wrong.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        #[non_exhaustive]
        pub enum Malformed { $($(#[$doc])* $name,)* }

        impl Malformed {
            /// Its name in counters.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What an MQTT 5 sender is told.
            #[must_use]
            pub const fn reason_code(self) -> ReasonCode {
                match self { $(Self::$name => ReasonCode::$code,)* }
            }
        }
    };
}

malformed! {
    /// A packet type that is reserved, or unknown to this protocol version.
    PacketType = "packet_type", MalformedPacket;
    /// Fixed header flags other than the type's. [MQTT-2.1.3-1]
    Flags = "flags", MalformedPacket;
    /// A Variable Byte Integer of more than four bytes, or not in its shortest form. [MQTT-1.5.5-1]
    VariableByteInteger = "variable_byte_integer", MalformedPacket;
    /// More bytes than the largest packet that is taken.
    TooLarge = "packet_too_large", PacketTooLarge;
    /// The packet ends in the middle of a field.
    Truncated = "truncated", MalformedPacket;
    /// Bytes behind the last field.
    TrailingBytes = "trailing_bytes", MalformedPacket;
    /// Ill-formed UTF-8, a surrogate or U+0000. [MQTT-1.5.4-1] [MQTT-1.5.4-2]
    Utf8 = "utf8", MalformedPacket;
    /// A control or non-character in a name.
    ControlCharacter = "control_character", MalformedPacket;
    /// A protocol name other than `MQTT`. [MQTT-3.1.2-1]
    ProtocolName = "protocol_name", UnsupportedProtocolVersion;
    /// A protocol level other than 4 and 5. [MQTT-3.1.2-2]
    ProtocolLevel = "protocol_level", UnsupportedProtocolVersion;
    /// The reserved Connect Flag is set. [MQTT-3.1.2-3]
    ConnectFlags = "connect_flags", MalformedPacket;
    /// Will QoS or Will Retain without Will, or Will QoS 3. [MQTT-3.1.2-11..13]
    WillFlags = "will_flags", MalformedPacket;
    /// Password without User Name in 3.1.1. [MQTT3-3.1.2-22]
    PasswordWithoutUserName = "password_without_user_name", MalformedPacket;
    /// An empty Client Identifier without Clean Session in 3.1.1. [MQTT3-3.1.3-8]
    ClientIdentifierEmpty = "client_identifier_empty", ClientIdentifierNotValid;
    /// QoS 3. [MQTT-3.3.1-4]
    QoS = "qos", MalformedPacket;
    /// DUP on a QoS 0 PUBLISH. [MQTT-3.3.1-2]
    DupQoS0 = "dup_qos0", MalformedPacket;
    /// Packet Identifier 0. [MQTT-2.2.1-3]
    PacketIdentifierZero = "packet_identifier_zero", ProtocolError;
    /// A Topic Name with a wildcard. [MQTT-3.3.2-2]
    TopicName = "topic_name", TopicNameInvalid;
    /// An empty Topic Name without Topic Alias. [MQTT-4.7.3-1]
    TopicNameEmpty = "topic_name_empty", ProtocolError;
    /// A Reason Code that is reserved or not for this packet.
    ReasonCode = "reason_code", ProtocolError;
    /// Acknowledge flags other than Session Present. [MQTT-3.2.2-1]
    AcknowledgeFlags = "acknowledge_flags", MalformedPacket;
    /// QoS 3 or Retain Handling 3 in a SUBSCRIBE [MQTT5 3.8.3.1].
    SubscriptionValue = "subscription_value", ProtocolError;
    /// Reserved Subscription Option bits. [MQTT-3.8.3-5]
    SubscriptionOptions = "subscription_options", MalformedPacket;
    /// No Local on a Shared Subscription. [MQTT-3.8.3-4]
    NoLocalShared = "no_local_shared", ProtocolError;
    /// SUBSCRIBE, UNSUBSCRIBE or SUBACK without an entry. [MQTT-3.8.3-2] [MQTT-3.10.3-2]
    NoFilters = "no_filters", ProtocolError;
    /// A property that the standard does not know.
    PropertyUnknown = "property_unknown", MalformedPacket;
    /// A property that is not for this packet.
    PropertyMisplaced = "property_misplaced", MalformedPacket;
    /// A property that may stand once and stands twice.
    PropertyRepeated = "property_repeated", ProtocolError;
    /// A value that the property does not allow.
    PropertyValue = "property_value", ProtocolError;
    /// Authentication Data without Authentication Method.
    AuthenticationData = "authentication_data", ProtocolError;
    /// A Topic Alias of 0. [MQTT-3.3.2-8]
    TopicAliasZero = "topic_alias_zero", TopicAliasInvalid;
    /// A Response Topic with wildcards. [MQTT-3.3.2-14]
    ResponseTopic = "response_topic", ProtocolError;
    /// More User Properties, or more bytes of properties, than are taken.
    TooManyProperties = "too_many_properties", QuotaExceeded;
}

/// The bytes are not a Control Packet that may stand here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DecodeError(pub Malformed);

impl DecodeError {
    /// What an MQTT 5 sender is told; 3.1.1 has no words for it.
    #[must_use]
    pub const fn reason_code(self) -> ReasonCode {
        self.0.reason_code()
    }

    /// Its name in counters.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.0.name()
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not an MQTT packet: {}", self.name())
    }
}

impl std::error::Error for DecodeError {}

impl From<Malformed> for DecodeError {
    fn from(malformed: Malformed) -> Self {
        Self(malformed)
    }
}
