//! `$share` groups: members here tell the group's owner, the owner chooses who gets a message.
//!
//! The owner is the shard of the group's whole name. A member that cannot take a message gives it
//! back and the owner asks another; when all were asked, the next must take it into its queue.

use std::collections::VecDeque;
use std::sync::Arc;

use bitts_mqtt::{PacketId, QoS};

use super::outbound::{Delivery, Identifiers, Transit};
use crate::message::Message;
use crate::outbox::{Member, Outbox, Parcel, SessionRef};
use crate::reason::Dropped;
use crate::record::Record;
use crate::route::Holder;
use crate::route::share::{ASKED_ALL, ASKED_MAX, Parked};
use crate::shard::Shard;
use crate::slot::ShardId;
use crate::time::Now;
use crate::timers::Reminder;

impl Shard {
    /// Gives a parcel to a shard; what is for this one is done at once.
    pub(crate) fn tell(&mut self, now: Now, shard: ShardId, parcel: Parcel, out: &mut Outbox) {
        if shard == self.id {
            self.on_parcel(now, shard, parcel, out);
        } else {
            out.parcels.push((shard, parcel));
        }
    }

    pub(crate) fn on_parcel(&mut self, now: Now, from: ShardId, parcel: Parcel, out: &mut Outbox) {
        match parcel {
            Parcel::Retain(message) => {
                self.take(message.log, true, out);
                if !message.payload.is_empty() && self.is_retained_full(&message.topic) {
                    self.stats.drop_one(Dropped::RetainedFull);
                } else {
                    self.retain(message);
                }
            }
            Parcel::RetainedWanted { session, scan, filter, after } => {
                self.on_retained_wanted(now, session, scan, &filter, after.as_deref(), out);
            }
            Parcel::RetainedFound { session, scan, messages, next } => {
                self.on_retained_found(now, from, session, scan, (messages, next), out);
            }
            Parcel::NextScan { session } => self.on_next_scan(session, out),
            Parcel::Join { group, member, packet_id } => {
                let session = member.session;
                let accepted = self.on_join(now, &group, member, out);
                if let Some(packet_id) = packet_id {
                    let joined = Parcel::Joined { session, group, packet_id, accepted };
                    out.parcels.push((from, joined));
                }
            }
            Parcel::Joined { session, group, packet_id, accepted } => {
                self.on_joined(session, &group, packet_id, accepted, out);
            }
            Parcel::Shadow { request, asker } => {
                self.on_shadow_request(now, &request, Some(asker), out);
            }
            Parcel::Answered { asker } => self.on_answered(asker, out),
            Parcel::AnswersDue => self.on_answers_due(now, out),
            Parcel::Leave { group, session } => self.on_leave(&group, session),
            Parcel::Deliver { group, session, message, tried, handed } => {
                let mut transit = Transit::parked(&message);
                if !self.deliver_to_member(now, &group, session, &mut transit, tried, out) {
                    let message = Arc::clone(&message);
                    let parcel = Parcel::Undelivered { group, session, message, tried, handed };
                    out.parcels.push((from, parcel));
                } else if handed > 0 {
                    out.parcels.push((from, Parcel::Delivered { group, handed }));
                }
            }
            Parcel::Delivered { group, handed } => self.on_delivered(&group, handed),
            Parcel::Undelivered { group, message, tried, session, handed } => {
                if let Some(position) = self.groups.position(&group) {
                    // Who cannot take what it must take is not there; it says so when it is again.
                    let is_gone = tried == ASKED_ALL;
                    let held = self.groups.at(position).filter(|_| is_gone);
                    if let Some(group) = held {
                        group.is_away(session);
                    }
                    let tried = if is_gone { 0 } else { tried };
                    let kept =
                        self.groups.at(position).and_then(|group| group.handed.remove(&handed));
                    let handed = kept.map_or(0, |_| handed);
                    let mut transit = Transit { handed, ..Transit::parked(&message) };
                    self.choose_member(now, position, &mut transit, tried, out);
                } else {
                    self.stats.drop_one(Dropped::NoGroupMember);
                }
            }
        }
    }

    /// Joins a group, or tells it what changed; `None` where the owner is still to answer, else
    /// whether it took the member.
    pub(crate) fn join_group(
        &mut self,
        now: Now,
        index: u32,
        group: &Arc<str>,
        packet_id: Option<PacketId>,
        out: &mut Outbox,
    ) -> Option<bool> {
        let me = self.session_ref(index);
        let session = self.session(index);
        let Ok(at) = session.find_subscription(group) else { return Some(false) };
        let Some(held) = session.subscriptions.get(at) else { return Some(false) };
        let member = Member {
            session: me,
            options: held.options,
            identifier: held.identifier,
            persistent: session.is_persistent(),
            connected: session.connection.is_some(),
        };
        let owner = self.placement.owner_of(group);
        if owner == self.id {
            return Some(self.on_join(now, group, member, out));
        }
        let is_awaited = packet_id.is_some();
        let group = Arc::clone(group);
        out.parcels.push((owner, Parcel::Join { group, member, packet_id }));
        (!is_awaited).then_some(true)
    }

