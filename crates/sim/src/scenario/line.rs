//! What a line of a script says is to be done, or must be seen.

use std::collections::BTreeMap;

use super::expect::{Field, Matcher};
use super::run::Special;
use super::token::{Token, tokens};
use crate::machine::Request;
use crate::packet::{Filter, Kind, Packet, Property, Version, Will};

/// Values that earlier lines bound.
pub(crate) type Bound = BTreeMap<String, String>;

/// One line.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// `a > PACKET …`
    Send { actor: String, packet: Box<Packet> },
    /// `a > hex …`
    Bytes { actor: String, bytes: Vec<u8> },
    /// `a > close`
    HangUp { actor: String },
    /// `api > OPERATION …` or `api > VERB PATH …`
    Call { actor: String, request: Request },
    /// `a < PACKET …`, `a <~ PACKET …`: the next packet, or any that came.
    Expect { actor: String, kind: Kind, fields: Vec<Field>, in_order: bool },
    /// `api < STATUS …`
    Answer { actor: String, statuses: Vec<u16>, fields: Vec<Field> },
    /// `a < nothing`
    Nothing { actor: String },
    /// `a | closed`
    Closed { actor: String },
    /// `a | ignored`: what comes from now on is not looked at.
    Ignored { actor: String },
    /// `a | stalls` and the like.
    Special { actor: String, special: Special },
    /// `advance 30s`
    Advance { millis: u64 },
}

/// Whether a line can be read, whatever is bound when it is played.
pub(crate) fn check(text: &str) -> Result<(), String> {
    read(text, None).map(drop)
}

/// Reads a line; without `bound` any name counts as bound.
pub(crate) fn read(text: &str, bound: Option<&Bound>) -> Result<Action, String> {
    if let Some(duration) = text.strip_prefix("advance ") {
        return Ok(Action::Advance { millis: millis(duration.trim())? });
    }
    let mut words = text.splitn(3, ' ');
    let (Some(actor), Some(sign), Some(rest)) = (words.next(), words.next(), words.next()) else {
        return Err("ACTOR > …, ACTOR < …, ACTOR | … or advance …".to_owned());
    };
    let actor = actor.to_owned();
    match sign {
        ">" => sent(actor, rest.trim(), bound),
        "<" | "<~" => expected(actor, rest.trim(), sign == "<"),
        "|" => state(actor, rest.trim()),
        other => Err(format!("`{other}`: one of > < <~ | is expected")),
    }
}

fn millis(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| format!("`{text}` is no duration"))?;
    match unit {
        "ms" => Ok(number),
        "s" => Ok(number * 1000),
        "m" => Ok(number * 60_000),
        "h" => Ok(number * 3_600_000),
        "d" => Ok(number * 86_400_000),
        _ => Err(format!("`{text}`: ms, s, m, h or d is expected")),
    }
}

fn state(actor: String, rest: &str) -> Result<Action, String> {
    Ok(match rest {
        "closed" => Action::Closed { actor },
        "ignored" => Action::Ignored { actor },
        "stalls" => Action::Special { actor, special: Special::Stalls },
        "reads" => Action::Special { actor, special: Special::Reads },
        "given up: not reading" => Action::Special { actor, special: Special::NotReading },
        "given up: packet too slow" => Action::Special { actor, special: Special::PacketTooSlow },
        "says close" => Action::Special { actor, special: Special::SaysClose },
        "shuts down" => Action::Special { actor, special: Special::ShutDown },
        other => return Err(format!("`{other}` is no state")),
    })
}

fn sent(actor: String, rest: &str, bound: Option<&Bound>) -> Result<Action, String> {
    let (first, after) = rest.split_once(' ').unwrap_or((rest, ""));
    match first {
        "close" => return Ok(Action::HangUp { actor }),
        "hex" => return Ok(Action::Bytes { actor, bytes: hex(after)? }),
        _ => {}
    }
    let mut words = tokens(after)?;
    for word in words.iter_mut().filter(|word| !word.quoted) {
        resolve(word, bound)?;
    }
    let Some(kind) = Kind::from_name(first) else {
        return Ok(Action::Call { actor, request: request(first, &words)? });
    };
    Ok(Action::Send { actor, packet: Box::new(packet(kind, &words)?) })
}

/// Puts what is bound in the place of `@name`.
fn resolve(word: &mut Token, bound: Option<&Bound>) -> Result<(), String> {
    let Some(name) = word.value.strip_prefix(b"@") else { return Ok(()) };
    let name = String::from_utf8_lossy(name).into_owned();
    word.value = match bound {
        None => b"1".to_vec(),
        Some(bound) => {
            let value = bound.get(&name).ok_or_else(|| format!("@{name} is not bound"))?;
            value.clone().into_bytes()
        }
    };
    Ok(())
}

