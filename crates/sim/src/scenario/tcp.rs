//! Scripts over the sockets of any broker.
//!
//! A broker keeps what a scenario left behind, so each is followed by a clean-up over MQTT: every
//! client it named connects with Clean Start, every retained message is removed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bitts_broker::Profile;
use serde_json::Value as Json;

use super::run::{Outcome, Read, Special, Unsupported, Wire, run};
use super::script::Scenario;
use crate::machine::Request;
use crate::packet::{self, Filter, Kind, Packet, Version};

/// How long something that must come may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long nothing comes before nothing is taken to be under way.
const QUIET: Duration = Duration::from_millis(60);

/// Where a broker listens.
#[derive(Clone, Copy, Debug)]
pub struct Broker {
    /// MQTT.
    pub mqtt: SocketAddr,
    /// The data plane; without it scenarios that call it are skipped.
    pub http: Option<SocketAddr>,
    /// Whose rules it follows; scenarios that ask for others are skipped.
    pub profile: Profile,
}

/// What became of the runs.
#[derive(Debug, Default)]
pub struct Report {
    /// Runs that passed.
    pub passed: usize,
    /// Runs that need the core, or another profile.
    pub skipped: usize,
    /// Runs that failed.
    pub failures: Vec<super::Failure>,
}

/// Plays scenarios against a broker, each in all its variants; `told` hears of each scenario.
pub fn run_all(broker: Broker, scenarios: &[Scenario], mut told: impl FnMut(&Scenario)) -> Report {
    let mut report = Report::default();
    for scenario in scenarios {
        told(scenario);
        for variant in scenario.variants() {
            let is_other = variant.profile != broker.profile;
            if is_other || !scenario.limits.is_empty() || needs_core(&variant.lines) {
                report.skipped += 1;
                continue;
            }
            let mut wire = TcpWire::new(broker);
            let outcome = run(scenario, &variant, "TCP", &mut wire);
            wire.clean_up();
            match outcome {
                Outcome::Passed => report.passed += 1,
                Outcome::Skipped => report.skipped += 1,
                Outcome::Failed(failure) => report.failures.push(*failure),
            }
        }
    }
    report
}

/// Whether a line asks for something that sockets cannot do, known before anything is played.
fn needs_core(lines: &[(usize, String)]) -> bool {
    lines.iter().any(|(_, line)| {
        line.starts_with("advance ")
            || [" | stalls", " | reads", " | given up", " | says close", " | shuts down"]
                .iter()
                .any(|special| line.contains(special))
    })
}

struct TcpWire {
    broker: Broker,
    streams: BTreeMap<String, TcpStream>,
    requests: BTreeMap<String, VecDeque<TcpStream>>,
    clients: BTreeSet<String>,
    has_retained: bool,
    /// Topics of PUBLISH packets with RETAIN: no filter with a wildcard finds them on AWS.
    retained: BTreeSet<String>,
}

impl TcpWire {
    fn new(broker: Broker) -> Self {
        Self {
            broker,
            streams: BTreeMap::new(),
            requests: BTreeMap::new(),
            clients: BTreeSet::new(),
            has_retained: false,
            retained: BTreeSet::new(),
        }
    }

    fn read_for(&mut self, actor: &str, patience: Duration) -> Read {
        let Some(stream) = self.streams.get_mut(actor) else { return Read::Nothing };
        if stream.set_read_timeout(Some(patience)).is_err() {
            return Read::Closed;
        }
        let mut bytes = vec![0; 64 << 10];
        match stream.read(&mut bytes) {
            Ok(0) => Read::Closed,
            Ok(len) => {
                bytes.truncate(len);
                Read::Bytes(bytes)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Read::Nothing
            }
            Err(_) => Read::Closed,
        }
    }

    /// Removes the sessions and retained messages that the scenario may have left.
    fn clean_up(&mut self) {
        self.streams.clear();
        for client_id in std::mem::take(&mut self.clients) {
            let mut client = Client::new(self.broker.mqtt);
            client.connect(&client_id);
        }
        if self.has_retained {
            let mut client = Client::new(self.broker.mqtt);
            client.connect("scenarios-clean-up");
            client.remove_retained(std::mem::take(&mut self.retained));
        }
    }
}

