//! Several clients, a network, stores and a clock that do what the bytes say, into whole shards.
//!
//! In the end everybody leaves, and nothing may be left.

use bitts_broker::command::{Command, Further, Reply};
use bitts_broker::{NewMessage, ShardId};
use bitts_mqtt::QoS;

use crate::machine::{Durability, Link, Machine, Options, Step};
use crate::packet::{self, Filter, Kind, Packet, Property, Version, Will};

const CLIENTS: [&str; 3] = ["a", "b", "c"];
const TOPICS: [&str; 5] = ["t", "t/1", "u/1", "g/1", "$t"];
const FILTERS: [&str; 8] =
    ["t", "t/#", "+/1", "#", "$share/s/g/+", "$share/s/t/#", "+/+", "$aws/events/presence/#"];
/// Clients' sockets at a time.
const SOCKETS: usize = 6;

/// See the module.
pub fn shard(data: &[u8]) {
    let mut bytes = Bytes(data);
    let options = Options {
        shards: 1 + bytes.below(3),
        durability: if bytes.below(2) == 0 { Durability::AtOnce } else { Durability::Later },
        inputs_per_turn: 1 + usize::from(bytes.below(4)),
        ..Options::default()
    };
    let shards = options.shards;
    let mut run = Run { machine: Machine::new(options), shards, sockets: Vec::new() };
    while !bytes.0.is_empty() {
        run.act(&mut bytes);
        run.look();
    }
    run.end();
}

/// What to do; zeros behind the end.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn below(&mut self, end: u8) -> u8 {
        self.next() % end
    }

    fn chance(&mut self) -> bool {
        self.next() & 1 == 1
    }

    fn pick<'t>(&mut self, of: &[&'t str]) -> &'t str {
        of.get(usize::from(self.next()) % of.len()).copied().unwrap_or_default()
    }

    fn take(&mut self, len: usize) -> Vec<u8> {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken.to_vec()
    }
}

/// A connection of a client.
struct Socket {
    link: Link,
    /// Unknown where the bytes were the fuzzer's from the beginning.
    version: Option<Version>,
    received: Vec<u8>,
    has_connack: bool,
    has_disconnect: bool,
}

struct Run {
    machine: Machine,
    shards: u8,
    sockets: Vec<Socket>,
}

impl Run {
    fn act(&mut self, bytes: &mut Bytes<'_>) {
        match bytes.below(16) {
            0 | 1 => self.connect(bytes),
            2 => {
                let socket = bytes.next();
                let len = usize::from(bytes.below(64));
                let raw = bytes.take(len);
                self.write(socket, &raw);
            }
            3 => self.subscribe(bytes),
            4 | 5 => self.publish(bytes),
            6 => {
                let socket = bytes.next();
                let kinds = [Kind::PubAck, Kind::PubRec, Kind::PubRel, Kind::PubComp];
                let kind = kinds.get(usize::from(bytes.below(4))).copied().unwrap_or_default();
                let code = if bytes.below(8) == 7 { 0x80 } else { 0 };
                self.send(socket, &Packet::ack(kind, 1 + u16::from(bytes.below(6)), code));
            }
            7..=9 => self.step(bytes),
            10 => self.machine.pass(u64::from(bytes.next()) * 250),
            11 => self.command(bytes),
            12 => {
                let is_congested = bytes.chance();
                if let Some(link) = self.link(bytes.next()) {
                    self.machine.set_congested(link, is_congested);
                }
            }
            13 => self.leave(bytes),
            14 => self.machine.settle(),
            _ => self.unsubscribe(bytes),
        }
    }

    fn link(&self, socket: u8) -> Option<Link> {
        let len = self.sockets.len().max(1);
        self.sockets.get(usize::from(socket) % len).map(|socket| socket.link)
    }

    fn write(&mut self, socket: u8, bytes: &[u8]) {
        if let Some(link) = self.link(socket) {
            self.machine.write(link, bytes);
        }
    }

    fn send(&mut self, socket: u8, packet: &Packet) {
        let at = usize::from(socket) % self.sockets.len().max(1);
        let Some(socket) = self.sockets.get(at) else { return };
        let mut bytes = Vec::new();
        packet::encode(packet, socket.version.unwrap_or_default(), &mut bytes);
        self.machine.write(socket.link, &bytes);
    }

