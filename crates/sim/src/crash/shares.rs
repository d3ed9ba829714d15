//! `$share` groups: what was acknowledged goes to one member, whatever dies meanwhile.
//!
//! No session of a member ends, so that none takes a message with it [MQTT-4.8.2-5],
//! [MQTT-4.8.2-6]; members leave groups only by UNSUBSCRIBE, and the first one stays in all.

use super::act::property;
use super::client::{Client, Until};
use super::{Sent, World};
use crate::packet::{Packet, Property, Version};
use crate::world::matches;

/// Topics that only groups match.
pub(super) const TOPICS: &[&str] = &["s/0", "s/1"];
/// A member with MQTT 5 subscribes with the place in here, plus one, as Subscription Identifier.
pub(super) const GROUPS: [&str; 3] = ["$share/a/s/#", "$share/a/s/0", "$share/b/s/+"];

/// A message that a group gave to a member.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shared {
    /// How often it was taken at QoS 2.
    at_qos2: usize,
    /// The last member that took it, and how often the process had died by then.
    taker: usize,
    deaths: usize,
}

/// The Topic Filter behind `$share/{ShareName}/`, or the filter where it is not shared.
pub(super) fn filter_alone(filter: &str) -> &str {
    let shared = filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/'));
    shared.map_or(filter, |(_, filter)| filter)
}

impl Client {
    /// A member. Without Subscription Identifiers it cannot tell groups apart, and is in one.
    pub(super) fn with_groups(mut self, number: usize) -> Self {
        self.groups = match self.version {
            Version::V5 => (0..GROUPS.len()).collect(),
            Version::V3 => vec![number % GROUPS.len()],
        };
        self
    }

    /// The group that gave the client a message.
    fn giver_of(&self, packet: &Packet) -> Option<usize> {
        if self.version == Version::V3 {
            return self.groups.first().copied();
        }
        let is_identifier = |held: &&Property| held.name() == "subscription_identifier";
        let mut identifiers = packet.properties.iter().filter(is_identifier);
        let only = identifiers.next().filter(|_| identifiers.next().is_none())?;
        (only.number()? as usize).checked_sub(1)
    }
}

impl World {
    pub(super) fn is_member(&self, client: usize) -> bool {
        self.clients.get(client).is_some_and(Client::is_member)
    }

    pub(super) fn join_some(&mut self, client: usize) {
        let Some(held) = self.clients.get(client) else { return };
        if let Some(group) = self.workload.pick(&held.groups) {
            self.join(client, group);
        }
    }

    pub(super) fn join_all(&mut self, client: usize) {
        (0..GROUPS.len()).for_each(|group| self.join(client, group));
    }

    fn join(&mut self, client: usize, group: usize) {
        let chosen = 1 + self.workload.below(2) as u8;
        let qos = self.share_qos.get(group).copied().flatten().unwrap_or(chosen);
        self.subscribe_to(client, GROUPS[group].to_owned(), qos);
    }

    /// What tells a member which group gave it a message.
    pub(super) fn identifier_of(&self, client: usize, filter: &str) -> Vec<Property> {
        let is_mqtt5 = self.clients.get(client).is_some_and(|held| held.version == Version::V5);
        let group = GROUPS.iter().position(|group| *group == filter).filter(|_| is_mqtt5);
        group.map_or_else(Vec::new, |at| property("subscription_identifier", at as u32 + 1))
    }

    /// [MQTT-4.3.3-10] A member took a message at QoS 2 that no other has. At QoS 1 it may be
    /// another's too if it was sent twice, or if the process died that gave it away.
    pub(super) fn take_shared(
        &mut self,
        client: usize,
        number: usize,
        packet: &Packet,
    ) -> Result<(), String> {
        let wrong = || format!("client {client} got {packet}");
        let sent = self.messages.get(number).ok_or_else(wrong)?;
        let held = self.clients.get(client).ok_or_else(wrong)?;
        let group = held.giver_of(packet).filter(|at| is_promised(held, *at, sent));
        let group = group.ok_or_else(wrong)?;
        let (deaths, is_new) = (self.deaths, !self.shared.contains_key(&(group, number)));
        let given = self.shared.entry((group, number));
        let given = given.or_insert(Shared { at_qos2: 0, taker: client, deaths });
        given.at_qos2 += usize::from(packet.qos == 2);
        let may_move = given.deaths < deaths || (sent.qos == 1 && sent.attempts > 1);
        if given.at_qos2 > 1 || (!is_new && given.taker != client && !may_move) {
            let name = GROUPS[group];
            return Err(format!(
                "{name} gave client {client} m{number} behind {given:?}: {sent:?}"
            ));
        }
        (given.taker, given.deaths) = (client, deaths);
        Ok(())
    }

    /// D1: a group with a member that was surely in it has what was acknowledged.
    pub(super) fn groups_have_everything(&self) -> Result<(), String> {
        for (group, name) in GROUPS.iter().enumerate() {
            for (at, sent) in self.messages.iter().enumerate().filter(|(_, sent)| sent.is_acked) {
                let has_member =
                    self.clients.iter().filter_map(|it| it.held.get(*name)).any(|it| {
                        it.until == Until::Open && it.from.is_some_and(|from| from < sent.sent_at)
                    });
                let is_due = has_member && matches(filter_alone(name), &sent.topic);
                if is_due && !self.shared.contains_key(&(group, at)) {
                    return Err(format!("no member of {name} took m{at}: {sent:?}"));
                }
            }
        }
        Ok(())
    }
}

/// Whether a client asked to be in a group that matches.
fn is_promised(client: &Client, group: usize, sent: &Sent) -> bool {
    let name = GROUPS.get(group).filter(|name| client.held.contains_key(**name));
    name.is_some_and(|name| matches(filter_alone(name), &sent.topic))
}
