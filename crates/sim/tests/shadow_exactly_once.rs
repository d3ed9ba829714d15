//! A request at QoS 2 is carried out once, whatever a crash falls upon: it is in the log with its
//! Packet Identifier, and the thing's owner takes it from there. What is published about a change
//! is durable with it.

mod device;

use std::collections::BTreeMap;

use bitts_broker::ShardId;
use bitts_sim::machine::{Durability, Link, Machine, Options, Step};
use bitts_sim::packet::{self, Kind, Packet, Property, Value, Version};

use device::{Device, http, settle_but_for_the_disk};

/// Who is told, on one shard and another.
const WATCHERS: [&str; 3] = ["watcher-0", "watcher-1", "watcher-2"];

const UPDATE: &[u8] = br#"{"state":{"reported":{"a":1}}}"#;

/// The first of these names that a shard owns.
fn owned(machine: &Machine, shard: u8, kind: &str) -> String {
    let names = (0..).map(|number| format!("{kind}{number}"));
    let mut names = names.filter(|name| machine.placement().owner_of(name) == ShardId(shard));
    names.next().expect("some name is there")
}

fn topic(thing: &str) -> String {
    format!("$aws/things/{thing}/shadow/update")
}

/// How often a thing's shadow was changed.
fn version(machine: &mut Machine, thing: &str) -> u64 {
    let path = format!("/things/{thing}/shadow");
    let (status, body) = http(machine, "GET", &path, "", b"").expect("an answer");
    if status == 404 { 0 } else { body["version"].as_u64().expect("a version") }
}

/// The CONNECT of a session that outlives its connection.
fn persistent(client_id: &str) -> Packet {
    Packet {
        version: Version::V5,
        client_id: client_id.to_owned(),
        properties: vec![Property { id: 0x11, value: Value::Four(100_000) }],
        ..Packet::new(Kind::Connect)
    }
}

fn kinds(packets: &[Packet]) -> Vec<Kind> {
    packets.iter().map(|packet| packet.kind).collect()
}

/// The owner of the thing is another shard, which has the request in its inbox while everything is
/// written again.
#[test]
fn a_request_in_an_inbox_outlives_a_checkpoint_with_its_identifier() {
    let mut machine = Machine::new(Options { shards: 2, ..Options::default() });
    let (client_id, thing) = (owned(&machine, 0, "client-"), owned(&machine, 1, "thing-"));
    let mut asker = Device::connect(&mut machine, &client_id, Version::V5, 3_600);
    let update = asker.publish(&topic(&thing), UPDATE, 2);
    asker.write(&mut machine, &update);
    let mut steps = Vec::new();
    loop {
        machine.steps(&mut steps);
        let is_mail = |step: &&Step| matches!(step, Step::Mail { to: 1, lane: 0 });
        let Some(step) = steps.iter().find(|step| !is_mail(step)).copied() else { break };
        machine.step(step);
    }
    let recovered = machine.recover(0).expect("a log");
    let topics: Vec<_> = recovered.untaken.iter().map(|it| &*it.message.topic).collect();
    assert_eq!(topics, [topic(&thing)], "it is not carried out, and not forgotten");
    assert_eq!(kinds(&asker.packets(&mut machine)), [Kind::PubRec]);

    let from = machine.checkpoint();
    machine.settle();
    let recovered = machine.recover(from).expect("a log");
    assert_eq!((recovered.unknown, recovered.shadows.len()), (0, 1));
    let received: Vec<_> = recovered.sessions.iter().flat_map(|it| &it.received).collect();
    assert_eq!(received, [&update.packet_id.expect("an identifier")]);
    assert_eq!(version(&mut machine, &thing), 1);
}

