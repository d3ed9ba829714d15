//! Client ids that may not connect for a while, because whoever put them off said so.

use std::sync::Arc;

use crate::shard::{Map, map};
use crate::time::Moment;

/// Client ids that a shard holds off; at the limit those whose time is over go, then nobody more is
/// held off.
const HELD_OFF_MAX: usize = 1_000_000;

/// See the module.
#[derive(Debug)]
pub(crate) struct HoldOffs {
    until: Map<Arc<str>, Moment>,
}

impl HoldOffs {
    pub(crate) fn new(seed: u64) -> Self {
        Self { until: map(seed) }
    }

    /// Holds a client id off, or no longer.
    pub(crate) fn hold(&mut self, client_id: &str, now: Moment, seconds: u32) {
        if self.until.len() >= HELD_OFF_MAX {
            self.until.retain(|_, until| *until > now);
        }
        if seconds == 0 || self.until.len() >= HELD_OFF_MAX {
            self.until.remove(client_id);
        } else {
            self.until.insert(client_id.into(), now.plus_seconds(u64::from(seconds)));
        }
    }

    /// Whether a client id is held off; forgets it when its time is over.
    pub(crate) fn holds(&mut self, client_id: &str, now: Moment) -> bool {
        if self.until.is_empty() {
            return false;
        }
        match self.until.get(client_id) {
            Some(until) if *until > now => true,
            Some(_) => {
                self.until.remove(client_id);
                false
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_held_off_for_as_long_as_was_said() {
        let mut held = HoldOffs::new(1);
        held.hold("a", Moment(1_000), 10);
        assert!(held.holds("a", Moment(10_999)));
        assert!(!held.holds("b", Moment(1_000)));
        assert!(!held.holds("a", Moment(11_000)));
        held.hold("a", Moment(0), 10);
        held.hold("a", Moment(0), 0);
        assert!(!held.holds("a", Moment(0)));
    }
}
