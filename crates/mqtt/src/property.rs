//! The properties of MQTT 5: which stand where, their values, and their encoding.
//!
//! A property section is decoded once, into the properties of its packet; User Properties stay
//! where they are and are read when somebody asks.

use std::fmt;
use std::num::{NonZeroU16, NonZeroU32};

use crate::error::Malformed;
use crate::read::Reader;
use crate::varint;

/// Most User Properties of one packet that are taken.
pub(crate) const USER_PROPERTIES_MAX: u32 = 64;
/// Most bytes of properties of one packet that are taken.
pub(crate) const PROPERTY_BYTES_MAX: usize = 16 << 10;

/// User Properties: name and value pairs, in order.
///
/// Points at encoded property bytes that were checked; other properties among them are passed over.
#[derive(Clone, Copy, Default)]
pub struct UserProperties<'a> {
    /// Encoded, validated properties.
    pub(crate) encoded: &'a [u8],
    /// How many User Properties there are.
    pub(crate) count: u32,
}

/// User Properties built one by one.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct UserPropertiesBuf {
    pub(crate) encoded: Vec<u8>,
    pub(crate) count: u32,
}

/// Properties of CONNECT; the Will's own are in [`crate::Will`].
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "the standard's names")]
pub struct ConnectProperties<'a> {
    /// Seconds; absent is 0, `u32::MAX` never expires.
    pub session_expiry_interval: Option<u32>,
    pub receive_maximum: Option<NonZeroU16>,
    /// Bytes.
    pub maximum_packet_size: Option<NonZeroU32>,
    pub topic_alias_maximum: Option<u16>,
    pub request_response_information: Option<bool>,
    pub request_problem_information: Option<bool>,
    pub authentication_method: Option<&'a str>,
    pub authentication_data: Option<&'a [u8]>,
    pub user_properties: UserProperties<'a>,
}

/// Properties of CONNACK.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "the standard's names")]
pub struct ConnAckProperties<'a> {
    pub session_expiry_interval: Option<u32>,
    pub receive_maximum: Option<NonZeroU16>,
    pub maximum_qos: Option<u8>,
    pub retain_available: Option<bool>,
    pub maximum_packet_size: Option<NonZeroU32>,
    pub assigned_client_identifier: Option<&'a str>,
    pub topic_alias_maximum: Option<u16>,
    pub reason_string: Option<&'a str>,
    pub wildcard_subscription_available: Option<bool>,
    pub subscription_identifiers_available: Option<bool>,
    pub shared_subscription_available: Option<bool>,
    pub server_keep_alive: Option<u16>,
    pub response_information: Option<&'a str>,
    pub server_reference: Option<&'a str>,
    pub authentication_method: Option<&'a str>,
    pub authentication_data: Option<&'a [u8]>,
    pub user_properties: UserProperties<'a>,
}

/// Properties of PUBLISH, and of a Will.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "the standard's names")]
pub struct PublishProperties<'a> {
    /// `Some(true)`: UTF-8 character data; `Some(false)`: unspecified bytes.
    pub payload_format_indicator: Option<bool>,
    /// Seconds.
    pub message_expiry_interval: Option<u32>,
    /// 0 is refused while decoding, with Topic Alias invalid.
    pub topic_alias: Option<NonZeroU16>,
    /// Not a Topic Name with wildcards; checked while decoding [MQTT-3.3.2-14].
    pub response_topic: Option<&'a str>,
    pub correlation_data: Option<&'a [u8]>,
    pub content_type: Option<&'a str>,
    /// From a server only; a server's core refuses it from a client [MQTT-3.3.4-6].
    pub subscription_identifier: Option<u32>,
    pub user_properties: UserProperties<'a>,
}