/// [MQTT-4.3.3-10] The PUBLISH comes again on another connection.
#[test]
fn a_request_that_is_sent_again_is_acknowledged_when_it_is_durable() {
    for shards in [1, 3] {
        for rest in ["$aws/things/T/shadow/update", "$aws/rules/unknown/t"] {
            let options = Options { shards, durability: Durability::Later, ..Options::default() };
            let mut machine = Machine::new(options);
            let mut asker = Device::connect(&mut machine, "a", Version::V5, 3_600);
            let publish = asker.publish(rest, UPDATE, 2);
            asker.write(&mut machine, &publish);
            settle_but_for_the_disk(&mut machine);
            asker.link = machine.connect();
            asker.write(&mut machine, &persistent("a"));
            asker.write(&mut machine, &Packet { dup: true, ..publish });
            settle_but_for_the_disk(&mut machine);
            assert!(asker.packets(&mut machine).is_empty(), "{shards} shards, {rest}");
            machine.settle();
            let answers = asker.packets(&mut machine);
            assert_eq!(kinds(&answers), [Kind::ConnAck, Kind::PubRec], "{shards} shards, {rest}");
            assert_eq!(answers[1].code, 0);
            assert_eq!(version(&mut machine, "T"), u64::from(rest.contains("shadow")));
        }
    }
}

/// The log tells what a client began and did not end, also of what nobody gets.
#[test]
fn an_identifier_of_basic_ingest_is_in_the_log() {
    let mut machine = Machine::new(Options { shards: 2, ..Options::default() });
    let mut device = Device::connect(&mut machine, "a", Version::V3, 3_600);
    let publish = device.publish("$aws/rules/unknown/t", b"21", 2);
    device.send(&mut machine, &publish);
    assert_eq!(kinds(&device.packets(&mut machine)), [Kind::PubRec]);
    let packet_id = publish.packet_id.expect("an identifier");
    let received = |machine: &mut Machine| {
        let recovered = machine.recover(0).expect("a log");
        assert!(recovered.untaken.is_empty());
        recovered.sessions.into_iter().flat_map(|it| it.received).collect::<Vec<_>>()
    };
    assert_eq!(received(&mut machine), [packet_id]);
    device.send(&mut machine, &Packet::ack(Kind::PubRel, packet_id, 0));
    assert_eq!(kinds(&device.packets(&mut machine)), [Kind::PubComp]);
    assert_eq!(received(&mut machine), [] as [u16; 0]);
}

/// Numbers of a seed; the same ones each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) as usize % end
    }
}

