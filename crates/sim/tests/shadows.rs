//! Shadows through both doors: the contract's vectors over MQTT and HTTP, and what is about topics,
//! connections and the store. Contract `device-shadow.md`.

mod device;

use std::sync::Arc;

use bitts_aws::shadow::{Shadow, ShadowError, ShadowId, ShadowOperation};
use bitts_broker::command::{Command, Reply};
use bitts_broker::record::Record;
use bitts_broker::{
    Input, Interest, Limits, Outbox, Profile, Rates, ReplyId, ShadowRequest, Shard, ShardId,
};
use bitts_sim::machine::{Durability, Machine, Options};
use bitts_sim::packet::{Kind, Packet, Version};
use bytes::Bytes;
use serde_json::{Value, json};

use device::{Device, http, settle_but_for_the_disk};

/// Seconds since 1970 of a step, where it names none: 1000 + 10 × index.
fn time_of(index: usize, step: &Value) -> u64 {
    step.get("t").map_or(1_000 + 10 * index as u64, |time| time.as_u64().expect("seconds"))
}

fn vectors() -> Vec<Value> {
    serde_json::from_str(include_str!("../../aws/tests/data/shadow/vectors.json")).expect("JSON")
}

fn machine(shards: u8) -> Machine {
    Machine::new(Options { shards, ..Options::default() })
}

/// The members of `value` that `expected` has.
fn part(value: &Value, expected: &Value) -> Value {
    let names = expected.as_object().expect("an object").keys();
    names.map(|name| (name.clone(), value[name].clone())).collect()
}

fn check(place: &str, step: &Value, name: &str, given: Option<&Value>) {
    let Some(expected) = step.get(name) else { return };
    let given = match given {
        Some(given) if step["partial"] == true && expected.is_object() => part(given, expected),
        Some(given) => given.clone(),
        None => Value::Null,
    };
    assert_eq!(&given, expected, "{place}: {name}");
}

/// What was published about a shadow, by the last level of its topic.
fn published(messages: &[(String, Value)], last: &str) -> Option<Value> {
    let mut found = messages.iter().filter(|(topic, _)| topic.ends_with(last));
    let first = found.next().map(|(_, body)| body.clone());
    assert!(found.next().is_none(), "{last} twice");
    first
}

/// A watcher of everything about thing `T`, and somebody who asks.
fn watched(machine: &mut Machine) -> (Device, Device) {
    let mut watcher = Device::connect(machine, "watcher", Version::V5, 0);
    watcher.subscribe(machine, &["$aws/things/T/shadow/#"]);
    (watcher, Device::connect(machine, "asker", Version::V3, 0))
}

/// §5 over MQTT: what is asked on one shard and owned by another is answered to a third.
#[test]
fn every_vector_holds_over_mqtt() {
    for (vector, shards) in vectors().iter().zip([1, 2, 3].into_iter().cycle()) {
        let mut machine = machine(shards);
        let (mut watcher, mut asker) = watched(&mut machine);
        for (index, step) in vector["steps"].as_array().expect("steps").iter().enumerate() {
            let place = format!("{} step {index}", vector["id"]);
            machine.set_wall_clock(time_of(index, step) * 1_000);
            let operation = step["op"].as_str().expect("an operation");
            let payload = step.get("req").map_or(String::new(), Value::to_string);
            let topic = format!("$aws/things/T/shadow/{operation}");
            let publish = asker.publish(&topic, payload.as_bytes(), 1);
            asker.send(&mut machine, &publish);
            let kinds: Vec<_> =
                asker.packets(&mut machine).iter().map(|it| (it.kind, it.packet_id)).collect();
            assert_eq!(kinds, [(Kind::PubAck, publish.packet_id)], "{place}");
            let messages = watcher.messages(&mut machine);
            for (name, last) in [
                ("accepted", format!("{operation}/accepted")),
                ("rejected", format!("{operation}/rejected")),
                ("delta", "update/delta".to_owned()),
                ("documents", "update/documents".to_owned()),
            ] {
                check(&place, step, name, published(&messages, &last).as_ref());
            }
            let is_rejected = step.get("rejected").is_some();
            let topics: Vec<&str> = messages.iter().map(|(topic, _)| topic.as_str()).collect();
            assert_eq!(topics.iter().any(|it| it.ends_with("rejected")), is_rejected, "{place}");
        }
        assert!(machine.take_faults().is_empty());
    }
}

