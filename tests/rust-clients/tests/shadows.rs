//! Shadows and direct messages with the AWS SDK for Rust, unmodified.

use aws_sdk_iotdataplane::primitives::Blob;
use bitts_rust_clients::{LIMIT, Server};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};

/// A client and the next packet that arrives for it.
async fn next(events: &mut EventLoop) -> Packet {
    loop {
        let event = tokio::time::timeout(LIMIT, events.poll()).await.expect("in time");
        if let Event::Incoming(packet) = event.expect("a packet") {
            return packet;
        }
    }
}

async fn connect(server: &Server, client_id: &str) -> (AsyncClient, EventLoop) {
    let options = MqttOptions::new(client_id, "127.0.0.1", server.port("mqtt"));
    let (client, mut events) = AsyncClient::new(options, 16);
    assert!(matches!(next(&mut events).await, Packet::ConnAck(_)));
    (client, events)
}

fn text(payload: Option<&Blob>) -> &str {
    std::str::from_utf8(payload.expect("a payload").as_ref()).expect("text")
}

/// S-1, S-27 and S-30.
#[tokio::test]
async fn shadows_are_updated_read_listed_and_deleted() {
    let server = Server::start().await;
    let iot = server.iot();
    let (client, mut events) = connect(&server, "lamp").await;
    let delta = "$aws/things/T:1/shadow/update/delta";
    client.subscribe(delta, QoS::AtLeastOnce).await.expect("room");
    assert!(matches!(next(&mut events).await, Packet::SubAck(_)));
    let update = Blob::new(r#"{"state":{"desired":{"led":"on"}}}"#);
    let updated = iot.update_thing_shadow().thing_name("T:1").payload(update.clone()).send().await;
    assert!(text(updated.expect("200").payload()).contains(r#""version":1"#));
    let Packet::Publish(publish) = next(&mut events).await else { panic!("no delta") };
    assert_eq!((&publish.topic[..], publish.qos), (delta.as_bytes(), QoS::AtLeastOnce));
    let named = iot.update_thing_shadow().thing_name("T:1").shadow_name("$s").payload(update);
    named.send().await.expect("200");
    let got = iot.get_thing_shadow().thing_name("T:1").send().await.expect("200");
    assert!(text(got.payload()).contains(r#""delta":{"led":"on"}"#));
    let listed = iot.list_named_shadows_for_thing().thing_name("T:1").send().await.expect("200");
    assert_eq!(listed.results(), ["$s"]);
    let deleted = iot.delete_thing_shadow().thing_name("T:1").send().await.expect("200");
    assert!(text(Some(deleted.payload())).starts_with(r#"{"version":1,"timestamp":"#));
}

#[tokio::test]
async fn refusals_of_shadows_are_typed() {
    let server = Server::start().await;
    let iot = server.iot();
    let get = iot.get_thing_shadow().thing_name("T").send().await.expect_err("404");
    assert!(get.into_service_error().is_resource_not_found_exception());
    let update = |payload: Vec<u8>| {
        let request = iot.update_thing_shadow().thing_name("T").payload(Blob::new(payload));
        async { request.send().await.expect_err("refused").into_service_error() }
    };
    assert!(update(b"{".to_vec()).await.is_invalid_request_exception());
    let first = iot.update_thing_shadow().thing_name("T").payload(Blob::new(r#"{"state":{}}"#));
    first.send().await.expect("200");
    assert!(update(br#"{"state":{},"version":7}"#.to_vec()).await.is_conflict_exception());
    let large = format!(r#"{{"state":{{"desired":{{"a":"{}"}}}}}}"#, "x".repeat(9_000));
    assert!(update(large.into()).await.is_request_entity_too_large_exception());
    let other = update(b"\xff".to_vec()).await;
    assert!(other.is_unsupported_document_encoding_exception());
}

/// DM-1 and DM-5.
#[tokio::test]
async fn a_message_goes_to_one_client() {
    let server = Server::start().await;
    let iot = server.iot();
    let (_client, mut events) = connect(&server, "lamp a/b").await;
    let send = iot.send_direct_message().client_id("lamp a/b").topic("commands/x").timeout(3);
    let send = send.payload(Blob::new("now")).confirmation(true).content_type("text/plain");
    let waiting = tokio::spawn(send.user_properties(r#"[{"a":"1"}]"#).send());
    let Packet::Publish(publish) = next(&mut events).await else { panic!("no message") };
    assert_eq!((&publish.topic[..], &publish.payload[..]), (&b"commands/x"[..], &b"now"[..]));
    let properties = publish.properties.expect("properties");
    assert_eq!(properties.user_properties, [("a".to_owned(), "1".to_owned())]);
    // What is acknowledged leaves when the loop goes on.
    let answer = tokio::select! {
        answer = waiting => answer.expect("it ends"),
        _ = next(&mut events) => panic!("another packet"),
    };
    assert_eq!(answer.expect("200").message(), Some("OK"));
    let nobody = iot.send_direct_message().client_id("nobody").topic("t").send().await;
    assert!(nobody.expect_err("404").into_service_error().is_resource_not_found_exception());
}
