//! The log tells everything: sessions, subscriptions and retained messages built from its records
//! are those that the shards have.

use std::collections::{BTreeMap, BTreeSet};

use bitts_broker::command::{Command, Reply};
use bitts_broker::record::Record;

use crate::world::World;

/// A session as the log has it.
#[derive(Debug, Default)]
struct Logged {
    expiry: u32,
    filters: BTreeMap<String, u8>,
    has_will: bool,
}

#[derive(Debug, Default)]
struct Replay {
    sessions: BTreeMap<String, Logged>,
    retained: BTreeMap<String, Vec<u8>>,
}

pub(super) fn log_tells_all(world: &mut World) -> Result<(), String> {
    let mut replay = Replay::default();
    for shard in 0..world.plan.options.shards {
        let Some(log) = world.machine.log(shard) else { continue };
        for record in log.batches.iter().flat_map(|batch| &batch.records) {
            replay.apply(record)?;
        }
    }
    let mut existing = BTreeSet::new();
    let ids: Vec<String> = world.clients.iter().map(|client| client.id.clone()).collect();
    for id in ids {
        let command = Command::GetConnection { client_id: id.clone() };
        let Reply::Connection(info) = world.ask(&id, command)? else { continue };
        let command =
            Command::ListSubscriptions { client_id: id.clone(), after: None, max: 10_000 };
        let Reply::Subscriptions { subscriptions, .. } = world.ask(&id, command)? else { continue };
        existing.insert(id.clone());
        if info.clean_session {
            continue;
        }
        let held: BTreeMap<String, u8> =
            subscriptions.iter().map(|one| (one.topic_filter.to_string(), one.qos)).collect();
        let Some(logged) = replay.sessions.get(&id) else {
            return Err(format!("the log does not know the session of {id}"));
        };
        if logged.filters != held || Some(logged.expiry) != info.session_expiry {
            return Err(format!("{id}: the log has {logged:?}, the shard {held:?}, {info:?}"));
        }
    }
    let other = replay.sessions.iter().find(|(id, logged)| {
        !existing.contains(*id) && (logged.expiry > 0 || !logged.filters.is_empty())
    });
    if let Some((id, logged)) = other {
        return Err(format!("the log has a session of {id} that is gone: {logged:?}"));
    }
    for topic in world.retained_topics() {
        let reply = world.ask(&topic, Command::GetRetainedMessage { topic: topic.clone() })?;
        let held = match reply {
            Reply::Retained(message) => Some(message.payload.to_vec()),
            _ => None,
        };
        let logged = replay.retained.get(&topic);
        let has_expired = held.is_none() && logged.is_some();
        if logged != held.as_ref() && !has_expired {
            return Err(format!("{topic}: the log has {logged:?}, the shard {held:?}"));
        }
    }
    Ok(())
}

impl Replay {
    fn apply(&mut self, record: &Record) -> Result<(), String> {
        match record {
            Record::SessionAttached { client_id, expiry, will, .. } => {
                let session = self.sessions.entry(client_id.to_string()).or_default();
                session.expiry = *expiry;
                session.has_will = will.is_some();
            }
            Record::SessionDetached { client_id, expiry, will_pending, .. } => {
                let session = self.sessions.get_mut(&**client_id);
                let session = session.ok_or_else(|| format!("{client_id} detached, unattached"))?;
                session.expiry = *expiry;
                if *will_pending && !session.has_will {
                    return Err(format!(
                        "{client_id}: a Will is pending that the log does not know"
                    ));
                }
                session.has_will = *will_pending;
            }
            Record::SessionEnded { client_id } => {
                self.sessions.remove(&**client_id);
            }
            Record::WillDone { client_id, .. } => {
                if let Some(session) = self.sessions.get_mut(&**client_id) {
                    session.has_will = false;
                }
            }
            Record::Subscribed { client_id, filter, options, .. } => {
                let session = self.sessions.get_mut(&**client_id);
                let session =
                    session.ok_or_else(|| format!("{client_id} subscribed, unattached"))?;
                session.filters.insert(filter.to_string(), options.qos as u8);
            }
            Record::Unsubscribed { client_id, filter } => {
                if let Some(session) = self.sessions.get_mut(&**client_id) {
                    session.filters.remove(&**filter);
                }
            }
            Record::Retained { message } if message.payload.is_empty() => {
                self.retained.remove(&*message.topic);
            }
            Record::Retained { message } => {
                self.retained.insert(message.topic.to_string(), message.payload.to_vec());
            }
            Record::ReceivedReleased { .. } | Record::Delivery { .. } | Record::Shadow { .. } => {}
        }
        Ok(())
    }
}
