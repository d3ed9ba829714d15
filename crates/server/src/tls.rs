//! TLS: which certificate we show, and what a client's certificate is worth.
//!
//! TLS 1.2 and 1.3. A client certificate is asked for and need not be given; the handshake proves
//! that the client holds its key, and who it is follows from the certificate itself, never from its
//! chain. So version 1 will do, which `openssl x509 -req` makes and webpki does not read. New files
//! replace the old ones, all of them or none: certificate and key for new connections, the lists of
//! revoked certificates everywhere.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls13_signature_with_raw_key};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, SignatureVerificationAlgorithm,
    SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, ServerConfig, ServerConnection,
    SignatureScheme,
};

use webpki::{CertRevocationList, OwnedCertRevocationList, RawPublicKeyEntity};
use x509_parser::asn1_rs::Any;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::layers::Layers;
#[cfg(doc)]
use crate::mesh::Mesh;

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
    revoked: Arc<Revoked>,
}

impl Tls {
    pub(crate) fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let revoked = Arc::<Revoked>::default();
        let (mqtt, all, lists) = configs(&files, &revoked)?;
        revoked.0.store(lists);
        Ok(Self { files, mqtt: ArcSwap::new(mqtt), all: ArcSwap::new(all), revoked })
    }

    /// Reads the files again; where one of them is bad, everything stays as it is. Whose
    /// certificate a list names is still connected: see [`Mesh::look_for_revoked`].
    pub(crate) fn reload(&self) -> Result<(), TlsError> {
        let (mqtt, all, lists) = configs(&self.files, &self.revoked)?;
        self.mqtt.store(mqtt);
        self.all.store(all);
        self.revoked.0.store(lists);
        Ok(())
    }

    /// What the lists say.
    pub(crate) fn revoked(&self) -> &Arc<Revoked> {
        &self.revoked
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

/// For MQTT, for everything, and the lists.
type Configs = (Arc<ServerConfig>, Arc<ServerConfig>, Arc<Lists>);

fn configs(files: &TlsFiles, revoked: &Arc<Revoked>) -> Result<Configs, TlsError> {
    let chain = certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| file_error(&files.key, error.to_string()))?;
    let pair = |reason| TlsError::Pair {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
        reason,
    };
    let lists = match &files.revoked {
        Some(path) => revocation_lists(path)?,
        None => Lists::new(),
    };
    let revoked = Arc::clone(revoked);
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
    Ok((Arc::new(config), Arc::new(all), Arc::new(lists)))
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

fn revocation_lists(path: &Path) -> Result<Lists, TlsError> {
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
    lists.map_err(|error: webpki::Error| {
        file_error(path, format!("holds a list that is not of version 2, or is damaged: {error}"))
    })
}

fn file_error(path: &Path, reason: String) -> TlsError {
    TlsError::File { path: path.to_owned(), reason }
}

type Lists = Vec<CertRevocationList<'static>>;

/// What authorities say of certificates that they signed, as it was read last.
#[derive(Debug, Default)]
pub(crate) struct Revoked(ArcSwap<Lists>);

impl Revoked {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.load().is_empty()
    }

    /// Whether a list of its issuer names its serial number; one that cannot be read is.
    pub(crate) fn names(&self, certificate: &CertificateDer<'_>) -> bool {
        let lists = self.0.load();
        if lists.is_empty() {
            return false;
        }
        let Ok(certificate) = parse(certificate) else { return true };
        // Lists have the name without its tag and length.
        let Ok((_, issuer)) = Any::from_der(certificate.issuer().as_raw()) else { return true };
        lists.iter().any(|list| {
            let is_issuer = list.issuer() == issuer.data;
            is_issuer && !matches!(list.find_serial(certificate.raw_serial()), Ok(None))
        })
    }
}

/// Takes any certificate whose key the client proves to hold and that nobody revoked. Who it is
/// for is the registry's to say.
#[derive(Debug)]
struct AnyCertificate {
    provider: Arc<CryptoProvider>,
    revoked: Arc<Revoked>,
}

