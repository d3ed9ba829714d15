//! Whether a signature is its key's, over this request, at this time.
//!
//! Clients differ in what they sign for the same request, so a signature is compared with each form
//! that a client in use makes, and with no other:
//!
//! * path: with its escapes escaped again (AWS's SDKs), or as it is (Dart); the latter not where
//!   the wire holds `%25`, else a request signed for `a%2Fb` could be sent again as `a%252Fb`;
//! * a client id, topic or thing that is `.` or `..`: also with the segment resolved, with and
//!   without the slash that it leaves; other dot segments not, else a request signed for topic `b`
//!   could be sent again for `./b`;
//! * host: as received, or without its port;
//! * presigned: the session token outside of what is signed (AWS IoT), or inside.

use subtle::ConstantTimeEq;
use thiserror::Error;

use super::canonical::{
    Canonical, Payload, canonical_headers, canonical_query, escape_path, normalise_path, parameters,
};
use super::key::SigningKey;
use super::{Form, Presented, SignedRequest};

/// How far a signature's date may be from now, both ways, in seconds.
pub const SKEW_SECONDS_MAX: u64 = 300;

/// The longest time a presigned request is good for, in seconds: one week.
pub const PRESIGN_SECONDS_MAX: u32 = 604_800;

/// What a credential scope must say.
#[derive(Clone, Copy, Debug)]
pub struct ExpectedScope<'a> {
    /// The region; `None` takes any.
    pub region: Option<&'a str>,
    /// The service is one of these.
    pub services: &'a [&'a str],
}

/// Why a well-formed signature does not hold.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[expect(missing_docs, reason = "each says itself")]
pub enum Mismatch {
    #[error("the credential is for another day than the signature's date")]
    Day,
    #[error("the credential is for another region")]
    Region,
    #[error("the credential is for another service")]
    Service,
    #[error("X-Amz-Expires is not from 1 to 604800")]
    Expires,
    #[error("the signature expired")]
    Expired,
    #[error("the signature is not yet current")]
    NotYetCurrent,
    #[error("a payload that is signed in chunks is not taken")]
    Streaming,
    #[error("X-Amz-Content-Sha256 is not the payload's")]
    Payload,
    #[error("the signature does not match")]
    Signature,
}

/// Decides whether `presented` holds for `request`. `now` is in seconds since 1970.
///
/// The time is checked first, the signature last and in constant time. Whether the key may be used,
/// and with which session token, is for whoever looked the secret up.
pub fn verify(
    presented: &Presented,
    request: &SignedRequest<'_>,
    secret_access_key: &str,
    expected: ExpectedScope<'_>,
    now: u64,
) -> Result<(), Mismatch> {
    check_scope(presented, expected)?;
    check_time(presented, now)?;
    let payload = payload(presented, request)?;
    let key = SigningKey::derive(secret_access_key, &presented.scope);
    let signed_headers = presented.signed_headers.join(";");
    let uris = uris(request.path);
    let queries = queries(presented.form, request.query);
    for headers in &header_forms(presented, request) {
        for query in &queries {
            for uri in &uris {
                let method = request.method;
                let signed_headers = &signed_headers;
                let canonical = Canonical { method, uri, query, headers, signed_headers, payload };
                let signature = key.sign(presented.date, &presented.scope, &canonical.sha256());
                if bool::from(signature.ct_eq(&presented.signature)) {
                    return Ok(());
                }
            }
        }
    }
    Err(Mismatch::Signature)
}

fn check_scope(presented: &Presented, expected: ExpectedScope<'_>) -> Result<(), Mismatch> {
    let scope = &presented.scope;
    if scope.day != presented.date.day() {
        return Err(Mismatch::Day);
    }
    if expected.region.is_some_and(|region| region != scope.region) {
        return Err(Mismatch::Region);
    }
    if !expected.services.contains(&scope.service.as_str()) {
        return Err(Mismatch::Service);
    }
    Ok(())
}