    fn connect(&mut self, bytes: &mut Bytes<'_>) {
        let link = self.machine.connect();
        let is_raw = bytes.below(8) == 7;
        let version = if bytes.chance() { Version::V5 } else { Version::V3 };
        let socket = Socket {
            link,
            version: (!is_raw).then_some(version),
            received: Vec::new(),
            has_connack: false,
            has_disconnect: false,
        };
        if self.sockets.len() < SOCKETS {
            self.sockets.push(socket);
        } else if let Some(place) = self.sockets.get_mut(usize::from(bytes.next()) % SOCKETS) {
            self.machine.hang_up(place.link);
            *place = socket;
        }
        if is_raw {
            return;
        }
        let mut packet = Packet {
            version,
            client_id: bytes.pick(&CLIENTS).to_owned(),
            clean_start: bytes.chance(),
            keep_alive: u16::from(bytes.below(3)) * 10,
            ..Packet::new(Kind::Connect)
        };
        if bytes.chance() {
            packet.will = Some(Will {
                topic: bytes.pick(&TOPICS[..4]).to_owned(),
                payload: b"will".to_vec(),
                qos: bytes.below(3),
                retain: bytes.chance(),
                properties: properties(version, "will_delay", u32::from(bytes.below(20))),
            });
        }
        let expiry = u32::from(bytes.below(4)) * 10;
        packet.properties = properties(version, "session_expiry", expiry);
        let maximum = 1 + u32::from(bytes.below(3));
        packet.properties.extend(properties(version, "receive_maximum", maximum));
        let mut encoded = Vec::new();
        packet::encode(&packet, version, &mut encoded);
        self.machine.write(link, &encoded);
    }

    fn subscribe(&mut self, bytes: &mut Bytes<'_>) {
        let socket = bytes.next();
        let filters = (0..=bytes.below(3))
            .map(|_| {
                let filter = bytes.pick(&FILTERS).to_owned();
                Filter { options: bytes.below(3) | (bytes.below(3) << 4), filter }
            })
            .collect();
        self.send(socket, &Packet { packet_id: Some(1), filters, ..Packet::new(Kind::Subscribe) });
    }

    fn unsubscribe(&mut self, bytes: &mut Bytes<'_>) {
        let socket = bytes.next();
        let filters = vec![Filter { filter: bytes.pick(&FILTERS).to_owned(), options: 0 }];
        self.send(
            socket,
            &Packet { packet_id: Some(2), filters, ..Packet::new(Kind::Unsubscribe) },
        );
    }

    fn publish(&mut self, bytes: &mut Bytes<'_>) {
        let socket = bytes.next();
        let qos = bytes.below(3);
        let packet_id = (qos > 0).then(|| 1 + u16::from(bytes.below(6)));
        let len = usize::from(bytes.below(40));
        let packet = Packet {
            qos,
            retain: bytes.chance(),
            dup: qos > 0 && bytes.chance(),
            topic: bytes.pick(&TOPICS).to_owned(),
            packet_id,
            payload: vec![b'p'; len],
            ..Packet::new(Kind::Publish)
        };
        self.send(socket, &packet);
    }

    fn step(&mut self, bytes: &mut Bytes<'_>) {
        let mut steps = Vec::new();
        self.machine.steps(&mut steps);
        let at = usize::from(bytes.next()) % steps.len().max(1);
        match steps.get(at).copied() {
            Some(Step::Bytes(link)) => self.machine.receive(link, 1 + usize::from(bytes.next())),
            Some(step) => self.machine.step(step),
            None => {}
        }
    }

    fn leave(&mut self, bytes: &mut Bytes<'_>) {
        let socket = bytes.next();
        if bytes.chance() {
            let code = if bytes.chance() { 4 } else { 0 };
            self.send(socket, &Packet { code, ..Packet::new(Kind::Disconnect) });
        }
        if let Some(link) = self.link(socket) {
            self.machine.hang_up(link);
        }
    }

    fn command(&mut self, bytes: &mut Bytes<'_>) {
        let client_id = bytes.pick(&CLIENTS).to_owned();
        let topic = bytes.pick(&TOPICS).to_owned();
        let (name, command) = match bytes.below(4) {
            0 => (client_id.clone(), Command::GetConnection { client_id }),
            1 => {
                let (clean_session, prevent_will_message) = (bytes.chance(), bytes.chance());
                let name = client_id.clone();
                (
                    name,
                    Command::DeleteConnection {
                        client_id,
                        clean_session,
                        prevent_will_message,
                        further: Further::default(),
                    },
                )
            }
            2 => (client_id.clone(), Command::ListSubscriptions { client_id, after: None, max: 3 }),
            _ => {
                let (retain, len) = (bytes.chance(), usize::from(bytes.below(9)));
                (topic.clone(), Command::Publish(message(topic, vec![b'h'; len], retain)))
            }
        };
        self.machine.command(self.machine.placement().owner_of(&name), command);
    }