/// §5 over HTTP, S-29 and S-30: bodies are those of MQTT, what is accepted is published, what is
/// refused is not.
#[test]
fn every_vector_holds_over_http() {
    for (vector, shards) in vectors().iter().zip([1, 2, 3].into_iter().cycle()) {
        let mut machine = machine(shards);
        let (mut watcher, _) = watched(&mut machine);
        for (index, step) in vector["steps"].as_array().expect("steps").iter().enumerate() {
            let place = format!("{} step {index}", vector["id"]);
            machine.set_wall_clock(time_of(index, step) * 1_000);
            let (method, is_update) = match step["op"].as_str().expect("an operation") {
                "get" => ("GET", false),
                "update" => ("POST", true),
                _ => ("DELETE", false),
            };
            let request = step.get("req").filter(|_| is_update);
            let payload = request.map_or(String::new(), Value::to_string);
            let asked = http(&mut machine, method, "/things/T/shadow", "", payload.as_bytes());
            let (status, body) = asked.expect("an answer");
            let messages = watcher.messages(&mut machine);
            if let Some(rejected) = step.get("rejected") {
                assert_eq!(
                    (json!(status), &body["message"]),
                    (rejected["code"].clone(), &rejected["message"]),
                    "{place}"
                );
                assert!(messages.is_empty(), "{place}: {messages:?}");
                continue;
            }
            assert_eq!(status, 200, "{place}: {body}");
            let mut step = step.clone();
            if !is_update {
                // A GET and a DELETE have no body, so no token.
                let accepted = step["accepted"].as_object_mut().expect("an object");
                accepted.remove("clientToken");
                assert!(messages.is_empty(), "{place}: {messages:?}");
            }
            check(&place, &step, "accepted", Some(&body));
            if is_update {
                assert_eq!(published(&messages, "update/accepted"), Some(body), "{place}");
                check(&place, &step, "delta", published(&messages, "update/delta").as_ref());
                let documents = published(&messages, "update/documents");
                check(&place, &step, "documents", documents.as_ref());
                assert!(documents.is_some(), "{place}");
            }
        }
    }
}

const NAMED: &str = "$aws/things/T/shadow/name/s";

/// S-27, S-28 and paging.
#[test]
fn s_27_named_shadows_are_apart_from_the_classic_one_and_listed() {
    let mut machine = machine(2);
    let mut watcher = Device::connect(&mut machine, "w", Version::V5, 0);
    watcher.subscribe(&mut machine, &["$aws/things/T/shadow/update/+", &format!("{NAMED}/#")]);
    let state = br#"{"state":{"reported":{"a":1}}}"#;
    let ask = |machine: &mut Machine, method: &str, query: &str| {
        http(machine, method, "/things/T/shadow", query, state).expect("an answer").0
    };
    for query in ["name=s", "name=s2", "name=%24s3", "name=s4"] {
        assert_eq!(ask(&mut machine, "POST", query), 200);
    }
    let topics: Vec<String> =
        watcher.messages(&mut machine).into_iter().map(|(topic, _)| topic).collect();
    let both = [format!("{NAMED}/update/documents"), format!("{NAMED}/update/accepted")];
    assert_eq!(topics, both);
    assert_eq!(ask(&mut machine, "GET", ""), 404);
    assert_eq!(ask(&mut machine, "POST", ""), 200);
    assert_eq!(watcher.messages(&mut machine).len(), 2);
    assert_eq!(ask(&mut machine, "DELETE", "name=s4"), 200);
    assert_eq!(ask(&mut machine, "GET", "name=s4"), 404);
    assert_eq!(ask(&mut machine, "GET", "name=s"), 200);

    let path = "/api/things/shadow/ListNamedShadowsForThing/T";
    let (status, page) = http(&mut machine, "GET", path, "pageSize=2", b"").expect("an answer");
    assert_eq!((status, &page["results"]), (200, &json!(["$s3", "s"])));
    let token = page["nextToken"].as_str().expect("a token").replace('=', "%3D");
    let query = format!("pageSize=2&nextToken={token}");
    let (_, page) = http(&mut machine, "GET", path, &query, b"").expect("an answer");
    assert_eq!((&page["results"], page.get("nextToken")), (&json!(["s2"]), None));
    let path = "/api/things/shadow/ListNamedShadowsForThing/T1";
    let (status, page) = http(&mut machine, "GET", path, "", b"").expect("an answer");
    assert_eq!((status, &page["results"]), (200, &json!([])));
}

