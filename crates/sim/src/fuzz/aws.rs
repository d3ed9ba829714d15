//! The AWS contract's parsers: requests, signatures, policies.

use bitts_aws::api::{self, Request};
use bitts_aws::policy::{
    Action, ActionKind, ArnScope, Context, MqttConnection, Policy, PolicyLimits, Principal,
    Request as PolicyRequest, ResourceKind, decide, explain,
};
use bitts_aws::sigv4::{ExpectedScope, Presented, SERVICES, SignedRequest, payload_sha256, verify};

/// A request line and headers: `METHOD TARGET`, then `name:value` lines.
struct Http<'a> {
    method: &'a str,
    path: &'a str,
    query: Option<&'a str>,
    headers: Vec<(&'a str, &'a str)>,
}

impl<'a> Http<'a> {
    fn read(data: &'a [u8]) -> Option<Self> {
        let mut lines = str::from_utf8(data).ok()?.split('\n');
        let (method, target) = lines.next()?.split_once(' ')?;
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let headers = lines.filter_map(|line| line.split_once(':')).collect();
        Some(Self { method, path, query, headers })
    }
}

/// An HTTP request to the data plane is an operation or an AWS exception of the 4xx and 501.
pub fn http_route(data: &[u8]) {
    let Some(http) = Http::read(data) else { return };
    let Ok(route) = api::route(http.method, http.path) else { return };
    let headers = http.headers.as_slice();
    match Request::parse(&route, http.query, &headers, data.len()) {
        Ok(Request::ListSubscriptions(request)) => assert_page(request.max_results),
        Ok(Request::ListRetainedMessages(request)) => assert_page(request.max_results),
        Ok(Request::Publish(request)) => {
            assert!(request.qos <= 1);
            assert!(bitts_mqtt::check_topic(&request.topic).is_ok(), "{:?}", request.topic);
        }
        Ok(_) => {}
        Err(error) => assert!((400..500).contains(&error.kind.status()), "{error:?}"),
    }
}

fn assert_page(items: usize) {
    assert!((1..=api::PAGE_ITEMS_MAX).contains(&items), "{items} on a page");
}

/// A signature is read without a panic, and one that nobody made does not hold.
pub fn sigv4_request(data: &[u8]) {
    let Some(http) = Http::read(data) else { return };
    let headers: Vec<(&str, &[u8])> =
        http.headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    let request = SignedRequest {
        method: http.method,
        path: http.path,
        query: http.query.unwrap_or_default(),
        headers: &headers,
        payload_sha256: payload_sha256(b""),
    };
    let Ok(Some(presented)) = Presented::parse(&request) else { return };
    assert!(presented.signed_headers.is_sorted_by(|one, next| one < next));
    let expected = ExpectedScope { region: None, services: SERVICES };
    let now = presented.date.unix_seconds();
    let outcome = verify(&presented, &request, "a key that nobody has", expected, now);
    assert!(outcome.is_err(), "a signature from nowhere holds: {presented:?}");
}

/// A name, a zero byte and a policy's document: what is compiled decides, and [`explain`] agrees.
pub fn policy(data: &[u8]) {
    let at = data.iter().position(|byte| *byte == 0).unwrap_or(0);
    let (name, document) = data.split_at(at);
    let document = document.strip_prefix(b"\0").unwrap_or(document);
    let (Ok(name), Ok(document)) = (str::from_utf8(name), str::from_utf8(document)) else {
        return;
    };
    let Ok(policy) = Policy::parse("p", 1, document, &PolicyLimits::default()) else { return };
    let Ok(scope) = ArnScope::new("aws", "us-east-1", "000000000000") else { return };
    let policies = [policy];
    let connection = MqttConnection { client_id: name.to_owned(), thing: None };
    for connection in [None, Some(&connection)] {
        for (kind, action) in [
            (ResourceKind::Topic, Action::Plain(ActionKind::Publish)),
            (ResourceKind::TopicFilter, Action::Plain(ActionKind::Subscribe)),
            (ResourceKind::Client, Action::Connect { persistent: true, will_topic: None }),
        ] {
            let resource = scope.arn(kind, name);
            let principal = &Principal::Unnamed;
            let context = Context { principal, connection, origin: None, unix_seconds: Some(0) };
            let request = PolicyRequest { action, resource: Some(&resource), context };
            let decision = decide(&policies, &request);
            assert_eq!(decision.as_str(), explain(&policies, &request).decision.as_str());
            assert_eq!(decision.is_allowed(), decision.as_str() == "ALLOWED");
        }
    }
}
