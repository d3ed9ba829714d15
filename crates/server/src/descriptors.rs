//! Descriptors of the process: the last ones are not for connections.
//!
//! Whoever exhausts them with connections takes none from the store, which needs a few to go on: a
//! segment that begins, a directory that is synced. Without one it would have to end the process.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that no connection gets, or a quarter where there are few.
const RESERVE: u64 = 32;

/// Takes as many as the system lets the process have; says how many.
pub fn raise() -> io::Result<u64> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    Ok(maximum.unwrap_or(u64::MAX))
}

/// What was accepted, unless its descriptor is one of the last: the system gives the lowest one.
pub(crate) fn admit<S: AsRawFd>(accepted: (S, SocketAddr)) -> io::Result<(S, SocketAddr)> {
    let Some(limit) = getrlimit(Resource::Nofile).current else { return Ok(accepted) };
    let descriptor = accepted.0.as_raw_fd().unsigned_abs().into();
    if is_of_reserve(descriptor, limit) {
        return Err(io::Error::other("the descriptors that are left are for the store"));
    }
    Ok(accepted)
}

fn is_of_reserve(descriptor: u64, limit: u64) -> bool {
    descriptor >= limit - RESERVE.min(limit / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_descriptors_are_not_for_connections() {
        assert!(!is_of_reserve(991, 1_024));
        assert!(is_of_reserve(992, 1_024));
        assert!(!is_of_reserve(47, 64));
        assert!(is_of_reserve(48, 64));
        assert!(!is_of_reserve(0, 1));
    }
}