/// Bytes: pairs of digits, and quoted strings for themselves.
fn hex(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    for word in tokens(text)? {
        if word.quoted {
            bytes.extend_from_slice(&word.value);
            continue;
        }
        let digits = word.text()?;
        let byte = (digits.len() == 2).then(|| u8::from_str_radix(digits, 16).ok()).flatten();
        bytes.push(byte.ok_or_else(|| format!("`{digits}` is not a byte in hex"))?);
    }
    Ok(bytes)
}

fn packet(kind: Kind, words: &[Token]) -> Result<Packet, String> {
    let mut packet = Packet::new(kind);
    packet.clean_start = true;
    if matches!(kind, Kind::Subscribe | Kind::Unsubscribe) {
        packet.packet_id = Some(1);
    }
    for word in words {
        let is_taken = match kind {
            Kind::Connect => connect_word(&mut packet, word)?,
            Kind::Subscribe | Kind::Unsubscribe => filter_word(&mut packet, word)?,
            _ => false,
        };
        if !is_taken {
            packet_word(&mut packet, word)?;
        }
    }
    Ok(packet)
}

fn packet_word(packet: &mut Packet, word: &Token) -> Result<(), String> {
    match word.name.as_str() {
        "" => packet.code = code(word.text()?)?,
        "topic" => word.text()?.clone_into(&mut packet.topic),
        "payload" => packet.payload.clone_from(&word.value),
        "qos" => packet.qos = word.number()? as u8,
        "retain" => packet.retain = word.flag()?,
        "dup" => packet.dup = word.flag()?,
        "id" => packet.packet_id = Some(word.number()? as u16),
        name => match Property::parse(name, &word.value)? {
            Some(property) => packet.properties.push(property),
            None => return Err(format!("{} has no `{name}`", packet.kind.name())),
        },
    }
    Ok(())
}

fn connect_word(packet: &mut Packet, word: &Token) -> Result<bool, String> {
    match (word.name.as_str(), word.text().unwrap_or_default()) {
        ("", "v3") => packet.version = Version::V3,
        ("", "v5") => packet.version = Version::V5,
        ("", other) => return Err(format!("`{other}`: v3 or v5 is expected")),
        ("client", client) => client.clone_into(&mut packet.client_id),
        ("clean_start", _) => packet.clean_start = word.flag()?,
        ("keep_alive", _) => packet.keep_alive = word.number()? as u16,
        ("username", name) => packet.username = Some(name.to_owned()),
        ("password", _) => packet.password = Some(word.value.clone()),
        ("will", topic) => {
            topic.clone_into(&mut packet.will.get_or_insert_default().topic);
        }
        (name, _) => match name.strip_prefix("will_") {
            Some(field) => will_word(packet.will.get_or_insert_default(), field, word)?,
            None => return Ok(false),
        },
    }
    Ok(true)
}

fn will_word(will: &mut Will, field: &str, word: &Token) -> Result<(), String> {
    match field {
        "payload" => will.payload.clone_from(&word.value),
        "qos" => will.qos = word.number()? as u8,
        "retain" => will.retain = word.flag()?,
        _ => {
            let name = if field == "delay" { "will_delay" } else { field };
            let property = Property::parse(name, &word.value)?;
            will.properties.push(property.ok_or_else(|| format!("a Will has no `{field}`"))?);
        }
    }
    Ok(())
}

fn filter_word(packet: &mut Packet, word: &Token) -> Result<bool, String> {
    let option = match word.name.as_str() {
        "filter" => {
            let filter = word.text()?.to_owned();
            packet.filters.push(Filter { filter, options: 0 });
            return Ok(true);
        }
        "qos" => word.number()?,
        "no_local" => word.number()? << 2,
        "rap" => word.number()? << 3,
        "rh" => word.number()? << 4,
        // The whole byte, for values that no client should send.
        "options" => word.number()?,
        _ => return Ok(false),
    };
    let last = packet.filters.last_mut().ok_or("an option before the first filter")?;
    last.options |= option as u8;
    Ok(true)
}

fn code(text: &str) -> Result<u8, String> {
    match text.strip_prefix("0x") {
        _ if text == "success" => Ok(0),
        Some(digits) => u8::from_str_radix(digits, 16).map_err(|_| format!("`{text}` is no code")),
        None => Err(format!("`{text}`: success or 0x… is expected")),
    }
}