/// S-33, and an empty name: such topics are refused as other reserved ones are.
#[test]
fn s_33_answers_and_topics_without_a_name_are_refused() {
    for (profile, version) in [(Profile::Open, Version::V5), (Profile::Aws, Version::V3)] {
        for topic in [
            "$aws/things/T/shadow/update/accepted",
            "$aws/things/T/shadow/name//get",
            "$aws/things/a b/shadow/get",
            "$aws/things/T/shadow",
        ] {
            let mut machine = Machine::new(Options { profile, ..Options::default() });
            let mut client = Device::connect(&mut machine, "c", version, 0);
            let publish = client.publish(topic, b"{}", 1);
            client.send(&mut machine, &publish);
            let answers: Vec<_> =
                client.packets(&mut machine).iter().map(|it| (it.kind, it.code)).collect();
            if profile == Profile::Aws {
                assert!(answers.is_empty() && machine.ended(client.link).is_some(), "{topic}");
            } else {
                assert_eq!(answers, [(Kind::PubAck, 0x87)], "{topic}");
            }
        }
    }
}

/// Contract §2: RETAIN is ignored, and replies are ordinary messages for whoever subscribes.
#[test]
fn nothing_about_a_shadow_is_retained() {
    let mut machine = machine(1);
    let mut asker = Device::connect(&mut machine, "a", Version::V5, 0);
    let topic = "$aws/things/T/shadow/update";
    let publish =
        Packet { retain: true, ..asker.publish(topic, br#"{"state":{"desired":{"a":1}}}"#, 1) };
    asker.send(&mut machine, &publish);
    assert_eq!(asker.packets(&mut machine).len(), 1, "the PUBACK, and no reply without asking");
    assert_eq!(machine.stats().retained, 0);
    asker.subscribe(&mut machine, &["$aws/things/T/shadow/#"]);
    assert!(asker.packets(&mut machine).is_empty());
}

/// §2: replies are QoS 1, so that a session keeps them while its client is away.
#[test]
fn a_delta_waits_for_a_client_that_is_offline() {
    let mut machine = machine(2);
    let mut lamp = Device::connect(&mut machine, "lamp", Version::V5, 3_600);
    lamp.subscribe(&mut machine, &["$aws/things/T/shadow/update/delta"]);
    lamp.hang_up(&mut machine);
    let update = br#"{"state":{"desired":{"led":"on"}}}"#;
    assert_eq!(http(&mut machine, "POST", "/things/T/shadow", "", update).expect("it").0, 200);
    let link = machine.connect();
    let connect =
        Packet { client_id: "lamp".into(), version: Version::V5, ..Packet::new(Kind::Connect) };
    lamp.link = link;
    lamp.send(&mut machine, &connect);
    let messages = lamp.messages(&mut machine);
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].1["state"], json!({ "led": "on" }));
}

