//! Playing a scenario over a [`Wire`] and saying what differs.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::{self, Write as _};

use serde_json::Value as Json;

use super::expect::{check, check_json};
use super::line::{Action, Bound, read};
use super::script::{Scenario, Variant};
use crate::machine::Request;
use crate::packet::{self, Kind, Packet, Version};

/// What only some wires can do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Special {
    /// The client reads no more bytes.
    Stalls,
    /// It reads again.
    Reads,
    /// The server gives it up, because it reads nothing.
    NotReading,
    /// The server gives it up, because it does not finish a packet.
    PacketTooSlow,
    /// The client ends its WebSocket with a Close frame.
    SaysClose,
    /// The server shuts down.
    ShutDown,
    /// Time passes, in milliseconds.
    Advance(u64),
}

/// The wire cannot do this; the scenario is skipped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Unsupported;

/// What there is to read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Read {
    /// Bytes.
    Bytes(Vec<u8>),
    /// The end.
    Closed,
    /// Neither, however long one waits.
    Nothing,
}

/// Something that scripts can be played over.
pub trait Wire {
    /// Opens a connection for an actor who has none.
    fn open(&mut self, actor: &str) -> Result<(), String>;
    /// Sends bytes.
    fn send(&mut self, actor: &str, bytes: &[u8]);
    /// Closes the client's end.
    fn hang_up(&mut self, actor: &str);
    /// Waits for bytes or the end.
    fn read(&mut self, actor: &str) -> Read;
    /// What is there once everything under way has arrived.
    fn read_quiet(&mut self, actor: &str) -> Read;
    /// Begins an HTTP request.
    fn call(&mut self, actor: &str, request: &Request) -> Result<(), Unsupported>;
    /// Waits for the response to the oldest request.
    fn answer(&mut self, actor: &str) -> Option<(u16, Json)>;
    /// Does what only some wires can.
    fn special(&mut self, actor: &str, special: Special) -> Result<(), Unsupported>;
    /// What went wrong that no client could see.
    fn faults(&mut self) -> Vec<String>;
}

/// Where a run of a scenario went wrong.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The file, and the line in it.
    pub place: String,
    /// The scenario, the words chosen and the wire.
    pub title: String,
    /// The line.
    pub expected: String,
    /// What came instead.
    pub came: String,
    /// Everything up to there.
    pub transcript: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.place, self.title)?;
        writeln!(f, "  expected  {}", self.expected)?;
        writeln!(f, "  but       {}", self.came)?;
        writeln!(f, "  transcript")?;
        self.transcript.iter().try_for_each(|line| writeln!(f, "    {line}"))
    }
}

/// What became of a scenario.
#[derive(Debug)]
pub enum Outcome {
    /// Everything came as it must.
    Passed,
    /// It needs what the wire cannot do.
    Skipped,
    /// Something differs.
    Failed(Box<Failure>),
}

/// A client as the script sees it.
#[derive(Debug, Default)]
struct Actor {
    is_open: bool,
    version: Version,
    bytes: Vec<u8>,
    packets: VecDeque<Packet>,
    closed: bool,
    /// The server said DISCONNECT: nothing may follow.
    disconnected: bool,
    ignored: bool,
}

struct Play<'a> {
    wire: &'a mut dyn Wire,
    actors: BTreeMap<String, Actor>,
    bound: Bound,
    transcript: Vec<String>,
}

/// Why a line stops the play.
enum Stop {
    Skip,
    Fail(String),
}

impl From<String> for Stop {
    fn from(came: String) -> Self {
        Self::Fail(came)
    }
}

impl From<Unsupported> for Stop {
    fn from(_: Unsupported) -> Self {
        Self::Skip
    }
}

/// Plays one variant of a scenario.
pub fn run(scenario: &Scenario, variant: &Variant, over: &str, wire: &mut dyn Wire) -> Outcome {
    let mut play =
        Play { wire, actors: BTreeMap::new(), bound: Bound::new(), transcript: Vec::new() };
    let end = (scenario.line, "nothing else".to_owned());
    let lines = variant.lines.iter().map(|line| (line, false)).chain([(&end, true)]);
    for ((number, text), is_end) in lines {
        let played = if is_end { play.finish() } else { play.line(*number, text) };
        match played {
            Ok(()) => {}
            Err(Stop::Skip) => return Outcome::Skipped,
            Err(Stop::Fail(came)) => {
                let mut title = scenario.title.clone();
                for (name, value) in &variant.choices {
                    // Writing to a String does not fail.
                    _ = write!(title, " [{name}={value}]");
                }
                return Outcome::Failed(Box::new(Failure {
                    place: format!("{}:{number}", scenario.file),
                    title: format!("{title} ({over})"),
                    expected: text.clone(),
                    came,
                    transcript: play.transcript,
                }));
            }
        }
    }
    Outcome::Passed
}

