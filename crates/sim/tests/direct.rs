//! SendDirectMessage, row by row: contract `delete-connection.md` §4. DM-7 and DM-8, which are
//! about policies, run against the server.

mod device;

use bitts_broker::{Limits, Rates};
use bitts_sim::machine::{Answer, Machine, Options, Request};
use bitts_sim::packet::{Kind, Packet, Property, Value, Version};
use serde_json::Value as Json;

use device::{Device, http};

fn machine() -> Machine {
    Machine::new(Options { shards: 2, ..Options::default() })
}

/// A request whose answer may have to wait.
fn begin(machine: &mut Machine, query: &str) -> Answer {
    let properties = "W3siZGV2aWNlTmFtZSI6ImFscGhhIn1d";
    let answer = machine.call(&Request {
        method: "POST".into(),
        path: "/connections/lamp/messages".into(),
        query: Some(query.to_owned()),
        headers: vec![
            ("x-amz-mqtt5-user-properties".into(), properties.into()),
            ("x-amz-mqtt5-payload-format-indicator".into(), "UTF8_DATA".into()),
            ("x-amz-mqtt5-correlation-data".into(), "AQI=".into()),
        ],
        body: b"hello".to_vec(),
    });
    machine.settle();
    answer
}

fn send(machine: &mut Machine, query: &str) -> (u16, Json) {
    let path = "/connections/lamp/messages";
    http(machine, "POST", path, query, b"hello").expect("an answer at once")
}

const CONFIRMED: &str = "topic=a%2Fb&confirmation=true";

fn lamp(machine: &mut Machine, version: Version, expiry: u32) -> Device {
    Device::connect(machine, "lamp", version, expiry)
}

fn one_message(device: &mut Device, machine: &mut Machine) -> Packet {
    let mut packets = device.packets(machine);
    assert_eq!(packets.len(), 1, "{packets:?}");
    packets.remove(0)
}

#[test]
fn dm_01_a_confirmed_message_waits_for_the_puback() {
    let mut machine = machine();
    let mut lamp = lamp(&mut machine, Version::V5, 0);
    let query = "topic=a%2Fb&confirmation=true&contentType=text%2Fplain&responseTopic=r";
    let asked = begin(&mut machine, query);
    let message = one_message(&mut lamp, &mut machine);
    assert_eq!((&*message.topic, &*message.payload), ("a/b", &b"hello"[..]));
    assert_eq!((message.qos, message.retain, message.dup), (1, false, false));
    let property = |id: u8| message.properties.iter().find(|it| it.id == id).map(|it| &it.value);
    assert_eq!(property(0x01), Some(&Value::Byte(1)));
    assert_eq!(property(0x03), Some(&Value::Text("text/plain".into())));
    assert_eq!(property(0x08), Some(&Value::Text("r".into())));
    assert_eq!(property(0x09), Some(&Value::Binary(vec![1, 2])));
    assert_eq!(property(0x26), Some(&Value::Pair("deviceName".into(), "alpha".into())));
    assert_eq!(machine.answer(&asked), None, "it waits");
    let packet_id = message.packet_id.expect("an identifier");
    lamp.send(&mut machine, &Packet::ack(Kind::PubAck, packet_id, 0));
    assert_eq!(machine.answer(&asked).expect("an answer").0, 200);
    machine.advance(20_000);
    assert!(lamp.packets(&mut machine).is_empty());
}

#[test]
fn dm_02_without_confirmation_nobody_waits() {
    let mut machine = machine();
    let mut lamp = lamp(&mut machine, Version::V5, 0);
    assert_eq!(send(&mut machine, "topic=a%2Fb&timeout=abc").0, 200);
    let message = one_message(&mut lamp, &mut machine);
    assert_eq!((message.qos, message.packet_id), (0, None));
}

