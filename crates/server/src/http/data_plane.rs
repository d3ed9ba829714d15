//! The data plane of AWS IoT: from a request to a command, from a reply to an answer.
//!
//! Paths, parameters, limits and errors are `bitts-aws`'s, facts are the shard's; this is what is
//! left. Contract `data-plane-http.md`.

use bitts_aws::api::{
    self, Connection, GetConnection, ListRetainedMessages, ListSubscriptions, Operation,
    RetainedMessage, RetainedPage, RetainedSummary, Route, Subscription, SubscriptionPage,
    next_token,
};
use bitts_aws::error::{ApiError, ErrorKind};
use bitts_aws::sigv4;
use bitts_broker::command::{Command, ConnectionInfo, Further, Reply};
use bitts_broker::{Message, NewMessage};
use bitts_mqtt::{PublishProperties, QoS, UserPropertiesBuf};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::HeaderValue;
use hyper::http::request::Parts;
use hyper::{HeaderMap, Request};

use super::Front;
use super::answer::{Answer, Trace};
use super::authenticate::Door;
use super::direct;
use super::throttle::too_many;

/// Longest time that a client id is held off, in seconds: a day.
pub(super) const HOLD_OFF_SECONDS_MAX: u32 = 86_400;

/// hyper's headers as the contract reads them.
pub(super) struct RequestHeaders<'a>(pub(super) &'a HeaderMap);

impl api::Headers for RequestHeaders<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(|value| value.to_str().ok())
    }
}

impl Front {
    /// Answers a request that is not one of our own paths.
    pub(super) async fn data_plane(
        &self,
        request: Request<Incoming>,
        trace: &Trace,
        door: &Door,
    ) -> Answer {
        let (head, body) = request.into_parts();
        let route = match api::route(head.method.as_str(), head.uri.path()) {
            Ok(route) => route,
            Err(error) => {
                let error = ApiError::from(error);
                self.counters.answered(None, error.kind.status());
                return Answer::error(&error, trace);
            }
        };
        let operation = route.operation;
        let (answer, is_read) = match self.read_body(body).await {
            Ok(payload) => {
                let answer = match self.allowed(&route, &head, &payload, door).await {
                    Ok(asked) => {
                        let outcome = self.perform(asked, payload, &head, trace).await;
                        outcome.unwrap_or_else(|error| Answer::error(&error, trace))
                    }
                    Err(error) => direct::refuse(operation, &error, trace),
                };
                (answer, true)
            }
            Err(error) => (Answer::error(&error, trace), false),
        };
        self.counters.answered(Some(operation), answer.status());
        if is_read { answer } else { answer.closing() }
    }

    /// The request, if whoever sends it may, it is valid, and it is not one too many.
    async fn allowed(
        &self,
        route: &Route,
        head: &Parts,
        payload: &[u8],
        door: &Door,
    ) -> Result<api::Request, ApiError> {
        let query = head.uri.query();
        self.authenticate(door, head, payload, sigv4::SERVICES).await?.may(route, query)?;
        let headers = RequestHeaders(&head.headers);
        let asked = api::Request::parse(route, query, &headers, payload.len())?;
        self.throttle.check(route.operation, self.clock.now().moment)?;
        Ok(asked)
    }

