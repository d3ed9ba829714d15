//! What clients and applications decide to do.

use bitts_broker::command::{Command, Further};
use bitts_broker::{NewMessage, ShardId};
use bitts_mqtt::QoS;

use super::client::{Asked, Outgoing, Stage, Subscribing};
use super::history::{Door, History, Publisher, Sent};
use super::{MONITOR, World};
use crate::packet::{Filter, Kind, Packet, Property, Version, Will};

/// Topics that anybody publishes to.
const TOPICS: &[&str] = &["t/0", "t/1", "t/0/a", "t/2", "rr/0"];
/// Topics that only `$share` filters match.
const SHARED_TOPICS: &[&str] = &["g/0", "g/1"];
/// Filters that anybody subscribes to.
const FILTERS: &[&str] =
    &["t/0", "t/1", "t/#", "t/+", "+/0/a", "r/#", "rr/0", "rr/+", "t/2", "t/0/#"];
const SHARED_FILTERS: &[&str] = &["$share/s1/g/#", "$share/s2/g/+", "$share/s1/g/0"];

impl World {
    /// A client does something.
    pub(super) fn act(&mut self) {
        let client = 1 + self.schedule.below(self.clients.len() - 1);
        let Some(held) = self.clients.get(client) else { return };
        let roll = self.workload.below(100);
        if held.is_half_closed && roll >= 4 {
            return;
        }
        match (held.stage, roll) {
            (Stage::Away, 0..50) | (Stage::Connecting | Stage::Connected, 0..4) => {
                let asked = self.choose_connect(client);
                self.connect(client, asked);
            }
            (Stage::Connected, 4..60) => self.publish(client),
            (Stage::Connected, 60..78) => self.choose_subscribe(client),
            (Stage::Connected, 78..84) => self.choose_unsubscribe(client),
            (Stage::Connected, 84..90) => self.send(client, &Packet::new(Kind::PingReq)),
            (Stage::Connected, 90..95) => self.disconnect(client),
            (Stage::Connecting | Stage::Connected, 95..98) => self.hang_up(client),
            (Stage::Connecting | Stage::Connected, 98..) => self.half_close(client),
            _ => {}
        }
    }

    fn choose_connect(&mut self, client: usize) -> Asked {
        let version = self.clients.get(client).map_or(Version::V3, |held| held.version);
        let is_in_doubt = self
            .clients
            .get(client)
            .is_some_and(|held| held.is_in_doubt || held.stage == Stage::Connecting);
        let clean_start = self.workload.chance(25) || is_in_doubt;
        let expiry = match version {
            Version::V5 => self.workload.pick(&[0, 10, 1_000]).unwrap_or(0),
            Version::V3 if clean_start => 0,
            Version::V3 => u32::MAX,
        };
        let delay = match version {
            Version::V5 => self.workload.pick(&[0, 0, 5, 20]).unwrap_or(0),
            Version::V3 => 0,
        };
        let is_retained = self.workload.chance(30);
        let will = self.workload.chance(50).then(|| {
            let number = self.history.messages.len();
            let number = self.history.sent(Sent {
                topic: format!("w/{number}"),
                qos: 0,
                retain: is_retained,
                is_empty: false,
                publisher: Publisher::Will(client),
                attempts: 1,
                sent_at: self.at,
                acked_at: None,
                expires: false,
            });
            (number, delay)
        });
        Asked { clean_start, expiry, will }
    }

    /// Opens a connection; one that the client still has is left alone and not looked at again.
    pub(super) fn connect(&mut self, client: usize, asked: Asked) {
        let qos = self.workload.below(3) as u8;
        let keep_alive = self.workload.pick(&[0, 0, 30]).filter(|_| client != MONITOR);
        let keep_alive = keep_alive.unwrap_or(0);
        let (receive_maximum, alias_maximum) = if client == MONITOR {
            (u16::MAX, 0)
        } else {
            (self.plan.receive_maximum, self.plan.topic_alias_maximum)
        };
        let link = self.machine.connect();
        let Some(held) = self.clients.get_mut(client) else { return };
        held.leave();
        held.stage = Stage::Connecting;
        held.link = Some(link);
        held.asked = asked.clone();
        let version = held.version;
        let window = if version == Version::V5 { receive_maximum } else { u16::MAX };
        self.tap.open(link, client, &held.id, version, window);
        let mut packet = Packet {
            version,
            client_id: held.id.clone(),
            clean_start: asked.clean_start,
            keep_alive,
            ..Packet::new(Kind::Connect)
        };
        if let Some((number, delay)) = asked.will {
            let topic = format!("w/{number}");
            let payload = History::payload(number, 0);
            let properties = if delay > 0 { property("will_delay", delay) } else { Vec::new() };
            let retain = self.history.messages.get(number).is_some_and(|will| will.retain);
            packet.will = Some(Will { topic, payload, qos, retain, properties });
        }
        if version == Version::V5 {
            packet.properties.extend(property("receive_maximum", u32::from(receive_maximum)));
            packet.properties.extend(property("session_expiry", asked.expiry));
            packet.properties.extend(property("topic_alias_maximum", u32::from(alias_maximum)));
        }
        self.send(client, &packet);
    }

