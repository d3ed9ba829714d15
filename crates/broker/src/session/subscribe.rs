//! SUBSCRIBE and UNSUBSCRIBE: what is granted, filter by filter.
//!
//! A bad filter costs its reason code, never the connection. SUBACK leaves when the subscription is
//! durable and, for a `$share` group that another shard owns, when that shard routes for it.

use std::sync::Arc;

use bitts_mqtt::{
    Packet, PacketId, QoS, ReasonCode, RetainHandling, SubAck, Subscribe, SubscribeRequest,
    Unsubscribe, UserProperties,
};
use smallvec::SmallVec;

use super::{Session, Subscription};
use crate::outbox::{Outbox, Parcel, SessionRef};
use crate::rates::AccountRate;
use crate::reason::{Cause, Violation};
use crate::record::{Lsn, Record};
use crate::route::shape::{self, Cost};
use crate::route::{Holder, Subscriber};
use crate::shard::Shard;
use crate::slot::ShardId;
use crate::time::Now;

type Codes = SmallVec<[u8; 8]>;

/// Up to here room for subscriptions grows one by one.
const SUBSCRIPTIONS_FEW: usize = 8;

/// A SUBACK that waits for owners of `$share` groups, or what waits behind one: SUBACK and UNSUBACK
/// leave in the order of what they answer.
#[derive(Debug)]
pub(crate) struct PendingSubAck {
    /// It answers an UNSUBSCRIBE.
    is_unsubscribe: bool,
    packet_id: PacketId,
    codes: Codes,
    /// Groups that have not answered, and which code is theirs.
    waiting: SmallVec<[(Arc<str>, usize); 2]>,
    gate: Option<Lsn>,
}

/// What one filter of a SUBSCRIBE led to.
struct Granted {
    filter: Arc<str>,
    qos: QoS,
    /// Retained messages are due.
    scan: bool,
    /// Its `$share` group belongs to another shard, which is still to answer.
    waits: bool,
}

impl Subscription {
    pub(crate) fn as_subscriber(&self, session: u32) -> Subscriber {
        Subscriber { session, identifier: self.identifier, options: self.options }
    }
}

impl Session {
    /// Counts the wildcard shape of a filter that was made or ended.
    pub(super) fn count_shape(&mut self, filter: &str, more: bool) {
        let inner = bitts_mqtt::shared_filter(filter).map_or(filter, |shared| shared.filter);
        let shape = match shape::cost_of(inner) {
            Cost::Exact => return,
            Cost::Shape(shape) => shape,
            Cost::Deep => {
                let count = &mut self.shapes.get_or_insert_default().deep;
                *count = if more { *count + 1 } else { count.saturating_sub(1) };
                return;
            }
        };
        let shapes = &mut self.shapes.get_or_insert_default().shaped;
        match shapes.iter().position(|(held, _)| *held == shape) {
            Some(at) if more => shapes[at].1 += 1,
            Some(at) if shapes[at].1 > 1 => shapes[at].1 -= 1,
            Some(at) => drop(shapes.swap_remove(at)),
            None if more => shapes.push((shape, 1)),
            None => {}
        }
    }
}