fn check_time(presented: &Presented, now: u64) -> Result<(), Mismatch> {
    let good_for = match presented.form {
        Form::Query { expires_seconds: Some(seconds) } => {
            if !(1..=PRESIGN_SECONDS_MAX).contains(&seconds) {
                return Err(Mismatch::Expires);
            }
            u64::from(seconds)
        }
        Form::Header | Form::Query { expires_seconds: None } => SKEW_SECONDS_MAX,
    };
    let date = presented.date.unix_seconds();
    if date > now.saturating_add(SKEW_SECONDS_MAX) {
        return Err(Mismatch::NotYetCurrent);
    }
    if now > date.saturating_add(good_for) { Err(Mismatch::Expired) } else { Ok(()) }
}

/// A signed `x-amz-content-sha256` is the payload's, or says that the payload is not signed.
fn payload(presented: &Presented, request: &SignedRequest<'_>) -> Result<Payload, Mismatch> {
    const HEADER: &str = "x-amz-content-sha256";
    let computed = Payload::Sha256(request.payload_sha256);
    if !presented.signed_headers.iter().any(|name| name == HEADER) {
        return Ok(computed);
    }
    let value = request.value(HEADER).ok_or(Mismatch::Payload)?;
    if value == "UNSIGNED-PAYLOAD" {
        return Ok(Payload::Unsigned);
    }
    if value.starts_with("STREAMING-") {
        return Err(Mismatch::Streaming);
    }
    let hash = data_encoding::HEXLOWER.decode(value.as_bytes()).or(Err(Mismatch::Payload))?;
    if hash == request.payload_sha256 { Ok(computed) } else { Err(Mismatch::Payload) }
}

/// The canonical forms of a wire path that a client in use may have signed.
fn uris(path: &str) -> Vec<String> {
    let mut paths = vec![path.to_owned()];
    if is_name_of_dots(path) {
        let resolved = normalise_path(path);
        if !resolved.ends_with('/') {
            paths.push(format!("{resolved}/"));
        }
        paths.push(resolved);
    }
    let mut uris: Vec<_> = paths.iter().map(|path| escape_path(path)).collect();
    if !path.contains("%25") && uris != paths {
        uris.extend(paths);
    }
    uris
}

/// Whether the name in the path of an operation is `.` or `..`. Contract §2.
fn is_name_of_dots(path: &str) -> bool {
    let segments: Vec<_> = path.split('/').collect();
    matches!(
        segments.as_slice(),
        ["", "connections" | "topics" | "retainedMessage", "." | ".."]
            | ["", "connections", "." | "..", "subscriptions" | "messages"]
            | ["", "things", "." | "..", "shadow"]
            | ["", "api", "things", "shadow", "ListNamedShadowsForThing", "." | ".."]
    )
}

/// The canonical query, or both where a session token may be inside or outside of it.
fn queries(form: Form, query: &str) -> Vec<String> {
    let without = |left_out: &[&[u8]]| {
        canonical_query(parameters(query).filter(|(name, _)| !left_out.contains(&name.as_slice())))
    };
    match form {
        Form::Header => vec![without(&[])],
        Form::Query { .. } => {
            let mut queries = vec![
                without(&[b"X-Amz-Signature", b"X-Amz-Security-Token"]),
                without(&[b"X-Amz-Signature"]),
            ];
            queries.dedup();
            queries
        }
    }
}

/// The canonical headers with the host as received, and without its port.
fn header_forms(presented: &Presented, request: &SignedRequest<'_>) -> Vec<Vec<u8>> {
    let names = || presented.signed_headers.iter().map(String::as_str);
    let mut forms = vec![canonical_headers(request, names(), None)];
    if let Some(host) = request.value("host").and_then(without_port) {
        forms.push(canonical_headers(request, names(), Some(host.as_bytes())));
    }
    forms
}

/// A host without its port; `None` where it has none.
fn without_port(host: &str) -> Option<&str> {
    let (name, port) = host.trim().rsplit_once(':')?;
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit());
    // `[::1]` has colons of its own, inside the brackets.
    (is_port && (!name.contains(':') || name.ends_with(']'))).then_some(name)
}
