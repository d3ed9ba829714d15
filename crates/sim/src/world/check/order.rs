//! [MQTT-4.6.0-6] Messages of one publisher, topic and QoS are taken in the order in which they
//! were sent.

use std::collections::{BTreeMap, BTreeSet};

use super::delivery::is_held_from_the_start;
use crate::world::World;

pub(super) fn in_order(world: &World) -> Result<(), String> {
    for session in &world.history.sessions {
        let mut last: BTreeMap<(crate::world::history::Publisher, &str, u8, u8), usize> =
            BTreeMap::new();
        let mut seen = BTreeSet::new();
        for delivery in session.deliveries.iter().filter(|delivery| !delivery.retain) {
            let Some(sent) = world.history.messages.get(delivery.number) else { continue };
            if sent.topic.starts_with("g/") || !seen.insert(delivery.number) {
                continue;
            }
            // A message that is sent again comes in its place only to who held a subscription
            // before. The first copy may be lost: at QoS 0, behind a full queue, or by its expiry.
            let may_be_lost = delivery.qos == 0 || world.plan.has_short_queues || sent.expires;
            let is_sure = !may_be_lost && is_held_from_the_start(session, sent);
            if sent.attempts > 1 && !is_sure {
                continue;
            }
            let key = (sent.publisher, sent.topic.as_str(), sent.qos, delivery.qos);
            if let Some(last) = last.insert(key, delivery.number)
                && last > delivery.number
            {
                return Err(format!(
                    "client {} took m{last} before m{}: {sent:?}",
                    session.client, delivery.number
                ));
            }
        }
    }
    Ok(())
}
