//! What a client publishes, and the rules it can break.
//!
//! A PUBLISH is decided here and routed by [`Shard::publish`]; its acknowledgement leaves when what
//! it promises is durable. Nothing changes before every rule was checked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bitts_aws::shadow::{ShadowId, ShadowOperation, parse_request_topic};
use bitts_mqtt::{Ack, Packet, PacketId, Publish, QoS, ReasonCode};

use crate::outbox::Outbox;
use crate::rates::{AccountRate, Rates};
use crate::reason::{Cause, Dropped, Violation};
use crate::record::{Lsn, Record};
use crate::session::Session;
use crate::session::alias::InboundAliases;
use crate::session::outbound::Transit;
use crate::shard::Shard;
use crate::slot::{NameKey, ShardSet};
use crate::time::Now;

/// What a session must remember of its client's publishing.
#[derive(Debug, Default)]
pub(crate) struct Inbound {
    /// QoS 2 identifiers whose exchange is not over, and whether it began on this connection.
    received: BTreeMap<u16, bool>,
}

impl Inbound {
    /// Identifiers whose exchange is not over.
    pub(crate) fn identifiers(&self) -> BTreeSet<u16> {
        self.received.keys().copied().collect()
    }

    /// An exchange that a process before this one knew of.
    pub(crate) fn restore(&mut self, packet_id: u16) {
        self.received.insert(packet_id, false);
    }

    /// What is open is of an earlier connection from now on.
    pub(crate) fn connection_ended(&mut self) {
        self.received.values_mut().for_each(|is_of_connection| *is_of_connection = false);
    }
}

impl Session {
    /// The client began a QoS 2 exchange.
    fn open_received(&mut self, packet_id: PacketId) {
        self.inbound.get_or_insert_default().received.insert(packet_id.number(), true);
        if let Some(connection) = &mut self.connection {
            connection.received += 1;
        }
    }

    /// The client ended one; `false` if there was none.
    fn close_received(&mut self, packet_id: PacketId) -> bool {
        let held = self.inbound.as_mut().and_then(|held| held.received.remove(&packet_id.number()));
        if let (Some(true), Some(connection)) = (held, &mut self.connection) {
            connection.received = connection.received.saturating_sub(1);
        }
        held.is_some()
    }
}

impl Shard {
    /// Hot: once per PUBLISH.
    pub(crate) fn on_publish(
        &mut self,
        now: Now,
        index: u32,
        publish: &Publish<'_>,
        out: &mut Outbox,
    ) -> Result<(), Violation> {
        if let Some(count) = self.stats.received.get_mut(publish.qos as usize) {
            *count += 1;
        }
        if publish.qos > self.profile.maximum_qos() {
            return Err(Violation::QoSNotSupported);
        }
        if publish.payload.len() > self.profile.payload_bytes_max() {
            return Err(Violation::PayloadTooLarge);
        }
        if publish.properties.subscription_identifier.is_some() {
            return Err(Violation::SubscriptionIdentifierFromClient);
        }
        let aliased = self.resolve_alias(index, publish)?;
        let topic = aliased.as_deref().unwrap_or(publish.topic);
        if self.is_topic_too_long(topic) {
            return Err(Violation::TopicTooLong);
        }
        if let (QoS::Two, Some(packet_id)) = (publish.qos, publish.packet_id)
            && self.is_received(index, packet_id)
        {
            self.answer_publish(index, publish, ReasonCode::Success, None, out);
            return Ok(());
        }
        if publish.qos > QoS::Zero {
            self.fits_receive_maximum(index, publish.qos)?;
        }
        if !self.publishes_in_time(now, index) {
            self.stats.drop_one(Dropped::RateExceeded);
            return Ok(());
        }
        let Ok(topic_key) = self.may_publish(now, index, topic, publish.retain) else {
            self.deny_publish(now, index, publish, out);
            return Ok(());
        };
        if topic.starts_with('$') {
            self.publish_reserved(now, index, topic, publish, out);
            return Ok(());
        }
        if publish.retain && !self.retains_in_time(now, topic) {
            self.stats.drop_one(Dropped::RateExceeded);
            self.answer_publish(index, publish, ReasonCode::QuotaExceeded, None, out);
            return Ok(());
        }
        if let Some(full) = self.has_no_room(index, topic, publish) {
            self.stats.drop_one(full);
            self.answer_publish(index, publish, ReasonCode::QuotaExceeded, None, out);
            return Ok(());
        }
        self.accept_publish(now, index, (topic, topic_key), publish, out);
        Ok(())
    }

