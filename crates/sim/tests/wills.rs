//! A Will that a crash would repeat reaches nobody before it is durable that it is done.

mod device;

use bitts_sim::machine::{Durability, Link, Machine, Options};
use bitts_sim::packet::{Filter, Kind, Packet, Will};

use device::{connect, published, send, settle_but_for_the_disk};

#[test]
fn nobody_has_a_will_before_it_is_durable_that_it_is_done() {
    for shards in [1, 3] {
        let options = Options { shards, durability: Durability::Later, ..Options::default() };
        let mut machine = Machine::new(options);
        let watchers: Vec<Link> = (0..6)
            .map(|number| {
                let client_id = format!("watcher-{number}");
                let link = connect(&mut machine, &client_id, number % 2 == 0);
                let filters = vec![Filter { filter: "w".to_owned(), options: number % 3 }];
                let packet_id = Some(1);
                let subscribe = Packet { packet_id, filters, ..Packet::new(Kind::Subscribe) };
                send(&mut machine, link, &subscribe);
                assert_eq!(published(&mut machine, link), []);
                link
            })
            .collect();
        let lamp = machine.connect();
        let will = Some(Will { topic: "w".to_owned(), qos: 1, ..Will::default() });
        let client_id = "lamp".to_owned();
        send(&mut machine, lamp, &Packet { client_id, will, ..Packet::new(Kind::Connect) });

        machine.hang_up(lamp);
        settle_but_for_the_disk(&mut machine);
        for link in &watchers {
            assert_eq!(published(&mut machine, *link), [], "{shards} shards");
        }
        machine.settle();
        for link in &watchers {
            assert_eq!(published(&mut machine, *link).len(), 1, "{shards} shards");
        }
    }
}
