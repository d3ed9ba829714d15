//! Payloads and topics of lifecycle events (contract `mqtt-broker.md` §9), to the letter.

use serde::Serialize;

macro_rules! disconnect_reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// Why a connection ended, in AWS's words.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum DisconnectReason { $($(#[$doc])* $name,)* }

        impl DisconnectReason {
            /// AWS's word.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

disconnect_reasons! {
    /// Authentication or authorisation failed.
    AuthError = "AUTH_ERROR";
    /// DISCONNECT packet or WebSocket Close frame.
    ClientInitiatedDisconnect = "CLIENT_INITIATED_DISCONNECT";
    /// The client broke a rule of the protocol.
    ClientError = "CLIENT_ERROR";
    /// The network connection broke.
    ConnectionLost = "CONNECTION_LOST";
    /// Another connection took the client id over.
    DuplicateClientId = "DUPLICATE_CLIENTID";
    /// Not allowed to be connected.
    ForbiddenAccess = "FORBIDDEN_ACCESS";
    /// Silent for one and a half times the keep-alive.
    MqttKeepAliveTimeout = "MQTT_KEEP_ALIVE_TIMEOUT";
    /// A fault of the server.
    ServerError = "SERVER_ERROR";
    /// Drain or restart.
    ServerInitiatedDisconnect = "SERVER_INITIATED_DISCONNECT";
    /// DeleteConnection.
    ApiInitiatedDisconnect = "API_INITIATED_DISCONNECT";
    /// Over a limit.
    Throttled = "THROTTLED";
    /// A WebSocket connection older than its time to live.
    WebsocketTtlExpiration = "WEBSOCKET_TTL_EXPIRATION";
    /// The authorizer's time to live passed.
    CustomauthTtlExpiration = "CUSTOMAUTH_TTL_EXPIRATION";
}

/// `$aws/events/{event}/{clientId}`; `event` is such as `presence/connected`.
#[must_use]
pub fn event_topic(event: &str, client_id: &str) -> String {
    format!("$aws/events/{event}/{client_id}")
}

/// `connected`. `timestamp` in milliseconds since 1970.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the contract's names")]
pub struct Connected<'a> {
    pub client_id: &'a str,
    /// Only of a principal that speaks for this thing alone.
    pub thing_name: Option<&'a str>,
    pub timestamp: u64,
    pub session_identifier: &'a str,
    pub principal_identifier: &'a str,
    pub ip_address: &'a str,
    pub version_number: u64,
}

/// `disconnected`; `clientInitiatedDisconnect` follows from the reason.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the contract's names")]
pub struct Disconnected<'a> {
    pub client_id: &'a str,
    /// Only of a principal that speaks for this thing alone.
    pub thing_name: Option<&'a str>,
    pub timestamp: u64,
    pub session_identifier: &'a str,
    pub principal_identifier: &'a str,
    pub reason: DisconnectReason,
    pub version_number: u64,
}

/// `subscribed` and `unsubscribed`.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the contract's names")]
pub struct Subscriptions<'a> {
    pub client_id: &'a str,
    /// Only of a principal that speaks for this thing alone.
    pub thing_name: Option<&'a str>,
    pub timestamp: u64,
    pub session_identifier: &'a str,
    pub principal_identifier: &'a str,
    pub topics: &'a [&'a str],
}

/// Every field that events have, in the contract's order; absent ones are left out.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Payload<'a> {
    client_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    thing_name: Option<&'a str>,
    timestamp: u64,
    event_type: &'a str,
    session_identifier: &'a str,
    principal_identifier: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip_address: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_initiated_disconnect: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disconnect_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version_number: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topics: Option<&'a [&'a str]>,
}

impl Payload<'_> {
    fn json(&self) -> Vec<u8> {
        // Strings and numbers only: there is nothing that cannot be written.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl Connected<'_> {
    /// The payload.
    #[must_use]
    pub fn json(&self) -> Vec<u8> {
        Payload {
            client_id: self.client_id,
            thing_name: self.thing_name,
            timestamp: self.timestamp,
            event_type: "connected",
            session_identifier: self.session_identifier,
            principal_identifier: self.principal_identifier,
            ip_address: Some(self.ip_address),
            client_initiated_disconnect: None,
            disconnect_reason: None,
            version_number: Some(self.version_number),
            topics: None,
        }
        .json()
    }
}

impl Disconnected<'_> {
    /// The payload.
    #[must_use]
    pub fn json(&self) -> Vec<u8> {
        let by_client = self.reason == DisconnectReason::ClientInitiatedDisconnect;
        Payload {
            client_id: self.client_id,
            thing_name: self.thing_name,
            timestamp: self.timestamp,
            event_type: "disconnected",
            session_identifier: self.session_identifier,
            principal_identifier: self.principal_identifier,
            ip_address: None,
            client_initiated_disconnect: Some(by_client),
            disconnect_reason: Some(self.reason.as_str()),
            version_number: Some(self.version_number),
            topics: None,
        }
        .json()
    }
}