/// The identifiers of the standard [MQTT5 2.2.2.2].
pub(crate) mod id {
    pub(crate) const PAYLOAD_FORMAT_INDICATOR: u8 = 0x01;
    pub(crate) const MESSAGE_EXPIRY_INTERVAL: u8 = 0x02;
    pub(crate) const CONTENT_TYPE: u8 = 0x03;
    pub(crate) const RESPONSE_TOPIC: u8 = 0x08;
    pub(crate) const CORRELATION_DATA: u8 = 0x09;
    pub(crate) const SUBSCRIPTION_IDENTIFIER: u8 = 0x0B;
    pub(crate) const SESSION_EXPIRY_INTERVAL: u8 = 0x11;
    pub(crate) const ASSIGNED_CLIENT_IDENTIFIER: u8 = 0x12;
    pub(crate) const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub(crate) const AUTHENTICATION_METHOD: u8 = 0x15;
    pub(crate) const AUTHENTICATION_DATA: u8 = 0x16;
    pub(crate) const REQUEST_PROBLEM_INFORMATION: u8 = 0x17;
    pub(crate) const WILL_DELAY_INTERVAL: u8 = 0x18;
    pub(crate) const REQUEST_RESPONSE_INFORMATION: u8 = 0x19;
    pub(crate) const RESPONSE_INFORMATION: u8 = 0x1A;
    pub(crate) const SERVER_REFERENCE: u8 = 0x1C;
    pub(crate) const REASON_STRING: u8 = 0x1F;
    pub(crate) const RECEIVE_MAXIMUM: u8 = 0x21;
    pub(crate) const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    pub(crate) const TOPIC_ALIAS: u8 = 0x23;
    pub(crate) const MAXIMUM_QOS: u8 = 0x24;
    pub(crate) const RETAIN_AVAILABLE: u8 = 0x25;
    pub(crate) const USER_PROPERTY: u8 = 0x26;
    pub(crate) const MAXIMUM_PACKET_SIZE: u8 = 0x27;
    pub(crate) const WILDCARD_SUBSCRIPTION_AVAILABLE: u8 = 0x28;
    pub(crate) const SUBSCRIPTION_IDENTIFIERS_AVAILABLE: u8 = 0x29;
    pub(crate) const SHARED_SUBSCRIPTION_AVAILABLE: u8 = 0x2A;
}

/// One property's value as its type on the wire.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    Byte(u8),
    Two(u16),
    Four(u32),
    Variable(u32),
    Text(&'a str),
    Binary(&'a [u8]),
    Pair(&'a str, &'a str),
}

/// Reads one property: its identifier and value.
fn read_one<'a>(reader: &mut Reader<'a>) -> Result<(u8, Value<'a>), Malformed> {
    let id = reader.byte()?;
    let value = match id {
        0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2A => Value::Byte(reader.byte()?),
        0x13 | 0x21 | 0x22 | 0x23 => Value::Two(reader.two()?),
        0x02 | 0x11 | 0x18 | 0x27 => Value::Four(reader.four()?),
        0x0B => Value::Variable(reader.variable()?),
        0x03 | 0x08 | 0x12 | 0x15 | 0x1A | 0x1C | 0x1F => Value::Text(reader.text()?),
        0x09 | 0x16 => Value::Binary(reader.binary()?),
        0x26 => Value::Pair(reader.text()?, reader.text()?),
        _ => return Err(Malformed::PropertyUnknown),
    };
    Ok((id, value))
}

