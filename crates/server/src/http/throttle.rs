//! Who asks too often: `ThrottlingException`, 429, of the control plane 400, with `Retry-After`.
//!
//! Rates of operations are off unless they are asked for (`data-plane-http.md` §10). For tests the
//! next requests can be made to throttle: `POST /bitts/v1/throttle?calls=3`, with
//! `operation=DeleteConnection` for one operation only.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use bitts_aws::api::Operation;
use bitts_aws::control::{ControlError, ControlErrorKind};
use bitts_aws::error::{ApiError, RATE_EXCEEDED};
use bitts_broker::Moment;

/// Most requests a second, by operation; 0 is no limit. Default none.
#[derive(Clone, Debug, Default)]
pub struct RequestRates {
    /// DeleteConnection. AWS does not publish its limit.
    pub delete_connection: u32,
    /// GetConnection. AWS does not publish its limit.
    pub get_connection: u32,
    /// ListSubscriptions. AWS does not publish its limit.
    pub list_subscriptions: u32,
    /// GetRetainedMessage. On AWS 500.
    pub get_retained_message: u32,
    /// ListRetainedMessages. On AWS 10.
    pub list_retained_messages: u32,
    /// Each operation of the control plane. AWS has another limit for each of them.
    pub control_plane: u32,
}

impl RequestRates {
    /// AWS's defaults for an account.
    #[must_use]
    pub const fn aws() -> Self {
        Self {
            delete_connection: 0,
            get_connection: 0,
            list_subscriptions: 0,
            get_retained_message: 500,
            list_retained_messages: 10,
            control_plane: 0,
        }
    }

    const fn of(&self, operation: Operation) -> u32 {
        match operation {
            Operation::DeleteConnection => self.delete_connection,
            Operation::GetConnection => self.get_connection,
            Operation::ListSubscriptions => self.list_subscriptions,
            Operation::GetRetainedMessage => self.get_retained_message,
            Operation::ListRetainedMessages => self.list_retained_messages,
            // Publish is held to the account's rate of messages, where they are counted.
            Operation::Publish
            | Operation::SendDirectMessage
            | Operation::GetThingShadow
            | Operation::UpdateThingShadow
            | Operation::DeleteThingShadow
            | Operation::ListNamedShadowsForThing => 0,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Throttle {
    rates: RequestRates,
    /// By operation: the second in the upper half, requests of it in the lower.
    used: [AtomicU64; Operation::ALL.len()],
    /// Requests of any operation, and of each, that a test wants throttled.
    next: AtomicU32,
    next_of: [AtomicU32; Operation::ALL.len()],
    /// The second under way, and requests of it by operation of the control plane.
    controls: Mutex<(u64, BTreeMap<&'static str, u32>)>,
}

impl Throttle {
    pub(super) fn new(rates: RequestRates) -> Self {
        Self {
            rates,
            used: Default::default(),
            next: AtomicU32::new(0),
            next_of: Default::default(),
            controls: Mutex::default(),
        }
    }

    /// Throttles the next requests.
    pub(super) fn throttle_next(&self, operation: Option<Operation>, calls: u32) {
        let next = operation.and_then(|operation| self.next_of.get(operation as usize));
        next.unwrap_or(&self.next).store(calls, Ordering::Relaxed);
    }

    /// Counts a request, or refuses it.
    pub(super) fn check(&self, operation: Operation, now: Moment) -> Result<(), ApiError> {
        let is_in_time = !self.is_wanted(operation) && self.is_in_time(operation, now);
        is_in_time.then_some(()).ok_or_else(ApiError::rate_exceeded)
    }

    /// Counts a request to the control plane, or refuses it.
    pub(super) fn check_control(
        &self,
        operation: &'static str,
        now: Moment,
    ) -> Result<(), ControlError> {
        let (per_second, second) = (self.rates.control_plane, now.0 / 1_000);
        if per_second == 0 {
            return Ok(());
        }
        let mut controls = self.controls.lock().unwrap_or_else(PoisonError::into_inner);
        if controls.0 != second {
            *controls = (second, BTreeMap::new());
        }
        let used = controls.1.entry(operation).or_default();
        if *used >= per_second {
            return Err(ControlError::new(ControlErrorKind::Throttling, RATE_EXCEEDED));
        }
        *used += 1;
        Ok(())
    }

    fn is_wanted(&self, operation: Operation) -> bool {
        let take = |next: &AtomicU32| {
            next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                .is_ok()
        };
        self.next_of.get(operation as usize).is_some_and(take) || take(&self.next)
    }

    fn is_in_time(&self, operation: Operation, now: Moment) -> bool {
        let per_second = u64::from(self.rates.of(operation));
        let used = self.used.get(operation as usize).filter(|_| per_second > 0);
        let second = (now.0 / 1_000 + 1) << 32;
        used.is_none_or(|used| {
            used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
                let of_second = if held & !0xFFFF_FFFF == second { held & 0xFFFF_FFFF } else { 0 };
                (of_second < per_second).then_some(second | (of_second + 1))
            })
            .is_ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_has_a_rate_of_its_own() {
        let throttle = Throttle::new(RequestRates::aws());
        let list = |ms| throttle.check(Operation::ListRetainedMessages, Moment(ms)).is_ok();
        assert!((0..10).all(|_| list(1_000)));
        assert!(!list(1_999));
        assert!(list(2_000));
        assert!((0..100).all(|_| throttle.check(Operation::Publish, Moment(1_000)).is_ok()));
    }

    #[test]
    fn each_operation_of_the_control_plane_has_the_same_rate() {
        let throttle = Throttle::new(RequestRates { control_plane: 2, ..RequestRates::default() });
        let asked = [("A", 1_000), ("A", 1_500), ("A", 1_999), ("B", 1_999), ("A", 2_000)];
        let done = asked.map(|(name, ms)| throttle.check_control(name, Moment(ms)).is_ok());
        assert_eq!(done, [true, true, false, true, true]);
        let free = Throttle::new(RequestRates::aws());
        assert!((0..100).all(|_| free.check_control("A", Moment(0)).is_ok()));
    }

    #[test]
    fn a_test_throttles_as_many_as_it_wants() {
        let throttle = Throttle::new(RequestRates::default());
        throttle.throttle_next(Some(Operation::DeleteConnection), 2);
        let results = |operation| {
            (0..4).map(|_| throttle.check(operation, Moment(0)).is_ok()).collect::<Vec<_>>()
        };
        assert_eq!(results(Operation::GetConnection), [true; 4]);
        assert_eq!(results(Operation::DeleteConnection), [false, false, true, true]);
        throttle.throttle_next(None, 1);
        assert_eq!(results(Operation::Publish), [false, true, true, true]);
    }
}
