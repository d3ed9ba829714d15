//! Listeners with TLS: the development certificate, and certificates that change while it serves.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bitts_server::pki;
use rustix::process::Signal;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

use crate::process::Served;

/// Folders with a development CA each, whose server certificates take turns in `tls.pem`.
struct Bed {
    dir: TempDir,
    served: Served,
}

impl Bed {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        for folder in ["one", "two"] {
            pki::ensure(&dir.path().join(folder), &[]).expect("made");
        }
        let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
        show(dir.path(), "one", "one");
        fs::write(path("bitts.toml"), "").expect("written");
        let served = Served::start(&[
            "--mqtts=127.0.0.1:0",
            "--https=127.0.0.1:0",
            "--tls-certificate",
            &path("tls.pem"),
            "--tls-key",
            &path("tls.key"),
            "--config",
            &path("bitts.toml"),
        ]);
        Self { dir, served }
    }

    fn show(&self, certificate: &str, key: &str) {
        show(self.dir.path(), certificate, key);
    }

    fn certificate(&self, folder: &str) -> CertificateDer<'static> {
        certificate(&self.dir.path().join(folder).join("server.pem"))
    }

    /// The certificates that both listeners show to a new connection.
    fn shown(&self) -> [CertificateDer<'static>; 2] {
        ["mqtts", "https"].map(|listener| {
            let stream = connect(self.served.address(listener), self.dir.path());
            let shown = stream.conn.peer_certificates().expect("a chain");
            shown.first().expect("a certificate").clone().into_owned()
        })
    }
}

/// Makes a certificate and a key what the server is configured with, each by a rename.
fn show(dir: &Path, certificate: &str, key: &str) {
    for (from, to) in [(key, "key"), (certificate, "pem")] {
        let new = dir.join(format!("new.{to}"));
        fs::copy(dir.join(from).join(format!("server.{to}")), &new).expect("copied");
        fs::rename(new, dir.join(format!("tls.{to}"))).expect("renamed");
    }
}

fn certificate(path: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).expect("a certificate")
}

/// A TLS connection, its handshake done, that trusts the CAs of both folders and no others.
fn connect(address: SocketAddr, dir: &Path) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    for folder in ["one", "two"] {
        roots.add(certificate(&dir.join(folder).join("ca.pem"))).expect("a CA");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let mut connection = ClientConnection::new(Arc::new(config), name).expect("a configuration");
    let mut socket = TcpStream::connect(address).expect("accepted");
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
    while connection.is_handshaking() {
        connection.complete_io(&mut socket).expect("a handshake");
    }
    StreamOwned::new(connection, socket)
}

#[test]
fn a_changed_certificate_is_shown_after_sighup() {
    let mut bed = Bed::start();
    assert_eq!(bed.shown(), [bed.certificate("one"), bed.certificate("one")]);
    bed.show("two", "two");
    bed.served.signal(Signal::HUP);
    bed.served.log_line("certificate and key read again");
    assert_eq!(bed.shown(), [bed.certificate("two"), bed.certificate("two")]);
}

#[test]
fn a_changed_certificate_is_shown_without_a_signal() {
    let mut bed = Bed::start();
    bed.show("two", "two");
    bed.served.log_line("the certificate was read again");
    assert_eq!(bed.shown(), [bed.certificate("two"), bed.certificate("two")]);
}

/// All or nothing: the certificate of one and the key of the other, and a setting beside them.
#[test]
fn a_certificate_without_its_key_changes_nothing() {
    let mut bed = Bed::start();
    fs::write(bed.dir.path().join("bitts.toml"), "log = 'debug'\n").expect("written");
    bed.show("two", "one");
    bed.served.signal(Signal::HUP);
    let line = bed.served.log_line("nothing is changed");
    assert!(line.contains("tls.pem") && line.contains("tls.key"), "{line}");
    assert_eq!(bed.shown(), [bed.certificate("one"), bed.certificate("one")]);
    bed.show("two", "two");
    bed.served.signal(Signal::HUP);
    let line = bed.served.log_line("changed setting=\"log\"");
    assert!(line.contains("before=\"info\" after=\"debug\""), "{line}");
    assert_eq!(bed.shown(), [bed.certificate("two"), bed.certificate("two")]);
}

#[test]
fn a_file_that_is_gone_or_no_pem_changes_nothing() {
    let mut bed = Bed::start();
    for path in ["tls.pem", "tls.key"] {
        fs::write(bed.dir.path().join(path), "nonsense").expect("written");
        bed.served.signal(Signal::HUP);
        let line = bed.served.log_line("nothing is changed");
        assert!(line.contains(path), "{line}");
        fs::remove_file(bed.dir.path().join(path)).expect("removed");
        bed.served.signal(Signal::HUP);
        bed.served.log_line("nothing is changed");
        assert_eq!(bed.shown(), [bed.certificate("one"), bed.certificate("one")]);
        bed.show("one", "one");
    }
}

#[test]
fn a_connection_outlives_the_certificate_it_was_made_with() {
    let mut bed = Bed::start();
    let mut client = connect(bed.served.address("mqtts"), bed.dir.path());
    // CONNECT of MQTT 3.1.1 with the client identifier "a".
    client.write_all(b"\x10\x0D\x00\x04MQTT\x04\x02\x00\x00\x00\x01a").expect("written");
    let mut connack = [0; 4];
    client.read_exact(&mut connack).expect("CONNACK");
    assert_eq!(connack, [0x20, 2, 0, 0]);
    bed.show("two", "two");
    bed.served.signal(Signal::HUP);
    bed.served.log_line("certificate and key read again");
    client.write_all(b"\xC0\x00").expect("written");
    let mut pingresp = [0; 2];
    client.read_exact(&mut pingresp).expect("PINGRESP");
    assert_eq!(pingresp, [0xD0, 0]);
}

#[test]
fn a_bad_certificate_at_the_start_is_status_1() {
    let dir = tempfile::tempdir().expect("a directory");
    for folder in ["one", "two"] {
        pki::ensure(&dir.path().join(folder), &[]).expect("made");
    }
    let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    for key in ["two/server.key", "absent.key"] {
        let ended = crate::process::run_bitts(&[
            "serve",
            "--ephemeral",
            "--mqtt=127.0.0.1:0",
            "--http=127.0.0.1:0",
            "--mqtts=127.0.0.1:0",
            "--tls-certificate",
            &path("one/server.pem"),
            "--tls-key",
            &path(key),
        ]);
        assert_eq!(ended.status, Some(1), "{}", ended.stderr);
        assert!(ended.stderr.contains(&path(key)), "{}", ended.stderr);
        assert_eq!(ended.stdout, "");
    }
}

/// Without certificates of one's own, a folder is filled with a CA and a server certificate.
#[test]
fn a_development_certificate_is_made_and_shown() {
    let dir = tempfile::tempdir().expect("a directory");
    // The client trusts the CAs of two folders; both are this one's.
    let pki_dir = dir.path().join("one");
    std::os::unix::fs::symlink(&pki_dir, dir.path().join("two")).expect("linked");
    let served =
        Served::start(&["--mqtts=127.0.0.1:0", "--pki-dir", pki_dir.to_str().expect("UTF-8")]);
    let stream = connect(served.address("mqtts"), dir.path());
    let shown = stream.conn.peer_certificates().expect("a chain");
    assert_eq!(shown.first(), Some(&certificate(&pki_dir.join("server.pem"))));
}