/// The HTTP API publishes requests too, and is answered when they are carried out.
#[test]
fn publish_over_http_asks_a_shadow() {
    for shards in [1, 2, 3, 4] {
        let mut machine = machine(shards);
        let (mut watcher, _) = watched(&mut machine);
        let path = "/topics/%24aws%2Fthings%2FT%2Fshadow%2Fget";
        let answer = http(&mut machine, "POST", path, "qos=1", br#"{"clientToken":"t"}"#);
        assert_eq!(answer.expect("an answer").0, 200);
        let messages = watcher.messages(&mut machine);
        let rejected = json!({
            "code": 404, "message": "No shadow exists with name: 'T'", "clientToken": "t",
        });
        assert_eq!(messages, [("$aws/things/T/shadow/get/rejected".to_owned(), rejected)]);
    }
}

fn slow_disk(shards: u8, limits: Limits) -> Machine {
    let durability = Durability::Later;
    Machine::new(Options { shards, durability, limits, ..Options::default() })
}

/// Nothing that shows a change leaves before it is durable: neither the acknowledgement nor the
/// answers nor a get that comes after it.
#[test]
fn nothing_shows_a_change_before_it_is_durable() {
    for shards in [1, 2, 3, 4] {
        let mut machine = slow_disk(shards, Limits::default());
        let (mut watcher, mut asker) = watched(&mut machine);
        let topic = "$aws/things/T/shadow/update";
        let update = asker.publish(topic, br#"{"state":{"desired":{"a":1}}}"#, 1);
        let get = asker.publish("$aws/things/T/shadow/get", b"", 1);
        let other = asker.publish("elsewhere", b"x", 1);
        for packet in [&update, &get, &other] {
            asker.write(&mut machine, packet);
        }
        settle_but_for_the_disk(&mut machine);
        let before = machine.call(&bitts_sim::machine::Request {
            method: "GET".into(),
            path: "/things/T/shadow".into(),
            ..Default::default()
        });
        settle_but_for_the_disk(&mut machine);
        assert!(asker.packets(&mut machine).is_empty(), "also what would overtake: {shards}");
        assert!(watcher.packets(&mut machine).is_empty());
        assert!(machine.answer(&before).is_none());
        machine.settle();
        let acknowledged: Vec<_> =
            asker.packets(&mut machine).iter().map(|it| (it.kind, it.packet_id)).collect();
        let expected = [update.packet_id, get.packet_id, other.packet_id];
        assert_eq!(acknowledged, expected.map(|id| (Kind::PubAck, id)), "in order: {shards}");
        let topics: Vec<String> =
            watcher.messages(&mut machine).into_iter().map(|(topic, _)| topic).collect();
        let expected = ["update/delta", "update/documents", "update/accepted", "get/accepted"];
        assert_eq!(topics, expected.map(|last| format!("$aws/things/T/shadow/{last}")));
        assert_eq!(machine.answer(&before).expect("an answer").1["version"], 1);
    }
}

/// S-31: the eleventh request on one connection that is not answered.
#[test]
fn s_31_too_many_requests_in_flight_are_rejected() {
    let limits = Limits { shadow_requests_in_flight_max: 10, ..Limits::default() };
    for (qos, shards) in [(0, 2), (1, 2), (0, 1), (1, 1)] {
        let mut machine = slow_disk(shards, limits.clone());
        let (mut watcher, mut asker) = watched(&mut machine);
        for number in 0..12 {
            let payload = format!(r#"{{"state":{{}},"clientToken":"{number}"}}"#);
            let publish = asker.publish("$aws/things/T/shadow/update", payload.as_bytes(), qos);
            asker.write(&mut machine, &publish);
        }
        settle_but_for_the_disk(&mut machine);
        assert!(asker.packets(&mut machine).is_empty(), "acknowledgements wait in order");
        machine.settle();
        assert_eq!(asker.packets(&mut machine).len(), 12 * usize::from(qos));
        let told = watcher.messages(&mut machine);
        let ends = |last: &str| told.iter().filter(|it| it.0.ends_with(last)).cloned().collect();
        let accepted: Vec<_> = ends("accepted");
        assert_eq!(accepted.len(), 10);
        let rejected: Vec<_> = ends("rejected");
        let expected = ["10", "11"].map(|token| {
            let body = json!({ "code": 429, "message": "Too many requests", "clientToken": token });
            ("$aws/things/T/shadow/update/rejected".to_owned(), body)
        });
        assert_eq!(rejected, expected);
        let publish = asker.publish("$aws/things/T/shadow/get", b"", 0);
        asker.send(&mut machine, &publish);
        assert_eq!(watcher.messages(&mut machine)[0].0, "$aws/things/T/shadow/get/accepted");
    }
}

/// [MQTT-3.3.4-7]: what waits behind a request is not acknowledged either.
#[test]
fn held_acknowledgements_count_against_receive_maximum() {
    let mut machine = slow_disk(2, Limits { receive_maximum: 3, ..Limits::default() });
    let mut asker = Device::connect(&mut machine, "a", Version::V5, 0);
    for topic in ["$aws/things/T/shadow/update", "a", "b"] {
        let publish = asker.publish(topic, br#"{"state":{}}"#, 1);
        asker.write(&mut machine, &publish);
    }
    settle_but_for_the_disk(&mut machine);
    assert!(asker.packets(&mut machine).is_empty());
    let publish = asker.publish("c", b"x", 1);
    asker.write(&mut machine, &publish);
    settle_but_for_the_disk(&mut machine);
    let answers: Vec<_> = asker.packets(&mut machine).iter().map(|it| (it.kind, it.code)).collect();
    assert_eq!(answers, [(Kind::Disconnect, 0x93)]);
}

/// A connection that ends is owed no acknowledgement; what it asked is carried out.
#[test]
fn an_acknowledgement_dies_with_its_connection() {
    let mut machine = slow_disk(2, Limits::default());
    let mut asker = Device::connect(&mut machine, "a", Version::V5, 3_600);
    let topic = "$aws/things/T/shadow/update";
    let update = asker.publish(topic, br#"{"state":{"desired":{"a":1}}}"#, 1);
    asker.write(&mut machine, &update);
    settle_but_for_the_disk(&mut machine);
    machine.hang_up(asker.link);
    settle_but_for_the_disk(&mut machine);
    let mut again = Device::connect(&mut machine, "a", Version::V5, 3_600);
    machine.settle();
    assert!(again.packets(&mut machine).is_empty());
    let (status, body) = http(&mut machine, "GET", "/things/T/shadow", "", b"").expect("an answer");
    assert_eq!((status, &body["version"]), (200, &json!(1)));
    assert!(machine.take_faults().is_empty());
}

/// QoS 2 is accepted once: a PUBLISH that is sent again changes nothing.
#[test]
fn at_qos_2_a_request_is_carried_out_once() {
    let mut machine = machine(2);
    let mut asker = Device::connect(&mut machine, "a", Version::V5, 0);
    let topic = "$aws/things/T/shadow/update";
    let update = asker.publish(topic, br#"{"state":{}}"#, 2);
    for dup in [false, true] {
        asker.send(&mut machine, &Packet { dup, ..update.clone() });
        let answers = asker.packets(&mut machine);
        assert_eq!(answers.iter().map(|it| it.kind).collect::<Vec<_>>(), [Kind::PubRec]);
    }
    let packet_id = update.packet_id.expect("an identifier");
    asker.send(&mut machine, &Packet::ack(Kind::PubRel, packet_id, 0));
    assert_eq!(asker.packets(&mut machine)[0].kind, Kind::PubComp);
    let (_, body) = http(&mut machine, "GET", "/things/T/shadow", "", b"").expect("an answer");
    assert_eq!(body["version"], 1);
}

#[test]
fn a_thing_has_its_rate() {
    let rates = Rates { shadow_requests_per_thing: 20, ..Rates::default() };
    let mut machine = Machine::new(Options { rates, ..Options::default() });
    let statuses = |machine: &mut Machine, thing: &str, times: usize| {
        let path = format!("/things/{thing}/shadow");
        let ask = |_| http(machine, "GET", &path, "", b"").expect("an answer").0;
        (0..times).map(ask).collect::<Vec<_>>()
    };
    assert_eq!(statuses(&mut machine, "T", 21), [vec![404; 20], vec![429]].concat());
    assert_eq!(statuses(&mut machine, "U", 1), [404]);
    machine.advance(1_000);
    assert_eq!(statuses(&mut machine, "T", 1), [404]);
}

/// data-plane-http §10: an update counts as four messages of the account, through every door; a
/// get counts as the one that asks for it, and over HTTP as none.
#[test]
fn an_update_counts_as_four_publishes() {
    let rates = Rates { inbound_publish_requests: 10, ..Rates::default() };
    let mut machine = Machine::new(Options { rates, shards: 2, ..Options::default() });
    let (mut watcher, mut asker) = watched(&mut machine);
    let update = |machine: &mut Machine, path: &str| {
        http(machine, "POST", path, "", br#"{"state":{}}"#).expect("an answer").0
    };
    let door = "/topics/$aws/things/T/shadow/update";
    assert_eq!(update(&mut machine, "/things/T/shadow"), 200);
    assert_eq!(update(&mut machine, door), 200);
    assert_eq!(http(&mut machine, "GET", "/things/T/shadow", "", b"").expect("it").0, 200);
    assert_eq!(update(&mut machine, "/things/U/shadow"), 429, "eight of ten are used");
    watcher.messages(&mut machine);
    for (operation, last) in [("get", "get/accepted"), ("update", "update/rejected")] {
        let publish = asker.publish(&format!("$aws/things/T/shadow/{operation}"), b"{}", 1);
        asker.send(&mut machine, &publish);
        let messages = watcher.messages(&mut machine);
        let rejected = published(&messages, last).expect("an answer");
        assert!(rejected["code"].is_null() || rejected["code"] == 429, "{rejected}");
    }
    machine.advance(1_000);
    assert_eq!([(); 3].map(|()| update(&mut machine, "/things/T/shadow")), [200, 200, 429]);
    machine.advance(1_000);
    let publish = asker.publish("$aws/things/T/shadow/update", br#"{"state":{}}"#, 1);
    asker.send(&mut machine, &publish);
    watcher.messages(&mut machine);
    // The third is published, which makes nine, and refused as a request; then nothing is left.
    assert_eq!([(); 2].map(|()| update(&mut machine, door)), [200, 200]);
    let messages = watcher.messages(&mut machine);
    assert_eq!(published(&messages, "update/rejected").expect("a refusal")["code"], 429);
    assert_eq!([(); 2].map(|()| update(&mut machine, door)), [200, 429]);
}

/// However low the account's rate is, a shadow can be updated once a second.
#[test]
fn one_update_fits_into_every_rate() {
    let rates = Rates { inbound_publish_requests: 1, ..Rates::default() };
    let mut machine = Machine::new(Options { rates, ..Options::default() });
    let (mut watcher, mut asker) = watched(&mut machine);
    for version in 1..=3 {
        let publish = asker.publish("$aws/things/T/shadow/update", br#"{"state":{}}"#, 1);
        asker.send(&mut machine, &publish);
        let messages = watcher.messages(&mut machine);
        assert_eq!(published(&messages, "accepted").expect("an answer")["version"], version);
        machine.advance(1_000);
    }
}

/// What does not fit into the server's bounds is refused, and a delete makes room.
#[test]
fn shadows_have_a_bound_in_bytes() {
    let limits = Limits { shadow_bytes_max: 4_000, ..Limits::default() };
    let mut machine = Machine::new(Options { limits, ..Options::default() });
    let update = format!(r#"{{"state":{{"reported":{{"a":"{}"}}}}}}"#, "x".repeat(3_000));
    let mut ask = |method: &str, query: &str| {
        http(&mut machine, method, "/things/T/shadow", query, update.as_bytes()).expect("it").0
    };
    assert_eq!(ask("POST", "name=a"), 200);
    assert_eq!(ask("POST", "name=b"), 429);
    assert_eq!(ask("DELETE", "name=a"), 200);
    assert_eq!(ask("POST", "name=b"), 200);
}

/// §1: a deleted shadow's version is remembered for 48 hours; then nothing of it is left.
#[test]
fn a_deleted_shadow_is_forgotten_after_48_hours() {
    let mut machine = machine(1);
    let ask = |machine: &mut Machine, method: &str, body: &[u8]| {
        http(machine, method, "/things/T/shadow", "", body).expect("an answer")
    };
    assert_eq!(ask(&mut machine, "POST", br#"{"state":{}}"#).1["version"], 1);
    assert_eq!(ask(&mut machine, "DELETE", b"").1["version"], 1);
    machine.advance(47 * 3_600_000);
    assert_eq!(ask(&mut machine, "POST", br#"{"state":{}}"#).1["version"], 3);
    assert_eq!(ask(&mut machine, "DELETE", b"").1["version"], 3);
    machine.advance(48 * 3_600_000 + 2_000);
    let states: Vec<usize> = records(&machine).map(|(_, state)| state.len()).collect();
    assert_eq!(states.last(), Some(&0), "the store forgets it too");
    let stats = machine.stats();
    assert_eq!((stats.shadows, stats.shadow_bytes), (0, 0));
    assert_eq!(machine.deadline(), None);
    assert_eq!(ask(&mut machine, "POST", br#"{"state":{}}"#).1["version"], 1);
}

/// The shadows that a machine's records tell of, in order.
fn records(machine: &Machine) -> impl Iterator<Item = (Option<Box<str>>, Vec<u8>)> {
    let batches = machine.log(0).into_iter().flat_map(|log| &log.batches);
    let records = batches.flat_map(|batch| &batch.records);
    let shadows = records.filter_map(|record| match record {
        Record::Shadow { thing, shadow, state } => {
            assert_eq!(&**thing, "T");
            Some((shadow.clone(), state.to_vec()))
        }
        _ => None,
    });
    shadows.collect::<Vec<_>>().into_iter()
}

/// Every change is one record, from which the shadow goes on.
#[test]
fn each_change_is_one_record_with_document_and_version() {
    let mut machine = machine(1);
    for (method, query, body) in [
        ("POST", "", &br#"{"state":{"desired":{"a":1}}}"#[..]),
        ("POST", "name=s", br#"{"state":{}}"#),
        ("GET", "", b""),
        ("POST", "", br#"{"state":{"desired":{"a":2}},"version":7}"#),
        ("DELETE", "", b""),
        ("DELETE", "", b""),
    ] {
        http(&mut machine, method, "/things/T/shadow", query, body).expect("an answer");
    }
    let names: Vec<_> = records(&machine).map(|(name, _)| name).collect();
    assert_eq!(names, [None, Some("s".into()), None]);
    let states: Vec<_> = records(&machine).map(|(_, state)| state).collect();
    let read = |bytes: &[u8]| Shadow::decode(bytes).expect("a shadow").version();
    assert_eq!(states.iter().map(|it| read(it)).collect::<Vec<_>>(), [Some(1), Some(1), None]);
}

/// Bad input, each door: refused with a sentence, nothing changes, the connection stays.
#[test]
fn what_is_no_document_is_rejected() {
    let mut machine = machine(2);
    let (mut watcher, mut asker) = watched(&mut machine);
    let deep = "[".repeat(100_000);
    for (payload, code) in [
        (&b""[..], 400),
        (b"{\"state\":{\"reported\":{\"a\":\"\xff\"}}}", 415),
        (br#"{"state":{"reported":{"a":1,"a":2}}}"#, 400),
        (br#"{"state":{"reported":{"a":NaN}}}"#, 400),
        (br#"{"state":{"reported":{"a":"\ud800"}}}"#, 400),
        (deep.as_bytes(), 400),
        (&vec![b' '; 131_073], 413),
    ] {
        let publish = asker.publish("$aws/things/T/shadow/update", payload, 1);
        asker.send(&mut machine, &publish);
        assert_eq!(asker.packets(&mut machine)[0].code, 0);
        let messages = watcher.messages(&mut machine);
        assert_eq!(messages.len(), 1);
        assert_eq!(messages[0].1["code"], code);
        if payload.len() <= 131_072 {
            let asked = http(&mut machine, "POST", "/things/T/shadow", "", payload);
            assert_eq!(asked.expect("an answer").0, code);
        }
    }
    assert!(watcher.messages(&mut machine).is_empty());
    assert_eq!(http(&mut machine, "GET", "/things/T/shadow", "", b"").expect("it").0, 404);
}

/// A shard that takes over what another one's records tell goes on from there.
#[test]
fn a_shadow_goes_on_from_its_record() {
    let mut machine = machine(1);
    for body in [r#"{"state":{"desired":{"a":1}}}"#, r#"{"state":{"desired":{"b":2}}}"#] {
        http(&mut machine, "POST", "/things/T/shadow", "", body.as_bytes()).expect("an answer");
    }
    let (_, state) = records(&machine).last().expect("a record");
    let id = ShadowId::new("T", None).expect("a shadow");
    let placement = *machine.placement();
    let interest = Arc::new(Interest::new(&placement));
    let mut shard = Shard::new(ShardId(0), placement, Limits::default(), interest);
    assert!(shard.restore_shadow(machine.now(), &id, Bytes::from_static(b"\x07")).is_err());
    shard.restore_shadow(machine.now(), &id, state.into()).expect("a shadow");
    let mut out = Outbox::default();
    let request = ShadowRequest { id, operation: ShadowOperation::Get, payload: Bytes::new() };
    let (command, reply) = (Command::Shadow(request), ReplyId(7));
    shard.handle(machine.now(), Input::Command { command, reply }, &mut out);
    let [(ReplyId(7), Reply::Shadow(body))] = &out.replies[..] else { panic!("{:?}", out.replies) };
    let body: Value = serde_json::from_slice(body).expect("JSON");
    let expected = http(&mut machine, "GET", "/things/T/shadow", "", b"").expect("an answer").1;
    assert_eq!((&body, &body["version"]), (&expected, &json!(2)));
}

/// A full disk takes no update; what is there can be read, and deleted to make room.
#[test]
fn a_full_disk_takes_no_update() {
    let machine = machine(1);
    let placement = *machine.placement();
    let interest = Arc::new(Interest::new(&placement));
    let mut shard = Shard::new(ShardId(0), placement, Limits::default(), interest);
    let id = ShadowId::new("T", None).expect("a shadow");
    let mut ask = |operation: ShadowOperation| {
        let payload = Bytes::from_static(br#"{"state":{}}"#);
        let command = Command::Shadow(ShadowRequest { id: id.clone(), operation, payload });
        let mut out = Outbox::default();
        let reply = ReplyId(1);
        shard.handle(machine.now(), Input::Command { command, reply }, &mut out);
        for batch in out.batches.drain(..).collect::<Vec<_>>() {
            shard.handle(machine.now(), Input::Durable(batch.lsn), &mut out);
        }
        for (shard_id, parcel) in std::mem::take(&mut out.parcels) {
            shard.handle(machine.now(), Input::Parcel { from: shard_id, parcel }, &mut out);
        }
        let refused = match &out.replies[..] {
            [(_, Reply::Shadow(_))] => None,
            [(_, Reply::ShadowRejected(rejection))] => Some(rejection.error),
            other => panic!("{other:?}"),
        };
        shard.handle(machine.now(), Input::DiskFull(true), &mut out);
        refused
    };
    assert_eq!(ask(ShadowOperation::Update), None);
    assert_eq!(ask(ShadowOperation::Update), Some(ShadowError::Unavailable));
    assert_eq!(ask(ShadowOperation::Get), None);
    assert_eq!(ask(ShadowOperation::Delete), None);
}