impl Shard {
    pub(crate) fn on_subscribe(
        &mut self,
        now: Now,
        index: u32,
        subscribe: &Subscribe<'_>,
        out: &mut Outbox,
    ) -> Result<(), Violation> {
        let identifier = subscribe.subscription_identifier.unwrap_or(0);
        if identifier != 0 && !self.profile.takes_subscription_identifiers() {
            return Err(Violation::SubscriptionIdentifierNotSupported);
        }
        let too_many = subscribe.len() > self.limits.filters_per_subscribe_max;
        if self.profile.closes_on_bad_filter(self.session(index).version) {
            let is_bad = |request: SubscribeRequest<'_>| self.check_filter(request.filter).is_err();
            if too_many || subscribe.requests().any(is_bad) {
                return Err(Violation::TopicFilter);
            }
        }
        if self.profile.closes_on_bad_filter(self.session(index).version) {
            for request in subscribe.requests() {
                if !self.may_subscribe(now, index, request.filter) {
                    *self.stats.denied.entry("subscribe").or_default() += 1;
                    self.end_connection(now, index, Cause::AuthError, out);
                    return Ok(());
                }
            }
        }
        let mut codes = Codes::new();
        let mut waiting = SmallVec::new();
        let mut granted: Vec<Granted> = Vec::new();
        let before = self.lsn;
        for request in subscribe.requests() {
            let outcome = if too_many {
                Err(ReasonCode::QuotaExceeded)
            } else {
                self.subscribe_one(now, index, request, identifier, subscribe.packet_id, out)
            };
            match outcome {
                Ok(one) => {
                    if one.waits {
                        waiting.push((Arc::clone(&one.filter), codes.len()));
                    }
                    codes.push(one.qos as u8);
                    granted.push(one);
                }
                Err(reason) => codes.push(self.refused_code(index, reason)),
            }
        }
        let is_persistent = self.session(index).is_persistent();
        let gate = (is_persistent && self.is_pending(out)).then_some(before);
        let packet_id = subscribe.packet_id;
        let is_unsubscribe = false;
        let answer = PendingSubAck { is_unsubscribe, packet_id, codes, waiting, gate };
        self.answer_in_order(index, answer, out);
        for one in granted.iter().filter(|one| one.scan) {
            self.start_scan(index, &one.filter, out);
        }
        let filters: Vec<&str> = granted.iter().map(|one| &*one.filter).collect();
        self.announce_subscriptions(now, index, true, &filters, out);
        Ok(())
    }

    /// The code of a refused filter; 3.1.1 has only 0x80 [MQTT-3.9.3-2].
    fn refused_code(&mut self, index: u32, reason: ReasonCode) -> u8 {
        *self.stats.denied.entry(reason.phrase()).or_default() += 1;
        if self.session(index).is_mqtt5() { reason.number() } else { 0x80 }
    }

