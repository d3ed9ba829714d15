//! Who sends a request and whether they may: asked before anything of it is looked at that could
//! tell whether something exists.
//!
//! A request is signed with an access key (Signature Version 4, in headers or in the query), or
//! comes over TLS with a client certificate, or says an access key and its secret by HTTP Basic on
//! our own paths, or has no credential at all. Contract `data-plane-http.md` §3, §6 and §7.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use bitts_aws::api::{Permission, Route};
use bitts_aws::control;
use bitts_aws::error::{ApiError, ErrorKind};
use bitts_aws::policy::{self, Action, Context, Origin};
use bitts_aws::registry::{Grant, Identity, Registry};
use bitts_aws::sigv4::{self, ExpectedScope, MalformedSignature, Presented, SignedRequest};
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HOST, HeaderValue};
use hyper::http::request::Parts;
use percent_encoding::percent_decode_str;
use rustls::pki_types::CertificateDer;

use super::Front;
use crate::identify::{Asked, TokenParts};
use crate::tls::certificate_id;

/// Where requests come in.
#[derive(Clone, Debug)]
pub(super) struct Door {
    /// The client's address.
    pub(super) source: SocketAddr,
    /// Our port.
    pub(super) local_port: u16,
    /// Through TLS.
    pub(super) is_secure: bool,
    /// The certificate that the client proved to hold the key of.
    pub(super) certificate: Option<CertificateDer<'static>>,
}

/// Who sends a request.
#[derive(Debug)]
pub(super) enum Caller {
    /// Nobody asks.
    Anyone,
    /// Known, with what it may do.
    Known(Box<Known>),
}

#[derive(Debug)]
pub(super) struct Known {
    pub(super) identity: Identity,
    pub(super) grant: Grant,
    registry: Arc<Registry>,
    origin: Origin,
    unix_ms: u64,
}

pub(super) fn forbidden() -> ApiError {
    ApiError::new(ErrorKind::Forbidden, "Forbidden")
}

impl Front {
    /// Who sends a request, signed for one of these services.
    pub(super) async fn authenticate(
        &self,
        door: &Door,
        head: &Parts,
        body: &[u8],
        services: &[&str],
    ) -> Result<Caller, ApiError> {
        if !self.directory.is_enforced() {
            return Ok(Caller::Anyone);
        }
        let registry = self.directory.current();
        let unix_ms = self.clock.now().unix_ms;
        let identity = match signer(&registry, head, body, (services, unix_ms))? {
            Some(identity) => identity,
            None => match (basic(door, &registry, &head.headers)?, &door.certificate) {
                (Some(identity), _) => identity,
                (None, Some(certificate)) if self.mesh.revoked.names(certificate) => {
                    return Err(forbidden());
                }
                (None, Some(certificate)) => Identity::Certificate(certificate_id(certificate)),
                (None, None) => {
                    let said = self.ask_authorizer(&registry, head, door).await?;
                    said.map_or(Identity::Anonymous, |(identity, _)| identity)
                }
            },
        };
        self.known(door, head, identity, registry)
    }

