//! One queue of deadlines for everything that waits in a shard.
//!
//! An entry is a reminder to look, not a fact: whoever is reminded checks whether its time has
//! really come and, if not, asks to be reminded again. A session has at most one, for whatever of
//! it is due first, so that reconnecting leaves nothing behind.

use std::collections::BTreeSet;

use crate::input::ConnId;
use crate::time::Moment;

/// No reminder is set.
pub(crate) const NEVER: Moment = Moment(u64::MAX);

/// What to look at.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Reminder {
    /// A session: its Keep Alive, its Will Delay Interval, its expiry, what it is owed.
    Session(u32),
    /// A `$share` group: messages that wait for the rate of its members.
    Group(u32),
    /// The confirmation of a direct message, by connection and Packet Identifier.
    Confirmation(ConnId, u16),
    /// The shadow that was deleted first.
    Shadows,
    /// The oldest remembered disconnect.
    Disconnects,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    queue: BTreeSet<(Moment, Reminder)>,
}

impl Timers {
    pub(crate) fn remind(&mut self, at: Moment, of: Reminder) {
        self.queue.insert((at, of));
    }

    pub(crate) fn forget(&mut self, at: Moment, of: Reminder) {
        self.queue.remove(&(at, of));
    }

    pub(crate) fn next(&self) -> Option<Moment> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// The next reminder that is due.
    pub(crate) fn due(&mut self, now: Moment) -> Option<Reminder> {
        if self.next()? > now {
            return None;
        }
        self.queue.pop_first().map(|(_, reminder)| reminder)
    }
}