    /// Tells the session's groups that it came, went or changed how long it lives.
    pub(crate) fn update_memberships(&mut self, now: Now, index: u32, out: &mut Outbox) {
        let shared = self.session(index).subscriptions.iter();
        let shared = shared.filter(|held| held.filter.starts_with("$share/"));
        let groups: Vec<Arc<str>> = shared.map(|held| Arc::clone(&held.filter)).collect();
        for group in groups {
            self.join_group(now, index, &group, None, out);
        }
    }

    fn on_join(&mut self, now: Now, name: &Arc<str>, member: Member, out: &mut Outbox) -> bool {
        let Some(shared) = bitts_mqtt::shared_filter(name) else { return false };
        let (position, is_new) = self.groups.make(name, shared.filter);
        let members_max = self.limits.group_members_max;
        let session = member.session;
        let is_connected = member.connected;
        let Some(group) = self.groups.at(position) else { return false };
        let accepted = group.members.len() < members_max
            || group.members.iter().any(|held| held.session == session);
        if accepted {
            group.put(member);
        }
        let filter = Arc::clone(&group.filter);
        if is_new {
            self.router.hold(&filter, Holder::Group(position), true, true);
        }
        if is_connected {
            self.deliver_parked(now, position, out);
        }
        accepted
    }

    fn on_leave(&mut self, name: &str, session: SessionRef) {
        let Some(position) = self.groups.position(name) else { return };
        let Some(group) = self.groups.at(position) else { return };
        group.remove(session);
        if !group.is_persistent() {
            let group_name = Arc::clone(&group.name);
            let parked = group.take_parked();
            self.parked_bytes -= parked.iter().map(|held| held.message.bytes()).sum::<usize>();
            self.stats.drop_many(Dropped::NoGroupMember, parked.len() as u64);
            for held in &parked {
                self.record_unparked(&group_name, held.number);
            }
        }
        if self.groups.at(position).is_some_and(|group| group.members.is_empty())
            && let Some(group) = self.groups.remove(position)
        {
            self.router.release(&group.filter, Holder::Group(position), true);
            for number in group.handed.keys() {
                self.record_unparked(&group.name, *number);
            }
        }
    }

    /// A member of another shard has what it was given, and that is in the journal.
    fn on_delivered(&mut self, name: &Arc<str>, handed: u64) {
        let Some(position) = self.groups.position(name) else { return };
        let held = self.groups.at(position).and_then(|group| group.handed.remove(&handed));
        if held.is_some() {
            self.record_unparked(name, handed);
        }
    }

    /// The group keeps a message, so that it is not lost before a member has it; says under which
    /// number.
    fn record_parked(&mut self, group: &Arc<str>, transit: &mut Transit<'_>) -> u64 {
        if transit.handed == 0 {
            transit.handed = self.next_entry;
            self.next_entry += 1;
            let (slot, message) = (self.placement.slot_of(group), transit.park());
            let (group, number) = (Arc::clone(group), transit.handed);
            self.record(slot, Record::Parked { group, number, message });
        }
        transit.handed
    }

    fn record_unparked(&mut self, group: &Arc<str>, number: u64) {
        if number > 0 {
            let slot = self.placement.slot_of(group);
            self.record(slot, Record::Unparked { group: Arc::clone(group), number });
        }
    }

    /// What a group kept for a process before this one; its members are there already.
    pub fn restore_parked(
        &mut self,
        group: &Arc<str>,
        parked: Vec<(u64, Arc<Message>)>,
        out: &mut Outbox,
    ) {
        let position = self.groups.position(group);
        for (number, message) in parked {
            match position.and_then(|position| self.groups.at(position)) {
                Some(group) => {
                    self.parked_bytes += message.bytes();
                    group.parked_bytes += message.bytes();
                    group.parked.push_back(Parked { number, message });
                }
                None => self.record_unparked(group, number),
            }
        }
        self.seal(out);
    }

    /// Gives what waited to members that are back, no faster than they may get it.
    pub(crate) fn deliver_parked(&mut self, now: Now, position: u32, out: &mut Outbox) {
        let per_second = self.rates.shared_messages_per_subscriber;
        let Some(group) = self.groups.at(position) else { return };
        let connected = u32::try_from(group.connected()).unwrap_or(u32::MAX);
        let rate = per_second.saturating_mul(connected);
        if connected == 0 {
            return;
        }
        let mut parked = VecDeque::new();
        while !group.parked.is_empty() && group.drained.take(now.moment, rate, 1) {
            parked.extend(group.take_one_parked());
        }
        if !group.parked.is_empty() {
            let at = group.drained.next(rate).max(now.moment.plus_millis(1));
            self.timers.remind(at, Reminder::Group(position));
        }
        let name = Arc::clone(&group.name);
        self.parked_bytes -= parked.iter().map(|held| held.message.bytes()).sum::<usize>();
        for Parked { number, message } in parked {
            if message.is_expired(now.moment) {
                self.stats.drop_one(Dropped::Expired);
                self.record_unparked(&name, number);
            } else {
                let mut transit = Transit { handed: number, ..Transit::parked(&message) };
                self.choose_member(now, position, &mut transit, 0, out);
            }
        }
    }