/// A client that keeps the rules of MQTT while its server dies.
struct World {
    seed: u64,
    random: Random,
    machine: Machine,
    link: Link,
    bytes: Vec<u8>,
    is_connected: bool,
    has_session: bool,
    /// What is not acknowledged in full, and whether PUBREC came.
    outgoing: Vec<(Packet, bool)>,
    next_packet_id: u16,
    /// By thing: requests that were sent.
    asked: BTreeMap<String, u64>,
    deaths: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let options = Options {
            inputs_per_turn: 1 + random.below(4),
            hash_key: (seed, 5),
            ..Options::default()
        };
        let mut machine = Machine::on_disk(options);
        machine.restart(1 + random.below(3) as u8).expect("a start");
        let link = machine.connect();
        let (asked, outgoing, bytes) = (BTreeMap::new(), Vec::new(), Vec::new());
        let mut world = Self {
            seed,
            random,
            machine,
            link,
            bytes,
            is_connected: false,
            has_session: false,
            outgoing,
            next_packet_id: 0,
            asked,
            deaths: 0,
        };
        world.watch();
        world.send(&persistent("asker"));
        world.machine.settle();
        world.read();
        world
    }

    /// Sessions that are told of every change, and fetch that when all is over.
    fn watch(&mut self) {
        for watcher in WATCHERS {
            let mut device = Device::connect(&mut self.machine, watcher, Version::V5, 3_600);
            device.subscribe(&mut self.machine, &["$aws/things/+/shadow/update/accepted"]);
            device.hang_up(&mut self.machine);
        }
    }

    /// The versions that a watcher is told of, by thing, as they come.
    fn told(&mut self, watcher: &str) -> BTreeMap<String, Vec<u64>> {
        let mut device = Device::connect(&mut self.machine, "reader", Version::V5, 0);
        device.link = self.machine.connect();
        device.send(&mut self.machine, &persistent(watcher));
        let mut told: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        loop {
            let messages = device.messages(&mut self.machine);
            if messages.is_empty() {
                return told;
            }
            for (topic, body) in messages {
                let thing = topic.split('/').nth(2).expect("a thing").to_owned();
                told.entry(thing).or_default().push(body["version"].as_u64().expect("a version"));
            }
        }
    }

    fn send(&mut self, packet: &Packet) {
        let mut bytes = Vec::new();
        packet::encode(packet, Version::V5, &mut bytes);
        self.machine.write(self.link, &bytes);
    }

    fn connect(&mut self) {
        (self.link, self.is_connected) = (self.machine.connect(), false);
        self.bytes.clear();
        self.send(&persistent("asker"));
    }

    fn publish(&mut self) {
        if !self.is_connected || self.outgoing.len() >= 8 {
            return;
        }
        let thing = format!("thing-{}", self.random.below(4));
        let (topic, payload) = match self.random.below(8) {
            0 => ("$aws/rules/unknown/t".to_owned(), b"21".to_vec()),
            // What is kept makes the journal long enough for checkpoints.
            1 => ("elsewhere".to_owned(), vec![b'.'; 6_000]),
            _ => (topic(&thing), UPDATE.to_vec()),
        };
        if topic.starts_with("$aws/things/") {
            *self.asked.entry(thing).or_default() += 1;
        }
        self.next_packet_id = self.next_packet_id % 20 + 1;
        while self.outgoing.iter().any(|it| it.0.packet_id == Some(self.next_packet_id)) {
            self.next_packet_id = self.next_packet_id % 20 + 1;
        }
        let packet_id = Some(self.next_packet_id);
        let retain = topic == "elsewhere";
        let packet =
            Packet { qos: 2, retain, topic, packet_id, payload, ..Packet::new(Kind::Publish) };
        self.send(&packet);
        self.outgoing.push((packet, false));
    }

    /// Takes what came; whether something did.
    fn read(&mut self) -> bool {
        self.bytes.extend(self.machine.read(self.link));
        let mut is_any = false;
        while let Some(len) = packet::next_len(&self.bytes).expect("a length") {
            let bytes: Vec<u8> = self.bytes.drain(..len).collect();
            self.take(&packet::decode(&bytes, Version::V5).expect("a packet"));
            is_any = true;
        }
        is_any
    }

    fn take(&mut self, packet: &Packet) {
        let seed = self.seed;
        let packet_id = packet.packet_id.unwrap_or_default();
        let at = self.outgoing.iter().position(|it| it.0.packet_id == packet.packet_id);
        match (packet.kind, at) {
            (Kind::ConnAck, _) => {
                assert_eq!(packet.code, 0, "seed {seed}");
                assert_eq!(packet.session_present, self.has_session, "seed {seed}");
                (self.is_connected, self.has_session) = (true, true);
                for (publish, is_released) in self.outgoing.clone() {
                    let packet_id = publish.packet_id.unwrap_or_default();
                    let again = Packet { dup: true, ..publish };
                    let release = Packet::ack(Kind::PubRel, packet_id, 0);
                    self.send(if is_released { &release } else { &again });
                }
            }
            (Kind::PubRec, Some(at)) => {
                assert_eq!(packet.code & 0x80, 0, "seed {seed}: {packet}");
                self.outgoing[at].1 = true;
                self.send(&Packet::ack(Kind::PubRel, packet_id, 0));
            }
            (Kind::PubComp, Some(at)) => drop(self.outgoing.remove(at)),
            // A connection that it had given up took the session over.
            (Kind::Disconnect, _) if packet.code == 0x8E => {}
            _ => panic!("seed {seed}: {packet}"),
        }
    }

    /// The process ends at once, or with the power; what it wrote to its client may still arrive.
    fn die(&mut self) {
        self.deaths += 1;
        if self.random.below(2) == 0 {
            self.read();
        }
        self.machine.die();
        let disk = self.machine.disk().expect("a disk");
        if self.random.below(2) == 0 {
            disk.revive();
        } else {
            let percent = [0, 50, 100][self.random.below(3)];
            let random = &mut self.random;
            disk.lose_power(|| random.below(100) < percent);
        }
        self.machine.restart(1 + self.random.below(3) as u8).expect("a start");
        self.connect();
    }

    fn run(&mut self) {
        let mut steps = Vec::new();
        for _ in 0..600 {
            self.machine.steps(&mut steps);
            match self.random.below(100) {
                0..2 => self.die(),
                2..4 => self.connect(),
                4..24 => self.publish(),
                24..40 if self.machine.ended(self.link).is_some() => self.connect(),
                24..40 => drop(self.read()),
                _ if steps.is_empty() => {}
                _ => self.machine.step(steps[self.random.below(steps.len())]),
            }
        }
        self.machine.settle();
        while self.read() || self.machine.ended(self.link).is_some() {
            if self.machine.ended(self.link).is_some() {
                self.connect();
            }
            self.machine.settle();
        }
        let seed = self.seed;
        assert_eq!(self.outgoing, [], "seed {seed}: something is not acknowledged");
        if seed.is_multiple_of(2) {
            self.die();
            self.machine.settle();
        }
        for (thing, asked) in &self.asked {
            let done = version(&mut self.machine, thing);
            assert_eq!(done, *asked, "seed {seed}: {thing} is changed {done} times of {asked}");
        }
        let asked: BTreeMap<String, Vec<u64>> = std::mem::take(&mut self.asked)
            .into_iter()
            .map(|(thing, asked)| (thing, (1..=asked).collect()))
            .collect();
        for watcher in WATCHERS {
            assert_eq!(self.told(watcher), asked, "seed {seed}: {watcher}");
        }
        assert_eq!(self.machine.take_faults(), [] as [String; 0], "seed {seed}");
    }
}

