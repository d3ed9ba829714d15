//! The MQTT client over real sockets, against a server that does as it is told.

use std::num::NonZeroU16;
use std::time::Duration;

use bitts_client::mqtt::{
    self, Acknowledge, ConnectError, ConnectOptions, Connected, Disconnect, End, Endpoint, Filter,
    Invalid, MessageProperties, PacketId, ProtocolVersion, Publish, QoS, ReasonCode, RequestError,
    Will,
};
use bitts_client::tls::{ClientCertificate, TlsOptions};
use bitts_mqtt::{Ack, ConnAck, ConnAckProperties, Packet, UserProperties, decode, encode, split};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Nothing in these tests takes this long.
const PATIENCE: Duration = Duration::from_secs(10);

/// The server's end of one connection.
struct Peer<S> {
    stream: S,
    version: ProtocolVersion,
    received: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    fn new(stream: S, version: ProtocolVersion) -> Self {
        Self { stream, version, received: Vec::new() }
    }

    /// Waits for a packet; gives it to `then`. `None` is the end of the connection.
    async fn next<T>(&mut self, then: impl FnOnce(Option<&Packet<'_>>) -> T) -> T {
        loop {
            if let Some(frame) = split(&self.received, 1 << 20).expect("MQTT") {
                let result = then(Some(&decode(self.version, &frame).expect("a packet")));
                let len = frame.len;
                self.received.drain(..len);
                return result;
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.received));
            if read.await.expect("in time").expect("a readable stream") == 0 {
                return then(None);
            }
        }
    }

    async fn expect(&mut self, name: &str) {
        self.next(|packet| {
            let shown = format!("{packet:?}");
            assert!(shown.starts_with(&format!("Some({name}")), "{name}, not {shown}");
        })
        .await;
    }

    async fn expect_end(&mut self) {
        self.next(|packet| assert_eq!(packet, None)).await;
    }

    async fn send(&mut self, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        encode(packet, self.version, &mut bytes);
        self.stream.write_all(&bytes).await.expect("written");
        self.stream.flush().await.expect("flushed");
    }

    async fn accept(&mut self, properties: ConnAckProperties<'_>) {
        self.expect("Connect").await;
        let reason_code = ReasonCode::Success;
        let connack = ConnAck { session_present: false, reason_code, properties };
        self.send(&Packet::ConnAck(connack)).await;
    }
}

fn options() -> ConnectOptions {
    ConnectOptions { client_id: "lamp-1".into(), ..ConnectOptions::default() }
}

async fn listen() -> (TcpListener, Endpoint) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    (listener, Endpoint { host: "127.0.0.1".into(), port, tls: None })
}

/// A client and its server behind CONNACK.
async fn connected(options: ConnectOptions) -> (Connected, Peer<TcpStream>) {
    let version = options.version;
    let (listener, endpoint) = listen().await;
    let server = async {
        let (stream, _) = listener.accept().await.expect("a connection");
        let mut peer = Peer::new(stream, version);
        peer.accept(ConnAckProperties::default()).await;
        peer
    };
    let (client, peer) = tokio::join!(mqtt::connect(&endpoint, options), server);
    (client.expect("connected"), peer)
}

fn publish(topic: &'static str, qos: QoS, number: u16) -> Packet<'static> {
    let packet_id = PacketId::new(number);
    Packet::Publish(bitts_mqtt::Publish {
        topic,
        qos,
        packet_id,
        payload: b"on",
        ..Default::default()
    })
}

fn puback(number: u16) -> Packet<'static> {
    let id = PacketId::new(number).expect("not zero");
    Packet::PubAck(Ack::new(id, ReasonCode::Success))
}

fn disconnect(reason_code: ReasonCode) -> Packet<'static> {
    Packet::Disconnect(bitts_mqtt::Disconnect {
        reason_code,
        session_expiry_interval: None,
        reason_string: None,
        server_reference: None,
        user_properties: UserProperties::EMPTY,
    })
}