    /// What is full that the message needs. 3.1.1 cannot be told of a full disk: its messages wait.
    fn has_no_room(&mut self, index: u32, topic: &str, publish: &Publish<'_>) -> Option<Dropped> {
        if publish.retain && !publish.payload.is_empty() && self.is_retained_full(topic) {
            return Some(Dropped::RetainedFull);
        }
        // What is sent again may have been accepted before.
        let is_new = publish.qos > QoS::Zero && !publish.dup;
        let may_refuse = is_new && self.session(index).is_mqtt5();
        (may_refuse && self.has_no_disk(topic, publish.retain)).then_some(Dropped::DiskFull)
    }

    /// A PUBLISH that policies do not allow (contract `mqtt-broker.md` §10): nothing says more than
    /// that.
    fn deny_publish(&mut self, now: Now, index: u32, publish: &Publish<'_>, out: &mut Outbox) {
        *self.stats.denied.entry("publish").or_default() += 1;
        let is_answered = self.session(index).is_mqtt5() || publish.qos == QoS::Zero;
        if self.profile.closes_on_denied_publish() || !is_answered {
            self.end_connection(now, index, Cause::AuthError, out);
        } else {
            self.answer_publish(index, publish, ReasonCode::NotAuthorized, None, out);
        }
    }

    /// Whether the client publishes no more often than it may. What is above is not acknowledged.
    fn publishes_in_time(&mut self, now: Now, index: u32) -> bool {
        let Rates { inbound_publish_requests, publish_requests_per_connection, .. } = self.rates;
        let connection = self.session(index).connection.as_mut();
        let held = connection.and_then(|connection| connection.rates.as_mut());
        held.is_none_or(|held| held.publishes.take(now.moment, publish_requests_per_connection, 1))
            && self.account_may(now, AccountRate::InboundPublish, inbound_publish_requests)
    }

    /// Whether one more retained message of this topic is in time.
    pub(crate) fn retains_in_time(&mut self, now: Now, topic: &str) -> bool {
        let Rates { retained_publish_requests, retained_publish_requests_per_topic, .. } =
            self.rates;
        let key = self.placement.key_of(topic);
        self.retain_rates.take(now.moment, key, retained_publish_requests_per_topic)
            && self.account_may(now, AccountRate::RetainedPublish, retained_publish_requests)
    }

    fn accept_publish(
        &mut self,
        now: Now,
        index: u32,
        (topic, topic_key): (&str, Option<NameKey>),
        publish: &Publish<'_>,
        out: &mut Outbox,
    ) {
        let mut properties = std::mem::take(&mut self.scratch);
        properties.clear();
        publish.properties.encode_forwarded(&mut properties);
        let mut transit = self.entering(now, index, (topic, topic_key), publish);
        transit.properties = &properties;
        let published = self.publish(now, &mut transit, out);
        self.scratch = properties;
        let is_nobody = !published.matched && self.profile.says_nobody();
        let reason =
            if is_nobody { ReasonCode::NoMatchingSubscribers } else { ReasonCode::Success };
        self.answer_publish(index, publish, reason, published.gate, out);
    }