/// D1, D2: nothing acknowledged is lost, and nothing is carried out twice; of what is carried out
/// everybody is told. A failure names its seed.
#[test]
fn a_request_is_carried_out_once_whenever_the_process_dies() {
    let mut deaths = 0;
    for seed in 1..=200 {
        let mut world = World::new(seed);
        world.run();
        deaths += world.deaths;
    }
    assert!(deaths > 1_000, "{deaths} deaths");
}

/// Whoever subscribes to the answers hears of a request that a restart carried out.
#[test]
fn a_restart_carries_out_what_was_in_an_inbox_and_tells_it() {
    let mut machine = Machine::on_disk(Options { hash_key: (1, 2), ..Options::default() });
    machine.restart(2).expect("a start");
    let (client_id, thing) = (owned(&machine, 0, "client-"), owned(&machine, 1, "thing-"));
    let watcher_id = owned(&machine, 0, "watcher-");
    let mut watcher = Device::connect(&mut machine, &watcher_id, Version::V5, 3_600);
    watcher.subscribe(&mut machine, &[&format!("$aws/things/{thing}/shadow/update/accepted")]);
    let mut asker = Device::connect(&mut machine, &client_id, Version::V5, 3_600);
    let update = asker.publish(&topic(&thing), UPDATE, 2);
    asker.write(&mut machine, &update);
    let mut steps = Vec::new();
    loop {
        machine.steps(&mut steps);
        let is_mail = |step: &&Step| matches!(step, Step::Mail { to: 1, lane: 0 });
        let Some(step) = steps.iter().find(|step| !is_mail(step)).copied() else { break };
        machine.step(step);
    }
    assert_eq!(kinds(&asker.packets(&mut machine)), [Kind::PubRec]);

    machine.die();
    machine.disk().expect("a disk").revive();
    machine.restart(2).expect("a start");
    machine.settle();
    watcher.link = machine.connect();
    watcher.send(&mut machine, &persistent(&watcher_id));
    let told = watcher.messages(&mut machine);
    let versions: Vec<_> = told.iter().map(|(_, body)| body["version"].clone()).collect();
    assert_eq!(versions, [1]);
    assert_eq!(version(&mut machine, &thing), 1);
}
