//! Lines as durable state: each is checked as a packet or a request would be.

use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::sync::Arc;

use bitts_aws::shadow::{Shadow, ShadowId};
use bitts_broker::record::{
    Gone, LogId, Record, SavedIdentity, SavedOwed, SavedPrincipal, SavedSession, SavedSubscription,
    SavedWill, Stage,
};
use bitts_broker::recover::Untaken;
use bitts_broker::{Cause, Message, NameKey, SHARDS_MAX, ShardId, ShardSet, Violation};
use bitts_mqtt::{
    ProtocolVersion, PublishProperties, QoS, RetainHandling, SubscriptionOptions,
    UserPropertiesBuf, check_filter, check_topic,
};
use bytes::Bytes;
use data_encoding::{BASE64, HEXLOWER};

use super::line::{
    Body, GoneLine, IdentityText, LogText, MessageText, NOW, OwedLine, PrincipalLine,
    PropertiesText, SessionLine, ShadowLine, SubscriptionText, UntakenLine, WillText,
};

/// What is wrong with a line.
type Read<T> = Result<T, String>;

/// Largest Subscription Identifier, which is a Variable Byte Integer.
const SUBSCRIPTION_IDENTIFIER_MAX: u32 = 268_435_455;

pub(super) fn session(line: SessionLine) -> Read<Record> {
    let mut held = Vec::with_capacity(line.subscriptions.len());
    for subscription in line.subscriptions {
        held.push(read_subscription(subscription)?);
    }
    let detached = match line.disconnected {
        Some(it) => Some((it.at_unix_ms, cause(&it.reason)?)),
        None => None,
    };
    if line.received.contains(&0) {
        return Err("0 is no Packet Identifier".to_owned());
    }
    Ok(Record::Session(Box::new(SavedSession {
        client_id: name(line.client_id)?,
        version: version(&line.protocol)?,
        expiry: line.expiry_seconds,
        keep_alive: line.keep_alive_seconds,
        version_number: line.version_number,
        identifier: identifier(&line.connection)?,
        detached,
        principal: None,
        will: line.will.map(will).transpose()?.map(Box::new),
        subscriptions: held.into_iter().collect(),
        received: line.received.into_iter().collect(),
        owed: VecDeque::new(),
        pages: VecDeque::new(),
    })))
}

fn will(text: WillText) -> Read<SavedWill> {
    Ok(SavedWill {
        message: Arc::new(message(text.message)?),
        delay_seconds: text.delay_seconds,
        message_expiry_interval: text.message_expiry_seconds,
    })
}

fn read_subscription(text: SubscriptionText) -> Read<(Arc<str>, SavedSubscription)> {
    let options = SubscriptionOptions {
        qos: qos(text.qos)?,
        no_local: text.no_local,
        retain_as_published: text.retain_as_published,
        retain_handling: match text.retain_handling {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            other => return Err(format!("{other} is no Retain Handling")),
        },
    };
    let identifier = subscription_identifier(text.identifier)?;
    Ok((filter(text.filter)?, SavedSubscription { options, identifier }))
}

pub(super) fn principal(line: PrincipalLine) -> Read<Record> {
    let identity = match line.identity {
        IdentityText::Anonymous => SavedIdentity::Anonymous,
        IdentityText::Certificate(id) => {
            SavedIdentity::Certificate(digits(&id).ok_or("a certificate's id is 64 digits")?)
        }
        IdentityText::AccessKey(id) => SavedIdentity::AccessKey(id.into()),
        IdentityText::User(name) => SavedIdentity::User(name.into()),
        IdentityText::Authorizer { principal_id, documents } => SavedIdentity::Authorizer {
            principal_id: principal_id.into(),
            documents: documents.into_iter().map(Arc::from).collect(),
        },
    };
    let principal = SavedPrincipal {
        identity,
        source: line.source,
        local_port: line.local_port,
        is_secure: line.is_secure,
        names_client: line.names_client,
    };
    Ok(Record::Principal { client_id: name(line.client_id)?, principal: Box::new(principal) })
}

