//! Names of resources: `arn:{partition}:iot:{region}:{account}:{kind}/{name}`.
//!
//! An [`Arn`] is well-formed by construction. Its name is raw text, not percent-encoded, and may
//! hold `:` and `/`. Contract `policies.md` §2, `control-plane-and-jobs.md` §2.

use std::fmt;

use thiserror::Error;

macro_rules! resource_kinds {
    ($($(#[$doc:meta])* $kind:ident = $text:literal;)*) => {
        /// What an [`Arn`] names.
        #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
        pub enum ResourceKind { $($(#[$doc])* $kind,)* }

        impl ResourceKind {
            const ALL: &[Self] = &[$(Self::$kind,)*];

            /// As it stands in the ARN.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$kind => $text,)* }
            }
        }
    };
}

resource_kinds! {
    /// A Client Identifier.
    Client = "client";
    /// A Topic Name.
    Topic = "topic";
    /// A Topic Filter, with `$share/{group}/` where shared.
    TopicFilter = "topicfilter";
    /// A thing, or `{thing}/{shadow name}`.
    Thing = "thing";
    /// A group of things.
    ThingGroup = "thinggroup";
    /// A type of things.
    ThingType = "thingtype";
    /// A certificate, by its id.
    Certificate = "cert";
    /// A registered authority, by its id.
    CaCertificate = "cacert";
    /// A policy.
    Policy = "policy";
    /// An alias of a role.
    RoleAlias = "rolealias";
    /// A rule.
    Rule = "rule";
    /// A custom authorizer.
    Authorizer = "authorizer";
    /// A job.
    Job = "job";
    /// A template of fleet provisioning.
    ProvisioningTemplate = "provisioningtemplate";
    /// A domain configuration.
    DomainConfiguration = "domainconfiguration";
}

/// Bytes of a partition or region at most; AWS's longest are under 20.
const LABEL_BYTES_MAX: usize = 32;

/// Why a text is no ARN of ours.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[expect(missing_docs, reason = "each says itself")]
pub enum InvalidArn {
    #[error("not arn:PARTITION:iot:REGION:ACCOUNT:KIND/NAME")]
    Form,
    #[error("the partition is not lower-case letters, digits and hyphens")]
    Partition,
    #[error("the service is not iot")]
    Service,
    #[error("the region is not lower-case letters, digits and hyphens")]
    Region,
    #[error("the account is not 12 digits")]
    Account,
    #[error("unknown kind of resource")]
    Kind,
    #[error("the name is empty")]
    Name,
}

/// Where resources are: a partition, a region and an account.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ArnScope {
    /// `arn:{partition}:iot:{region}:{account}:`
    prefix: Box<str>,
}

impl ArnScope {
    /// The scope of these three.
    pub fn new(partition: &str, region: &str, account: &str) -> Result<Self, InvalidArn> {
        if !is_label(partition) {
            return Err(InvalidArn::Partition);
        }
        if !is_label(region) {
            return Err(InvalidArn::Region);
        }
        if account.len() != 12 || !account.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(InvalidArn::Account);
        }
        Ok(Self { prefix: format!("arn:{partition}:iot:{region}:{account}:").into() })
    }

    /// The ARN of a resource here.
    #[must_use]
    pub fn arn(&self, kind: ResourceKind, name: &str) -> Arn {
        let mut arn = Arn { text: String::new(), kind, name_start: 0 };
        self.rewrite(&mut arn, kind, name);
        arn
    }

    /// Makes `arn` that of another resource here, in the memory it has.
    ///
    /// Hot: once per decision. Allocates only while names grow.
    pub fn rewrite(&self, arn: &mut Arn, kind: ResourceKind, name: &str) {
        arn.text.clear();
        arn.text.push_str(&self.prefix);
        arn.text.push_str(kind.as_str());
        arn.text.push('/');
        arn.kind = kind;
        arn.name_start = arn.text.len();
        arn.text.push_str(name);
    }
}

fn is_label(text: &str) -> bool {
    let is_byte = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=LABEL_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_byte)
}

/// The name of one resource.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Arn {
    text: String,
    kind: ResourceKind,
    name_start: usize,
}

impl Arn {
    /// Reads an ARN.
    pub fn parse(text: &str) -> Result<Self, InvalidArn> {
        let mut parts = text.splitn(6, ':');
        let mut part = || parts.next().ok_or(InvalidArn::Form);
        let (arn, partition, service) = (part()?, part()?, part()?);
        let (region, account, resource) = (part()?, part()?, part()?);
        let (kind, name) = resource.split_once('/').ok_or(InvalidArn::Form)?;
        if arn != "arn" {
            return Err(InvalidArn::Form);
        }
        if service != "iot" {
            return Err(InvalidArn::Service);
        }
        let scope = ArnScope::new(partition, region, account)?;
        let is_kind = |known: &&ResourceKind| known.as_str() == kind;
        let kind = *ResourceKind::ALL.iter().find(is_kind).ok_or(InvalidArn::Kind)?;
        if name.is_empty() {
            return Err(InvalidArn::Name);
        }
        Ok(scope.arn(kind, name))
    }

    /// The whole text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What it names.
    #[must_use]
    pub fn kind(&self) -> ResourceKind {
        self.kind
    }

    /// The resource's own name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.text.get(self.name_start..).unwrap_or_default()
    }

    /// Whether the resource is in this partition, region and account.
    #[must_use]
    pub fn is_in(&self, scope: &ArnScope) -> bool {
        self.text.starts_with(&*scope.prefix)
    }
}

impl fmt::Display for Arn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_is_read_as_it_is_written() {
        let scope = ArnScope::new("aws", "us-east-1", "123456789012").unwrap();
        for name in ["a", "a/b:c", "$aws/things/x", "ü/+/#", "/"] {
            let arn = scope.arn(ResourceKind::TopicFilter, name);
            assert_eq!(Arn::parse(arn.as_str()), Ok(arn.clone()));
            assert_eq!(
                arn.to_string(),
                format!("arn:aws:iot:us-east-1:123456789012:topicfilter/{name}")
            );
            assert_eq!((arn.kind(), arn.name()), (ResourceKind::TopicFilter, name));
            assert!(arn.is_in(&scope));
            assert!(!arn.is_in(&ArnScope::new("aws", "us-east-1", "123456789013").unwrap()));
        }
    }

    #[test]
    fn what_is_no_arn_is_refused() {
        for (text, why) in [
            ("", InvalidArn::Form),
            ("arn:aws:iot:r:123456789012", InvalidArn::Form),
            ("arn:aws:iot:r:123456789012:topic", InvalidArn::Form),
            ("ARN:aws:iot:r:123456789012:topic/x", InvalidArn::Form),
            ("arn::iot:r:123456789012:topic/x", InvalidArn::Partition),
            ("arn:aws:s3:r:123456789012:topic/x", InvalidArn::Service),
            ("arn:aws:iot:*:123456789012:topic/x", InvalidArn::Region),
            ("arn:aws:iot:r:12345678901:topic/x", InvalidArn::Account),
            ("arn:aws:iot:r:12345678901x:topic/x", InvalidArn::Account),
            ("arn:aws:iot:r:123456789012:topics/x", InvalidArn::Kind),
            ("arn:aws:iot:r:123456789012:topic/", InvalidArn::Name),
        ] {
            assert_eq!(Arn::parse(text), Err(why), "{text}");
        }
    }
}
