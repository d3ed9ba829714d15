//! A Will that a crash would repeat reaches nobody before it is durable that it is done.

use bitts_sim::machine::{Durability, Link, Machine, Options, Step};
use bitts_sim::packet::{self, Filter, Kind, Packet, Version};

fn send(machine: &mut Machine, link: Link, packet: &Packet) {
    let mut bytes = Vec::new();
    packet::encode(packet, Version::V3, &mut bytes);
    machine.write(link, &bytes);
    machine.settle();
}

fn published(machine: &mut Machine, link: Link) -> usize {
    let mut received = machine.read(link);
    let mut count = 0;
    while let Some(len) = packet::next_len(&received).expect("a length") {
        let bytes: Vec<u8> = received.drain(..len).collect();
        let packet = packet::decode(&bytes, Version::V3).expect("a packet");
        count += usize::from(packet.kind == Kind::Publish);
    }
    count
}

/// Lets everything happen but that something becomes durable.
fn settle_without_store(machine: &mut Machine) {
    let mut steps = Vec::new();
    for _ in 0..10_000 {
        machine.steps(&mut steps);
        steps.retain(|step| !matches!(step, Step::Durable(_)));
        let Some(step) = steps.first() else { return };
        machine.step(*step);
    }
    panic!("the machine does not come to rest");
}

#[test]
fn nobody_has_a_will_before_it_is_durable_that_it_is_done() {
    for shards in [1, 3] {
        let options = Options { shards, durability: Durability::Later, ..Options::default() };
        let mut machine = Machine::new(options);
        let watchers: Vec<Link> = (0..6)
            .map(|number| {
                let link = machine.connect();
                let client_id = format!("watcher-{number}");
                let clean_start = number % 2 == 0;
                let connect = Packet { client_id, clean_start, ..Packet::new(Kind::Connect) };
                send(&mut machine, link, &connect);
                let filters = vec![Filter { filter: "w".to_owned(), options: number % 3 }];
                let packet_id = Some(1);
                let subscribe = Packet { packet_id, filters, ..Packet::new(Kind::Subscribe) };
                send(&mut machine, link, &subscribe);
                assert_eq!(published(&mut machine, link), 0);
                link
            })
            .collect();
        let lamp = machine.connect();
        let will = Some(packet::Will { topic: "w".to_owned(), qos: 1, ..packet::Will::default() });
        let client_id = "lamp".to_owned();
        send(&mut machine, lamp, &Packet { client_id, will, ..Packet::new(Kind::Connect) });

        machine.hang_up(lamp);
        settle_without_store(&mut machine);
        for link in &watchers {
            assert_eq!(published(&mut machine, *link), 0, "{shards} shards");
        }
        machine.settle();
        for link in &watchers {
            assert_eq!(published(&mut machine, *link), 1, "{shards} shards");
        }
    }
}
