//! Clients of a machine that say and hear whole packets.

#![allow(dead_code, reason = "each test uses a part of it")]

use bitts_broker::ShardId;
use bitts_sim::machine::{Link, Machine, Request, Step};
use bitts_sim::packet::{self, Filter, Kind, Packet, Property, Value, Version};
use serde_json::Value as Json;

/// A connection and what came of it that nobody looked at.
pub(crate) struct Device {
    pub(crate) link: Link,
    pub(crate) version: Version,
    bytes: Vec<u8>,
    next_packet_id: u16,
}

impl Device {
    /// A client that said nothing.
    pub(crate) fn new(link: Link, version: Version) -> Self {
        Self { link, version, bytes: Vec::new(), next_packet_id: 0 }
    }

    /// A client that connects; `expiry` is its Session Expiry Interval.
    pub(crate) fn connect(machine: &mut Machine, id: &str, version: Version, expiry: u32) -> Self {
        let link = machine.connect();
        Self::greet(machine, link, (id, version, expiry), Vec::new())
    }

    pub(crate) fn greet(
        machine: &mut Machine,
        link: Link,
        (id, version, expiry): (&str, Version, u32),
        mut properties: Vec<Property>,
    ) -> Self {
        let mut device = Self::new(link, version);
        if version == Version::V5 && expiry > 0 {
            properties.push(Property { id: 0x11, value: Value::Four(expiry) });
        }
        let connect = Packet {
            version,
            client_id: id.to_owned(),
            clean_start: version == Version::V3 && expiry == 0,
            properties,
            ..Packet::new(Kind::Connect)
        };
        device.send(machine, &connect);
        let answers: Vec<_> = device.packets(machine).iter().map(|it| (it.kind, it.code)).collect();
        assert_eq!(answers, [(Kind::ConnAck, 0)], "{id}");
        device
    }

    /// Sends, and lets everything happen that follows.
    pub(crate) fn send(&mut self, machine: &mut Machine, packet: &Packet) {
        self.write(machine, packet);
        machine.settle();
    }

    /// Sends, and lets nothing happen.
    pub(crate) fn write(&mut self, machine: &mut Machine, packet: &Packet) {
        write(machine, self.link, packet, self.version);
    }

    /// What came since the last look.
    pub(crate) fn packets(&mut self, machine: &mut Machine) -> Vec<Packet> {
        self.bytes.extend(machine.read(self.link));
        whole_packets(&mut self.bytes, self.version)
    }

    /// The same, messages acknowledged.
    pub(crate) fn take(&mut self, machine: &mut Machine) -> Vec<Packet> {
        let found = self.packets(machine);
        for packet_id in
            found.iter().filter(|it| it.kind == Kind::Publish).filter_map(|it| it.packet_id)
        {
            self.send(machine, &Packet::ack(Kind::PubAck, packet_id, 0));
        }
        found
    }

    /// The topics and payloads of the messages that came, acknowledged.
    pub(crate) fn messages(&mut self, machine: &mut Machine) -> Vec<(String, Json)> {
        messages(self.take(machine))
    }

    /// The same, not acknowledged.
    pub(crate) fn heard(&mut self, machine: &mut Machine) -> Vec<(String, Json)> {
        messages(self.packets(machine))
    }

    pub(crate) fn subscribe(&mut self, machine: &mut Machine, filters: &[&str]) {
        let filters = filters
            .iter()
            .map(|filter| Filter { filter: (*filter).to_owned(), options: 1 })
            .collect();
        let packet = Packet { packet_id: Some(60_000), filters, ..Packet::new(Kind::Subscribe) };
        self.send(machine, &packet);
        let kinds: Vec<Kind> = self.packets(machine).iter().map(|it| it.kind).collect();
        assert_eq!(kinds, [Kind::SubAck]);
    }

    /// A PUBLISH with the next Packet Identifier.
    pub(crate) fn publish(&mut self, topic: &str, payload: &[u8], qos: u8) -> Packet {
        self.next_packet_id += 1;
        Packet {
            qos,
            topic: topic.to_owned(),
            packet_id: (qos > 0).then_some(self.next_packet_id),
            payload: payload.to_vec(),
            ..Packet::new(Kind::Publish)
        }
    }

    /// The client closes its socket.
    pub(crate) fn hang_up(&mut self, machine: &mut Machine) {
        machine.hang_up(self.link);
        machine.settle();
    }
}

fn messages(packets: Vec<Packet>) -> Vec<(String, Json)> {
    let found = packets.into_iter().filter(|it| it.kind == Kind::Publish);
    found.map(|it| (it.topic, serde_json::from_slice(&it.payload).expect("JSON"))).collect()
}

/// Asks over HTTP, and lets everything happen; nothing where the answer still waits.
pub(crate) fn http(
    machine: &mut Machine,
    method: &str,
    path: &str,
    query: &str,
    body: &[u8],
) -> Option<(u16, Json)> {
    let request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: Some(query.to_owned()),
        headers: Vec::new(),
        body: body.to_vec(),
    };
    let answer = machine.call(&request);
    machine.settle();
    machine.answer(&answer)
}

/// Sends on a connection, and lets nothing happen.
pub(crate) fn write(machine: &mut Machine, link: Link, packet: &Packet, version: Version) {
    let mut bytes = Vec::new();
    packet::encode(packet, version, &mut bytes);
    machine.write(link, &bytes);
}

fn whole_packets(bytes: &mut Vec<u8>, version: Version) -> Vec<Packet> {
    let mut found = Vec::new();
    while let Some(len) = packet::next_len(bytes).expect("a length") {
        let bytes: Vec<u8> = bytes.drain(..len).collect();
        found.push(packet::decode(&bytes, version).expect("a packet"));
    }
    found
}

/// Sends on a connection of MQTT 3.1.1, and lets everything happen that follows.
pub(crate) fn send(machine: &mut Machine, link: Link, packet: &Packet) {
    write(machine, link, packet, Version::V3);
    machine.settle();
}

/// A connection of MQTT 3.1.1, whatever is answered to it.
pub(crate) fn connect(machine: &mut Machine, client_id: &str, clean_start: bool) -> Link {
    let link = machine.connect();
    let client_id = client_id.to_owned();
    send(machine, link, &Packet { client_id, clean_start, ..Packet::new(Kind::Connect) });
    link
}

/// What came on a connection of MQTT 3.1.1 since the last look.
pub(crate) fn came(machine: &mut Machine, link: Link) -> Vec<Packet> {
    whole_packets(&mut machine.read(link), Version::V3)
}

/// The messages among it.
pub(crate) fn published(machine: &mut Machine, link: Link) -> Vec<Packet> {
    came(machine, link).into_iter().filter(|packet| packet.kind == Kind::Publish).collect()
}

/// The first of these names that a shard owns.
pub(crate) fn owned(machine: &Machine, shard: u8, name: impl Fn(u32) -> String) -> String {
    let mut names = (0..).map(name);
    names.find(|name| machine.placement().owner_of(name) == ShardId(shard)).expect("some name")
}

/// Lets everything happen but that something becomes durable.
pub(crate) fn settle_but_for_the_disk(machine: &mut Machine) {
    settle_but_for(machine, |step| matches!(step, Step::Durable(_)));
}

/// Lets everything happen but this.
pub(crate) fn settle_but_for(machine: &mut Machine, is_withheld: impl Fn(&Step) -> bool) {
    let mut steps = Vec::new();
    for _ in 0..100_000 {
        machine.steps(&mut steps);
        let Some(step) = steps.iter().find(|step| !is_withheld(step)) else { return };
        machine.step(*step);
    }
    panic!("the machine does not come to rest");
}
