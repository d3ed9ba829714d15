//! How often a message reaches a session: QoS 2 once, QoS 1 at least once, a group once.

use std::collections::BTreeMap;

use bitts_broker::Dropped;

use crate::world::World;
use crate::world::history::{Publisher, Sent, SessionFacts, matches};

/// [MQTT-4.3.3-1..13] No session takes a message twice that was published at QoS 2 or sent once.
pub(super) fn exactly_once(world: &World) -> Result<(), String> {
    for session in &world.history.sessions {
        let mut taken: BTreeMap<usize, usize> = BTreeMap::new();
        for delivery in session.deliveries.iter().filter(|delivery| !delivery.retain) {
            if !delivery.dup || delivery.qos == 2 {
                *taken.entry(delivery.number).or_default() += 1;
            }
        }
        for (number, times) in taken {
            let Some(sent) = world.history.messages.get(number) else { continue };
            let is_shared = sent.topic.starts_with("g/");
            let most = if sent.qos == 2 { 1 } else { sent.attempts };
            if !is_shared && times > most {
                return Err(format!(
                    "client {} took m{number} {times} times: {sent:?}",
                    session.client
                ));
            }
        }
    }
    Ok(())
}

/// Nothing acknowledged is lost: a session that held a matching subscription all the time takes
/// every message of QoS 1 and 2, unless a drop was counted.
pub(super) fn at_least_once(world: &World) -> Result<(), String> {
    let stats = world.machine.stats();
    let dropped: u64 =
        [Dropped::QueueFull, Dropped::QueuesFull].map(|why| stats.dropped(why)).iter().sum();
    let mut missing = Vec::new();
    for client in &world.clients {
        let Some(session) = client.session.and_then(|at| world.history.sessions.get(at)) else {
            continue;
        };
        for (number, sent) in world.history.messages.iter().enumerate() {
            let is_promised = sent.qos > 0
                && sent.acked_at.is_some()
                && !sent.expires
                && !sent.is_empty
                && is_held_throughout(session, sent);
            let is_taken = session.deliveries.iter().any(|delivery| delivery.number == number);
            if is_promised && !is_taken {
                missing.push(format!("{} never took m{number}: {sent:?}", client.id));
            }
        }
    }
    if missing.len() as u64 > dropped {
        return Err(format!("{} missing, {dropped} dropped: {:?}", missing.len(), missing.first()));
    }
    Ok(())
}

/// Whether a subscription that matches was there before the message was sent for the first time.
pub(super) fn is_held_from_the_start(session: &SessionFacts, sent: &Sent) -> bool {
    session.held.iter().any(|held| {
        held.qos > 0
            && held.from < sent.sent_at
            && held.until.is_none_or(|until| until > sent.sent_at)
            && !(held.no_local && sent.publisher == Publisher::Client(session.client))
            && matches(&held.filter, &sent.topic)
    })
}

/// Whether a subscription that matches was there before the message was sent and still is: what is
/// on its way to another shard may meet an UNSUBSCRIBE there.
fn is_held_throughout(session: &SessionFacts, sent: &Sent) -> bool {
    session.held.iter().any(|held| {
        held.qos > 0
            && !held.filter.starts_with("$share/")
            && held.from < sent.sent_at
            && held.until.is_none()
            && !(held.no_local && sent.publisher == Publisher::Client(session.client))
            && matches(&held.filter, &sent.topic)
    })
}

/// [MQTT5 4.8.2] All sessions together take a message as often as there are groups.
pub(super) fn shared_once(world: &World) -> Result<(), String> {
    const GROUPS: [&str; 3] = ["g/#", "g/+", "g/0"];
    let mut taken: BTreeMap<usize, usize> = BTreeMap::new();
    for session in &world.history.sessions {
        // What is sent at QoS 1 may go to another member when a session ends before its PUBACK.
        for delivery in session.deliveries.iter().filter(|delivery| delivery.qos != 1) {
            *taken.entry(delivery.number).or_default() += 1;
        }
    }
    for (number, times) in taken {
        let Some(sent) = world.history.messages.get(number) else { continue };
        if !sent.topic.starts_with("g/") || sent.qos == 1 {
            continue;
        }
        let groups = GROUPS.iter().filter(|filter| matches(filter, &sent.topic)).count();
        if times > groups {
            return Err(format!("groups took m{number} {times} times: {sent:?}"));
        }
    }
    Ok(())
}
