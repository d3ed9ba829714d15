//! TLS: which certificate we show, and what a client's certificate is worth.
//!
//! TLS 1.2 and 1.3. A client certificate is asked for and need not be given; the handshake proves
//! that the client holds its key, and who it is follows from the certificate itself, never from its
//! chain. New files replace the old ones for new connections only, all of them or none.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, ServerConfig, ServerConnection,
    SignatureScheme,
};

use webpki::{CertRevocationList, EndEntityCert, OwnedCertRevocationList};

use crate::layers::Layers;

/// ALPN of MQTT with a client certificate, as AWS's SDKs ask for it.
pub(crate) const ALPN_MQTT_CERTIFICATE: &[u8] = b"x-amzn-mqtt-ca";
/// ALPN of MQTT with a custom authorizer.
pub(crate) const ALPN_MQTT: &[u8] = b"mqtt";
/// ALPN of HTTP with a client certificate.
pub(crate) const ALPN_HTTP_CERTIFICATE: &[u8] = b"x-amzn-http-ca";
/// ALPN of plain HTTP.
pub(crate) const ALPN_HTTP: &[u8] = b"http/1.1";

/// TLS sessions of 1.2 that can be resumed.
const SESSIONS_CACHED: usize = 4_096;

/// Where the files are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TlsFiles {
    /// Our certificate and those between it and its root, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// Lists of certificates of clients that their authorities revoked, PEM. Default none.
    pub revoked: Option<PathBuf>,
}

impl TlsFiles {
    /// Something that changes when the files do.
    pub(crate) fn fingerprint(&self) -> [Option<(SystemTime, u64, u64)>; 3] {
        [Some(&self.certificate), Some(&self.key), self.revoked.as_ref()].map(|path| {
            let metadata = std::fs::metadata(path?).ok()?;
            Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
        })
    }
}

/// Why files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or is not PEM.
    #[error("{}: {reason}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Certificate and key do not belong together, or are of a kind that cannot be used.
    #[error("{} with {}: {reason}", certificate.display(), key.display())]
    Pair {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
        /// What is wrong with them.
        reason: rustls::Error,
    },
}

/// What TLS listeners share; new connections use what was loaded last.
#[derive(Debug)]
pub(crate) struct Tls {
    files: TlsFiles,
    /// For the listener of MQTT.
    mqtt: ArcSwap<ServerConfig>,
    /// For the listener of everything.
    all: ArcSwap<ServerConfig>,
}

impl Tls {
    pub(crate) fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let (mqtt, all) = configs(&files)?;
        Ok(Self { files, mqtt: ArcSwap::new(mqtt), all: ArcSwap::new(all) })
    }

    /// Reads the files again; where one of them is bad, everything stays as it is.
    pub(crate) fn reload(&self) -> Result<(), TlsError> {
        let (mqtt, all) = configs(&self.files)?;
        self.mqtt.store(mqtt);
        self.all.store(all);
        Ok(())
    }

    pub(crate) fn files(&self) -> &TlsFiles {
        &self.files
    }

    /// The layers of a connection that begins with a handshake and then speaks MQTT.
    pub(crate) fn accept(&self) -> Result<Box<Layers>, rustls::Error> {
        ServerConnection::new(self.mqtt.load_full()).map(|tls| Box::new(Layers::tls(Box::new(tls))))
    }

    /// The configuration of the listener that speaks everything.
    pub(crate) fn all(&self) -> Arc<ServerConfig> {
        self.all.load_full()
    }
}

fn configs(files: &TlsFiles) -> Result<(Arc<ServerConfig>, Arc<ServerConfig>), TlsError> {
    let chain = certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| file_error(&files.key, error.to_string()))?;
    let pair = |reason| TlsError::Pair {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
        reason,
    };
    let revoked = match &files.revoked {
        Some(path) => revocation_lists(path)?,
        None => Vec::new(),
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(pair)?
        .with_client_cert_verifier(Arc::new(AnyCertificate { provider, revoked }))
        .with_single_cert(chain, key)
        .map_err(pair)?;
    config.session_storage = rustls::server::ServerSessionMemoryCache::new(SESSIONS_CACHED);
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(pair)?;
    let mut all = config.clone();
    // Some SDKs offer `x-amzn-mqtt-ca` on every port; no overlap would end the handshake.
    config.alpn_protocols = vec![ALPN_MQTT_CERTIFICATE.to_vec(), ALPN_MQTT.to_vec()];
    all.alpn_protocols = [ALPN_MQTT_CERTIFICATE, ALPN_HTTP_CERTIFICATE, ALPN_HTTP, ALPN_MQTT]
        .map(<[u8]>::to_vec)
        .into();
    Ok((Arc::new(config), Arc::new(all)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| file_error(path, error.to_string()))?;
    if chain.is_empty() {
        return Err(file_error(path, "holds no certificate".to_owned()));
    }
    Ok(chain)
}

/// A certificate's id: the SHA-256 of its DER, as AWS computes it.
pub(crate) fn certificate_id(certificate: &CertificateDer<'_>) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate);
    let mut id = [0; 32];
    id.copy_from_slice(digest.as_ref());
    id
}

fn revocation_lists(path: &Path) -> Result<Vec<CertRevocationList<'static>>, TlsError> {
    let lists = CertificateRevocationListDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| file_error(path, error.to_string()))?;
    if lists.is_empty() {
        return Err(file_error(path, "holds no certificate revocation list".to_owned()));
    }
    let read = |list: &CertificateRevocationListDer<'_>| {
        OwnedCertRevocationList::from_der(list).map(CertRevocationList::Owned)
    };
    let lists = lists.iter().map(read).collect::<Result<_, _>>();
    lists.map_err(|error: webpki::Error| file_error(path, error.to_string()))
}

fn file_error(path: &Path, reason: String) -> TlsError {
    TlsError::File { path: path.to_owned(), reason }
}

/// Takes any certificate whose key the client proves to hold and that nobody revoked. Who it is
/// for is the registry's to say.
#[derive(Debug)]
struct AnyCertificate {
    provider: Arc<CryptoProvider>,
    revoked: Vec<CertRevocationList<'static>>,
}

impl AnyCertificate {
    /// Whether a list of its issuer names its serial number; one that cannot be read is.
    fn is_revoked(&self, certificate: &CertificateDer<'_>) -> bool {
        if self.revoked.is_empty() {
            return false;
        }
        let Ok(certificate) = EndEntityCert::try_from(certificate) else { return true };
        self.revoked.iter().any(|list| {
            let is_issuer = list.issuer() == certificate.issuer();
            is_issuer && !matches!(list.find_serial(certificate.serial()), Ok(None))
        })
    }
}

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        if self.is_revoked(end_entity) {
            return Err(rustls::Error::InvalidCertificate(CertificateError::Revoked));
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
