//! Random worlds: many shards, many clients, everything interleaved by a seed, and checkers.
//!
//! A `World` is a [`Machine`] and clients that keep the rules of MQTT. Each step lets one thing
//! happen: some bytes arrive, a shard takes mail, a store finishes, a client acts, the clock jumps.
//! In the end everything comes to rest, and the checkers of `check` compare what clients saw with
//! what they were promised. The same seed always makes the same world.

mod act;
mod check;
mod client;
mod history;
mod plan;
#[cfg(test)]
mod planted;
pub(crate) mod random;
mod read;
mod rest;
mod services;
mod tap;

use std::ops::AddAssign;

use crate::machine::{Durability, Link, Machine, START_UNIX_MS, Step};
use crate::packet::{Packet, Version, encode};
use crate::seeds::{self, Seeded, Trace, Unsound};

use client::{Client, Stage};
use history::History;
pub(crate) use history::matches;
use plan::Plan;
use random::Random;
use tap::Tap;

/// The client that watches: it subscribes to Wills and events before anybody else is there.
const MONITOR: usize = 0;
/// Steps between two looks at what must hold at any moment.
const CHECKED_EVERY: usize = 997;
/// How far apart the wall clocks are that somebody sets: about 116 days. More than any world lasts,
/// so that a timestamp tells the moment.
const WALL_CLOCK_STEP_MS: u64 = 10_000_000_000;
/// Packets that a client leaves unread before its connection takes no more.
const UNREAD_MAX: usize = 16;

/// What happened in a sound world.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    /// Connections that were accepted.
    pub connections: usize,
    /// Messages published.
    pub messages: usize,
    /// Messages that clients took.
    pub deliveries: usize,
    /// Wills published.
    pub wills: usize,
    /// Requests to shadows.
    pub shadow_requests: usize,
    /// Messages to one client.
    pub direct_messages: usize,
    /// Pages of queues that came back from the store.
    pub pages: usize,
}

impl AddAssign for Summary {
    fn add_assign(&mut self, other: Self) {
        self.connections += other.connections;
        self.messages += other.messages;
        self.deliveries += other.deliveries;
        self.wills += other.wills;
        self.shadow_requests += other.shadow_requests;
        self.direct_messages += other.direct_messages;
        self.pages += other.pages;
    }
}

struct World {
    plan: Plan,
    machine: Machine,
    schedule: Random,
    network: Random,
    workload: Random,
    clock: Random,
    clients: Vec<Client>,
    tap: Tap,
    history: History,
    /// Publishes over HTTP whose answer has not come: reply and message.
    publishing: Vec<(u64, usize)>,
    /// Requests to shadows over HTTP, and messages to one client, whose answer has not come: reply
    /// and place in the history.
    asking: Vec<(u64, usize)>,
    sending: Vec<(u64, usize)>,
    /// Everything comes to rest: clients read and answer all.
    is_resting: bool,
    /// How often somebody set the wall clock.
    clocks: u64,
    at: usize,
    steps: Vec<Step>,
    trace: Trace,
}

impl Seeded for World {
    type Summary = Summary;
    const COMMAND: &'static str = "world";

    fn of(seed: u64, trace: Trace) -> Self {
        let plan = Plan::of(seed);
        let mut workload = Random::new(seed, 4);
        let mut clients = vec![Client::new("monitor".to_owned(), Version::V5)];
        for number in 1..=plan.clients {
            let version = if workload.chance(50) { Version::V5 } else { Version::V3 };
            clients.push(Client::new(format!("client-{number}"), version));
        }
        Self {
            machine: Machine::new(plan.options.clone()),
            plan,
            schedule: Random::new(seed, 2),
            network: Random::new(seed, 3),
            workload,
            clock: Random::new(seed, 5),
            clients,
            tap: Tap::default(),
            history: History::default(),
            publishing: Vec::new(),
            asking: Vec::new(),
            sending: Vec::new(),
            is_resting: false,
            clocks: 0,
            at: 0,
            steps: Vec::new(),
            trace,
        }
    }

    fn run(&mut self) -> Result<Summary, String> {
        self.trace.note(self.at, || format!("{:?}", self.plan));
        self.begin()?;
        for step in 0..self.plan.steps {
            self.step()?;
            if step % CHECKED_EVERY == CHECKED_EVERY - 1 {
                check::always(self)?;
            }
        }
        self.rest()?;
        check::all(self)?;
        self.end()?;
        Ok(Summary {
            connections: self.history.connections.len(),
            messages: self.history.messages.len(),
            deliveries: self.history.sessions.iter().map(|held| held.deliveries.len()).sum(),
            wills: self.history.wills.len(),
            shadow_requests: self.history.asked.len(),
            direct_messages: self.history.directs.len(),
            pages: self.machine.stats().pages_read as usize,
        })
    }

    fn into_trace(self) -> Trace {
        self.trace
    }
}

