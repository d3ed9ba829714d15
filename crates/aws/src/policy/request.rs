//! What is to be decided: who asks, from where, to do what, with which resource.
//!
//! A [`Request`] borrows everything; nothing of it is copied to decide. What conditions may ask
//! about is fixed by its types: an HTTP request has no [`MqttConnection`], so `iot:ClientId` and
//! the thing's variables have no value there (contract `policies.md` §4, `data-plane-http.md` §7).

use core::net::IpAddr;
use std::collections::BTreeMap;

use super::action::Action;
use super::arn::Arn;
use super::certificate::{Certificate, CertificateValue};
use super::key::{Key, Pick, Source};

/// Who asks.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Principal {
    /// Somebody of whom policies know nothing: a custom authorizer's client, an access key.
    #[default]
    Unnamed,
    /// Who holds an X.509 certificate.
    Certificate(Box<Certificate>),
    /// A Cognito identity, by its id: `cognito-identity.amazonaws.com:sub`.
    Cognito(Box<str>),
    /// A user with an access key: `aws:username`.
    User(Box<str>),
}

/// The thing that a connection speaks for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Thing {
    /// The thing's name.
    pub name: String,
    /// Its type.
    pub type_name: Option<String>,
    /// Its attributes, 50 at most.
    pub attributes: BTreeMap<String, String>,
}

/// An MQTT connection, over TCP or WebSocket.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct MqttConnection {
    /// The Client Identifier.
    pub client_id: String,
    /// The thing whose name is the Client Identifier, if the principal is attached to it.
    pub thing: Option<Thing>,
}

/// Where a request came in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Origin {
    address: String,
    port: String,
    domain_name: Option<String>,
    secure: bool,
}

impl Origin {
    /// From a peer's address to a port of ours; an IPv4 address in IPv6 form counts as IPv4.
    #[must_use]
    pub fn new(peer: IpAddr, local_port: u16, secure: bool) -> Self {
        let address = peer.to_canonical().to_string();
        Self { address, port: local_port.to_string(), domain_name: None, secure }
    }

    /// By the name in the TLS handshake or the `Host` header.
    #[must_use]
    pub fn with_domain_name(mut self, domain_name: &str) -> Self {
        self.domain_name = Some(domain_name.to_owned());
        self
    }
}

/// Who asks, from where and when: the same for many requests.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Who asks.
    pub principal: &'a Principal,
    /// The MQTT connection; `None` for an HTTP request.
    pub connection: Option<&'a MqttConnection>,
    /// Where the request came in, if that is known.
    pub origin: Option<&'a Origin>,
    /// The time, in seconds since 1970, if it is known.
    pub unix_seconds: Option<u64>,
}

/// What to decide.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// To do what.
    pub action: Action<'a>,
    /// With which resource; `None` for an action on none, which only `*` allows.
    pub resource: Option<&'a Arn>,
    /// Who asks, from where and when.
    pub context: Context<'a>,
}

/// The values of a condition key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Values<'a> {
    Missing,
    Text(&'a str),
    Time(u64),
    Names(&'static [&'static str]),
    Variables(&'a [String]),
    Certificate(&'a [CertificateValue]),
}

/// One value of a condition key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Text(&'a str),
    Time(u64),
}

impl<'a> Values<'a> {
    fn at(self, at: usize) -> Option<Value<'a>> {
        match self {
            Self::Missing => None,
            Self::Text(text) => (at == 0).then_some(Value::Text(text)),
            Self::Time(seconds) => (at == 0).then_some(Value::Time(seconds)),
            Self::Names(names) => names.get(at).copied().map(Value::Text),
            Self::Variables(names) => names.get(at).map(|name| Value::Text(name)),
            Self::Certificate(values) => values.get(at).map(|it| Value::Text(it.condition())),
        }
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Value<'a>> {
        (0..).map_while(move |at| self.at(at))
    }
}

fn truth<'a>(value: bool) -> &'a str {
    if value { "true" } else { "false" }
}