impl Play<'_> {
    fn line(&mut self, number: usize, text: &str) -> Result<(), Stop> {
        self.transcript.push(format!("{number:4} {text}"));
        match read(text, Some(&self.bound))? {
            Action::Send { actor, packet } => self.send(&actor, &packet)?,
            Action::Bytes { actor, bytes } => {
                self.open(&actor, version_of(&bytes))?;
                self.wire.send(&actor, &bytes);
            }
            Action::HangUp { actor } => {
                self.wire.hang_up(&actor);
                self.actors.remove(&actor);
            }
            Action::Call { actor, request } => self.wire.call(&actor, &request)?,
            Action::Expect { actor, kind, fields, in_order } => {
                self.expect(&actor, kind, &fields, in_order)?;
            }
            Action::Answer { actor, statuses, fields } => {
                let answer = self.wire.answer(&actor);
                let (came, body) = answer.ok_or_else(|| "no response came".to_owned())?;
                self.note(&actor, &format!("{came} {body}"));
                if !statuses.contains(&came) {
                    return Err(Stop::Fail(format!("{actor} < {came} {body}")));
                }
                check_json(&body, &fields, &mut self.bound)
                    .map_err(|why| format!("{actor} < {came} {body}: {why}"))?;
            }
            Action::Nothing { actor } => self.nothing(&actor)?,
            Action::Closed { actor } => self.closed(&actor)?,
            Action::Ignored { actor } => {
                self.actors.entry(actor).or_default().ignored = true;
            }
            Action::Special { actor, special } => self.wire.special(&actor, special)?,
            Action::Advance { millis } => self.wire.special("", Special::Advance(millis))?,
        }
        Ok(())
    }

    fn send(&mut self, actor: &str, packet: &Packet) -> Result<(), Stop> {
        let is_first = packet.kind == Kind::Connect;
        self.open(actor, packet.version)?;
        let held = self.actors.entry(actor.to_owned()).or_default();
        if is_first {
            held.version = packet.version;
        }
        let mut bytes = Vec::new();
        packet::encode(packet, held.version, &mut bytes);
        self.wire.send(actor, &bytes);
        Ok(())
    }

    /// Opens a connection, unless the actor has one.
    fn open(&mut self, actor: &str, version: Version) -> Result<(), Stop> {
        let held = self.actors.entry(actor.to_owned()).or_default();
        if !held.is_open || held.closed {
            *held = Actor { is_open: true, version, ..Actor::default() };
            self.wire.open(actor)?;
        }
        Ok(())
    }

    fn note(&mut self, actor: &str, what: &str) {
        self.transcript.push(format!("       {actor} got {what}"));
    }

    /// Reads packets: until there is one more, or with `quiet` all that come.
    fn fill(&mut self, actor: &str, quiet: bool) -> Result<(), Stop> {
        loop {
            let held = self.actors.entry(actor.to_owned()).or_default();
            if held.closed {
                return Ok(());
            }
            let read = if quiet { self.wire.read_quiet(actor) } else { self.wire.read(actor) };
            let before = held.packets.len();
            match read {
                Read::Bytes(bytes) => held.bytes.extend_from_slice(&bytes),
                Read::Closed => {
                    held.closed = true;
                    self.note(actor, "the end");
                    return Ok(());
                }
                Read::Nothing => return Ok(()),
            }
            self.decode(actor)?;
            if !quiet && self.actors.get(actor).is_some_and(|held| held.packets.len() > before) {
                return Ok(());
            }
        }
    }

    fn decode(&mut self, actor: &str) -> Result<(), Stop> {
        let Some(held) = self.actors.get_mut(actor) else { return Ok(()) };
        let mut notes = Vec::new();
        loop {
            let len = packet::next_len(&held.bytes).map_err(|broken| broken.0)?;
            let Some(len) = len else { break };
            let bytes: Vec<u8> = held.bytes.drain(..len).collect();
            let packet = packet::decode(&bytes, held.version)
                .map_err(|broken| format!("{actor} got {bytes:02x?}: {}", broken.0))?;
            if held.disconnected {
                return Err(Stop::Fail(format!("{actor} got {packet} behind a DISCONNECT")));
            }
            held.disconnected = packet.kind == Kind::Disconnect;
            notes.push(packet.to_string());
            held.packets.push_back(packet);
        }
        for note in notes {
            self.note(actor, &note);
        }
        Ok(())
    }

    fn expect(
        &mut self,
        actor: &str,
        kind: Kind,
        fields: &[super::expect::Field],
        in_order: bool,
    ) -> Result<(), Stop> {
        loop {
            let held = self.actors.entry(actor.to_owned()).or_default();
            let mut why = None;
            for at in 0..held.packets.len() {
                let Some(packet) = held.packets.get(at) else { break };
                match check(packet, kind, fields, &mut self.bound) {
                    Ok(()) => {
                        held.packets.remove(at);
                        return Ok(());
                    }
                    Err(differs) => why = Some(format!("{actor} < {packet}: {differs}")),
                }
                if in_order {
                    break;
                }
            }
            if let (true, Some(why)) = (in_order, &why) {
                return Err(Stop::Fail(why.clone()));
            }
            let before = held.packets.len();
            if held.closed {
                return Err(Stop::Fail(why.unwrap_or_else(|| format!("{actor} | closed"))));
            }
            self.fill(actor, false)?;
            let held = self.actors.entry(actor.to_owned()).or_default();
            if held.packets.len() == before && !held.closed {
                return Err(Stop::Fail(why.unwrap_or_else(|| format!("{actor} < nothing"))));
            }
        }
    }

    fn nothing(&mut self, actor: &str) -> Result<(), Stop> {
        self.fill(actor, true)?;
        let held = self.actors.entry(actor.to_owned()).or_default();
        match held.packets.front() {
            Some(packet) => Err(Stop::Fail(format!("{actor} < {packet}"))),
            None if held.closed => Err(Stop::Fail(format!("{actor} | closed"))),
            None => Ok(()),
        }
    }

    fn closed(&mut self, actor: &str) -> Result<(), Stop> {
        while !self.actors.get(actor).is_some_and(|held| held.closed) {
            let before = self.actors.get(actor).map_or(0, |held| held.packets.len());
            self.fill(actor, false)?;
            let held = self.actors.entry(actor.to_owned()).or_default();
            if !held.closed && held.packets.len() == before {
                return Err(Stop::Fail(format!("{actor} is connected")));
            }
        }
        match self.actors.get(actor).and_then(|held| held.packets.front()) {
            Some(packet) => Err(Stop::Fail(format!("{actor} < {packet}"))),
            None => Ok(()),
        }
    }

    /// Nothing may be left that no line spoke of.
    fn finish(&mut self) -> Result<(), Stop> {
        let names: Vec<String> = self.actors.keys().cloned().collect();
        for name in names {
            let Some(held) = self.actors.get(&name) else { continue };
            let (ignored, was_closed) = (held.ignored, held.closed);
            if ignored || !held.is_open {
                continue;
            }
            self.fill(&name, true)?;
            let Some(held) = self.actors.get(&name) else { continue };
            if let Some(packet) = held.packets.front() {
                return Err(Stop::Fail(format!("{name} < {packet}")));
            }
            if held.closed && !was_closed {
                return Err(Stop::Fail(format!("{name} | closed")));
            }
        }
        match self.wire.faults().first() {
            Some(fault) => Err(Stop::Fail(fault.clone())),
            None => Ok(()),
        }
    }
}

/// In which version raw bytes that open a connection are answered [MQTT-3.1.2-2]: a CONNECT before
/// level 5 in 3.1.1, everything else in MQTT 5.
fn version_of(bytes: &[u8]) -> Version {
    let level = bytes.split_first().and_then(|(_, rest)| {
        let body = rest.iter().position(|byte| byte & 0x80 == 0)? + 1;
        let name_len = usize::from(*rest.get(body + 1)?);
        rest.get(body + 2 + name_len)
    });
    match (bytes.first(), level) {
        (Some(0x10), Some(0..5 | 0x80..)) => Version::V3,
        _ => Version::V5,
    }
}