#[tokio::test]
async fn connect_says_everything_that_was_asked_for() {
    let (listener, endpoint) = listen().await;
    let properties = MessageProperties {
        message_expiry_interval: Some(9),
        user_properties: vec![("w".into(), "1".into())],
        ..MessageProperties::default()
    };
    let will = Will {
        topic: "gone".into(),
        payload: "x".into(),
        qos: QoS::One,
        retain: true,
        delay_interval: 5,
        properties,
    };
    let options = ConnectOptions {
        clean_start: false,
        keep_alive_seconds: 30,
        username: Some("u".into()),
        password: Some("p".into()),
        will: Some(will),
        session_expiry_interval: Some(3600),
        receive_maximum: NonZeroU16::new(7),
        topic_alias_maximum: Some(8),
        request_problem_information: Some(false),
        user_properties: vec![("c".into(), "2".into())],
        ..options()
    };
    let server = async {
        let (stream, _) = listener.accept().await.expect("a connection");
        let mut peer = Peer::new(stream, ProtocolVersion::V5);
        peer.next(|packet| {
            let Some(Packet::Connect(connect)) = packet else { panic!("{packet:?}") };
            assert_eq!(connect.client_id, "lamp-1");
            assert!(!connect.clean_start);
            assert_eq!((connect.keep_alive, connect.username), (30, Some("u")));
            assert_eq!(connect.password, Some(&b"p"[..]));
            let properties = &connect.properties;
            assert_eq!(properties.session_expiry_interval, Some(3600));
            assert_eq!(properties.receive_maximum, NonZeroU16::new(7));
            assert_eq!(properties.topic_alias_maximum, Some(8));
            assert_eq!(properties.request_problem_information, Some(false));
            assert_eq!(properties.user_properties.iter().collect::<Vec<_>>(), [("c", "2")]);
            let will = connect.will.as_ref().expect("a will");
            assert_eq!((will.topic, will.payload, will.delay_interval), ("gone", &b"x"[..], 5));
            assert_eq!((will.qos, will.retain), (QoS::One, true));
            assert_eq!(will.properties.message_expiry_interval, Some(9));
            assert_eq!(will.properties.user_properties.iter().collect::<Vec<_>>(), [("w", "1")]);
        })
        .await;
        let properties = ConnAckProperties {
            assigned_client_identifier: Some("assigned"),
            server_keep_alive: Some(40),
            ..ConnAckProperties::default()
        };
        let reason_code = ReasonCode::Success;
        let connack = ConnAck { session_present: true, reason_code, properties };
        peer.send(&Packet::ConnAck(connack)).await;
        peer
    };
    let (client, _peer) = tokio::join!(mqtt::connect(&endpoint, options), server);
    let connack = client.expect("connected").connack;
    assert!(connack.session_present);
    assert_eq!(connack.assigned_client_identifier.as_deref(), Some("assigned"));
    assert_eq!(connack.server_keep_alive, Some(40));
}

#[tokio::test]
async fn a_refused_connect_says_why() {
    for version in [ProtocolVersion::V5, ProtocolVersion::V3_1_1] {
        let (listener, endpoint) = listen().await;
        let server = async {
            let (stream, _) = listener.accept().await.expect("a connection");
            let mut peer = Peer::new(stream, version);
            peer.expect("Connect").await;
            let reason_code = ReasonCode::NotAuthorized;
            let properties = ConnAckProperties::default();
            let connack = ConnAck { session_present: false, reason_code, properties };
            peer.send(&Packet::ConnAck(connack)).await;
            peer.expect_end().await;
        };
        let options = ConnectOptions { version, ..options() };
        let (client, ()) = tokio::join!(mqtt::connect(&endpoint, options), server);
        let Err(ConnectError::Refused(connack)) = client else { panic!("{client:?}") };
        assert_eq!(connack.reason_code, ReasonCode::NotAuthorized);
    }
}

/// A server of 3.1.1 answers a CONNECT of MQTT 5 in its own form [MQTT-3.1.2-2].
#[tokio::test]
async fn an_old_server_is_a_refusal() {
    let (mut server, stream) = tokio::io::duplex(1024);
    server.write_all(&[0x20, 2, 0, 1]).await.expect("written");
    let client = mqtt::connect_over(stream, options()).await;
    let Err(ConnectError::Refused(connack)) = client else { panic!("{client:?}") };
    assert_eq!(connack.reason_code, ReasonCode::UnsupportedProtocolVersion);
}

/// AWS closes what it refuses in MQTT 3.1.1 without CONNACK.
#[tokio::test]
async fn a_close_before_connack_is_its_own_failure() {
    let (server, stream) = tokio::io::duplex(1024);
    drop(server);
    let client = mqtt::connect_over(stream, options()).await;
    // The pipe may be closed before or after CONNECT was written.
    assert!(matches!(client, Err(ConnectError::Ended(End::Closed) | ConnectError::Network(_))));
    let (_silent, stream) = tokio::io::duplex(1024);
    let short = ConnectOptions { timeout: Duration::from_millis(10), ..options() };
    let client = mqtt::connect_over(stream, short).await;
    assert!(matches!(client, Err(ConnectError::Timeout(_))));
    let (_silent, stream) = tokio::io::duplex(1024);
    let invalid = ConnectOptions { client_id: "\0".into(), ..options() };
    let client = mqtt::connect_over(stream, invalid).await;
    assert!(matches!(client, Err(ConnectError::Invalid(Invalid::Nul))));
}