impl<'a> Request<'a> {
    /// The text that resources are matched against: the whole ARN, or `*`.
    pub(super) fn resource_text(&self) -> &'a str {
        self.resource.map_or("*", Arn::as_str)
    }

    /// The values of a key, as conditions see them.
    pub(super) fn values(&self, key: &Key) -> Values<'a> {
        match &key.source {
            Source::ConnectAttributes => self.connect_attributes(),
            Source::LastWillTopic | Source::Topic | Source::IncludeSocketInformation => {
                self.action_value(&key.source).map_or(Values::Missing, Values::Text)
            }
            Source::Time => self.context.unix_seconds.map_or(Values::Missing, Values::Time),
            Source::CertificateAvailableKeys => {
                self.certificate().map_or(Values::Missing, |it| Values::Variables(it.available()))
            }
            Source::CertificateValue(party, attribute, pick) => {
                let values = self.certificate().map_or(&[][..], |it| it.values(*party, *attribute));
                match pick {
                    Pick::All if values.is_empty() => Values::Missing,
                    Pick::All => Values::Certificate(values),
                    Pick::At(at) => values
                        .get(*at)
                        .map_or(Values::Missing, |value| Values::Text(value.condition())),
                }
            }
            source => self.plain_value(source).map_or(Values::Missing, Values::Text),
        }
    }

    /// The text that a variable stands for; `None` where it stays as it is and matches nothing.
    ///
    /// An empty value resolves nothing: `client/${iot:ClientId}*` may not become `client/*`.
    pub(super) fn substitution(&self, key: &Key) -> Option<&'a str> {
        let text = match &key.source {
            Source::CertificateValue(party, attribute, Pick::At(at)) => {
                self.certificate()?.values(*party, *attribute).get(*at)?.substitution()
            }
            source => self.plain_value(source),
        };
        text.filter(|text| !text.is_empty())
    }

    /// The value of a key that has one at most, and that variables may name too.
    fn plain_value(&self, source: &Source) -> Option<&'a str> {
        let Context { principal, connection, origin, .. } = self.context;
        let thing = connection.and_then(|connection| connection.thing.as_ref());
        match source {
            Source::ClientId => connection.map(|connection| connection.client_id.as_str()),
            Source::Address => origin.map(|origin| origin.address.as_str()),
            Source::LocalPort => origin.map(|origin| origin.port.as_str()),
            Source::DomainName => origin?.domain_name.as_deref(),
            Source::SecureTransport => origin.map(|origin| truth(origin.secure)),
            Source::ThingName => thing.map(|thing| thing.name.as_str()),
            Source::ThingTypeName => thing?.type_name.as_deref(),
            Source::ThingAttribute(name) => thing?.attributes.get(&**name).map(String::as_str),
            Source::IsAttached => connection.map(|it| truth(it.thing.is_some())),
            Source::CertificateId => self.certificate().and_then(|it| it.id().substitution()),
            Source::CertificateSerialNumber => {
                self.certificate()?.serial_number().and_then(CertificateValue::substitution)
            }
            Source::CognitoIdentity => match principal {
                Principal::Cognito(id) => Some(id),
                Principal::Unnamed | Principal::Certificate(_) | Principal::User(_) => None,
            },
            Source::UserName => match principal {
                Principal::User(name) => Some(name),
                Principal::Unnamed | Principal::Certificate(_) | Principal::Cognito(_) => None,
            },
            Source::Time
            | Source::CertificateAvailableKeys
            | Source::CertificateValue(..)
            | Source::ConnectAttributes
            | Source::LastWillTopic
            | Source::Topic
            | Source::IncludeSocketInformation
            | Source::Unknown => None,
        }
    }

    fn certificate(&self) -> Option<&'a Certificate> {
        match self.context.principal {
            Principal::Certificate(certificate) => Some(certificate),
            Principal::Unnamed | Principal::Cognito(_) | Principal::User(_) => None,
        }
    }

    fn connect_attributes(&self) -> Values<'a> {
        const PERSISTENT: &str = "PersistentConnect";
        const LAST_WILL: &str = "LastWill";
        let Action::Connect { persistent, will_topic } = self.action else {
            return Values::Missing;
        };
        Values::Names(match (persistent, will_topic.is_some()) {
            (false, false) => &[],
            (true, false) => &[PERSISTENT],
            (false, true) => &[LAST_WILL],
            (true, true) => &[PERSISTENT, LAST_WILL],
        })
    }

    fn action_value(&self, source: &Source) -> Option<&'a str> {
        match (source, self.action) {
            (Source::LastWillTopic, Action::Connect { will_topic, .. }) => {
                will_topic.map(Arn::as_str)
            }
            (Source::Topic, Action::SendDirectMessage { topic }) => Some(topic),
            (
                Source::IncludeSocketInformation,
                Action::GetConnection { include_socket_information },
            ) => Some(truth(include_socket_information)),
            _ => None,
        }
    }
}