pub(super) fn owed(line: OwedLine) -> Read<Record> {
    let stage = if line.is_released { Stage::Released } else { Stage::Published };
    let packet_id = match line.packet_id {
        Some(id) => Some(NonZeroU16::new(id).ok_or("0 is no Packet Identifier")?.get()),
        None if line.is_released => return Err("what is released has a packetId".to_owned()),
        None => None,
    };
    if line.message.is_none() && !line.is_released {
        return Err("the message is missing".to_owned());
    }
    for identifier in &line.identifiers {
        subscription_identifier(*identifier)?;
    }
    let owed = SavedOwed {
        number: line.number,
        qos: qos(line.qos)?,
        retain: line.retain,
        identifiers: line.identifiers.into_iter().collect(),
        group: line.group.map(filter).transpose()?,
        sent: packet_id.map(|id| (id, stage)),
        message: line.message.map(body).transpose()?,
    };
    Ok(Record::Owed { client_id: name(line.client_id)?, owed })
}

pub(super) fn retained(text: Body) -> Read<Record> {
    Ok(Record::Retained { message: body(text)? })
}

pub(super) fn parked(group: String, number: u64, text: Body) -> Read<Record> {
    Ok(Record::Parked { group: filter(group)?, number, message: body(text)? })
}

pub(super) fn kept(text: MessageText) -> Read<Record> {
    let message = Arc::new(message(text)?);
    if message.log.is_none() {
        return Err("the message has no name: \"log\" is missing".to_owned());
    }
    Ok(Record::Kept { message })
}

pub(super) fn shadow(line: ShadowLine) -> Read<Record> {
    let id = ShadowId::new(&line.thing, line.shadow.as_deref()).map_err(|it| it.to_string())?;
    let state = base64(&line.state_base64)?;
    Shadow::decode(&state).map_err(|it| it.to_string())?;
    let (thing, shadow) = (id.thing().into(), id.name().map(Into::into));
    Ok(Record::Shadow { thing, shadow, state: state.into() })
}

pub(super) fn gone(line: GoneLine) -> Read<Record> {
    Ok(Record::Gone(Box::new(Gone {
        client_id: name(line.client_id)?,
        at_unix_ms: line.at_unix_ms,
        cause: line.reason.as_deref().map(cause).transpose()?,
        keep_alive: line.keep_alive_seconds,
        expiry: line.expiry_seconds,
        version: version(&line.protocol)?,
        version_number: line.version_number,
        identifier: identifier(&line.connection)?,
    })))
}

pub(super) fn untaken(line: UntakenLine) -> Read<Untaken> {
    let message = Arc::new(message(line.message)?);
    if message.log.is_none() {
        return Err("the message has no name: \"log\" is missing".to_owned());
    }
    let mut others = ShardSet::EMPTY;
    for number in line.shards {
        others = others.union(ShardSet::only(shard(number)?));
    }
    Ok(Untaken { message, others, to_retain: line.to_retain })
}

/// What names a directory.
pub(super) fn identifier(text: &str) -> Read<u128> {
    let bytes = digits(text).ok_or_else(|| format!("{text:?} is not 32 hexadecimal digits"))?;
    Ok(u128::from_be_bytes(bytes))
}

fn digits<const N: usize>(text: &str) -> Option<[u8; N]> {
    HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
}

fn shard(number: u8) -> Read<ShardId> {
    if number < SHARDS_MAX { Ok(ShardId(number)) } else { Err(format!("no shard {number}")) }
}

fn name(text: String) -> Read<Arc<str>> {
    if text.is_empty() || text.len() > 65_535 || text.contains('\0') {
        return Err(format!("{text:?} is no Client Identifier"));
    }
    Ok(text.into())
}

fn filter(text: String) -> Read<Arc<str>> {
    check_filter(&text).map_err(|_| format!("{text:?} is no Topic Filter"))?;
    Ok(text.into())
}

fn subscription_identifier(number: u32) -> Read<u32> {
    if number > SUBSCRIPTION_IDENTIFIER_MAX {
        return Err(format!("{number} is no Subscription Identifier"));
    }
    Ok(number)
}

fn version(text: &str) -> Read<ProtocolVersion> {
    match text {
        "3.1.1" => Ok(ProtocolVersion::V3_1_1),
        "5" => Ok(ProtocolVersion::V5),
        other => Err(format!("{other:?} is no protocol: 3.1.1 or 5 is expected")),
    }
}

