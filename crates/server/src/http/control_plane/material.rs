//! What cryptography makes or reads before the registry can keep it: key pairs, certificates,
//! secrets, hashes of passwords.
//!
//! A private key or a secret is in one answer and nowhere else: not on disk, not in a log.

use argon2::password_hash::SaltString;
use argon2::{Argon2, PasswordHasher};
use bitts_aws::control::{
    ControlError, ControlErrorKind, Input, Material, NewCertificate, NewCredential,
};
use bitts_aws::registry::{Registry, Secret};
use data_encoding::{BASE32_NOPAD, BASE64};
use serde_json::{Value, json};
use std::path::Path;

use crate::pki;
use crate::registry::{check_authority, is_signed_by, read_certificate};

/// Common Name of certificates made here, as AWS has it.
const COMMON_NAME: &str = "AWS IoT Certificate";
/// Days that certificates made here are good for.
const DAYS: i64 = 8_400;
/// Bytes of a password at most; a longer one is refused.
const PASSWORD_BYTES_MAX: usize = 1024;

/// What was made.
#[derive(Debug, Default)]
pub(super) struct Made {
    pub(super) certificate: Option<NewCertificate>,
    pub(super) credential: Option<NewCredential>,
    /// `keyPair` of the answer.
    pub(super) key_pair: Option<Value>,
}

fn invalid(kind: ControlErrorKind, message: &str) -> ControlError {
    ControlError::new(kind, message)
}

/// Makes or reads what an operation needs. Takes a tenth of a second of a core at worst.
pub(super) fn make(
    material: Material,
    input: &Input,
    registry: &Registry,
    pki_dir: Option<&Path>,
) -> Result<Made, ControlError> {
    let certificate = |certificate| Made { certificate: Some(certificate), ..Made::default() };
    match material {
        Material::None => Ok(Made::default()),
        Material::Keys => keys(pki_dir),
        Material::Csr => {
            let csr = input.needed("certificateSigningRequest")?;
            let signed = pki::sign_request(development_ca(pki_dir)?, csr, DAYS);
            let pem = signed.map_err(|error| match error {
                pki::PkiError::Request(_) => {
                    invalid(ControlErrorKind::InvalidRequest, "The signing request is not valid")
                }
                error => unusable(&error),
            })?;
            read_certificate(&pem).map(certificate)
        }
        Material::Certificate => registered(input, registry).map(certificate),
        Material::LoneCertificate => {
            read_certificate(input.needed("certificatePem")?).map(certificate)
        }
        Material::Authority => authority(input, registry).map(certificate),
        Material::Credential => credential(input),
    }
}

fn development_ca(pki_dir: Option<&Path>) -> Result<&Path, ControlError> {
    let missing =
        || invalid(ControlErrorKind::InvalidRequest, "This server has no CA to sign with");
    pki_dir.ok_or_else(missing)
}

/// The log says why.
fn unusable(error: &pki::PkiError) -> ControlError {
    tracing::error!(%error, "the development CA cannot sign");
    invalid(ControlErrorKind::InternalFailure, "The CA cannot sign")
}

fn keys(pki_dir: Option<&Path>) -> Result<Made, ControlError> {
    let made = pki::create_device(development_ca(pki_dir)?, COMMON_NAME, DAYS)
        .map_err(|error| unusable(&error))?;
    let public = pki::public_key_of(&made.key).map_err(|error| unusable(&error))?;
    Ok(Made {
        certificate: Some(read_certificate(&made.certificate)?),
        key_pair: Some(json!({ "PublicKey": public, "PrivateKey": made.key })),
        ..Made::default()
    })
}

