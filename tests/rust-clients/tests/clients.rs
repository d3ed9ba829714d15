//! The AWS SDK for Rust and rumqttc, unmodified, over real sockets.

use std::time::Duration;

use aws_sdk_iotdataplane::primitives::Blob;
use bitts_rust_clients::{LIMIT, Server};
use rumqttc::v5;
use rumqttc::v5::mqttbytes::v5 as packets;

/// A rumqttc client of MQTT 5: its event loop is driven by `next`.
struct Lamp {
    client: v5::AsyncClient,
    events: v5::EventLoop,
}

impl Lamp {
    async fn connect(server: &Server, client_id: &str, will: Option<&str>) -> (Self, bool) {
        let mut options = v5::MqttOptions::new(client_id, "127.0.0.1", server.port("mqtt"));
        options.set_clean_start(false);
        options.set_connect_properties(packets::ConnectProperties {
            session_expiry_interval: Some(3600),
            ..packets::ConnectProperties::new()
        });
        if let Some(topic) = will {
            let qos = v5::mqttbytes::QoS::AtLeastOnce;
            options.set_last_will(packets::LastWill::new(topic, "gone", qos, false, None));
        }
        let (client, events) = v5::AsyncClient::new(options, 16);
        let mut lamp = Self { client, events };
        loop {
            if let packets::Packet::ConnAck(connack) = lamp.next().await.expect("a connection") {
                return (lamp, connack.session_present);
            }
        }
    }

    /// The next packet that arrives.
    async fn next(&mut self) -> Result<packets::Packet, v5::ConnectionError> {
        loop {
            let event = tokio::time::timeout(LIMIT, self.events.poll()).await.expect("in time")?;
            if let v5::Event::Incoming(packet) = event {
                return Ok(packet);
            }
        }
    }

    async fn subscribe(&mut self, topic: &str) {
        let qos = v5::mqttbytes::QoS::AtLeastOnce;
        self.client.subscribe(topic, qos).await.expect("room");
        while !matches!(self.next().await.expect("a packet"), packets::Packet::SubAck(_)) {}
    }

    async fn message(&mut self) -> packets::Publish {
        loop {
            if let packets::Packet::Publish(publish) = self.next().await.expect("a packet") {
                return publish;
            }
        }
    }
}

/// DC-4, DC-5, DC-10: kept, then cleared, then unknown; the will arrives.
#[tokio::test]
async fn delete_connection_puts_a_client_off() {
    let server = Server::start().await;
    let iot = server.iot();
    let (mut watcher, _) = Lamp::connect(&server, "watcher", None).await;
    watcher.subscribe("will").await;
    let (mut lamp, session_present) = Lamp::connect(&server, "lamp a/b", Some("will")).await;
    assert!(!session_present);

    iot.delete_connection().client_id("lamp a/b").send().await.expect("200");
    let error = loop {
        if let Err(error) = lamp.next().await {
            break error;
        }
    };
    let v5::ConnectionError::MqttState(v5::StateError::ServerDisconnect { reason_code, .. }) =
        error
    else {
        panic!("no DISCONNECT: {error}");
    };
    assert_eq!(reason_code, packets::DisconnectReasonCode::AdministrativeAction);
    assert_eq!(&watcher.message().await.payload[..], b"gone");
    let state = iot.get_connection().client_id("lamp a/b").send().await.expect("200");
    assert_eq!((state.connected(), state.session_expiry()), (false, 3600));

    let (_lamp, session_present) = Lamp::connect(&server, "lamp a/b", None).await;
    assert!(session_present);
    iot.delete_connection().client_id("lamp a/b").clean_session(true).send().await.expect("200");
    let again = iot.delete_connection().client_id("lamp a/b").send().await.expect_err("404");
    assert!(again.into_service_error().is_resource_not_found_exception());
}

/// Publish, with what MQTT 5 adds, GetRetainedMessage and ListRetainedMessages.
#[tokio::test]
async fn publish_reaches_a_subscriber_and_is_retained() {
    let server = Server::start().await;
    let iot = server.iot();
    let (mut lamp, _) = Lamp::connect(&server, "lamp", None).await;
    lamp.subscribe("a/b c").await;
    let publish = iot.publish().topic("a/b c").qos(1).retain(true).payload(Blob::new("hello"));
    let publish = publish.content_type("text/plain").user_properties(r#"[{"a":"1"},{"b":"2"}]"#);
    publish.send().await.expect("200");

    let message = lamp.message().await;
    assert_eq!(&message.payload[..], b"hello");
    let properties = message.properties.expect("properties");
    assert_eq!(properties.content_type.as_deref(), Some("text/plain"));
    let pairs = [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())];
    assert_eq!(properties.user_properties, pairs);

    let kept = iot.get_retained_message().topic("a/b c").send().await.expect("200");
    assert_eq!(kept.payload().map(AsRef::as_ref), Some(&b"hello"[..]));
    let listed = iot.list_retained_messages().send().await.expect("200");
    assert_eq!(listed.retained_topics().len(), 1);
}

