//! Rates: how much of something fits into one second. Contract `data-plane-http.md` §10 and
//! `mqtt-broker.md` §3.
//!
//! Every rate is off unless it is asked for. Those of one connection or session are token buckets
//! that hold one second's worth; those of the account are counted for all shards together, second
//! by second ([`AccountRates`]).

use std::sync::atomic::{AtomicU64, Ordering};

use crate::shard::Map;
use crate::slot::NameKey;
use crate::time::Moment;

/// Messages that an update of a shadow counts as: itself and the three that the service may publish
/// about it. One fits into every rate of the account, however low.
pub(crate) const PUBLISHES_OF_A_SHADOW_UPDATE: u32 = 4;

/// The rates of one server, each a second; 0 is no limit. Default none.
#[derive(Clone, Debug, Default)]
pub struct Rates {
    /// CONNECT packets of all clients. Above: CONNACK 0x9F, `aws` 0x97; 3.1.1 code 3, `aws` closes.
    pub connect_requests: u32,
    /// CONNECT packets with one Client Identifier. As above.
    pub connect_requests_per_client_id: u32,
    /// Messages accepted, from MQTT and HTTP; an update of a shadow counts as four. Above: dropped
    /// and not acknowledged, HTTP 429; an update is rejected with 429.
    pub inbound_publish_requests: u32,
    /// Messages delivered to all clients. Above: QoS 0 is dropped, QoS 1 and 2 wait.
    pub outbound_publish_requests: u32,
    /// Messages of one connection, both directions together. Above: those from the client are
    /// dropped and not acknowledged, those to it as above.
    pub publish_requests_per_connection: u32,
    /// Topic Filters of all SUBSCRIBE packets. Above: SUBACK 0x97 or 0x80.
    pub subscriptions: u32,
    /// Retained messages accepted. Above: PUBACK 0x97, HTTP 429.
    pub retained_publish_requests: u32,
    /// Retained messages accepted for one topic. As above.
    pub retained_publish_requests_per_topic: u32,
    /// Messages sent that waited while their session was offline. Above: they wait on.
    pub stored_messages_per_session: u32,
    /// Messages sent that waited while a `$share` group had nobody, for each of its connected
    /// members. Above: they wait on.
    pub shared_messages_per_subscriber: u32,
    /// Requests to the shadows of one thing. Above: rejected with 429.
    pub shadow_requests_per_thing: u32,
}

impl Rates {
    /// AWS's defaults for an account.
    #[must_use]
    pub const fn aws() -> Self {
        Self {
            connect_requests: 500,
            connect_requests_per_client_id: 1,
            inbound_publish_requests: 20_000,
            outbound_publish_requests: 20_000,
            publish_requests_per_connection: 100,
            subscriptions: 500,
            retained_publish_requests: 500,
            retained_publish_requests_per_topic: 1,
            stored_messages_per_session: 10,
            shared_messages_per_subscriber: 20,
            shadow_requests_per_thing: 20,
        }
    }
}

impl Rates {
    /// What a connection is to remember, where it is held to a rate.
    pub(crate) fn of_connection(&self) -> Option<Box<ConnectionRates>> {
        let is_held = self.publish_requests_per_connection > 0
            || self.stored_messages_per_session > 0
            || self.outbound_publish_requests > 0;
        is_held.then(Box::default)
    }
}

/// What may happen in the seconds to come: at most a second's worth at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket {
    /// Thousandths of what was used; falls by the rate.
    used: u64,
    at: Moment,
}

impl Bucket {
    /// Takes `count` if they fit; 0 for `per_second` is no limit.
    pub fn take(&mut self, now: Moment, per_second: u32, count: u32) -> bool {
        if per_second == 0 {
            return true;
        }
        self.settle(now, per_second);
        // A single thing that is larger than a second's worth fits an empty bucket.
        let after = self.used + u64::from(count) * 1_000;
        let fits = after <= u64::from(per_second) * 1_000 || self.used == 0;
        if fits {
            self.used = after;
        }
        fits
    }

    /// Counts what happened already, and says when one second holds no more than it may.
    pub fn charge(&mut self, now: Moment, per_second: u32, count: u32) -> Moment {
        self.settle(now, per_second);
        self.used += u64::from(count) * 1_000;
        let rate = u64::from(per_second.max(1));
        now.plus_millis(self.used.saturating_sub(rate * 1_000).div_ceil(rate))
    }

    /// When one more fits.
    #[must_use]
    pub fn next(&self, per_second: u32) -> Moment {
        let rate = u64::from(per_second.max(1));
        let over = (self.used + 1_000).saturating_sub(rate * 1_000);
        self.at.plus_millis(over.div_ceil(rate))
    }

    fn settle(&mut self, now: Moment, per_second: u32) {
        let passed = now.millis_since(self.at).saturating_mul(u64::from(per_second));
        self.used = self.used.saturating_sub(passed);
        self.at = now;
    }
}

/// What one connection did lately.
#[derive(Debug, Default)]
pub(crate) struct ConnectionRates {
    pub(crate) publishes: Bucket,
    pub(crate) stored: Bucket,
    /// Messages at the head of the queue that waited while the session was offline.
    pub(crate) stored_left: usize,
}

