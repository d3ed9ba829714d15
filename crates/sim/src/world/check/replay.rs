//! The log tells everything: sessions with what they are owed, and retained messages, recovered
//! from its bytes are those that the shards have; also from a checkpoint alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use bitts_broker::command::{Command, Reply};
use bitts_broker::record::SavedSession;
use bitts_broker::recover::Recovered;
use bitts_broker::{Cause, Message, Violation};

use crate::world::World;

pub(super) fn log_tells_all(world: &mut World) -> Result<(), String> {
    let recovered = log_tells_sessions(world)?;
    if let Some(untaken) = recovered.untaken.first() {
        return Err(format!("at rest, nobody is said to have taken {untaken:?}"));
    }
    super::services::log_tells_shadows(world, &recovered)?;
    let retained = recovered.retained.into_iter();
    let retained: BTreeMap<String, Vec<u8>> =
        retained.map(|message| (message.topic.to_string(), message.payload.to_vec())).collect();
    for topic in world.retained_topics() {
        let reply = world.ask(&topic, Command::GetRetainedMessage { topic: topic.clone() })?;
        let held = match reply {
            Reply::Retained(message) => Some(message.payload.to_vec()),
            _ => None,
        };
        let logged = retained.get(&topic);
        let has_expired = held.is_none() && logged.is_some();
        if logged != held.as_ref() && !has_expired {
            return Err(format!("{topic}: the log has {logged:?}, the shard {held:?}"));
        }
    }
    Ok(())
}

/// At any moment, the log has the sessions, and so has a checkpoint alone.
pub(super) fn log_tells_sessions(world: &mut World) -> Result<Recovered, String> {
    world.machine.perform();
    let missing = world.machine.missing_pages();
    if !missing.is_empty() {
        return Err(format!("queues are in pages that the store does not have: {missing:?}"));
    }
    let whole = world.machine.recover(0)?;
    compare(&whole, &world.machine.sessions())?;
    let from = world.machine.checkpoint();
    let alone = world.machine.recover(from)?;
    compare(&alone, &world.machine.sessions())
        .map_err(|why| format!("after a checkpoint, {why}"))?;
    Ok(whole)
}

fn compare(recovered: &Recovered, held: &[SavedSession]) -> Result<(), String> {
    if recovered.unknown > 0 {
        return Err(format!("{} records are about what is not known", recovered.unknown));
    }
    let logged = recovered.sessions.iter().filter(|session| session.expiry > 0);
    let logged: Vec<_> = logged.map(|session| timeless(SavedSession::clone(session))).collect();
    for (logged, held) in logged.iter().zip(held) {
        let held = timeless(held.clone());
        if *logged != held {
            return Err(format!("the log has {logged:?}, the shard {held:?}"));
        }
    }
    if logged.len() != held.len() {
        return Err(format!("the log has {} sessions, the shards {}", logged.len(), held.len()));
    }
    Ok(())
}

/// Without points of time, which a clock that was set moves.
fn timeless(mut session: SavedSession) -> SavedSession {
    let without =
        |message: &Arc<Message>| Arc::new(Message { expires_at: None, ..Message::clone(message) });
    for owed in &mut session.owed {
        owed.message = owed.message.as_ref().map(without);
    }
    // Which rule it was that a client broke is not kept.
    if let Some((_, cause @ Cause::ClientError(_))) = &mut session.detached {
        *cause = Cause::ClientError(Violation::Earlier);
    }
    session
}
