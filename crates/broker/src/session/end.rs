//! How connections and sessions end.
//!
//! Every end of a connection passes [`Shard::end_connection`] with its [`Cause`], every end of a
//! session [`Shard::end_session`]: will, events, counters and records follow from there alone.

use std::sync::Arc;

use bitts_mqtt::{Disconnect, Packet, ProtocolVersion, QoS, ReasonCode, UserProperties};

use super::outbound::Outbound;
use super::{Connection, encode_frame};
use crate::outbox::{Close, Outbox, Parcel, SessionRef};
use crate::reason::{Cause, Dropped, Violation};
use crate::record::{Lsn, Record, Stage};
use crate::route::Holder;
use crate::shard::Shard;
use crate::time::Now;

impl Shard {
    /// DISCONNECT from the client: the Will goes unsent, unless asked for [MQTT-3.14.4-3].
    pub(crate) fn on_disconnect(
        &mut self,
        now: Now,
        index: u32,
        disconnect: &Disconnect<'_>,
        out: &mut Outbox,
    ) -> Result<(), Violation> {
        if let Some(expiry) = disconnect.session_expiry_interval {
            if expiry > 0 && !self.session(index).is_persistent() {
                return Err(Violation::SessionExpiryFromZero);
            }
            self.set_expiry(index, expiry);
        }
        // Only 0x00 takes the Will back; any other code says that something went wrong.
        if disconnect.reason_code == ReasonCode::Success {
            self.discard_will(index);
        }
        self.end_connection(now, index, Cause::ClientInitiated, out);
        Ok(())
    }

    /// Ends the session's Network Connection, and the session with it where it has no expiry.
    ///
    /// Order: DISCONNECT and close, Will, event; the contract's `delete-connection.md` §1.5.
    pub(crate) fn end_connection(&mut self, now: Now, index: u32, cause: Cause, out: &mut Outbox) {
        let session = self.session(index);
        let Some(mut connection) = session.connection.take() else { return };
        session.cause = Some(cause);
        session.changed_unix_ms = now.unix_ms;
        session.disconnected_at = now.moment;
        let version = session.version;
        if let Some(place) = self.conns.get_mut(connection.id.index as usize) {
            *place = None;
        }
        self.connected -= 1;
        self.say_why(&mut connection, version, cause, out);
        let close = if cause == Cause::ConnectionLost { Close::Now } else { Close::Flush };
        out.closes.push((connection.id, close));
        let reason = cause.disconnect_reason().as_str();
        *self.stats.disconnects.entry(reason).or_default() += 1;
        if let Cause::ClientError(violation) = cause {
            *self.stats.violations.entry(violation.name()).or_default() += 1;
        }
        self.forget_connection_state(index);
        self.confirmations_ended(connection.id, out);
        self.will_after_connection(now, index, out);
        self.announce_disconnected(now, index, cause, out);
        if self.session(index).is_persistent() {
            self.park(now, index, cause, out);
        } else {
            self.end_session(now, index, out);
        }
    }

    /// DISCONNECT to an MQTT 5 client, behind its CONNACK and its acknowledgements; without a
    /// Reason String where it asked for none or takes no packet that large [MQTT-3.14.2-3].
    fn say_why(
        &mut self,
        connection: &mut Connection,
        version: ProtocolVersion,
        cause: Cause,
        out: &mut Outbox,
    ) {
        let Some(reason_code) = cause.reason_code().filter(|_| version == ProtocolVersion::V5)
        else {
            return;
        };
        let reason_string = match cause {
            Cause::ClientError(violation) if connection.problem_information => {
                Some(violation.name())
            }
            _ => None,
        };
        let server_reference = self.server_reference.take();
        let moved = server_reference.as_ref().map(|_| ReasonCode::UseAnotherServer);
        let mut packet = Disconnect {
            reason_code: moved.unwrap_or(reason_code),
            session_expiry_interval: None,
            reason_string,
            server_reference: server_reference.as_deref(),
            user_properties: UserProperties::EMPTY,
        };
        for _ in 0..2 {
            let frame =
                encode_frame(connection.id, &Packet::Disconnect(packet.clone()), version, out);
            if frame.bytes() <= connection.packet_bytes_max {
                connection.push(frame, connection.last_gate, &mut self.gates, out);
                return;
            }
            packet.reason_string = None;
        }
    }

