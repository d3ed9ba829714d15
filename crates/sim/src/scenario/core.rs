//! Scripts over whole shards in this process.
//!
//! Lines that send are gathered and applied, in their order, when a line looks at what came: so
//! what stands next to each other in a script happens at the same time.

use std::collections::{BTreeMap, VecDeque};

use bitts_broker::{Limits, Loss, Profile};
use serde_json::Value as Json;

use super::run::{Outcome, Read, Special, Unsupported, Wire, run};
use super::script::{Scenario, Variant};
use crate::machine::{Answer, Durability, Link, Machine, Options, Request};

/// One way to run the shards.
#[derive(Clone, Copy, Debug)]
struct Manner {
    name: &'static str,
    durability: Durability,
    inputs_per_turn: usize,
    bytes_per_read: usize,
}

const MANNERS: &[Manner] = &[
    Manner {
        name: "one input a turn",
        durability: Durability::AtOnce,
        inputs_per_turn: 1,
        bytes_per_read: usize::MAX,
    },
    Manner {
        name: "many inputs a turn",
        durability: Durability::AtOnce,
        inputs_per_turn: 1000,
        bytes_per_read: usize::MAX,
    },
    Manner {
        name: "a slow store, byte by byte",
        durability: Durability::Later,
        inputs_per_turn: 1,
        bytes_per_read: 1,
    },
];

/// The most shards that a scenario is run with.
const SHARDS_MAX: u8 = 3;

/// Runs a scenario on one to three shards in every manner; what failed.
pub fn run_everywhere(scenario: &Scenario) -> Vec<super::Failure> {
    let mut failures = Vec::new();
    for variant in scenario.variants() {
        for shards in 1..=SHARDS_MAX {
            for manner in MANNERS {
                let over = format!("{shards} shards, {}", manner.name);
                let mut wire = match CoreWire::new(scenario, &variant, shards, *manner) {
                    Ok(wire) => wire,
                    Err(problem) => {
                        failures.push(super::Failure {
                            place: format!("{}:{}", scenario.file, scenario.line),
                            title: scenario.title.clone(),
                            expected: "a limit of the core".to_owned(),
                            came: problem,
                            transcript: Vec::new(),
                        });
                        return failures;
                    }
                };
                if let Outcome::Failed(failure) = run(scenario, &variant, &over, &mut wire) {
                    failures.push(*failure);
                }
            }
        }
    }
    failures
}

struct CoreWire {
    machine: Machine,
    links: BTreeMap<String, Link>,
    answers: BTreeMap<String, VecDeque<Answer>>,
}

impl CoreWire {
    fn new(
        scenario: &Scenario,
        variant: &Variant,
        shards: u8,
        manner: Manner,
    ) -> Result<Self, String> {
        let mut limits = match variant.profile {
            Profile::Open => Limits::default(),
            Profile::Aws => Limits::aws(),
        };
        for (name, value) in &scenario.limits {
            set_limit(&mut limits, name, *value)?;
        }
        let options = Options {
            shards,
            durability: manner.durability,
            inputs_per_turn: manner.inputs_per_turn,
            bytes_per_read: manner.bytes_per_read,
            limits,
            profile: variant.profile,
            ..Options::default()
        };
        Ok(Self {
            machine: Machine::new(options),
            links: BTreeMap::new(),
            answers: BTreeMap::new(),
        })
    }
}

fn set_limit(limits: &mut Limits, name: &str, value: u64) -> Result<(), String> {
    let size = usize::try_from(value).map_err(|_| "too large".to_owned())?;
    match name {
        "packet_bytes_max" => limits.packet_bytes_max = value as u32,
        "topic_bytes_max" => limits.topic_bytes_max = size,
        "topic_levels_max" => limits.topic_levels_max = size,
        "filters_per_subscribe_max" => limits.filters_per_subscribe_max = size,
        "subscriptions_per_session_max" => limits.subscriptions_per_session_max = size,
        "shapes_per_session_max" => limits.shapes_per_session_max = size,
        "shapes_max" => limits.shapes_max = size,
        "client_id_bytes_max" => limits.client_id_bytes_max = size,
        "receive_maximum" => limits.receive_maximum = value as u16,
        "inflight_max" => limits.inflight_max = value as u16,
        "topic_alias_maximum" => limits.topic_alias_maximum = value as u16,
        "topic_alias_bytes_max" => limits.topic_alias_bytes_max = size,
        "queued_messages_max" => limits.queued_messages_max = size,
        "queued_bytes_max" => limits.queued_bytes_max = size,
        "session_expiry_max" => limits.session_expiry_max = value as u32,
        "retained_messages_max" => limits.retained_messages_max = size,
        "connections_max" => limits.connections_max = size,
        "sessions_max" => limits.sessions_max = size,
        "group_queued_messages_max" => limits.group_queued_messages_max = size,
        "group_members_max" => limits.group_members_max = size,
        "retained_step" => limits.retained_step = size,
        other => return Err(format!("there is no limit `{other}`")),
    }
    Ok(())
}

impl Wire for CoreWire {
    fn open(&mut self, actor: &str) -> Result<(), String> {
        let link = self.machine.connect();
        self.links.insert(actor.to_owned(), link);
        Ok(())
    }

    fn send(&mut self, actor: &str, bytes: &[u8]) {
        if let Some(link) = self.links.get(actor) {
            self.machine.write(*link, bytes);
        }
    }

    fn hang_up(&mut self, actor: &str) {
        if let Some(link) = self.links.get(actor) {
            self.machine.hang_up(*link);
        }
    }

    fn read(&mut self, actor: &str) -> Read {
        self.machine.settle();
        let Some(link) = self.links.get(actor).copied() else { return Read::Nothing };
        let bytes = self.machine.read(link);
        if !bytes.is_empty() {
            return Read::Bytes(bytes);
        }
        if self.machine.ended(link).is_some() { Read::Closed } else { Read::Nothing }
    }

    fn read_quiet(&mut self, actor: &str) -> Read {
        self.read(actor)
    }

    fn call(&mut self, actor: &str, request: &Request) -> Result<(), Unsupported> {
        let answer = self.machine.call(request);
        self.answers.entry(actor.to_owned()).or_default().push_back(answer);
        Ok(())
    }

    fn answer(&mut self, actor: &str) -> Option<(u16, Json)> {
        self.machine.settle();
        let answer = self.answers.get_mut(actor)?.pop_front()?;
        self.machine.answer(&answer)
    }

    fn special(&mut self, actor: &str, special: Special) -> Result<(), Unsupported> {
        self.machine.settle();
        let link = self.links.get(actor).copied();
        match (special, link) {
            (Special::Advance(millis), _) => self.machine.advance(millis),
            (Special::ShutDown, _) => self.machine.shut_down(),
            (Special::Stalls, Some(link)) => self.machine.set_congested(link, true),
            (Special::Reads, Some(link)) => self.machine.set_congested(link, false),
            (Special::NotReading, Some(link)) => self.machine.lose(link, Loss::NotReading),
            (Special::PacketTooSlow, Some(link)) => self.machine.lose(link, Loss::PacketTooSlow),
            (Special::SaysClose, Some(link)) => self.machine.lose(link, Loss::SaidClose),
            (_, None) => return Err(Unsupported),
        }
        Ok(())
    }

    fn faults(&mut self) -> Vec<String> {
        self.machine.take_faults()
    }
}
