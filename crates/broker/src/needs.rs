//! What clients needed to be decided in the last hour, so that another policy can be compared with
//! the one in force before it decides.
//!
//! A decision is kept once for each client, action and name; while its session remembers it, the
//! session lives by it. Bounded: at the limit what is older than an hour goes, and then the new one
//! is not kept.

use core::net::IpAddr;
use std::sync::Arc;

use bitts_aws::policy::{ActionKind, ResourceKind};
use bitts_aws::registry::Identity;

use crate::shard::{Map, map};
use crate::slot::NameKey;

/// Needs that a shard keeps.
const NEEDS_MAX: usize = 16_384;
/// How long one is kept that nobody asks again, in milliseconds.
const KEPT_MS: u64 = 3_600_000;

/// One thing that a client needed to be decided.
#[derive(Clone, Debug)]
pub struct Need {
    /// Who it is.
    pub identity: Identity,
    /// Client Identifier.
    pub client_id: Arc<str>,
    /// The client's address.
    pub source: IpAddr,
    /// The listener's port.
    pub local_port: u16,
    /// Through TLS.
    pub is_secure: bool,
    /// What it asked to do.
    pub action: NeededAction,
    /// With which topic, filter or client.
    pub name: Box<str>,
    /// What was decided.
    pub is_allowed: bool,
    /// When, in milliseconds since 1970.
    pub asked_unix_ms: u64,
}

/// The action of a [`Need`].
#[derive(Clone, Debug)]
pub enum NeededAction {
    /// `iot:Connect`.
    Connect {
        /// The session outlives the connection.
        persistent: bool,
        /// The Will's topic.
        will_topic: Option<Box<str>>,
    },
    /// One without details, on this kind of resource.
    Plain(ActionKind, ResourceKind),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Needs(Map<(NameKey, u8, NameKey), Need>);

impl Needs {
    pub(crate) fn new(seed: u64) -> Self {
        Self(map(seed))
    }

    /// Keeps a decision; `key` is of its client, action and name.
    pub(crate) fn keep(&mut self, key: (NameKey, u8, NameKey), need: impl FnOnce() -> Need) {
        if self.0.len() >= NEEDS_MAX && !self.0.contains_key(&key) {
            let need = need();
            let from = need.asked_unix_ms.saturating_sub(KEPT_MS);
            self.0.retain(|_, held| held.asked_unix_ms >= from);
            if self.0.len() < NEEDS_MAX {
                self.0.insert(key, need);
            }
            return;
        }
        self.0.insert(key, need());
    }

    /// Those of the last hour.
    pub(crate) fn all(&self, unix_ms: u64) -> Vec<Need> {
        let from = unix_ms.saturating_sub(KEPT_MS);
        let mut all: Vec<Need> = self
            .0
            .iter()
            .map(|(_, need)| need)
            .filter(|it| it.asked_unix_ms >= from)
            .cloned()
            .collect();
        all.sort_by(|a, b| a.client_id.cmp(&b.client_id).then_with(|| a.name.cmp(&b.name)));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need(asked_unix_ms: u64) -> Need {
        Need {
            identity: Identity::Anonymous,
            client_id: "a".into(),
            source: IpAddr::from([127, 0, 0, 1]),
            local_port: 1883,
            is_secure: false,
            action: NeededAction::Plain(ActionKind::Publish, ResourceKind::Topic),
            name: "t".into(),
            is_allowed: true,
            asked_unix_ms,
        }
    }

    #[test]
    fn an_hour_is_kept_and_no_more_than_the_limit() {
        let mut needs = Needs::new(1);
        let key = |number: usize| (NameKey(1), 0, NameKey(number as u64));
        for number in 0..NEEDS_MAX {
            needs.keep(key(number), || need(1_000));
        }
        needs.keep(key(NEEDS_MAX), || need(2_000));
        assert_eq!(needs.all(2_000).len(), NEEDS_MAX, "the new one is not kept");
        needs.keep(key(0), || need(3_000));
        assert_eq!(needs.all(1_500 + KEPT_MS).len(), 1, "what was asked again is kept longer");
        needs.keep(key(NEEDS_MAX), || need(2_000 + KEPT_MS));
        assert_eq!(needs.all(2_000 + KEPT_MS).len(), 2);
    }
}
