//! AWS's rates, where they are asked for: what is above one, and when it goes on. Contract
//! `mqtt-broker.md` §3 and `data-plane-http.md` §10.

mod device;

use bitts_broker::command::{Command, Reply};
use bitts_broker::{Dropped, NewMessage, Profile, Rates, ShardId};
use bitts_mqtt::QoS;
use bitts_sim::machine::{Link, Machine, Options};
use bitts_sim::packet::{Filter, Kind, Packet, Version};

use device::{Device, connect, send};

fn machine(rates: Rates) -> Machine {
    Machine::new(Options { rates, ..Options::default() })
}

fn subscribe(machine: &mut Machine, link: Link, filters: &[&str]) {
    let filters =
        filters.iter().map(|filter| Filter { filter: (*filter).to_owned(), options: 1 }).collect();
    send(machine, link, &Packet { packet_id: Some(1), filters, ..Packet::new(Kind::Subscribe) });
}

fn publish(machine: &mut Machine, link: Link, packet_id: u16, topic: &str, retain: bool) {
    let (topic, packet_id) = (topic.to_owned(), Some(packet_id));
    let payload = b"x".to_vec();
    let packet = Packet { qos: 1, topic, packet_id, retain, payload, ..Packet::new(Kind::Publish) };
    send(machine, link, &packet);
}

/// The packets of one kind that came since the last call; a client acknowledges each PUBLISH.
fn came(machine: &mut Machine, link: Link, kind: Kind) -> Vec<Packet> {
    let packets = device::came(machine, link);
    let messages = packets.iter().filter(|packet| packet.kind == Kind::Publish);
    for packet_id in messages.filter_map(|packet| packet.packet_id) {
        send(machine, link, &Packet::ack(Kind::PubAck, packet_id, 0));
    }
    packets.into_iter().filter(|packet| packet.kind == kind).collect()
}

fn count(machine: &mut Machine, link: Link, kind: Kind) -> usize {
    came(machine, link, kind).len()
}

#[test]
fn without_rates_nothing_is_held() {
    let mut machine = machine(Rates::default());
    let link = connect(&mut machine, "a", true);
    for packet_id in 1..=500 {
        publish(&mut machine, link, packet_id, "t", true);
    }
    assert_eq!(count(&mut machine, link, Kind::PubAck), 500);
}

#[test]
fn what_a_connection_publishes_above_its_rate_is_not_acknowledged() {
    let mut machine = machine(Rates { publish_requests_per_connection: 100, ..Rates::default() });
    let link = connect(&mut machine, "a", true);
    for packet_id in 1..=120 {
        publish(&mut machine, link, packet_id, "t", false);
    }
    assert_eq!(count(&mut machine, link, Kind::PubAck), 100);
    assert_eq!(machine.stats().dropped(Dropped::RateExceeded), 20);
    machine.advance(500);
    for packet_id in 200..=260 {
        publish(&mut machine, link, packet_id, "t", false);
    }
    assert_eq!(count(&mut machine, link, Kind::PubAck), 50);
    let other = connect(&mut machine, "b", true);
    publish(&mut machine, other, 1, "t", false);
    assert_eq!(count(&mut machine, other, Kind::PubAck), 1, "another connection has its own");
}

#[test]
fn what_a_client_is_owed_above_its_rate_waits() {
    let mut machine = machine(Rates { publish_requests_per_connection: 10, ..Rates::default() });
    let subscriber = connect(&mut machine, "s", true);
    subscribe(&mut machine, subscriber, &["t"]);
    for publisher in 0..5 {
        let link = connect(&mut machine, &format!("p{publisher}"), true);
        for packet_id in 1..=6 {
            publish(&mut machine, link, packet_id, "t", false);
        }
    }
    assert_eq!(count(&mut machine, subscriber, Kind::Publish), 10);
    machine.advance(1_000);
    assert_eq!(count(&mut machine, subscriber, Kind::Publish), 10);
    machine.advance(2_000);
    assert_eq!(count(&mut machine, subscriber, Kind::Publish), 10);
    machine.advance(2_000);
    assert_eq!(count(&mut machine, subscriber, Kind::Publish), 0);
}

/// B-9: twenty-five stored messages take two seconds and a half.
#[test]
fn b_09_stored_messages_are_drained_at_their_rate() {
    let mut machine = machine(Rates { stored_messages_per_session: 10, ..Rates::default() });
    let link = connect(&mut machine, "s", false);
    subscribe(&mut machine, link, &["t"]);
    machine.hang_up(link);
    machine.settle();
    let publisher = connect(&mut machine, "p", true);
    for packet_id in 1..=25 {
        publish(&mut machine, publisher, packet_id, "t", false);
    }
    let link = connect(&mut machine, "s", false);
    let mut came = Vec::new();
    for _ in 0..5 {
        came.push(count(&mut machine, link, Kind::Publish));
        machine.advance(500);
    }
    assert_eq!(came, [10, 5, 5, 5, 0]);
    for packet_id in 30..=60 {
        publish(&mut machine, publisher, packet_id, "t", false);
    }
    assert_eq!(count(&mut machine, link, Kind::Publish), 31, "what is live has no such rate");
}

