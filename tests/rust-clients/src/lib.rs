//! The server under test, for clients in Rust: the binary itself, on free ports, one for each test.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_iotdataplane::Client;
use aws_sdk_iotdataplane::config::retry::RetryConfig;
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
    /// The first administrator's, with `--auth enforce`.
    admin: Option<Key>,
}

/// An access key.
#[derive(Clone, Debug)]
pub struct Key {
    /// `accessKeyId`.
    pub id: String,
    /// `secretAccessKey`.
    pub secret: String,
}

impl Key {
    /// The key that `bitts credential create` printed.
    fn of(printed: &str) -> Self {
        let member = |name: &str| text_of(printed, name).expect("a member").to_owned();
        Self { id: member("accessKeyId"), secret: member("secretAccessKey") }
    }
}

/// A member of a flat JSON object whose value is text without escapes.
fn text_of<'a>(json: &'a str, name: &str) -> Option<&'a str> {
    json.split(&format!("\"{name}\":")).nth(1)?.split('"').nth(1)
}

impl Server {
    /// Starts the binary that `BITTS` names and waits for its ready file.
    pub async fn start() -> Self {
        Self::start_with(false).await
    }

    /// The same with `--auth enforce` and a first administrator.
    pub async fn start_enforced() -> Self {
        Self::start_with(true).await
    }

    async fn start_with(is_enforced: bool) -> Self {
        let default = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/release/bitts");
        let binary = std::env::var_os("BITTS").map_or(default, PathBuf::from);
        let folder = tempfile::tempdir().expect("a folder");
        let ready = folder.path().join("ready.json");
        let mut keeps = vec!["--ephemeral"];
        let mut admin = None;
        if is_enforced {
            keeps = vec!["--data-dir", "bitts-data", "--auth", "enforce"];
            let words = ["credential", "create", "--admin", "--data-dir", "bitts-data"];
            admin = Some(Key::of(&run(Command::new(&binary).args(words), folder.path())));
        }
        let mut child = Command::new(&binary)
            .arg("serve")
            .args(keeps)
            .args(["--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0"])
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
        Self { child, folder, ready, binary, admin }
    }

    /// Runs `bitts WORDS…` as the administrator: what it printed, JSON.
    pub fn run(&self, words: &[&str]) -> String {
        let admin = self.admin.as_ref().expect("a server that enforces");
        let mut command = Command::new(&self.binary);
        command
            .args(words)
            .env("AWS_ENDPOINT_URL", format!("http://{}", self.address("http")))
            .env("AWS_ACCESS_KEY_ID", &admin.id)
            .env("AWS_SECRET_ACCESS_KEY", &admin.secret)
            .env("AWS_DEFAULT_REGION", "us-east-1");
        run(&mut command, self.folder.path())
    }

    /// An access key with a policy of one statement.
    pub fn create_key(&self, policy: &str, action: &str, resource: &str) -> Key {
        self.create_policy(policy, action, resource);
        Key::of(&self.run(&["credential", "create", "--policy", policy]))
    }

    /// A policy of one statement that allows.
    pub fn create_policy(&self, name: &str, action: &str, resource: &str) {
        let document = format!(
            r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow","Action":"{action}",
            "Resource":"{resource}"}}}}"#
        );
        let file = format!("{name}.json");
        std::fs::write(self.folder.path().join(&file), document).expect("a file");
        self.run(&["policy", "create", name, &file]);
    }

    /// Registers the certificate of [`Server::tls`] with a policy: its id.
    pub fn register_device(&self, policy: &str) -> String {
        let words = ["certificate", "create", "device", "--register", "--out", "."];
        let printed = self.run(&[&words[..], &["--pki-dir", "bitts-data/pki"]].concat());
        let id = text_of(&printed, "certificateId").expect("an id").to_owned();
        self.run(&["certificate", "attach", &id, "--policy", policy]);
        id
    }

    /// `127.0.0.1:40001` of a listener.
    fn address(&self, listener: &str) -> &str {
        text_of(&self.ready, listener).expect("the listener")
    }

    /// The port of a listener on 127.0.0.1.
    pub fn port(&self, listener: &str) -> u16 {
        let port = self.address(listener).rsplit(':').next().expect("a port");
        port.parse().expect("a number")
    }

    /// Makes the next call of an operation throttle.
    pub fn throttle(&self, operation: &str) {
        let path = format!("/bitts/v1/throttle?calls=1&operation={operation}");
        let mut stream = TcpStream::connect(self.address("http")).expect("a connection");
        let request = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("room");
        let mut status = [0; 12];
        stream.read_exact(&mut status).expect("an answer");
        assert_eq!(&status, b"HTTP/1.1 200");
    }

    /// TLS with a device certificate, made by `bitts certificate create`, that trusts its CA only.
    pub fn tls(&self) -> ClientConfig {
        let path = |name: &str| self.folder.path().join(name);
        if !path("device.pem").exists() {
            let words = ["certificate", "create", "device", "--out", "."];
            run(Command::new(&self.binary).args(words), self.folder.path());
        }
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
        let key = Key { id: "AKIDEXAMPLE".to_owned(), secret: "SECRET".to_owned() };
        self.iot_as(&key, None)
    }

    /// The same with a key, and a session token where it is temporary.
    pub fn iot_as(&self, key: &Key, token: Option<&str>) -> Client {
        Client::from_conf(self.config(key, token).build())
    }

    /// The same without retries, which would spend what a test arranged.
    pub fn iot_once(&self, key: Option<&Key>) -> Client {
        let any = Key { id: "AKIDEXAMPLE".to_owned(), secret: "SECRET".to_owned() };
        let config = self.config(key.unwrap_or(&any), None);
        Client::from_conf(config.retry_config(RetryConfig::disabled()).build())
    }

    fn config(&self, key: &Key, token: Option<&str>) -> aws_sdk_iotdataplane::config::Builder {
        let token = token.map(str::to_owned);
        aws_sdk_iotdataplane::Config::builder()
            .behavior_version_latest()
            .endpoint_url(format!("http://{}", self.address("http")))
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new(&key.id, &key.secret, token, None, "test"))
            .http_client(Builder::new().build_http())
    }
}

/// What a command of `bitts` printed, JSON.
fn run(command: &mut Command, folder: &Path) -> String {
    let done = command.args(["--output", "json"]).current_dir(folder).output().expect("it runs");
    assert!(done.status.success(), "{done:?}");
    String::from_utf8(done.stdout).expect("text")
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().and_then(|()| self.child.wait()).expect("the server runs until here");
    }
}
