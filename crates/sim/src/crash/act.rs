//! What clients and applications do.

use super::client::{Held, Outgoing, SessionIs, Until};
use super::{Asked, MONITOR, Sent, Will, World, shares};
use crate::machine::{Answer, Link, Request};
use crate::packet::{Filter, Kind, Packet, Property, Version, Will as WillPacket, encode};

const TOPICS: &[&str] = &["t/0", "t/1", "t/2"];
const FILTERS: &[&str] = &["t/#", "t/0", "t/1", "+/2"];
/// Seconds.
const EXPIRY: u32 = 100_000;

impl World {
    pub(super) fn act(&mut self) {
        let client = self.schedule.below(self.clients.len());
        let Some(held) = self.clients.get(client) else { return };
        if held.link.is_none() {
            return self.connect(client);
        }
        if client == MONITOR || !held.is_connected {
            return;
        }
        match self.workload.below(100) {
            0..68 => self.publish(client),
            68..82 => self.subscribe(client),
            82..86 => self.unsubscribe(client),
            86..93 => self.hang_up(client),
            93..97 => self.disconnect(client),
            _ => self.send(client, &Packet::new(Kind::PingReq)),
        }
    }

    pub(super) fn connect(&mut self, client: usize) {
        let number = self.wills.len();
        let delay = self.workload.pick(&[0, 0, 4, 20]).unwrap_or(0);
        let has_will = client != MONITOR && self.workload.chance(60);
        let Some(held) = self.clients.get_mut(client) else { return };
        if held.link.is_some() {
            return;
        }
        let delay = if held.version == Version::V5 { delay } else { 0 };
        let link = self.machine.connect();
        held.link = Some(link);
        held.links.push(link);
        held.asked_clean_start = held.is_in_doubt;
        held.will = has_will.then_some(number);
        if held.session == SessionIs::Gone || held.is_in_doubt {
            held.session = SessionIs::Unsure;
            held.held.values_mut().for_each(|promised| promised.until = Until::Unsure);
        }
        let mut packet = Packet {
            version: held.version,
            client_id: held.id.clone(),
            clean_start: held.is_in_doubt,
            ..Packet::new(Kind::Connect)
        };
        if held.version == Version::V5 {
            packet.properties.extend(property("session_expiry", EXPIRY));
        }
        if has_will {
            let topic = format!("w/{number}");
            let properties = if delay > 0 { property("will_delay", delay) } else { Vec::new() };
            let payload = format!("w{number}.").into_bytes();
            packet.will = Some(WillPacket { topic, payload, qos: 2, retain: false, properties });
            self.wills.push(Will {
                delay_ms: u64::from(delay) * 1_000,
                is_set: false,
                is_discarded: false,
                is_averted: false,
                published: 0,
            });
        }
        self.send(client, &packet);
    }

    pub(super) fn hang_up(&mut self, client: usize) {
        let Some(link) = self.clients.get(client).and_then(|held| held.link) else { return };
        self.note(|| format!("client {client} hangs up"));
        self.machine.hang_up(link);
        if let Some(held) = self.clients.get_mut(client) {
            held.leave();
        }
    }

    fn disconnect(&mut self, client: usize) {
        self.send(client, &Packet::new(Kind::Disconnect));
        if let Some(held) = self.clients.get_mut(client) {
            if let Some(will) = held.will.and_then(|at| self.wills.get_mut(at)) {
                will.is_discarded = true;
            }
            held.leave();
        }
    }

    fn publish(&mut self, client: usize) {
        let retained = self.workload.chance(20);
        let topic = if retained { format!("r/{client}") } else { self.topic() };
        let qos = if retained { 1 } else { 1 + self.workload.below(2) as u8 };
        let len = self.workload.pick(&[0, 30, 700]).unwrap_or(0);
        let number = self.messages.len();
        let Some(held) = self.clients.get_mut(client) else { return };
        if held.outgoing.len() >= held.window.min(8) {
            return;
        }
        let mut payload = format!("m{number}.").into_bytes();
        payload.resize(payload.len() + len, b'.');
        let packet = Packet {
            qos,
            retain: retained,
            topic: topic.clone(),
            packet_id: Some(held.free_id()),
            payload,
            ..Packet::new(Kind::Publish)
        };
        held.outgoing.push(Outgoing { packet: packet.clone(), number, released: false });
        self.remember(topic, qos, client);
        self.send(client, &packet);
    }

    fn topic(&mut self) -> String {
        let topics = if self.workload.chance(30) { shares::TOPICS } else { TOPICS };
        self.workload.pick(topics).unwrap_or("t/0").to_owned()
    }

    fn remember(&mut self, topic: String, qos: u8, publisher: usize) {
        self.messages.push(Sent {
            topic,
            qos,
            publisher,
            sent_at: self.at,
            attempts: 1,
            is_acked: false,
            is_given_up: false,
        });
    }

