//! Time as the core sees it: an argument, never a clock.

/// A point on the monotonic clock, in milliseconds since the process (or the simulation) began.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Moment(pub u64);

impl Moment {
    /// The moment this many seconds later; never overflows.
    #[must_use]
    pub const fn plus_seconds(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(1000)))
    }

    /// The moment this many milliseconds later; never overflows.
    #[must_use]
    pub const fn plus_millis(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// Milliseconds from `earlier` to this moment, 0 if it is not earlier.
    #[must_use]
    pub const fn millis_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The time of one turn: the monotonic clock decides, the wall clock is only told to people.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Now {
    /// Keep Alive, expiry and every deadline run on this.
    pub moment: Moment,
    /// Milliseconds since 1970, for timestamps in events and answers.
    pub unix_ms: u64,
}

impl Now {
    /// Where a point of the monotonic clock is on the wall clock, as the two stand now.
    #[must_use]
    pub const fn unix_ms_of(self, at: Moment) -> u64 {
        let ahead = self.unix_ms.saturating_add(at.millis_since(self.moment));
        ahead.saturating_sub(self.moment.millis_since(at))
    }

    /// The reverse of [`Now::unix_ms_of`].
    #[must_use]
    pub const fn moment_of(self, unix_ms: u64) -> Moment {
        let ahead = self.moment.0.saturating_add(unix_ms.saturating_sub(self.unix_ms));
        Moment(ahead.saturating_sub(self.unix_ms.saturating_sub(unix_ms)))
    }
}
