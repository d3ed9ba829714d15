//! Durable state as lines.

use bitts_broker::record::{
    Gone, LogId, Record, SavedIdentity, SavedOwed, SavedPrincipal, SavedSession, SavedSubscription,
    SavedWill, Stage,
};
use bitts_broker::recover::Untaken;
use bitts_broker::{Cause, Message, NameKey};
use bitts_mqtt::{ProtocolVersion, PublishProperties, RetainHandling};
use data_encoding::{BASE64, HEXLOWER};

use super::line::{
    Body, Disconnected, GoneLine, IdentityText, Line, LogText, MessageText, NOW, OwedLine,
    PrincipalLine, PropertiesText, SessionLine, ShadowLine, SubscriptionText, UntakenLine,
    WillText,
};

/// The line of a record that a whole state is made of; no other record is a line.
pub(super) fn line_of(record: &Record, with_secrets: bool) -> Option<Line> {
    let body = |message| body(message, with_secrets);
    Some(match record {
        Record::Session(session) => Line::Session(Box::new(session_line(session, with_secrets))),
        Record::Principal { client_id, principal } => {
            Line::Principal(principal_line(client_id, principal))
        }
        Record::Kept { message } => Line::Message(message_text(message, with_secrets)),
        Record::Owed { client_id, owed } => Line::Owed(owed_line(client_id, owed, with_secrets)),
        Record::Retained { message } => Line::Retained { message: body(message) },
        Record::Parked { group, number, message } => {
            let (group, number) = (group.to_string(), *number);
            Line::Parked { group, number, message: body(message) }
        }
        Record::Shadow { thing, shadow, state } => Line::Shadow(ShadowLine {
            thing: thing.to_string(),
            shadow: shadow.as_ref().map(ToString::to_string),
            state_base64: BASE64.encode(state),
        }),
        Record::Gone(gone) => Line::Gone(gone_line(gone)),
        Record::SessionAttached { .. }
        | Record::SessionDetached { .. }
        | Record::SessionEnded { .. }
        | Record::WillDone { .. }
        | Record::Subscribed { .. }
        | Record::Unsubscribed { .. }
        | Record::ReceivedReleased { .. }
        | Record::Paged { .. }
        | Record::Unpaged { .. }
        | Record::Sent { .. }
        | Record::Released { .. }
        | Record::Settled { .. }
        | Record::Unparked { .. } => return None,
    })
}

pub(super) fn untaken_line(untaken: &Untaken, with_secrets: bool) -> Line {
    Line::Untaken(UntakenLine {
        message: message_text(&untaken.message, with_secrets),
        shards: untaken.others.iter().map(|shard| shard.0).collect(),
        to_retain: untaken.to_retain,
    })
}

pub(super) const fn protocol(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::V3_1_1 => "3.1.1",
        ProtocolVersion::V5 => "5",
    }
}

/// A number that says nothing but which one, in 32 hexadecimal digits.
pub(super) fn hex(identifier: u128) -> String {
    HEXLOWER.encode(&identifier.to_be_bytes())
}

fn reason(cause: Cause) -> String {
    cause.disconnect_reason().as_str().to_owned()
}

fn session_line(session: &SavedSession, with_secrets: bool) -> SessionLine {
    let subscriptions = session.subscriptions.iter();
    SessionLine {
        client_id: session.client_id.to_string(),
        protocol: protocol(session.version).to_owned(),
        expiry_seconds: session.expiry,
        keep_alive_seconds: session.keep_alive,
        version_number: session.version_number,
        connection: hex(session.identifier),
        disconnected: session
            .detached
            .map(|(at_unix_ms, cause)| Disconnected { at_unix_ms, reason: reason(cause) }),
        will: session.will.as_deref().map(|will| will_text(will, with_secrets)),
        subscriptions: subscriptions.map(|(filter, held)| subscription(filter, *held)).collect(),
        received: session.received.iter().copied().collect(),
    }
}

fn will_text(will: &SavedWill, with_secrets: bool) -> WillText {
    WillText {
        message: message_text(&will.message, with_secrets),
        delay_seconds: will.delay_seconds,
        message_expiry_seconds: will.message_expiry_interval,
    }
}

