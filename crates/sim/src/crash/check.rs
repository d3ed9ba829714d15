//! What must hold in the end: nothing that was promised is lost, doubled or reordered.

use std::collections::BTreeMap;

use bitts_broker::command::{Command, Reply};

use super::client::Until;
use super::{MONITOR, World, shares};
use crate::machine::Request;
use crate::world::matches;

pub(super) fn all(world: &mut World) -> Result<(), String> {
    everything_is_acknowledged(world)?;
    nothing_is_lost(world)?;
    world.groups_have_everything()?;
    nothing_comes_behind_unsuback(world)?;
    in_order(world)?;
    retained_is_the_last(world)?;
    shadows_are_the_last(world)
}

/// Whoever is connected has its answers: nobody waits for ever.
fn everything_is_acknowledged(world: &World) -> Result<(), String> {
    for (number, client) in world.clients.iter().enumerate() {
        if !client.is_connected {
            return Err(format!("client {number} is not connected in the end"));
        }
        if let Some(waiting) = client.outgoing.first() {
            return Err(format!("client {number} waits for {waiting:?}"));
        }
    }
    Ok(())
}

/// D1: a session that surely held a matching subscription when a message was published has it.
fn nothing_is_lost(world: &World) -> Result<(), String> {
    for (number, client) in world.clients.iter().enumerate() {
        for (at, sent) in world.messages.iter().enumerate().filter(|(_, sent)| sent.is_acked) {
            let is_held = client.held.iter().any(|(filter, held)| {
                held.until == Until::Open
                    && held.from.is_some_and(|from| from < sent.sent_at)
                    && matches(filter, &sent.topic)
            });
            if is_held && !client.taken.iter().any(|taken| taken.number == at) {
                return Err(format!("client {number} never took m{at}: {sent:?}"));
            }
        }
    }
    Ok(())
}

/// What was sent after an UNSUBACK meets no subscription.
fn nothing_comes_behind_unsuback(world: &World) -> Result<(), String> {
    for (number, client) in world.clients.iter().enumerate() {
        for taken in &client.taken {
            let Some(sent) = world.messages.get(taken.number) else { continue };
            let mut matching = client
                .held
                .iter()
                .filter(|(filter, _)| matches(shares::filter_alone(filter), &sent.topic))
                .peekable();
            let is_over = matching.peek().is_some()
                && matching.all(
                    |(_, held)| matches!(held.until, Until::Over(until) if until < sent.sent_at),
                );
            if is_over {
                return Err(format!("client {number} took m{} behind UNSUBACK", taken.number));
            }
        }
    }
    Ok(())
}

/// D7: the first deliveries of a publisher, topic and QoS are in the order of publication. What a
/// full disk refused, and whose publisher did not hear so, comes when it is sent again.
fn in_order(world: &World) -> Result<(), String> {
    for (number, client) in world.clients.iter().enumerate() {
        let mut last: BTreeMap<(usize, &str, u8, u8), usize> = BTreeMap::new();
        let mut seen = std::collections::BTreeSet::new();
        for taken in &client.taken {
            let Some(sent) = world.messages.get(taken.number) else { continue };
            if !seen.insert(taken.number) || sent.publisher == usize::MAX {
                continue;
            }
            let may_be_refused = sent.attempts > 1 && sent.sent_at < world.full_last;
            let is_sure = !may_be_refused
                && client.held.iter().any(|(filter, held)| {
                    held.from.is_some_and(|from| from < sent.sent_at)
                        && held.until == Until::Open
                        && matches(filter, &sent.topic)
                });
            let key = (sent.publisher, sent.topic.as_str(), sent.qos, taken.qos);
            if is_sure
                && let Some(last) = last.insert(key, taken.number)
                && last > taken.number
            {
                let at = taken.number;
                return Err(format!("client {number} took m{last} before m{at}: {sent:?}"));
            }
        }
    }
    Ok(())
}

/// D9: a topic's retained message is the last one that was acknowledged.
fn retained_is_the_last(world: &mut World) -> Result<(), String> {
    for client in 1..world.clients.len() {
        let topic = format!("r/{client}");
        let of_topic = world.messages.iter().enumerate().filter(|(_, sent)| sent.topic == topic);
        let of_topic: Vec<_> = of_topic.map(|(at, sent)| (at, sent.is_acked)).collect();
        let last = of_topic.iter().filter(|(_, is_acked)| *is_acked).map(|(at, _)| *at).max();
        let Some(last) = last else { continue };
        let owner = world.machine.placement().owner_of(&topic);
        let command = Command::GetRetainedMessage { topic: topic.clone() };
        let reply = world.machine.command(owner, command);
        world.settle()?;
        let held = match world.machine.reply(reply) {
            Some(Reply::Retained(message)) => message.payload.to_vec(),
            other => return Err(format!("{topic} has {other:?}, not m{last}")),
        };
        let text = String::from_utf8_lossy(&held).into_owned();
        // What was not acknowledged may have come after it.
        let is_allowed = of_topic
            .iter()
            .filter(|(at, is_acked)| *at == last || (*at > last && !is_acked))
            .any(|(at, _)| text.starts_with(&format!("m{at}.")));
        if !is_allowed {
            return Err(format!("{topic} holds {text}, not m{last}"));
        }
    }
    Ok(())
}

/// D9: a shadow is its last accepted version.
fn shadows_are_the_last(world: &mut World) -> Result<(), String> {
    for thing in 0..world.shadows.len() {
        let Some(shadow) = world.shadows.get(thing).cloned() else { continue };
        let Some(value) = shadow.value else { continue };
        let path = format!("/things/thing-{thing}/shadow");
        let request = Request { method: "GET".to_owned(), path, ..Request::default() };
        let answer = world.machine.call(&request);
        world.settle()?;
        let answered = world.machine.answer(&answer);
        let (status, body) = answered.ok_or("a shadow is not answered")?;
        let version = body.get("version").and_then(serde_json::Value::as_u64).unwrap_or_default();
        let held = body.pointer("/state/reported/n").and_then(serde_json::Value::as_u64);
        let is_last = held == Some(value) && version == shadow.version;
        let is_later =
            held.is_some_and(|held| shadow.open.contains(&held)) && version > shadow.version;
        if status != 200 || !(is_last || is_later) {
            return Err(format!("shadow {thing} is {body}, and was {shadow:?}"));
        }
    }
    Ok(())
}

/// D8: whoever left without DISCONNECT and is away for longer than its Will waits has one
/// published, once.
pub(super) fn wills_of_those_who_left(world: &World) -> Result<(), String> {
    for (number, client) in world.clients.iter().enumerate().filter(|(at, _)| *at != MONITOR) {
        let Some((at, will)) = client.will.and_then(|at| Some((at, world.wills.get(at)?))) else {
            continue;
        };
        if client.link.is_none() && will.is_set && !will.is_discarded && will.published != 1 {
            return Err(format!("Will w{at} of client {number} was never published: {will:?}"));
        }
    }
    Ok(())
}