/// LS-2, with the SDK's paginator.
#[tokio::test]
async fn list_subscriptions_is_paged() {
    let server = Server::start().await;
    let iot = server.iot();
    let (mut lamp, _) = Lamp::connect(&server, "lamp", None).await;
    let filters: Vec<String> = (0..45).map(|number| format!("f/{number:02}")).collect();
    for filter in &filters {
        lamp.subscribe(filter).await;
    }
    let mut pages = iot.list_subscriptions().client_id("lamp").into_paginator().items().send();
    let mut seen = Vec::new();
    while let Some(entry) = pages.next().await {
        seen.push(entry.expect("an entry").topic_filter().to_owned());
    }
    assert_eq!(seen, filters);
}

/// Each refusal is its own variant.
#[tokio::test]
async fn errors_are_typed() {
    let server = Server::start().await;
    let iot = server.iot();
    let bad = iot.delete_connection().client_id("$x").send().await.expect_err("400");
    assert!(bad.into_service_error().is_invalid_request_exception());
    let absent = iot.get_retained_message().topic("absent").send().await.expect_err("404");
    assert!(absent.into_service_error().is_resource_not_found_exception());
    let large = iot.publish().topic("a").payload(Blob::new(vec![0; 131_073])).send().await;
    let large = large.expect_err("413").into_service_error();
    assert_eq!(large.meta().code(), Some("RequestEntityTooLargeException"));
}

/// DC-1 with MQTT 3.1.1: a bare close, and rumqttc reconnects.
#[tokio::test]
async fn mqtt_311_client_is_put_off_and_returns() {
    let server = Server::start().await;
    let mut options = rumqttc::MqttOptions::new("old", "127.0.0.1", server.port("mqtt"));
    options.set_keep_alive(Duration::from_secs(30));
    let (client, mut events) = rumqttc::AsyncClient::new(options, 16);
    connected(&mut events).await;
    server.iot().delete_connection().client_id("old").send().await.expect("200");
    let ended = async { while events.poll().await.is_ok() {} };
    tokio::time::timeout(LIMIT, ended).await.expect("the end of the connection");
    connected(&mut events).await;

    client.subscribe("t", rumqttc::QoS::ExactlyOnce).await.expect("room");
    client.publish("t", rumqttc::QoS::ExactlyOnce, false, "hello").await.expect("room");
    let arrives = async {
        loop {
            let event = events.poll().await.expect("a packet");
            if let rumqttc::Event::Incoming(rumqttc::Packet::Publish(publish)) = event {
                return publish.payload;
            }
        }
    };
    let payload = tokio::time::timeout(LIMIT, arrives).await.expect("the message");
    assert_eq!(&payload[..], b"hello");
}

/// A device certificate, QoS 2, a payload of many TLS records, then DC-1 with MQTT 3.1.1 and 5.
#[tokio::test]
async fn rumqttc_over_tls_is_put_off() {
    let server = Server::start().await;
    let tls = rumqttc::TlsConfiguration::from(server.tls());
    let mut options = v5::MqttOptions::new("new", "127.0.0.1", server.port("mqtts"));
    options.set_transport(rumqttc::Transport::tls_with_config(tls.clone()));
    options.set_max_packet_size(Some(200_000));
    let (client, events) = v5::AsyncClient::new(options, 16);
    let mut lamp = Lamp { client, events };
    lamp.subscribe("t").await;
    let payload = vec![b'x'; 100_000];
    let qos = v5::mqttbytes::QoS::ExactlyOnce;
    lamp.client.publish("t", qos, false, payload.clone()).await.expect("room");
    assert_eq!(lamp.message().await.payload, payload);
    server.iot().delete_connection().client_id("new").send().await.expect("200");
    while lamp.next().await.is_ok() {}

    let mut options = rumqttc::MqttOptions::new("old", "127.0.0.1", server.port("mqtts"));
    options.set_transport(rumqttc::Transport::tls_with_config(tls));
    let (_client, mut events) = rumqttc::AsyncClient::new(options, 16);
    connected(&mut events).await;
    server.iot().delete_connection().client_id("old").send().await.expect("200");
    let ended = async { while events.poll().await.is_ok() {} };
    tokio::time::timeout(LIMIT, ended).await.expect("the end of the connection");
}

async fn connected(events: &mut rumqttc::EventLoop) {
    let connected = async {
        loop {
            let event = events.poll().await.expect("a packet");
            if matches!(event, rumqttc::Event::Incoming(rumqttc::Packet::ConnAck(_))) {
                return;
            }
        }
    };
    tokio::time::timeout(LIMIT, connected).await.expect("a connection");
}
