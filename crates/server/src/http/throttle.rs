//! Who asks too often: `ThrottlingException`, 429, of the control plane 400, with `Retry-After`.
//!
//! Rates of operations are off unless they are asked for (`data-plane-http.md` §10). For tests the
//! next requests can be made to throttle: `POST /bitts/v1/throttle?calls=3`, with
//! `operation=DeleteConnection` for one operation only, also of the control plane.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use bitts_aws::api::{Operation, ThrottleNext, Throttled};
use bitts_aws::control::{ControlError, ControlErrorKind};
use bitts_aws::error::{ApiError, RATE_EXCEEDED};
use bitts_broker::{Moment, Window};

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
    /// By operation of the data plane.
    operations: [Asked; Operation::ALL.len()],
    /// By operation of the control plane, where it was asked for.
    controls: Mutex<BTreeMap<&'static str, Asked>>,
    /// Requests of any operation of the data plane that a test wants throttled.
    next: Next,
}

/// How often an operation is asked for.
#[derive(Debug, Default)]
struct Asked {
    used: Window,
    next: Next,
}

/// Requests that a test wants throttled.
#[derive(Debug, Default)]
struct Next(AtomicU32);

impl Next {
    /// Whether the request that came is one of them.
    fn take(&self) -> bool {
        let one_less = |left: u32| left.checked_sub(1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }
}

impl Throttle {
    pub(super) fn new(rates: RequestRates) -> Self {
        let (operations, controls, next) = Default::default();
        Self { rates, operations, controls, next }
    }

    /// Throttles the next requests.
    pub(super) fn throttle_next(&self, asked: &ThrottleNext) {
        let calls = asked.calls;
        match asked.operation {
            None => self.next.0.store(calls, Ordering::Relaxed),
            Some(Throttled::Data(operation)) => {
                if let Some(asked) = self.operations.get(operation as usize) {
                    asked.next.0.store(calls, Ordering::Relaxed);
                }
            }
            Some(Throttled::Control(name)) => {
                self.with_control(name, |asked| asked.next.0.store(calls, Ordering::Relaxed));
            }
        }
    }

    /// Counts a request, or refuses it.
    pub(super) fn check(&self, operation: Operation, now: Moment) -> Result<(), ApiError> {
        let per_second = self.rates.of(operation);
        let is_in_time = self.operations.get(operation as usize).is_none_or(|asked| {
            !asked.next.take() && !self.next.take() && asked.used.take(now, per_second, 1)
        });
        is_in_time.then_some(()).ok_or_else(ApiError::rate_exceeded)
    }

    /// Counts a request to the control plane, or refuses it.
    pub(super) fn check_control(
        &self,
        operation: &'static str,
        now: Moment,
    ) -> Result<(), ControlError> {
        let per_second = self.rates.control_plane;
        let is_in_time = self.with_control(operation, |asked| {
            !asked.next.take() && asked.used.take(now, per_second, 1)
        });
        let exceeded = || ControlError::new(ControlErrorKind::Throttling, RATE_EXCEEDED);
        is_in_time.then_some(()).ok_or_else(exceeded)
    }

    fn with_control<T>(&self, operation: &'static str, then: impl FnOnce(&Asked) -> T) -> T {
        let mut controls = self.controls.lock().unwrap_or_else(PoisonError::into_inner);
        then(controls.entry(operation).or_default())
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
        let ask = |calls, operation| throttle.throttle_next(&ThrottleNext { calls, operation });
        ask(2, Some(Throttled::Data(Operation::DeleteConnection)));
        let results = |operation| {
            (0..4).map(|_| throttle.check(operation, Moment(0)).is_ok()).collect::<Vec<_>>()
        };
        assert_eq!(results(Operation::GetConnection), [true; 4]);
        assert_eq!(results(Operation::DeleteConnection), [false, false, true, true]);
        ask(1, None);
        assert_eq!(results(Operation::Publish), [false, true, true, true]);
        ask(1, Some(Throttled::Control("CreateThing")));
        let made = |name| throttle.check_control(name, Moment(0)).is_ok();
        let made = ["ListThings", "CreateThing", "CreateThing"].map(made);
        assert_eq!(made, [true, false, true]);
    }
}
