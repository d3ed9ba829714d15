//! A packet as a line of a script says it.

use std::fmt::{self, Write as _};

use super::{Kind, Packet, Property, Value};

/// Bytes shown of a payload.
const SHOWN_MAX: usize = 80;

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name())?;
        match self.kind {
            Kind::Connect => {
                let version = if self.version == super::Version::V5 { "v5" } else { "v3" };
                write!(f, " {version} client={}", Quoted(self.client_id.as_bytes()))?;
                write!(f, " clean_start={}", u8::from(self.clean_start))?;
                write!(f, " keep_alive={}", self.keep_alive)?;
                if let Some(will) = &self.will {
                    write!(f, " will={}", Quoted(will.topic.as_bytes()))?;
                }
            }
            Kind::ConnAck => {
                write!(
                    f,
                    " 0x{:02X} session_present={}",
                    self.code,
                    u8::from(self.session_present)
                )?;
            }
            Kind::Publish => {
                write!(f, " topic={}", Quoted(self.topic.as_bytes()))?;
                write!(f, " payload={} qos={}", Quoted(&self.payload), self.qos)?;
            }
            Kind::PubAck
            | Kind::PubRec
            | Kind::PubRel
            | Kind::PubComp
            | Kind::Disconnect
            | Kind::Auth => {
                write!(f, " 0x{:02X}", self.code)?;
            }
            Kind::Subscribe
            | Kind::Unsubscribe
            | Kind::SubAck
            | Kind::UnsubAck
            | Kind::PingReq
            | Kind::PingResp => {}
        }
        if let Some(packet_id) = self.packet_id {
            write!(f, " id={packet_id}")?;
        }
        if self.retain {
            f.write_str(" retain=1")?;
        }
        if self.dup {
            f.write_str(" dup=1")?;
        }
        for filter in &self.filters {
            write!(f, " filter={}", Quoted(filter.filter.as_bytes()))?;
            if self.kind == Kind::Subscribe {
                write!(f, " qos={}", filter.options & 3)?;
                for (name, value) in [
                    ("no_local", filter.options >> 2 & 1),
                    ("rap", filter.options >> 3 & 1),
                    ("rh", filter.options >> 4 & 3),
                ] {
                    if value > 0 {
                        write!(f, " {name}={value}")?;
                    }
                }
            }
        }
        for (at, code) in self.codes.iter().enumerate() {
            write!(f, "{}0x{code:02X}", if at == 0 { " codes=" } else { "," })?;
        }
        self.properties.iter().try_for_each(|property| write!(f, " {property}"))
    }
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=", self.name())?;
        match &self.value {
            Value::Byte(value) => write!(f, "{value}"),
            Value::Two(value) => write!(f, "{value}"),
            Value::Four(value) | Value::Variable(value) => write!(f, "{value}"),
            Value::Text(value) => write!(f, "{}", Quoted(value.as_bytes())),
            Value::Binary(value) => write!(f, "{}", Quoted(value)),
            Value::Pair(name, value) => {
                write!(f, "{}", Quoted(format!("{name}:{value}").as_bytes()))
            }
        }
    }
}

/// A value as scripts quote it: bare where nothing in it is special, and cut where it is long.
pub(crate) struct Quoted<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
        let shown = self.0.get(..SHOWN_MAX).unwrap_or(self.0);
        if !shown.is_empty() && shown.iter().all(plain) && shown.len() == self.0.len() {
            return f.write_str(&String::from_utf8_lossy(shown));
        }
        f.write_char('"')?;
        for byte in shown {
            match byte {
                b'"' | b'\\' => write!(f, "\\{}", char::from(*byte))?,
                b' '..=b'~' => f.write_char(char::from(*byte))?,
                _ => write!(f, "\\x{byte:02x}")?,
            }
        }
        f.write_char('"')?;
        let left = self.0.len() - shown.len();
        if left > 0 { write!(f, "…{left} more bytes") } else { Ok(()) }
    }
}
