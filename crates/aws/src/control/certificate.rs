//! Certificates of clients: made, registered, described, made inactive, deleted.
//!
//! Who may register which certificate is decided where signatures can be checked; what is here
//! keeps it.

use serde_json::{Value, json};

use super::input::Input;
use super::page::Page;
use super::target::{account, arn};
use super::{ControlError, ControlErrorKind, Given, NewCertificate, check_room, seconds};
use crate::policy::ResourceKind;
use crate::registry::{Certificate, CertificateStatus, Draft, Registry, Row, named};

fn found<'a>(registry: &'a Registry, id: &str) -> Result<&'a Certificate, ControlError> {
    named(&registry.certificates, id).ok_or_else(|| ControlError::not_found("certificate", id))
}

fn material(given: &Given) -> Result<&NewCertificate, ControlError> {
    let missing = || ControlError::new(ControlErrorKind::InternalFailure, "No certificate");
    given.certificate.as_ref().ok_or_else(missing)
}

/// A status by its word.
fn status(text: &str) -> Result<CertificateStatus, ControlError> {
    match text {
        "ACTIVE" => Ok(CertificateStatus::Active),
        "INACTIVE" => Ok(CertificateStatus::Inactive),
        "REVOKED" => Ok(CertificateStatus::Revoked),
        "PENDING_TRANSFER" | "REGISTER_INACTIVE" | "PENDING_ACTIVATION" => {
            Err(ControlError::invalid(format!("The status {text} is not set by callers")))
        }
        _ => Err(ControlError::invalid("The status is ACTIVE, INACTIVE or REVOKED")),
    }
}

fn put(
    draft: &mut Draft,
    given: &Given,
    status: CertificateStatus,
    is_sni_only: bool,
) -> Result<Value, ControlError> {
    let made = material(given)?;
    let arn = arn(draft, ResourceKind::Certificate, &made.id);
    if named(&draft.certificates, &made.id).is_some() {
        return Err(ControlError::exists("certificate", made.id.clone(), arn));
    }
    check_room(draft.certificates.len(), draft)?;
    let certificate = Certificate {
        pem: made.pem.clone(),
        status,
        facts: made.facts.clone(),
        ca_id: made.ca_id.clone(),
        is_sni_only,
        created_unix_ms: given.unix_ms,
        modified_unix_ms: given.unix_ms,
        version: 1,
    };
    draft.put(&made.id, certificate);
    Ok(json!({ "certificateArn": arn, "certificateId": made.id }))
}

impl Registry {
    /// The account, as ARNs say it.
    #[must_use]
    pub fn account(&self) -> String {
        account(self)
    }

    /// The authority that registers clients' certificates it signed, at their first connection;
    /// `is_signed_by` looks at the authority's certificate.
    pub fn registering_authority(&self, is_signed_by: impl Fn(&str) -> bool) -> Option<&str> {
        self.active_authorities()
            .filter(|(_, authority)| authority.auto_registers)
            .find(|(_, authority)| is_signed_by(&authority.pem))
            .map(|(id, _)| id)
    }

    /// Keeps a certificate that its authority registers. Until somebody makes it active it does
    /// not connect.
    pub fn register_automatically(
        &self,
        certificate: NewCertificate,
        unix_ms: u64,
    ) -> Result<(Self, Vec<Row>), ControlError> {
        let mut draft = Draft::new(self);
        let given = Given { unix_ms, certificate: Some(certificate), ..Given::default() };
        put(&mut draft, &given, CertificateStatus::PendingActivation, false)?;
        Ok(draft.finish())
    }
}

/// Keeps a certificate that was made here; whoever made its key adds it to the answer.
pub(super) fn create(
    draft: &mut Draft,
    input: &Input,
    given: &Given,
) -> Result<Value, ControlError> {
    let is_active = input.flag("setAsActive")?;
    let status = if is_active { CertificateStatus::Active } else { CertificateStatus::Inactive };
    let mut answer = put(draft, given, status, false)?;
    if let Some(members) = answer.as_object_mut() {
        members.insert("certificatePem".to_owned(), material(given)?.pem.clone().into());
    }
    Ok(answer)
}