    fn disconnect(&mut self, client: usize) {
        let Some(held) = self.clients.get_mut(client) else { return };
        let code = if held.version == Version::V5 && self.workload.chance(30) { 0x04 } else { 0 };
        let connection = held.connection.and_then(|at| self.history.connections.get_mut(at));
        if let Some(connection) = connection {
            connection.disconnect = Some(code);
        }
        self.send(client, &Packet { code, ..Packet::new(Kind::Disconnect) });
        if self.workload.chance(50) {
            self.hang_up(client);
        } else if let Some(held) = self.clients.get_mut(client) {
            held.leave();
        }
    }

    fn hang_up(&mut self, client: usize) {
        let Some(link) = self.link(client) else { return };
        self.note(|| format!("client {client} {link:?} hangs up"));
        self.machine.hang_up(link);
        if let Some(held) = self.clients.get_mut(client) {
            held.leave();
        }
    }

    /// The client closes its end and reads on until the server has closed too.
    fn half_close(&mut self, client: usize) {
        let Some(link) = self.link(client) else { return };
        self.note(|| format!("client {client} {link:?} closes its end"));
        self.machine.hang_up(link);
        if let Some(held) = self.clients.get_mut(client) {
            held.is_half_closed = true;
        }
    }

    fn publish(&mut self, client: usize) {
        if self.workload.chance(12) {
            self.publish_request(client);
            return;
        }
        let topic = match self.workload.below(10) {
            // Only this client publishes here, always retained.
            0..2 => format!("r/{client}"),
            2..4 => self.workload.pick(SHARED_TOPICS).unwrap_or("g/0").to_owned(),
            _ => self.workload.pick(TOPICS).unwrap_or("t/0").to_owned(),
        };
        let retain = topic.starts_with('r');
        let qos = self.workload.below(3) as u8;
        let is_empty = retain && self.workload.chance(15);
        let len = self.workload.below(self.plan.payload_max);
        let expires = self.workload.chance(5);
        let Some(held) = self.clients.get(client) else { return };
        let expires = expires && held.version == Version::V5;
        let publisher = Publisher::Client(client);
        let (attempts, sent_at, acked_at) = (1, self.at, None);
        let sent =
            Sent { topic, qos, retain, is_empty, publisher, attempts, sent_at, acked_at, expires };
        self.publish_message(client, sent, |number| {
            if is_empty { Vec::new() } else { History::payload(number, len) }
        });
    }

    /// A client asks a shadow.
    fn publish_request(&mut self, client: usize) {
        let wanted = self.choose_request();
        let sent = Sent {
            topic: wanted.topic(),
            qos: self.workload.below(3) as u8,
            retain: false,
            is_empty: false,
            publisher: Publisher::Client(client),
            attempts: 1,
            sent_at: self.at,
            acked_at: None,
            expires: false,
        };
        if let Some(number) = self.publish_message(client, sent, |number| wanted.payload(number)) {
            self.history.asked.push(wanted.asked(number, Door::Published));
        }
    }

    /// Sends a message, unless the window is full; its number.
    fn publish_message(
        &mut self,
        client: usize,
        sent: Sent,
        payload: impl FnOnce(usize) -> Vec<u8>,
    ) -> Option<usize> {
        let held = self.clients.get_mut(client)?;
        let qos = sent.qos;
        if qos > 0 && held.outgoing.len() >= held.window.min(50) {
            return None;
        }
        let (topic, retain, expires) = (sent.topic.clone(), sent.retain, sent.expires);
        let number = self.history.sent(sent);
        let (payload, packet_id) = (payload(number), (qos > 0).then(|| held.free_id()));
        let mut packet =
            Packet { qos, retain, topic, packet_id, payload, ..Packet::new(Kind::Publish) };
        if expires {
            packet.properties = property("message_expiry", 8);
        }
        if qos > 0 {
            let packet = packet.clone();
            held.outgoing.push(Outgoing { packet, number, released: false });
        }
        self.send(client, &packet);
        Some(number)
    }

    fn choose_subscribe(&mut self, client: usize) {
        let mut filters: Vec<(String, u8)> = Vec::new();
        for _ in 0..=self.workload.below(2) {
            let filter = if self.workload.chance(25) {
                self.workload.pick(SHARED_FILTERS)
            } else {
                self.workload.pick(FILTERS)
            };
            let filter = filter.unwrap_or("t/#").to_owned();
            let mut options = self.workload.below(3) as u8;
            let is_mqtt5 = self.clients.get(client).is_some_and(|c| c.version == Version::V5);
            if is_mqtt5 && !filter.starts_with('$') {
                options |= if self.workload.chance(15) { 4 } else { 0 };
                options |= (self.workload.below(3) as u8) << 4;
            }
            if !filters.iter().any(|(held, _)| *held == filter) {
                filters.push((filter, options));
            }
        }
        self.subscribe(client, filters);
    }