    pub(super) async fn read_body(&self, body: Incoming) -> Result<Bytes, ApiError> {
        let too_large = || {
            let message = "The payload is larger than 131072 bytes";
            ApiError::new(ErrorKind::RequestEntityTooLarge, message)
        };
        if body.size_hint().lower() > self.limits.http_body_bytes_max as u64 {
            return Err(too_large());
        }
        let limited = Limited::new(body, self.limits.http_body_bytes_max).collect();
        match tokio::time::timeout(self.limits.http_timeout, limited).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(too_large()),
            Ok(Err(_)) => Err(ApiError::new(ErrorKind::InvalidRequest, "The body is incomplete")),
            Err(_) => {
                let message = "The body did not come in time";
                Err(ApiError::new(ErrorKind::InvalidRequest, message))
            }
        }
    }

    async fn perform(
        &self,
        request: api::Request,
        payload: Bytes,
        head: &Parts,
        trace: &Trace,
    ) -> Result<Answer, ApiError> {
        match request {
            api::Request::DeleteConnection(asked) => {
                self.delete_connection(asked, further(&head.headers)?, trace).await
            }
            api::Request::GetConnection(asked) => self.get_connection(asked, trace).await,
            api::Request::ListSubscriptions(asked) => self.list_subscriptions(asked, trace).await,
            api::Request::Publish(asked) => self.publish(asked, payload, trace).await,
            api::Request::GetRetainedMessage(asked) => {
                self.get_retained_message(asked.topic, trace).await
            }
            api::Request::ListRetainedMessages(asked) => {
                self.list_retained_messages(asked, trace).await
            }
            api::Request::SendDirectMessage(asked) => {
                self.send_direct_message(asked, payload, trace).await
            }
            api::Request::GetThingShadow(asked) => self.get_thing_shadow(asked, trace).await,
            api::Request::UpdateThingShadow(asked) => {
                self.update_thing_shadow(asked, payload, trace).await
            }
            api::Request::DeleteThingShadow(asked) => self.delete_thing_shadow(asked, trace).await,
            api::Request::ListNamedShadowsForThing(asked) => {
                self.list_named_shadows(asked, trace).await
            }
        }
    }

    async fn delete_connection(
        &self,
        asked: api::DeleteConnection,
        further: Further,
        trace: &Trace,
    ) -> Result<Answer, ApiError> {
        let api::DeleteConnection { client_id, clean_session, prevent_will_message } = asked;
        let owner = self.mesh.placement.owner_of(&client_id);
        let command =
            Command::DeleteConnection { client_id, clean_session, prevent_will_message, further };
        match self.mesh.call(owner, command).await {
            Some(Reply::Done) => Ok(Answer::empty(trace)),
            reply => Err(refused(Operation::DeleteConnection, reply)),
        }
    }

    async fn get_connection(
        &self,
        asked: GetConnection,
        trace: &Trace,
    ) -> Result<Answer, ApiError> {
        let GetConnection { client_id, include_socket_information } = asked;
        let owner = self.mesh.placement.owner_of(&client_id);
        match self.mesh.call(owner, Command::GetConnection { client_id }).await {
            Some(Reply::Connection(info)) => {
                Ok(Answer::json(&connection(&info, include_socket_information), trace))
            }
            reply => Err(refused(Operation::GetConnection, reply)),
        }
    }

    async fn list_subscriptions(
        &self,
        asked: ListSubscriptions,
        trace: &Trace,
    ) -> Result<Answer, ApiError> {
        let ListSubscriptions { client_id, max_results: max, after } = asked;
        let owner = self.mesh.placement.owner_of(&client_id);
        let command = Command::ListSubscriptions { client_id, after, max };
        match self.mesh.call(owner, command).await {
            Some(Reply::Subscriptions { subscriptions, more }) => {
                let last = subscriptions.last().filter(|_| more);
                let page = SubscriptionPage {
                    next_token: last.map(|last| next_token(&last.topic_filter)),
                    subscriptions: subscriptions
                        .iter()
                        .map(|held| Subscription {
                            topic_filter: held.topic_filter.to_string(),
                            qos: held.qos.min(1),
                        })
                        .collect(),
                };
                Ok(Answer::json(&page, trace))
            }
            reply => Err(refused(Operation::ListSubscriptions, reply)),
        }
    }

    async fn publish(
        &self,
        asked: api::Publish,
        payload: Bytes,
        trace: &Trace,
    ) -> Result<Answer, ApiError> {
        let owner = self.mesh.placement.owner_of(&asked.topic);
        let message = new_message(asked, payload)?;
        match self.mesh.call(owner, Command::Publish(message)).await {
            Some(Reply::Done) => Ok(Answer::json_bytes(api::published(trace.as_str()), trace)),
            reply => Err(refused(Operation::Publish, reply)),
        }
    }

    async fn get_retained_message(&self, topic: String, trace: &Trace) -> Result<Answer, ApiError> {
        let owner = self.mesh.placement.owner_of(&topic);
        match self.mesh.call(owner, Command::GetRetainedMessage { topic }).await {
            Some(Reply::Retained(message)) => Ok(Answer::json(&retained_message(&message), trace)),
            reply => Err(refused(Operation::GetRetainedMessage, reply)),
        }
    }

    async fn list_retained_messages(
        &self,
        asked: ListRetainedMessages,
        trace: &Trace,
    ) -> Result<Answer, ApiError> {
        let ListRetainedMessages { max_results: max, after } = asked;
        let command = Command::ListRetainedMessages { after, max };
        let replies = self.mesh.call_all(command).await.ok_or_else(unavailable)?;
        let mut found = Vec::new();
        let mut more = false;
        for reply in replies {
            if let Reply::RetainedList { messages, more: on_shard } = reply {
                found.extend(messages);
                more |= on_shard;
            }
        }
        found.sort_unstable_by(|a, b| a.topic.cmp(&b.topic));
        more |= found.len() > max;
        found.truncate(max);
        let last = found.last().filter(|_| more);
        let page = RetainedPage {
            next_token: last.map(|last| next_token(&last.topic)),
            retained_topics: found
                .iter()
                .map(|message| RetainedSummary {
                    topic: message.topic.to_string(),
                    payload_size: message.payload.len() as u64,
                    qos: message.qos.min(QoS::One) as u8,
                    last_modified_time: message.accepted_unix_ms,
                })
                .collect(),
        };
        Ok(Answer::json(&page, trace))
    }
}