/// Reads a property section and hands each property but the User Properties to `take`, once each.
///
/// `repeatable` is the one other property that may stand several times in this packet, or 0.
pub(crate) fn read_section<'a>(
    reader: &mut Reader<'a>,
    repeatable: u8,
    mut take: impl FnMut(u8, Value<'a>) -> Result<(), Malformed>,
) -> Result<UserProperties<'a>, Malformed> {
    let len = reader.variable()? as usize;
    let encoded = reader.bytes(len)?;
    if encoded.is_empty() {
        return Ok(UserProperties::EMPTY);
    }
    if len > PROPERTY_BYTES_MAX {
        return Err(Malformed::TooManyProperties);
    }
    let mut section = Reader::new(encoded);
    let mut seen = 0_u64;
    let mut count = 0;
    while !section.is_empty() {
        let (id, value) = read_one(&mut section)?;
        if id == id::USER_PROPERTY {
            count += 1;
            if count > USER_PROPERTIES_MAX {
                return Err(Malformed::TooManyProperties);
            }
            continue;
        }
        let bit = 1_u64 << (id & 0x3F);
        if seen & bit != 0 && id != repeatable {
            return Err(Malformed::PropertyRepeated);
        }
        seen |= bit;
        take(id, value)?;
    }
    Ok(UserProperties { encoded: if count == 0 { &[] } else { encoded }, count })
}

fn flag(byte: u8) -> Result<bool, Malformed> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed::PropertyValue),
    }
}

impl<'a> UserProperties<'a> {
    /// No User Property.
    pub const EMPTY: Self = Self { encoded: &[], count: 0 };

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let mut reader = Reader::new(self.encoded);
        std::iter::from_fn(move || {
            loop {
                if let Value::Pair(name, value) = read_one(&mut reader).ok()?.1 {
                    return Some((name, value));
                }
            }
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        for (name, value) in self.iter() {
            out.push(id::USER_PROPERTY);
            put_text(name, out);
            put_text(value, out);
        }
    }
}

impl fmt::Debug for UserProperties<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl PartialEq for UserProperties<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.count == other.count && self.iter().eq(other.iter())
    }
}

impl UserPropertiesBuf {
    /// No User Property.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends one; both at most 65,535 bytes, longer ones are cut by nobody but refused: `false`.
    pub fn push(&mut self, name: &str, value: &str) -> bool {
        if name.len() > 65_535 || value.len() > 65_535 {
            return false;
        }
        self.encoded.push(id::USER_PROPERTY);
        put_text(name, &mut self.encoded);
        put_text(value, &mut self.encoded);
        self.count += 1;
        true
    }

    /// As a packet holds them.
    #[must_use]
    pub fn as_properties(&self) -> UserProperties<'_> {
        UserProperties { encoded: &self.encoded, count: self.count }
    }
}

pub(crate) fn put_text(text: &str, out: &mut Vec<u8>) {
    put_binary(text.as_bytes(), out);
}

/// A length of two bytes and the data; what is longer than 65,535 bytes is cut there.
pub(crate) fn put_binary(data: &[u8], out: &mut Vec<u8>) {
    let data = data.get(..65_535).unwrap_or(data);
    out.extend_from_slice(&(data.len() as u16).to_be_bytes());
    out.extend_from_slice(data);
}

