//! Counters and gauges: they say what is there, and in the end nothing is.

use bitts_broker::command::{Command, Reply};

use crate::world::World;

/// The gauges agree with what the sessions say.
pub(super) fn gauges_are_true(world: &mut World) -> Result<(), String> {
    let mut connected = 0;
    let mut sessions = 0;
    let mut subscriptions = 0;
    let mut queued = 0;
    for shard in 0..world.plan.options.shards {
        let command = Command::ListConnections {
            prefix: String::new(),
            after: None,
            max: 10_000,
            connected: None,
        };
        let reply = world.machine.command(bitts_broker::ShardId(shard), command);
        world.come_to_rest()?;
        let Some(Reply::Connections { connections, .. }) = world.machine.reply(reply) else {
            return Err("ListConnections is not answered".to_owned());
        };
        for info in connections {
            sessions += 1;
            connected += u64::from(info.connected);
            subscriptions += info.subscriptions as u64;
            queued += info.queued as u64;
            if info.queued > world.plan.options.limits.queued_messages_max {
                return Err(format!("{} has {} queued", info.client_id, info.queued));
            }
        }
    }
    let stats = world.machine.stats();
    let told = (stats.connections, stats.sessions, stats.subscriptions, stats.queued);
    if told != (connected, sessions, subscriptions, queued) {
        return Err(format!(
            "the gauges say {told:?}, the sessions {:?}",
            (connected, sessions, subscriptions, queued)
        ));
    }
    let ended: u64 = stats.disconnects.values().sum();
    if stats.connects != ended + stats.connections {
        return Err(format!(
            "{} connects, {ended} disconnects, {} connections",
            stats.connects, stats.connections
        ));
    }
    Ok(())
}

/// Everybody left: no gauge is above zero, no shard wants a topic, every Will is accounted for.
pub(in crate::world) fn nothing_is_left(world: &mut World) -> Result<(), String> {
    let stats = world.machine.stats();
    let left = [
        ("connections", stats.connections),
        ("sessions", stats.sessions),
        ("subscriptions", stats.subscriptions),
        ("retained", stats.retained),
        ("retained_bytes", stats.retained_bytes),
        ("queued", stats.queued),
        ("queued_bytes", stats.queued_bytes),
        ("shadows", stats.shadows),
        ("shadow_bytes", stats.shadow_bytes),
    ];
    if let Some((name, value)) = left.iter().find(|(_, value)| *value > 0) {
        return Err(format!("everybody left, and {name} is {value}"));
    }
    let events = "$aws/events/presence/connected/x";
    let answer = "$aws/things/T0/shadow/update/accepted";
    let topics = ["t/0", "t/0/a", "g/0", "r/1", "rr/0", "w/1", events, answer];
    if let Some(topic) = topics.iter().find(|topic| world.machine.is_wanted(topic)) {
        return Err(format!("everybody left, and {topic} is wanted"));
    }
    Ok(())
}
