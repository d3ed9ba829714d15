//! TLS for both protocols: which servers are trusted, and who the client says it is.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;

/// How a TLS connection is made. The default trusts the public roots and shows no certificate.
#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    /// Certificates in PEM that are trusted instead of the public roots.
    pub roots_pem: Option<Vec<u8>>,
    /// The client's certificate chain and private key in PEM.
    pub client_certificate: Option<ClientCertificate>,
    /// Protocols to offer, such as `x-amzn-mqtt-ca`.
    pub alpn: Vec<Vec<u8>>,
}

/// What the client shows.
#[derive(Clone)]
pub struct ClientCertificate {
    /// The chain in PEM, the client's own first.
    pub chain_pem: Vec<u8>,
    /// Its private key in PEM.
    pub key_pem: Vec<u8>,
}

/// The key stays out of logs.
impl std::fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientCertificate")
    }
}

/// Why these options make no TLS.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The trusted certificates are not PEM, or there is none.
    #[error("the trusted certificates are not certificates in PEM")]
    Roots,
    /// The client's chain or key is not PEM, or the two do not belong together.
    #[error("the client certificate and key are not a chain and its key in PEM")]
    ClientCertificate,
    /// The TLS library refuses.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

impl TlsOptions {
    /// What rustls connects with.
    pub fn config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.roots()?);
        let mut config = match &self.client_certificate {
            None => builder.with_no_client_auth(),
            Some(certificate) => {
                let chain = certificates(&certificate.chain_pem);
                let key = PrivateKeyDer::from_pem_slice(&certificate.key_pem);
                let (Some(chain), Ok(key)) = (chain, key) else {
                    return Err(TlsError::ClientCertificate);
                };
                builder.with_client_auth_cert(chain, key).or(Err(TlsError::ClientCertificate))?
            }
        };
        config.alpn_protocols.clone_from(&self.alpn);
        Ok(Arc::new(config))
    }

    fn roots(&self) -> Result<RootCertStore, TlsError> {
        let Some(pem) = &self.roots_pem else {
            return Ok(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() });
        };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(pem).ok_or(TlsError::Roots)? {
            roots.add(certificate).or(Err(TlsError::Roots))?;
        }
        Ok(roots)
    }
}

/// All certificates of a PEM text; `None` where one is broken or there is none.
fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    certificates.ok().filter(|certificates| !certificates.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_trusts_the_public_roots() {
        assert!(TlsOptions::default().config().is_ok());
    }

    #[test]
    fn what_is_not_pem_is_refused() {
        let options = TlsOptions { roots_pem: Some(b"x".to_vec()), ..TlsOptions::default() };
        assert!(matches!(options.config(), Err(TlsError::Roots)));
        let certificate = ClientCertificate { chain_pem: Vec::new(), key_pem: Vec::new() };
        let options = TlsOptions { client_certificate: Some(certificate), ..TlsOptions::default() };
        assert!(matches!(options.config(), Err(TlsError::ClientCertificate)));
    }
}
