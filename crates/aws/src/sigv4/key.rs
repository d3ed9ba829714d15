//! From a secret and a canonical request to a signature.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{ALGORITHM, AmzDate, Scope, TERMINATOR};

/// The key of one day, region and service.
pub(super) struct SigningKey([u8; 32]);

impl SigningKey {
    /// Derives the key of a scope.
    pub(super) fn derive(secret_access_key: &str, scope: &Scope) -> Self {
        let day = hmac(format!("AWS4{secret_access_key}").as_bytes(), scope.day.as_bytes());
        let region = hmac(&day, scope.region.as_bytes());
        let service = hmac(&region, scope.service.as_bytes());
        Self(hmac(&service, TERMINATOR.as_bytes()))
    }

    /// The signature of a canonical request.
    pub(super) fn sign(&self, date: AmzDate, scope: &Scope, canonical: &[u8; 32]) -> [u8; 32] {
        let hash = hex(canonical);
        hmac(&self.0, format!("{ALGORITHM}\n{date}\n{scope}\n{hash}").as_bytes())
    }
}

fn hmac(key: &[u8], data: &[u8]) -> [u8; 32] {
    // HMAC takes keys of every length.
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length is taken");
    mac.update(data);
    mac.finalize().into_bytes().into()
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // A `String` takes everything that is written to it.
        let _: std::fmt::Result = write!(text, "{byte:02x}");
        text
    })
}
