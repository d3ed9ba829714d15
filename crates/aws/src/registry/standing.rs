//! Whether an identity is still good, without collecting what it may do.

use data_encoding::HEXLOWER;

use super::record::CertificateStatus;
use super::{ANONYMOUS, Identity, Refused, Registry, RegistryLimits, Rights};

impl Registry {
    /// Its bounds.
    #[must_use]
    pub fn limits(&self) -> &RegistryLimits {
        &self.limits
    }

    /// Whether [`Registry::grant`] would give anything; asked of every connection when the registry
    /// changed.
    ///
    /// `unix_ms` is absent for whoever came in time: what ends with a certificate's time or an
    /// access key's is that somebody can come in by it.
    pub fn standing(&self, identity: &Identity, unix_ms: Option<u64>) -> Result<(), Refused> {
        match identity {
            Identity::Certificate(id) => {
                let certificate = self.certificate(&HEXLOWER.encode(id)).ok_or(Refused::Unknown)?;
                let facts = &certificate.facts;
                let time = facts.not_before_unix_ms..=facts.not_after_unix_ms;
                let is_in_time = unix_ms.is_none_or(|unix_ms| time.contains(&unix_ms));
                match certificate.status {
                    CertificateStatus::Active if is_in_time => Ok(()),
                    CertificateStatus::Active => Err(Refused::Expired),
                    CertificateStatus::Inactive
                    | CertificateStatus::PendingTransfer
                    | CertificateStatus::RegisterInactive => Err(Refused::Inactive),
                    CertificateStatus::Revoked => Err(Refused::Revoked),
                    CertificateStatus::PendingActivation => Err(Refused::PendingActivation),
                }
            }
            Identity::AccessKey(id) => {
                let key = self.access_key(id).ok_or(Refused::Unknown)?;
                let end = key.expires_unix_ms.zip(unix_ms);
                let is_over = end.is_some_and(|(end, unix_ms)| unix_ms >= end);
                match (key.is_active, is_over) {
                    (false, _) => Err(Refused::Inactive),
                    (true, true) => Err(Refused::Expired),
                    (true, false) => Ok(()),
                }
            }
            Identity::User(name) => {
                let user = self.user(name).ok_or(Refused::Unknown)?;
                if user.is_active { Ok(()) } else { Err(Refused::Inactive) }
            }
            // Its time is the connection's: it ends that, and not what the documents allow.
            Identity::Authorizer(_) => Ok(()),
            Identity::Anonymous => {
                let is_granted = self.attachments.of(ANONYMOUS).next().is_some();
                if is_granted { Ok(()) } else { Err(Refused::Unknown) }
            }
        }
    }
}

impl Rights {
    /// Whether what they allow may be another a second later.
    #[must_use]
    pub fn ask_for_time(&self) -> bool {
        match self {
            Self::Unrestricted => false,
            Self::Policies(policies) => policies.iter().any(|policy| policy.asks_for_time()),
        }
    }
}