impl World {
    /// The monitor subscribes before anything else happens.
    fn begin(&mut self) -> Result<(), String> {
        self.connect(MONITOR, client::Asked { clean_start: true, ..client::Asked::default() });
        self.come_to_rest()?;
        let filters = [("w/#", 2), ("$aws/events/presence/#", 1), (services::ANSWERS, 1)];
        self.subscribe(MONITOR, filters.map(|(filter, qos)| (filter.to_owned(), qos)).into());
        self.come_to_rest()
    }

    /// One thing happens.
    fn step(&mut self) -> Result<(), String> {
        self.at += 1;
        match self.schedule.below(100) {
            0..60 => self.step_machine(),
            60..80 => {
                let client = self.schedule.below(self.clients.len());
                if client == MONITOR || !self.workload.chance(self.plan.laziness) {
                    self.read_some(client)?;
                }
            }
            80..96 => self.act(),
            96..99 => self.call(),
            _ => self.pass_time(),
        }
        self.observe()
    }

    fn step_machine(&mut self) {
        let mut steps = std::mem::take(&mut self.steps);
        self.machine.steps(&mut steps);
        if self.plan.options.durability == Durability::Later && self.network.chance(70) {
            // Stores are slow.
            steps.retain(|step| !matches!(step, Step::Durable(_)));
        }
        if let Some(step) = self.schedule.pick(&steps) {
            self.note(|| format!("{step:?}"));
            match step {
                Step::Bytes(link) => {
                    let all = self.machine.under_way(link);
                    let some = 1 + self.network.below(all);
                    let max = if self.network.chance(60) { all } else { some };
                    self.machine.receive(link, max);
                }
                step => self.machine.step(step),
            }
        }
        self.steps = steps;
    }

    fn pass_time(&mut self) {
        let millis = match self.clock.below(10) {
            0 => 60_000,
            1..4 => 10_000,
            _ => 1 + self.clock.below(1_000) as u64,
        };
        self.note(|| format!("{millis} ms pass"));
        self.machine.pass(millis);
        if self.clock.chance(10) {
            self.set_wall_clock();
        }
    }

    /// Somebody sets the wall clock, back or forth; events show it, nothing depends on it.
    fn set_wall_clock(&mut self) {
        self.clocks += 1;
        let away = self.clocks * WALL_CLOCK_STEP_MS;
        let honest = START_UNIX_MS + self.machine.now().moment.0;
        let is_back = self.clocks.is_multiple_of(2) && away < START_UNIX_MS;
        let unix_ms = if is_back { honest - away } else { honest + away };
        self.note(|| format!("the wall clock is set to {unix_ms}"));
        self.machine.set_wall_clock(unix_ms);
    }

    /// The moment of a timestamp, whatever the wall clock said.
    fn moment_of(unix_ms: u64) -> u64 {
        let away = unix_ms as i64 - START_UNIX_MS as i64;
        away.rem_euclid(WALL_CLOCK_STEP_MS as i64).cast_unsigned()
    }

    /// Takes what the server wrote, and tells it which connections are full.
    fn observe(&mut self) -> Result<(), String> {
        for (client, link, packet) in self.tap.take(&mut self.machine)? {
            self.note(|| format!("    -> client {client} {link:?}: {packet}"));
            self.check_written(client, link, &packet)?;
            if let Some(held) = self.clients.get_mut(client)
                && held.link == Some(link)
            {
                held.unread.push_back(packet);
            }
        }
        if let Some(fault) = self.machine.take_faults().first() {
            return Err(fault.clone());
        }
        for client in 0..self.clients.len() {
            self.tell_congestion(client);
        }
        self.take_replies();
        self.take_answers()
    }

    fn tell_congestion(&mut self, client: usize) {
        let Some(held) = self.clients.get_mut(client) else { return };
        let Some(link) = held.link else { return };
        let is_full = held.unread.len() > UNREAD_MAX && client != MONITOR;
        let is_relieved = held.unread.len() <= UNREAD_MAX / 4;
        if (is_full && !held.is_congested) || (is_relieved && held.is_congested) {
            held.is_congested = is_full;
            self.note(|| format!("client {client} congested: {is_full}"));
            self.machine.set_congested(link, is_full);
        }
    }

    /// A client sends a packet.
    fn send(&mut self, client: usize, packet: &Packet) {
        let Some(held) = self.clients.get(client) else { return };
        let (Some(link), version) = (held.link, held.version) else { return };
        if held.is_half_closed {
            return;
        }
        self.note(|| format!("client {client} {link:?} > {packet}"));
        let mut bytes = Vec::new();
        encode(packet, version, &mut bytes);
        self.machine.write(link, &bytes);
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        self.trace.note(self.at, what);
    }

    /// The client that has this connection, unless it took another.
    fn is_connected(&self, client: usize) -> bool {
        self.clients.get(client).is_some_and(|held| held.stage == Stage::Connected)
    }

    fn link(&self, client: usize) -> Option<Link> {
        self.clients.get(client)?.link
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
