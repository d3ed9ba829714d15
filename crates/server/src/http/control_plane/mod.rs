//! The control plane of AWS IoT: things, certificates, policies, and Bitts's own credentials.
//!
//! Operations, their rules and errors are `bitts-aws`'s; the registry is [`Directory`]'s. This is
//! who may ask, what cryptography has to make first, and the audit log. Permission is asked before
//! the request is read, so nobody learns from an error what exists. Contract
//! `control-plane-and-jobs.md` §1 and §2.
//!
//! [`Directory`]: crate::registry::Directory

mod material;

pub(crate) use self::material::new_access_key;

use std::collections::BTreeMap;

use bitts_aws::control::{
    self, ControlError, ControlErrorKind, Given, Input, Material, Route, RouteError, TEST_INVOKE,
};
use bitts_aws::registry::Identity;
use bitts_aws::sigv4;
use data_encoding::HEXLOWER;
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{HOST, HeaderValue, ORIGIN, RETRY_AFTER};
use hyper::http::request::Parts;
use serde_json::Value;

use super::Front;
use super::answer::{Answer, Trace};
use super::authenticate::{Caller, Door};
use super::data_plane::RequestHeaders;
use crate::identify::Authorizers;
use crate::registry::{DONE, Entry};

/// Services that requests are signed for.
const SERVICES: &[&str] = &["iot", sigv4::SERVICE_DATA];

/// Members that the audit log names: none of them is a secret.
const NAMES: &[&str] = &[
    "authorizerName",
    "caCertificateId",
    "certificateId",
    "credentialId",
    "newAutoRegistrationStatus",
    "newStatus",
    "policyName",
    "policyVersionId",
    "principal",
    "resourceArn",
    "target",
    "thingGroupName",
    "thingName",
    "thingTypeName",
    "userName",
];

type Names = BTreeMap<&'static str, String>;

/// Whether a request line is answered here.
pub(super) fn owns(method: &str, path: &str) -> bool {
    !matches!(control::route(method, path), Err(RouteError::UnknownPath))
}

impl Front {
    /// Answers a request of the control plane.
    pub(super) async fn control_plane(
        &self,
        request: Request<Incoming>,
        trace: &Trace,
        door: &Door,
    ) -> Answer {
        let (head, body) = request.into_parts();
        let route = match control::route(head.method.as_str(), head.uri.path()) {
            Ok(route) => route,
            Err(error) => return answer_of(&not_routed(error), trace),
        };
        let body = match self.read_body(body).await {
            Ok(body) => body,
            Err(error) => return Answer::error(&error, trace).closing(),
        };
        // Who is unknown writes no line: the audit log grows by what the known do.
        let caller = match self.authenticate(door, &head, &body, SERVICES).await {
            Ok(caller) => caller,
            Err(error) => return Answer::error(&error, trace),
        };
        let mut with = BTreeMap::new();
        let mut outcome = self.answer_caller(&caller, &route, (&head, &body), &mut with).await;
        let name = match &outcome {
            Ok(_) => DONE,
            Err(error) => error.kind.name(),
        };
        let is_denied = name == ControlErrorKind::AccessDenied.name();
        if is_denied || route.operation().changes() {
            let who = who(&caller);
            let is_written = self.record(&route, (&who, name), &with, (trace, door)).await;
            if outcome.is_ok() && !is_written {
                let message = "It is done, and the audit log does not say so: it cannot be written";
                outcome = Err(ControlError::new(ControlErrorKind::ServiceUnavailable, message));
            }
        }
        match outcome {
            Ok(Value::Null) => Answer::empty(trace),
            Ok(answer) => Answer::json(&answer, trace),
            Err(error) => answer_of(&error, trace),
        }
    }

