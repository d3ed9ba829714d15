//! The data plane's client against a server that answers from a list.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bitts_aws::sigv4::{ExpectedScope, Presented, SERVICES, SignedRequest, payload_sha256, verify};
use bitts_client::api::{
    DeleteConnection, DeleteThingShadow, GetConnection, GetRetainedMessage, GetThingShadow,
    MessageProperties, Publish, SendDirectMessage, ShadowId, UpdateThingShadow,
};
use bitts_client::credentials::Credentials;
use bitts_client::data_plane::{
    CallError, Config, ConfigError, DataPlane, DeleteConnectionError, GetConnectionError,
    GetRetainedMessageError, PublishError, Refusal, RetryPolicy, SelectConnections,
    SendDirectMessageError, TransportError, UpdateThingShadowError,
};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// One answer, or none: the connection is closed behind the request.
#[derive(Clone, Debug)]
enum Reply {
    Answer {
        status: u16,
        headers: Vec<(&'static str, &'static str)>,
        body: &'static str,
    },
    Close,
    /// No answer at all, for as long as the client waits.
    Silence,
}

fn reply(status: u16, body: &'static str) -> Reply {
    Reply::Answer { status, headers: Vec::new(), body }
}

fn exception(status: u16, error_type: &'static str, body: &'static str) -> Reply {
    let headers = vec![("x-amzn-ErrorType", error_type), ("x-amzn-RequestId", "602536fa")];
    Reply::Answer { status, headers, body }
}

/// What the server received.
#[derive(Clone, Debug)]
struct Received {
    /// Which connection, from 1.
    connection: usize,
    method: String,
    target: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Bytes,
}

impl Received {
    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| str::from_utf8(value).expect("text"))
    }
}

#[derive(Default)]
struct Script {
    replies: VecDeque<Reply>,
    received: Vec<Received>,
}

/// A server on a free port; ends with the runtime of its test.
struct Server {
    url: String,
    script: Arc<Mutex<Script>>,
}

impl Server {
    async fn new(replies: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let replies = replies.into_iter().collect();
        let script = Arc::new(Mutex::new(Script { replies, received: Vec::new() }));
        tokio::spawn(serve(listener, Arc::clone(&script)));
        Self { url, script }
    }

    fn received(&self) -> Vec<Received> {
        self.script.lock().expect("no panic").received.clone()
    }

    fn attempts(&self) -> usize {
        self.received().len()
    }

    fn config(&self) -> Config {
        let never_wait = RetryPolicy { backoff_base: Duration::ZERO, ..RetryPolicy::default() };
        Config { endpoint_url: Some(self.url.clone()), retry: never_wait, ..Config::default() }
    }

    fn client(&self) -> DataPlane {
        DataPlane::new(self.config()).expect("a valid configuration")
    }
}

async fn serve(listener: TcpListener, script: Arc<Mutex<Script>>) {
    let mut connection = 0;
    while let Ok((stream, _)) = listener.accept().await {
        connection += 1;
        let script = Arc::clone(&script);
        let service = service_fn(move |request| answer(connection, request, Arc::clone(&script)));
        let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move { drop(serving.await) });
    }
}

async fn answer(
    connection: usize,
    request: Request<Incoming>,
    script: Arc<Mutex<Script>>,
) -> Result<Response<Full<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
    let (head, body) = request.into_parts();
    let headers = head.headers.iter();
    let received = Received {
        connection,
        method: head.method.to_string(),
        target: head.uri.to_string(),
        headers: headers.map(|(n, v)| (n.to_string(), v.as_bytes().to_vec())).collect(),
        body: body.collect().await?.to_bytes(),
    };
    let reply = {
        let mut script = script.lock().expect("no panic");
        script.received.push(received);
        script.replies.pop_front()
    };
    match reply {
        Some(Reply::Answer { status, headers, body }) => {
            let response = Response::builder().status(status);
            let response = headers.into_iter().fold(response, |r, (n, v)| r.header(n, v));
            Ok(response.body(Full::new(Bytes::from_static(body.as_bytes())))?)
        }
        Some(Reply::Close) => Err("closed by the script".into()),
        Some(Reply::Silence) => {
            let never: Infallible = std::future::pending().await;
            match never {}
        }
        None => Err("more requests than the script has answers".into()),
    }
}