impl<'a> ConnectProperties<'a> {
    pub(crate) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let mut this = Self::default();
        let user = read_section(reader, 0, |id, value| {
            match (id, value) {
                (id::SESSION_EXPIRY_INTERVAL, Value::Four(seconds)) => {
                    this.session_expiry_interval = Some(seconds);
                }
                (id::RECEIVE_MAXIMUM, Value::Two(number)) => {
                    let number = NonZeroU16::new(number).ok_or(Malformed::PropertyValue)?;
                    this.receive_maximum = Some(number);
                }
                (id::MAXIMUM_PACKET_SIZE, Value::Four(bytes)) => {
                    let bytes = NonZeroU32::new(bytes).ok_or(Malformed::PropertyValue)?;
                    this.maximum_packet_size = Some(bytes);
                }
                (id::TOPIC_ALIAS_MAXIMUM, Value::Two(number)) => {
                    this.topic_alias_maximum = Some(number);
                }
                (id::REQUEST_RESPONSE_INFORMATION, Value::Byte(byte)) => {
                    this.request_response_information = Some(flag(byte)?);
                }
                (id::REQUEST_PROBLEM_INFORMATION, Value::Byte(byte)) => {
                    this.request_problem_information = Some(flag(byte)?);
                }
                (id::AUTHENTICATION_METHOD, Value::Text(text)) => {
                    this.authentication_method = Some(text);
                }
                (id::AUTHENTICATION_DATA, Value::Binary(data)) => {
                    this.authentication_data = Some(data);
                }
                _ => return Err(Malformed::PropertyMisplaced),
            }
            Ok(())
        })?;
        this.user_properties = user;
        if this.authentication_data.is_some() && this.authentication_method.is_none() {
            return Err(Malformed::AuthenticationData);
        }
        Ok(this)
    }

    pub(crate) fn write(&self, out: &mut Section<'_>) {
        out.four(id::SESSION_EXPIRY_INTERVAL, self.session_expiry_interval);
        out.two(id::RECEIVE_MAXIMUM, self.receive_maximum.map(NonZeroU16::get));
        out.four(id::MAXIMUM_PACKET_SIZE, self.maximum_packet_size.map(NonZeroU32::get));
        out.two(id::TOPIC_ALIAS_MAXIMUM, self.topic_alias_maximum);
        out.flag(id::REQUEST_RESPONSE_INFORMATION, self.request_response_information);
        out.flag(id::REQUEST_PROBLEM_INFORMATION, self.request_problem_information);
        out.text(id::AUTHENTICATION_METHOD, self.authentication_method);
        out.binary(id::AUTHENTICATION_DATA, self.authentication_data);
        out.user(&self.user_properties);
    }
}

impl<'a> ConnAckProperties<'a> {
    pub(crate) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let mut this = Self::default();
        let user = read_section(reader, 0, |id, value| this.take(id, value))?;
        this.user_properties = user;
        Ok(this)
    }

    fn take(&mut self, id: u8, value: Value<'a>) -> Result<(), Malformed> {
        match (id, value) {
            (id::SESSION_EXPIRY_INTERVAL, Value::Four(v)) => self.session_expiry_interval = Some(v),
            (id::RECEIVE_MAXIMUM, Value::Two(v)) => {
                self.receive_maximum = Some(NonZeroU16::new(v).ok_or(Malformed::PropertyValue)?);
            }
            (id::MAXIMUM_QOS, Value::Byte(v)) => self.maximum_qos = Some(u8::from(flag(v)?)),
            (id::RETAIN_AVAILABLE, Value::Byte(v)) => self.retain_available = Some(flag(v)?),
            (id::MAXIMUM_PACKET_SIZE, Value::Four(v)) => {
                let bytes = NonZeroU32::new(v).ok_or(Malformed::PropertyValue)?;
                self.maximum_packet_size = Some(bytes);
            }
            (id::ASSIGNED_CLIENT_IDENTIFIER, Value::Text(v)) => {
                self.assigned_client_identifier = Some(v);
            }
            (id::TOPIC_ALIAS_MAXIMUM, Value::Two(v)) => self.topic_alias_maximum = Some(v),
            (id::REASON_STRING, Value::Text(v)) => self.reason_string = Some(v),
            (id::WILDCARD_SUBSCRIPTION_AVAILABLE, Value::Byte(v)) => {
                self.wildcard_subscription_available = Some(flag(v)?);
            }
            (id::SUBSCRIPTION_IDENTIFIERS_AVAILABLE, Value::Byte(v)) => {
                self.subscription_identifiers_available = Some(flag(v)?);
            }
            (id::SHARED_SUBSCRIPTION_AVAILABLE, Value::Byte(v)) => {
                self.shared_subscription_available = Some(flag(v)?);
            }
            (id::SERVER_KEEP_ALIVE, Value::Two(v)) => self.server_keep_alive = Some(v),
            (id::RESPONSE_INFORMATION, Value::Text(v)) => self.response_information = Some(v),
            (id::SERVER_REFERENCE, Value::Text(v)) => self.server_reference = Some(v),
            (id::AUTHENTICATION_METHOD, Value::Text(v)) => self.authentication_method = Some(v),
            (id::AUTHENTICATION_DATA, Value::Binary(v)) => self.authentication_data = Some(v),
            _ => return Err(Malformed::PropertyMisplaced),
        }
        Ok(())
    }

    pub(crate) fn write(&self, out: &mut Section<'_>) {
        out.four(id::SESSION_EXPIRY_INTERVAL, self.session_expiry_interval);
        out.two(id::RECEIVE_MAXIMUM, self.receive_maximum.map(NonZeroU16::get));
        out.byte(id::MAXIMUM_QOS, self.maximum_qos);
        out.flag(id::RETAIN_AVAILABLE, self.retain_available);
        out.four(id::MAXIMUM_PACKET_SIZE, self.maximum_packet_size.map(NonZeroU32::get));
        out.text(id::ASSIGNED_CLIENT_IDENTIFIER, self.assigned_client_identifier);
        out.two(id::TOPIC_ALIAS_MAXIMUM, self.topic_alias_maximum);
        out.text(id::REASON_STRING, self.reason_string);
        out.flag(id::WILDCARD_SUBSCRIPTION_AVAILABLE, self.wildcard_subscription_available);
        out.flag(id::SUBSCRIPTION_IDENTIFIERS_AVAILABLE, self.subscription_identifiers_available);
        out.flag(id::SHARED_SUBSCRIPTION_AVAILABLE, self.shared_subscription_available);
        out.two(id::SERVER_KEEP_ALIVE, self.server_keep_alive);
        out.text(id::RESPONSE_INFORMATION, self.response_information);
        out.text(id::SERVER_REFERENCE, self.server_reference);
        out.text(id::AUTHENTICATION_METHOD, self.authentication_method);
        out.binary(id::AUTHENTICATION_DATA, self.authentication_data);
        out.user(&self.user_properties);
    }
}

