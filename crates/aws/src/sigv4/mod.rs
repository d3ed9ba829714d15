//! Signature Version 4: who sent a request, when, and that nobody changed it on the way.
//!
//! [`Signer`] signs what our client sends, in headers or in a query. A server takes what it
//! receives in two steps, because the key must be looked up in between: [`Presented::parse`] reads
//! a signature without deciding anything, [`verify()`] decides. Time and keys are arguments.
//!
//! Contract `data-plane-http.md` §6 and `mqtt-broker.md` §1.1.

mod canonical;
mod date;
mod key;
mod parse;
mod sign;
mod verify;

pub use date::AmzDate;
pub use parse::{Form, MalformedSignature, Presented, Scope};
pub use sign::Signer;
pub use verify::{ExpectedScope, Mismatch, PRESIGN_SECONDS_MAX, SKEW_SECONDS_MAX, verify};

use sha2::{Digest, Sha256};

/// The only algorithm of Signature Version 4 that is taken.
const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// What ends a credential scope.
const TERMINATOR: &str = "aws4_request";

/// The service name that AWS's SDKs sign for on the data plane.
pub const SERVICE_DATA: &str = "iotdata";

/// The service name of MQTT over WebSocket, and of the data plane in AWS's prose.
pub const SERVICE_GATEWAY: &str = "iotdevicegateway";

/// The service names that the data plane takes.
pub const SERVICES: &[&str] = &[SERVICE_DATA, SERVICE_GATEWAY];

/// A request as it is on the wire.
#[derive(Clone, Copy, Debug)]
pub struct SignedRequest<'a> {
    /// The verb.
    pub method: &'a str,
    /// The raw path, percent-encoded.
    pub path: &'a str,
    /// What follows `?`, percent-encoded; empty is no `?`.
    pub query: &'a str,
    /// Names in any case, and values.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// SHA-256 of the body.
    pub payload_sha256: [u8; 32],
}

/// SHA-256 of a body.
#[must_use]
pub fn payload_sha256(body: &[u8]) -> [u8; 32] {
    Sha256::digest(body).into()
}

impl<'a> SignedRequest<'a> {
    /// The values of a header, in order.
    fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let named = self.headers.iter().filter(move |(known, _)| known.eq_ignore_ascii_case(name));
        named.map(|&(_, value)| value)
    }

    /// The value of a header that stands once, as text.
    fn value(&self, name: &str) -> Option<&'a str> {
        let mut values = self.values(name);
        let value = values.next()?;
        if values.next().is_some() { None } else { str::from_utf8(value).ok() }
    }
}
