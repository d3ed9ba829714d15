//! Lifecycle events of a client: connected and disconnected in turn, a pair with one name and
//! version, and versions that rise.

use crate::world::World;
use crate::world::history::Event;

pub(super) fn tell_the_story(world: &World) -> Result<(), String> {
    if world.plan.has_short_queues {
        // The monitor may have missed events.
        return Ok(());
    }
    for client in 0..world.clients.len() {
        let mut last: Option<&Event> = None;
        for event in world.history.events.iter().filter(|event| event.client == client) {
            let is_next = match (last, &event.reason) {
                (None, _) => true,
                (Some(last), None) => last.reason.is_some() && event.version != last.version,
                (Some(last), Some(_)) => {
                    last.reason.is_none()
                        && event.version == last.version
                        && event.entropy == last.entropy
                }
            };
            if !is_next {
                return Err(format!("events of client {client}: {event:?} behind {last:?}"));
            }
            last = Some(event);
        }
    }
    Ok(())
}