/// How often names were used in the second under way.
#[derive(Debug)]
pub(crate) struct NameRate {
    second: u64,
    used: Map<NameKey, u32>,
}

impl NameRate {
    pub(crate) fn new(seed: u64) -> Self {
        Self { second: 0, used: crate::shard::map(seed) }
    }

    /// Counts one use if it fits.
    pub(crate) fn take(&mut self, now: Moment, name: NameKey, per_second: u32) -> bool {
        if per_second == 0 {
            return true;
        }
        if self.second != second_of(now) {
            self.second = second_of(now);
            self.used.clear();
            self.used.shrink_to(1_024);
        }
        let used = self.used.entry(name).or_default();
        let fits = *used < per_second;
        *used += u32::from(fits);
        fits
    }
}

/// Whose rate of the account is asked for.
#[derive(Clone, Copy, Debug)]
pub enum AccountRate {
    /// [`Rates::connect_requests`].
    Connect,
    /// [`Rates::inbound_publish_requests`].
    InboundPublish,
    /// [`Rates::outbound_publish_requests`].
    OutboundPublish,
    /// [`Rates::subscriptions`].
    Subscribe,
    /// [`Rates::retained_publish_requests`].
    RetainedPublish,
}

/// What all shards did in the second under way.
#[derive(Debug, Default)]
pub struct AccountRates {
    windows: [Window; 5],
}

impl AccountRates {
    /// Counts one use if it fits; 0 for `per_second` is no limit.
    pub fn take(&self, which: AccountRate, now: Moment, per_second: u32) -> bool {
        self.take_some(which, now, per_second, 1)
    }

    /// Counts `count` uses if they fit, all or none.
    pub(crate) fn take_some(
        &self,
        which: AccountRate,
        now: Moment,
        per_second: u32,
        count: u32,
    ) -> bool {
        let window = self.windows.get(which as usize);
        window.is_none_or(|window| window.take(now, per_second, count))
    }
}

/// What was used of the second under way: that one in the upper half, how much in the lower.
#[derive(Debug, Default)]
pub struct Window(AtomicU64);

impl Window {
    /// Counts `count` uses if they fit, all or none; 0 for `per_second` is no limit.
    pub fn take(&self, now: Moment, per_second: u32, count: u32) -> bool {
        if per_second == 0 {
            return true;
        }
        let second = second_of(now) << 32;
        let next = |held: u64| {
            let used = if held & !0xFFFF_FFFF == second { held & 0xFFFF_FFFF } else { 0 };
            let after = used + u64::from(count);
            (after <= u64::from(per_second)).then_some(second | after)
        };
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

fn second_of(now: Moment) -> u64 {
    now.0 / 1_000 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_one_second() {
        let mut bucket = Bucket::default();
        let at = |ms: u64| Moment(5_000 + ms);
        assert!((0..10).all(|_| bucket.take(at(0), 10, 1)));
        assert!(!bucket.take(at(0), 10, 1));
        assert_eq!(bucket.next(10), at(100));
        assert!(!bucket.take(at(99), 10, 1));
        assert!(bucket.take(at(100), 10, 1));
        assert!((0..10).all(|_| bucket.take(at(5_000), 10, 1)));
        assert!(!bucket.take(at(5_000), 10, 1), "what was not used is lost");
    }

    #[test]
    fn what_is_larger_than_a_second_is_taken_alone() {
        let mut bucket = Bucket::default();
        assert!(bucket.take(Moment(0), 10, 25));
        assert!(!bucket.take(Moment(1_400), 10, 1));
        assert!(bucket.take(Moment(1_600), 10, 1));
    }

    #[test]
    fn no_rate_is_no_limit() {
        let (mut bucket, mut names) = (Bucket::default(), NameRate::new(1));
        let account = AccountRates::default();
        for _ in 0..100 {
            assert!(bucket.take(Moment(0), 0, u32::MAX));
            assert!(names.take(Moment(0), NameKey(1), 0));
            assert!(account.take(AccountRate::Connect, Moment(0), 0));
        }
    }

    #[test]
    fn names_and_accounts_are_counted_by_the_second() {
        let mut names = NameRate::new(1);
        let account = AccountRates::default();
        for second in 0..3 {
            let now = Moment(second * 1_000 + 10);
            for fits in [true, true, false] {
                assert_eq!(names.take(now, NameKey(1), 2), fits);
                assert_eq!(account.take(AccountRate::Subscribe, now, 2), fits);
            }
            assert!(names.take(now, NameKey(2), 2), "another name has its own");
            assert!(account.take(AccountRate::Connect, now, 2), "another rate has its own");
        }
    }

    #[test]
    fn what_does_not_fit_as_a_whole_counts_nothing() {
        let account = AccountRates::default();
        let take = |count| account.take_some(AccountRate::InboundPublish, Moment(0), 5, count);
        assert!(take(3));
        assert!(!take(3));
        assert!(take(2));
    }
}