/// Keeps a certificate that was made elsewhere.
pub(super) fn register(
    draft: &mut Draft,
    input: &Input,
    given: &Given,
) -> Result<Value, ControlError> {
    let status = match input.text("status")? {
        Some(text) => status(text)?,
        None if input.flag("setAsActive")? => CertificateStatus::Active,
        None => CertificateStatus::Inactive,
    };
    let is_sni_only = material(given)?.ca_id.is_none();
    put(draft, given, status, is_sni_only)
}

/// Modes of certificates, as AWS names them.
pub(super) fn mode(is_sni_only: bool) -> &'static str {
    if is_sni_only { "SNI_ONLY" } else { "DEFAULT" }
}

pub(super) fn describe(
    registry: &Registry,
    input: &Input,
    _: &Given,
) -> Result<Value, ControlError> {
    let id = input.needed("certificateId")?;
    let certificate = found(registry, id)?;
    Ok(json!({ "certificateDescription": {
        "certificateArn": arn(registry, ResourceKind::Certificate, id),
        "certificateId": id,
        "caCertificateId": certificate.ca_id,
        "status": certificate.status,
        "certificatePem": certificate.pem,
        "ownedBy": account(registry),
        "creationDate": seconds(certificate.created_unix_ms),
        "lastModifiedDate": seconds(certificate.modified_unix_ms),
        "customerVersion": certificate.version,
        "generationId": format!("{id:.32}-{}", certificate.version),
        "validity": {
            "notBefore": seconds(certificate.facts.not_before_unix_ms),
            "notAfter": seconds(certificate.facts.not_after_unix_ms),
        },
        "certificateMode": mode(certificate.is_sni_only),
    }}))
}

pub(super) fn update(
    draft: &mut Draft,
    input: &Input,
    given: &Given,
) -> Result<Value, ControlError> {
    let id = input.needed("certificateId")?;
    let status = status(input.needed("newStatus")?)?;
    let mut certificate = found(draft, id)?.clone();
    certificate.status = status;
    certificate.modified_unix_ms = given.unix_ms;
    certificate.version += 1;
    draft.put(id, certificate);
    Ok(Value::Null)
}

/// One that is ACTIVE, speaks for a thing or has policies stays; `forceDelete` detaches policies.
pub(super) fn delete(draft: &mut Draft, input: &Input, _: &Given) -> Result<Value, ControlError> {
    let id = input.needed("certificateId")?;
    let conflict = |why: &str| {
        let message = format!("The certificate {id} {why}");
        Err(ControlError::new(ControlErrorKind::DeleteConflict, message))
    };
    if found(draft, id)?.status == CertificateStatus::Active {
        let message = format!("The certificate {id} is ACTIVE");
        return Err(ControlError::new(ControlErrorKind::CertificateState, message));
    }
    let key = format!("cert/{id}");
    if draft.principals.with(&key).next().is_some() {
        return conflict("is attached to a thing");
    }
    if input.flag("forceDelete")? {
        draft.detach_all(&key);
    } else if draft.attachments.of(&key).next().is_some() {
        return conflict("has policies attached");
    }
    draft.remove::<Certificate>(id);
    Ok(Value::Null)
}

pub(super) fn list(registry: &Registry, input: &Input, _: &Given) -> Result<Value, ControlError> {
    let page = Page::by_marker(input)?;
    let all = registry.certificates.from(|id| (**id).cmp(&page.after));
    Ok(page.answer("certificates", all.map(|(id, it)| (&**id, listed(registry, id, it)))))
}

/// The certificates that a registered authority signed.
pub(super) fn list_by_authority(
    registry: &Registry,
    input: &Input,
    _: &Given,
) -> Result<Value, ControlError> {
    let page = Page::by_marker(input)?;
    let authority = input.needed("caCertificateId")?;
    let all = registry.certificates.from(|id| (**id).cmp(&page.after));
    let signed = all.filter(|(_, it)| it.ca_id.as_deref() == Some(authority));
    Ok(page.answer("certificates", signed.map(|(id, it)| (&**id, listed(registry, id, it)))))
}

fn listed(registry: &Registry, id: &str, certificate: &Certificate) -> Value {
    json!({
        "certificateArn": arn(registry, ResourceKind::Certificate, id),
        "certificateId": id,
        "status": certificate.status,
        "certificateMode": mode(certificate.is_sni_only),
        "creationDate": seconds(certificate.created_unix_ms),
    })
}