/// A certificate that a registered, active authority signed: the one named, or any.
fn registered(input: &Input, registry: &Registry) -> Result<NewCertificate, ControlError> {
    let pem = input.needed("certificatePem")?;
    let mut certificate = read_certificate(pem)?;
    let named = input.text("caCertificatePem")?.map(read_certificate).transpose()?;
    for (id, authority) in registry.active_authorities() {
        let may_be = named.as_ref().is_none_or(|named| named.id == *id);
        if may_be && is_signed_by(pem, &authority.pem)? {
            certificate.ca_id = Some(id.to_owned());
            return Ok(certificate);
        }
    }
    let message = "No registered and active CA certificate signed the certificate";
    Err(invalid(ControlErrorKind::CertificateValidation, message))
}

/// An authority's certificate; unless its mode is SNI_ONLY with the proof that its key is held: a
/// certificate that it signed and whose Common Name is the registration code.
fn authority(input: &Input, registry: &Registry) -> Result<NewCertificate, ControlError> {
    let pem = input.needed("caCertificate")?;
    check_authority(pem)?;
    match input.text("certificateMode")? {
        None | Some("DEFAULT") => {}
        Some("SNI_ONLY") => return read_certificate(pem),
        Some(_) => {
            let message = "certificateMode is DEFAULT or SNI_ONLY";
            return Err(invalid(ControlErrorKind::InvalidRequest, message));
        }
    }
    let proof = input.needed("verificationCertificate")?;
    if !is_signed_by(proof, pem)? {
        let message = "The CA certificate did not sign the verification certificate";
        return Err(invalid(ControlErrorKind::CertificateValidation, message));
    }
    let names = read_certificate(proof)?.facts.subject;
    let code = registry.registration_code();
    let has_code = names
        .iter()
        .any(|(name, value)| name == "CommonName" && code.is_some_and(|code| code == value));
    if !has_code {
        let message = "The verification certificate's Common Name is not the registration code";
        return Err(invalid(ControlErrorKind::RegistrationCodeValidation, message));
    }
    read_certificate(pem)
}

/// With a password the hash of it, else an access key as AWS's look: 20 and 40 characters.
fn credential(input: &Input) -> Result<Made, ControlError> {
    let credential = match input.text("password")? {
        Some(password) if password.len() > PASSWORD_BYTES_MAX => {
            let message = "password is longer than 1024 bytes";
            return Err(invalid(ControlErrorKind::InvalidRequest, message));
        }
        Some(password) => NewCredential::Password(hash(password)?),
        None => {
            let (id, secret) = new_access_key();
            NewCredential::AccessKey { id, secret }
        }
    };
    Ok(Made { credential: Some(credential), ..Made::default() })
}

fn hash(password: &str) -> Result<Secret, ControlError> {
    let failed = |error: argon2::password_hash::Error| {
        ControlError::new(ControlErrorKind::InternalFailure, error.to_string())
    };
    let salt = SaltString::encode_b64(&rand::random::<[u8; 16]>()).map_err(failed)?;
    let hash = Argon2::default().hash_password(password.as_bytes(), &salt).map_err(failed)?;
    Ok(Secret::new(hash.to_string()))
}

/// The id and the secret of a random access key.
pub(crate) fn new_access_key() -> (String, Secret) {
    let id = BASE32_NOPAD.encode(&rand::random::<[u8; 10]>());
    let secret = BASE64.encode(&rand::random::<[u8; 30]>());
    (format!("AKIA{id}"), Secret::new(secret))
}

#[cfg(test)]
mod tests {
    use argon2::{PasswordHash, PasswordVerifier};

    use super::*;

    #[test]
    fn an_access_key_looks_as_awss_do() {
        let (id, secret) = new_access_key();
        assert_eq!((id.len(), secret.expose().len()), (20, 40));
    }

    #[test]
    fn a_password_is_kept_as_an_argon2id_hash_only() {
        let hash = hash("correct horse").unwrap();
        assert!(hash.expose().starts_with("$argon2id$"));
        let parsed = PasswordHash::new(hash.expose()).unwrap();
        Argon2::default().verify_password(b"correct horse", &parsed).unwrap();
        assert!(Argon2::default().verify_password(b"other", &parsed).is_err());
    }
}
