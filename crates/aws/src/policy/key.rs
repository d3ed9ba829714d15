//! Names of policy variables and condition keys (contract `policies.md` §4).
//!
//! A [`Key`] is a name that was looked up when the policy was compiled. Names compare without case,
//! as in IAM; a thing's attribute, between brackets, compares with it. A name that Bitts does not
//! know never has a value.

use super::certificate::{CertificateAttribute, Party};

/// A name, and what it stands for.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: Box<str>,
    pub(super) source: Source,
}

/// What a name stands for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Source {
    ClientId,
    Address,
    LocalPort,
    DomainName,
    SecureTransport,
    Time,
    ThingName,
    ThingTypeName,
    ThingAttribute(Box<str>),
    IsAttached,
    CertificateId,
    CertificateSerialNumber,
    CertificateAvailableKeys,
    CertificateValue(Party, CertificateAttribute, Pick),
    CognitoIdentity,
    UserName,
    ConnectAttributes,
    LastWillTopic,
    Topic,
    IncludeSocketInformation,
    Unknown,
}

/// Which of an attribute's values.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Pick {
    /// Bare: the first. `.1`: the second, and so on.
    At(usize),
    /// `.List`: all.
    All,
}

/// Names that stand alone.
const PLAIN: &[(&str, Source)] = &[
    ("iot:ClientId", Source::ClientId),
    ("aws:SourceIp", Source::Address),
    ("iot:SourceIp", Source::Address),
    ("iot:Port", Source::LocalPort),
    ("iot:DomainName", Source::DomainName),
    ("aws:SecureTransport", Source::SecureTransport),
    ("aws:CurrentTime", Source::Time),
    ("aws:EpochTime", Source::Time),
    ("iot:Connection.Thing.ThingName", Source::ThingName),
    ("iot:Thing.ThingName", Source::ThingName),
    ("iot:Connection.Thing.ThingTypeName", Source::ThingTypeName),
    ("iot:Connection.Thing.IsAttached", Source::IsAttached),
    ("iot:Certificate.CertificateId", Source::CertificateId),
    ("iot:Certificate.SerialNumber", Source::CertificateSerialNumber),
    ("iot:Certificate.AvailableKeys", Source::CertificateAvailableKeys),
    ("cognito-identity.amazonaws.com:sub", Source::CognitoIdentity),
    ("aws:username", Source::UserName),
    ("iot:ConnectAttributes", Source::ConnectAttributes),
    ("iot:LastWillTopic", Source::LastWillTopic),
    ("iot:Topic", Source::Topic),
    ("iot:IncludeSocketInformation", Source::IncludeSocketInformation),
];

const THING_ATTRIBUTE: &str = "iot:Connection.Thing.Attributes[";
const PARTIES: &[(&str, Party)] =
    &[("iot:Certificate.Subject.", Party::Subject), ("iot:Certificate.Issuer.", Party::Issuer)];

impl Key {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.into(), source: source(name) }
    }

    /// Whether it holds several values, so that conditions need `ForAllValues:` or `ForAnyValue:`.
    pub(super) fn is_set(&self) -> bool {
        matches!(
            self.source,
            Source::ConnectAttributes
                | Source::CertificateAvailableKeys
                | Source::CertificateValue(_, _, Pick::All)
        )
    }
}

fn source(name: &str) -> Source {
    if let Some((_, source)) = PLAIN.iter().find(|(plain, _)| plain.eq_ignore_ascii_case(name)) {
        return source.clone();
    }
    if let Some(attribute) = strip(name, THING_ATTRIBUTE).and_then(|it| it.strip_suffix(']')) {
        return Source::ThingAttribute(attribute.into());
    }
    for (prefix, party) in PARTIES {
        if let Some(rest) = strip(name, prefix) {
            return certificate_source(*party, rest);
        }
    }
    Source::Unknown
}

fn certificate_source(party: Party, rest: &str) -> Source {
    for attribute in CertificateAttribute::ALL {
        let pick = match strip(rest, attribute.name()) {
            None => continue,
            Some("") => Pick::At(0),
            Some(pick) if pick.eq_ignore_ascii_case(".List") => Pick::All,
            Some(pick) => match pick.as_bytes() {
                [b'.', digit @ b'1'..=b'9'] => Pick::At(usize::from(digit - b'0')),
                _ => continue,
            },
        };
        return Source::CertificateValue(party, *attribute, pick);
    }
    Source::Unknown
}

/// What follows a prefix, without case.
fn strip<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    let (start, rest) = name.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_it_stands_for() {
        use CertificateAttribute as Attribute;
        let common_name =
            |pick| Source::CertificateValue(Party::Subject, Attribute::CommonName, pick);
        for (name, expected) in [
            ("iot:ClientId", Source::ClientId),
            ("IOT:CLIENTID", Source::ClientId),
            ("iot:Thing.ThingName", Source::ThingName),
            ("iot:Connection.Thing.Attributes[Site]", Source::ThingAttribute("Site".into())),
            ("iot:Certificate.Subject.CommonName", common_name(Pick::At(0))),
            ("iot:Certificate.Subject.CommonName.1", common_name(Pick::At(1))),
            ("iot:Certificate.Subject.CommonName.List", common_name(Pick::All)),
            (
                "iot:Certificate.Issuer.AlternativeName.DNSName.4",
                Source::CertificateValue(Party::Issuer, Attribute::DnsName, Pick::At(4)),
            ),
            ("iot:Certificate.Subject.CommonName.0", Source::Unknown),
            ("iot:Certificate.Subject.CommonName.01", Source::Unknown),
            ("iot:Certificate.Subject.CommonNames", Source::Unknown),
            ("iot:Connection.Thing.Attributes[Site", Source::Unknown),
            ("iot:ClientID2", Source::Unknown),
            ("é", Source::Unknown),
        ] {
            assert_eq!(source(name), expected, "{name}");
        }
    }

    #[test]
    fn sets_are_known_as_such() {
        for name in [
            "iot:ConnectAttributes",
            "iot:Certificate.AvailableKeys",
            "iot:Certificate.Subject.Title.List",
        ] {
            assert!(Key::new(name).is_set(), "{name}");
        }
        assert!(!Key::new("iot:Certificate.Subject.Title.2").is_set());
    }
}