    /// The filter without its `$share` prefix and whether it has one, or why it is refused.
    fn check_filter<'t>(&self, text: &'t str) -> Result<(&'t str, bool), ReasonCode> {
        bitts_mqtt::check_filter(text).map_err(|_| ReasonCode::TopicFilterInvalid)?;
        let shared = bitts_mqtt::shared_filter(text);
        let inner = shared.as_ref().map_or(text, |shared| shared.filter);
        if self.is_topic_too_long(inner) {
            return Err(ReasonCode::TopicFilterInvalid);
        }
        if !self.profile.may_subscribe(inner) {
            return Err(ReasonCode::NotAuthorized);
        }
        Ok((inner, shared.is_some()))
    }

    /// Whether policies and rates let the client subscribe.
    fn may_subscribe_now(&mut self, now: Now, index: u32, filter: &str) -> Result<(), ReasonCode> {
        if !self.may_subscribe(now, index, filter) {
            return Err(ReasonCode::NotAuthorized);
        }
        let is_in_time = self.account_may(now, AccountRate::Subscribe, self.rates.subscriptions);
        if is_in_time { Ok(()) } else { Err(ReasonCode::QuotaExceeded) }
    }

    fn subscribe_one(
        &mut self,
        now: Now,
        index: u32,
        request: SubscribeRequest<'_>,
        identifier: u32,
        packet_id: PacketId,
        out: &mut Outbox,
    ) -> Result<Granted, ReasonCode> {
        let text = request.filter;
        let (inner, shared) = self.check_filter(text)?;
        self.may_subscribe_now(now, index, text)?;
        let found = self.session(index).find_subscription(text);
        if found.is_err() {
            self.has_room_for_filter(index, inner)?;
        }
        let maximum_qos = self.profile.maximum_qos();
        let session = &mut self.sessions[index as usize];
        let mut options = request.options;
        options.qos = options.qos.min(maximum_qos);
        let filter = match found {
            Ok(at) => {
                let held = &mut session.subscriptions[at];
                held.options = options;
                held.identifier = identifier;
                Arc::clone(&held.filter)
            }
            Err(at) => {
                let filter: Arc<str> = text.into();
                let held = Subscription { filter: Arc::clone(&filter), options, identifier };
                // Most sessions have few.
                if session.subscriptions.len() < SUBSCRIPTIONS_FEW {
                    session.subscriptions.reserve_exact(1);
                }
                session.subscriptions.insert(at, held);
                session.count_shape(text, true);
                filter
            }
        };
        let (slot, client_id) = (session.slot, Arc::clone(&session.client_id));
        let persistent = session.is_persistent();
        let fresh = found.is_err();
        if persistent {
            let filter = Arc::clone(&filter);
            self.record(slot, Record::Subscribed { client_id, filter, options, identifier });
        }
        let scan = match options.retain_handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => fresh,
            RetainHandling::DoNotSend => false,
        };
        let has_retained =
            !shared && (self.profile.wildcards_get_retained() || !inner.contains(['+', '#']));
        let waits = if shared {
            match self.join_group(now, index, &filter, Some(packet_id), out) {
                None => true,
                Some(true) => false,
                Some(false) => {
                    self.forget_subscription(index, &filter);
                    return Err(ReasonCode::QuotaExceeded);
                }
            }
        } else {
            let holder = Holder::Session(Subscriber { session: index, identifier, options });
            self.router.hold(&filter, holder, fresh, persistent);
            false
        };
        Ok(Granted { filter, qos: options.qos, scan: scan && has_retained, waits })
    }

    /// A `$share` group took no more members: the subscription is none.
    fn forget_subscription(&mut self, index: u32, filter: &str) {
        let session = self.session(index);
        let Ok(at) = session.find_subscription(filter) else { return };
        let filter = session.subscriptions.remove(at).filter;
        session.count_shape(&filter, false);
        if session.is_recorded {
            let (slot, client_id) = (session.slot, Arc::clone(&session.client_id));
            self.record(slot, Record::Unsubscribed { client_id, filter });
        }
    }

    /// The limits that one more filter must fit.
    fn has_room_for_filter(&mut self, index: u32, inner: &str) -> Result<(), ReasonCode> {
        let session = &self.sessions[index as usize];
        if session.subscriptions.len() >= self.limits.subscriptions_per_session_max {
            return Err(ReasonCode::QuotaExceeded);
        }
        let (shapes, deep) =
            session.shapes.as_ref().map_or((&[][..], 0), |held| (&held.shaped, held.deep));
        let (is_known, is_mine) = match shape::cost_of(inner) {
            Cost::Exact => return Ok(()),
            Cost::Shape(new) => {
                (self.router.knows_shape(new), shapes.iter().any(|(shape, _)| *shape == new))
            }
            Cost::Deep => (false, false),
        };
        let is_full = !is_known && self.router.shape_count() >= self.limits.shapes_max;
        let is_mine_full = !is_mine && shapes.len() + deep >= self.limits.shapes_per_session_max;
        if is_full || is_mine_full { Err(ReasonCode::QuotaExceeded) } else { Ok(()) }
    }

    /// Sends a SUBACK or UNSUBACK when those before it are sent and nothing is waited for.
    fn answer_in_order(&mut self, index: u32, answer: PendingSubAck, out: &mut Outbox) {
        let extra = self.session(index).extra.as_mut();
        let is_first = extra.as_ref().is_none_or(|extra| extra.subacks.is_empty());
        if is_first && answer.waiting.is_empty() {
            self.send_answer(index, &answer, out);
        } else {
            self.session(index).extra.get_or_insert_default().subacks.push_back(answer);
        }
    }

    fn send_answer(&mut self, index: u32, answer: &PendingSubAck, out: &mut Outbox) {
        let ack = SubAck {
            packet_id: answer.packet_id,
            reason_string: None,
            user_properties: UserProperties::EMPTY,
            codes: &answer.codes,
        };
        let packet =
            if answer.is_unsubscribe { Packet::UnsubAck(ack) } else { Packet::SubAck(ack) };
        self.acknowledge(index, &packet, answer.gate, out);
    }

    /// The owner of a `$share` group answered a SUBSCRIBE of ours.
    pub(crate) fn on_joined(
        &mut self,
        session: SessionRef,
        group: &str,
        packet_id: PacketId,
        accepted: bool,
        out: &mut Outbox,
    ) {
        let Some(index) = self.resolve(session) else { return };
        let code =
            if accepted { None } else { Some(self.refused_code(index, ReasonCode::QuotaExceeded)) };
        let names_it = |pending: &PendingSubAck| {
            pending.packet_id == packet_id
                && pending.waiting.iter().any(|(name, _)| &**name == group)
        };
        let extra = self.session(index).extra.as_ref();
        let is_awaited = extra.is_some_and(|extra| extra.subacks.iter().any(names_it));
        if !accepted && is_awaited {
            self.forget_subscription(index, group);
        }
        let Some(extra) = &mut self.session(index).extra else { return };
        for pending in extra.subacks.iter_mut().filter(|pending| pending.packet_id == packet_id) {
            if let Some(at) = pending.waiting.iter().position(|(name, _)| &**name == group) {
                let (_, code_at) = pending.waiting.remove(at);
                if let (Some(code), Some(place)) = (code, pending.codes.get_mut(code_at)) {
                    *place = code;
                }
            }
        }
        while let Some(extra) = &mut self.session(index).extra
            && extra.subacks.front().is_some_and(|pending| pending.waiting.is_empty())
            && let Some(ready) = extra.subacks.pop_front()
        {
            self.send_answer(index, &ready, out);
        }
        self.session(index).let_go_of_extra();
    }

    pub(crate) fn on_unsubscribe(
        &mut self,
        now: Now,
        index: u32,
        unsubscribe: &Unsubscribe<'_>,
        out: &mut Outbox,
    ) -> Result<(), Violation> {
        let mut codes = Codes::new();
        let mut ended: Vec<&str> = Vec::new();
        let is_bad = |filter: &str| bitts_mqtt::check_filter(filter).is_err();
        if self.profile.closes_on_bad_filter(self.session(index).version)
            && unsubscribe.filters().any(is_bad)
        {
            return Err(Violation::TopicFilter);
        }
        let before = self.lsn;
        for filter in unsubscribe.filters() {
            let reason = if bitts_mqtt::check_filter(filter).is_err() {
                ReasonCode::TopicFilterInvalid
            } else if self.unsubscribe_one(now, index, filter, out) {
                ended.push(filter);
                ReasonCode::Success
            } else if self.profile.says_nobody() {
                ReasonCode::NoSubscriptionExisted
            } else {
                ReasonCode::Success
            };
            codes.push(reason.number());
        }
        let session = self.session(index);
        let gate = (session.is_persistent() && !ended.is_empty()).then_some(before);
        let answer = PendingSubAck {
            is_unsubscribe: true,
            packet_id: unsubscribe.packet_id,
            codes,
            waiting: SmallVec::new(),
            gate,
        };
        self.answer_in_order(index, answer, out);
        self.announce_subscriptions(now, index, false, &ended, out);
        Ok(())
    }

    fn unsubscribe_one(&mut self, now: Now, index: u32, filter: &str, out: &mut Outbox) -> bool {
        let session = self.session(index);
        let Ok(at) = session.find_subscription(filter) else { return false };
        let held = session.subscriptions.remove(at);
        session.count_shape(filter, false);
        let (slot, client_id) = (session.slot, Arc::clone(&session.client_id));
        let persistent = session.is_persistent();
        self.end_scan(index, filter, out);
        if bitts_mqtt::shared_filter(filter).is_some() {
            let owner: ShardId = self.placement.owner_of(filter);
            let session = self.session_ref(index);
            let group = Arc::clone(&held.filter);
            self.tell(now, owner, Parcel::Leave { group, session }, out);
        } else {
            self.router.release(filter, Holder::Session(held.as_subscriber(index)), persistent);
        }
        if persistent {
            self.record(slot, Record::Unsubscribed { client_id, filter: held.filter });
        }
        true
    }
}