#[tokio::test]
async fn a_message_goes_there_and_another_comes_back() {
    let (Connected { client, mut incoming, .. }, mut peer) = connected(options()).await;
    let filters = [Filter::new("lamps/#", QoS::One), Filter::new("x", QoS::Zero)];
    let server = async {
        peer.expect("Subscribe").await;
        peer.send(&Packet::SubAck(bitts_mqtt::SubAck {
            packet_id: PacketId::new(1).expect("not zero"),
            reason_string: Some("why"),
            user_properties: UserProperties::EMPTY,
            codes: &[1, 0x87],
        }))
        .await;
        peer.expect("Publish").await;
        peer.send(&puback(2)).await;
        peer.send(&publish("lamps/1", QoS::One, 9)).await;
        peer.expect("PubAck").await;
    };
    let calls = async {
        let answered = client.subscribe(&filters).await.expect("answered");
        let published = client.publish(Publish::new("lamps/1", "on").qos(QoS::One)).await;
        (answered, published.expect("accepted"), incoming.next().await)
    };
    let ((answered, published, message), ()) = tokio::join!(calls, server);
    assert_eq!(answered.codes, [ReasonCode::GrantedQoS1, ReasonCode::NotAuthorized]);
    assert_eq!(answered.reason_string.as_deref(), Some("why"));
    assert_eq!(published.reason_code, ReasonCode::Success);
    assert_eq!(message.expect("delivered").payload, "on");
}

#[tokio::test]
async fn disconnect_is_written_before_the_connection_closes() {
    let (Connected { client, mut incoming, .. }, mut peer) = connected(options()).await;
    client.publish(Publish::new("a", "on")).await.expect("queued");
    let server = async {
        peer.expect("Publish").await;
        peer.expect("Disconnect").await;
        peer.expect_end().await;
    };
    let (end, ()) = tokio::join!(client.disconnect(Disconnect::default()), server);
    assert_eq!(end, End::Disconnected);
    assert_eq!(incoming.next().await, None);
    let late = client.publish(Publish::new("a", "on")).await;
    assert_eq!(late, Err(RequestError::Ended(End::Disconnected)));
    assert_eq!(client.disconnect(Disconnect::default()).await, End::Disconnected);
}

#[tokio::test]
async fn an_aborted_connection_sends_no_disconnect() {
    let (Connected { client, .. }, mut peer) = connected(options()).await;
    let (end, ()) = tokio::join!(client.abort(), peer.expect_end());
    assert_eq!(end, End::Aborted);
}

#[tokio::test]
async fn a_connection_that_nobody_holds_is_closed() {
    let (connected, mut peer) = connected(options()).await;
    drop(connected);
    peer.expect_end().await;
}

#[tokio::test]
async fn a_connection_without_callers_still_delivers() {
    let (Connected { client, mut incoming, .. }, mut peer) = connected(options()).await;
    drop(client);
    peer.send(&publish("a", QoS::One, 1)).await;
    peer.expect("PubAck").await;
    assert_eq!(incoming.next().await.expect("delivered").topic, "a");
    drop(incoming);
    peer.expect_end().await;
}

#[tokio::test]
async fn a_connection_without_listener_acknowledges_and_drops() {
    let (Connected { client, incoming, .. }, mut peer) = connected(options()).await;
    drop(incoming);
    peer.send(&publish("a", QoS::One, 1)).await;
    peer.expect("PubAck").await;
    peer.send(&publish("a", QoS::One, 2)).await;
    peer.expect("PubAck").await;
    drop(client);
    peer.expect_end().await;
}

