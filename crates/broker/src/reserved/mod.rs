//! Requests on the reserved topics of shadows: who may ask how much, and who is told when it is
//! done.
//!
//! A request goes to the shard that owns the thing ([`shadows`]). What the service publishes about
//! it is of one batch with the change and reaches nobody before that is durable. The answer to
//! whoever asked waits likewise ([`answers`]), and with it the acknowledgement of the request
//! ([`held`]), behind which the connection's later ones wait in order [MQTT-4.6.0-2].
//! One at QoS 2 that a crash must not repeat is a message of the log ([`Shard::take_request`]).
//! Contract `device-shadow.md` §2.

pub(crate) mod answers;
pub(crate) mod held;
pub(crate) mod shadows;

use bitts_aws::shadow::{Rejection, ShadowError, ShadowId, ShadowOperation, parse_request_topic};
use bitts_mqtt::{Ack, Packet, ProtocolVersion, Publish, QoS, ReasonCode};
use bytes::Bytes;

use crate::command::Reply;
use crate::input::ReplyId;
use crate::message::Message;
use crate::outbox::{Outbox, Parcel, SessionRef};
use crate::rates::{AccountRate, NameRate};
use crate::record::Lsn;
use crate::shard::Shard;
use crate::slot::{ShardId, Slot};
use crate::time::Now;

use answers::Answers;
use shadows::Shadows;

/// What is asked of a shadow.
#[derive(Clone, Debug)]
pub struct ShadowRequest {
    /// Which one.
    pub id: ShadowId,
    /// What.
    pub operation: ShadowOperation,
    /// As it was sent.
    pub payload: Bytes,
}

/// Who waits until a request on a reserved topic is carried out.
#[derive(Clone, Copy, Debug)]
pub enum Asker {
    /// A client that published it.
    Client {
        /// Its session.
        session: SessionRef,
        /// The request; a number is used once.
        number: u64,
    },
    /// Publish of the HTTP API.
    Publish {
        /// Where the command came in.
        shard: ShardId,
        /// Who waits there.
        reply: ReplyId,
    },
}

/// What a shard has to do with reserved topics.
#[derive(Debug)]
pub(crate) struct Reserved {
    pub(crate) shadows: Shadows,
    answers: Answers,
    rates: NameRate,
    next_number: u64,
}

impl Reserved {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            shadows: Shadows::default(),
            answers: Answers::default(),
            rates: NameRate::new(seed),
            next_number: 0,
        }
    }
}

impl Shard {
    /// A client published a request, as its policies allow.
    pub(crate) fn ask_shadow(
        &mut self,
        now: Now,
        index: u32,
        (id, operation): (ShadowId, ShadowOperation),
        publish: &Publish<'_>,
        out: &mut Outbox,
    ) {
        let in_flight_max = self.limits.shadow_requests_in_flight_max;
        let (session, number) = (self.session_ref(index), self.reserved.next_number);
        let version = self.session(index).version;
        let Some(connection) = &mut self.session(index).connection else { return };
        let held = connection.held.get_or_insert_default();
        let is_too_many = held.in_flight() >= in_flight_max;
        held.ask(number, acknowledgement(publish, version));
        self.reserved.next_number += 1;
        let request = ShadowRequest { id, operation, payload: self.copied(publish.payload) };
        if is_too_many {
            let error = ShadowError::TooManyRequests;
            let rejection = Rejection::unread(error, &request.payload, &self.limits.shadow());
            self.publish_rejection(now, &request, &rejection, Lsn::default(), out);
            self.on_client_answered(index, number, out);
            return;
        }
        let owner = self.placement.owner_of(request.id.thing());
        let asker = Asker::Client { session, number };
        self.tell(now, owner, Parcel::Shadow { request: Box::new(request), asker }, out);
    }

    /// Publish of the HTTP API is a request too; it is answered when that is carried out.
    pub(crate) fn ask_shadow_by_publish(
        &mut self,
        now: Now,
        (id, operation): (ShadowId, ShadowOperation),
        payload: &[u8],
        reply: ReplyId,
        out: &mut Outbox,
    ) {
        let per_second = self.rates.inbound_publish_requests;
        if !self.account_may(now, AccountRate::InboundPublish, per_second) {
            out.replies.push((reply, Reply::Throttled));
            return;
        }
        let owner = self.placement.owner_of(id.thing());
        let request = Box::new(ShadowRequest { id, operation, payload: self.copied(payload) });
        let asker = Asker::Publish { shard: self.id, reply };
        self.tell(now, owner, Parcel::Shadow { request, asker }, out);
    }

    /// Carries out a request that is a message of the log; `false` where the message is none.
    /// Messages of other kinds have no such topic, and nobody waits for it.
    pub(crate) fn take_request(&mut self, now: Now, message: &Message, out: &mut Outbox) -> bool {
        let Some((id, operation)) = parse_request_topic(&message.topic) else { return false };
        let request = ShadowRequest { id, operation, payload: message.payload.clone() };
        self.on_shadow_request(now, &request, None, out);
        true
    }

    /// The same for a message that shards of a process before this one had not taken: by the
    /// thing's owner, if the shard that ran its slot is one of those.
    pub(crate) fn restore_request(
        &mut self,
        now: Now,
        message: &Message,
        slots: &impl Fn(Slot) -> bool,
        out: &mut Outbox,
    ) -> bool {
        let Some((id, _)) = parse_request_topic(&message.topic) else { return false };
        let slot = self.placement.slot_of(id.thing());
        if self.placement.shard_of(slot) == self.id && slots(slot) {
            self.take_request(now, message, out);
        }
        true
    }

    /// Enough of a payload to tell that it is too large.
    pub(crate) fn bounded<'a>(&self, payload: &'a [u8]) -> &'a [u8] {
        payload.get(..=self.limits.shadow().request_bytes_max).unwrap_or(payload)
    }

    fn copied(&self, payload: &[u8]) -> Bytes {
        Bytes::copy_from_slice(self.bounded(payload))
    }

    /// A request was carried out: whoever waits is told.
    pub(crate) fn on_answered(&mut self, asker: Asker, out: &mut Outbox) {
        match asker {
            Asker::Client { session, number } => {
                if let Some(index) = self.resolve(session) {
                    self.on_client_answered(index, number, out);
                }
            }
            Asker::Publish { reply, .. } => out.replies.push((reply, Reply::Done)),
        }
    }
}

/// PUBACK or PUBREC of a request, encoded; at QoS 0 none.
fn acknowledgement(publish: &Publish<'_>, version: ProtocolVersion) -> Option<Vec<u8>> {
    let ack = Ack::new(publish.packet_id?, ReasonCode::Success);
    let packet = if publish.qos == QoS::Two { Packet::PubRec(ack) } else { Packet::PubAck(ack) };
    let mut bytes = Vec::new();
    bitts_mqtt::encode(&packet, version, &mut bytes);
    Some(bytes)
}
