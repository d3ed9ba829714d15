//! A Will is published exactly once or never, by the rules [MQTT-3.1.2-8] [MQTT-3.1.3-9].

use crate::world::World;
use crate::world::act::prevents;
use crate::world::history::{ConnectionFacts, Event};

/// What must become of a Will.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    Published,
    Never,
    /// Two things happened at the same moment, or it still waits.
    Either,
}

pub(super) fn at_most_once(world: &World) -> Result<(), String> {
    match world.history.wills.iter().find(|(_, times)| **times > 1) {
        Some((number, times)) => Err(format!("Will m{number} was published {times} times")),
        None => Ok(()),
    }
}

pub(in crate::world) fn wills(world: &mut World) -> Result<(), String> {
    at_most_once(world)?;
    if world.plan.has_short_queues {
        // The monitor may have missed events.
        return Ok(());
    }
    for connection in &world.history.connections {
        let Some((number, delay)) = connection.will else { continue };
        let is_published = world.history.wills.contains_key(&number);
        let fate = fate(world, connection, delay);
        let is_right = match fate {
            Fate::Published => is_published,
            Fate::Never => !is_published,
            Fate::Either => true,
        };
        if !is_right {
            return Err(format!(
                "Will m{number} of {connection:?} must be {fate:?}, published: {is_published}"
            ));
        }
    }
    Ok(())
}

fn fate(world: &World, connection: &ConnectionFacts, delay: u32) -> Fate {
    let entropy = world.machine.entropy(connection.link);
    let events: Vec<&Event> =
        world.history.events.iter().filter(|event| event.client == connection.client).collect();
    let end = events.iter().position(|event| event.entropy == entropy && event.reason.is_some());
    let Some((end, event)) = end.and_then(|at| Some((at, *events.get(at)?))) else {
        return Fate::Never;
    };
    let prevents = prevents(connection.client);
    match event.reason.as_deref() {
        Some("CLIENT_INITIATED_DISCONNECT") if connection.disconnect == Some(0) => {
            return Fate::Never;
        }
        Some("API_INITIATED_DISCONNECT") if prevents => return Fate::Never,
        _ => {}
    }
    let wait_ms = u64::from(delay.min(connection.expiry)) * 1000;
    if wait_ms == 0 {
        return Fate::Published;
    }
    if prevents && world.history.deleted.iter().any(|(client, _)| *client == connection.client) {
        return Fate::Either;
    }
    let now = world.machine.now().moment.0;
    match events.iter().skip(end + 1).find(|event| event.reason.is_none()) {
        None if now > event.moment_ms + wait_ms => Fate::Published,
        None => Fate::Either,
        Some(next) if next.moment_ms > event.moment_ms + wait_ms => Fate::Either,
        Some(next) if next.moment_ms == event.moment_ms + wait_ms => Fate::Either,
        Some(next) => {
            // It came back in time: unless its session was gone, the Will is not sent.
            let back = world.history.connections.iter().find(|other| {
                other.client == connection.client
                    && world.machine.entropy(other.link) == next.entropy
            });
            match back {
                Some(back) if back.session_present => Fate::Never,
                Some(_) => Fate::Published,
                None => Fate::Either,
            }
        }
    }
}
