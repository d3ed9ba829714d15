//! The only place that reads a clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bitts_broker::{Moment, Now};

/// The moment at which a process starts: late enough that what happened before it, and was kept,
/// has a moment too.
const START: Moment = Moment(1 << 42);

/// Time as all threads of one server see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
    /// By how much a test moved it, in milliseconds.
    moved: Option<&'static AtomicU64>,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), moved: None }
    }

    /// A clock that can be moved. What it is moved by outlives the server: a few bytes for each.
    pub(crate) fn movable() -> Self {
        Self { moved: Some(Box::leak(Box::default())), ..Self::new() }
    }

    pub(crate) fn is_movable(&self) -> bool {
        self.moved.is_some()
    }

    /// Moves it forward; `false` where it cannot be moved.
    pub(crate) fn advance(&self, millis: u64) -> bool {
        if let Some(moved) = self.moved {
            moved.fetch_add(millis, Ordering::SeqCst);
        }
        self.moved.is_some()
    }

    /// Read once in a turn.
    pub(crate) fn now(&self) -> Now {
        let moved = self.moved.map_or(0, |moved| moved.load(Ordering::SeqCst));
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let moment = START.plus_millis(millis(self.start.elapsed())).plus_millis(moved);
        Now { moment, unix_ms: millis(unix).saturating_add(moved) }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
