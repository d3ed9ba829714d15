//! The end of a world: everything under way arrives, everybody reads and answers, and in the very
//! end nothing may be left.

use bitts_broker::NewMessage;
use bitts_broker::command::{Command, Further, Reply};
use bitts_mqtt::QoS;

use super::client::{Asked, Stage};
use super::{MONITOR, World};
use crate::packet::{Kind, Packet, Version};

/// When nothing is remembered of a deleted shadow.
const SHADOWS_FORGOTTEN_MS: u64 = 49 * 3_600_000;

impl World {
    /// Lets everything arrive and everybody answer, until nothing happens any more.
    pub(super) fn come_to_rest(&mut self) -> Result<(), String> {
        let was_resting = std::mem::replace(&mut self.is_resting, true);
        for round in 0..10_000 {
            self.at += 1;
            self.machine.settle();
            self.observe()?;
            let mut is_quiet = true;
            for client in 0..self.clients.len() {
                let unread = self.clients.get(client).map_or(0, |held| held.unread.len());
                is_quiet &= unread == 0;
                self.read_some(client)?;
            }
            self.observe()?;
            if is_quiet {
                self.is_resting = was_resting;
                return Ok(());
            }
            if round == 9_999 {
                return Err("the world does not come to rest".to_owned());
            }
        }
        Ok(())
    }

    /// The workload is over: time passes for Wills, and whoever is away comes back for what it is
    /// owed.
    pub(super) fn rest(&mut self) -> Result<(), String> {
        self.is_resting = true;
        self.note(|| "the world comes to rest".to_owned());
        self.come_to_rest()?;
        if self.clock.chance(50) {
            self.advance(25_000)?;
        }
        for client in 0..self.clients.len() {
            if !self.is_connected(client) {
                let expiry = match self.clients.get(client).map(|held| held.version) {
                    Some(Version::V5) => 1_000,
                    _ => u32::MAX,
                };
                let clean_start = self.clients.get(client).is_some_and(|held| held.is_in_doubt);
                let expiry = if clean_start { 0 } else { expiry };
                self.connect(client, Asked { clean_start, expiry, will: None });
            }
        }
        self.come_to_rest()
    }

    /// Time passes, deadline by deadline.
    fn advance(&mut self, millis: u64) -> Result<(), String> {
        self.note(|| format!("{millis} ms pass"));
        let end = self.machine.now().moment.plus_millis(millis);
        while self.machine.now().moment < end {
            let now = self.machine.now().moment;
            let due = self.machine.deadline().map_or(end, |due| due.min(end)).max(now);
            self.machine.pass(due.millis_since(now));
            self.come_to_rest()?;
        }
        Ok(())
    }

    /// Asks a shard and waits.
    pub(super) fn ask(&mut self, name: &str, command: Command) -> Result<Reply, String> {
        let owner = self.machine.placement().owner_of(name);
        let reply = self.machine.command(owner, command);
        self.come_to_rest()?;
        self.machine.reply(reply).ok_or_else(|| "a command is not answered".to_owned())
    }

    /// Everybody leaves and everything is removed: nothing may be left.
    pub(super) fn end(&mut self) -> Result<(), String> {
        self.note(|| "everybody leaves".to_owned());
        for client in 1..self.clients.len() {
            self.send(client, &Packet::new(Kind::Disconnect));
            if let Some(at) = self.clients.get(client).and_then(|held| held.connection)
                && let Some(connection) = self.history.connections.get_mut(at)
            {
                connection.disconnect = Some(0);
            }
        }
        self.come_to_rest()?;
        super::check::wills(self)?;
        super::check::directs(self)?;
        for client in 1..self.clients.len() {
            let client_id =
                self.clients.get(client).map(|held| held.id.clone()).unwrap_or_default();
            let (clean_session, prevent_will_message) = (true, true);
            let command = Command::DeleteConnection {
                client_id: client_id.clone(),
                clean_session,
                prevent_will_message,
                further: Further::default(),
            };
            self.ask(&client_id, command)?;
        }
        for topic in self.retained_topics() {
            let message = NewMessage {
                topic: topic.clone(),
                payload: bytes::Bytes::new(),
                qos: QoS::Zero,
                retain: true,
                properties: Vec::new(),
                message_expiry_interval: None,
            };
            self.ask(&topic, Command::Publish(message))?;
        }
        self.forget_shadows()?;
        self.send(MONITOR, &Packet::new(Kind::Disconnect));
        self.come_to_rest()?;
        self.advance(SHADOWS_FORGOTTEN_MS)?;
        if self.clients.iter().any(|held| held.stage != Stage::Away) {
            return Err("a client that sent DISCONNECT is connected".to_owned());
        }
        super::check::nothing_is_left(self)
    }

    /// Every topic that may hold a retained message.
    pub(super) fn retained_topics(&self) -> Vec<String> {
        let mut topics: Vec<String> = self
            .history
            .messages
            .iter()
            .filter(|sent| sent.retain)
            .map(|sent| sent.topic.clone())
            .collect();
        topics.sort();
        topics.dedup();
        topics
    }
}
