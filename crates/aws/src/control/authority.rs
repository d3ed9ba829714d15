//! Certificates of authorities: registered, so that the certificates they sign can be.

use serde_json::{Value, json};

use super::certificate::mode;
use super::input::Input;
use super::page::Page;
use super::target::{account, arn};
use super::{ControlError, ControlErrorKind, Given, check_room, seconds, tag};
use crate::policy::ResourceKind;
use crate::registry::{CaCertificate, Draft, Registry, named};

fn found<'a>(registry: &'a Registry, id: &str) -> Result<&'a CaCertificate, ControlError> {
    let found = named(&registry.ca_certificates, id);
    found.ok_or_else(|| ControlError::not_found("CA certificate", id))
}

/// What a verification certificate has to have as its Common Name; the same until it is deleted.
pub(super) fn registration_code(
    draft: &mut Draft,
    _: &Input,
    given: &Given,
) -> Result<Value, ControlError> {
    if draft.settings.registration_code.is_none() {
        draft.change_settings(|settings| settings.registration_code = Some(given.code.clone()));
    }
    Ok(json!({ "registrationCode": draft.settings.registration_code }))
}

pub(super) fn delete_registration_code(
    draft: &mut Draft,
    _: &Input,
    _: &Given,
) -> Result<Value, ControlError> {
    if draft.settings.registration_code.is_none() {
        return Err(ControlError::not_found("registration code", ""));
    }
    draft.change_settings(|settings| settings.registration_code = None);
    Ok(Value::Null)
}

pub(super) fn register(
    draft: &mut Draft,
    input: &Input,
    given: &Given,
) -> Result<Value, ControlError> {
    let missing = || ControlError::new(ControlErrorKind::InternalFailure, "No certificate");
    let read = given.certificate.as_ref().ok_or_else(missing)?;
    let arn = arn(draft, ResourceKind::CaCertificate, &read.id);
    if named(&draft.ca_certificates, &read.id).is_some() {
        return Err(ControlError::exists("CA certificate", read.id.clone(), arn));
    }
    check_room(draft.ca_certificates.len(), draft)?;
    let authority = CaCertificate {
        pem: read.pem.clone(),
        is_active: input.flag("setAsActive")?,
        auto_registers: input.flag("allowAutoRegistration")?,
        facts: read.facts.clone(),
        is_sni_only: input.text("certificateMode")? == Some("SNI_ONLY"),
        registration_config: input.body().value("registrationConfig").cloned(),
        created_unix_ms: given.unix_ms,
        modified_unix_ms: given.unix_ms,
        version: 1,
    };
    tag::put_at_creation(draft, ResourceKind::CaCertificate, &read.id, input)?;
    draft.put(&read.id, authority);
    Ok(json!({ "certificateArn": arn, "certificateId": read.id }))
}

fn status(is_active: bool) -> &'static str {
    if is_active { "ACTIVE" } else { "INACTIVE" }
}

pub(super) fn describe(
    registry: &Registry,
    input: &Input,
    _: &Given,
) -> Result<Value, ControlError> {
    let id = input.needed("caCertificateId")?;
    let authority = found(registry, id)?;
    Ok(json!({
        "certificateDescription": {
            "certificateArn": arn(registry, ResourceKind::CaCertificate, id),
            "certificateId": id,
            "status": status(authority.is_active),
            "certificatePem": authority.pem,
            "ownedBy": account(registry),
            "creationDate": seconds(authority.created_unix_ms),
            "autoRegistrationStatus": if authority.auto_registers { "ENABLE" } else { "DISABLE" },
            "lastModifiedDate": seconds(authority.modified_unix_ms),
            "customerVersion": authority.version,
            "generationId": format!("{id:.32}-{}", authority.version),
            "validity": {
                "notBefore": seconds(authority.facts.not_before_unix_ms),
                "notAfter": seconds(authority.facts.not_after_unix_ms),
            },
            "certificateMode": mode(authority.is_sni_only),
        },
        "registrationConfig": authority.registration_config,
    }))
}

/// A choice between two words.
fn word(input: &Input, name: &str, yes: &str, no: &str) -> Result<Option<bool>, ControlError> {
    match input.text(name)? {
        None => Ok(None),
        Some(text) if text == yes => Ok(Some(true)),
        Some(text) if text == no => Ok(Some(false)),
        Some(_) => Err(ControlError::invalid(format!("{name} is {yes} or {no}"))),
    }
}

pub(super) fn update(
    draft: &mut Draft,
    input: &Input,
    given: &Given,
) -> Result<Value, ControlError> {
    let id = input.needed("caCertificateId")?;
    let mut authority = found(draft, id)?.clone();
    if let Some(is_active) = word(input, "newStatus", "ACTIVE", "INACTIVE")? {
        authority.is_active = is_active;
    }
    if let Some(registers) = word(input, "newAutoRegistrationStatus", "ENABLE", "DISABLE")? {
        authority.auto_registers = registers;
    }
    if let Some(config) = input.body().value("registrationConfig") {
        authority.registration_config = Some(config.clone());
    }
    if input.flag("removeAutoRegistration")? {
        authority.auto_registers = false;
        authority.registration_config = None;
    }
    authority.modified_unix_ms = given.unix_ms;
    authority.version += 1;
    draft.put(id, authority);
    Ok(Value::Null)
}

pub(super) fn delete(draft: &mut Draft, input: &Input, _: &Given) -> Result<Value, ControlError> {
    let id = input.needed("caCertificateId")?;
    if found(draft, id)?.is_active {
        let message = format!("The CA certificate {id} is ACTIVE");
        return Err(ControlError::new(ControlErrorKind::CertificateState, message));
    }
    tag::forget(draft, ResourceKind::CaCertificate, id);
    draft.remove::<CaCertificate>(id);
    Ok(Value::Null)
}

pub(super) fn list(registry: &Registry, input: &Input, _: &Given) -> Result<Value, ControlError> {
    let page = Page::by_marker(input)?;
    let all = registry.ca_certificates.from(|id| (**id).cmp(&page.after));
    let all = all.map(|(id, authority)| {
        let listed = json!({
            "certificateArn": arn(registry, ResourceKind::CaCertificate, id),
            "certificateId": &**id,
            "status": status(authority.is_active),
            "creationDate": seconds(authority.created_unix_ms),
        });
        (&**id, listed)
    });
    Ok(page.answer("certificates", all))
}
