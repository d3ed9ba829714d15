//! What the registry keeps of an X.509 certificate, and whether one certificate signed another.

use std::net::IpAddr;

use bitts_aws::control::{ControlError, ControlErrorKind, NewCertificate};
use bitts_aws::policy::CertificateAttribute;
use bitts_aws::registry::CertificateFacts;
use data_encoding::HEXLOWER;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Name;

use crate::pki::certificate_id;

/// Attributes of distinguished names that policies know, by their object identifiers.
const NAMED: [(&str, CertificateAttribute); 13] = [
    ("2.5.4.3", CertificateAttribute::CommonName),
    ("2.5.4.4", CertificateAttribute::Surname),
    ("2.5.4.5", CertificateAttribute::SerialNumber),
    ("2.5.4.6", CertificateAttribute::Country),
    ("2.5.4.8", CertificateAttribute::State),
    ("2.5.4.10", CertificateAttribute::Organization),
    ("2.5.4.11", CertificateAttribute::OrganizationalUnit),
    ("2.5.4.12", CertificateAttribute::Title),
    ("2.5.4.42", CertificateAttribute::GivenName),
    ("2.5.4.43", CertificateAttribute::Initials),
    ("2.5.4.44", CertificateAttribute::GenerationQualifier),
    ("2.5.4.46", CertificateAttribute::DistinguishedNameQualifier),
    ("2.5.4.65", CertificateAttribute::Pseudonym),
];

fn invalid(message: &str) -> ControlError {
    ControlError::new(ControlErrorKind::CertificateValidation, message)
}

/// The DER of a certificate in PEM, the first one of several.
pub(crate) fn der(pem: &str) -> Result<CertificateDer<'static>, ControlError> {
    CertificateDer::from_pem_slice(pem.as_bytes())
        .map_err(|_| invalid("The certificate is not PEM"))
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, ControlError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) | Err(_) => Err(invalid("The certificate is not X.509")),
    }
}

/// A certificate to be registered.
pub(crate) fn read(pem: &str) -> Result<NewCertificate, ControlError> {
    let der = der(pem)?;
    let certificate = parse(&der)?;
    let millis = |seconds: i64| u64::try_from(seconds).unwrap_or(0).saturating_mul(1000);
    let validity = certificate.validity();
    let serial = HEXLOWER.encode(certificate.raw_serial());
    let mut facts = CertificateFacts {
        serial_number: serial.trim_start_matches("00").to_owned(),
        not_before_unix_ms: millis(validity.not_before.timestamp()),
        not_after_unix_ms: millis(validity.not_after.timestamp()),
        subject: attributes(certificate.subject()),
        issuer: attributes(certificate.issuer()),
    };
    for extension in certificate.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => {
                facts.subject.extend(names.general_names.iter().filter_map(alternative));
            }
            ParsedExtension::IssuerAlternativeName(names) => {
                facts.issuer.extend(names.general_names.iter().filter_map(alternative));
            }
            _ => {}
        }
    }
    let (id, pem) = (certificate_id(&der), pem.to_owned());
    Ok(NewCertificate { id, pem, facts, ca_id: None })
}

fn attributes(name: &X509Name<'_>) -> Vec<(String, String)> {
    let known = name.iter_attributes().filter_map(|attribute| {
        let oid = attribute.attr_type().to_id_string();
        let (_, known) = NAMED.iter().find(|(text, _)| *text == oid)?;
        Some((known.name().to_owned(), attribute.as_str().ok()?.to_owned()))
    });
    known.collect()
}

fn alternative(name: &GeneralName<'_>) -> Option<(String, String)> {
    let (attribute, text) = match name {
        GeneralName::RFC822Name(text) => (CertificateAttribute::Rfc822Name, (*text).to_owned()),
        GeneralName::DNSName(text) => (CertificateAttribute::DnsName, (*text).to_owned()),
        GeneralName::URI(text) => {
            (CertificateAttribute::UniformResourceIdentifier, (*text).to_owned())
        }
        GeneralName::DirectoryName(name) => (CertificateAttribute::DirectoryName, name.to_string()),
        GeneralName::IPAddress(bytes) => (CertificateAttribute::IpAddress, address(bytes)?),
        _ => return None,
    };
    Some((attribute.name().to_owned(), text))
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::from(bytes).to_string());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|bytes| IpAddr::from(bytes).to_string())
}

/// Whether the key of one certificate, which is an authority's, signed the other.
pub(crate) fn is_signed_by(pem: &str, authority: &str) -> Result<bool, ControlError> {
    let (der, authority) = (der(pem)?, der(authority)?);
    let (certificate, authority) = (parse(&der)?, parse(&authority)?);
    Ok(authority.is_ca()
        && certificate.issuer() == authority.subject()
        && certificate.verify_signature(Some(authority.public_key())).is_ok())
}

/// Refuses a certificate that is no authority's.
pub(crate) fn check_authority(pem: &str) -> Result<(), ControlError> {
    let der = der(pem)?;
    if parse(&der)?.is_ca() { Ok(()) } else { Err(invalid("The certificate is not a CA's")) }
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType, SerialNumber,
    };

    use super::*;

    fn authority(name: &str) -> (String, Issuer<'static, KeyPair>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        (certificate.pem(), Issuer::new(params, key))
    }

    /// policies.md §4: subject, issuer, alternative names, serial number.
    #[test]
    fn what_policies_may_know_is_read() {
        let (_, issuer) = authority("Root");
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "lamp");
        params.distinguished_name.push(DnType::OrganizationName, "Acme");
        params.serial_number = Some(SerialNumber::from(vec![0x7f, 0x01]));
        params.subject_alt_names = vec![
            SanType::DnsName("lamp.example".try_into().unwrap()),
            SanType::IpAddress("192.0.2.1".parse().unwrap()),
        ];
        let key = KeyPair::generate().unwrap();
        let pem = params.signed_by(&key, &issuer).unwrap().pem();
        let read = read(&pem).unwrap();
        assert_eq!(read.id, certificate_id(&der(&pem).unwrap()));
        assert_eq!(read.facts.serial_number, "7f01");
        assert!(read.facts.not_before_unix_ms < read.facts.not_after_unix_ms);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        for (name, value) in [
            ("CommonName", "lamp"),
            ("Organization", "Acme"),
            ("AlternativeName.DNSName", "lamp.example"),
            ("AlternativeName.IPAddress", "192.0.2.1"),
        ] {
            assert!(read.facts.subject.contains(&pair(name, value)), "{name}");
        }
        assert!(read.facts.issuer.contains(&pair("CommonName", "Root")));
    }

    #[test]
    fn a_signature_counts_only_by_the_authoritys_key() {
        let (root, issuer) = authority("Root");
        let (impostor, _) = authority("Root");
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::default().signed_by(&key, &issuer).unwrap().pem();
        assert!(is_signed_by(&leaf, &root).unwrap());
        assert!(!is_signed_by(&leaf, &impostor).unwrap());
        assert!(!is_signed_by(&leaf, &leaf).unwrap());
        assert!(check_authority(&root).is_ok() && check_authority(&leaf).is_err());
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for pem in ["", "x", broken] {
            assert_eq!(read(pem).unwrap_err().kind, ControlErrorKind::CertificateValidation);
        }
    }
}
