//! When a request is sent again: as AWS's SDKs do it in their standard mode.

use std::time::Duration;

/// How often, and how long to wait.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RetryPolicy {
    /// Attempts of one call, the first included. Default 3; 1 never sends again.
    pub attempts_max: u32,
    /// The longest wait before the first retry; each further one may wait twice as long. Default
    /// 1 s; zero never waits.
    pub backoff_base: Duration,
    /// The longest wait before any retry. Default 20 s.
    pub backoff_max: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts_max: 3,
            backoff_base: Duration::from_secs(1),
            backoff_max: Duration::from_secs(20),
        }
    }
}

impl RetryPolicy {
    /// One attempt.
    pub const NEVER: Self =
        Self { attempts_max: 1, backoff_base: Duration::ZERO, backoff_max: Duration::ZERO };

    /// The wait before retry number `retry`, from 0. `jitter` is a random number from 0 to 1.
    pub(super) fn backoff(&self, retry: u32, jitter: f64) -> Duration {
        let doubled = 2_u32.checked_pow(retry).and_then(|n| self.backoff_base.checked_mul(n));
        // Full jitter: anything from nothing to all of it, as a thousand clients must not return
        // at once.
        let longest = doubled.unwrap_or(self.backoff_max).min(self.backoff_max);
        longest.mul_f64(jitter.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_its_maximum() {
        let policy = RetryPolicy::default();
        let longest = |retry| policy.backoff(retry, 1.0).as_secs();
        assert_eq!([0, 1, 4, 5, 31, 32, u32::MAX].map(longest), [1, 2, 16, 20, 20, 20, 20]);
    }

    #[test]
    fn the_wait_is_jittered_from_nothing() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.backoff(3, 0.0), Duration::ZERO);
        assert_eq!(policy.backoff(3, 0.25), Duration::from_secs(2));
        assert_eq!(RetryPolicy::NEVER.backoff(3, 1.0), Duration::ZERO);
    }
}