impl<'a> PublishProperties<'a> {
    /// Reads the properties of a PUBLISH, or with `will` those of a Will and its delay.
    pub(crate) fn read(reader: &mut Reader<'a>, will: bool) -> Result<(Self, u32), Malformed> {
        let mut this = Self::default();
        let mut delay = 0;
        let repeatable = if will { 0 } else { id::SUBSCRIPTION_IDENTIFIER };
        let user = read_section(reader, repeatable, |id, value| {
            if let (id::WILL_DELAY_INTERVAL, Value::Four(seconds), true) = (id, value, will) {
                delay = seconds;
                return Ok(());
            }
            if will && matches!(id, id::TOPIC_ALIAS | id::SUBSCRIPTION_IDENTIFIER) {
                return Err(Malformed::PropertyMisplaced);
            }
            this.take(id, value)
        })?;
        this.user_properties = user;
        Ok((this, delay))
    }

    fn take(&mut self, id: u8, value: Value<'a>) -> Result<(), Malformed> {
        match (id, value) {
            (id::PAYLOAD_FORMAT_INDICATOR, Value::Byte(byte)) => {
                self.payload_format_indicator = Some(flag(byte)?);
            }
            (id::MESSAGE_EXPIRY_INTERVAL, Value::Four(seconds)) => {
                self.message_expiry_interval = Some(seconds);
            }
            (id::TOPIC_ALIAS, Value::Two(alias)) => {
                let alias = NonZeroU16::new(alias).ok_or(Malformed::TopicAliasZero)?;
                self.topic_alias = Some(alias);
            }
            (id::RESPONSE_TOPIC, Value::Text(topic)) => {
                if crate::topic::check_topic(topic).is_err() {
                    return Err(Malformed::ResponseTopic);
                }
                self.response_topic = Some(topic);
            }
            (id::CORRELATION_DATA, Value::Binary(data)) => self.correlation_data = Some(data),
            (id::CONTENT_TYPE, Value::Text(text)) => self.content_type = Some(text),
            (id::SUBSCRIPTION_IDENTIFIER, Value::Variable(number)) => {
                if number == 0 {
                    return Err(Malformed::PropertyValue);
                }
                self.subscription_identifier.get_or_insert(number);
            }
            _ => return Err(Malformed::PropertyMisplaced),
        }
        Ok(())
    }