/// A certificate of any version.
fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, rustls::Error> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) | Err(_) => Err(bad_encoding()),
    }
}

fn bad_encoding() -> rustls::Error {
    rustls::Error::InvalidCertificate(CertificateError::BadEncoding)
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
        if self.revoked.names(end_entity) {
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
        let certificate = parse(certificate)?;
        let key = SubjectPublicKeyInfoDer::from(certificate.public_key().raw);
        let key = RawPublicKeyEntity::try_from(&key).map_err(|_| bad_encoding())?;
        let known = &self.provider.signature_verification_algorithms;
        let of_scheme = known.mapping.iter().find(|(scheme, _)| *scheme == signature.scheme);
        let algorithms = of_scheme.map(|(_, algorithms)| *algorithms).unwrap_or_default();
        let is_right = |algorithm: &&dyn SignatureVerificationAlgorithm| {
            key.verify_signature(*algorithm, message, signature.signature()).is_ok()
        };
        if algorithms.iter().any(is_right) {
            Ok(HandshakeSignatureValid::assertion())
        } else {
            Err(rustls::Error::InvalidCertificate(CertificateError::BadSignature))
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let certificate = parse(certificate)?;
        let key = SubjectPublicKeyInfoDer::from(certificate.public_key().raw);
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature_with_raw_key(message, &key, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rustls::client::ResolvesClientCert;
    use rustls::pki_types::ServerName;
    use rustls::sign::CertifiedKey;
    use rustls::version::{TLS12, TLS13};
    use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};

    use super::*;
    use crate::pki;

    /// A client that shows a certificate and signs with a key, whether or not they are a pair.
    #[derive(Debug)]
    struct Shows(Arc<CertifiedKey>);

    impl ResolvesClientCert for Shows {
        fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
            Some(Arc::clone(&self.0))
        }

        fn has_certs(&self) -> bool {
            true
        }
    }

    fn client(shown: Shows, ca: &str, version: &'static SupportedProtocolVersion) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_client_cert_resolver(Arc::new(shown))
    }

    /// The handshake to its end, or to what the server refuses.
    fn shake_hands(
        client: &mut ClientConnection,
        server: &mut ServerConnection,
    ) -> Result<(), rustls::Error> {
        while client.is_handshaking() || server.is_handshaking() {
            let mut sent = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut sent).unwrap();
            }
            server.read_tls(&mut sent.as_slice()).unwrap();
            server.process_new_packets()?;
            let mut answered = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut answered).unwrap();
            }
            client.read_tls(&mut answered.as_slice()).unwrap();
            client.process_new_packets().unwrap();
        }
        Ok(())
    }

    #[test]
    fn a_certificate_is_nobodys_who_has_not_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let files = pki::ensure(dir.path(), &["host.example".to_owned()]).unwrap();
        let tls = Tls::load(files).unwrap();
        let device = pki::create_device(dir.path(), "lamp", 30).unwrap();
        let thief = pki::create_device(dir.path(), "lamp", 30).unwrap();
        for version in [&TLS12, &TLS13] {
            for (key, is_good) in [(&device.key, true), (&thief.key, false)] {
                let der = CertificateDer::from_pem_slice(device.certificate.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
                let shown = Shows(Arc::new(CertifiedKey::new(vec![der.clone()], key)));
                let config = Arc::new(client(shown, &device.ca, version));
                let name = ServerName::try_from("host.example").unwrap();
                let mut client = ClientConnection::new(config, name).unwrap();
                let mut server = ServerConnection::new(tls.all()).unwrap();
                let shaken = shake_hands(&mut client, &mut server);
                assert_eq!(shaken.is_ok(), is_good, "{version:?} {shaken:?}");
                if is_good {
                    assert_eq!(server.peer_certificates(), Some([der].as_slice()));
                }
            }
        }
    }
}