#[test]
fn what_a_group_kept_is_drained_for_each_member() {
    let mut machine = machine(Rates { shared_messages_per_subscriber: 20, ..Rates::default() });
    let link = connect(&mut machine, "s", false);
    subscribe(&mut machine, link, &["$share/g/t"]);
    machine.hang_up(link);
    machine.settle();
    let publisher = connect(&mut machine, "p", true);
    for packet_id in 1..=50 {
        publish(&mut machine, publisher, packet_id, "t", false);
    }
    let link = connect(&mut machine, "s", false);
    let mut came = Vec::new();
    for _ in 0..4 {
        came.push(count(&mut machine, link, Kind::Publish));
        machine.advance(1_000);
    }
    assert_eq!(came, [20, 20, 10, 0]);
}

#[test]
fn a_client_id_connects_once_a_second() {
    let mut machine = machine(Rates { connect_requests_per_client_id: 1, ..Rates::default() });
    let first = connect(&mut machine, "a", true);
    let code = |packets: Vec<Packet>| packets.first().map(|packet| packet.code);
    let connack = came(&mut machine, first, Kind::ConnAck);
    assert_eq!(code(connack), Some(0));
    let second = connect(&mut machine, "a", true);
    let connack = came(&mut machine, second, Kind::ConnAck);
    assert_eq!(code(connack), Some(3));
    assert!(machine.ended(first).is_none(), "the first one stays");
    let other = connect(&mut machine, "b", true);
    let connack = came(&mut machine, other, Kind::ConnAck);
    assert_eq!(code(connack), Some(0));
    machine.advance(1_000);
    let third = connect(&mut machine, "a", true);
    let connack = came(&mut machine, third, Kind::ConnAck);
    assert_eq!(code(connack), Some(0));
}

#[test]
fn what_a_connect_above_its_rate_is_told_is_the_profiles() {
    for (profile, code) in [(Profile::Open, 0x9F), (Profile::Aws, 0x97)] {
        let rates = Rates { connect_requests: 1, ..Rates::default() };
        let mut machine = Machine::new(Options { rates, profile, ..Options::default() });
        for expected in [0, code] {
            let mut device = Device::new(machine.connect(), Version::V5);
            let (client_id, version) = ("a".to_owned(), Version::V5);
            let connect = Packet { client_id, version, ..Packet::new(Kind::Connect) };
            device.send(&mut machine, &connect);
            let answer = device.packets(&mut machine).remove(0);
            assert_eq!((answer.kind, answer.code), (Kind::ConnAck, expected), "{profile:?}");
        }
    }
}

#[test]
fn an_account_connects_and_subscribes_as_often_as_it_may() {
    let rates = Rates { connect_requests: 3, subscriptions: 2, ..Rates::default() };
    let mut machine = machine(rates);
    let links: Vec<Link> =
        (0..4).map(|number| connect(&mut machine, &format!("c{number}"), true)).collect();
    let codes: Vec<u8> =
        links.iter().map(|link| came(&mut machine, *link, Kind::ConnAck)[0].code).collect();
    assert_eq!(codes, [0, 0, 0, 3]);
    subscribe(&mut machine, links[0], &["a", "b", "c"]);
    assert_eq!(came(&mut machine, links[0], Kind::SubAck)[0].codes, [1, 1, 0x80]);
}

#[test]
fn a_topic_is_retained_once_a_second_and_over_http_too() {
    let mut machine = machine(Rates { retained_publish_requests_per_topic: 1, ..Rates::default() });
    let link = connect(&mut machine, "a", true);
    for topic in ["t", "t", "u"] {
        publish(&mut machine, link, 1, topic, true);
    }
    assert_eq!(machine.stats().retained, 2);
    assert_eq!(machine.stats().dropped(Dropped::RateExceeded), 1);
    let message = NewMessage {
        topic: "t".to_owned(),
        payload: b"y".as_slice().into(),
        qos: QoS::One,
        retain: true,
        properties: Vec::new(),
        message_expiry_interval: None,
    };
    let asked = machine.command(ShardId(0), Command::Publish(message.clone()));
    machine.settle();
    assert!(matches!(machine.reply(asked), Some(Reply::Throttled)));
    machine.advance(1_000);
    let asked = machine.command(ShardId(0), Command::Publish(message));
    machine.settle();
    assert!(matches!(machine.reply(asked), Some(Reply::Done)));
}

#[test]
fn an_account_publishes_as_often_as_it_may_from_whatever_connection() {
    let rates =
        Rates { inbound_publish_requests: 5, outbound_publish_requests: 4, ..Rates::default() };
    let mut machine = machine(rates);
    let subscriber = connect(&mut machine, "s", true);
    subscribe(&mut machine, subscriber, &["t"]);
    for client in ["a", "b"] {
        let link = connect(&mut machine, client, true);
        for packet_id in 1..=3 {
            publish(&mut machine, link, packet_id, "t", false);
        }
    }
    assert_eq!(machine.stats().dropped(Dropped::RateExceeded), 1);
    assert_eq!(count(&mut machine, subscriber, Kind::Publish), 4);
    machine.advance(1_000);
    assert_eq!(count(&mut machine, subscriber, Kind::Publish), 1, "what waited goes on");
}
