//! What clients and applications ask of shadows, and messages to one client.
//!
//! A request is a message like any other; its number is its client token, so that the monitor,
//! which subscribes to all answers, can tell which request each of them is about.

use bitts_aws::shadow::{ShadowId, ShadowOperation};
use bitts_broker::command::{Command, Reply};
use bitts_broker::{DirectMessage, NewMessage, NotDelivered, ShadowRequest};
use bitts_mqtt::QoS;
use serde_json::Value;

use super::World;
use super::history::{Direct, Door, History, Outcome, Publisher, Sent, ShadowAsked, ShadowTold};

/// Things that have shadows.
pub(super) const THINGS: [&str; 3] = ["T0", "T1", "T2"];
/// What the monitor subscribes to: every answer, and no request.
pub(super) const ANSWERS: &str = "$aws/things/+/shadow/+/+";
/// Seconds that a confirmation of a message to one client is waited for.
const CONFIRMATION_SECONDS: u8 = 5;

/// A request that is not made yet.
#[derive(Debug)]
pub(super) struct Wanted {
    thing: &'static str,
    operation: ShadowOperation,
    version: Option<u64>,
}

impl Wanted {
    pub(super) fn topic(&self) -> String {
        let last = match self.operation {
            ShadowOperation::Get => "get",
            ShadowOperation::Update => "update",
            ShadowOperation::Delete => "delete",
        };
        format!("$aws/things/{}/shadow/{last}", self.thing)
    }

    /// The request as the message of a number.
    pub(super) fn payload(&self, number: usize) -> Vec<u8> {
        let version = self.version.map(|version| format!(",\"version\":{version}"));
        let state = format!(",\"state\":{{\"reported\":{{\"n\":{number}}}}}");
        let state = if self.operation == ShadowOperation::Update { &state } else { "" };
        let version = version.unwrap_or_default();
        format!("{{\"clientToken\":\"m{number}.\"{state}{version}}}").into_bytes()
    }

    /// What the history keeps of it.
    pub(super) fn asked(&self, number: usize, door: Door) -> ShadowAsked {
        ShadowAsked { thing: self.thing, operation: self.operation, number, door }
    }
}

impl World {
    pub(super) fn choose_request(&mut self) -> Wanted {
        let operation = match self.workload.below(10) {
            0..6 => ShadowOperation::Update,
            6..8 => ShadowOperation::Get,
            // In other worlds every version is an update's.
            8 if self.plan.deletes_shadows => ShadowOperation::Delete,
            _ => ShadowOperation::Update,
        };
        let thing = self.workload.pick(&THINGS).unwrap_or("T0");
        let is_conditional = operation == ShadowOperation::Update && self.workload.chance(10);
        let version = is_conditional.then(|| self.workload.below(8) as u64);
        Wanted { thing, operation, version }
    }

    /// An application asks a shadow, by one of its two doors.
    pub(super) fn call_shadow(&mut self) {
        let wanted = self.choose_request();
        let topic = wanted.topic();
        let number = self.history.sent(api_message(topic.clone(), self.at));
        self.note(|| format!("api asks m{number} of {topic}"));
        let payload = wanted.payload(number).into();
        if self.workload.chance(30) {
            let message = NewMessage {
                topic: topic.clone(),
                payload,
                qos: QoS::One,
                retain: false,
                properties: Vec::new(),
                message_expiry_interval: None,
            };
            let owner = self.machine.placement().owner_of(&topic);
            let reply = self.machine.command(owner, Command::Publish(message));
            self.publishing.push((reply, number));
            self.history.asked.push(wanted.asked(number, Door::Published));
            return;
        }
        let Ok(id) = ShadowId::new(wanted.thing, None) else { return };
        let owner = self.machine.placement().owner_of(wanted.thing);
        let request = ShadowRequest { id, operation: wanted.operation, payload };
        let reply = self.machine.command(owner, Command::Shadow(request));
        self.asking.push((reply, self.history.asked.len()));
        self.history.asked.push(wanted.asked(number, Door::Http));
    }