    /// Whether there is anything that every receiver gets.
    #[must_use]
    pub fn has_forwarded(&self) -> bool {
        self.payload_format_indicator.is_some()
            || self.response_topic.is_some()
            || self.correlation_data.is_some()
            || self.content_type.is_some()
            || !self.user_properties.is_empty()
    }

    /// Appends the properties that every receiver gets, unaltered: Payload Format Indicator,
    /// Content Type, Response Topic, Correlation Data and User Properties in order
    /// [MQTT-3.3.2-4..20].
    pub fn encode_forwarded(&self, out: &mut Vec<u8>) {
        if !self.has_forwarded() {
            return;
        }
        let mut section = Section { out };
        section.flag(id::PAYLOAD_FORMAT_INDICATOR, self.payload_format_indicator);
        section.text(id::CONTENT_TYPE, self.content_type);
        section.text(id::RESPONSE_TOPIC, self.response_topic);
        section.binary(id::CORRELATION_DATA, self.correlation_data);
        section.user(&self.user_properties);
    }

    /// Reads back what [`PublishProperties::encode_forwarded`] wrote.
    #[must_use]
    pub fn from_forwarded(encoded: &'a [u8]) -> Self {
        let mut this = Self::default();
        let mut reader = Reader::new(encoded);
        let mut count = 0;
        while let Ok((id, value)) = read_one(&mut reader) {
            if id == id::USER_PROPERTY {
                count += 1;
            } else if this.take(id, value).is_err() {
                return Self::default();
            }
        }
        this.user_properties = UserProperties { encoded, count };
        this
    }

    pub(crate) fn write(&self, out: &mut Section<'_>) {
        out.four(id::MESSAGE_EXPIRY_INTERVAL, self.message_expiry_interval);
        out.two(id::TOPIC_ALIAS, self.topic_alias.map(NonZeroU16::get));
        if let Some(number) = self.subscription_identifier {
            out.variable(id::SUBSCRIPTION_IDENTIFIER, number);
        }
        self.encode_forwarded(out.out);
    }
}

/// A property section being written.
pub(crate) struct Section<'a> {
    pub(crate) out: &'a mut Vec<u8>,
}

impl Section<'_> {
    pub(crate) fn byte(&mut self, id: u8, value: Option<u8>) {
        if let Some(value) = value {
            self.out.extend_from_slice(&[id, value]);
        }
    }

    pub(crate) fn flag(&mut self, id: u8, value: Option<bool>) {
        self.byte(id, value.map(u8::from));
    }

    pub(crate) fn two(&mut self, id: u8, value: Option<u16>) {
        if let Some(value) = value {
            self.out.push(id);
            self.out.extend_from_slice(&value.to_be_bytes());
        }
    }

    pub(crate) fn four(&mut self, id: u8, value: Option<u32>) {
        if let Some(value) = value {
            self.out.push(id);
            self.out.extend_from_slice(&value.to_be_bytes());
        }
    }

    pub(crate) fn variable(&mut self, id: u8, value: u32) {
        self.out.push(id);
        varint::write(value as usize, self.out);
    }

    pub(crate) fn text(&mut self, id: u8, value: Option<&str>) {
        self.binary(id, value.map(str::as_bytes));
    }

    pub(crate) fn binary(&mut self, id: u8, value: Option<&[u8]>) {
        if let Some(value) = value {
            self.out.push(id);
            put_binary(value, self.out);
        }
    }

    pub(crate) fn user(&mut self, properties: &UserProperties<'_>) {
        properties.encode(self.out);
    }
}
