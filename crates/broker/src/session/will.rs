//! The Will: kept from CONNECT on, published once when the connection ends, or discarded.
//!
//! Published after its Will Delay Interval or when the session ends, whichever comes first; not if
//! the client returns before [MQTT-3.1.3-9]. Its Message Expiry Interval counts from publication.

use std::sync::Arc;

use bitts_mqtt::Will;
use bytes::Bytes;

use crate::message::Message;
use crate::outbox::Outbox;
use crate::reason::Dropped;
use crate::record::{Record, SavedWill};
use crate::session::Transit;
use crate::shard::Shard;
use crate::slot::NameKey;
use crate::time::{Moment, Now};

/// How long a client whose connection ended with the process may take to come back, so that its
/// Will without a delay is not published, in seconds.
const RETURN_SECONDS: u64 = 10;

/// How long it may take at least after a further restart, in seconds.
const RETURN_AGAIN_SECONDS: u64 = 2;

/// A Will that may still be published.
#[derive(Debug)]
pub(crate) struct SessionWill {
    message: Arc<Message>,
    delay_seconds: u32,
    message_expiry_interval: Option<u32>,
    /// When it is due; only once the connection ended.
    due: Option<Moment>,
}

impl SessionWill {
    pub(crate) fn new(will: &Will<'_>, publisher: NameKey) -> Self {
        let mut properties = Vec::new();
        will.properties.encode_forwarded(&mut properties);
        Self {
            message: Arc::new(Message {
                topic: will.topic.into(),
                payload: Bytes::copy_from_slice(will.payload),
                properties: properties.into(),
                qos: will.qos,
                retain: will.retain,
                publisher,
                expires_at: None,
                accepted_unix_ms: 0,
                log: None,
            }),
            delay_seconds: will.delay_interval,
            message_expiry_interval: will.properties.message_expiry_interval,
            due: None,
        }
    }

    /// When it is published, if its connection ended.
    pub(crate) fn due(&self) -> Option<Moment> {
        self.due
    }

    pub(crate) fn saved(&self) -> SavedWill {
        SavedWill {
            message: Arc::clone(&self.message),
            delay_seconds: self.delay_seconds,
            message_expiry_interval: self.message_expiry_interval,
        }
    }

    /// The Will of a session that a process before this one had. Its connection ended at `ended`,
    /// or with that process.
    pub(crate) fn restored(saved: SavedWill, expiry: u32, now: Moment, ended: Moment) -> Self {
        let SavedWill { message, delay_seconds, message_expiry_interval } = saved;
        let is_due_at_once = delay_seconds == 0 || expiry == 0;
        let due = if is_due_at_once {
            // Also where the process after that one lived shorter.
            ended.plus_seconds(RETURN_SECONDS).max(now.plus_seconds(RETURN_AGAIN_SECONDS))
        } else {
            ended.plus_seconds(u64::from(delay_seconds))
        };
        Self { message, delay_seconds, message_expiry_interval, due: Some(due) }
    }
}

impl Shard {
    /// The connection ended: publishes the Will, or lets it wait for its delay.
    pub(crate) fn will_after_connection(&mut self, now: Now, index: u32, out: &mut Outbox) {
        let session = self.session(index);
        let expiry = session.expiry;
        let Some(will) = &mut session.will else { return };
        if will.delay_seconds == 0 || expiry == 0 {
            self.publish_will(now, index, out);
            return;
        }
        will.due = Some(now.moment.plus_seconds(u64::from(will.delay_seconds)));
    }

    /// Publishes the Will, if there still is one. Removal and publication are one batch, and nobody
    /// has it before that is durable: a crash neither loses nor repeats it.
    pub(crate) fn publish_will(&mut self, now: Now, index: u32, out: &mut Outbox) {
        let session = self.session(index);
        let Some(will) = session.will.take() else { return };
        let (slot, client_id) = (session.slot, Arc::clone(&session.client_id));
        let is_recorded = session.is_recorded;
        if self.may_publish(now, index, &will.message.topic, will.message.retain).is_err() {
            *self.stats.denied.entry("will").or_default() += 1;
            self.record(slot, Record::WillDone { client_id, published: None });
            return;
        }
        self.stats.wills_published += 1;
        let will_expiry = self.profile.message_expiry(will.message_expiry_interval);
        let mut message = Message::clone(&will.message);
        message.accepted_unix_ms = now.unix_ms;
        if message.retain && !message.payload.is_empty() && self.is_retained_full(&message.topic) {
            self.stats.drop_one(Dropped::RetainedFull);
            message.retain = false;
        }
        message.expires_at = will_expiry.map(|seconds| now.moment.plus_seconds(u64::from(seconds)));
        let message = Arc::new(message);
        let published = Some(Arc::clone(&message));
        let done = self.record(slot, Record::WillDone { client_id, published });
        let mut transit = Transit::entering(&message);
        if is_recorded {
            (self.will_gate, transit.gate) = (done, done);
        }
        self.publish(now, &mut transit, out);
    }

    /// Drops the Will, if there is one.
    pub(crate) fn discard_will(&mut self, index: u32) {
        let session = self.session(index);
        if session.will.take().is_some() {
            let (slot, client_id) = (session.slot, Arc::clone(&session.client_id));
            let is_recorded = session.is_recorded;
            self.stats.wills_discarded += 1;
            if is_recorded {
                self.record(slot, Record::WillDone { client_id, published: None });
            }
        }
    }
}