    /// An application sends a message to one client.
    pub(super) fn call_direct(&mut self, client: usize) {
        let number = self.history.messages.len();
        let topic = format!("d/{number}");
        self.history.sent(api_message(topic.clone(), self.at));
        let confirmation = self.workload.chance(70).then_some(CONFIRMATION_SECONDS);
        self.note(|| format!("api sends m{number} to client {client}, {confirmation:?}"));
        let Some(held) = self.clients.get(client) else { return };
        let client_id = held.id.clone();
        let owner = self.machine.placement().owner_of(&client_id);
        let message = DirectMessage {
            client_id,
            topic,
            payload: History::payload(number, 0).into(),
            properties: Vec::new(),
            confirmation,
        };
        let reply = self.machine.command(owner, Command::SendDirectMessage(message));
        self.sending.push((reply, self.history.directs.len()));
        let is_confirmed = confirmation.is_some();
        self.history.directs.push(Direct {
            client,
            number,
            is_confirmed,
            outcome: Outcome::Unanswered,
        });
    }

    /// Takes the answers that came; `Err` where one is not what was asked for.
    pub(super) fn take_answers(&mut self) -> Result<(), String> {
        for (reply, at) in std::mem::take(&mut self.asking) {
            let Some(answer) = self.machine.reply(reply) else {
                self.asking.push((reply, at));
                continue;
            };
            let door = match answer {
                Reply::Shadow(body) => Door::Accepted(version_of(&body)?),
                Reply::ShadowRejected(_) => Door::Refused,
                other => return Err(format!("a shadow answers {other:?}")),
            };
            if let Some(asked) = self.history.asked.get_mut(at) {
                asked.door = door;
            }
        }
        for (reply, at) in std::mem::take(&mut self.sending) {
            let Some(answer) = self.machine.reply(reply) else {
                self.sending.push((reply, at));
                continue;
            };
            let outcome = match answer {
                Reply::Done => Outcome::Sent,
                Reply::NotFound | Reply::Throttled => Outcome::NotSent,
                Reply::NotDelivered(NotDelivered::Offline) => Outcome::NotSent,
                Reply::NotDelivered(NotDelivered::NotConfirmed | NotDelivered::ConnectionEnded) => {
                    Outcome::Unknown
                }
                other => return Err(format!("a direct message is answered {other:?}")),
            };
            if let Some(direct) = self.history.directs.get_mut(at) {
                direct.outcome = outcome;
            }
        }
        Ok(())
    }

    /// The monitor heard an answer of a shadow.
    pub(super) fn take_shadow_answer(&mut self, topic: &str, payload: &[u8]) -> Result<(), String> {
        let broken = || format!("{topic}: {}", String::from_utf8_lossy(payload));
        let body: Value = serde_json::from_slice(payload).map_err(|_| broken())?;
        let mut levels = topic.split('/').skip(2);
        let thing = levels.next().and_then(|name| THINGS.into_iter().find(|it| *it == name));
        let thing = thing.ok_or_else(broken)?;
        let what = topic.split("/shadow/").nth(1).ok_or_else(broken)?.to_owned();
        let token = body.get("clientToken").and_then(Value::as_str);
        let number = token.and_then(|token| History::number(token.as_bytes()));
        let current = body.get("current").unwrap_or(&body);
        let version = current.get("version").and_then(Value::as_u64);
        let is_rejected = what.ends_with("rejected");
        let number = number.filter(|_| version.is_some() != is_rejected).ok_or_else(broken)?;
        self.history.told.push(ShadowTold { thing, what, number, version });
        Ok(())
    }
}

/// A message of the data plane.
fn api_message(topic: String, at: usize) -> Sent {
    Sent {
        topic,
        qos: 1,
        retain: false,
        is_empty: false,
        publisher: Publisher::Api,
        attempts: 1,
        sent_at: at,
        acked_at: None,
        expires: false,
    }
}

/// The version in a shadow's answer.
fn version_of(body: &[u8]) -> Result<u64, String> {
    let read: Option<Value> = serde_json::from_slice(body).ok();
    let version = read.as_ref().and_then(|body| body.get("version")?.as_u64());
    version.ok_or_else(|| format!("a shadow answers {}", String::from_utf8_lossy(body)))
}
