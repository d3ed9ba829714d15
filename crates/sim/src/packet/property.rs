//! The properties of MQTT 5 by the names that scripts use.

/// What a property holds.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the standard's types")]
pub enum Value {
    Byte(u8),
    Two(u16),
    Four(u32),
    Variable(u32),
    Text(String),
    Binary(Vec<u8>),
    Pair(String, String),
}

/// A property with its identifier.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Property {
    /// Identifier.
    pub id: u8,
    /// Value.
    pub value: Value,
}

/// How a property is written on the wire.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Type {
    Byte,
    Two,
    Four,
    Variable,
    Text,
    Binary,
    Pair,
}

/// Name in scripts, identifier, type [MQTT5 2.2.2.2].
const TABLE: &[(&str, u8, Type)] = &[
    ("payload_format", 0x01, Type::Byte),
    ("message_expiry", 0x02, Type::Four),
    ("content_type", 0x03, Type::Text),
    ("response_topic", 0x08, Type::Text),
    ("correlation_data", 0x09, Type::Binary),
    ("subscription_identifier", 0x0B, Type::Variable),
    ("session_expiry", 0x11, Type::Four),
    ("assigned_client", 0x12, Type::Text),
    ("server_keep_alive", 0x13, Type::Two),
    ("authentication_method", 0x15, Type::Text),
    ("authentication_data", 0x16, Type::Binary),
    ("request_problem_information", 0x17, Type::Byte),
    ("will_delay", 0x18, Type::Four),
    ("request_response_information", 0x19, Type::Byte),
    ("response_information", 0x1A, Type::Text),
    ("server_reference", 0x1C, Type::Text),
    ("reason_string", 0x1F, Type::Text),
    ("receive_maximum", 0x21, Type::Two),
    ("topic_alias_maximum", 0x22, Type::Two),
    ("topic_alias", 0x23, Type::Two),
    ("maximum_qos", 0x24, Type::Byte),
    ("retain_available", 0x25, Type::Byte),
    ("user", 0x26, Type::Pair),
    ("maximum_packet_size", 0x27, Type::Four),
    ("wildcard_available", 0x28, Type::Byte),
    ("identifiers_available", 0x29, Type::Byte),
    ("shared_available", 0x2A, Type::Byte),
];

pub(crate) fn type_of(id: u8) -> Option<Type> {
    TABLE.iter().find(|(_, known, _)| *known == id).map(|(_, _, kind)| *kind)
}

impl Property {
    /// A property from its name and its value in a script; says what was expected instead.
    pub fn parse(name: &str, value: &[u8]) -> Result<Option<Self>, String> {
        let Some((_, id, kind)) = TABLE.iter().find(|(known, ..)| *known == name) else {
            return Ok(None);
        };
        let text = || String::from_utf8(value.to_vec()).map_err(|_| format!("{name}: not UTF-8"));
        let number = |max: u32| {
            let number = text()?.parse::<u32>().map_err(|_| format!("{name}: not a number"))?;
            if number > max { Err(format!("{name}: at most {max}")) } else { Ok(number) }
        };
        let value = match kind {
            Type::Byte => Value::Byte(number(255)? as u8),
            Type::Two => Value::Two(number(65_535)? as u16),
            Type::Four => Value::Four(number(u32::MAX)?),
            Type::Variable => Value::Variable(number(268_435_455)?),
            Type::Text => Value::Text(text()?),
            Type::Binary => Value::Binary(value.to_vec()),
            Type::Pair => {
                let text = text()?;
                let (key, value) =
                    text.split_once(':').ok_or_else(|| format!("{name}: NAME:VALUE"))?;
                Value::Pair(key.to_owned(), value.to_owned())
            }
        };
        Ok(Some(Self { id: *id, value }))
    }

    /// The name scripts use.
    #[must_use]
    pub fn name(&self) -> &'static str {
        TABLE.iter().find(|(_, id, _)| *id == self.id).map_or("unknown", |(name, ..)| name)
    }

    /// Its number, where it is one.
    #[must_use]
    pub fn number(&self) -> Option<u32> {
        match &self.value {
            Value::Byte(number) => Some(u32::from(*number)),
            Value::Two(number) => Some(u32::from(*number)),
            Value::Four(number) | Value::Variable(number) => Some(*number),
            Value::Text(_) | Value::Binary(_) | Value::Pair(..) => None,
        }
    }

    /// Whether it may stand several times in one packet.
    pub(crate) fn is_repeatable(id: u8) -> bool {
        matches!(id, 0x0B | 0x26)
    }
}