    /// What was written are packets, in an order that a client may see.
    fn look(&mut self) {
        let faults = self.machine.take_faults();
        assert!(faults.is_empty(), "{faults:?}");
        for socket in &mut self.sockets {
            socket.received.extend(self.machine.read(socket.link));
            while let Ok(Some(len)) = packet::next_len(&socket.received) {
                let bytes: Vec<u8> = socket.received.drain(..len).collect();
                let Some(version) = socket.version else { continue };
                let packet = match packet::decode(&bytes, version) {
                    Ok(packet) => packet,
                    Err(broken) => panic!("{bytes:02x?}: {}", broken.0),
                };
                assert!(!socket.has_disconnect, "{packet} behind DISCONNECT");
                assert_eq!(socket.has_connack, packet.kind != Kind::ConnAck, "{packet}");
                socket.has_connack = true;
                socket.has_disconnect = packet.kind == Kind::Disconnect;
            }
        }
    }

    fn ask(&mut self, shard: ShardId, command: Command) -> Option<Reply> {
        let reply = self.machine.command(shard, command);
        self.machine.settle();
        self.machine.reply(reply)
    }

    /// The counters balance, and once everybody and everything is gone, nothing is left.
    fn end(mut self) {
        self.machine.settle();
        self.look();
        let stats = self.machine.stats();
        let ended: u64 = stats.disconnects.values().sum();
        assert_eq!(stats.connects, ended + stats.connections, "connections balance");
        for socket in &self.sockets {
            self.machine.hang_up(socket.link);
        }
        self.machine.settle();
        self.machine.shut_down();
        self.machine.settle();
        assert_eq!(self.machine.stats().connections, 0, "everybody hung up");
        for shard in (0..self.shards).map(ShardId) {
            self.end_sessions(shard);
        }
        for shard in (0..self.shards).map(ShardId) {
            self.remove_retained(shard);
        }
        self.look();
        let stats = self.machine.stats();
        let left = [
            stats.sessions,
            stats.subscriptions,
            stats.retained,
            stats.retained_bytes,
            stats.queued,
        ];
        assert_eq!((left, stats.queued_bytes), ([0; 5], 0), "everything was removed");
        for topic in TOPICS {
            assert!(!self.machine.is_wanted(topic), "everybody left, and {topic} is wanted");
        }
    }

    fn end_sessions(&mut self, shard: ShardId) {
        let (prefix, after, max, connected) = (String::new(), None, 1_000, None);
        let command = Command::ListConnections { prefix, after, max, connected };
        let Some(Reply::Connections { connections, .. }) = self.ask(shard, command) else {
            panic!("ListConnections is not answered");
        };
        for client_id in connections.into_iter().map(|info| info.client_id) {
            let (clean_session, prevent_will_message) = (true, true);
            let command = Command::DeleteConnection {
                client_id,
                clean_session,
                prevent_will_message,
                further: Further::default(),
            };
            let reply = self.ask(shard, command);
            assert!(matches!(reply, Some(Reply::Done)), "{reply:?}");
        }
    }

    fn remove_retained(&mut self, shard: ShardId) {
        let command = Command::ListRetainedMessages { after: None, max: 1_000 };
        let Some(Reply::RetainedList { messages, .. }) = self.ask(shard, command) else {
            panic!("ListRetainedMessages is not answered");
        };
        for topic in messages.into_iter().map(|message| message.topic.to_string()) {
            let command = Command::Publish(message(topic, Vec::new(), true));
            let reply = self.ask(shard, command);
            assert!(matches!(reply, Some(Reply::Done)), "{reply:?}");
        }
    }
}

fn message(topic: String, payload: Vec<u8>, retain: bool) -> NewMessage {
    NewMessage {
        topic,
        payload: payload.into(),
        qos: QoS::One,
        retain,
        properties: Vec::new(),
        message_expiry_interval: None,
    }
}

fn properties(version: Version, name: &str, value: u32) -> Vec<Property> {
    if version == Version::V3 {
        return Vec::new();
    }
    let property = Property::parse(name, value.to_string().as_bytes());
    property.ok().flatten().into_iter().collect()
}