/// DC-4: what a client sees that is put off.
#[tokio::test]
async fn the_servers_disconnect_is_told_with_its_reason() {
    let (Connected { client, mut incoming, .. }, mut peer) = connected(options()).await;
    let server = async {
        peer.expect("Publish").await;
        peer.send(&publish("a", QoS::Zero, 0)).await;
        peer.send(&disconnect(ReasonCode::AdministrativeAction)).await;
        peer.expect_end().await;
    };
    let waiting = client.publish(Publish::new("a", "on").qos(QoS::One));
    let (waiting, ()) = tokio::join!(waiting, server);
    let end = client.ended().await;
    let End::ServerDisconnected(disconnect) = &end else { panic!("{end:?}") };
    assert_eq!(disconnect.reason_code, ReasonCode::AdministrativeAction);
    assert_eq!(waiting, Err(RequestError::Ended(end.clone())));
    assert_eq!(incoming.next().await.expect("delivered before").topic, "a");
    assert_eq!(incoming.next().await, None);
    assert_eq!(end.to_string(), "the server disconnected: Administrative action (0x98)");
}

#[tokio::test]
async fn a_close_is_told_apart_from_a_disconnect() {
    let (Connected { client, .. }, peer) = connected(options()).await;
    drop(peer);
    assert_eq!(timeout(PATIENCE, client.ended()).await, Ok(End::Closed));
}

#[tokio::test]
async fn a_caller_may_acknowledge_late_or_never() {
    let by_caller = ConnectOptions { acknowledge: Acknowledge::ByCaller, ..options() };
    let (Connected { client, mut incoming, .. }, mut peer) = connected(by_caller).await;
    peer.send(&publish("a", QoS::One, 1)).await;
    peer.send(&publish("b", QoS::One, 2)).await;
    let first = incoming.next().await.expect("delivered").packet_id.expect("QoS 1");
    let second = incoming.next().await.expect("delivered").packet_id.expect("QoS 1");
    client.acknowledge(second, ReasonCode::Success).await.expect("connected");
    peer.next(|packet| {
        let Some(Packet::PubAck(ack)) = packet else { panic!("{packet:?}") };
        assert_eq!(ack.packet_id, second);
    })
    .await;
    assert_ne!(first, second);
    client.abort().await;
    peer.expect_end().await;
}

/// At the limit the socket is not read, and nothing is lost when it is read again.
#[tokio::test]
async fn messages_that_nobody_takes_hold_the_server_back() {
    const MESSAGES: usize = 20_000;
    let (stream, server) = tokio::io::duplex(1024);
    let mut peer = Peer::new(server, ProtocolVersion::V5);
    let options = ConnectOptions { incoming_max: 4, ..options() };
    let accept = peer.accept(ConnAckProperties::default());
    let (client, ()) = tokio::join!(mqtt::connect_over(stream, options), accept);
    let Connected { client, mut incoming, .. } = client.expect("connected");
    let mut bytes = Vec::new();
    for _ in 0..MESSAGES {
        encode(&publish("a", QoS::Zero, 0), ProtocolVersion::V5, &mut bytes);
    }
    let held_back = timeout(Duration::from_millis(50), peer.stream.write_all(&bytes)).await;
    assert!(held_back.is_err(), "the server could write everything");
    // Some part was written, so this server is of no more use than to be read to its end.
    drop(peer);
    let mut taken = 0;
    while incoming.next().await.is_some() {
        taken += 1;
    }
    assert!((4..MESSAGES).contains(&taken), "{taken}");
    assert_eq!(client.ended().await, End::Closed);
}

/// More requests at once than the server's Receive Maximum, and than a write buffer holds.
#[tokio::test]
async fn many_requests_at_once_are_all_answered() {
    let (stream, server) = tokio::io::duplex(64);
    let mut peer = Peer::new(server, ProtocolVersion::V5);
    let receive_maximum = NonZeroU16::new(3);
    let properties = ConnAckProperties { receive_maximum, ..ConnAckProperties::default() };
    let accept = peer.accept(properties);
    let (client, ()) = tokio::join!(mqtt::connect_over(stream, options()), accept);
    let Connected { client, incoming: _incoming, .. } = client.expect("connected");
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..2000 {
        let client = client.clone();
        let publish = Publish::new("a", "on").qos(QoS::One);
        calls.spawn(async move { client.publish(publish).await });
    }
    let server = tokio::spawn(async move {
        for _ in 0..2000 {
            let id = peer
                .next(|packet| {
                    let Some(Packet::Publish(publish)) = packet else { panic!("{packet:?}") };
                    publish.packet_id.expect("QoS 1")
                })
                .await;
            peer.send(&Packet::PubAck(Ack::new(id, ReasonCode::Success))).await;
        }
        peer
    });
    while let Some(call) = calls.join_next().await {
        call.expect("no panic").expect("accepted");
    }
    server.await.expect("no panic");
}

