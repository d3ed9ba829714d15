//! Passwords of users: argon2id, a few at a time, one of them for an address, and slower for
//! whoever guesses.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use argon2::password_hash::PasswordHash;
use argon2::{Argon2, PasswordVerifier};
use bitts_aws::registry::User;
use bitts_broker::Moment;

use super::share::Shares;

/// Hashes that are computed at once: each takes 19 MiB for as long as it runs.
const AT_ONCE: usize = 2;
/// Passwords that were right and are remembered; at the limit all are forgotten.
const REMEMBERED_MAX: usize = 100_000;
/// Failures of one address in a minute after which each answer waits.
const FAILURES_A_MINUTE: u32 = 100;
/// Addresses that are counted; at the limit the count begins anew.
const ADDRESSES_MAX: usize = 100_000;
const MINUTE_MS: u64 = 60_000;

/// What the password of nobody is checked against, so that it takes as long.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZSBzYWx0IG9mIG91cnM$\
                      l1YQqfCwSnbSbvSLgJDnPm5mZhCQ4nYJkjHZbNLsQLc";

/// See the module.
#[derive(Debug)]
pub(super) struct Passwords {
    room: Shares,
    /// Names what is remembered, so that it cannot be guessed from.
    key: [u8; 32],
    /// Digests of hashes with passwords that were right for them.
    right: Mutex<HashSet<[u8; 32]>>,
}

impl Default for Passwords {
    fn default() -> Self {
        let right = Mutex::default();
        Self { room: Shares::new(AT_ONCE), key: rand::random(), right }
    }
}

impl Passwords {
    /// Whether this is the password of a user who may come in; of nobody it takes as long.
    pub(super) async fn check(
        &self,
        user: Option<&User>,
        password: &[u8],
        address: IpAddr,
    ) -> bool {
        let hash = user.map_or(NOBODY, |user| user.password_hash.expose()).to_owned();
        let digest = self.digest(&hash, password);
        let is_known = self.is_remembered(&digest);
        let is_right = is_known || self.compute(hash, password.to_vec(), address).await;
        if is_right && !is_known {
            self.remember(digest);
        }
        is_right && user.is_some_and(|user| user.is_active)
    }

    fn is_remembered(&self, digest: &[u8; 32]) -> bool {
        self.right.lock().unwrap_or_else(PoisonError::into_inner).contains(digest)
    }

    fn remember(&self, digest: [u8; 32]) {
        let mut right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        if right.len() >= REMEMBERED_MAX {
            right.clear();
        }
        right.insert(digest);
    }

    async fn compute(&self, hash: String, password: Vec<u8>, address: IpAddr) -> bool {
        let Some(place) = self.room.enter(address).await else { return false };
        let password = zeroize::Zeroizing::new(password);
        let computed = tokio::task::spawn_blocking(move || {
            let Ok(hash) = PasswordHash::new(&hash) else { return false };
            Argon2::default().verify_password(&password, &hash).is_ok()
        });
        let is_right = computed.await.unwrap_or(false);
        drop(place);
        is_right
    }

    fn digest(&self, hash: &str, password: &[u8]) -> [u8; 32] {
        let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        context.update(&self.key);
        context.update(&(hash.len() as u64).to_be_bytes());
        context.update(hash.as_bytes());
        context.update(password);
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        digest
    }
}

/// How often an address failed in the minute under way.
#[derive(Debug, Default)]
pub(super) struct Failures {
    counted: Mutex<(u64, HashMap<IpAddr, u32>)>,
}

impl Failures {
    /// Counts one; `true` where there were too many.
    pub(super) fn count(&self, address: IpAddr, now: Moment) -> bool {
        let minute = now.0 / MINUTE_MS;
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if counted.0 != minute || counted.1.len() >= ADDRESSES_MAX {
            *counted = (minute, HashMap::new());
        }
        let failures = counted.1.entry(address).or_default();
        *failures += 1;
        *failures > FAILURES_A_MINUTE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hundred_and_first_failure_of_a_minute_waits() {
        let failures = Failures::default();
        let (one, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        assert!((0..100).all(|_| !failures.count(one, Moment(0))));
        assert!(failures.count(one, Moment(59_999)));
        assert!(!failures.count(other, Moment(59_999)));
        assert!(!failures.count(one, Moment(60_000)));
    }

    #[tokio::test]
    async fn of_nobody_no_password_is_right_and_it_is_computed_all_the_same() {
        assert!(PasswordHash::new(NOBODY).is_ok());
        let address = IpAddr::from([192, 0, 2, 1]);
        assert!(!Passwords::default().check(None, b"x", address).await);
    }
}
