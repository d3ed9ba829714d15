//! One queue of deadlines for everything that waits in a shard.
//!
//! An entry is a reminder to look, not a fact: whoever is reminded checks whether its time has really
//! come and, if not, asks to be reminded again. So a deadline that moves back costs nothing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::time::Moment;

/// What to look at.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Reminder {
    /// The Keep Alive of a connected session.
    KeepAlive { session: u32, generation: u32 },
    /// The Will Delay Interval of an offline session.
    WillDelay { session: u32, generation: u32 },
    /// The Session Expiry Interval of an offline session.
    SessionExpiry { session: u32, generation: u32 },
    /// The oldest remembered disconnect.
    Disconnects,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    queue: BinaryHeap<Reverse<(Moment, Reminder)>>,
}

impl Timers {
    pub(crate) fn remind(&mut self, at: Moment, of: Reminder) {
        self.queue.push(Reverse((at, of)));
    }

    pub(crate) fn next(&self) -> Option<Moment> {
        self.queue.peek().map(|Reverse((at, _))| *at)
    }

    /// The next reminder that is due.
    pub(crate) fn due(&mut self, now: Moment) -> Option<Reminder> {
        let Reverse((at, _)) = self.queue.peek()?;
        if *at > now {
            return None;
        }
        self.queue.pop().map(|Reverse((_, reminder))| reminder)
    }
}