    /// A message for one member of a group of this shard.
    pub(crate) fn deliver_to_group(
        &mut self,
        now: Now,
        position: u32,
        transit: &mut Transit<'_>,
        out: &mut Outbox,
    ) {
        transit.handed = 0;
        let is_held = self.rates.shared_messages_per_subscriber > 0 && transit.qos > QoS::Zero;
        if is_held && self.groups.at(position).is_some_and(|group| !group.parked.is_empty()) {
            self.park_in_group(position, transit);
        } else {
            self.choose_member(now, position, transit, 0, out);
        }
    }

    fn choose_member(
        &mut self,
        now: Now,
        position: u32,
        transit: &mut Transit<'_>,
        mut tried: u16,
        out: &mut Outbox,
    ) {
        let Some(group) = self.groups.at(position) else { return };
        let asked_max = group.connected().min(ASKED_MAX);
        loop {
            let Some(group) = self.groups.at(position) else { return };
            let name = Arc::clone(&group.name);
            let Some(session) = group.next().map(|member| member.session) else {
                self.park_in_group(position, transit);
                return;
            };
            tried = if usize::from(tried) >= asked_max { ASKED_ALL } else { tried + 1 };
            if session.shard != self.id {
                self.hand_over(position, session, transit, tried, out);
                return;
            }
            if self.deliver_to_member(now, &name, session, transit, tried, out) {
                self.record_unparked(&name, transit.handed);
                return;
            }
            if tried == ASKED_ALL {
                // Nobody here is what the group takes it for.
                self.park_in_group(position, transit);
                return;
            }
        }
    }

    /// Gives a message to a member of another shard, and keeps it until that has it.
    fn hand_over(
        &mut self,
        position: u32,
        session: SessionRef,
        transit: &mut Transit<'_>,
        tried: u16,
        out: &mut Outbox,
    ) {
        let message = transit.park();
        let Some(group) = self.groups.at(position) else { return };
        let (name, is_persistent) = (Arc::clone(&group.name), group.is_persistent());
        let handed = if transit.qos > QoS::Zero && is_persistent {
            self.record_parked(&name, transit)
        } else {
            self.record_unparked(&name, std::mem::take(&mut transit.handed));
            0
        };
        if let Some(group) = self.groups.at(position).filter(|_| handed > 0) {
            group.handed.insert(handed, Arc::clone(&message));
        }
        let parcel = Parcel::Deliver { group: name, session, message, tried, handed };
        out.parcels.push((session.shard, parcel));
    }

    fn park_in_group(&mut self, position: u32, transit: &mut Transit<'_>) {
        let limits = &self.limits;
        let Some(group) = self.groups.at(position) else { return };
        let name = Arc::clone(&group.name);
        if transit.qos == QoS::Zero || !group.is_persistent() {
            self.stats.drop_one(Dropped::NoGroupMember);
            self.record_unparked(&name, transit.handed);
            return;
        }
        let message = transit.park();
        let bytes = message.bytes();
        if group.parked.len() >= limits.group_queued_messages_max
            || group.parked_bytes + bytes > limits.queued_bytes_max
        {
            self.stats.drop_one(Dropped::GroupQueueFull);
            self.record_unparked(&name, transit.handed);
        } else if self.parked_bytes + bytes > limits.group_queued_bytes_total_max {
            self.stats.drop_one(Dropped::QueuesFull);
            self.record_unparked(&name, transit.handed);
        } else {
            self.parked_bytes += bytes;
            group.parked_bytes += bytes;
            let number = self.record_parked(&name, transit);
            if let Some(group) = self.groups.at(position) {
                group.parked.push_back(Parked { number, message });
            }
        }
    }

    /// Delivers to a member of this shard; `false` where another is to be asked.
    fn deliver_to_member(
        &mut self,
        now: Now,
        group: &Arc<str>,
        session: SessionRef,
        transit: &mut Transit<'_>,
        tried: u16,
        out: &mut Outbox,
    ) -> bool {
        let Some(index) = self.resolve(session) else { return false };
        let held = self.session(index);
        if held.connection.is_none() || (tried != ASKED_ALL && !held.has_room()) {
            return false;
        }
        let Ok(at) = held.find_subscription(group) else { return false };
        let Some(subscription) = held.subscriptions.get(at) else { return false };
        let identifier = subscription.identifier;
        let identifiers: Identifiers =
            (identifier != 0).then_some(identifier).into_iter().collect();
        let delivery = Delivery {
            qos: transit.qos.min(subscription.options.qos),
            retain: transit.retain && subscription.options.retain_as_published,
            identifiers: &identifiers,
            group: Some(group),
        };
        self.deliver(now, index, transit, delivery, out);
        true
    }
}