    /// Who a custom authorizer says it is, if a request names one or brings what the default one
    /// looks for (contract `mqtt-broker.md` §1.2).
    pub(super) async fn ask_authorizer(
        &self,
        registry: &Registry,
        head: &Parts,
        door: &Door,
    ) -> Result<Option<(Identity, Asked)>, ApiError> {
        let query = head.uri.query().unwrap_or_default();
        let headers = || {
            let text = |value: &HeaderValue| value.to_str().map(str::to_owned).ok();
            head.headers.iter().filter_map(move |(name, it)| Some((name.as_str(), text(it)?)))
        };
        let held: Vec<(&str, String)> = headers().collect();
        let of_headers = held.iter().map(|(name, value)| (*name, value.as_str()));
        let decoded: Vec<(&str, Cow<'_, str>)> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name, percent_decode_str(value).decode_utf8_lossy()))
            .collect();
        let of_query = decoded.iter().map(|(name, value)| (*name, value.as_ref()));
        let parts = TokenParts::of_pairs(of_headers.chain(of_query));
        let by_default = || {
            let name = registry.default_authorizer()?;
            let key = registry.authorizer(name)?.token_key_name.as_deref()?;
            parts.token(key).map(|_| name)
        };
        let Some(name) = parts.name.or_else(by_default) else { return Ok(None) };
        let headers: serde_json::Map<_, _> =
            held.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect();
        let asked = Asked::http(name, &parts, (headers.into(), query), door.is_secure);
        let Some(_place) = self.identifier.requests.enter(door.source.ip()).await else {
            return Err(forbidden());
        };
        let unix_ms = self.clock.now().unix_ms;
        let said = self.identifier.authorizers.ask(registry, &asked, unix_ms).await;
        said.map(|said| Some((said, asked))).ok_or_else(forbidden)
    }

    /// What somebody who proved who they are may do.
    pub(super) fn known(
        &self,
        door: &Door,
        head: &Parts,
        identity: Identity,
        registry: Arc<Registry>,
    ) -> Result<Caller, ApiError> {
        let unix_ms = self.clock.now().unix_ms;
        let grant = registry.grant(&identity, None, Some(unix_ms)).map_err(|_| forbidden())?;
        let mut origin = Origin::new(door.source.ip(), door.local_port, door.is_secure);
        if let Some(host) = head.headers.get(HOST).and_then(|host| host.to_str().ok()) {
            origin = origin.with_domain_name(host.split(':').next().unwrap_or_default());
        }
        Ok(Caller::Known(Box::new(Known { identity, grant, registry, origin, unix_ms })))
    }
}

/// Whose signature a request has, if it has one.
pub(super) fn signer(
    registry: &Registry,
    head: &Parts,
    body: &[u8],
    (services, unix_ms): (&[&str], u64),
) -> Result<Option<Identity>, ApiError> {
    let headers: Vec<(&str, &[u8])> =
        head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let is_basic = has_scheme(&head.headers, "Basic ");
    let request = SignedRequest {
        method: head.method.as_str(),
        path: head.uri.path(),
        query: head.uri.query().unwrap_or_default(),
        headers: &headers,
        payload_sha256: sigv4::payload_sha256(body),
    };
    let presented = match Presented::parse(&request) {
        Ok(Some(presented)) => presented,
        Ok(None) => return Ok(None),
        // Alone it is no signature; beside one there would be two credentials.
        Err(MalformedSignature::Algorithm) if is_basic => return Ok(None),
        Err(error) => return Err(invalid_signature(&error.to_string())),
    };
    let id = presented.scope.access_key_id.as_str();
    let key = registry.access_key(id).ok_or_else(forbidden)?;
    let expected = ExpectedScope { region: None, services };
    let secret = key.secret.expose();
    sigv4::verify(&presented, &request, secret, expected, unix_ms / 1_000)
        .map_err(|mismatch| invalid_signature(&mismatch.to_string()))?;
    let is_token_right = match (&key.session_token, &presented.session_token) {
        (None, None) => true,
        (Some(token), Some(presented)) => token.is(presented),
        (Some(_), None) | (None, Some(_)) => false,
    };
    if is_token_right { Ok(Some(Identity::AccessKey(id.into()))) } else { Err(forbidden()) }
}

impl Caller {
    /// Whether an operation of the data plane is allowed.
    pub(super) fn may(&self, route: &Route, query: Option<&str>) -> Result<(), ApiError> {
        let Self::Known(known) = self else { return Ok(()) };
        let permission = Permission::of(route, query, known.registry.scope());
        let authority = known.grant.rights.authority();
        let decision = permission.decide(known.context(), |asked| authority.decide(asked));
        if decision.is_allowed() { Ok(()) } else { Err(forbidden()) }
    }

    /// Whether an operation of the control plane is allowed: only with an access key, as on AWS. A
    /// device whose policy says `iot:*` shall not write policies.
    pub(super) fn may_control(&self, route: &control::Route) -> bool {
        let Self::Known(known) = self else { return true };
        let Identity::AccessKey(_) = known.identity else { return false };
        let (name, resource) = (route.action(), route.resource());
        let resource = resource.map(|(kind, name)| known.registry.scope().arn(kind, name));
        let (action, resource) = (Action::Named(&name), resource.as_ref());
        let asked = policy::Request { action, resource, context: known.context() };
        known.grant.rights.authority().decide(&asked).is_allowed()
    }

    /// Whether an action on no resource is allowed: those of our own paths.
    pub(super) fn may_do(&self, action: &str) -> Result<(), ApiError> {
        let Self::Known(known) = self else { return Ok(()) };
        let action = Action::Named(action);
        let asked = policy::Request { action, resource: None, context: known.context() };
        let is_allowed = known.grant.rights.authority().decide(&asked).is_allowed();
        if is_allowed { Ok(()) } else { Err(forbidden()) }
    }
}

impl Known {
    pub(super) fn context(&self) -> Context<'_> {
        Context {
            principal: &self.grant.principal,
            connection: None,
            origin: Some(&self.origin),
            unix_seconds: Some(self.unix_ms / 1_000),
        }
    }
}

fn invalid_signature(why: &str) -> ApiError {
    ApiError::new(ErrorKind::InvalidSignature, format!("The signature does not hold: {why}"))
}

fn has_scheme(headers: &HeaderMap, scheme: &str) -> bool {
    let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    value
        .and_then(|value| value.get(..scheme.len()))
        .is_some_and(|it| it.eq_ignore_ascii_case(scheme))
}

/// An access key and its secret in the clear: only through TLS or from this machine, for what
/// cannot sign, such as a collector of metrics.
fn basic(
    door: &Door,
    registry: &Registry,
    headers: &HeaderMap,
) -> Result<Option<Identity>, ApiError> {
    if !has_scheme(headers, "Basic ") {
        return Ok(None);
    }
    let is_private = door.is_secure || door.source.ip().to_canonical().is_loopback();
    let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let encoded = value.and_then(|value| value.get("Basic ".len()..)).filter(|_| is_private);
    let decoded = encoded
        .and_then(|text| data_encoding::BASE64.decode(text.trim().as_bytes()).ok())
        .and_then(|bytes| String::from_utf8(bytes).ok());
    let (id, secret) =
        decoded.as_deref().and_then(|text| text.split_once(':')).ok_or_else(forbidden)?;
    let key = registry.access_key(id).ok_or_else(forbidden)?;
    let is_right = key.secret.is(secret) && key.session_token.is_none();
    if is_right { Ok(Some(Identity::AccessKey(id.into()))) } else { Err(forbidden()) }
}