fn delete(client_id: &str) -> DeleteConnection {
    DeleteConnection {
        client_id: client_id.into(),
        clean_session: true,
        prevent_will_message: false,
    }
}

fn get(client_id: &str) -> GetConnection {
    GetConnection { client_id: client_id.into(), include_socket_information: false }
}

fn message(topic: &str) -> Publish {
    Publish {
        topic: topic.into(),
        qos: 1,
        retain: false,
        message_expiry: None,
        properties: MessageProperties::default(),
    }
}

const NOT_FOUND: &str = "ResourceNotFoundException";

/// Contract §5: as AWS's SDKs send it.
#[tokio::test]
async fn a_request_is_what_the_sdks_send() {
    let server = Server::new([reply(200, "")]).await;
    server.client().delete_connection(&delete("a/b c")).await.expect("done");
    let received = &server.received()[0];
    assert_eq!(received.method, "DELETE");
    assert_eq!(received.target, "/connections/a%2Fb%20c?cleanSession=true");
    assert_eq!(received.header("host"), server.url.strip_prefix("http://"));
    assert_eq!(received.header("authorization"), None, "no credentials, no signature");
}

/// Contract §3: the five exceptions of DeleteConnection, and §4: every form a name comes in.
#[tokio::test]
async fn each_exception_is_its_own_variant_in_every_form() {
    type Is = fn(&DeleteConnectionError) -> bool;
    let exceptions: [(u16, &'static str, Is); 5] = [
        (400, "InvalidRequestException", |e| matches!(e, DeleteConnectionError::InvalidRequest(_))),
        (403, "ForbiddenException", |e| matches!(e, DeleteConnectionError::Forbidden(_))),
        (404, NOT_FOUND, |e| matches!(e, DeleteConnectionError::ResourceNotFound(_))),
        (429, "ThrottlingException", |e| matches!(e, DeleteConnectionError::Throttling(_))),
        (500, "InternalFailureException", |e| {
            matches!(e, DeleteConnectionError::InternalFailure(_))
        }),
    ];
    for (status, name, is) in exceptions {
        let leaked = |text: String| -> &'static str { text.leak() };
        let forms = [
            exception(status, name, r#"{"message":"m"}"#),
            exception(status, leaked(format!("{name}:http://x/")), r#"{"Message":"m"}"#),
            exception(status, leaked(format!("com.x#{name}")), r#"{"message":"m"}"#),
            reply(status, leaked(format!(r#"{{"__type":"ns#{name}","message":"m"}}"#))),
            reply(status, leaked(format!(r#"{{"code":"{name}","message":"m"}}"#))),
            reply(status, r#"{"message":"m"}"#),
        ];
        for form in forms {
            let shown = format!("{form:?}");
            let server = Server::new([form]).await;
            let config = Config { retry: RetryPolicy::NEVER, ..server.config() };
            let client = DataPlane::new(config).expect("a valid configuration");
            let error = client.delete_connection(&delete("x")).await.expect_err("refused");
            assert!(is(&error), "{shown}: {error:?}");
            let refusal = error.refusal().expect("an exception");
            assert_eq!((refusal.name.as_str(), refusal.message.as_str()), (name, "m"), "{shown}");
            assert_eq!(refusal.status, status);
        }
    }
}

#[tokio::test]
async fn an_exception_has_its_request_id_and_may_have_no_message() {
    let server = Server::new([exception(403, "ForbiddenException", "")]).await;
    let error = server.client().delete_connection(&delete("x")).await.expect_err("refused");
    let expected = Refusal {
        name: "ForbiddenException".into(),
        message: String::new(),
        request_id: Some("602536fa".into()),
        status: 403,
    };
    assert_eq!(error.refusal(), Some(&expected));
    assert_eq!(error.to_string(), "ForbiddenException");
}

/// AWS answers a bad signature with a name that the data plane's model does not have.
#[tokio::test]
async fn a_name_outside_of_the_model_is_kept() {
    let server = Server::new([exception(403, "InvalidSignatureException", "{}")]).await;
    let error = server.client().delete_connection(&delete("x")).await.expect_err("refused");
    assert!(matches!(&error, DeleteConnectionError::Forbidden(_)));
    assert_eq!(error.to_string(), "InvalidSignatureException");
}

#[tokio::test]
async fn an_exception_outside_of_the_operation_is_unexpected() {
    let server = Server::new([exception(409, "ConflictException", "{}")]).await;
    let error = server.client().delete_connection(&delete("x")).await.expect_err("refused");
    assert!(matches!(&error, DeleteConnectionError::Unexpected(_)));
    assert!(matches!(CallError::from(error), CallError::Refused(refusal) if refusal.status == 409));
    assert_eq!(server.attempts(), 1);
}

/// Contract §4: 429, 500, 502, 503 and 504 are sent again, three attempts in all.
#[tokio::test]
async fn what_failed_for_a_moment_is_sent_again() {
    for status in [429, 500, 502, 503, 504] {
        let server =
            Server::new([reply(status, "{}"), reply(status, "<html>"), reply(200, "{}")]).await;
        server.client().get_connection(&get("x")).await.expect("answered at last");
        assert_eq!(server.attempts(), 3, "{status}");

        let server = Server::new(vec![reply(status, "{}"); 4]).await;
        let error = server.client().get_connection(&get("x")).await.expect_err("refused");
        assert_eq!(error.refusal().map(|refusal| refusal.status), Some(status));
        assert_eq!(server.attempts(), 3, "{status}");
    }
}

#[tokio::test]
async fn what_will_not_change_is_sent_once() {
    for status in [400, 401, 403, 404, 405, 409, 413, 501] {
        let server = Server::new([reply(status, "{}"), reply(200, "{}")]).await;
        let error = server.client().get_connection(&get("x")).await.expect_err("refused");
        assert_eq!(server.attempts(), 1, "{status} {error}");
    }
}

#[tokio::test]
async fn a_broken_connection_is_another_attempt() {
    let server = Server::new([Reply::Close, reply(200, "{}")]).await;
    server.client().get_connection(&get("x")).await.expect("answered at last");
    assert_eq!(server.attempts(), 2);

    let server = Server::new([Reply::Close, Reply::Close, Reply::Close]).await;
    let error = server.client().get_connection(&get("x")).await.expect_err("broken");
    let broken = matches!(&error, GetConnectionError::Transport(TransportError::Broken(_)));
    assert!(broken, "{error:?}");
}

#[tokio::test]
async fn a_silent_server_is_a_timeout_and_another_attempt() {
    let attempt_timeout = Duration::from_millis(250);
    let server = Server::new([Reply::Silence, reply(200, "{}")]).await;
    let config = Config { attempt_timeout, ..server.config() };
    let client = DataPlane::new(config).expect("a valid configuration");
    client.get_connection(&get("x")).await.expect("answered at last");
    assert_eq!(server.attempts(), 2);

    let server = Server::new([Reply::Silence]).await;
    let config = Config { attempt_timeout, retry: RetryPolicy::NEVER, ..server.config() };
    let client = DataPlane::new(config).expect("a valid configuration");
    let error = client.get_connection(&get("x")).await.expect_err("no answer");
    assert!(matches!(error, GetConnectionError::Timeout(after) if after == attempt_timeout));
}

#[tokio::test]
async fn nobody_there_is_a_transport_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let never_wait = RetryPolicy { backoff_base: Duration::ZERO, ..RetryPolicy::default() };
    let config = Config { endpoint_url: Some(url), retry: never_wait, ..Config::default() };
    let client = DataPlane::new(config).expect("a valid configuration");
    let error = client.delete_connection(&delete("x")).await.expect_err("nobody");
    assert!(matches!(error, DeleteConnectionError::Transport(TransportError::Connect { .. })));
}

/// Contract §4: the first attempt may have been carried out, so there is nothing left to delete.
#[tokio::test]
async fn not_found_after_an_attempt_that_may_have_been_done_is_done() {
    for first in [reply(500, "{}"), reply(503, "{}"), Reply::Close] {
        let server = Server::new([first, exception(404, NOT_FOUND, "{}")]).await;
        server.client().delete_connection(&delete("x")).await.expect("done");
        assert_eq!(server.attempts(), 2);
    }
}

#[tokio::test]
async fn not_found_is_not_found_where_nothing_can_have_been_done() {
    let server = Server::new([exception(404, NOT_FOUND, "{}")]).await;
    let error = server.client().delete_connection(&delete("x")).await.expect_err("refused");
    assert!(matches!(error, DeleteConnectionError::ResourceNotFound(_)));
    assert_eq!(server.attempts(), 1);

    let throttled = exception(429, "ThrottlingException", "{}");
    let server = Server::new([throttled, exception(404, NOT_FOUND, "{}")]).await;
    let error = server.client().delete_connection(&delete("x")).await.expect_err("refused");
    assert!(matches!(error, DeleteConnectionError::ResourceNotFound(_)));
    assert_eq!(server.attempts(), 2);

    // Only of DeleteConnection.
    let server = Server::new([reply(500, "{}"), exception(404, NOT_FOUND, "{}")]).await;
    let request = GetRetainedMessage { topic: "a".into() };
    let error = server.client().get_retained_message(&request).await.expect_err("refused");
    assert!(matches!(error, GetRetainedMessageError::ResourceNotFound(_)));
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_request() {
    let server = Server::new(vec![reply(200, "{}"); 3]).await;
    let client = server.client();
    for _ in 0..3 {
        client.clone().get_connection(&get("x")).await.expect("answered");
    }
    let connections: Vec<_> =
        server.received().iter().map(|received| received.connection).collect();
    assert_eq!(connections, [1, 1, 1]);
}

#[tokio::test]
async fn requests_at_once_have_connections_of_their_own() {
    let server = Server::new([Reply::Silence, reply(200, "{}")]).await;
    let client = server.client();
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.get_connection(&get("first")).await }
    });
    while server.attempts() == 0 {
        tokio::task::yield_now().await;
    }
    client.get_connection(&get("second")).await.expect("answered");
    waiting.abort();
    assert_eq!(server.received()[1].connection, 2);
}

/// A request that is signed anew at each attempt, and verified as the server does it.
#[tokio::test]
async fn requests_are_signed_where_there_are_credentials() {
    let server = Server::new([reply(500, "{}"), reply(200, "{}")]).await;
    let credentials = Credentials {
        access_key_id: "AKIDEXAMPLE".into(),
        secret_access_key: "SECRETEXAMPLE".into(),
        session_token: Some("a+b/c==".into()),
    };
    let config =
        Config { credentials: Some(credentials), region: "eu-central-1".into(), ..server.config() };
    let client = DataPlane::new(config).expect("a valid configuration");
    let publish = Publish {
        properties: MessageProperties {
            user_properties: vec![("a".into(), "ü".into())],
            correlation_data: Some(vec![0, 1, 2]),
            content_type: Some("text/plain; a=b c".into()),
            ..MessageProperties::default()
        },
        ..message("a/../b c%25")
    };
    client.publish(&publish, Bytes::from_static(b"\0on")).await.expect("accepted");
    let received = server.received();
    assert_eq!(received.len(), 2);
    for received in received {
        let headers: Vec<_> =
            received.headers.iter().map(|(n, v)| (n.as_str(), v.as_slice())).collect();
        let (path, query) = received.target.split_once('?').expect("a query");
        let request = SignedRequest {
            method: &received.method,
            path,
            query,
            headers: &headers,
            payload_sha256: payload_sha256(&received.body),
        };
        let presented = Presented::parse(&request).expect("well-formed").expect("signed");
        let signed = [
            "content-type",
            "host",
            "x-amz-date",
            "x-amz-mqtt5-correlation-data",
            "x-amz-mqtt5-user-properties",
            "x-amz-security-token",
        ];
        assert_eq!(presented.signed_headers, signed);
        assert_eq!(presented.session_token.as_deref(), Some("a+b/c=="));
        let expected = ExpectedScope { region: Some("eu-central-1"), services: SERVICES };
        let now = presented.date.unix_seconds();
        assert_eq!(verify(&presented, &request, "SECRETEXAMPLE", expected, now), Ok(()));
    }
}

#[tokio::test]
async fn a_message_is_published_as_it_is() {
    let server = Server::new([reply(200, r#"{"message":"OK","traceId":"t"}"#)]).await;
    let publish = Publish {
        retain: true,
        message_expiry: Some(60),
        properties: MessageProperties {
            response_topic: Some("r/1".into()),
            payload_format_indicator: Some(true),
            ..MessageProperties::default()
        },
        ..message("a/b")
    };
    server.client().publish(&publish, Bytes::from_static(b"\xFFon")).await.expect("accepted");
    let received = &server.received()[0];
    assert_eq!(
        received.target,
        "/topics/a%2Fb?qos=1&retain=true&responseTopic=r%2F1&messageExpiry=60"
    );
    assert_eq!(received.body.as_ref(), b"\xFFon");
    assert_eq!(received.header("content-length"), Some("3"));
    assert_eq!(received.header("content-type"), Some("application/octet-stream"));
    assert_eq!(received.header("x-amz-mqtt5-payload-format-indicator"), Some("UTF8_DATA"));
}

#[tokio::test]
async fn publishing_fails_with_its_own_exceptions() {
    let too_large = exception(413, "RequestEntityTooLargeException", "{}");
    let server = Server::new([too_large, exception(401, "UnauthorizedException", "{}")]).await;
    let client = server.client();
    let error = client.publish(&message("a"), Bytes::new()).await.expect_err("refused");
    assert!(matches!(error, PublishError::RequestEntityTooLarge(_)));
    let error = client.publish(&message("a"), Bytes::new()).await.expect_err("refused");
    assert!(matches!(error, PublishError::Unauthorized(_)));
}

#[tokio::test]
async fn answers_are_typed() {
    let retained =
        r#"{"topic":"a","payload":"b24=","qos":1,"lastModifiedTime":7,"userProperties":null}"#;
    let server = Server::new([
        reply(200, r#"{"connected":true,"keepAliveDuration":30}"#),
        reply(200, retained),
    ])
    .await;
    let connection = server.client().get_connection(&get("x")).await.expect("answered");
    assert!(connection.connected);
    assert_eq!(connection.keep_alive_duration, Some(30));
    let request = GetRetainedMessage { topic: "a".into() };
    let message = server.client().get_retained_message(&request).await.expect("answered");
    assert_eq!(message.payload, b"on");
}

#[tokio::test]
async fn a_success_that_cannot_be_read_is_a_transport_error() {
    let server = Server::new([reply(200, "<html>")]).await;
    let error = server.client().get_connection(&get("x")).await.expect_err("not JSON");
    assert!(matches!(error, GetConnectionError::Transport(TransportError::Body(_))));
    assert_eq!(server.attempts(), 1);
}

/// Contract `delete-connection.md` LS-2: the token goes back as it came.
#[tokio::test]
async fn a_list_is_read_page_by_page() {
    let server = Server::new([
        reply(200, r#"{"subscriptions":[{"topicFilter":"a","qos":0}],"nextToken":"t+/= ü"}"#),
        reply(200, r#"{"subscriptions":[],"nextToken":"u"}"#),
        reply(200, r#"{"subscriptions":[{"topicFilter":"b","qos":1}],"nextToken":null}"#),
    ])
    .await;
    let all = server.client().list_subscriptions("x/y").all().await.expect("answered");
    let filters: Vec<_> = all.iter().map(|item| item.topic_filter.as_str()).collect();
    assert_eq!(filters, ["a", "b"]);
    let targets: Vec<_> = server.received().into_iter().map(|received| received.target).collect();
    let first = "/connections/x%2Fy/subscriptions?maxResults=200";
    assert_eq!(
        targets,
        [
            first.to_owned(),
            format!("{first}&nextToken=t%2B%2F%3D%20%C3%BC"),
            format!("{first}&nextToken=u"),
        ]
    );
}

#[tokio::test]
async fn a_list_ends_with_a_failure_or_a_token_that_comes_again() {
    let page = r#"{"retainedTopics":[{"topic":"a"}],"nextToken":"t"}"#;
    let server = Server::new([reply(200, page), reply(403, "{}")]).await;
    let mut pager = server.client().list_retained_messages();
    assert_eq!(pager.next_page().await.expect("a page").expect("answered").len(), 1);
    assert!(pager.next_page().await.expect("a failure").is_err());
    assert!(pager.next_page().await.is_none());

    let server = Server::new([reply(200, page), reply(200, page)]).await;
    let error = server.client().list_retained_messages().all().await.expect_err("endless");
    let error = CallError::from(error);
    assert!(matches!(error, CallError::Transport(TransportError::RepeatedToken)));
    assert_eq!(server.received()[0].target, "/retainedMessage?maxResults=200");
}

/// Contract `device-shadow.md` §2: documents are what the service wrote, byte for byte.
#[tokio::test]
async fn shadows_are_documents_as_they_came() {
    let document = r#"{"state":{"desired":{"n":1.50}},"version":1}"#;
    let server = Server::new([
        reply(200, document),
        reply(200, document),
        exception(409, "ConflictException", r#"{"message":"Version conflict"}"#),
        reply(200, r#"{"version":1,"timestamp":2}"#),
        reply(200, r#"{"results":["a"],"nextToken":"t","timestamp":2}"#),
        reply(200, r#"{"results":["b"],"timestamp":2}"#),
    ])
    .await;
    let client = server.client();
    let shadow = ShadowId::new("T:1", Some("s")).expect("a shadow");
    let update = UpdateThingShadow { shadow: shadow.clone() };
    let body = Bytes::from_static(b"{}");
    let accepted = client.update_thing_shadow(&update, &body).await.expect("accepted");
    let get = GetThingShadow { shadow: shadow.clone() };
    assert_eq!(
        (&accepted[..], &accepted),
        (document.as_bytes(), &client.get_thing_shadow(&get).await.expect("a document"))
    );
    let error = client.update_thing_shadow(&update, &body).await.expect_err("refused");
    assert!(matches!(error, UpdateThingShadowError::Conflict(_)));
    let deleted = client.delete_thing_shadow(&DeleteThingShadow { shadow }).await;
    assert_eq!(&deleted.expect("deleted")[..], br#"{"version":1,"timestamp":2}"#);
    let names = client.list_named_shadows_for_thing("T:1").all().await.expect("names");
    assert_eq!(names, ["a", "b"]);
    let requests: Vec<String> =
        server.received().into_iter().map(|it| format!("{} {}", it.method, it.target)).collect();
    let list = "GET /api/things/shadow/ListNamedShadowsForThing/T%3A1";
    let path = "/things/T%3A1/shadow?name=s";
    assert_eq!(
        requests,
        [
            format!("POST {path}"),
            format!("GET {path}"),
            format!("POST {path}"),
            format!("DELETE {path}"),
            list.to_owned(),
            format!("{list}?nextToken=t"),
        ]
    );
}

/// A message that was sent again could arrive twice.
#[tokio::test]
async fn a_direct_message_is_sent_once() {
    let timeout = exception(504, "GatewayTimeoutException", r#"{"message":"m"}"#);
    let server = Server::new([timeout, reply(200, "{}")]).await;
    let message = SendDirectMessage {
        client_id: "a/b".into(),
        topic: "t/1".into(),
        confirmation: Some(7),
        properties: MessageProperties::default(),
    };
    let (client, payload) = (server.client(), Bytes::from_static(b"x"));
    let error = client.send_direct_message(&message, &payload).await.expect_err("refused");
    assert!(matches!(error, SendDirectMessageError::GatewayTimeout(_)));
    assert_eq!(server.attempts(), 1);
    client.send_direct_message(&message, &payload).await.expect("sent");
    let received = &server.received()[1];
    let target = "/connections/a%2Fb/messages?topic=t%2F1&confirmation=true&timeout=7";
    assert_eq!((received.target.as_str(), &received.body[..]), (target, &b"x"[..]));
}

#[tokio::test]
async fn connections_are_listed_as_bitts_lists_them() {
    let body = r#"{"connections":[{"connected":true,"clientId":"a","protocol":"MQTT5","subscriptions":2,"queued":3}]}"#;
    let server = Server::new([reply(200, body)]).await;
    let select = SelectConnections {
        prefix: Some("a b/".into()),
        connected: Some(true),
        max_results: Some(10),
    };
    let listed = server.client().list_connections(&select).all().await.expect("answered");
    assert_eq!(listed[0].connection.client_id.as_deref(), Some("a"));
    assert_eq!(listed[0].protocol.as_deref(), Some("MQTT5"));
    assert_eq!((listed[0].subscriptions, listed[0].queued), (2, 3));
    let target = "/bitts/v1/connections?prefix=a%20b%2F&connected=true&maxResults=10";
    assert_eq!(server.received()[0].target, target);
}

#[tokio::test]
async fn anything_else_is_asked_as_json() {
    let server = Server::new([reply(200, "[1,2]"), exception(404, NOT_FOUND, "{}")]).await;
    let client = server.client();
    let answer: Vec<u8> =
        client.get_json("/bitts/v1/x", &[("a&b", "c d")]).await.expect("answered");
    assert_eq!(answer, [1, 2]);
    assert_eq!(server.received()[0].target, "/bitts/v1/x?a%26b=c%20d");
    let error = client.get_json::<Vec<u8>>("/bitts/v1/x", &[]).await.expect_err("refused");
    assert_eq!(error.refusal().map(|refusal| refusal.status), Some(404));
    let error = client.get_json::<Vec<u8>>("a path\n", &[]).await.expect_err("no path");
    assert!(matches!(error, CallError::Transport(TransportError::Request(_))));
}

#[test]
fn an_endpoint_is_needed_and_is_aws_only_when_asked() {
    assert!(matches!(DataPlane::new(Config::default()), Err(ConfigError::NoEndpoint)));
    let region = "eu-west-1".to_owned();
    let at_aws = Config { region, ..Config::default() }.at_aws();
    let url = "https://data-ats.iot.eu-west-1.amazonaws.com";
    assert_eq!(at_aws.endpoint_url.as_deref(), Some(url));
    assert!(DataPlane::new(at_aws).is_ok());
    let bad = Config { endpoint_url: Some("localhost:8830".into()), ..Config::default() };
    assert!(matches!(DataPlane::new(bad), Err(ConfigError::Endpoint(_))));
}
