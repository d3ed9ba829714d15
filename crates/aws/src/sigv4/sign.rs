//! Signing: in headers for the data plane, in a query for MQTT over WebSocket.

use percent_encoding::percent_encode;

use super::canonical::{
    Canonical, Payload, canonical_headers, canonical_query, escape_path, normalise_path, parameters,
};
use super::key::{SigningKey, hex};
use super::{ALGORITHM, AmzDate, Scope, SignedRequest, payload_sha256};
use crate::api::query::ESCAPED;

/// Who signs, and for what.
#[derive(Clone, Copy)]
pub struct Signer<'a> {
    /// The key's public half.
    pub access_key_id: &'a str,
    /// The key's secret half.
    pub secret_access_key: &'a str,
    /// What temporary credentials come with.
    pub session_token: Option<&'a str>,
    /// Region of the scope.
    pub region: &'a str,
    /// Service of the scope, one of [`super::SERVICES`].
    pub service: &'a str,
}

impl Signer<'_> {
    fn scope(&self, date: AmzDate) -> Scope {
        Scope {
            access_key_id: self.access_key_id.to_owned(),
            day: date.day(),
            region: self.region.to_owned(),
            service: self.service.to_owned(),
        }
    }

    /// The headers to add to a request.
    ///
    /// Every header of `request` is signed, so it holds `host` and no header that a proxy changes.
    #[must_use]
    pub fn sign(&self, request: &SignedRequest<'_>, date: AmzDate) -> Vec<(&'static str, String)> {
        let mut added = vec![("x-amz-date", date.to_string())];
        added.extend(self.session_token.map(|t| ("x-amz-security-token", t.to_owned())));
        let mut headers = request.headers.to_vec();
        headers.extend(added.iter().map(|(name, value)| (*name, value.as_bytes())));
        let mut names: Vec<_> = headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        names.sort_unstable();
        names.dedup();
        let scope = self.scope(date);
        let signed_headers = names.join(";");
        let canonical = Canonical {
            method: request.method,
            uri: &escape_path(&normalise_path(request.path)),
            query: &canonical_query(parameters(request.query)),
            headers: &canonical_headers(
                &SignedRequest { headers: &headers, ..*request },
                names.iter().map(String::as_str),
                None,
            ),
            signed_headers: &signed_headers,
            payload: Payload::Sha256(request.payload_sha256),
        };
        let key = SigningKey::derive(self.secret_access_key, &scope);
        let signature = hex(&key.sign(date, &scope, &canonical.sha256()));
        let authorization = format!(
            "{ALGORITHM} Credential={}/{scope}, SignedHeaders={signed_headers}, \
             Signature={signature}",
            self.access_key_id
        );
        added.push(("authorization", authorization));
        added
    }

    /// The query of a GET that carries its signature, without `?`; only `host` is signed.
    ///
    /// The session token is appended behind the signature and not signed, as AWS IoT wants it for
    /// MQTT over WebSocket. `expires_seconds` is left out where `None`.
    #[must_use]
    pub fn presign(
        &self,
        host: &str,
        path: &str,
        expires_seconds: Option<u32>,
        date: AmzDate,
    ) -> String {
        let scope = self.scope(date);
        let mut pairs = vec![
            ("X-Amz-Algorithm", ALGORITHM.to_owned()),
            ("X-Amz-Credential", format!("{}/{scope}", self.access_key_id)),
            ("X-Amz-Date", date.to_string()),
            ("X-Amz-SignedHeaders", "host".to_owned()),
        ];
        pairs.extend(expires_seconds.map(|seconds| ("X-Amz-Expires", seconds.to_string())));
        let pairs = pairs.into_iter().map(|(name, value)| (name.into(), value.into_bytes()));
        let query = canonical_query(pairs);
        let headers = format!("host:{host}\n");
        let canonical = Canonical {
            method: "GET",
            uri: &escape_path(&normalise_path(path)),
            query: &query,
            headers: headers.as_bytes(),
            signed_headers: "host",
            payload: Payload::Sha256(payload_sha256(b"")),
        };
        let key = SigningKey::derive(self.secret_access_key, &scope);
        let signature = hex(&key.sign(date, &scope, &canonical.sha256()));
        let token = self.session_token.map_or_else(String::new, |token| {
            format!("&X-Amz-Security-Token={}", percent_encode(token.as_bytes(), ESCAPED))
        });
        format!("{query}&X-Amz-Signature={signature}{token}")
    }
}
