//! A development CA: what a first start needs to offer TLS, and certificates for devices.
//!
//! Four files in one folder: `ca.pem`, `ca.key`, `server.pem`, `server.key`. What is there is used,
//! what is missing is made; nothing is overwritten but a server certificate that is about to end.
//! Keys are readable by their owner only. For a fleet, configure certificates of your own.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use data_encoding::HEXLOWER;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256,
    RsaKeySize, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::tls::TlsFiles;

const CA_DAYS: i64 = 3_650;
const SERVER_DAYS: i64 = 825;
/// A server certificate that is older than this is made anew at the next start.
const SERVER_RENEWED_AFTER: Duration = Duration::from_hours(700 * 24);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file or folder cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A signing request or a key that cannot be read.
    #[error("not a signing request or key: {0}")]
    Request(String),
    /// A key or certificate that is there cannot be used, or none can be made.
    #[error("{}: {reason}", path.display())]
    Certificate {
        /// The file, or the folder.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// A certificate for a device, with everything that it connects with.
#[derive(Clone, Debug)]
pub struct DeviceCertificate {
    /// As AWS names it: SHA-256 of the certificate, 64 hexadecimal digits.
    pub id: String,
    /// The certificate, PEM.
    pub certificate: String,
    /// Its private key, RSA of 2,048 bits, PEM.
    pub key: String,
    /// The CA that signed our server certificate, PEM.
    pub ca: String,
}

/// The folder's files, made where they are missing.
///
/// `names` are host names and addresses that the server certificate is good for, beside those of
/// loopback.
pub fn ensure(dir: &Path, names: &[String]) -> Result<TlsFiles, PkiError> {
    let files = TlsFiles {
        certificate: dir.join("server.pem"),
        key: dir.join("server.key"),
        revoked: None,
    };
    let is_fresh = fs::metadata(&files.certificate)
        .and_then(|metadata| metadata.modified())
        .is_ok_and(|at| SystemTime::now() < at + SERVER_RENEWED_AFTER);
    if is_fresh && files.key.exists() {
        return Ok(files);
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|source| PkiError::File { path: dir.to_owned(), source })?;
    let issuer = ca(dir)?;
    let key = KeyPair::generate().map_err(|error| bad(dir, error))?;
    let mut all = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    all.extend(names.iter().filter(|name| is_name(name)).cloned());
    all.dedup();
    let mut params = CertificateParams::new(all).map_err(|error| bad(dir, error))?;
    params.distinguished_name = common_name("Bitts");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    set_days(&mut params, SERVER_DAYS);
    let certificate = params.signed_by(&key, &issuer).map_err(|error| bad(dir, error))?;
    write(&files.key, &key.serialize_pem(), 0o600)?;
    write(&files.certificate, &certificate.pem(), 0o644)?;
    Ok(files)
}

/// Makes a device certificate, signed by the folder's CA, which is made if it is missing.
pub fn create_device(dir: &Path, common: &str, days: i64) -> Result<DeviceCertificate, PkiError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|source| PkiError::File { path: dir.to_owned(), source })?;
    let issuer = ca(dir)?;
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)
        .map_err(|error| bad(dir, error))?;
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(common);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    set_days(&mut params, days);
    let certificate = params.signed_by(&key, &issuer).map_err(|error| bad(dir, error))?;
    Ok(DeviceCertificate {
        id: certificate_id(certificate.der()),
        certificate: certificate.pem(),
        key: key.serialize_pem(),
        ca: read(&dir.join("ca.pem"))?,
    })
}

/// Signs a certificate for a device's own key, by a PKCS #10 request in PEM; of the request count
/// its subject and its key. Gives the certificate, PEM.
pub fn sign_request(dir: &Path, request: &str, days: i64) -> Result<String, PkiError> {
    let refused = |error: rcgen::Error| PkiError::Request(error.to_string());
    let mut request = CertificateSigningRequestParams::from_pem(request).map_err(refused)?;
    let issuer = ca(dir)?;
    let subject = std::mem::take(&mut request.params.distinguished_name);
    request.params = CertificateParams::default();
    request.params.distinguished_name = subject;
    request.params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    request.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    set_days(&mut request.params, days);
    let certificate = request.signed_by(&issuer).map_err(|error| bad(dir, error))?;
    Ok(certificate.pem())
}

