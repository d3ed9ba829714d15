//! When a session is looked at: Keep Alive, Will Delay Interval, Session Expiry Interval, its
//! queue.

use crate::outbox::Outbox;
use crate::reason::Cause;
use crate::session::{EXPIRY_NEVER, Session};
use crate::shard::Shard;
use crate::time::{Moment, Now};
use crate::timers::{NEVER, Reminder};

impl Session {
    /// When one and a half times its Keep Alive of silence are over [MQTT-3.1.2-22].
    fn keep_alive_due(&self) -> Moment {
        // Of a client that takes no bytes nothing is read either: whoever holds its socket watches
        // it.
        let is_watched = self.connection.as_ref().is_some_and(|held| !held.congested);
        if !is_watched || self.keep_alive_counted == 0 {
            return NEVER;
        }
        self.last_packet.plus_millis(u64::from(self.keep_alive_counted) * 1500)
    }

    /// When it was offline for its Session Expiry Interval [MQTT-4.1.0-2].
    fn expiry_due(&self) -> Moment {
        if self.connection.is_some() || self.expiry == EXPIRY_NEVER {
            return NEVER;
        }
        self.disconnected_at.plus_seconds(u64::from(self.expiry))
    }

    /// When and why its client may no longer be connected.
    fn connection_due(&self) -> (Moment, Cause) {
        let Some(connection) = &self.connection else { return (NEVER, Cause::ServerInitiated) };
        let cause = if connection.is_websocket {
            Cause::WebSocketTtlExpiration
        } else {
            Cause::ServerInitiated
        };
        match self.access.as_ref().and_then(|access| access.ends) {
            Some(ends) if ends.0 < connection.ends => ends,
            _ => (connection.ends, cause),
        }
    }

    /// When somebody else is asked again who its client is.
    fn refresh_due(&self) -> Moment {
        let access = self.access.as_ref().filter(|_| self.connection.is_some());
        access.and_then(|access| access.refresh).unwrap_or(NEVER)
    }

    pub(super) fn will_due(&self) -> Moment {
        if self.connection.is_some() {
            return NEVER;
        }
        self.will.as_ref().and_then(|will| will.due()).unwrap_or(NEVER)
    }
}

impl Shard {
    /// Looks at the session at `at`, or earlier if something else of it is due earlier.
    pub(crate) fn remind(&mut self, index: u32, at: Moment) {
        let session = self.session(index);
        if session.reminder <= at {
            return;
        }
        let old = std::mem::replace(&mut session.reminder, at);
        let reminder = Reminder::Session(index);
        if old != NEVER {
            self.timers.forget(old, reminder);
        }
        self.timers.remind(at, reminder);
    }

    /// Reminds of what is due first.
    pub(crate) fn remind_of_next(&mut self, index: u32) {
        let session = self.session(index);
        let next = session.keep_alive_due().min(session.expiry_due());
        let next = next.min(session.will_due()).min(session.connection_due().0);
        let next = next.min(session.refresh_due());
        if next != NEVER {
            self.remind(index, next);
        }
    }

    /// The session is gone.
    pub(crate) fn forget_reminder(&mut self, index: u32) {
        let at = std::mem::replace(&mut self.session(index).reminder, NEVER);
        if at != NEVER {
            self.timers.forget(at, Reminder::Session(index));
        }
    }

    /// A reminder came: what is due of the session happens.
    pub(crate) fn look_at(&mut self, now: Now, index: u32, out: &mut Outbox) {
        let Some(session) = self.sessions.get_mut(index as usize) else { return };
        session.reminder = NEVER;
        let generation = session.generation;
        // Of a 3.1.1 client that publishes what a full disk cannot keep nothing is read.
        if self.is_disk_full && session.connection.is_some() && !session.is_mqtt5() {
            session.last_packet = now.moment;
        }
        if session.refresh_due() <= now.moment
            && let (Some(access), Some(connection)) = (&mut session.access, &session.connection)
        {
            access.refresh = None;
            out.refreshes.push(connection.id);
        }
        if session.keep_alive_due() <= now.moment {
            self.end_connection(now, index, Cause::KeepAliveTimeout, out);
        } else if session.connection_due().0 <= now.moment {
            let (_, cause) = session.connection_due();
            self.end_connection(now, index, cause, out);
        } else if session.connection.is_some() {
            self.send_owed(now, index, out);
        } else {
            self.settle_offline(now, index, out);
        }
        let is_there = |held: &Session| held.generation == generation;
        if self.sessions.get(index as usize).is_some_and(is_there) {
            self.remind_of_next(index);
        }
    }

    /// What became due while the client was away: its Will, then its session's end.
    pub(crate) fn settle_offline(&mut self, now: Now, index: u32, out: &mut Outbox) {
        if self.session(index).will_due() <= now.moment {
            self.publish_will(now, index, out);
        }
        if self.session(index).expiry_due() <= now.moment {
            self.end_session(now, index, out);
        }
    }
}