    fn subscribe(&mut self, client: usize) {
        if self.is_member(client) && self.workload.chance(50) {
            return self.join_some(client);
        }
        let filter = self.workload.pick(FILTERS).unwrap_or("t/#").to_owned();
        let qos = 1 + self.workload.below(2) as u8;
        self.subscribe_to(client, filter, qos);
    }

    pub(super) fn subscribe_to(&mut self, client: usize, filter: String, qos: u8) {
        let properties = self.identifier_of(client, &filter);
        let Some(held) = self.clients.get_mut(client) else { return };
        if held.held.contains_key(&filter) {
            return;
        }
        let packet_id = held.free_id();
        held.asked.insert(packet_id, filter.clone());
        held.held.insert(filter.clone(), Held { from: None, until: Until::Open });
        let filters = vec![Filter { filter, options: qos }];
        let packet_id = Some(packet_id);
        let packet = Packet { packet_id, properties, filters, ..Packet::new(Kind::Subscribe) };
        self.send(client, &packet);
    }

    fn unsubscribe(&mut self, client: usize) {
        let Some(held) = self.clients.get_mut(client) else { return };
        let stays = client == self.first_member;
        let may_end = |(filter, held): &(&String, &mut Held)| {
            let is_sure = held.from.is_some() && held.until == Until::Open;
            is_sure && !(stays && filter.starts_with("$share/"))
        };
        let Some((filter, promised)) = held.held.iter_mut().find(may_end) else { return };
        promised.until = Until::Unsure;
        let filter = filter.clone();
        let packet_id = held.free_id();
        held.asked.insert(packet_id, filter.clone());
        let filters = vec![Filter { filter, options: 0 }];
        let packet =
            Packet { packet_id: Some(packet_id), filters, ..Packet::new(Kind::Unsubscribe) };
        self.send(client, &packet);
    }

    /// An application uses the data plane.
    pub(super) fn ask(&mut self) {
        let thing = self.workload.below(self.shadows.len());
        let value = self.at as u64;
        match self.workload.below(10) {
            0..4 => {
                let topic = self.topic();
                let number = self.messages.len();
                let path = format!("/topics/{}", topic.replace('/', "%2F"));
                self.remember(topic, 1, usize::MAX);
                let body = format!("m{number}.").into_bytes();
                self.call(Asked::Publish(number), "POST", path, Some("qos=1"), body);
            }
            4..9 => {
                if let Some(shadow) = self.shadows.get_mut(thing) {
                    shadow.open.push(value);
                }
                let body = format!(r#"{{"state":{{"reported":{{"n":{value}}}}}}}"#).into_bytes();
                let path = format!("/things/thing-{thing}/shadow");
                self.call(Asked::Shadow { thing, value }, "POST", path, None, body);
            }
            _ => {
                let client = 1 + self.workload.below(self.clients.len() - 1);
                let Some(held) = self.clients.get_mut(client) else { return };
                // A 3.1.1 client has no way to a new session that is kept.
                if held.is_deleting || held.version == Version::V3 || held.is_member() {
                    return;
                }
                (held.session, held.is_deleting) = (SessionIs::Unsure, true);
                held.is_in_doubt = true;
                // A session that ends sends its Will.
                held.was_connected = None;
                let is_over = |link: &Link| self.machine.ended(*link).is_some();
                let connects = held.links.iter().all(is_over).then_some(held.links.len());
                // What it promised is over, whenever this arrives.
                held.held.values_mut().for_each(|promised| promised.until = Until::Unsure);
                let path = format!("/connections/{}", held.id);
                let query = Some("cleanSession=true");
                let asked = Asked::Delete { client, connects };
                self.call(asked, "DELETE", path, query, Vec::new());
            }
        }
    }

    fn call(
        &mut self,
        asked: Asked,
        method: &str,
        path: String,
        query: Option<&str>,
        body: Vec<u8>,
    ) {
        self.note(|| format!("api {method} {path}"));
        let request = Request {
            method: method.to_owned(),
            path,
            query: query.map(str::to_owned),
            headers: Vec::new(),
            body,
        };
        let answer: Answer = self.machine.call(&request);
        self.asking.push((asked, answer));
    }

    pub(super) fn send(&mut self, client: usize, packet: &Packet) {
        let Some(held) = self.clients.get(client) else { return };
        let (Some(link), version) = (held.link, held.version) else { return };
        self.note(|| format!("client {client} {link:?} > {packet}"));
        let mut bytes = Vec::new();
        encode(packet, version, &mut bytes);
        self.machine.write(link, &bytes);
    }
}

pub(super) fn property(name: &str, value: u32) -> Vec<Property> {
    let property = Property::parse(name, value.to_string().as_bytes());
    property.ok().flatten().into_iter().collect()
}
