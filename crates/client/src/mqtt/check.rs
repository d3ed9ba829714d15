//! What can be sent at all: checked before a packet is written, because encoding does not fail.

use bitts_mqtt::{ProtocolVersion, check_filter, check_topic};

use super::error::Invalid;
use super::options::{ConnectOptions, Disconnect, Filter, MessageProperties, Publish};

/// Bytes of a text or of binary data.
const FIELD_BYTES_MAX: usize = 65_535;

/// The largest Subscription Identifier.
const SUBSCRIPTION_IDENTIFIER_MAX: u32 = 268_435_455;

fn text(text: &str) -> Result<(), Invalid> {
    if text.contains('\0') { Err(Invalid::Nul) } else { binary(text.as_bytes()) }
}

fn binary(data: &[u8]) -> Result<(), Invalid> {
    if data.len() > FIELD_BYTES_MAX { Err(Invalid::TooLong) } else { Ok(()) }
}

fn user_properties(list: &[(String, String)]) -> Result<(), Invalid> {
    list.iter().try_for_each(|(name, value)| text(name).and_then(|()| text(value)))
}

fn properties(properties: &MessageProperties) -> Result<(), Invalid> {
    if let Some(topic) = &properties.response_topic {
        check_topic(topic).map_err(Invalid::Topic)?;
    }
    properties.content_type.as_deref().map_or(Ok(()), text)?;
    properties.correlation_data.as_deref().map_or(Ok(()), binary)?;
    user_properties(&properties.user_properties)
}

pub(super) fn connect(options: &ConnectOptions) -> Result<(), Invalid> {
    text(&options.client_id)?;
    options.username.as_deref().map_or(Ok(()), text)?;
    options.password.as_deref().map_or(Ok(()), binary)?;
    user_properties(&options.user_properties)?;
    if let Some(will) = &options.will {
        check_topic(&will.topic).map_err(Invalid::Topic)?;
        binary(&will.payload)?;
        properties(&will.properties)?;
    }
    if options.version == ProtocolVersion::V5 {
        return Ok(());
    }
    if options.password.is_some() && options.username.is_none() {
        return Err(Invalid::PasswordWithoutUserName);
    }
    if options.client_id.is_empty() && !options.clean_start {
        return Err(Invalid::ClientIdentifierEmpty);
    }
    Ok(())
}

pub(super) fn publish(publish: &Publish, version: ProtocolVersion) -> Result<(), Invalid> {
    let by_alias =
        publish.topic.is_empty() && publish.topic_alias.is_some() && version == ProtocolVersion::V5;
    if !by_alias {
        check_topic(&publish.topic).map_err(Invalid::Topic)?;
    }
    properties(&publish.properties)
}

pub(super) fn subscribe(filters: &[Filter], identifier: Option<u32>) -> Result<(), Invalid> {
    if identifier.is_some_and(|id| !(1..=SUBSCRIPTION_IDENTIFIER_MAX).contains(&id)) {
        return Err(Invalid::SubscriptionIdentifier);
    }
    unsubscribe(filters.iter().map(|filter| filter.filter.as_str()))
}

pub(super) fn unsubscribe<'a>(filters: impl Iterator<Item = &'a str>) -> Result<(), Invalid> {
    let mut filters = filters.peekable();
    if filters.peek().is_none() {
        return Err(Invalid::NoFilter);
    }
    filters.try_for_each(|filter| check_filter(filter).map_err(Invalid::Filter))
}

/// A DISCONNECT is sent in any case; what it cannot say is left out.
pub(super) fn disconnect(disconnect: &Disconnect) -> Disconnect {
    let reason_string = disconnect.reason_string.clone().filter(|reason| text(reason).is_ok());
    let is_valid = user_properties(&disconnect.user_properties).is_ok();
    let user_properties = if is_valid { disconnect.user_properties.clone() } else { Vec::new() };
    Disconnect { reason_string, user_properties, server_reference: None, ..disconnect.clone() }
}