/// What a DeleteConnection asks beyond AWS's, in headers of our own: `x-bitts-if-session` and
/// `x-bitts-hold-off`, in seconds.
fn further(headers: &HeaderMap) -> Result<Further, ApiError> {
    let invalid = |message| ApiError::new(ErrorKind::InvalidRequest, message);
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str());
    let if_session = text("x-bitts-if-session").transpose();
    let if_session = if_session.map_err(|_| invalid("x-bitts-if-session is not text"))?;
    let hold_off_seconds = match text("x-bitts-hold-off") {
        None => 0,
        Some(text) => {
            let seconds = text.ok().and_then(|text| text.parse().ok());
            let seconds = seconds.filter(|seconds| *seconds <= HOLD_OFF_SECONDS_MAX);
            seconds.ok_or_else(|| invalid("x-bitts-hold-off is from 0 to 86400 seconds"))?
        }
    };
    Ok(Further {
        if_session: if_session.map(str::to_owned),
        hold_off_seconds,
        server_reference: None,
    })
}

/// What GetConnection tells (GC-1 to GC-7).
pub(super) fn connection(info: &ConnectionInfo, with_sockets: bool) -> Connection {
    let (source, target) = (info.source, info.target);
    let (source, target) = if with_sockets { (source, target) } else { (None, None) };
    Connection {
        connected: info.connected,
        client_id: Some(info.client_id.clone()),
        clean_session: Some(info.clean_session),
        connected_since: info.connected_since,
        disconnected_since: info.disconnected_since,
        disconnect_reason: info
            .disconnect_reason
            .map(|cause| cause.disconnect_reason().as_str().to_owned()),
        keep_alive_duration: info.keep_alive.map(u32::from),
        session_expiry: info.session_expiry.map(u64::from),
        thing_name: info.thing_name.clone(),
        source_ip: source.map(|address| address.ip().to_string()),
        source_port: source.map(|address| address.port()),
        target_ip: target.map(|address| address.ip().to_string()),
        target_port: target.map(|address| address.port()),
    }
}

/// The properties of a message, encoded.
pub(super) fn message_properties(
    user_properties: &[(String, String)],
    payload_format_indicator: Option<bool>,
    (content_type, response_topic): (Option<&str>, Option<&str>),
    correlation_data: Option<&[u8]>,
) -> Result<Vec<u8>, ApiError> {
    let mut user = UserPropertiesBuf::new();
    for (name, value) in user_properties {
        if !user.push(name, value) {
            let message = "A user property is longer than 65535 bytes";
            return Err(ApiError::new(ErrorKind::InvalidRequest, message));
        }
    }
    let mut properties = Vec::new();
    PublishProperties {
        payload_format_indicator,
        content_type,
        response_topic,
        correlation_data,
        user_properties: user.as_properties(),
        ..PublishProperties::default()
    }
    .encode_forwarded(&mut properties);
    Ok(properties)
}

fn new_message(asked: api::Publish, payload: Bytes) -> Result<NewMessage, ApiError> {
    let properties = message_properties(
        &asked.user_properties,
        asked.payload_format_indicator,
        (asked.content_type.as_deref(), asked.response_topic.as_deref()),
        asked.correlation_data.as_deref(),
    )?;
    Ok(NewMessage {
        topic: asked.topic,
        payload,
        qos: if asked.qos == 0 { QoS::Zero } else { QoS::One },
        retain: asked.retain,
        properties,
        message_expiry_interval: asked.message_expiry,
    })
}

fn retained_message(message: &Message) -> RetainedMessage {
    let properties = PublishProperties::from_forwarded(&message.properties);
    let user = properties.user_properties.iter();
    let user: Vec<_> = user.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    RetainedMessage {
        topic: message.topic.to_string(),
        payload: message.payload.to_vec(),
        qos: message.qos.min(QoS::One) as u8,
        last_modified_time: message.accepted_unix_ms,
        user_properties: (!user.is_empty()).then_some(user),
    }
}

/// No shard answers: the server stops.
pub(super) fn unavailable() -> ApiError {
    ApiError::new(ErrorKind::ServiceUnavailable, "The server is stopping")
}

/// The exception for a reply that is not the one hoped for.
pub(super) fn refused(operation: Operation, reply: Option<Reply>) -> ApiError {
    match reply {
        Some(Reply::NotFound) => {
            let message = match operation {
                Operation::GetRetainedMessage => "No retained message on this topic",
                _ => "No connection or session for this client ID",
            };
            ApiError::new(ErrorKind::ResourceNotFound, message)
        }
        Some(Reply::OtherSession) => {
            ApiError::new(ErrorKind::Conflict, "The client's session is another one")
        }
        Some(Reply::QuotaExceeded) => {
            ApiError::new(ErrorKind::Throttling, "The limit on retained messages is reached")
        }
        Some(Reply::DiskFull) => {
            ApiError::new(ErrorKind::ServiceUnavailable, "The disk of the server is full")
        }
        Some(Reply::Throttled) => too_many(),
        Some(Reply::Reserved) => {
            let message = "No service of this version reads the reserved topic";
            ApiError::new(ErrorKind::InvalidRequest, message)
        }
        // The models of these operations know no 503.
        None if operation != Operation::GetRetainedMessage => {
            ApiError::new(ErrorKind::InternalFailure, "The server is stopping")
        }
        None => unavailable(),
        Some(_) => ApiError::new(ErrorKind::InternalFailure, "An unexpected reply"),
    }
}
