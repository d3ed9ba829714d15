//! The shadows of the things that this shard owns: kept in their durable form, read for a request,
//! written with a record.
//!
//! What the service makes of a request is decided by [`Shadow`]; here is whether it may be made at
//! all, and who is told. A deleted shadow keeps its version for 48 hours and is forgotten then.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use bitts_aws::api::{ListNamedShadowsForThing, NamedShadowPage};
use bitts_aws::shadow::{
    DecodeError, Rejection, Shadow, ShadowAnswer, ShadowError, ShadowId, ShadowOperation, Updated,
    answer_topic,
};
use bitts_mqtt::QoS;
use bytes::Bytes;

use super::answers::Answer;
use super::{Asker, ShadowRequest};
use crate::command::Reply;
use crate::input::ReplyId;
use crate::message::NewMessage;
use crate::outbox::Outbox;
use crate::rates::{AccountRate, PUBLISHES_OF_A_SHADOW_UPDATE};
use crate::record::{Lsn, Record};
use crate::shard::Shard;
use crate::time::{Moment, Now};
use crate::timers::Reminder;

/// How long the version of a deleted shadow is kept, in seconds: longer than [`Shadow`] counts it.
const FORGET_SECONDS: u64 = 48 * 3_600 + 1;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Shadows {
    held: BTreeMap<ShadowId, Held>,
    bytes: usize,
    /// Deleted ones, in the order in which they are forgotten; entries of those that were made
    /// again since are passed over.
    deleted: VecDeque<(Moment, ShadowId)>,
}

#[derive(Debug)]
struct Held {
    /// Its durable form.
    state: Bytes,
    /// When it is forgotten, where it is deleted and only its version is kept.
    forget_at: Option<Moment>,
}

/// Bytes that a shadow takes.
fn bytes_of(id: &ShadowId, state: &Bytes) -> usize {
    let name = id.name().map_or(0, str::len);
    id.thing().len() + name + state.len() + size_of::<(ShadowId, Held)>()
}

impl Shadows {
    /// How many there are, those included of which only the version is kept.
    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    /// Bytes that they take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn read(&self, id: &ShadowId) -> Result<Shadow, DecodeError> {
        self.held.get(id).map_or_else(|| Ok(Shadow::default()), |held| Shadow::decode(&held.state))
    }

    /// Keeps a shadow; an empty state forgets it.
    fn keep(&mut self, id: &ShadowId, state: Bytes, forget_at: Option<Moment>) {
        let before = self.held.remove(id).map_or(0, |held| bytes_of(id, &held.state));
        self.bytes -= before;
        if !state.is_empty() {
            self.bytes += bytes_of(id, &state);
            self.held.insert(id.clone(), Held { state, forget_at });
        }
    }

    /// Shadows behind one, in their durable form.
    pub(crate) fn saved(&self, behind: Option<&ShadowId>, max: usize) -> Vec<(ShadowId, Bytes)> {
        let lower = behind.map_or(Bound::Unbounded, Bound::Excluded);
        let some = self.held.range((lower, Bound::Unbounded)).take(max);
        some.map(|(id, held)| (id.clone(), held.state.clone())).collect()
    }

    /// The names of a thing's shadows behind one, in the order of their bytes.
    fn names<'a>(
        &'a self,
        thing: &'a str,
        after: Option<&str>,
    ) -> impl Iterator<Item = &'a str> + 'a {
        let first = ShadowId::new(thing, after).or_else(|_| ShadowId::new(thing, None));
        let behind = first.ok().map(|first| self.held.range(first..)).into_iter().flatten();
        behind
            .take_while(move |(id, _)| id.thing() == thing)
            .filter(|(_, held)| held.forget_at.is_none())
            .filter_map(|(id, _)| id.name())
    }
}

/// What the service says about a request that it accepted.
struct Accepted {
    body: Vec<u8>,
    delta: Option<Vec<u8>>,
    documents: Option<Vec<u8>>,
    /// The position of the change, where there was one.
    change: Option<Lsn>,
}

impl Accepted {
    fn read(body: Vec<u8>) -> Self {
        Self { body, delta: None, documents: None, change: None }
    }
}

impl From<Updated> for Accepted {
    fn from(updated: Updated) -> Self {
        let Updated { accepted: body, delta, documents, .. } = updated;
        Self { body, delta, documents: Some(documents), change: None }
    }
}

