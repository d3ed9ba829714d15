//! Comparing what came with what a line says must come.
//!
//! A packet is compared as a whole: what the line does not mention must be absent or zero. Only the
//! properties of CONNACK and Reason Strings may be left out, because they are the server's choice.

use serde_json::Value as Json;

use super::line::Bound;
use crate::packet::{Kind, Packet, Property, Value};

/// A field and what it must be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) matcher: Matcher,
}

/// What a field must be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Matcher {
    /// This value.
    Is(Vec<u8>),
    /// Any value.
    Any,
    /// No value.
    Absent,
    /// What is bound to this name, or anything, which is then bound to it.
    Bound(String),
    /// A code below 0x80.
    Ok,
}

/// The values of a packet's field: none where it is absent, several where it is repeated.
fn values(packet: &Packet, name: &str) -> Option<Vec<Vec<u8>>> {
    let number = |number: u32| Some(vec![number.to_string().into_bytes()]);
    match name {
        "topic" => Some(vec![packet.topic.clone().into_bytes()]),
        "payload" => Some(vec![packet.payload.clone()]),
        "qos" => number(u32::from(packet.qos)),
        "retain" => number(u32::from(packet.retain)),
        "dup" => number(u32::from(packet.dup)),
        "session_present" => number(u32::from(packet.session_present)),
        "id" => Some(packet.packet_id.map(|id| id.to_string().into_bytes()).into_iter().collect()),
        "code" => number(u32::from(packet.code)),
        "codes" => {
            let codes: Vec<String> = packet.codes.iter().map(u8::to_string).collect();
            let codes = codes.join(",").into_bytes();
            Some(if codes.is_empty() { Vec::new() } else { vec![codes] })
        }
        name => {
            // Whether there is such a property is known without one.
            let of_packet = packet.properties.iter().filter(|held| held.name() == name);
            Some(of_packet.map(property_value).collect())
        }
    }
}

fn property_value(property: &Property) -> Vec<u8> {
    match &property.value {
        Value::Byte(_) | Value::Two(_) | Value::Four(_) | Value::Variable(_) => {
            property.number().unwrap_or_default().to_string().into_bytes()
        }
        Value::Text(value) => value.clone().into_bytes(),
        Value::Binary(value) => value.clone(),
        Value::Pair(name, value) => format!("{name}:{value}").into_bytes(),
    }
}

/// Fields of a type that must be zero or absent where a line does not mention them.
fn unmentioned(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Publish => &["topic", "payload", "qos", "retain", "dup"],
        Kind::ConnAck => &["code", "session_present"],
        Kind::SubAck | Kind::UnsubAck => &["codes"],
        _ => &["code"],
    }
}

/// Whether a packet is the one expected; binds names. Otherwise what differs.
pub(crate) fn check(
    packet: &Packet,
    kind: Kind,
    fields: &[Field],
    bound: &mut Bound,
) -> Result<(), String> {
    if packet.kind != kind {
        return Err(format!("a {} is expected", kind.name()));
    }
    let mut names: Vec<&str> = Vec::new();
    for field in fields {
        if !names.contains(&field.name.as_str()) {
            names.push(&field.name);
        }
    }
    let mut binds = bound.clone();
    for name in &names {
        if name.starts_with("json.") {
            continue;
        }
        let wanted: Vec<&Matcher> =
            fields.iter().filter(|field| field.name == *name).map(|field| &field.matcher).collect();
        check_field(packet, name, &wanted, &mut binds)?;
    }
    for name in unmentioned(kind) {
        let is_json = *name == "payload" && names.iter().any(|name| name.starts_with("json."));
        // `ok` on a SUBACK speaks of its codes.
        let is_said = names.contains(name) || (*name == "codes" && names.contains(&"code"));
        if !is_said && !is_json {
            let held = values(packet, name).unwrap_or_default();
            if held.iter().any(|value| !matches!(value.as_slice(), b"" | b"0")) {
                return Err(format!("{name} is not mentioned and not 0"));
            }
        }
    }
    if kind != Kind::ConnAck {
        let other = packet.properties.iter().map(Property::name);
        if let Some(other) =
            other.filter(|name| *name != "reason_string").find(|n| !names.contains(n))
        {
            return Err(format!("{other} is not mentioned"));
        }
    }
    check_json_payload(packet, fields, &mut binds)?;
    *bound = binds;
    Ok(())
}

fn check_field(
    packet: &Packet,
    name: &str,
    wanted: &[&Matcher],
    bound: &mut Bound,
) -> Result<(), String> {
    let mut held = values(packet, name).unwrap_or_default();
    if let [Matcher::Ok] = wanted {
        let is_ok = packet.code < 0x80 && packet.codes.iter().all(|code| *code < 0x80);
        return if is_ok { Ok(()) } else { Err("a code below 0x80 is expected".to_owned()) };
    }
    if let [Matcher::Absent] = wanted {
        return if held.is_empty() { Ok(()) } else { Err(format!("{name} must be absent")) };
    }
    if held.len() != wanted.len() {
        return Err(format!("{name} is there {} times, not {}", held.len(), wanted.len()));
    }
    let mut wanted = wanted.to_vec();
    if name == "subscription_identifier" {
        // Their order means nothing.
        held.sort();
        wanted.sort_by_key(|matcher| format!("{matcher:?}"));
    }
    for (value, matcher) in held.iter().zip(wanted) {
        check_value(name, value, matcher, bound)?;
    }
    Ok(())
}

fn check_value(
    name: &str,
    value: &[u8],
    matcher: &Matcher,
    bound: &mut Bound,
) -> Result<(), String> {
    let shown = || String::from_utf8_lossy(value).chars().take(80).collect::<String>();
    match matcher {
        Matcher::Is(wanted) if wanted == value => Ok(()),
        Matcher::Is(_) | Matcher::Ok | Matcher::Absent => Err(format!("{name} is {}", shown())),
        Matcher::Any => Ok(()),
        Matcher::Bound(to) => {
            let held = bound.entry(to.clone()).or_insert_with(shown);
            if held.as_bytes() == value {
                Ok(())
            } else {
                Err(format!("{name} is {}, @{to} is {held}", shown()))
            }
        }
    }
}

fn check_json_payload(packet: &Packet, fields: &[Field], bound: &mut Bound) -> Result<(), String> {
    let wanted: Vec<Field> = fields
        .iter()
        .filter_map(|field| {
            let name = field.name.strip_prefix("json.")?.to_owned();
            Some(Field { name, matcher: field.matcher.clone() })
        })
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let json = serde_json::from_slice(&packet.payload).map_err(|_| "payload is not JSON")?;
    check_json(&json, &wanted, bound)
}

/// Whether a document has these fields: `a.b`, `a.0.b` and `a.len`.
pub(crate) fn check_json(json: &Json, fields: &[Field], bound: &mut Bound) -> Result<(), String> {
    for field in fields {
        let found = find(json, &field.name);
        match (&field.matcher, found) {
            (Matcher::Absent, None) => {}
            (_, None) => return Err(format!("{} is absent", field.name)),
            (matcher, Some(value)) => {
                check_value(&field.name, value.as_bytes(), matcher, bound)?;
            }
        }
    }
    Ok(())
}

fn find(json: &Json, path: &str) -> Option<String> {
    let mut at = json;
    for part in path.split('.') {
        at = match at {
            Json::Object(members) => members.get(part)?,
            Json::Array(items) if part == "len" => return Some(items.len().to_string()),
            Json::Array(items) => items.get(part.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    match at {
        Json::Null => None,
        Json::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}
