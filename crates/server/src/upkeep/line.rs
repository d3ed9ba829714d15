//! The lines of an export: a JSON object each, as `docs/storage.md` describes them.
//!
//! Reading takes exactly what writing makes. Points of time are milliseconds since 1970; the two
//! clocks of [`NOW`] are the same, so that a line has the moment that the journal has.

use std::net::IpAddr;

use bitts_aws::registry::Table;
use bitts_broker::{Moment, Now};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The version of what follows; others are refused.
pub(super) const FORMAT: u32 = 1;

/// Every moment is a point of time.
pub(super) const NOW: Now = Now { moment: Moment(1 << 42), unix_ms: 1 << 42 };

/// One line.
#[derive(Debug, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "camelCase", deny_unknown_fields)]
pub(super) enum Line {
    /// The first one.
    Export(ExportLine),
    Session(Box<SessionLine>),
    Principal(PrincipalLine),
    Message(MessageText),
    Owed(OwedLine),
    Retained {
        message: Body,
    },
    Parked {
        group: String,
        number: u64,
        message: Body,
    },
    Shadow(ShadowLine),
    Gone(GoneLine),
    Untaken(UntakenLine),
    Registry(RegistryLine),
    /// The last one, and how many there are before it.
    End {
        lines: u64,
    },
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ExportLine {
    pub(super) format: u32,
    /// What names the directory; a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) identity: Option<String>,
    pub(super) shards: u8,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SessionLine {
    pub(super) client_id: String,
    pub(super) protocol: String,
    pub(super) expiry_seconds: u32,
    pub(super) keep_alive_seconds: u16,
    pub(super) version_number: u32,
    pub(super) connection: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) disconnected: Option<Disconnected>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) will: Option<WillText>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) subscriptions: Vec<SubscriptionText>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) received: Vec<u16>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Disconnected {
    pub(super) at_unix_ms: u64,
    pub(super) reason: String,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct WillText {
    pub(super) message: MessageText,
    pub(super) delay_seconds: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) message_expiry_seconds: Option<u32>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SubscriptionText {
    pub(super) filter: String,
    pub(super) qos: u8,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) no_local: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) retain_as_published: bool,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) retain_handling: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) identifier: u32,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PrincipalLine {
    pub(super) client_id: String,
    pub(super) identity: IdentityText,
    pub(super) source: IpAddr,
    pub(super) local_port: u16,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) is_secure: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) names_client: bool,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub(super) enum IdentityText {
    Anonymous,
    Certificate(String),
    AccessKey(String),
    User(String),
    Authorizer { principal_id: String, documents: Vec<String> },
}

/// A message; a payload that is no text is in base64.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct MessageText {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) log: Option<LogText>,
    pub(super) topic: String,
    pub(super) qos: u8,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) retain: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) publisher: Option<String>,
    pub(super) accepted_unix_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expires_unix_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "PropertiesText::is_empty")]
    pub(super) properties: PropertiesText,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) payload: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) payload_base64: Option<String>,
}

/// What every receiver gets with MQTT 5.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PropertiesText {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) payload_format_indicator: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) content_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) response_topic: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) correlation_data_base64: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) user_properties: Vec<(String, String)>,
}

impl PropertiesText {
    fn is_empty(&self) -> bool {
        self.payload_format_indicator.is_none()
            && self.content_type.is_none()
            && self.response_topic.is_none()
            && self.correlation_data_base64.is_none()
            && self.user_properties.is_empty()
    }
}

/// The name of a message that a line before has.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogText {
    pub(super) shard: u8,
    pub(super) number: u64,
}

/// A message, or its name.
#[derive(Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub(super) enum Body {
    Named(LogText),
    Whole(Box<MessageText>),
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct OwedLine {
    pub(super) client_id: String,
    pub(super) number: u64,
    pub(super) qos: u8,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) retain: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) identifiers: Vec<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) group: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) packet_id: Option<u16>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) is_released: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<Body>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ShadowLine {
    pub(super) thing: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) shadow: Option<String>,
    pub(super) state_base64: String,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct GoneLine {
    pub(super) client_id: String,
    pub(super) protocol: String,
    pub(super) expiry_seconds: u32,
    pub(super) keep_alive_seconds: u16,
    pub(super) version_number: u32,
    pub(super) connection: String,
    pub(super) at_unix_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct UntakenLine {
    pub(super) message: MessageText,
    pub(super) shards: Vec<u8>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) to_retain: bool,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RegistryLine {
    pub(super) table: Table,
    pub(super) key: String,
    pub(super) value: Value,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_false(flag: &bool) -> bool {
    !flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}
