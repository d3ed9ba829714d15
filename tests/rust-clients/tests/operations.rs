//! Every operation of the data plane, every exception that can occur, odd names and pages, with the
//! AWS SDK for Rust. The table is `tests/operations.json`.

use std::fmt::Debug;

use aws_sdk_iotdataplane::Client;
use aws_sdk_iotdataplane::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_iotdataplane::primitives::Blob;
use bitts_rust_clients::{LIMIT, Server};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The table of operations, refusals and odd names.
fn table() -> Value {
    serde_json::from_str(include_str!("../../operations.json")).expect("the table")
}

/// Why a call was refused: the exception, whether it is a variant of its own, the status.
#[derive(Debug, Eq, PartialEq)]
struct Refusal {
    exception: String,
    is_typed: bool,
    status: u16,
}

fn refusal<E>(error: SdkError<E>) -> Refusal
where
    E: ProvideErrorMetadata + Debug + std::error::Error + Send + Sync + 'static,
{
    let status = error.raw_response().expect("an answer").status().as_u16();
    let service = error.as_service_error().expect("an answer of the service");
    let exception = service.code().expect("a code").to_owned();
    Refusal { is_typed: format!("{service:?}").starts_with(&exception), exception, status }
}

/// The payload of an input, whatever the table says it as.
fn payload(input: &Value) -> Blob {
    if let Some(count) = input["payloadBytes"].as_u64() {
        return Blob::new(vec![b'x'; usize::try_from(count).expect("a size")]);
    }
    if let Some(digits) = input["payloadHex"].as_str() {
        let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("digits");
        return Blob::new((0..digits.len()).step_by(2).map(byte).collect::<Vec<_>>());
    }
    Blob::new(input["payload"].as_str().unwrap_or_default())
}

/// Calls one operation with an input of the table.
async fn call(iot: &Client, operation: &str, input: &Value) -> Result<(), Refusal> {
    let text = |name: &str| input[name].as_str().map(str::to_owned);
    let number = |name: &str| input[name].as_i64().and_then(|number| i32::try_from(number).ok());
    let (client_id, topic) = (text("clientId"), text("topic"));
    let (thing, shadow) = (text("thingName"), text("shadowName"));
    macro_rules! send {
        ($builder:expr) => {
            $builder.send().await.map(drop).map_err(refusal)
        };
    }
    match operation {
        "DeleteConnection" => send!(iot.delete_connection().set_client_id(client_id)),
        "GetConnection" => send!(iot.get_connection().set_client_id(client_id)),
        "ListSubscriptions" => {
            let list = iot.list_subscriptions().set_client_id(client_id);
            send!(list.set_max_results(number("maxResults")))
        }
        "SendDirectMessage" => {
            let message = iot.send_direct_message().set_client_id(client_id).set_topic(topic);
            let message = message.set_timeout(number("timeout"));
            let message = message.set_confirmation(input["confirmation"].as_bool());
            send!(message.payload(payload(input)))
        }
        "Publish" => send!(iot.publish().set_topic(topic).payload(payload(input))),
        "GetRetainedMessage" => send!(iot.get_retained_message().set_topic(topic)),
        "ListRetainedMessages" => {
            send!(iot.list_retained_messages().set_max_results(number("maxResults")))
        }
        "GetThingShadow" => {
            send!(iot.get_thing_shadow().set_thing_name(thing).set_shadow_name(shadow))
        }
        "UpdateThingShadow" => {
            let update = iot.update_thing_shadow().set_thing_name(thing).set_shadow_name(shadow);
            send!(update.payload(payload(input)))
        }
        "DeleteThingShadow" => {
            send!(iot.delete_thing_shadow().set_thing_name(thing).set_shadow_name(shadow))
        }
        "ListNamedShadowsForThing" => {
            let list = iot.list_named_shadows_for_thing().set_thing_name(thing);
            send!(list.set_page_size(number("pageSize")))
        }
        other => panic!("no operation {other}"),
    }
}

/// data-plane-http §3.
#[tokio::test]
async fn each_exception_is_its_variant() {
    let server = Server::start().await;
    let (iot, table) = (server.iot_once(None), table());
    let update = &table["operations"]["UpdateThingShadow"];
    call(&iot, "UpdateThingShadow", update).await.expect("a shadow to conflict with");
    for row in table["refusals"].as_array().expect("rows") {
        let operation = row["operation"].as_str().expect("an operation");
        let refused = call(&iot, operation, &row["input"]).await.expect_err("a refusal");
        let expected = Refusal {
            exception: row["exception"].as_str().expect("a name").to_owned(),
            is_typed: row["modelled"].as_bool().unwrap_or(true),
            status: u16::try_from(row["status"].as_u64().expect("a status")).expect("a status"),
        };
        assert_eq!(refused, expected, "{row}");
    }
}

