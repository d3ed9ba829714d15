//! SendDirectMessage: one message to one connected client, whether it subscribes or not.
//!
//! It goes past the queue and is never kept: what the client does not take now it does not get.
//! With a confirmation the answer waits for the PUBACK, until the deadline or the end of the
//! connection. Contract `delete-connection.md` §4.

use std::collections::BTreeMap;

use bitts_aws::error::{ApiError, ErrorKind};
use bitts_mqtt::{PacketId, QoS, ReasonCode};
use bytes::Bytes;

use crate::command::Reply;
use crate::input::{ConnId, ReplyId};
use crate::outbox::Outbox;
use crate::rates::AccountRate;
use crate::record::Lsn;
use crate::session::{Once, Transit};
use crate::shard::Shard;
use crate::slot::NameKey;
use crate::time::{Moment, Now};
use crate::timers::Reminder;

/// A message to one client.
#[derive(Clone, Debug)]
pub struct DirectMessage {
    /// To whom.
    pub client_id: String,
    /// A valid Topic Name that is not reserved.
    pub topic: String,
    /// Payload.
    pub payload: Bytes,
    /// Encoded by [`bitts_mqtt::PublishProperties::encode_forwarded`]; MQTT 3.1.1 gets none.
    pub properties: Vec<u8>,
    /// Seconds to wait for the PUBACK; without, it is sent at QoS 0.
    pub confirmation: Option<u8>,
}

/// Why a direct message did not reach its client, or nobody knows whether it did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NotDelivered {
    /// The client is not connected; its session is there (DM-4).
    Offline,
    /// Its policies do not let it receive this (DM-8).
    NotAuthorized,
    /// It takes no packet this large.
    TooLarge,
    /// No PUBACK came in time (DM-3).
    NotConfirmed,
    /// The connection ended before the PUBACK came.
    ConnectionEnded,
    /// The client answered with this Reason Code (DM-14).
    Refused(ReasonCode),
}

impl NotDelivered {
    /// The exception of the HTTP API. The two that clients tell apart by their text name the
    /// session, and the client.
    #[must_use]
    pub fn api_error(self, client_id: &str) -> ApiError {
        let (kind, message) = match self {
            Self::Offline => {
                let message = "The target client ID is not connected, \
                               but it has an active persistent session";
                (ErrorKind::ResourceNotFound, message.to_owned())
            }
            Self::NotAuthorized => {
                let message = format!("The client {client_id} is not allowed to receive the topic");
                (ErrorKind::Forbidden, message)
            }
            Self::TooLarge => {
                let message = "The client takes no message this large";
                (ErrorKind::RequestEntityTooLarge, message.to_owned())
            }
            Self::NotConfirmed => {
                let message = "The client did not confirm the message in time";
                (ErrorKind::GatewayTimeout, message.to_owned())
            }
            Self::ConnectionEnded => {
                let message = "The connection ended before the client confirmed the message";
                (ErrorKind::GatewayTimeout, message.to_owned())
            }
            Self::Refused(code) => {
                let (phrase, number) = (code.phrase(), code.number());
                let message = format!("The client answered with {phrase} ({number:#04X})");
                (ErrorKind::InternalFailure, message)
            }
        };
        ApiError::new(kind, message)
    }
}

/// Answers that wait for a PUBACK.
#[derive(Debug, Default)]
pub(crate) struct Confirmations {
    waiting: BTreeMap<(ConnId, u16), (ReplyId, Moment)>,
}

impl Shard {
    pub(crate) fn send_direct_message(
        &mut self,
        now: Now,
        message: &DirectMessage,
        reply: ReplyId,
        out: &mut Outbox,
    ) {
        match self.try_direct_message(now, message, out) {
            Ok(None) => out.replies.push((reply, Reply::Done)),
            Ok(Some((conn, packet_id, seconds))) => {
                let at = now.moment.plus_seconds(u64::from(seconds));
                self.confirmations.waiting.insert((conn, packet_id), (reply, at));
                self.timers.remind(at, Reminder::Confirmation(conn, packet_id));
            }
            Err(refused) => out.replies.push((reply, refused)),
        }
    }