impl Shard {
    /// A request that somebody published, on the shard that owns the thing; whoever waits for it.
    pub(crate) fn on_shadow_request(
        &mut self,
        now: Now,
        request: &ShadowRequest,
        asker: Option<Asker>,
        out: &mut Outbox,
    ) {
        // The request was counted as it was published.
        let outcome = self.carry_out(now, request, PUBLISHES_OF_A_SHADOW_UPDATE - 1);
        let gate = self.reserved.answers.gate(outcome.as_ref().ok().and_then(|it| it.change));
        match outcome {
            Ok(accepted) => self.publish_accepted(now, request, &accepted, gate, out),
            Err(rejection) => self.publish_rejection(now, request, &rejection, gate, out),
        }
        if let Some(asker) = asker {
            self.answer_when_durable(now, gate, Answer::Tell(asker), out);
        }
    }

    /// GetThingShadow, UpdateThingShadow and DeleteThingShadow. What is refused publishes nothing,
    /// an update what it publishes over MQTT (S-29, S-30).
    pub(crate) fn on_shadow_command(
        &mut self,
        now: Now,
        mut request: ShadowRequest,
        reply: ReplyId,
        out: &mut Outbox,
    ) {
        if request.operation != ShadowOperation::Update {
            // Only an update has a body.
            request.payload = Bytes::new();
        }
        let outcome = self.carry_out(now, &request, PUBLISHES_OF_A_SHADOW_UPDATE);
        let gate = self.reserved.answers.gate(outcome.as_ref().ok().and_then(|it| it.change));
        let answer = match outcome {
            Ok(accepted) => {
                if request.operation == ShadowOperation::Update {
                    self.publish_accepted(now, &request, &accepted, gate, out);
                }
                Reply::Shadow(accepted.body)
            }
            Err(rejection) => Reply::ShadowRejected(rejection),
        };
        self.answer_when_durable(now, gate, Answer::Reply(reply, answer), out);
    }

    /// ListNamedShadowsForThing: a deleted shadow is none, and neither is the classic one (S-27).
    pub(crate) fn list_named_shadows(
        &mut self,
        now: Now,
        asked: &ListNamedShadowsForThing,
        reply: ReplyId,
        out: &mut Outbox,
    ) {
        let names = self.reserved.shadows.names(&asked.thing_name, asked.after.as_deref());
        let page: NamedShadowPage = asked.page(names, now.unix_ms / 1_000);
        let (gate, answer) = (self.reserved.answers.gate(None), Reply::NamedShadows(page));
        self.answer_when_durable(now, gate, Answer::Reply(reply, answer), out);
    }

    /// `publishes`: what an update counts as besides what was counted already.
    fn carry_out(
        &mut self,
        now: Now,
        request: &ShadowRequest,
        publishes: u32,
    ) -> Result<Accepted, Rejection> {
        let limits = self.limits.shadow();
        let (id, payload, seconds) = (&request.id, &request.payload, now.unix_ms / 1_000);
        let refused = |error| Rejection::unread(error, payload, &limits);
        let key = self.placement.key_of(id.thing());
        let per_second = self.rates.shadow_requests_per_thing;
        let is_update = request.operation == ShadowOperation::Update;
        if self.reserved.answers.bytes() >= self.limits.shadow_answer_bytes_max
            || !self.reserved.rates.take(now.moment, key, per_second)
            || (is_update && !self.updates_in_time(now, publishes))
        {
            return Err(refused(ShadowError::TooManyRequests));
        }
        if self.is_disk_full && is_update {
            return Err(refused(ShadowError::Unavailable));
        }
        let mut shadow = self.reserved.shadows.read(id).map_err(|error| {
            debug_assert!(false, "a shadow of this shard is not readable: {error}");
            refused(ShadowError::InternalFailure)
        })?;
        let mut accepted = match request.operation {
            ShadowOperation::Get => {
                return shadow.get(payload, seconds, &limits).map(Accepted::read);
            }
            ShadowOperation::Update => shadow.update(payload, seconds, &limits)?.into(),
            ShadowOperation::Delete => Accepted::read(shadow.delete(payload, seconds, &limits)?),
        };
        let state = Bytes::from(shadow.encode());
        if is_update && self.reserved.shadows.bytes + state.len() > self.limits.shadow_bytes_max {
            return Err(refused(ShadowError::TooManyRequests));
        }
        let forget_at = if is_update { None } else { Some(self.forget_later(now, id)) };
        accepted.change = Some(self.keep_shadow(id, state, forget_at));
        Ok(accepted)
    }

