//! The way of an accepted message: retained store, log, sessions here, groups here, other shards.
//!
//! [`Shard::publish`] is where a message enters, whoever published it; [`Shard::on_message`] is
//! where it arrives on the other shards that want it.

use std::sync::Arc;

use bitts_mqtt::QoS;

use crate::message::{Message, NewMessage};
use crate::outbox::{Outbox, Parcel};
use crate::record::{Entry, LogId, Lsn, Record};
use crate::route::{Matches, Merged, Subscriber};
use crate::session::{Delivery, Identifiers, Transit};
use crate::shard::Shard;
use crate::slot::{NameKey, ShardId, ShardSet};
use crate::time::Now;

/// What became of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Published {
    /// Somebody may want it.
    pub(crate) matched: bool,
    /// The position at which everything that was promised is durable.
    pub(crate) gate: Option<Lsn>,
}

/// Whether a topic is under `$SYS`, where the server publishes what it counts.
pub(crate) fn is_of_server(topic: &str) -> bool {
    topic.starts_with("$SYS/")
}

impl Shard {
    /// Sends a message everywhere it belongs. Hot: once per PUBLISH.
    pub(crate) fn publish(
        &mut self,
        now: Now,
        transit: &mut Transit<'_>,
        out: &mut Outbox,
    ) -> Published {
        let mail = out.mail();
        let mut matches = std::mem::take(&mut self.matches);
        self.router.find(transit.topic, &mut matches);
        let matched = !matches.subscribers.is_empty()
            || !matches.groups.is_empty()
            || !matches.others.is_empty();
        let owner = self.placement.owner_of(transit.topic);
        let keeper = (transit.retain && owner != self.id).then_some(owner);
        let is_promised = matches.persistent || keeper.is_some();
        let is_logged = (transit.qos > QoS::Zero && is_promised) || transit.received.is_some();
        let mut gate = None;
        if is_logged {
            self.log(transit, matches.others, keeper, out);
            gate = Some(self.lsn);
        }
        if let Some(keeper) = keeper {
            out.push_mail(keeper, Parcel::Retain(transit.park()));
        } else if transit.retain {
            gate = self.retain(transit.park()).or(gate);
        }
        if !matches.others.is_empty() || keeper.is_some() {
            out.push_message(matches.others, transit.park());
        }
        self.deliver_matches(now, transit, &mut matches, out);
        self.matches = matches;
        if transit.gate > self.gates.durable {
            out.hold_mail(mail, transit.gate);
        }
        Published { matched, gate }
    }

    /// Makes the message an entry of the log, from which it can be given to others again.
    fn log(
        &mut self,
        transit: &mut Transit<'_>,
        others: ShardSet,
        keeper: Option<ShardId>,
        out: &mut Outbox,
    ) {
        transit.log = Some(LogId { shard: self.id, number: self.next_entry });
        self.next_entry += 1;
        let slot = self.placement.slot_of(transit.topic);
        let (lsn, received) = (self.lsn, transit.received.clone());
        out.entries.push(Entry { slot, lsn, message: transit.park(), received, others, keeper });
    }

    /// Logs a message that is not routed, for its QoS 2 identifier; `others` are to take it as
    /// mail. Says at which position it is durable; none where a crash ends the exchange anyway.
    pub(crate) fn log_received(
        &mut self,
        transit: &mut Transit<'_>,
        others: ShardSet,
        out: &mut Outbox,
    ) -> Option<Lsn> {
        transit.received.as_ref()?;
        self.log(transit, others, None, out);
        Some(self.lsn)
    }

    /// A message from another shard, which saw to everything but our sessions and groups.
    pub(crate) fn on_message(&mut self, now: Now, message: &Arc<Message>, out: &mut Outbox) {
        self.take(message.log, false, out);
        if self.take_request(now, message, out) {
            return;
        }
        let mut transit = Transit::parked(message);
        let mut matches = std::mem::take(&mut self.matches);
        self.router.find(&message.topic, &mut matches);
        self.deliver_matches(now, &mut transit, &mut matches, out);
        self.matches = matches;
    }