    /// Sends it; what is to be waited for, and for how many seconds.
    fn try_direct_message(
        &mut self,
        now: Now,
        message: &DirectMessage,
        out: &mut Outbox,
    ) -> Result<Option<(ConnId, u16, u8)>, Reply> {
        let Some(index) = self.by_client.get(&*message.client_id).copied() else {
            return Err(Reply::NotFound);
        };
        let Some(connection) = &self.session(index).connection else {
            return Err(Reply::NotDelivered(NotDelivered::Offline));
        };
        let conn = connection.id;
        let mut transit = Transit {
            topic: &message.topic,
            payload: &message.payload,
            properties: &message.properties,
            qos: if message.confirmation.is_some() { QoS::One } else { QoS::Zero },
            retain: false,
            publisher: NameKey(0),
            expires_at: None,
            accepted_unix_ms: now.unix_ms,
            received: None,
            gate: Lsn::default(),
            log: None,
            handed: 0,
            parked: None,
            topic_key: None,
            payload_at: None,
            templates: Default::default(),
        };
        if !self.may_receive(now, index, &mut transit) {
            return Err(Reply::NotDelivered(NotDelivered::NotAuthorized));
        }
        let is_full = message.confirmation.is_some()
            && self.confirmations.waiting.len() >= self.limits.direct_messages_waiting_max;
        let per_second = self.rates.inbound_publish_requests;
        if is_full || !self.account_may(now, AccountRate::InboundPublish, per_second) {
            return Err(Reply::Throttled);
        }
        match self.send_once(now, index, &mut transit, out) {
            Once::Sent(packet_id) => {
                self.stats.injected += 1;
                Ok(message
                    .confirmation
                    .zip(packet_id)
                    .map(|(seconds, id)| (conn, id.number(), seconds)))
            }
            Once::NoRoom => Err(Reply::Throttled),
            Once::TooLarge => Err(Reply::NotDelivered(NotDelivered::TooLarge)),
        }
    }

    /// PUBACK for a message that was in flight: whoever waits for it is told.
    pub(crate) fn confirm(
        &mut self,
        index: u32,
        packet_id: PacketId,
        reason: ReasonCode,
        out: &mut Outbox,
    ) {
        if self.confirmations.waiting.is_empty() {
            return;
        }
        let Some(conn) = self.session(index).connection.as_ref().map(|it| it.id) else { return };
        let packet_id = packet_id.number();
        let Some((reply, at)) = self.confirmations.waiting.remove(&(conn, packet_id)) else {
            return;
        };
        self.timers.forget(at, Reminder::Confirmation(conn, packet_id));
        let answer = if reason.is_error() {
            Reply::NotDelivered(NotDelivered::Refused(reason))
        } else {
            Reply::Done
        };
        out.replies.push((reply, answer));
    }

    /// The time to wait is over (DM-3).
    pub(crate) fn confirmation_is_late(&mut self, conn: ConnId, packet_id: u16, out: &mut Outbox) {
        if let Some((reply, _)) = self.confirmations.waiting.remove(&(conn, packet_id)) {
            out.replies.push((reply, Reply::NotDelivered(NotDelivered::NotConfirmed)));
        }
    }

    /// The connection ended: nothing confirms any more what it was sent.
    pub(crate) fn confirmations_ended(&mut self, conn: ConnId, out: &mut Outbox) {
        let of_conn = self.confirmations.waiting.range((conn, 0)..=(conn, u16::MAX));
        let ended: Vec<(ConnId, u16)> = of_conn.map(|(key, _)| *key).collect();
        for key in ended {
            let Some((reply, at)) = self.confirmations.waiting.remove(&key) else { continue };
            self.timers.forget(at, Reminder::Confirmation(key.0, key.1));
            out.replies.push((reply, Reply::NotDelivered(NotDelivered::ConnectionEnded)));
        }
    }
}
