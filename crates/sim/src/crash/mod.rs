//! Worlds that die: the real journal on a disk in memory, clients, and a process that ends at any
//! step.
//!
//! A `World` lets one thing happen in each step, as `world` does. Now and then the process is
//! killed, the power goes with any part of what was not synced, a sync fails, or the disk is full
//! for a while; also in the middle of a commit or of a start. The next process recovers, clients
//! come back, and `check` compares what they saw with what they were promised. The same seed always
//! makes the same world.

mod act;
mod check;
mod client;
mod fault;
mod read;
mod shares;

use std::collections::BTreeMap;
use std::ops::AddAssign;

use bitts_broker::Limits;

use crate::machine::{Answer, Durability, Machine, Options, Step};
use crate::seeds::{self, Seeded, Trace, Unsound};
use crate::world::random::Random;

use client::Client;
use shares::Shared;

/// The client that watches Wills: it subscribes before anybody else is there, and never leaves.
const MONITOR: usize = 0;

/// A message that was published; its number is its position.
#[derive(Clone, Debug)]
struct Sent {
    topic: String,
    qos: u8,
    publisher: usize,
    sent_at: usize,
    attempts: usize,
    is_acked: bool,
    /// The server refused it, or who sent it will not send it again.
    is_given_up: bool,
}

/// A Will of a connection.
#[derive(Clone, Debug)]
struct Will {
    delay_ms: u64,
    /// CONNACK was seen: the Will is durable.
    is_set: bool,
    /// DISCONNECT was sent.
    is_discarded: bool,
    /// The client was connected when the process died, and came back in time: it is not sent.
    is_averted: bool,
    published: usize,
}

/// Requests over HTTP.
#[derive(Debug)]
enum Asked {
    Publish(usize),
    Shadow {
        thing: usize,
        value: u64,
    },
    Delete {
        client: usize,
        /// Connections it had opened, where all of them were over.
        connects: Option<usize>,
    },
}

/// What is known of a shadow.
#[derive(Clone, Debug, Default)]
struct Shadow {
    version: u64,
    /// The value of the last update that was accepted, and those after it without an answer.
    value: Option<u64>,
    open: Vec<u64>,
}

/// What happened in a sound world.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    /// How often the process died.
    pub deaths: usize,
    /// Messages acknowledged.
    pub acknowledged: usize,
    /// Messages that clients took.
    pub deliveries: usize,
    /// Messages that `$share` groups gave to a member.
    pub shared: usize,
    /// Wills published.
    pub wills: usize,
    /// Versions of shadows.
    pub shadows: u64,
}

impl AddAssign for Summary {
    fn add_assign(&mut self, other: Self) {
        self.deaths += other.deaths;
        self.acknowledged += other.acknowledged;
        self.deliveries += other.deliveries;
        self.shared += other.shared;
        self.wills += other.wills;
        self.shadows += other.shadows;
    }
}

struct World {
    machine: Machine,
    schedule: Random,
    workload: Random,
    faults: Random,
    shards: u8,
    at: usize,
    deaths: usize,
    /// The disk is full until this step.
    full_until: Option<usize>,
    /// The last step at which a full disk may have refused a message.
    full_last: usize,
    clients: Vec<Client>,
    messages: Vec<Sent>,
    wills: Vec<Will>,
    shadows: Vec<Shadow>,
    asking: Vec<(Asked, Answer)>,
    steps: Vec<Step>,
    trace: Trace,
    /// How often a client took a message.
    taken: BTreeMap<(usize, usize), usize>,
    /// The first of the clients that are members of `$share` groups; it stays in all of them.
    first_member: usize,
    /// At which QoS members subscribe, by group; none where each chooses.
    share_qos: [Option<u8>; shares::GROUPS.len()],
    /// What groups gave, by group and message.
    shared: BTreeMap<(usize, usize), Shared>,
}

impl Seeded for World {
    type Summary = Summary;
    const COMMAND: &'static str = "crash";

    fn of(seed: u64, trace: Trace) -> Self {
        let mut plan = Random::new(seed, 11);
        let shards = 1 + plan.below(3) as u8;
        let options = Options {
            shards,
            durability: Durability::Later,
            inputs_per_turn: plan.pick(&[1, 3, 20]).unwrap_or(1),
            hash_key: (plan.next(), plan.next()),
            limits: Limits {
                queued_memory_max: plan.pick(&[600, 4_000, 64 << 20]).unwrap_or(600),
                ..Limits::default()
            },
            ..Options::default()
        };
        let first_member = 3 + plan.below(4);
        let members = 2 + plan.below(3);
        let mut workload = Random::new(seed, 13);
        let client = |number| {
            let is_mqtt5 = workload.chance(60) || number == first_member;
            let client = Client::new(number, is_mqtt5);
            if number < first_member { client } else { client.with_groups(number) }
        };
        let clients = (0..first_member + members).map(client).collect();
        let share_qos = [(); shares::GROUPS.len()];
        let share_qos = share_qos.map(|()| plan.pick(&[None, Some(1), Some(2), Some(2)]).flatten());
        Self {
            machine: Machine::on_disk(options),
            schedule: Random::new(seed, 12),
            faults: Random::new(seed, 14),
            shards,
            at: 0,
            deaths: 0,
            full_until: None,
            full_last: 0,
            clients,
            workload,
            messages: Vec::new(),
            wills: Vec::new(),
            shadows: vec![Shadow::default(); 2],
            asking: Vec::new(),
            steps: Vec::new(),
            trace,
            taken: BTreeMap::new(),
            first_member,
            share_qos,
            shared: BTreeMap::new(),
        }
    }

