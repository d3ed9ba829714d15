//! Queues that memory is too short for: they go to the store in pages, and come back in order.

mod device;

use bitts_broker::Limits;
use bitts_sim::machine::{Durability, Link, Machine, Options};
use bitts_sim::packet::{Filter, Kind, Packet};

use device::{connect, published, send};

/// Bytes of memory for what waits.
const MEMORY: usize = 16 << 10;

fn machine(durability: Durability) -> Machine {
    let limits = Limits { queued_memory_max: MEMORY, ..Limits::default() };
    Machine::new(Options { durability, limits, ..Options::default() })
}

/// A session with a subscription at this QoS, and its client gone.
fn offline(machine: &mut Machine, client_id: &str, qos: u8) {
    let link = connect(machine, client_id, false);
    let filters = vec![Filter { filter: "t".to_owned(), options: qos }];
    send(machine, link, &Packet { packet_id: Some(1), filters, ..Packet::new(Kind::Subscribe) });
    send(machine, link, &Packet::new(Kind::Disconnect));
}

fn publish(machine: &mut Machine, link: Link, number: u16, bytes: usize) {
    let mut payload = number.to_string().into_bytes();
    payload.resize(bytes.max(payload.len()), b' ');
    let (topic, packet_id) = ("t".to_owned(), Some(number));
    let packet = Packet { qos: 1, topic, packet_id, payload, ..Packet::new(Kind::Publish) };
    send(machine, link, &packet);
}

fn number_of(packet: &Packet) -> u16 {
    let text = String::from_utf8(packet.payload.clone()).expect("text");
    text.trim_end().parse().expect("a number")
}

/// Takes and acknowledges until nothing more comes.
fn take_all(machine: &mut Machine, link: Link) -> Vec<u16> {
    let mut numbers = Vec::new();
    loop {
        let packets = published(machine, link);
        if packets.is_empty() {
            return numbers;
        }
        for packet in packets {
            numbers.push(number_of(&packet));
            let packet_id = packet.packet_id.expect("QoS 1");
            send(machine, link, &Packet::ack(Kind::PubAck, packet_id, 0));
        }
    }
}

#[test]
fn what_memory_does_not_hold_comes_back_in_order() {
    let mut machine = machine(Durability::Later);
    offline(&mut machine, "s", 1);
    let publisher = connect(&mut machine, "p", true);
    for number in 1..=1_000 {
        publish(&mut machine, publisher, number, 100);
    }
    let stats = machine.stats();
    assert_eq!(stats.queued, 1_000);
    assert!(stats.queued_bytes > 200_000, "{}", stats.queued_bytes);
    assert!(stats.queued_memory <= MEMORY as u64, "{}", stats.queued_memory);
    assert!(machine.pages() > 5);

    let subscriber = connect(&mut machine, "s", false);
    assert_eq!(take_all(&mut machine, subscriber), (1..=1_000).collect::<Vec<_>>());
    let stats = machine.stats();
    assert_eq!((stats.queued, stats.queued_bytes, stats.queued_memory), (0, 0, 0));
    assert_eq!(machine.pages(), 0);
    assert_eq!(machine.take_faults(), Vec::<String>::new());
}

#[test]
fn nothing_overtakes_a_page() {
    let mut machine = machine(Durability::AtOnce);
    offline(&mut machine, "s", 1);
    let publisher = connect(&mut machine, "p", true);
    for number in 1..=300 {
        publish(&mut machine, publisher, number, 100);
    }
    let subscriber = connect(&mut machine, "s", false);
    let mut numbers: Vec<u16> = published(&mut machine, subscriber).iter().map(number_of).collect();
    for number in 301..=600 {
        publish(&mut machine, publisher, number, 100);
    }
    // What was in flight comes again on the next connection, and then the rest.
    drop(numbers.drain(..));
    let again = connect(&mut machine, "s", false);
    numbers.extend(take_all(&mut machine, again));
    assert_eq!(numbers, (1..=600).collect::<Vec<_>>());
}

#[test]
fn a_session_that_ends_leaves_no_page() {
    let mut machine = machine(Durability::AtOnce);
    offline(&mut machine, "s", 1);
    let publisher = connect(&mut machine, "p", true);
    for number in 1..=300 {
        publish(&mut machine, publisher, number, 100);
    }
    assert!(machine.pages() > 0);
    connect(&mut machine, "s", true);
    assert_eq!(machine.pages(), 0);
    let stats = machine.stats();
    assert_eq!((stats.queued_bytes, stats.queued_memory), (0, 0));
}

#[test]
fn the_log_says_what_is_in_pages() {
    let mut machine = machine(Durability::AtOnce);
    offline(&mut machine, "s", 1);
    let publisher = connect(&mut machine, "p", true);
    for number in 1..=300 {
        publish(&mut machine, publisher, number, 100);
    }
    let recovered = machine.recover(0).expect("a log");
    let session = recovered.sessions.first().expect("a session");
    assert_eq!(session.owed_len(), 300);
    assert_eq!(session.pages.len(), machine.pages());
    assert!(session.owed.len() < 100, "{} are not in pages", session.owed.len());
    let highest = session.pages.iter().map(|page| page.id.number()).max();
    assert_eq!(highest.map(|number| number + 1), Some(recovered.next_page));
}

#[test]
fn one_message_for_many_is_not_written_for_each() {
    let mut machine = machine(Durability::AtOnce);
    for number in 0..60 {
        offline(&mut machine, &format!("s{number}"), 1);
    }
    let publisher = connect(&mut machine, "p", true);
    for number in 1..=5 {
        publish(&mut machine, publisher, number, 50_000);
    }
    let stats = machine.stats();
    assert_eq!(stats.queued, 300);
    // The first of each message count for what the others share.
    assert!(stats.pages_written < 60, "{} pages", stats.pages_written);
    let subscriber = connect(&mut machine, "s7", false);
    assert_eq!(take_all(&mut machine, subscriber), [1, 2, 3, 4, 5]);
}