fn request(first: &str, words: &[Token]) -> Result<Request, String> {
    let mut request = Request { method: first.to_owned(), ..Request::default() };
    let find = |name: &str| words.iter().find(|word| word.name == name);
    let escaped = |name: &str| find(name).map(|word| escape(&word.value)).unwrap_or_default();
    let (method, path, used) = match first {
        "DeleteConnection" => ("DELETE", format!("/connections/{}", escaped("client")), "client"),
        "GetConnection" => ("GET", format!("/connections/{}", escaped("client")), "client"),
        "ListSubscriptions" => {
            ("GET", format!("/connections/{}/subscriptions", escaped("client")), "client")
        }
        "Publish" => ("POST", format!("/topics/{}", escaped("topic")), "topic"),
        "GetRetainedMessage" => ("GET", format!("/retainedMessage/{}", escaped("topic")), "topic"),
        "ListRetainedMessages" => ("GET", "/retainedMessage".to_owned(), ""),
        "GET" | "POST" | "PUT" | "DELETE" => {
            let target = words.first().ok_or("VERB PATH")?.text()?;
            let (path, query) = match target.split_once('?') {
                Some((path, query)) => (path, Some(query.to_owned())),
                None => (target, None),
            };
            request.query = query;
            (first, path.to_owned(), "")
        }
        other => return Err(format!("`{other}` is no packet and no operation")),
    };
    method.clone_into(&mut request.method);
    request.path = path;
    let mut query: Vec<String> = request.query.take().into_iter().collect();
    for word in words.iter().filter(|word| !word.name.is_empty() && word.name != used) {
        match word.name.as_str() {
            "payload" => request.body.clone_from(&word.value),
            name if name.starts_with("x-") => {
                request.headers.push((name.to_owned(), word.text()?.to_owned()));
            }
            name => query.push(format!("{name}={}", escape(&word.value))),
        }
    }
    request.query = (!query.is_empty()).then(|| query.join("&"));
    Ok(request)
}

/// As AWS's SDKs escape labels and values.
fn escape(value: &[u8]) -> String {
    let escape = |byte: &u8| match byte {
        byte if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) => {
            char::from(*byte).to_string()
        }
        byte => format!("%{byte:02X}"),
    };
    value.iter().map(escape).collect()
}

fn expected(actor: String, rest: &str, in_order: bool) -> Result<Action, String> {
    if rest == "nothing" {
        return Ok(Action::Nothing { actor });
    }
    let (first, after) = rest.split_once(' ').unwrap_or((rest, ""));
    let words = tokens(after)?;
    if let Ok(statuses) = first.split('|').map(str::parse).collect::<Result<Vec<u16>, _>>() {
        let fields = words.iter().map(field).collect::<Result<_, _>>()?;
        return Ok(Action::Answer { actor, statuses, fields });
    }
    let kind = Kind::from_name(first).ok_or_else(|| format!("`{first}` is no packet"))?;
    let mut fields: Vec<Field> = words.iter().map(field).collect::<Result<_, _>>()?;
    let has_id = fields.iter().any(|field| field.name == "id");
    match kind {
        Kind::SubAck | Kind::UnsubAck if !has_id => {
            fields.push(Field { name: "id".to_owned(), matcher: Matcher::Is(b"1".to_vec()) });
        }
        Kind::PubAck | Kind::PubRec | Kind::PubRel | Kind::PubComp if !has_id => {
            return Err(format!("{first} needs id="));
        }
        _ => {}
    }
    Ok(Action::Expect { actor, kind, fields, in_order })
}

fn field(word: &Token) -> Result<Field, String> {
    if word.name.is_empty() {
        let text = word.text()?;
        let matcher = if text == "ok" {
            Matcher::Ok
        } else {
            Matcher::Is(code(text)?.to_string().into_bytes())
        };
        return Ok(Field { name: "code".to_owned(), matcher });
    }
    let matcher = match (word.value.as_slice(), word.quoted) {
        (b"*", false) => Matcher::Any,
        (b"-", false) => Matcher::Absent,
        ([b'@', name @ ..], false) => Matcher::Bound(String::from_utf8_lossy(name).into_owned()),
        (value, _) if word.name == "codes" => Matcher::Is(codes(value)?.into_bytes()),
        (value, _) => Matcher::Is(value.to_vec()),
    };
    Ok(Field { name: word.name.clone(), matcher })
}

/// `0,1,0x8F` in one form.
fn codes(value: &[u8]) -> Result<String, String> {
    let text = String::from_utf8_lossy(value);
    let numbers = text.split(',').map(|part| {
        let value = part.as_bytes().to_vec();
        Token { name: "codes".to_owned(), value, quoted: false }.number()
    });
    let numbers = numbers.collect::<Result<Vec<u32>, _>>()?;
    Ok(numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(","))
}
