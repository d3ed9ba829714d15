//! Requests on the reserved topics of shadows: who may ask how much, and who is told when it is
//! done.
//!
//! A request goes to the shard that owns the thing ([`shadows`]). What the service publishes about
//! it waits until the change is durable ([`answers`]), and so does the acknowledgement of the
//! request ([`held`]), behind which the connection's later ones wait in order [MQTT-4.6.0-2].
//! Contract `device-shadow.md` §2.

pub(crate) mod answers;
pub(crate) mod held;
pub(crate) mod shadows;

use bitts_aws::shadow::{
    Rejection, ShadowAnswer, ShadowError, ShadowId, ShadowOperation, answer_topic,
};
use bitts_mqtt::{Ack, Packet, ProtocolVersion, Publish, QoS, ReasonCode};
use bytes::Bytes;

use crate::command::Reply;
use crate::input::ReplyId;
use crate::message::NewMessage;
use crate::outbox::{Outbox, Parcel, SessionRef};
use crate::rates::{AccountRate, NameRate};
use crate::shard::Shard;
use crate::slot::ShardId;
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
    /// A client published a request; its policies allow that.
    pub(crate) fn ask_shadow(
        &mut self,
        now: Now,
        index: u32,
        (id, operation): (ShadowId, ShadowOperation),
        publish: &Publish<'_>,
        out: &mut Outbox,
    ) {
        let in_flight_max = self.limits.shadow_requests_in_flight_max;
        let session = self.session_ref(index);
        let version = self.session(index).version;
        let Some(connection) = &mut self.session(index).connection else { return };
        let held = connection.held.get_or_insert_default();
        let acknowledgement = acknowledgement(publish, version);
        if held.in_flight() >= in_flight_max {
            held.push(acknowledgement);
            self.refuse_shadow(now, (&id, operation), publish.payload, out);
            self.release_held(index, out);
            return;
        }
        let number = self.reserved.next_number;
        held_of(self, index).ask(number, acknowledgement);
        self.reserved.next_number += 1;
        let payload = self.shadow_payload(publish.payload);
        let owner = self.placement.owner_of(id.thing());
        let request = Box::new(ShadowRequest { id, operation, payload });
        let asker = Asker::Client { session, number };
        self.tell(now, owner, Parcel::Shadow { request, asker }, out);
    }
}