    /// Whether the account publishes no more often than it may, with an update.
    fn updates_in_time(&self, now: Now, publishes: u32) -> bool {
        let per_second = match self.rates.inbound_publish_requests {
            0 => 0,
            rate => rate.max(PUBLISHES_OF_A_SHADOW_UPDATE),
        };
        let (which, account) = (AccountRate::InboundPublish, self.interest.account());
        account.take_some(which, now.moment, per_second, publishes)
    }

    fn keep_shadow(&mut self, id: &ShadowId, state: Bytes, forget_at: Option<Moment>) -> Lsn {
        self.reserved.shadows.keep(id, state.clone(), forget_at);
        let (thing, shadow) = (id.thing().into(), id.name().map(Into::into));
        let slot = self.placement.slot_of(id.thing());
        self.record(slot, Record::Shadow { thing, shadow, state })
    }

    /// Takes a shadow over from the store, before anything else happens; `state` is what
    /// [`Record::Shadow`] holds.
    pub fn restore_shadow(
        &mut self,
        now: Now,
        id: &ShadowId,
        state: Bytes,
    ) -> Result<(), DecodeError> {
        let is_live = Shadow::decode(&state)?.version().is_some();
        let forget_at = if is_live { None } else { Some(self.forget_later(now, id)) };
        self.reserved.shadows.keep(id, state, forget_at);
        Ok(())
    }

    fn forget_later(&mut self, now: Now, id: &ShadowId) -> Moment {
        let at = now.moment.plus_seconds(FORGET_SECONDS);
        let deleted = &mut self.reserved.shadows.deleted;
        if deleted.is_empty() {
            self.timers.remind(at, Reminder::Shadows);
        }
        deleted.push_back((at, id.clone()));
        at
    }

    /// Forgets the shadows that were deleted long enough ago.
    pub(crate) fn forget_shadows(&mut self, now: Now) {
        while let Some((at, id)) =
            self.reserved.shadows.deleted.pop_front_if(|it| it.0 <= now.moment)
        {
            let held = self.reserved.shadows.held.get(&id);
            if held.is_some_and(|held| held.forget_at == Some(at)) {
                self.keep_shadow(&id, Bytes::new(), None);
            }
        }
        if let Some((at, _)) = self.reserved.shadows.deleted.front() {
            self.timers.remind(*at, Reminder::Shadows);
        }
    }

    /// Publishes what the service says about an accepted request: of one batch with the change, so
    /// that a crash takes both or neither, and for nobody before `gate`.
    fn publish_accepted(
        &mut self,
        now: Now,
        request: &ShadowRequest,
        accepted: &Accepted,
        gate: Lsn,
        out: &mut Outbox,
    ) {
        let answers = [
            (ShadowAnswer::Delta, accepted.delta.as_ref()),
            (ShadowAnswer::Documents, accepted.documents.as_ref()),
            (ShadowAnswer::Accepted(request.operation), Some(&accepted.body)),
        ];
        for (answer, body) in answers {
            if let Some(body) = body {
                self.publish_answer(now, answer_topic(&request.id, answer), body, gate, out);
            }
        }
    }

    pub(crate) fn publish_rejection(
        &mut self,
        now: Now,
        request: &ShadowRequest,
        rejection: &Rejection,
        gate: Lsn,
        out: &mut Outbox,
    ) {
        *self.stats.denied.entry("shadow").or_default() += 1;
        let topic = answer_topic(&request.id, ShadowAnswer::Rejected(request.operation));
        self.publish_answer(now, topic, &rejection.body(&request.id), gate, out);
    }

    fn publish_answer(
        &mut self,
        now: Now,
        topic: String,
        body: &[u8],
        gate: Lsn,
        out: &mut Outbox,
    ) {
        if self.interest.shards_for(&topic).is_empty() {
            return;
        }
        let message = NewMessage {
            topic,
            payload: Bytes::copy_from_slice(body),
            qos: QoS::One,
            retain: false,
            properties: Vec::new(),
            message_expiry_interval: None,
        };
        self.publish_new_from(now, &message, gate, out);
    }
}
