//! The data plane in front of a machine: an HTTP request to commands, their answers to a response.

use bitts_aws::api::{self, Request as Operation};
use bitts_aws::error::{ApiError, ErrorKind};
use bitts_aws::shadow::{ShadowId, ShadowOperation};
use bitts_broker::command::{Command, ConnectionInfo, Further, Reply};
use bitts_broker::{DirectMessage, NewMessage, ShadowRequest, ShardId};
use bitts_mqtt::{PublishProperties, QoS, UserPropertiesBuf};
use serde_json::{Value, json};

use super::Machine;

/// An HTTP request.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Request {
    /// Verb.
    pub method: String,
    /// Raw path.
    pub path: String,
    /// What follows `?`.
    pub query: Option<String>,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

/// An HTTP response, or the commands whose answers make one.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Decided without a shard.
    Now(u16, Value),
    /// Waits for these replies.
    Waits(Box<Operation>, Vec<u64>),
}

impl Machine {
    /// Begins a request.
    pub fn call(&mut self, request: &Request) -> Answer {
        match self.begin(request) {
            Ok(answer) => answer,
            Err(error) => refused(&error),
        }
    }

    /// The response, once every reply is there.
    pub fn answer(&mut self, answer: &Answer) -> Option<(u16, Value)> {
        match answer {
            Answer::Now(status, body) => Some((*status, body.clone())),
            Answer::Waits(operation, ids) => {
                if ids.iter().any(|id| !self.replies.contains_key(id)) {
                    return None;
                }
                let replies = ids.iter().filter_map(|id| self.reply(*id)).collect();
                Some(finish(operation, replies))
            }
        }
    }

    fn begin(&mut self, request: &Request) -> Result<Answer, ApiError> {
        let route = api::route(&request.method, &request.path)?;
        let headers: Vec<(&str, &str)> =
            request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let query = request.query.as_deref();
        let operation = Operation::parse(&route, query, &headers.as_slice(), request.body.len())?;
        let (owner, command) = command_of(&operation, &request.body);
        let ids = match owner {
            Some(name) => vec![self.command(self.placement.owner_of(&name), command)],
            None => (0..self.options.shards)
                .map(|shard| self.command(ShardId(shard), command.clone()))
                .collect(),
        };
        Ok(Answer::Waits(Box::new(operation), ids))
    }
}

fn refused(error: &ApiError) -> Answer {
    let (status, body) = response(error);
    Answer::Now(status, body)
}

fn response(error: &ApiError) -> (u16, Value) {
    (error.kind.status(), json!({ "message": error.message }))
}

/// Whom an operation is for (every shard where nobody is named), and what is asked.
fn command_of(operation: &Operation, body: &[u8]) -> (Option<String>, Command) {
    match operation {
        Operation::DeleteConnection(request) => {
            let client_id = request.client_id.clone();
            let (clean_session, prevent_will_message) =
                (request.clean_session, request.prevent_will_message);
            let owner = Some(client_id.clone());
            (
                owner,
                Command::DeleteConnection {
                    client_id,
                    clean_session,
                    prevent_will_message,
                    further: Further::default(),
                },
            )
        }
        Operation::GetConnection(request) => {
            let client_id = request.client_id.clone();
            (Some(client_id.clone()), Command::GetConnection { client_id })
        }
        Operation::ListSubscriptions(request) => {
            let client_id = request.client_id.clone();
            let (after, max) = (request.after.clone(), request.max_results);
            (Some(client_id.clone()), Command::ListSubscriptions { client_id, after, max })
        }
        Operation::Publish(request) => {
            (Some(request.topic.clone()), Command::Publish(new_message(request, body)))
        }
        Operation::SendDirectMessage(request) => {
            (Some(request.client_id.clone()), Command::SendDirectMessage(direct(request, body)))
        }
        Operation::GetThingShadow(request) => shadow(&request.shadow, ShadowOperation::Get, body),
        Operation::UpdateThingShadow(request) => {
            shadow(&request.shadow, ShadowOperation::Update, body)
        }
        Operation::DeleteThingShadow(request) => {
            shadow(&request.shadow, ShadowOperation::Delete, body)
        }
        Operation::ListNamedShadowsForThing(request) => {
            (Some(request.thing_name.clone()), Command::ListNamedShadows(request.clone()))
        }
        Operation::GetRetainedMessage(request) => {
            let topic = request.topic.clone();
            (Some(topic.clone()), Command::GetRetainedMessage { topic })
        }
        Operation::ListRetainedMessages(request) => {
            let (after, max) = (request.after.clone(), request.max_results);
            (None, Command::ListRetainedMessages { after, max })
        }
    }
}

fn shadow(id: &ShadowId, operation: ShadowOperation, body: &[u8]) -> (Option<String>, Command) {
    let payload = bytes::Bytes::copy_from_slice(body);
    let command = Command::Shadow(ShadowRequest { id: id.clone(), operation, payload });
    (Some(id.thing().to_owned()), command)
}

fn direct(request: &api::SendDirectMessage, body: &[u8]) -> DirectMessage {
    let mut user = UserPropertiesBuf::new();
    for (name, value) in &request.user_properties {
        user.push(name, value);
    }
    let mut properties = Vec::new();
    PublishProperties {
        payload_format_indicator: request.payload_format_indicator,
        response_topic: request.response_topic.as_deref(),
        correlation_data: request.correlation_data.as_deref(),
        content_type: request.content_type.as_deref(),
        user_properties: user.as_properties(),
        ..PublishProperties::default()
    }
    .encode_forwarded(&mut properties);
    DirectMessage {
        client_id: request.client_id.clone(),
        topic: request.topic.clone(),
        payload: bytes::Bytes::copy_from_slice(body),
        properties,
        confirmation: request.confirmation,
    }
}