    /// A message of a client as it enters, without properties. At QoS 2 this begins the exchange of
    /// its identifier, which is durable with it where the session outlives its connection.
    fn entering<'a>(
        &mut self,
        now: Now,
        index: u32,
        (topic, topic_key): (&'a str, Option<NameKey>),
        publish: &Publish<'a>,
    ) -> Transit<'a> {
        let expiry = self.profile.message_expiry(publish.properties.message_expiry_interval);
        let session = self.session(index);
        let mut received = None;
        if let (QoS::Two, Some(packet_id)) = (publish.qos, publish.packet_id) {
            session.open_received(packet_id);
            let client_id = session.is_persistent().then(|| Arc::clone(&session.client_id));
            received = client_id.map(|client_id| (client_id, packet_id.number()));
        }
        Transit {
            topic,
            payload: publish.payload,
            properties: &[],
            qos: publish.qos,
            retain: publish.retain,
            publisher: session.key,
            expires_at: expiry.map(|seconds| now.moment.plus_seconds(u64::from(seconds))),
            accepted_unix_ms: now.unix_ms,
            received,
            gate: Lsn::default(),
            log: None,
            handed: 0,
            parked: None,
            topic_key,
            payload_at: None,
            templates: Default::default(),
        }
    }

    /// The topic an alias stands for, where the packet names none [MQTT-3.3.2-8..12].
    fn resolve_alias(
        &mut self,
        index: u32,
        publish: &Publish<'_>,
    ) -> Result<Option<Arc<str>>, Violation> {
        let Some(alias) = publish.properties.topic_alias else { return Ok(None) };
        if alias.get() > self.limits.topic_alias_maximum {
            return Err(Violation::TopicAliasAboveMaximum);
        }
        let limits = &self.limits;
        let session = &mut self.sessions[index as usize];
        let Some(connection) = &mut session.connection else { return Ok(None) };
        if publish.topic.is_empty() {
            let known = connection.inbound_aliases.as_deref().and_then(|known| known.topic(alias));
            return known.map(Some).ok_or(Violation::TopicAliasUnknown);
        }
        let aliases: &mut InboundAliases = connection.inbound_aliases.get_or_insert_default();
        aliases.set(alias, publish.topic, limits)?;
        Ok(None)
    }

    /// Whether this identifier's exchange is under way: then the message was accepted already
    /// [MQTT-4.3.3-10].
    fn is_received(&mut self, index: u32, packet_id: PacketId) -> bool {
        let inbound = self.session(index).inbound.as_ref();
        inbound.is_some_and(|inbound| inbound.received.contains_key(&packet_id.number()))
    }

    /// A new QoS 1 or 2 message must fit our Receive Maximum, which counts anew with each
    /// connection [MQTT-3.3.4-7]: what waits for PUBREL, and for a PUBACK that waits for the store
    /// or behind a request to a shadow.
    /// With those of earlier connections at most twice as many QoS 2 identifiers are remembered.
    fn fits_receive_maximum(&mut self, index: u32, qos: QoS) -> Result<(), Violation> {
        let maximum = usize::from(self.limits.receive_maximum);
        let durable = self.gates.durable;
        let session = self.session(index);
        let is_mqtt5 = session.is_mqtt5();
        let remembered = session.inbound.as_ref().map_or(0, |inbound| inbound.received.len());
        let Some(connection) = &mut session.connection else { return Ok(()) };
        let waiting = connection.unacknowledged.as_mut().map_or(0, |waiting| {
            while waiting.front().is_some_and(|gate| *gate <= durable) {
                waiting.pop_front();
            }
            waiting.len()
        });
        let held = connection.held.as_ref().map_or(0, |held| held.pubacks());
        let open = connection.received as usize + waiting + held;
        let is_over = open >= maximum || (qos == QoS::Two && remembered >= 2 * maximum);
        if is_mqtt5 && is_over { Err(Violation::ReceiveMaximumExceeded) } else { Ok(()) }
    }

    /// A `$` topic is the server's: whether it takes the message. Of those a client may publish to,
    /// besides requests to shadows, only `$aws/rules/` is taken, where an unknown rule is counted
    /// (contract `mqtt-broker.md` §11).
    pub(crate) fn take_reserved(&mut self, topic: &str) -> bool {
        let is_taken = topic.starts_with("$aws/rules/");
        if is_taken {
            self.stats.drop_one(Dropped::RuleUnknown);
        } else {
            *self.stats.denied.entry("reserved_topic").or_default() += 1;
        }
        is_taken
    }

    fn publish_reserved(
        &mut self,
        now: Now,
        index: u32,
        topic: &str,
        publish: &Publish<'_>,
        out: &mut Outbox,
    ) {
        let is_exactly_once = publish.qos == QoS::Two;
        if let Some(asked) = parse_request_topic(topic) {
            if !is_exactly_once {
                self.ask_shadow(now, index, asked, publish, out);
            } else if self.has_no_disk_for_request(index, publish) {
                self.stats.drop_one(Dropped::DiskFull);
                self.answer_publish(index, publish, ReasonCode::QuotaExceeded, None, out);
            } else {
                self.ask_shadow_once(now, index, (topic, asked), publish, out);
            }
            return;
        }
        let is_taken = self.take_reserved(topic);
        if !is_taken && self.profile.closes_on_denied_publish() {
            self.end_connection(now, index, Cause::AuthError, out);
            return;
        }
        let reason = if is_taken { ReasonCode::Success } else { ReasonCode::NotAuthorized };
        let mut gate = None;
        if is_taken && is_exactly_once {
            // Nobody gets it: what is kept is its identifier.
            let mut transit = self.entering(now, index, (topic, None), publish);
            (transit.payload, transit.retain) = (&[], false);
            gate = self.log_received(&mut transit, ShardSet::EMPTY, out);
        }
        self.answer_publish(index, publish, reason, gate, out);
    }

    /// Whether a request would have to be kept although the disk is full. 3.1.1 cannot be told so,
    /// and what is sent again may have been accepted before.
    fn has_no_disk_for_request(&mut self, index: u32, publish: &Publish<'_>) -> bool {
        let is_disk_full = self.is_disk_full;
        let session = self.session(index);
        is_disk_full && !publish.dup && session.is_mqtt5() && session.is_persistent()
    }

    /// A request to a shadow at QoS 2. Where the session outlives its connection, PUBREC waits
    /// until the request is in the log with its identifier, from where the thing's owner takes it
    /// as mail: a crash neither forgets nor repeats it.
    fn ask_shadow_once(
        &mut self,
        now: Now,
        index: u32,
        (topic, asked): (&str, (ShadowId, ShadowOperation)),
        publish: &Publish<'_>,
        out: &mut Outbox,
    ) {
        let owner = self.placement.owner_of(asked.0.thing());
        let mut transit = self.entering(now, index, (topic, None), publish);
        (transit.payload, transit.retain) = (self.bounded(publish.payload), false);
        let others = ShardSet::only(owner).without(self.id);
        let Some(gate) = self.log_received(&mut transit, others, out) else {
            self.ask_shadow(now, index, asked, publish, out);
            return;
        };
        let message = transit.park();
        if others.is_empty() {
            self.take_request(now, &message, out);
        } else {
            out.push_message(others, message);
        }
        self.answer_publish(index, publish, ReasonCode::Success, Some(gate), out);
    }

    /// PUBACK or PUBREC; 3.1.1 knows only the positive one [MQTT3-3.3.5-2].
    fn answer_publish(
        &mut self,
        index: u32,
        publish: &Publish<'_>,
        reason: ReasonCode,
        gate: Option<Lsn>,
        out: &mut Outbox,
    ) {
        let Some(packet_id) = publish.packet_id else { return };
        let ack = Ack::new(packet_id, reason);
        let packet =
            if publish.qos == QoS::Two { Packet::PubRec(ack) } else { Packet::PubAck(ack) };
        self.acknowledge(index, &packet, gate, out);
        let durable = self.gates.durable;
        if let Some(connection) = &mut self.session(index).connection
            && publish.qos == QoS::One
            && connection.ack_gate > durable
        {
            let gate = connection.ack_gate;
            connection.unacknowledged.get_or_insert_default().push_back(gate);
        }
    }

    /// PUBREL ends the exchange of a QoS 2 identifier [MQTT-4.3.3-11].
    pub(crate) fn on_pubrel(
        &mut self,
        index: u32,
        ack: &Ack<'_>,
        out: &mut Outbox,
    ) -> Result<(), Violation> {
        let packet_id = ack.packet_id.number();
        let session = self.session(index);
        let known = session.close_received(ack.packet_id);
        let record = (known && session.is_persistent())
            .then(|| (session.slot, Arc::clone(&session.client_id)));
        let gate = record.map(|(slot, client_id)| {
            self.record(slot, Record::ReceivedReleased { client_id, packet_id })
        });
        let reason = if known { ReasonCode::Success } else { ReasonCode::PacketIdentifierNotFound };
        self.acknowledge(index, &Packet::PubComp(Ack::new(ack.packet_id, reason)), gate, out);
        Ok(())
    }
}
