//! Shadows and messages to one client: every request is answered once, versions never go back or
//! skip, nothing shows what is not durable, and a message reaches its client alone.

use std::collections::BTreeMap;

use bitts_aws::shadow::{Shadow, ShadowId, ShadowOperation};

use bitts_broker::command::{Command, Reply};
use bitts_broker::record::Record;
use bitts_broker::recover::Recovered;
use bitts_broker::{Dropped, ShadowRequest};
use bytes::Bytes;

use crate::packet::Packet;
use crate::world::World;
use crate::world::history::{Door, Outcome};
use crate::world::services::THINGS;

/// Every request has its answers and no others: one for each time that it was sent.
pub(super) fn answered_once(world: &World) -> Result<(), String> {
    let mut heard: BTreeMap<usize, usize> = BTreeMap::new();
    let told = world.history.told.iter();
    for told in told.filter(|told| told.what.ends_with("ed")) {
        *heard.entry(told.number).or_default() += 1;
    }
    let stats = world.machine.stats();
    let mut missing = 0;
    for asked in &world.history.asked {
        let Some(sent) = world.history.messages.get(asked.number) else { continue };
        let times = heard.remove(&asked.number).unwrap_or_default();
        let (least, most) = match asked.door {
            Door::Published if sent.qos == 2 => (usize::from(sent.acked_at.is_some()), 1),
            Door::Published => (usize::from(sent.acked_at.is_some()), sent.attempts),
            Door::Accepted(_) if asked.operation == ShadowOperation::Update => (1, 1),
            Door::Accepted(_) | Door::Refused => (0, 0),
            Door::Http => return Err(format!("m{} is not answered", asked.number)),
        };
        if times > most {
            return Err(format!("m{} is answered {times} times: {asked:?}", asked.number));
        }
        missing += least.saturating_sub(times);
    }
    if let Some(number) = heard.keys().next() {
        return Err(format!("m{number} is answered, and nobody asked"));
    }
    let dropped = stats.dropped(Dropped::QueueFull) + stats.dropped(Dropped::QueuesFull);
    if missing as u64 > dropped {
        return Err(format!("{missing} requests are not answered, {dropped} messages dropped"));
    }
    Ok(())
}

/// Updates take the versions 1, 2, 3 and so on, a deletion the one behind the version it names.
pub(super) fn versions_rise(world: &World) -> Result<(), String> {
    for thing in THINGS {
        let of_thing = world.history.told.iter().filter(|told| told.thing == thing);
        let mut updates: Vec<u64> = Vec::new();
        let mut deletes: Vec<u64> = Vec::new();
        for told in of_thing {
            let Some(version) = told.version else { continue };
            match told.what.as_str() {
                "update/accepted" => updates.push(version),
                "delete/accepted" => deletes.push(version + 1),
                _ => {}
            }
        }
        // 48 hours after a deletion versions begin again, and somebody may have set the clock.
        let begins_again = world.plan.deletes_shadows && world.clocks > 0;
        if begins_again && world.plan.has_short_queues {
            // The monitor may have missed the first one.
            continue;
        }
        for pair in updates.windows(2) {
            if pair[1] <= pair[0] && !(begins_again && pair[1] == 1) {
                return Err(format!("{thing}: version {} comes after {}", pair[1], pair[0]));
            }
        }
        if begins_again || world.plan.has_short_queues {
            continue;
        }
        let over_http = world.history.asked.iter().filter(|asked| asked.thing == thing);
        deletes.extend(over_http.filter_map(|asked| match (asked.operation, asked.door) {
            (ShadowOperation::Delete, Door::Accepted(version)) => Some(version + 1),
            _ => None,
        }));
        updates.extend(deletes);
        updates.sort_unstable();
        let expected: Vec<u64> = (1..=updates.len() as u64).collect();
        if updates != expected {
            return Err(format!("{thing}: a version is missing or there twice: {updates:?}"));
        }
    }
    Ok(())
}

/// What the log has of each shadow is what the shards have.
pub(super) fn log_tells_shadows(world: &mut World, recovered: &Recovered) -> Result<(), String> {
    for thing in THINGS {
        let logged = recovered.shadows.iter().find(|(of, ..)| **of == *thing);
        let logged = logged.and_then(|(.., state)| Shadow::decode(state).ok()?.version());
        let request = request(thing, ShadowOperation::Get)?;
        let held = match world.ask(thing, Command::Shadow(request))? {
            Reply::Shadow(body) => {
                let body: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
                body.get("version").and_then(serde_json::Value::as_u64)
            }
            _ => None,
        };
        if logged != held {
            return Err(format!("{thing}: the log has version {logged:?}, the shard {held:?}"));
        }
    }
    Ok(())
}

/// A message to one client reaches that client, once, and is never sent again.
pub(in crate::world) fn directs(world: &World) -> Result<(), String> {
    for direct in &world.history.directs {
        let number = direct.number;
        let mut times = 0;
        for session in &world.history.sessions {
            let taken = session.deliveries.iter().filter(|delivery| delivery.number == number);
            for delivery in taken {
                if session.client != direct.client || delivery.dup || delivery.retain {
                    return Err(format!("client {} took {delivery:?}", session.client));
                }
                times += 1;
            }
        }
        let is_right = match direct.outcome {
            Outcome::Unanswered => false,
            Outcome::Sent if direct.is_confirmed => times == 1,
            Outcome::Sent | Outcome::Unknown => times <= 1,
            Outcome::NotSent => times == 0,
        };
        if !is_right {
            return Err(format!("m{number} was taken {times} times: {direct:?}"));
        }
    }
    Ok(())
}

impl World {
    /// The monitor is sent an answer of a shadow: is what it shows durable?
    pub(super) fn check_shadow_answer(&self, packet: &Packet) -> Result<(), String> {
        let Some(rest) = packet.topic.strip_prefix("$aws/things/") else { return Ok(()) };
        let thing = rest.split('/').next().unwrap_or_default();
        let body: serde_json::Value = serde_json::from_slice(&packet.payload).unwrap_or_default();
        let shown = body.get("current").unwrap_or(&body).get("version");
        let Some(version) = shown.and_then(serde_json::Value::as_u64) else { return Ok(()) };
        let is_it = |record: &Record| match record {
            Record::Shadow { thing: of, state, .. } => {
                // A deleted one was durable before it was deleted.
                let held = Shadow::decode(state).ok().map(|shadow| shadow.version());
                **of == *thing && held.is_some_and(|held| held.is_none_or(|it| it >= version))
            }
            _ => false,
        };
        if self.durable_records().any(is_it) {
            return Ok(());
        }
        Err(format!("{packet}: version {version} is not durable"))
    }

    /// Deletes every shadow, and lets the server forget them.
    pub(in crate::world) fn forget_shadows(&mut self) -> Result<(), String> {
        for thing in THINGS {
            let command = Command::Shadow(request(thing, ShadowOperation::Delete)?);
            self.ask(thing, command)?;
        }
        Ok(())
    }
}

fn request(thing: &str, operation: ShadowOperation) -> Result<ShadowRequest, String> {
    let id = ShadowId::new(thing, None).map_err(|invalid| invalid.to_string())?;
    Ok(ShadowRequest { id, operation, payload: Bytes::new() })
}