/// DM-3: the answer comes when the time is over; the message is not sent again.
#[test]
fn dm_03_without_a_puback_it_is_a_timeout() {
    let mut machine = machine();
    let mut lamp = lamp(&mut machine, Version::V5, 3_600);
    let asked = begin(&mut machine, &format!("{CONFIRMED}&timeout=1"));
    let message = one_message(&mut lamp, &mut machine);
    machine.advance(999);
    assert_eq!(machine.answer(&asked), None);
    machine.advance(1);
    assert_eq!(machine.answer(&asked).expect("an answer").0, 504);
    let packet_id = message.packet_id.expect("an identifier");
    lamp.send(&mut machine, &Packet::ack(Kind::PubAck, packet_id, 0));
    assert!(machine.ended(lamp.link).is_none(), "a late PUBACK is fine");
}

/// DM-3, I: what is not acknowledged dies with its connection.
#[test]
fn a_direct_message_is_not_sent_again() {
    let mut machine = machine();
    let mut first = lamp(&mut machine, Version::V5, 3_600);
    let asked = begin(&mut machine, CONFIRMED);
    let packet_id = one_message(&mut first, &mut machine).packet_id.expect("an identifier");
    first.hang_up(&mut machine);
    let (status, body) = machine.answer(&asked).expect("an answer when the connection ends");
    assert_eq!(status, 504, "{body}");
    let link = machine.connect();
    let mut again = first;
    again.link = link;
    let version = Version::V5;
    let connect = Packet { client_id: "lamp".into(), version, ..Packet::new(Kind::Connect) };
    again.send(&mut machine, &connect);
    assert_eq!(one_message(&mut again, &mut machine).kind, Kind::ConnAck);
    // Its identifier means nothing on another connection.
    let asked = begin(&mut machine, CONFIRMED);
    let next = one_message(&mut again, &mut machine).packet_id.expect("an identifier");
    again.send(&mut machine, &Packet::ack(Kind::PubAck, packet_id, 0));
    assert_eq!((machine.answer(&asked).is_some(), next != packet_id), (false, true));
    again.send(&mut machine, &Packet::ack(Kind::PubAck, next, 0));
    assert_eq!(machine.answer(&asked).expect("an answer").0, 200);
}

/// Clients match on the phrase.
#[test]
fn dm_04_an_offline_session_is_told_apart() {
    let mut machine = machine();
    let mut lamp = lamp(&mut machine, Version::V5, 3_600);
    lamp.hang_up(&mut machine);
    for query in ["topic=t", CONFIRMED] {
        let (status, body) = send(&mut machine, query);
        assert_eq!(status, 404);
        let message = body["message"].as_str().expect("a message");
        assert!(message.ends_with("but it has an active persistent session"), "{message}");
    }
    assert_eq!(machine.stats().queued, 0);
}

#[test]
fn dm_05_an_unknown_client_is_not_found() {
    let (status, body) = send(&mut machine(), "topic=t");
    assert_eq!(status, 404);
    assert!(!body["message"].as_str().expect("a message").contains("persistent"));
}

/// The rest is the request's own: `bitts-aws`.
#[test]
fn dm_06_a_reserved_topic_is_refused() {
    let mut machine = machine();
    let mut lamp = lamp(&mut machine, Version::V5, 0);
    for query in ["topic=%24aws%2Fx", "topic=a%2F%2B", ""] {
        assert_eq!(send(&mut machine, query).0, 400);
    }
    assert!(lamp.packets(&mut machine).is_empty());
}

#[test]
fn dm_09_subscribers_of_the_topic_get_nothing() {
    let mut machine = machine();
    let mut lamp = lamp(&mut machine, Version::V3, 0);
    let mut other = Device::connect(&mut machine, "other", Version::V5, 0);
    other.subscribe(&mut machine, &["#"]);
    lamp.subscribe(&mut machine, &["a/b"]);
    assert_eq!(send(&mut machine, "topic=a%2Fb").0, 200);
    assert_eq!(one_message(&mut lamp, &mut machine).topic, "a/b");
    assert!(other.packets(&mut machine).is_empty());
    assert_eq!(machine.stats().retained, 0);
}

#[test]
fn dm_11_mqtt_311_gets_a_plain_publish() {
    let mut machine = machine();
    let mut lamp = lamp(&mut machine, Version::V3, 0);
    let asked = begin(&mut machine, &format!("{CONFIRMED}&contentType=x"));
    let message = one_message(&mut lamp, &mut machine);
    assert!(message.properties.is_empty());
    assert_eq!(message.payload, b"hello");
    let packet_id = message.packet_id.expect("an identifier");
    lamp.send(&mut machine, &Packet::ack(Kind::PubAck, packet_id, 0));
    assert_eq!(machine.answer(&asked).expect("an answer").0, 200);
}

