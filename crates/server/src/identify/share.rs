//! Places that are few, of which one address takes its share and no more: the rest of its clients
//! wait for each other, and hold nobody up.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Addresses that are known before those without a client are forgotten.
const ADDRESSES_KEPT: usize = 1_024;

/// See the module.
#[derive(Debug)]
pub(crate) struct Shares {
    places: Arc<Semaphore>,
    per_address: usize,
    addresses: Mutex<HashMap<IpAddr, Weak<Semaphore>>>,
}

/// A place, free again when this goes.
#[derive(Debug)]
pub(crate) struct Place {
    _place: OwnedSemaphorePermit,
    _of_address: OwnedSemaphorePermit,
}

impl Shares {
    /// So many places, of which an address has half, at least one.
    pub(super) fn new(places: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places)),
            per_address: (places / 2).max(1),
            addresses: Mutex::default(),
        }
    }

    /// Waits for a place, first of the address's share; in the order in which they came.
    pub(crate) async fn enter(&self, address: IpAddr) -> Option<Place> {
        let of_address = self.of(address).acquire_owned().await.ok()?;
        let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
        Some(Place { _place: place, _of_address: of_address })
    }

    /// A place of the address's share, if one is free.
    pub(super) fn try_enter(&self, address: IpAddr) -> Option<Place> {
        let of_address = self.of(address).try_acquire_owned().ok()?;
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(Place { _place: place, _of_address: of_address })
    }

    fn of(&self, address: IpAddr) -> Arc<Semaphore> {
        let address = address.to_canonical();
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = addresses.get(&address).and_then(Weak::upgrade) {
            return known;
        }
        if addresses.len() >= ADDRESSES_KEPT {
            addresses.retain(|_, known| known.strong_count() > 0);
        }
        let share = Arc::new(Semaphore::new(self.per_address));
        addresses.insert(address, Arc::downgrade(&share));
        share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_takes_half_and_others_go_past_those_that_wait() {
        let shares = Shares::new(4);
        let (one, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let first = shares.enter(one).await;
        let second = shares.enter(one).await;
        assert!(first.is_some() && second.is_some() && shares.try_enter(one).is_none());
        // Mapped into IPv6 it is the same address.
        assert!(shares.try_enter("::ffff:192.0.2.1".parse().unwrap()).is_none());
        let held = (shares.enter(other).await, shares.enter(other).await);
        assert!(shares.try_enter(IpAddr::from([192, 0, 2, 3])).is_none(), "all are taken");
        drop(first);
        assert!(shares.enter(one).await.is_some());
        drop(held);
    }

    #[tokio::test]
    async fn of_two_places_an_address_has_one() {
        let shares = Shares::new(2);
        let held = shares.enter(IpAddr::from([192, 0, 2, 1])).await;
        assert!(shares.try_enter(IpAddr::from([192, 0, 2, 1])).is_none());
        assert!(shares.try_enter(IpAddr::from([192, 0, 2, 2])).is_some());
        drop(held);
    }

    #[tokio::test]
    async fn addresses_without_a_client_are_forgotten() {
        let shares = Shares::new(2);
        for number in 0..3 * ADDRESSES_KEPT as u32 {
            drop(shares.enter(IpAddr::from(number.to_be_bytes())).await);
        }
        assert!(shares.addresses.lock().unwrap().len() <= ADDRESSES_KEPT);
    }
}