    pub(super) fn subscribe(&mut self, client: usize, filters: Vec<(String, u8)>) {
        for (filter, _) in &filters {
            self.end_held(client, filter);
        }
        let Some(held) = self.clients.get_mut(client) else { return };
        let packet_id = held.free_id();
        let in_packet = filters
            .iter()
            .map(|(filter, options)| Filter { filter: filter.clone(), options: *options });
        let packet = Packet {
            packet_id: Some(packet_id),
            filters: in_packet.collect(),
            ..Packet::new(Kind::Subscribe)
        };
        held.subscribing.insert(packet_id, Subscribing { filters });
        self.send(client, &packet);
    }

    fn choose_unsubscribe(&mut self, client: usize) {
        let filters = if self.workload.chance(25) { SHARED_FILTERS } else { FILTERS };
        let filter = self.workload.pick(filters).unwrap_or("t/#");
        self.end_held(client, filter);
        let Some(held) = self.clients.get_mut(client) else { return };
        let packet_id = held.free_id();
        held.unsubscribing.insert(packet_id);
        let filters = vec![Filter { filter: filter.to_owned(), options: 0 }];
        let packet =
            Packet { packet_id: Some(packet_id), filters, ..Packet::new(Kind::Unsubscribe) };
        self.send(client, &packet);
    }

    /// What a client holds on a filter is about to end or change.
    fn end_held(&mut self, client: usize, filter: &str) {
        let at = self.at;
        let session = self.clients.get(client).and_then(|held| held.session);
        let Some(session) = session.and_then(|at| self.history.sessions.get_mut(at)) else {
            return;
        };
        let held = session.held.iter_mut().filter(|held| held.filter == filter);
        held.filter(|held| held.until.is_none()).for_each(|held| held.until = Some(at));
    }

    /// An application uses the data plane.
    pub(super) fn call(&mut self) {
        let client = 1 + self.workload.below(self.clients.len() - 1);
        match self.workload.below(100) {
            0..30 => return self.delete(client),
            30..50 => return self.call_shadow(),
            50..70 => return self.call_direct(client),
            _ => {}
        }
        let topic = self.workload.pick(TOPICS).unwrap_or("t/0").to_owned();
        let qos = self.workload.below(2) as u8;
        let retain = topic.starts_with('r');
        let number = self.history.sent(Sent {
            topic: topic.clone(),
            qos,
            retain,
            is_empty: false,
            publisher: Publisher::Api,
            attempts: 1,
            sent_at: self.at,
            acked_at: None,
            expires: false,
        });
        self.note(|| format!("api publishes m{number} to {topic}, QoS {qos}"));
        let owner = self.machine.placement().owner_of(&topic);
        let message = NewMessage {
            topic,
            payload: History::payload(number, 0).into(),
            qos: if qos == 1 { QoS::One } else { QoS::Zero },
            retain,
            properties: Vec::new(),
            message_expiry_interval: None,
        };
        let reply = self.machine.command(owner, Command::Publish(message));
        self.publishing.push((reply, number));
    }

    /// DeleteConnection; which switches are on depends on the client, so that its Will's fate is
    /// known.
    pub(super) fn delete(&mut self, client: usize) {
        let Some(held) = self.clients.get(client) else { return };
        let client_id = held.id.clone();
        let clean_session = self.workload.chance(50);
        let prevent_will_message = prevents(client);
        self.note(|| format!("api deletes {client_id}, clean {clean_session}"));
        self.history.deleted.push((client, self.at));
        let owner: ShardId = self.machine.placement().owner_of(&client_id);
        let command = Command::DeleteConnection {
            client_id,
            clean_session,
            prevent_will_message,
            further: Further::default(),
        };
        self.machine.command(owner, command);
    }

    pub(super) fn take_replies(&mut self) {
        let at = self.at;
        for (reply, number) in std::mem::take(&mut self.publishing) {
            if self.machine.reply(reply).is_none() {
                self.publishing.push((reply, number));
            } else if let Some(message) = self.history.messages.get_mut(number) {
                message.acked_at = Some(at);
            }
        }
    }
}

/// Whether DeleteConnection of this client suppresses its Will.
pub(super) fn prevents(client: usize) -> bool {
    client.is_multiple_of(2)
}

pub(super) fn property(name: &str, value: u32) -> Vec<Property> {
    let property = Property::parse(name, value.to_string().as_bytes());
    property.ok().flatten().into_iter().collect()
}