    pub(crate) fn deliver_matches(
        &mut self,
        now: Now,
        transit: &mut Transit<'_>,
        matches: &mut Matches,
        out: &mut Outbox,
    ) {
        if matches.filters > 1 {
            matches.subscribers.sort_by_key(|held| held.session);
            for held in matches.subscribers.chunk_by(|a, b| a.session == b.session) {
                self.deliver_merged(now, transit, held, out);
            }
        } else {
            for held in &matches.subscribers {
                self.deliver_merged(now, transit, std::slice::from_ref(held), out);
            }
        }
        for group in &matches.groups {
            self.deliver_to_group(now, *group, transit, out);
        }
    }

    /// One copy for a session, whatever number of its subscriptions match: the highest QoS, every
    /// Subscription Identifier [MQTT-3.3.4-2..5], and none to a publisher that wants none of its
    /// own [MQTT-3.8.3-3].
    fn deliver_merged(
        &mut self,
        now: Now,
        transit: &mut Transit<'_>,
        held: &[Subscriber],
        out: &mut Outbox,
    ) {
        let Some(first) = held.first() else { return };
        if transit.retain && self.meets_scan(now, first.session, transit, held.len() == 1) {
            return;
        }
        if let [only] = held
            && !only.options.no_local
            && only.identifier == 0
        {
            let delivery = Delivery::new(transit, Merged::of(only.options), &[]);
            self.deliver(now, only.session, transit, delivery, out);
            return;
        }
        let own = self.sessions.get(first.session as usize).map_or(NameKey(0), |s| s.key);
        let mut identifiers = Identifiers::new();
        let mut merged: Option<Merged> = None;
        for hold in held {
            if hold.options.no_local && own == transit.publisher {
                continue;
            }
            if hold.identifier != 0 {
                identifiers.push(hold.identifier);
            }
            let this = Merged::of(hold.options);
            merged = Some(merged.map_or(this, |merged| merged.with(hold.options)));
        }
        let Some(merged) = merged else { return };
        let delivery = Delivery::new(transit, merged, &identifiers);
        self.deliver(now, first.session, transit, delivery, out);
    }

    /// Keeps the message as its topic's retained one; this shard owns the topic. What the server
    /// says of itself it says again after a restart.
    pub(crate) fn retain(&mut self, message: Arc<Message>) -> Option<Lsn> {
        let lsn = (!is_of_server(&message.topic)).then(|| {
            let slot = self.placement.slot_of(&message.topic);
            self.record(slot, Record::Retained { message: Arc::clone(&message) })
        });
        let change = self.retained.keep(message);
        self.interest.count_retained(change);
        lsn
    }

    /// Whether a retained message is beyond the limit, as far as this shard knows: replacing one
    /// never is, and of topics of other shards their owners decide.
    pub(crate) fn is_retained_full(&self, topic: &str) -> bool {
        self.interest.is_retained_full(&self.limits)
            && self.placement.owner_of(topic) == self.id
            && !self.retained.contains(topic)
    }

    /// Whether a message would have to be kept although the disk is full.
    pub(crate) fn has_no_disk(&mut self, topic: &str, retain: bool) -> bool {
        if !self.is_disk_full {
            return false;
        }
        let mut matches = std::mem::take(&mut self.matches);
        self.router.find(topic, &mut matches);
        let is_kept = retain || matches.persistent;
        self.matches = matches;
        is_kept
    }

    /// Publishes a message that no client sent.
    pub(crate) fn publish_new(
        &mut self,
        now: Now,
        new: &NewMessage,
        out: &mut Outbox,
    ) -> Published {
        self.publish_new_from(now, new, Lsn::default(), out)
    }

    /// The same, for nobody before everything up to `gate` is durable.
    pub(crate) fn publish_new_from(
        &mut self,
        now: Now,
        new: &NewMessage,
        gate: Lsn,
        out: &mut Outbox,
    ) -> Published {
        self.stats.injected += 1;
        let mut transit = Transit {
            topic: &new.topic,
            payload: &new.payload,
            properties: &new.properties,
            qos: new.qos,
            retain: new.retain,
            publisher: NameKey(0),
            expires_at: self
                .profile
                .message_expiry(new.message_expiry_interval)
                .map(|seconds| now.moment.plus_seconds(u64::from(seconds))),
            accepted_unix_ms: now.unix_ms,
            received: None,
            gate,
            log: None,
            handed: 0,
            parked: None,
            topic_key: None,
            payload_at: None,
            templates: Default::default(),
        };
        self.publish(now, &mut transit, out)
    }
}
