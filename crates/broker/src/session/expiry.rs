//! Keep Alive and Session Expiry Interval.

use crate::outbox::Outbox;
use crate::reason::Cause;
use crate::shard::Shard;
use crate::time::Now;
use crate::timers::Reminder;

impl Shard {
    /// Ends the connection after one and a half times its Keep Alive of silence [MQTT-3.1.2-22].
    pub(crate) fn check_keep_alive(&mut self, now: Now, index: u32, out: &mut Outbox) {
        let session = self.session(index);
        if session.connection.is_none() || session.keep_alive == 0 {
            return;
        }
        let allowed = u64::from(session.keep_alive) * 1500;
        let due = session.last_packet.plus_millis(allowed);
        if now.moment >= due {
            self.end_connection(now, index, Cause::KeepAliveTimeout, out);
            return;
        }
        let generation = session.generation;
        self.timers.remind(due, Reminder::KeepAlive { session: index, generation });
    }

    /// Ends a session that was offline for its Session Expiry Interval [MQTT-4.1.0-2].
    pub(crate) fn check_session_expiry(&mut self, now: Now, index: u32, out: &mut Outbox) {
        let session = self.session(index);
        if session.connection.is_some() || session.expiry == super::EXPIRY_NEVER {
            return;
        }
        let due = session.disconnected_at.plus_seconds(u64::from(session.expiry));
        if now.moment >= due {
            self.end_session(now, index, out);
        }
    }
}
