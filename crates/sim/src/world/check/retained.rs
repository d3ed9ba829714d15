//! A topic's retained message is the last one that its publisher sent.

use bitts_broker::command::{Command, Reply};

use crate::world::World;
use crate::world::history::{History, Publisher, Sent};

pub(super) fn last_one_wins(world: &mut World) -> Result<(), String> {
    for topic in world.retained_topics() {
        let command = Command::GetRetainedMessage { topic: topic.clone() };
        let held = match world.ask(&topic, command)? {
            Reply::Retained(message) => Some(message),
            _ => None,
        };
        let number = held.as_ref().and_then(|message| History::number(&message.payload));
        wills_are_kept(world, &topic, number)?;
        // Of several publishers any one may be last, but with its last message.
        let mut last: Vec<(Publisher, usize)> = Vec::new();
        for (number, sent) in world.history.messages.iter().enumerate() {
            // What was not acknowledged may have been lost on the way, or not.
            if sent.topic == topic && sent.retain {
                last.retain(|(publisher, earlier)| {
                    let is_sure = sent.acked_at.is_some();
                    *publisher != sent.publisher || (!is_sure && *earlier != number)
                });
                last.push((sent.publisher, number));
            }
        }
        let is_allowed = last.iter().any(|(_, last)| {
            let sent = world.history.messages.get(*last);
            let may_be_none = sent.is_some_and(|sent| sent.is_empty || sent.expires);
            number == Some(*last) || (held.is_none() && may_be_none)
        });
        // QoS 1 that is sent again is kept again, also behind a QoS 2 that was taken the first
        // time.
        let is_again = number.and_then(|number| world.history.messages.get(number));
        let is_allowed = is_allowed
            || is_again.is_some_and(|sent| sent.attempts > 1)
            || (held.is_none() && world.history.is_removed_again(&topic));
        let is_sure = last.iter().any(|(_, number)| {
            world.history.messages.get(*number).is_some_and(|sent| sent.acked_at.is_some())
        });
        if !is_allowed && (is_sure || held.is_some()) {
            return Err(format!("{topic} holds {number:?}, not one of {last:?}"));
        }
    }
    Ok(())
}

/// A Will with RETAIN is its topic's message once it is published, and not before.
fn wills_are_kept(world: &World, topic: &str, held: Option<usize>) -> Result<(), String> {
    let is_will = |sent: &Sent| sent.topic == topic && matches!(sent.publisher, Publisher::Will(_));
    let Some(number) = world.history.messages.iter().position(is_will) else { return Ok(()) };
    let is_published = world.history.wills.contains_key(&number);
    // With short queues the monitor may have missed it.
    if is_published == held.is_some() || (held.is_some() && world.plan.has_short_queues) {
        return Ok(());
    }
    Err(format!("{topic} holds {held:?}, its Will was published: {is_published}"))
}