fn subscription(filter: &str, held: SavedSubscription) -> SubscriptionText {
    let options = held.options;
    SubscriptionText {
        filter: filter.to_owned(),
        qos: options.qos as u8,
        no_local: options.no_local,
        retain_as_published: options.retain_as_published,
        retain_handling: match options.retain_handling {
            RetainHandling::Send => 0,
            RetainHandling::SendIfNew => 1,
            RetainHandling::DoNotSend => 2,
        },
        identifier: held.identifier,
    }
}

fn principal_line(client_id: &str, principal: &SavedPrincipal) -> PrincipalLine {
    let identity = match &principal.identity {
        SavedIdentity::Anonymous => IdentityText::Anonymous,
        SavedIdentity::Certificate(id) => IdentityText::Certificate(HEXLOWER.encode(id)),
        SavedIdentity::AccessKey(id) => IdentityText::AccessKey(id.to_string()),
        SavedIdentity::User(name) => IdentityText::User(name.to_string()),
        SavedIdentity::Authorizer { principal_id, documents } => IdentityText::Authorizer {
            principal_id: principal_id.to_string(),
            documents: documents.iter().map(ToString::to_string).collect(),
        },
    };
    PrincipalLine {
        client_id: client_id.to_owned(),
        identity,
        source: principal.source,
        local_port: principal.local_port,
        is_secure: principal.is_secure,
        names_client: principal.names_client,
    }
}

fn owed_line(client_id: &str, owed: &SavedOwed, with_secrets: bool) -> OwedLine {
    OwedLine {
        client_id: client_id.to_owned(),
        number: owed.number,
        qos: owed.qos as u8,
        retain: owed.retain,
        identifiers: owed.identifiers.to_vec(),
        group: owed.group.as_ref().map(ToString::to_string),
        packet_id: owed.sent.map(|(packet_id, _)| packet_id),
        is_released: matches!(owed.sent, Some((_, Stage::Released))),
        message: owed.message.as_ref().map(|message| body(message, with_secrets)),
    }
}

fn gone_line(gone: &Gone) -> GoneLine {
    GoneLine {
        client_id: gone.client_id.to_string(),
        protocol: protocol(gone.version).to_owned(),
        expiry_seconds: gone.expiry,
        keep_alive_seconds: gone.keep_alive,
        version_number: gone.version_number,
        connection: hex(gone.identifier),
        at_unix_ms: gone.at_unix_ms,
        reason: gone.cause.map(reason),
    }
}

fn body(message: &Message, with_secrets: bool) -> Body {
    match message.log {
        Some(log) => Body::Named(log_text(log)),
        None => Body::Whole(Box::new(message_text(message, with_secrets))),
    }
}

fn log_text(log: LogId) -> LogText {
    LogText { shard: log.shard.0, number: log.number }
}

/// Whose name a publisher's key is can be found out with the directory's secret, and with it only
/// the key says anything.
fn message_text(message: &Message, with_secrets: bool) -> MessageText {
    let (payload, payload_base64) = match std::str::from_utf8(&message.payload) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (None, Some(BASE64.encode(&message.payload))),
    };
    let is_known = with_secrets && message.publisher != NameKey::default();
    MessageText {
        log: message.log.map(log_text),
        topic: message.topic.to_string(),
        qos: message.qos as u8,
        retain: message.retain,
        publisher: is_known.then(|| HEXLOWER.encode(&message.publisher.0.to_be_bytes())),
        accepted_unix_ms: message.accepted_unix_ms,
        expires_unix_ms: message.expires_at.map(|at| NOW.unix_ms_of(at)),
        properties: properties(&message.properties),
        payload,
        payload_base64,
    }
}

fn properties(encoded: &[u8]) -> PropertiesText {
    let properties = PublishProperties::from_forwarded(encoded);
    let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    PropertiesText {
        payload_format_indicator: properties.payload_format_indicator,
        content_type: properties.content_type.map(str::to_owned),
        response_topic: properties.response_topic.map(str::to_owned),
        correlation_data_base64: properties.correlation_data.map(|data| BASE64.encode(data)),
        user_properties: properties.user_properties.iter().map(pair).collect(),
    }
}