/// The public key of a private one, both PEM.
pub fn public_key_of(key: &str) -> Result<String, PkiError> {
    let key = KeyPair::from_pem(key).map_err(|error| PkiError::Request(error.to_string()))?;
    Ok(key.public_key_pem())
}

/// A certificate's id, as AWS computes it.
#[must_use]
pub fn certificate_id(der: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
    HEXLOWER.encode(digest.as_ref())
}

/// The id of the first certificate of a PEM file.
pub fn certificate_id_of(path: &Path) -> Result<String, PkiError> {
    let der = CertificateDer::from_pem_file(path).map_err(|error| bad(path, error))?;
    Ok(certificate_id(&der))
}

fn ca(dir: &Path) -> Result<Issuer<'static, KeyPair>, PkiError> {
    let (certificate_path, key_path) = (dir.join("ca.pem"), dir.join("ca.key"));
    if certificate_path.exists() || key_path.exists() {
        let key = KeyPair::from_pem(&read(&key_path)?).map_err(|error| bad(&key_path, error))?;
        return Issuer::from_ca_cert_pem(&read(&certificate_path)?, key)
            .map_err(|error| bad(&certificate_path, error));
    }
    let key = KeyPair::generate().map_err(|error| bad(dir, error))?;
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name("Bitts development CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_days(&mut params, CA_DAYS);
    let certificate = params.self_signed(&key).map_err(|error| bad(dir, error))?;
    write(&key_path, &key.serialize_pem(), 0o600)?;
    write(&certificate_path, &certificate.pem(), 0o644)?;
    Ok(Issuer::new(params, key))
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// Valid from yesterday, so that clocks that go a little late agree.
fn set_days(params: &mut CertificateParams, days: i64) {
    let date = |days: i64| {
        let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
        let date = now.saturating_add(jiff::Span::new().days(days));
        date_time_ymd(
            i32::from(date.year()),
            u8::try_from(date.month()).unwrap_or(1),
            u8::try_from(date.day()).unwrap_or(1),
        )
    };
    params.not_before = date(-1);
    params.not_after = date(days);
}

fn is_name(name: &str) -> bool {
    let is_host = |name: &str| {
        !name.is_empty()
            && name.len() <= 253
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte))
    };
    name.parse::<IpAddr>().map_or_else(|_| is_host(name), |address| !address.is_unspecified())
}

fn read(path: &Path) -> Result<String, PkiError> {
    fs::read_to_string(path).map_err(|source| PkiError::File { path: path.to_owned(), source })
}

/// Writes under another name and renames, so that nobody finds half a file.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), PkiError> {
    let temporary = path.with_extension("new");
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&temporary)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&temporary, path));
    written.map_err(|source| PkiError::File { path: path.to_owned(), source })
}

fn bad(path: &Path, error: impl ToString) -> PkiError {
    PkiError::Certificate { path: path.to_owned(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::tls::Tls;

    #[test]
    fn a_folder_is_filled_once_and_can_be_served_from() {
        let dir = tempfile::tempdir().unwrap();
        let pki = dir.path().join("pki");
        let files = ensure(&pki, &["host.example".to_owned(), "0.0.0.0".to_owned()]).unwrap();
        let before = fs::read(&files.certificate).unwrap();
        assert_eq!(ensure(&pki, &[]).unwrap(), files);
        assert_eq!(fs::read(&files.certificate).unwrap(), before);
        Tls::load(files.clone()).unwrap().reload().unwrap();
        for key in ["ca.key", "server.key"] {
            let mode = fs::metadata(pki.join(key)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        fs::write(&files.key, "no key").unwrap();
        assert!(Tls::load(files).is_err());
    }

    /// Contract: the id is the SHA-256 of the certificate itself.
    #[test]
    fn a_device_certificate_is_named_as_aws_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let device = create_device(dir.path(), "thermostat-7", 30).unwrap();
        let path = dir.path().join("device.pem");
        fs::write(&path, &device.certificate).unwrap();
        assert_eq!(certificate_id_of(&path).unwrap(), device.id);
        assert_eq!(device.id.len(), 64);
        assert!(device.key.contains("PRIVATE KEY") && device.ca.contains("CERTIFICATE"));
    }
}