#[test]
fn dm_13_a_full_window_throttles() {
    let mut machine = machine();
    let link = machine.connect();
    let two_in_flight = vec![Property { id: 0x21, value: Value::Two(2) }];
    let mut lamp = Device::greet(&mut machine, link, ("lamp", Version::V5, 0), two_in_flight);
    let (_, second) = (begin(&mut machine, CONFIRMED), begin(&mut machine, CONFIRMED));
    assert_eq!(send(&mut machine, CONFIRMED).0, 429);
    assert_eq!(send(&mut machine, "topic=t").0, 200, "QoS 0 needs no place");
    let packet_id = lamp.packets(&mut machine)[1].packet_id.expect("an identifier");
    lamp.send(&mut machine, &Packet::ack(Kind::PubAck, packet_id, 0));
    assert_eq!(machine.answer(&second).expect("an answer").0, 200);
    let third = begin(&mut machine, CONFIRMED);
    assert!(machine.answer(&third).is_none() && lamp.packets(&mut machine).len() == 1);
}

/// DM-14: the client has it and says that it failed: neither 200 nor 504 is true.
#[test]
fn dm_14_a_puback_that_refuses_is_named() {
    let mut machine = machine();
    let mut lamp = lamp(&mut machine, Version::V5, 0);
    let asked = begin(&mut machine, CONFIRMED);
    let packet_id = one_message(&mut lamp, &mut machine).packet_id.expect("an identifier");
    lamp.send(&mut machine, &Packet::ack(Kind::PubAck, packet_id, 0x83));
    let (status, body) = machine.answer(&asked).expect("an answer");
    assert_eq!(status, 500);
    let message = body["message"].as_str().expect("a message");
    assert!(message.contains("Implementation specific error") && message.contains("0x83"));
}

#[test]
fn what_the_client_cannot_take_is_said() {
    let mut machine = machine();
    let link = machine.connect();
    let small = vec![Property { id: 0x27, value: Value::Four(20) }];
    let mut lamp = Device::greet(&mut machine, link, ("lamp", Version::V5, 0), small);
    let path = "/connections/lamp/messages";
    let (status, _) = http(&mut machine, "POST", path, CONFIRMED, &[b'x'; 30]).expect("an answer");
    assert_eq!((status, lamp.packets(&mut machine).len()), (413, 0));
    machine.set_congested(lamp.link, true);
    machine.settle();
    assert_eq!(send(&mut machine, "topic=t").0, 429);
    assert_eq!(send(&mut machine, CONFIRMED).0, 429);
}

#[test]
fn confirmations_that_wait_are_bounded_and_messages_have_a_rate() {
    let limits = Limits { direct_messages_waiting_max: 1, ..Limits::default() };
    let mut machine = Machine::new(Options { limits, ..Options::default() });
    lamp(&mut machine, Version::V5, 0);
    begin(&mut machine, CONFIRMED);
    assert_eq!(send(&mut machine, CONFIRMED).0, 429);
    assert_eq!(send(&mut machine, "topic=t").0, 200);
    let rates = Rates { inbound_publish_requests: 1, ..Rates::default() };
    let mut machine = Machine::new(Options { rates, ..Options::default() });
    lamp(&mut machine, Version::V5, 0);
    assert_eq!([0; 2].map(|_| send(&mut machine, "topic=t").0), [200, 429]);
}

/// A DeleteConnection meanwhile: the sender is told at once.
#[test]
fn a_client_that_is_put_off_confirms_nothing() {
    let mut machine = machine();
    lamp(&mut machine, Version::V5, 0);
    let asked = begin(&mut machine, CONFIRMED);
    http(&mut machine, "DELETE", "/connections/lamp", "", b"").expect("an answer");
    assert_eq!(machine.answer(&asked).expect("an answer").0, 504);
    assert_eq!(send(&mut machine, "topic=t").0, 404);
}
