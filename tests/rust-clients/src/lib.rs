//! The server under test, for clients in Rust: the binary itself, on free ports, one for each test.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_iotdataplane::Client;
use aws_sdk_iotdataplane::config::{Credentials, Region};
use aws_smithy_http_client::Builder;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// Longest time a start, an event or an answer may take.
pub const LIMIT: Duration = Duration::from_secs(10);

/// A running `bitts serve`; killed with its folder when it is dropped.
pub struct Server {
    child: Child,
    folder: tempfile::TempDir,
    ready: String,
    binary: PathBuf,
}

impl Server {
    /// Starts the binary that `BITTS` names and waits for its ready file.
    pub async fn start() -> Self {
        let default = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/release/bitts");
        let binary = std::env::var_os("BITTS").map_or(default, PathBuf::from);
        let folder = tempfile::tempdir().expect("a folder");
        let ready = folder.path().join("ready.json");
        let mut child = Command::new(&binary)
            .args(["serve", "--ephemeral", "--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0"])
            .args(["--mqtts", "127.0.0.1:0", "--https", "off"])
            .arg("--ready-file")
            .arg(&ready)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", binary.display()));
        let began = Instant::now();
        while !ready.exists() {
            assert!(child.try_wait().expect("a status").is_none(), "the server ended");
            assert!(began.elapsed() < LIMIT, "the server is not ready");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let ready = std::fs::read_to_string(&ready).expect("the ready file");
        Self { child, folder, ready, binary }
    }

    /// `127.0.0.1:40001` of a listener.
    fn address(&self, listener: &str) -> &str {
        let key = format!("\"{listener}\":");
        let rest = self.ready.split(&key).nth(1).expect("the listener");
        rest.split('"').nth(1).expect("its address")
    }

    /// The port of a listener on 127.0.0.1.
    pub fn port(&self, listener: &str) -> u16 {
        let port = self.address(listener).rsplit(':').next().expect("a port");
        port.parse().expect("a number")
    }

    /// TLS with a device certificate, made by `bitts certificate create`, that trusts its CA only.
    pub fn tls(&self) -> ClientConfig {
        let path = |name: &str| self.folder.path().join(name);
        let made = Command::new(&self.binary)
            .args(["certificate", "create", "device", "--output", "json", "--out"])
            .arg(self.folder.path())
            .current_dir(self.folder.path())
            .output()
            .expect("it runs");
        assert!(made.status.success(), "{made:?}");
        let certificate = |name| CertificateDer::from_pem_file(path(name)).expect("a certificate");
        let mut roots = RootCertStore::empty();
        roots.add(certificate("ca.pem")).expect("a CA");
        let key = PrivateKeyDer::from_pem_file(path("device.key")).expect("a key");
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate("device.pem")], key)
            .expect("a pair")
    }

    /// The AWS SDK for Rust, unmodified, over HTTP.
    pub fn iot(&self) -> Client {
        let config = aws_sdk_iotdataplane::Config::builder()
            .behavior_version_latest()
            .endpoint_url(format!("http://{}", self.address("http")))
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("AKIDEXAMPLE", "SECRET", None, None, "test"))
            .http_client(Builder::new().build_http())
            .build();
        Client::from_conf(config)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().and_then(|()| self.child.wait()).expect("the server runs until here");
    }
}
