//! The same MQTT through every listener: TCP, TLS, WebSocket, WebSocket in TLS, TLS by ALPN.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use bitts_server::{Config, Running, Server, pki};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// CONNECT of MQTT 5 without properties, Client Identifier `c`.
const CONNECT: &[u8] = b"\x10\x0E\0\x04MQTT\x05\x02\0\x3C\0\0\x01c";
const PINGREQ: &[u8] = b"\xC0\0";
const PINGRESP: &[u8] = b"\xD0\0";
const HANDSHAKE: &str = "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: other, mqtt\r\n\r\n";

struct Bed {
    running: Running,
    _dir: tempfile::TempDir,
    ca: CertificateDer<'static>,
    device: pki::DeviceCertificate,
}

fn start() -> Bed {
    let dir = tempfile::tempdir().unwrap();
    let any = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let tls = Some(pki::ensure(dir.path(), &[]).unwrap());
    let device = pki::create_device(dir.path(), "c", 30).unwrap();
    let ca = CertificateDer::from_pem_file(dir.path().join("ca.pem")).unwrap();
    let config = Config { mqtt: any, mqtts: any, http: any, https: any, tls, ..Config::default() };
    Bed { running: Server::start(&config).unwrap(), _dir: dir, ca, device }
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

fn tcp(address: Option<SocketAddr>) -> TcpStream {
    let stream = TcpStream::connect(address.unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

fn tls(bed: &Bed, address: Option<SocketAddr>, alpn: &[&[u8]]) -> Box<dyn Stream> {
    let mut roots = RootCertStore::empty();
    roots.add(bed.ca.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let certificate = CertificateDer::from_pem_slice(bed.device.certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(bed.device.key.as_bytes()).unwrap();
    let mut config = builder.with_client_auth_cert(vec![certificate], key).unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    Box::new(StreamOwned::new(connection, tcp(address)))
}

fn read(stream: &mut dyn Stream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

fn read_packet(stream: &mut dyn Stream) -> Vec<u8> {
    let mut packet = read(stream, 2);
    packet.extend(read(stream, usize::from(packet[1])));
    packet
}

/// Connects, pings, and leaves with DISCONNECT, on which the server closes.
fn speak(stream: &mut dyn Stream) {
    stream.write_all(CONNECT).unwrap();
    assert_eq!(read_packet(stream)[..4], [0x20, 0x0E, 0, 0]);
    stream.write_all(PINGREQ).unwrap();
    assert_eq!(read_packet(stream), PINGRESP);
    stream.write_all(b"\xE0\0").unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let mut bytes = vec![0x82, 0x80 | payload.len() as u8];
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// The same in WebSocket frames; packets and frames do not coincide.
fn speak_in_frames(stream: &mut dyn Stream) {
    stream.write_all(HANDSHAKE.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(read(stream, 1));
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains("sec-websocket-protocol: mqtt\r\n"), "{head}");
    assert!(head.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
    stream.write_all(&frame(&CONNECT[..5])).unwrap();
    let rest = [&CONNECT[5..], PINGREQ].concat();
    stream.write_all(&frame(&rest)).unwrap();
    let mut packets = Vec::new();
    while !packets.ends_with(PINGRESP) {
        let header = read(stream, 2);
        assert_eq!(header[0], 0x82);
        packets.extend(read(stream, usize::from(header[1])));
    }
    assert_eq!(packets[..4], [0x20, 0x0E, 0, 0]);
    // Ping, Close: each is answered.
    stream.write_all(b"\x89\x81\0\0\0\0x").unwrap();
    assert_eq!(read(stream, 3), b"\x8A\x01x");
    stream.write_all(b"\x88\x82\0\0\0\0\x03\xE8").unwrap();
    assert_eq!(read(stream, 4), b"\x88\x02\x03\xE8");
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

/// [MQTT-6.0.0-4] [MQTT3-6.0.0-4], and [MQTT-4.2-1] [MQTT3-7.1.1-1] for streams.
#[test]
fn mqtt_speaks_through_every_listener() {
    let bed = start();
    let listeners = bed.running.listeners();
    speak(&mut tcp(listeners.mqtt));
    speak(&mut *tls(&bed, listeners.mqtts, &[]));
    speak(&mut *tls(&bed, listeners.mqtts, &[b"x-amzn-mqtt-ca"]));
    speak(&mut *tls(&bed, listeners.https, &[b"x-amzn-mqtt-ca"]));
    speak(&mut *tls(&bed, listeners.https, &[b"mqtt"]));
    speak_in_frames(&mut tcp(listeners.http));
    speak_in_frames(&mut *tls(&bed, listeners.https, &[]));
    speak_in_frames(&mut *tls(&bed, listeners.https, &[b"http/1.1"]));
    bed.running.stop();
}

/// Contract `delete-connection.md` DC-18, MQTT 5: DISCONNECT 0x98 in a frame, then a Close frame.
#[test]
fn dc_18_a_websocket_client_is_put_off_with_a_close_frame() {
    let bed = start();
    let listeners = bed.running.listeners();
    let mut device = tcp(listeners.http);
    device.write_all(HANDSHAKE.as_bytes()).unwrap();
    device.write_all(&frame(CONNECT)).unwrap();
    let mut seen = Vec::new();
    while !seen.windows(2).any(|bytes| bytes == [0x20, 0x0E]) {
        seen.extend(read(&mut device, 1));
    }
    let mut api = tls(&bed, listeners.https, &[b"x-amzn-http-ca"]);
    api.write_all(b"DELETE /connections/c HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let answer = read(&mut *api, 15);
    assert_eq!(answer, b"HTTP/1.1 200 OK");
    let mut rest = Vec::new();
    device.read_to_end(&mut rest).unwrap();
    assert!(rest.ends_with(b"\x82\x04\xE0\x02\x98\0\x88\x02\x03\xE8"), "{rest:x?}");
    bed.running.stop();
}

/// Contract `mqtt-broker.md` §9: the principal of a client with a certificate is the certificate's
/// id.
#[test]
fn events_name_the_certificate() {
    let bed = start();
    let listeners = bed.running.listeners();
    let mut watcher = tcp(listeners.mqtt);
    watcher.write_all(b"\x10\x0E\0\x04MQTT\x05\x02\0\x3C\0\0\x01w").unwrap();
    read_packet(&mut watcher);
    let filter = b"$aws/events/presence/connected/c";
    watcher.write_all(&[0x82, 6 + filter.len() as u8, 0, 1, 0, 0, filter.len() as u8]).unwrap();
    watcher.write_all(&[filter, &[0][..]].concat()).unwrap();
    read_packet(&mut watcher);
    speak(&mut *tls(&bed, listeners.mqtts, &[]));
    let mut event = Vec::new();
    let wanted = format!("\"principalIdentifier\":\"{}\"", bed.device.id);
    while !event.windows(wanted.len()).any(|bytes| bytes == wanted.as_bytes()) {
        event.extend(read(&mut watcher, 1));
    }
    bed.running.stop();
}

#[test]
fn an_upgrade_that_lacks_something_is_refused() {
    let bed = start();
    for (from, to, status) in [
        ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 8", "426"),
        ("Upgrade: websocket", "Upgrade: h2c", "426"),
        ("other, mqtt", "other", "400"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "short", "400"),
        ("GET", "POST", "400"),
    ] {
        let mut stream = tcp(bed.running.listeners().http);
        stream.write_all(HANDSHAKE.replace(from, to).as_bytes()).unwrap();
        let head = String::from_utf8(read(&mut stream, 12)).unwrap();
        assert_eq!(head, format!("HTTP/1.1 {status}"), "{to}");
    }
    bed.running.stop();
}