impl Subscriptions<'_> {
    /// The payload of `subscribed`.
    #[must_use]
    pub fn subscribed_json(&self) -> Vec<u8> {
        self.json("subscribed")
    }

    /// The payload of `unsubscribed`.
    #[must_use]
    pub fn unsubscribed_json(&self) -> Vec<u8> {
        self.json("unsubscribed")
    }

    fn json(&self, event_type: &str) -> Vec<u8> {
        Payload {
            client_id: self.client_id,
            thing_name: self.thing_name,
            timestamp: self.timestamp,
            event_type,
            session_identifier: self.session_identifier,
            principal_identifier: self.principal_identifier,
            ip_address: None,
            client_initiated_disconnect: None,
            disconnect_reason: None,
            version_number: None,
            topics: Some(self.topics),
        }
        .json()
    }
}

/// Of a certificate that its authority registered at its first connection: topic and payload.
#[must_use]
pub fn certificate_registered(
    certificate_id: &str,
    ca_certificate_id: &str,
    account: &str,
    timestamp: u64,
) -> (String, Vec<u8>) {
    let topic = format!("$aws/events/certificates/registered/{ca_certificate_id}");
    let payload = serde_json::json!({
        "certificateId": certificate_id,
        "caCertificateId": ca_certificate_id,
        "timestamp": timestamp,
        "certificateStatus": "PENDING_ACTIVATION",
        "awsAccountId": account,
        "certificateRegistrationTimestamp": timestamp,
    });
    (topic, payload.to_string().into_bytes())
}

/// `connect_failed`: who it is was proved, and may not connect.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the contract's names")]
pub struct ConnectFailed<'a> {
    pub client_id: &'a str,
    pub timestamp: u64,
    event_type: &'static str,
    connect_failure_reason: &'static str,
    pub principal_identifier: &'a str,
    pub session_identifier: &'a str,
    pub ip_address: &'a str,
}

impl<'a> ConnectFailed<'a> {
    /// Policies do not allow it.
    #[must_use]
    pub fn unauthorized(
        client_id: &'a str,
        timestamp: u64,
        principal_identifier: &'a str,
        session_identifier: &'a str,
        ip_address: &'a str,
    ) -> Self {
        Self {
            client_id,
            timestamp,
            event_type: "connect_failed",
            connect_failure_reason: "AUTHORIZATION_FAILED",
            principal_identifier,
            session_identifier,
            ip_address,
        }
    }

    /// The payload.
    #[must_use]
    pub fn json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of contract `mqtt-broker.md` §9.
    #[test]
    fn payloads_are_the_contracts() {
        let connected = Connected {
            client_id: "186b5",
            thing_name: None,
            timestamp: 1_573_002_230_757,
            session_identifier: "00000000-0000-4000-8000-000000000000",
            principal_identifier: "p",
            ip_address: "192.0.2.0",
            version_number: 0,
        };
        assert_eq!(
            String::from_utf8(connected.json()).unwrap(),
            r#"{"clientId":"186b5","timestamp":1573002230757,"eventType":"connected","sessionIdentifier":"00000000-0000-4000-8000-000000000000","principalIdentifier":"p","ipAddress":"192.0.2.0","versionNumber":0}"#
        );
        let disconnected = Disconnected {
            client_id: "186b5",
            thing_name: None,
            timestamp: 1,
            session_identifier: "s",
            principal_identifier: "p",
            reason: DisconnectReason::ApiInitiatedDisconnect,
            version_number: 3,
        };
        assert_eq!(
            String::from_utf8(disconnected.json()).unwrap(),
            r#"{"clientId":"186b5","timestamp":1,"eventType":"disconnected","sessionIdentifier":"s","principalIdentifier":"p","clientInitiatedDisconnect":false,"disconnectReason":"API_INITIATED_DISCONNECT","versionNumber":3}"#
        );
        let subscribed = Subscriptions {
            client_id: "186b5",
            thing_name: None,
            timestamp: 1,
            session_identifier: "s",
            principal_identifier: "p",
            topics: &["foo/bar", "device/data"],
        };
        assert_eq!(
            String::from_utf8(subscribed.subscribed_json()).unwrap(),
            r#"{"clientId":"186b5","timestamp":1,"eventType":"subscribed","sessionIdentifier":"s","principalIdentifier":"p","topics":["foo/bar","device/data"]}"#
        );
    }
}
