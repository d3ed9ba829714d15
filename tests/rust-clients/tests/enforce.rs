//! The AWS SDK for Rust and rumqttc against `--auth enforce`.

use aws_sdk_iotdataplane::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_iotdataplane::operation::get_connection::GetConnectionError;
use aws_sdk_iotdataplane::primitives::Blob;
use bitts_rust_clients::{Key, LIMIT, Server};
use rumqttc::v5;

const ACCOUNT: &str = "arn:aws:iot:us-east-1:000000000000:";

/// How a request for a connection is refused.
async fn refused(iot: &aws_sdk_iotdataplane::Client, client_id: &str) -> GetConnectionError {
    let asked = iot.get_connection().client_id(client_id).send().await;
    asked.map_err(SdkError::into_service_error).expect_err("nobody has this id")
}

/// H-15: the right key gets to the operation, each wrong one gets its exception.
#[tokio::test]
async fn a_key_is_let_in_or_told_why_not() {
    let server = Server::start_enforced().await;
    let key = server.create_key("all", "iot:*", "*");
    let inactive = Key::clone(&server.create_key("more", "iot:*", "*"));
    server.run(&["credential", "update", &inactive.id, "inactive"]);
    assert!(refused(&server.iot_as(&key, None), "nobody").await.is_resource_not_found_exception());

    let wrong = Key { secret: "wrong".to_owned(), ..key.clone() };
    let error = refused(&server.iot_as(&wrong, None), "nobody").await;
    assert_eq!(error.code(), Some("InvalidSignatureException"));
    let unknown = Key { id: "AKIANOBODYKNOWSTHIS0".to_owned(), ..key.clone() };
    for (key, token) in [(&unknown, None), (&inactive, None), (&key, Some("token"))] {
        let error = refused(&server.iot_as(key, token), "nobody").await;
        assert!(error.is_forbidden_exception(), "{error:?}");
        assert_eq!(error.message(), Some("Forbidden"));
    }
}

/// §5, §6: a key for this one id gets to it as the SDK escapes and signs it, and to no other.
#[tokio::test]
async fn odd_client_ids_are_signed_and_decoded_alike() {
    let server = Server::start_enforced().await;
    let ids =
        ["a/b c", "ü~()'!", "50%25", "#+x", "a:b@c,d;e=f&g", "..", ".", "a//b", "a/../b", "日本"];
    for (number, id) in ids.iter().enumerate() {
        let resource = format!("{ACCOUNT}client/{id}");
        let key = server.create_key(&format!("p{number}"), "iot:GetConnection", &resource);
        let iot = server.iot_as(&key, None);
        let error = refused(&iot, id).await;
        assert!(error.is_resource_not_found_exception(), "{id} {error:?}");
        assert!(refused(&iot, &format!("{id}x")).await.is_forbidden_exception(), "{id}");
    }
}

#[tokio::test]
async fn a_key_may_do_what_its_policy_says() {
    let server = Server::start_enforced().await;
    let key = server.create_key("publish", "iot:Publish", &format!("{ACCOUNT}topic/a"));
    let iot = server.iot_as(&key, None);
    let publish = |topic: &str, retain: bool| {
        iot.publish().topic(topic).qos(1).retain(retain).payload(Blob::new("x")).send()
    };
    publish("a", false).await.expect("200");
    for (topic, retain) in [("b", false), ("a", true)] {
        let error = publish(topic, retain).await.map_err(SdkError::into_service_error);
        assert_eq!(error.expect_err("403").code(), Some("ForbiddenException"));
    }
    assert!(refused(&iot, "nobody").await.is_forbidden_exception());
}

/// The certificate's policy decides; made inactive, its connection ends and no other one begins.
#[tokio::test]
async fn rumqttc_with_a_certificate() {
    let server = Server::start_enforced().await;
    server.create_policy("mine", "iot:*", "*");
    let certificate = server.register_device("mine");
    let mut options = v5::MqttOptions::new("lamp", "127.0.0.1", server.port("mqtts"));
    options.set_transport(rumqttc::Transport::tls_with_config(server.tls().into()));
    let (_client, mut events) = v5::AsyncClient::new(options.clone(), 16);
    let connected = tokio::time::timeout(LIMIT, events.poll()).await.expect("in time");
    assert!(matches!(connected, Ok(v5::Event::Incoming(_))), "{connected:?}");
    server.run(&["certificate", "update", &certificate, "inactive"]);
    let ended = async { while events.poll().await.is_ok() {} };
    tokio::time::timeout(LIMIT, ended).await.expect("the end of the connection");

    let (_client, mut events) = v5::AsyncClient::new(options, 16);
    let error = tokio::time::timeout(LIMIT, events.poll()).await.expect("in time");
    let Err(v5::ConnectionError::ConnectionRefused(code)) = error else { panic!("{error:?}") };
    assert_eq!(code, v5::mqttbytes::v5::ConnectReturnCode::NotAuthorized);
}