/// §10 and §3: each operation throttles once, and is forbidden to a key that may not.
#[tokio::test]
async fn each_operation_can_throttle_and_be_forbidden() {
    let server = Server::start().await;
    let enforced = Server::start_enforced().await;
    let (iot, table) = (server.iot_once(None), table());
    let powerless = enforced.iot_once(Some(&enforced.create_key("little", "iot:Connect", "*")));
    let modelled = table["forbiddenModelled"].as_array().expect("names");
    for (operation, input) in table["operations"].as_object().expect("operations") {
        server.throttle(operation);
        let exception = "ThrottlingException".to_owned();
        let throttled = Refusal { exception, is_typed: true, status: 429 };
        assert_eq!(call(&iot, operation, input).await, Err(throttled), "{operation}");
        if let Err(refused) = call(&iot, operation, input).await {
            assert_eq!(refused.exception, "ResourceNotFoundException", "{operation}");
        }
        let exception = "ForbiddenException".to_owned();
        let is_typed = modelled.iter().any(|name| name == operation);
        let forbidden = Refusal { exception, is_typed, status: 403 };
        assert_eq!(call(&powerless, operation, input).await, Err(forbidden), "{operation}");
    }
}

/// A client of MQTT 5 by its bytes: connected, it says nothing by itself.
async fn connect(server: &Server, client_id: &str) -> TcpStream {
    let mut stream =
        TcpStream::connect(("127.0.0.1", server.port("mqtt"))).await.expect("a server");
    let length = |count: usize| u8::try_from(count).expect("a short name");
    let mut packet = vec![0x10, length(13 + client_id.len())];
    packet.extend(b"\x00\x04MQTT\x05\x02\x00\x3c\x00\x00");
    packet.push(length(client_id.len()));
    packet.extend(client_id.as_bytes());
    stream.write_all(&packet).await.expect("room");
    assert_eq!(read_packet(&mut stream).await.0, 0x20);
    stream
}

/// The first byte of the next packet, and what stands behind its length.
async fn read_packet(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    let read = async {
        stream.read_exact(&mut head).await?;
        let mut body = vec![0; head[1].into()];
        stream.read_exact(&mut body).await.map(|_| body)
    };
    let body = tokio::time::timeout(LIMIT, read).await.expect("in time").expect("a packet");
    (head[0], body)
}

/// DM-3 and DM-14: a client that does not acknowledge, and one that refuses.
#[tokio::test]
async fn what_only_a_client_can_cause_is_typed() {
    let server = Server::start().await;
    let iot = server.iot_once(None);
    let mut lamp = connect(&server, "lamp").await;
    let send = |timeout: i32| {
        let message = iot.send_direct_message().client_id("lamp").topic("t").timeout(timeout);
        message.confirmation(true).payload(Blob::new("x")).send()
    };
    let silent = refusal(send(1).await.expect_err("504"));
    assert_eq!((&silent.exception[..], silent.is_typed), ("GatewayTimeoutException", true));
    read_packet(&mut lamp).await;
    let refuses = async {
        let (_, body) = read_packet(&mut lamp).await;
        let packet_id = &body[3..5];
        let puback = [&b"\x40\x03"[..], packet_id, b"\x83"].concat();
        lamp.write_all(&puback).await.expect("room");
    };
    let (answer, ()) = tokio::join!(send(10), refuses);
    let refused = refusal(answer.expect_err("500"));
    assert_eq!((&refused.exception[..], refused.status), ("InternalFailureException", 500));
}

/// §5: ids and topics with whatever is in them.
#[tokio::test]
async fn odd_names_are_found() {
    let server = Server::start().await;
    let (iot, table) = (server.iot_once(None), table());
    for id in table["clientIds"].as_array().expect("ids") {
        let id = id.as_str().expect("text");
        let _lamp = connect(&server, id).await;
        let state = iot.get_connection().client_id(id).send().await.expect("200");
        assert_eq!(state.client_id(), Some(id));
        iot.delete_connection().client_id(id).send().await.expect("200");
    }
    for topic in table["topics"].as_array().expect("topics") {
        let topic = topic.as_str().expect("text");
        let publish = iot.publish().topic(topic).qos(1).retain(true);
        publish.payload(Blob::new("x")).send().await.expect("200");
        let kept = iot.get_retained_message().topic(topic).send().await.expect("200");
        assert_eq!(kept.topic(), Some(topic));
    }
    let mut pages = iot.list_retained_messages().max_results(5).into_paginator().items().send();
    let mut seen = 0;
    while pages.next().await.transpose().expect("an entry").is_some() {
        seen += 1;
    }
    assert_eq!(seen, table["topics"].as_array().expect("topics").len());
}

/// S-27: pages of named shadows, by their tokens.
#[tokio::test]
async fn named_shadows_are_paged() {
    let server = Server::start().await;
    let iot = server.iot_once(None);
    let names: Vec<String> = (0..5).map(|number| format!("s{number}")).collect();
    for name in &names {
        let update = iot.update_thing_shadow().thing_name("T").shadow_name(name);
        update.payload(Blob::new(r#"{"state":{}}"#)).send().await.expect("200");
    }
    let (mut seen, mut token) = (Vec::new(), None);
    loop {
        let list = iot.list_named_shadows_for_thing().thing_name("T").page_size(2);
        let page = list.set_next_token(token).send().await.expect("200");
        seen.extend(page.results().iter().cloned());
        token = page.next_token().map(str::to_owned);
        if token.is_none() {
            break;
        }
    }
    assert_eq!(seen, names);
}