#[test]
fn endpoints_are_urls() {
    let endpoint = Endpoint::parse("mqtt://h").expect("a URL");
    assert_eq!((endpoint.host.as_str(), endpoint.port, endpoint.tls.is_some()), ("h", 1883, false));
    let endpoint = Endpoint::parse("mqtts://[::1]:1").expect("a URL");
    assert_eq!((endpoint.host.as_str(), endpoint.port, endpoint.tls.is_some()), ("::1", 1, true));
    assert!(Endpoint::parse("http://h").is_err());
}

mod tls {
    use std::sync::Arc;

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::server::WebPkiClientVerifier;
    use rustls::{RootCertStore, ServerConfig};
    use tokio_rustls::TlsAcceptor;

    use super::*;

    struct Pki {
        ca: CertifiedIssuer<'static, KeyPair>,
    }

    impl Pki {
        fn new() -> Self {
            let mut params = CertificateParams::new(Vec::new()).expect("no names");
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let key = KeyPair::generate().expect("a key");
            Self { ca: CertifiedIssuer::self_signed(params, key).expect("a CA") }
        }

        /// Certificate and key in PEM.
        fn issue(&self, name: &str) -> (String, String) {
            let key = KeyPair::generate().expect("a key");
            let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
            let certificate = params.signed_by(&key, &self.ca).expect("a certificate");
            (certificate.pem(), key.serialize_pem())
        }

        fn acceptor(&self) -> TlsAcceptor {
            let (chain, key) = self.issue("127.0.0.1");
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let mut roots = RootCertStore::empty();
            roots.add(self.ca.der().clone()).expect("a root");
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                    .build()
                    .expect("a verifier");
            let chain = CertificateDer::from_pem_slice(chain.as_bytes()).expect("PEM");
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
            let mut config = ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .expect("versions")
                .with_client_cert_verifier(verifier)
                .with_single_cert(vec![chain], key)
                .expect("a certificate");
            config.alpn_protocols = vec![b"x-amzn-mqtt-ca".to_vec()];
            TlsAcceptor::from(Arc::new(config))
        }
    }

    /// Certificates both ways, ALPN, and more than one record in one go.
    #[tokio::test]
    async fn a_client_shows_its_certificate() {
        let pki = Pki::new();
        let (chain, key) = pki.issue("lamp-1");
        let (listener, mut endpoint) = listen().await;
        endpoint.tls = Some(TlsOptions {
            roots_pem: Some(pki.ca.pem().into_bytes()),
            client_certificate: Some(ClientCertificate {
                chain_pem: chain.into_bytes(),
                key_pem: key.into_bytes(),
            }),
            alpn: vec![b"x-amzn-mqtt-ca".to_vec()],
        });
        let acceptor = pki.acceptor();
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a connection");
            let stream = acceptor.accept(stream).await.expect("TLS");
            let (_, session) = stream.get_ref();
            assert_eq!(session.alpn_protocol(), Some(&b"x-amzn-mqtt-ca"[..]));
            assert_eq!(session.peer_certificates().map(<[_]>::len), Some(1));
            let mut peer = Peer::new(stream, ProtocolVersion::V5);
            peer.accept(ConnAckProperties::default()).await;
            peer.next(|packet| {
                let Some(Packet::Publish(publish)) = packet else { panic!("{packet:?}") };
                assert_eq!(publish.payload.len(), 500_000);
            })
            .await;
            peer.send(&puback(1)).await;
            peer.expect("Disconnect").await;
        });
        let Connected { client, .. } = mqtt::connect(&endpoint, options()).await.expect("TLS");
        let large = Publish::new("a", vec![b'x'; 500_000]).qos(QoS::One);
        client.publish(large).await.expect("accepted");
        assert_eq!(client.disconnect(Disconnect::default()).await, End::Disconnected);
        server.await.expect("no panic");
    }

    #[tokio::test]
    async fn a_server_that_is_not_trusted_is_refused() {
        let (listener, mut endpoint) = listen().await;
        let roots_pem = Some(Pki::new().ca.pem().into_bytes());
        endpoint.tls = Some(TlsOptions { roots_pem, ..TlsOptions::default() });
        let acceptor = Pki::new().acceptor();
        let server = async {
            let (stream, _) = listener.accept().await.expect("a connection");
            assert!(acceptor.accept(stream).await.is_err());
        };
        let (client, ()) = tokio::join!(mqtt::connect(&endpoint, options()), server);
        assert!(matches!(client, Err(ConnectError::Network(_))));
    }
}