/// A client of the clean-up: it hopes for the best, and the next scenario tells if it was wrong.
struct Client {
    stream: Option<TcpStream>,
    bytes: Vec<u8>,
}

impl Client {
    fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).ok();
        let stream =
            stream.filter(|stream| stream.set_read_timeout(Some(Duration::from_secs(1))).is_ok());
        Self { stream, bytes: Vec::new() }
    }

    fn send(&mut self, packet: &Packet) {
        let mut bytes = Vec::new();
        packet::encode(packet, Version::V3, &mut bytes);
        if let Some(stream) = &mut self.stream
            && stream.write_all(&bytes).is_err()
        {
            self.stream = None;
        }
    }

    fn next(&mut self) -> Option<Packet> {
        loop {
            if let Some(len) = packet::next_len(&self.bytes).ok()? {
                let bytes: Vec<u8> = self.bytes.drain(..len).collect();
                return packet::decode(&bytes, Version::V3).ok();
            }
            let mut bytes = [0; 4096];
            let len = self.stream.as_mut()?.read(&mut bytes).ok().filter(|len| *len > 0)?;
            self.bytes.extend_from_slice(bytes.get(..len)?);
        }
    }

    fn connect(&mut self, client_id: &str) {
        let client_id = client_id.to_owned();
        self.send(&Packet { client_id, clean_start: true, ..Packet::new(Kind::Connect) });
        self.next();
    }

    fn remove_retained(&mut self, mut topics: BTreeSet<String>) {
        let filters = vec![Filter { filter: "#".to_owned(), options: 0 }];
        self.send(&Packet { packet_id: Some(1), filters, ..Packet::new(Kind::Subscribe) });
        self.send(&Packet::new(Kind::PingReq));
        // Retained messages of other shards may follow the PINGRESP.
        while let Some(packet) = self.next() {
            if packet.kind == Kind::Publish && packet.retain {
                topics.insert(packet.topic);
            } else if packet.kind == Kind::PingResp
                && let Some(stream) = &self.stream
                && stream.set_read_timeout(Some(QUIET)).is_err()
            {
                break;
            }
        }
        for topic in topics {
            self.send(&Packet { topic, retain: true, ..Packet::new(Kind::Publish) });
        }
        self.send(&Packet::new(Kind::Disconnect));
    }
}

impl Wire for TcpWire {
    fn open(&mut self, actor: &str) -> Result<(), String> {
        let stream = TcpStream::connect_timeout(&self.broker.mqtt, PATIENCE);
        let stream = stream.map_err(|error| format!("{}: {error}", self.broker.mqtt))?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        self.streams.insert(actor.to_owned(), stream);
        Ok(())
    }

    fn send(&mut self, actor: &str, bytes: &[u8]) {
        self.note(bytes);
        // A broken connection is seen where it is read.
        if let Some(stream) = self.streams.get_mut(actor)
            && stream.write_all(bytes).is_err()
        {}
    }

    fn hang_up(&mut self, actor: &str) {
        if let Some(stream) = self.streams.remove(actor)
            && stream.shutdown(Shutdown::Write).is_ok()
        {
            // The server has seen it once it closes too.
            let mut stream = stream;
            let end = Instant::now() + PATIENCE;
            let mut bytes = [0; 4096];
            if stream.set_read_timeout(Some(PATIENCE)).is_ok() {
                while Instant::now() < end && stream.read(&mut bytes).is_ok_and(|len| len > 0) {}
            }
        }
    }

    fn read(&mut self, actor: &str) -> Read {
        self.read_for(actor, PATIENCE)
    }

    fn read_quiet(&mut self, actor: &str) -> Read {
        self.read_for(actor, QUIET)
    }