fn new_message(request: &api::Publish, body: &[u8]) -> NewMessage {
    let mut user = UserPropertiesBuf::new();
    for (name, value) in &request.user_properties {
        user.push(name, value);
    }
    let mut properties = Vec::new();
    PublishProperties {
        payload_format_indicator: request.payload_format_indicator,
        response_topic: request.response_topic.as_deref(),
        correlation_data: request.correlation_data.as_deref(),
        content_type: request.content_type.as_deref(),
        user_properties: user.as_properties(),
        ..PublishProperties::default()
    }
    .encode_forwarded(&mut properties);
    NewMessage {
        topic: request.topic.clone(),
        payload: bytes::Bytes::copy_from_slice(body),
        qos: if request.qos == 1 { QoS::One } else { QoS::Zero },
        retain: request.retain,
        properties,
        message_expiry_interval: request.message_expiry,
    }
}

fn finish(operation: &Operation, replies: Vec<Reply>) -> (u16, Value) {
    if let Operation::ListRetainedMessages(request) = operation {
        return retained_page(request, replies);
    }
    let error = |kind: ErrorKind| (kind.status(), json!({ "message": kind.name() }));
    match replies.into_iter().next() {
        Some(Reply::Done) => (200, json!({})),
        Some(Reply::Shadow(body)) => (200, serde_json::from_slice(&body).unwrap_or_default()),
        Some(Reply::NamedShadows(page)) => (200, to_json(&page)),
        Some(Reply::ShadowRejected(rejection)) => match operation {
            Operation::GetThingShadow(api::GetThingShadow { shadow })
            | Operation::UpdateThingShadow(api::UpdateThingShadow { shadow })
            | Operation::DeleteThingShadow(api::DeleteThingShadow { shadow }) => {
                response(&rejection.api_error(shadow))
            }
            _ => error(ErrorKind::InternalFailure),
        },
        Some(Reply::NotDelivered(why)) => match operation {
            Operation::SendDirectMessage(request) => response(&why.api_error(&request.client_id)),
            _ => error(ErrorKind::InternalFailure),
        },
        Some(Reply::NotFound) => error(ErrorKind::ResourceNotFound),
        Some(Reply::QuotaExceeded | Reply::Throttled) => error(ErrorKind::Throttling),
        Some(Reply::DiskFull) => error(ErrorKind::ServiceUnavailable),
        Some(Reply::Reserved) => error(ErrorKind::InvalidRequest),
        Some(Reply::Connection(info)) => (200, connection(operation, &info)),
        Some(Reply::Subscriptions { subscriptions, more }) => {
            let last = subscriptions.last().filter(|_| more);
            let next_token = last.map(|last| api::next_token(&last.topic_filter));
            let subscriptions = subscriptions
                .iter()
                .map(|held| api::Subscription {
                    topic_filter: held.topic_filter.to_string(),
                    qos: held.qos.min(1),
                })
                .collect();
            (200, to_json(&api::SubscriptionPage { subscriptions, next_token }))
        }
        Some(Reply::Retained(message)) => {
            let properties = PublishProperties::from_forwarded(&message.properties);
            let user: Vec<(String, String)> = properties
                .user_properties
                .iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            let found = api::RetainedMessage {
                topic: message.topic.to_string(),
                payload: message.payload.to_vec(),
                qos: (message.qos as u8).min(1),
                last_modified_time: message.accepted_unix_ms,
                user_properties: (!user.is_empty()).then_some(user),
            };
            (200, to_json(&found))
        }
        Some(
            Reply::RetainedList { .. }
            | Reply::Connections { .. }
            | Reply::Needs(_)
            | Reply::OtherSession
            | Reply::Selected { .. }
            | Reply::Stats(_),
        )
        | None => error(ErrorKind::InternalFailure),
    }
}

fn to_json(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

fn connection(operation: &Operation, info: &ConnectionInfo) -> Value {
    let is_asked = match operation {
        Operation::GetConnection(request) => request.include_socket_information,
        _ => false,
    };
    let source = info.source.filter(|_| is_asked);
    let target = info.target.filter(|_| is_asked);
    to_json(&api::Connection {
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
        source_ip: source.map(|source| source.ip().to_string()),
        source_port: source.map(|source| source.port()),
        target_ip: target.map(|target| target.ip().to_string()),
        target_port: target.map(|target| target.port()),
    })
}

fn retained_page(request: &api::ListRetainedMessages, replies: Vec<Reply>) -> (u16, Value) {
    let mut found = Vec::new();
    let mut more = false;
    for reply in replies {
        if let Reply::RetainedList { messages, more: behind } = reply {
            found.extend(messages);
            more |= behind;
        }
    }
    found.sort_by(|a, b| a.topic.cmp(&b.topic));
    more |= found.len() > request.max_results;
    found.truncate(request.max_results);
    let last = found.last().filter(|_| more);
    let next_token = last.map(|last| api::next_token(&last.topic));
    let retained_topics = found
        .iter()
        .map(|message| api::RetainedSummary {
            topic: message.topic.to_string(),
            payload_size: message.payload.len() as u64,
            qos: (message.qos as u8).min(1),
            last_modified_time: message.accepted_unix_ms,
        })
        .collect();
    (200, to_json(&api::RetainedPage { retained_topics, next_token }))
}