    fn run(&mut self) -> Result<Summary, String> {
        self.start()?;
        self.connect(MONITOR);
        self.settle()?;
        for client in 1..self.clients.len() {
            self.connect(client);
        }
        let steps = 600 + self.schedule.below(900);
        for _ in 0..steps {
            self.step()?;
        }
        self.end()?;
        Ok(Summary {
            deaths: self.deaths,
            acknowledged: self.messages.iter().filter(|sent| sent.is_acked).count(),
            deliveries: self.clients.iter().map(|client| client.taken.len()).sum(),
            shared: self.shared.len(),
            wills: self.wills.iter().map(|will| will.published).sum(),
            shadows: self.shadows.iter().map(|shadow| shadow.version).sum(),
        })
    }

    fn into_trace(self) -> Trace {
        self.trace
    }
}

impl World {
    /// One thing happens.
    fn step(&mut self) -> Result<(), String> {
        self.at += 1;
        match self.schedule.below(1_000) {
            0..560 => self.step_machine(),
            560..760 => {
                let client = self.schedule.below(self.clients.len());
                let most = 1 + self.schedule.below(4);
                self.read(client, most)?;
            }
            760..970 => self.act(),
            970..980 => self.pass_time(),
            980..990 => self.ask(),
            _ => self.fault()?,
        }
        self.go_on()
    }

    /// What follows from any step: dead processes start again, answers are taken.
    fn go_on(&mut self) -> Result<(), String> {
        if self.full_until.is_some_and(|until| until <= self.at) {
            self.set_full(None);
        }
        if self.machine.is_dead() {
            self.note(|| "the process died: its disk failed".to_owned());
            self.die(true)?;
        }
        self.take_answers()?;
        match self.machine.take_faults().first() {
            Some(fault) => Err(fault.clone()),
            None => Ok(()),
        }
    }

    fn step_machine(&mut self) {
        let mut steps = std::mem::take(&mut self.steps);
        self.machine.steps(&mut steps);
        if let Some(step) = self.schedule.pick(&steps) {
            self.note(|| format!("{step:?}"));
            match step {
                Step::Bytes(link) => {
                    let all = self.machine.under_way(link);
                    let some = 1 + self.schedule.below(all);
                    self.machine.receive(link, if self.schedule.chance(60) { all } else { some });
                }
                step => self.machine.step(step),
            }
        }
        self.steps = steps;
    }

    fn pass_time(&mut self) {
        let millis = self.schedule.pick(&[10, 500, 3_000, 8_000]).unwrap_or(10);
        self.note(|| format!("{millis} ms pass"));
        self.machine.pass(millis);
    }

    /// Everything arrives, everybody reads and answers, until nothing happens any more.
    fn settle(&mut self) -> Result<(), String> {
        for _ in 0..2_000 {
            self.at += 1;
            self.machine.settle();
            let mut is_quiet = true;
            for client in 0..self.clients.len() {
                is_quiet &= !self.read(client, usize::MAX)?;
            }
            self.go_on()?;
            if is_quiet {
                return Ok(());
            }
        }
        Err("the world does not come to rest".to_owned())
    }

    /// A last death with everybody away, then everybody is back for what is theirs.
    fn end(&mut self) -> Result<(), String> {
        self.set_full(None);
        self.settle()?;
        for client in 1..self.clients.len() {
            if self.workload.chance(50) {
                self.hang_up(client);
            }
        }
        self.settle_some();
        self.die(self.deaths.is_multiple_of(2))?;
        self.connect(MONITOR);
        self.settle()?;
        for _ in 0..40 {
            self.machine.pass(1_000);
            self.settle()?;
        }
        check::wills_of_those_who_left(self)?;
        for client in 1..self.clients.len() {
            self.connect(client);
        }
        self.settle()?;
        check::all(self)
    }

    /// Some of what is under way happens.
    fn settle_some(&mut self) {
        for _ in 0..self.schedule.below(40) {
            self.step_machine();
        }
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        self.trace.note(self.at, what);
    }
}

/// Runs the world of a seed.
pub fn run(seed: u64) -> Result<Summary, Unsound> {
    seeds::run::<World>(seed)
}

/// Runs worlds as the command line asks and prints what is wrong; whether all were sound.
pub fn command(arguments: &[String], say: &mut dyn FnMut(&str)) -> Result<bool, String> {
    seeds::command::<World>(arguments, say)
}