    fn forget_connection_state(&mut self, index: u32) {
        let session = self.session(index);
        if let Some(inbound) = &mut session.inbound {
            inbound.connection_ended();
        }
        let subacks = session.extra.as_mut().map(|extra| {
            extra.scans.clear();
            extra.scans_waiting.clear();
            std::mem::take(&mut extra.subacks)
        });
        drop(subacks);
        session.let_go_of_extra();
        if let Some(outbound) = &mut session.outbound {
            outbound.connection_ended();
        }
    }

    /// The session waits for its client.
    fn park(&mut self, now: Now, index: u32, cause: Cause, out: &mut Outbox) {
        let session = self.session(index);
        let expiry = session.expiry;
        let (slot, client_id) = (session.slot, Arc::clone(&session.client_id));
        let will_pending = session.will.is_some();
        let at_unix_ms = now.unix_ms;
        let record = Record::SessionDetached { client_id, cause, expiry, at_unix_ms, will_pending };
        self.record(slot, record);
        self.remind_of_next(index);
        self.update_memberships(now, index, out);
    }

    /// Removes the session: a Will that still waits is due now [MQTT-3.1.3-9]; subscriptions and
    /// everything owed are gone. Returns the position at which that is durable.
    pub(crate) fn end_session(&mut self, now: Now, index: u32, out: &mut Outbox) -> Option<Lsn> {
        self.publish_will(now, index, out);
        let persistent = self.session(index).is_persistent();
        let subscriptions = std::mem::take(&mut self.session(index).subscriptions);
        for held in &subscriptions {
            if bitts_mqtt::shared_filter(&held.filter).is_some() {
                let owner = self.placement.owner_of(&held.filter);
                let session = self.session_ref(index);
                self.tell(now, owner, Parcel::Leave { group: held.filter.clone(), session }, out);
            } else {
                let holder = Holder::Session(held.as_subscriber(index));
                self.router.release(&held.filter, holder, persistent);
            }
        }
        self.forget_reminder(index);
        let me = self.session_ref(index);
        let mut session = self.sessions.remove(index as usize);
        self.by_client.remove(&session.client_id);
        if let Some(outbound) = session.outbound.take() {
            self.forget_queue(&outbound.queue, out);
            self.give_back(now, me, *outbound, out);
        }
        let lsn = session.is_recorded.then(|| {
            let client_id = Arc::clone(&session.client_id);
            self.record(session.slot, Record::SessionEnded { client_id })
        });
        self.remember_disconnect(now.moment, &session);
        lsn
    }

    /// The session is gone: what a `$share` group chose it for at QoS 1 goes to another member
    /// [MQTT5 4.8.2], everything else is dropped.
    fn give_back(&mut self, now: Now, session: SessionRef, outbound: Outbound, out: &mut Outbox) {
        let inflight = outbound.inflight.into_iter().filter(|held| held.stage == Stage::Published);
        let inflight = inflight.map(|held| (held.message, held.qos, held.group));
        let on_disk = outbound.queue.pages().map(|page| u64::from(page.count)).sum();
        self.stats.drop_many(Dropped::SessionEnded, on_disk);
        let queued = outbound.queue.into_memory();
        let queued = queued.map(|held| (Some(held.message), held.qos, held.group));
        for owed in inflight.chain(queued) {
            if let (Some(message), QoS::One, Some(group)) = owed {
                let owner = self.placement.owner_of(&group);
                let parcel = Parcel::Undelivered { group, session, message, tried: 0, handed: 0 };
                self.tell(now, owner, parcel, out);
            } else {
                self.stats.drop_one(Dropped::SessionEnded);
            }
        }
    }
}
