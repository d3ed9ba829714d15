//! Shadows while everything happens in any order: versions rise by one, acknowledgements keep their
//! order, and nothing shows what is not durable. A failure names its seed.

mod device;

use std::collections::BTreeMap;

use bitts_aws::shadow::Shadow;
use bitts_broker::record::Record;
use bitts_sim::machine::{Answer, Durability, Machine, Options, Request};
use bitts_sim::packet::{Kind, Packet, Version};
use serde_json::Value;

use device::Device;

const THINGS: [&str; 2] = ["T", "U"];

/// Numbers of a seed; the same ones each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) as usize % end
    }
}

struct World {
    seed: u64,
    random: Random,
    machine: Machine,
    watcher: Device,
    askers: Vec<Device>,
    /// By asker: Packet Identifiers that wait for their PUBACK, in order.
    unacknowledged: Vec<Vec<u16>>,
    /// Requests over HTTP that wait: the thing, and whether its shadow is changed.
    calls: Vec<(&'static str, bool, Answer)>,
    /// By thing: versions of changes that somebody was told of.
    told: BTreeMap<&'static str, Vec<u64>>,
    changes: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let options = Options {
            shards: 1 + random.below(3) as u8,
            durability: Durability::Later,
            inputs_per_turn: 1 + random.below(4),
            hash_key: (seed, 7),
            ..Options::default()
        };
        let mut machine = Machine::new(options);
        let mut watcher = Device::connect(&mut machine, "watcher", Version::V5, 0);
        watcher.subscribe(&mut machine, &["$aws/things/+/shadow/#"]);
        let askers: Vec<Device> = (0..3)
            .map(|it| Device::connect(&mut machine, &format!("asker-{it}"), Version::V3, 0))
            .collect();
        Self {
            seed,
            random,
            machine,
            watcher,
            unacknowledged: vec![Vec::new(); askers.len()],
            askers,
            calls: Vec::new(),
            told: BTreeMap::new(),
            changes: 0,
        }
    }

    fn act(&mut self) {
        let thing = THINGS[self.random.below(THINGS.len())];
        let (last, method, body) = match self.random.below(8) {
            0..4 => ("update", "POST", &br#"{"state":{"reported":{"a":1}}}"#[..]),
            4 => ("update", "POST", &br#"{"state":{},"version":1}"#[..]),
            5 | 6 => ("get", "GET", &b""[..]),
            _ => ("delete", "DELETE", &b""[..]),
        };
        if self.random.below(3) == 0 {
            let (method, path) = (method.to_owned(), format!("/things/{thing}/shadow"));
            let request = Request { method, path, body: body.to_vec(), ..Request::default() };
            let answer = self.machine.call(&request);
            self.calls.push((thing, last == "update", answer));
            return;
        }
        let asker = self.random.below(self.askers.len());
        let topic = match self.random.below(4) {
            0 => "elsewhere".to_owned(),
            _ => format!("$aws/things/{thing}/shadow/{last}"),
        };
        let qos = self.random.below(2) as u8;
        let publish = self.askers[asker].publish(&topic, body, qos);
        self.unacknowledged[asker].extend(publish.packet_id);
        self.askers[asker].write(&mut self.machine, &publish);
    }

    /// Whether a version of a thing's shadow, or a higher one, is on the disk.
    fn is_durable(&self, thing: &str, version: u64) -> bool {
        let owner = self.machine.placement().owner_of(thing);
        let log = self.machine.log(owner.0).expect("a shard");
        let durable = log.batches.iter().filter(|batch| batch.lsn <= log.durable);
        durable.flat_map(|batch| &batch.records).any(|record| match record {
            Record::Shadow { thing: of, state, .. } if **of == *thing => {
                let shadow = Shadow::decode(state).expect("a shadow");
                // A deleted one was durable before it was deleted.
                shadow.version().is_none_or(|held| held >= version)
            }
            _ => false,
        })
    }

    fn note(&mut self, thing: &str, is_change: bool, body: &Value) {
        let seed = self.seed;
        let version = body["version"].as_u64().expect("a version");
        assert!(self.is_durable(thing, version), "seed {seed}: {thing} {body} is not durable");
        let thing = THINGS.into_iter().find(|it| *it == thing).expect("a thing");
        if is_change {
            self.told.entry(thing).or_default().push(version);
        }
    }

    fn look(&mut self) {
        let seed = self.seed;
        for (asker, waiting) in self.askers.iter_mut().zip(&mut self.unacknowledged) {
            for ack in asker.packets(&mut self.machine) {
                assert_eq!(ack.kind, Kind::PubAck);
                assert_eq!(ack.packet_id, Some(waiting.remove(0)), "seed {seed}: out of order");
            }
        }
        for packet in self.watcher.packets(&mut self.machine) {
            if let Some(packet_id) = packet.packet_id.filter(|_| packet.kind == Kind::Publish) {
                let ack = Packet::ack(Kind::PubAck, packet_id, 0);
                self.watcher.write(&mut self.machine, &ack);
            }
            let levels: Vec<&str> = packet.topic.split('/').collect();
            let body: Value = serde_json::from_slice(&packet.payload).expect("JSON");
            match levels[..] {
                [_, _, thing, _, operation, "accepted"] => {
                    // Updates over HTTP are heard here too.
                    self.note(thing, operation == "update", &body);
                }
                [_, _, thing, _, "update", "delta"] => self.note(thing, false, &body),
                [_, _, thing, _, "update", "documents"] => {
                    self.note(thing, false, &body["current"]);
                }
                _ => assert_eq!(levels.last(), Some(&"rejected")),
            }
        }
        for (thing, is_update, answer) in std::mem::take(&mut self.calls) {
            match self.machine.answer(&answer) {
                None => self.calls.push((thing, is_update, answer)),
                Some((200, body)) => self.note(thing, false, &body),
                Some((status, _)) => assert!(matches!(status, 400 | 404 | 409), "{status}"),
            }
        }
    }

    fn run(&mut self) {
        let mut steps = Vec::new();
        for _ in 0..400 {
            self.machine.steps(&mut steps);
            if steps.is_empty() || self.random.below(4) == 0 {
                self.act();
            } else {
                let step = steps[self.random.below(steps.len())];
                self.machine.step(step);
            }
            self.look();
        }
        while {
            self.machine.steps(&mut steps);
            !steps.is_empty()
        } {
            let step = steps[self.random.below(steps.len())];
            self.machine.step(step);
            self.look();
        }
        let seed = self.seed;
        assert!(self.calls.is_empty(), "seed {seed}: a request has no answer");
        assert!(self.unacknowledged.iter().all(Vec::is_empty), "seed {seed}: no acknowledgement");
        for (thing, told) in &self.told {
            // Deletions take the versions between.
            assert!(told.is_sorted_by(|a, b| a < b), "seed {seed}: {thing} {told:?}");
            self.changes += told.len();
        }
        assert_eq!(self.machine.take_faults(), [] as [String; 0], "seed {seed}");
    }
}

#[test]
fn versions_rise_and_nothing_shows_what_is_not_durable() {
    let mut changes = 0;
    for seed in 1..=150 {
        let mut world = World::new(seed);
        world.run();
        changes += world.changes;
    }
    assert!(changes > 2_000, "{changes} changes were told of");
}