fn qos(number: u8) -> Read<QoS> {
    match number {
        0 => Ok(QoS::Zero),
        1 => Ok(QoS::One),
        2 => Ok(QoS::Two),
        other => Err(format!("{other} is no QoS")),
    }
}

/// Which rule a client broke is not kept.
fn cause(reason: &str) -> Read<Cause> {
    let causes = [
        Cause::ClientInitiated,
        Cause::ClientError(Violation::Earlier),
        Cause::AuthError,
        Cause::ConnectionLost,
        Cause::DuplicateClientId,
        Cause::KeepAliveTimeout,
        Cause::ServerInitiated,
        Cause::ApiInitiated,
        Cause::ForbiddenAccess,
        Cause::WebSocketTtlExpiration,
        Cause::CustomAuthTtlExpiration,
    ];
    let found = causes.into_iter().find(|it| it.disconnect_reason().as_str() == reason);
    found.ok_or_else(|| format!("{reason:?} is no reason"))
}

fn base64(text: &str) -> Read<Vec<u8>> {
    BASE64.decode(text.as_bytes()).map_err(|error| format!("not base64: {error}"))
}

/// A message; where it is named, only the name is in the journal, so there need be no more.
fn body(text: Body) -> Read<Arc<Message>> {
    match text {
        Body::Whole(text) => Ok(Arc::new(message(*text)?)),
        Body::Named(log) => Ok(Arc::new(Message {
            topic: "".into(),
            payload: Bytes::new(),
            properties: [].into(),
            qos: QoS::Zero,
            retain: false,
            publisher: NameKey::default(),
            expires_at: None,
            accepted_unix_ms: 0,
            log: Some(log_id(&log)?),
        })),
    }
}

fn log_id(text: &LogText) -> Read<LogId> {
    Ok(LogId { shard: shard(text.shard)?, number: text.number })
}

fn message(text: MessageText) -> Read<Message> {
    check_topic(&text.topic).map_err(|_| format!("{:?} is no Topic Name", text.topic))?;
    let payload = match (text.payload, text.payload_base64) {
        (Some(text), None) => Bytes::from(text),
        (None, Some(text)) => base64(&text)?.into(),
        _ => return Err("either \"payload\" or \"payloadBase64\" is expected".to_owned()),
    };
    let publisher = match text.publisher {
        Some(key) => digits(&key).ok_or("a publisher is 16 hexadecimal digits")?,
        None => [0; 8],
    };
    Ok(Message {
        topic: text.topic.into(),
        payload,
        properties: properties(&text.properties)?.into(),
        qos: qos(text.qos)?,
        retain: text.retain,
        publisher: NameKey(u64::from_be_bytes(publisher)),
        expires_at: text.expires_unix_ms.map(|at| NOW.moment_of(at)),
        accepted_unix_ms: text.accepted_unix_ms,
        log: text.log.as_ref().map(log_id).transpose()?,
    })
}

fn properties(text: &PropertiesText) -> Read<Vec<u8>> {
    let correlation = text.correlation_data_base64.as_deref().map(base64).transpose()?;
    if let Some(topic) = &text.response_topic {
        check_topic(topic).map_err(|_| format!("{topic:?} is no Topic Name"))?;
    }
    let mut user = UserPropertiesBuf::new();
    let is_short = text.user_properties.iter().all(|(name, value)| user.push(name, value));
    let content_type = text.content_type.as_deref();
    let len = correlation.as_ref().map_or(0, Vec::len).max(content_type.map_or(0, str::len));
    if !is_short || len > 65_535 {
        return Err("a property is longer than 65535 bytes".to_owned());
    }
    let mut encoded = Vec::new();
    let properties = PublishProperties {
        payload_format_indicator: text.payload_format_indicator,
        content_type,
        response_topic: text.response_topic.as_deref(),
        correlation_data: correlation.as_deref(),
        user_properties: user.as_properties(),
        ..PublishProperties::default()
    };
    properties.encode_forwarded(&mut encoded);
    Ok(encoded)
}