    async fn answer_caller(
        &self,
        caller: &Caller,
        route: &Route,
        (head, body): (&Parts, &[u8]),
        with: &mut Names,
    ) -> Result<Value, ControlError> {
        if is_of_another_page(head) {
            let message = "A page of another origin may not use the control plane";
            return Err(ControlError::new(ControlErrorKind::AccessDenied, message));
        }
        if !caller.may_control(route) {
            return Err(denied(route, &self.directory.current()));
        }
        self.throttle.check_control(route.operation().name(), self.clock.now().moment)?;
        let headers = RequestHeaders(&head.headers);
        let input = Input::parse(route, head.uri.query(), &headers, body)?;
        with.extend(NAMES.iter().filter_map(|name| Some((*name, input.text(name).ok()??.into()))));
        if input.flag("isAdmin").unwrap_or_default() {
            with.insert("isAdmin", "true".to_owned());
        }
        let mut given = self.given(head);
        let operation = route.operation();
        let mut key_pair = None;
        let input = if operation.material() == Material::None {
            input
        } else {
            let registry = self.directory.current();
            let pki = self.pki_dir.clone();
            let made = move || {
                let made = material::make(operation.material(), &input, &registry, pki.as_deref());
                (made, input)
            };
            // A key pair takes a tenth of a second of a core.
            let (made, input) = tokio::task::spawn_blocking(made).await.map_err(|error| {
                ControlError::new(ControlErrorKind::InternalFailure, error.to_string())
            })?;
            let made = made?;
            given.certificate = made.certificate;
            given.credential = made.credential;
            key_pair = made.key_pair;
            input
        };
        let authorizer = (operation.name() == TEST_INVOKE)
            .then(|| input.needed("authorizerName").map(str::to_owned))
            .transpose()?;
        let mut answer = self.directory.apply(operation, input, given).await?;
        if let Some(name) = authorizer {
            let said = Authorizers::test(&self.directory.current(), &name, answer).await;
            return said.map_err(|why| ControlError::new(ControlErrorKind::InvalidResponse, why));
        }
        with.extend(NAMES.iter().filter_map(|name| Some((*name, answer[*name].as_str()?.into()))));
        if let (Some(members), Some(key_pair)) = (answer.as_object_mut(), key_pair) {
            members.insert("keyPair".to_owned(), key_pair);
        }
        Ok(answer)
    }

    fn given(&self, head: &Parts) -> Given {
        let host = head.headers.get(HOST).and_then(|host| host.to_str().ok());
        let uuid = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
        Given {
            unix_ms: self.clock.now().unix_ms,
            uuid: uuid.hyphenated().to_string(),
            code: HEXLOWER.encode(&rand::random::<[u8; 32]>()),
            endpoint: host.unwrap_or_default().to_owned(),
            certificate: None,
            credential: None,
        }
    }

    /// `false` where it is to be on disk and is not.
    async fn record(
        &self,
        route: &Route,
        (who, outcome): (&str, &str),
        with: &Names,
        (trace, door): (&Trace, &Door),
    ) -> bool {
        let entry = Entry {
            timestamp: self.clock.now().unix_ms,
            request_id: trace.as_str(),
            principal: who,
            source_ip: &door.source.ip().to_canonical().to_string(),
            action: &route.action(),
            with,
            outcome,
        };
        self.directory.audit().write(&entry, outcome == DONE).await
    }
}

/// Whether a browser sends a request for a page that did not come from here: with `auth` open such
/// a page could otherwise let its makers in for good.
fn is_of_another_page(head: &Parts) -> bool {
    let Some(origin) = head.headers.get(ORIGIN) else { return false };
    let authority = origin.as_bytes().splitn(2, |byte| *byte == b':').nth(1);
    let authority = authority.and_then(|rest| rest.strip_prefix(b"//"));
    authority.is_none() || authority != head.headers.get(HOST).map(HeaderValue::as_bytes)
}

/// Who asks, as the audit log names them.
fn who(caller: &Caller) -> String {
    match caller {
        Caller::Anyone => "anyone".to_owned(),
        Caller::Known(known) => match &known.identity {
            Identity::Certificate(id) => format!("cert/{}", HEXLOWER.encode(id)),
            Identity::AccessKey(id) => format!("accesskey/{id}"),
            Identity::User(name) => format!("user/{name}"),
            Identity::Authorizer(said) => format!("authorizer/{}", said.principal_id()),
            Identity::Anonymous => "anonymous".to_owned(),
        },
    }
}

fn denied(route: &Route, registry: &bitts_aws::registry::Registry) -> ControlError {
    let resource = route.resource().map(|(kind, name)| registry.scope().arn(kind, name));
    let resource = resource.as_ref().map_or("*", |arn| arn.as_str());
    let message = format!("Not authorized to perform: {} on resource: {resource}", route.action());
    ControlError::new(ControlErrorKind::AccessDenied, message)
}

fn not_routed(error: RouteError) -> ControlError {
    let (kind, message) = match error {
        RouteError::UnknownPath => (ControlErrorKind::ResourceNotFound, "No such path"),
        RouteError::Method => {
            (ControlErrorKind::MethodNotAllowed, "The path does not know this method")
        }
        RouteError::Invalid => {
            (ControlErrorKind::InvalidRequest, "The path is not percent-encoded UTF-8")
        }
    };
    ControlError::new(kind, message)
}

fn answer_of(error: &ControlError, trace: &Trace) -> Answer {
    let answer = Answer::exception(error.kind.status(), error.kind.name(), error.body(), trace);
    match error.kind {
        ControlErrorKind::Throttling => answer.with_header(RETRY_AFTER, "1"),
        _ => answer,
    }
}