    fn call(&mut self, actor: &str, request: &Request) -> Result<(), Unsupported> {
        let address = self.broker.http.ok_or(Unsupported)?;
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(|_| Unsupported)?;
        let query = request.query.as_ref().map_or(String::new(), |query| format!("?{query}"));
        let headers = request
            .headers
            .iter()
            .fold(String::new(), |head, (name, value)| head + name + ": " + value + "\r\n");
        let head = format!(
            "{} {}{query} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
             content-length: {}\r\n{headers}\r\n",
            request.method,
            request.path,
            request.body.len()
        );
        self.has_retained |= request.query.as_ref().is_some_and(|query| query.contains("retain"));
        let sent = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&request.body));
        sent.map_err(|_| Unsupported)?;
        self.requests.entry(actor.to_owned()).or_default().push_back(stream);
        Ok(())
    }

    fn answer(&mut self, actor: &str) -> Option<(u16, Json)> {
        let mut stream = self.requests.get_mut(actor)?.pop_front()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let mut response = Vec::new();
        stream.read_to_end(&mut response).ok()?;
        let text = String::from_utf8_lossy(&response);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, serde_json::from_str(body).unwrap_or_default()))
    }

    fn special(&mut self, _: &str, _: Special) -> Result<(), Unsupported> {
        Err(Unsupported)
    }

    fn faults(&mut self) -> Vec<String> {
        Vec::new()
    }
}

impl TcpWire {
    /// Remembers what is to be cleaned up: the Client Identifiers of CONNECTs, and RETAIN.
    fn note(&mut self, bytes: &[u8]) {
        match bytes.first() {
            Some(first) if first >> 4 == 1 => {
                if let Some(client_id) = connect_client_id(bytes) {
                    self.clients.insert(client_id);
                }
                self.has_retained |= bytes.get(9).is_some_and(|flags| flags & 0x20 != 0);
            }
            Some(first) if first >> 4 == 3 && first & 1 != 0 => {
                self.has_retained = true;
                self.retained.extend(publish_topic(bytes));
            }
            _ => {}
        }
    }
}

/// The topic of a PUBLISH.
fn publish_topic(bytes: &[u8]) -> Option<String> {
    let body = bytes.iter().skip(1).position(|byte| byte & 0x80 == 0)? + 2;
    let len = usize::from(*bytes.get(body)?) << 8 | usize::from(*bytes.get(body + 1)?);
    let topic = bytes.get(body + 2..body + 2 + len)?;
    (!topic.is_empty()).then(|| String::from_utf8_lossy(topic).into_owned())
}

/// The Client Identifier of a CONNECT as [`packet::encode`] writes it.
fn connect_client_id(bytes: &[u8]) -> Option<String> {
    let body = bytes.iter().skip(1).position(|byte| byte & 0x80 == 0)? + 2;
    let mut at = body + 10;
    if *bytes.get(body + 6)? == 5 {
        let rest = bytes.get(at..)?;
        let used = rest.iter().position(|byte| byte & 0x80 == 0)? + 1;
        let len = rest.iter().take(used).rev().fold(0, |len, b| len << 7 | usize::from(b & 0x7F));
        at += used + len;
    }
    let len = usize::from(*bytes.get(at)?) << 8 | usize::from(*bytes.get(at + 1)?);
    let id = bytes.get(at + 2..at + 2 + len)?;
    (!id.is_empty()).then(|| String::from_utf8_lossy(id).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Property;

    #[test]
    fn the_client_identifier_of_a_connect_is_found() {
        for version in [Version::V3, Version::V5] {
            let mut packet = Packet { version, ..Packet::new(Kind::Connect) };
            packet.client_id = "thermostat-7".to_owned();
            packet.properties.extend(Property::parse("user", &[b'x'; 200]).ok().flatten());
            packet.properties.extend(Property::parse("session_expiry", b"7").unwrap());
            let mut bytes = Vec::new();
            packet::encode(&packet, version, &mut bytes);
            assert_eq!(connect_client_id(&bytes).as_deref(), Some("thermostat-7"));
        }
    }
}
