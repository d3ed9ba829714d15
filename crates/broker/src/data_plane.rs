//! The operations of AWS IoT's data plane as commands, and their replies as what AWS answers.
//!
//! Whether the caller may is decided before, and how requests travel by whoever asks. Contract
//! `data-plane-http.md` §2 to §4.

use std::sync::Arc;

use bitts_aws::api::{
    self, Answer, Connection, MessageProperties, Publish, Request, RetainedMessage, RetainedPage,
    RetainedSummary, SendDirectMessage, Subscription, SubscriptionPage, next_token,
};
use bitts_aws::error::{ApiError, ErrorKind};
use bitts_aws::shadow::{ShadowId, ShadowOperation};
use bitts_mqtt::{PublishProperties, QoS, UserPropertiesBuf};
use bytes::Bytes;

use crate::command::{Command, ConnectionInfo, Further, Reply, SubscriptionInfo};
use crate::direct::DirectMessage;
use crate::message::{Message, NewMessage};
use crate::reserved::ShadowRequest;

/// A request as a command, and the name whose owner it is for: every shard, where there is none.
pub fn command(
    request: &Request,
    payload: Bytes,
    further: Further,
) -> Result<(Option<&str>, Command), ApiError> {
    let shadow = |id: &ShadowId, operation, payload| {
        Command::Shadow(ShadowRequest { id: id.clone(), operation, payload })
    };
    Ok(match request {
        Request::DeleteConnection(asked) => {
            let api::DeleteConnection { client_id, clean_session, prevent_will_message } =
                asked.clone();
            let command = Command::DeleteConnection {
                client_id,
                clean_session,
                prevent_will_message,
                further,
            };
            (Some(&asked.client_id), command)
        }
        Request::GetConnection(api::GetConnection { client_id, .. }) => {
            (Some(client_id), Command::GetConnection { client_id: client_id.clone() })
        }
        Request::ListSubscriptions(asked) => {
            let api::ListSubscriptions { client_id, max_results: max, after } = asked.clone();
            let command = Command::ListSubscriptions { client_id, after, max };
            (Some(&asked.client_id), command)
        }
        Request::Publish(asked) => {
            (Some(&asked.topic), Command::Publish(new_message(asked, payload)?))
        }
        Request::SendDirectMessage(asked) => {
            let command = Command::SendDirectMessage(direct_message(asked, payload)?);
            (Some(&asked.client_id), command)
        }
        Request::GetRetainedMessage(api::GetRetainedMessage { topic }) => {
            (Some(topic), Command::GetRetainedMessage { topic: topic.clone() })
        }
        Request::ListRetainedMessages(asked) => {
            let api::ListRetainedMessages { max_results: max, after } = asked.clone();
            (None, Command::ListRetainedMessages { after, max })
        }
        Request::GetThingShadow(api::GetThingShadow { shadow: id }) => {
            (Some(id.thing()), shadow(id, ShadowOperation::Get, Bytes::new()))
        }
        Request::UpdateThingShadow(api::UpdateThingShadow { shadow: id }) => {
            (Some(id.thing()), shadow(id, ShadowOperation::Update, payload))
        }
        Request::DeleteThingShadow(api::DeleteThingShadow { shadow: id }) => {
            (Some(id.thing()), shadow(id, ShadowOperation::Delete, Bytes::new()))
        }
        Request::ListNamedShadowsForThing(asked) => {
            (Some(&asked.thing_name), Command::ListNamedShadows(asked.clone()))
        }
    })
}

/// What a request is answered when every shard that it was for has replied.
pub fn answer(request: &Request, replies: Vec<Reply>) -> Result<Answer, ApiError> {
    if let Request::ListRetainedMessages(asked) = request {
        return Ok(Answer::RetainedPage(retained_page(asked.max_results, replies)));
    }
    match (request, replies.into_iter().next()) {
        (Request::DeleteConnection(_), Some(Reply::Done)) => Ok(Answer::Empty),
        (Request::Publish(_) | Request::SendDirectMessage(_), Some(Reply::Done)) => {
            Ok(Answer::Published)
        }
        (Request::GetConnection(asked), Some(Reply::Connection(info))) => {
            Ok(Answer::Connection(Box::new(info.told(asked.include_socket_information))))
        }
        (_, Some(Reply::Subscriptions { subscriptions, more })) => {
            Ok(Answer::Subscriptions(subscription_page(&subscriptions, more)))
        }
        (_, Some(Reply::Retained(message))) => Ok(Answer::Retained(retained_message(&message))),
        (_, Some(Reply::Shadow(body))) => Ok(Answer::Shadow(body)),
        (_, Some(Reply::NamedShadows(page))) => Ok(Answer::NamedShadows(page)),
        (
            Request::GetThingShadow(api::GetThingShadow { shadow })
            | Request::UpdateThingShadow(api::UpdateThingShadow { shadow })
            | Request::DeleteThingShadow(api::DeleteThingShadow { shadow }),
            Some(Reply::ShadowRejected(rejection)),
        ) => Err(rejection.api_error(shadow)),
        (Request::SendDirectMessage(asked), Some(Reply::NotDelivered(why))) => {
            Err(why.api_error(&asked.client_id))
        }
        (request, reply) => Err(refused(request, reply)),
    }
}

/// The exception for a reply that is not the one hoped for.
fn refused(request: &Request, reply: Option<Reply>) -> ApiError {
    let (kind, message) = match (reply, request) {
        (Some(Reply::NotFound), Request::GetRetainedMessage(_)) => {
            (ErrorKind::ResourceNotFound, "No retained message on this topic")
        }
        (Some(Reply::NotFound), _) => {
            (ErrorKind::ResourceNotFound, "No connection or session for this client ID")
        }
        (Some(Reply::OtherSession), _) => {
            (ErrorKind::Conflict, "The client's session is another one")
        }
        (Some(Reply::QuotaExceeded), _) => {
            (ErrorKind::Throttling, "The limit on retained messages is reached")
        }
        (Some(Reply::DiskFull), _) => {
            (ErrorKind::ServiceUnavailable, "The disk of the server is full")
        }
        (Some(Reply::Throttled), _) => return ApiError::rate_exceeded(),
        (Some(Reply::Reserved), _) => {
            (ErrorKind::InvalidRequest, "No service of this version reads the reserved topic")
        }
        (_, _) => (ErrorKind::InternalFailure, "An unexpected reply"),
    };
    ApiError::new(kind, message)
}

impl ConnectionInfo {
    /// What GetConnection tells (GC-1 to GC-7).
    #[must_use]
    pub fn told(&self, with_sockets: bool) -> Connection {
        let (source, target) = if with_sockets { (self.source, self.target) } else { (None, None) };
        Connection {
            connected: self.connected,
            client_id: Some(self.client_id.clone()),
            clean_session: Some(self.clean_session),
            connected_since: self.connected_since,
            disconnected_since: self.disconnected_since,
            disconnect_reason: self
                .disconnect_reason
                .map(|cause| cause.disconnect_reason().as_str().to_owned()),
            keep_alive_duration: self.keep_alive.map(u32::from),
            session_expiry: self.session_expiry.map(u64::from),
            thing_name: self.thing_name.clone(),
            source_ip: source.map(|address| address.ip().to_string()),
            source_port: source.map(|address| address.port()),
            target_ip: target.map(|address| address.ip().to_string()),
            target_port: target.map(|address| address.port()),
        }
    }
}

fn subscription_page(held: &[SubscriptionInfo], more: bool) -> SubscriptionPage {
    let last = held.last().filter(|_| more);
    SubscriptionPage {
        next_token: last.map(|last| next_token(&last.topic_filter)),
        subscriptions: held
            .iter()
            .map(|held| Subscription {
                topic_filter: held.topic_filter.to_string(),
                qos: held.qos.min(1),
            })
            .collect(),
    }
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

/// One page of what every shard gave a page of.
fn retained_page(max: usize, replies: Vec<Reply>) -> RetainedPage {
    let mut found: Vec<Arc<Message>> = Vec::new();
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
    RetainedPage {
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
    }
}

fn new_message(asked: &Publish, payload: Bytes) -> Result<NewMessage, ApiError> {
    let properties = encoded(&asked.properties)?;
    Ok(NewMessage {
        topic: asked.topic.clone(),
        payload,
        qos: if asked.qos == 0 { QoS::Zero } else { QoS::One },
        retain: asked.retain,
        properties,
        message_expiry_interval: asked.message_expiry,
    })
}

fn direct_message(asked: &SendDirectMessage, payload: Bytes) -> Result<DirectMessage, ApiError> {
    let properties = encoded(&asked.properties)?;
    Ok(DirectMessage {
        client_id: asked.client_id.clone(),
        topic: asked.topic.clone(),
        payload,
        properties,
        confirmation: asked.confirmation,
    })
}

/// The properties of a message as MQTT has them.
fn encoded(asked: &MessageProperties) -> Result<Vec<u8>, ApiError> {
    let mut user = UserPropertiesBuf::new();
    for (name, value) in &asked.user_properties {
        if !user.push(name, value) {
            let message = "A user property is longer than 65535 bytes";
            return Err(ApiError::new(ErrorKind::InvalidRequest, message));
        }
    }
    let mut properties = Vec::new();
    PublishProperties {
        payload_format_indicator: asked.payload_format_indicator,
        content_type: asked.content_type.as_deref(),
        response_topic: asked.response_topic.as_deref(),
        correlation_data: asked.correlation_data.as_deref(),
        user_properties: user.as_properties(),
        ..PublishProperties::default()
    }
    .encode_forwarded(&mut properties);
    Ok(properties)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &str, path: &str) -> Request {
        let route = api::route(method, path).expect("a path of the model");
        Request::parse(&route, None, &[].as_slice(), 0).expect("a request")
    }

    /// `data-plane-http.md` §3.
    #[test]
    fn what_a_shard_refuses_is_an_exception_of_the_model() {
        let requests = [
            asked("DELETE", "/connections/a"),
            asked("POST", "/topics/a"),
            asked("GET", "/retainedMessage/a"),
            asked("GET", "/things/a/shadow"),
        ];
        for request in &requests {
            let kind = |reply| answer(request, vec![reply]).expect_err("a refusal").kind;
            assert_eq!(kind(Reply::NotFound), ErrorKind::ResourceNotFound);
            assert_eq!(kind(Reply::Throttled), ErrorKind::Throttling);
            assert_eq!(kind(Reply::QuotaExceeded), ErrorKind::Throttling);
            assert_eq!(kind(Reply::DiskFull), ErrorKind::ServiceUnavailable);
            assert_eq!(kind(Reply::OtherSession), ErrorKind::Conflict);
            assert_eq!(kind(Reply::Reserved), ErrorKind::InvalidRequest);
            assert_eq!(kind(Reply::Needs(Vec::new())), ErrorKind::InternalFailure);
        }
    }

    /// What is done is answered by those that do something.
    #[test]
    fn done_is_no_answer_to_a_question() {
        let done = |method, path| answer(&asked(method, path), vec![Reply::Done]);
        assert_eq!(done("DELETE", "/connections/a"), Ok(Answer::Empty));
        assert_eq!(done("POST", "/topics/a"), Ok(Answer::Published));
        let refused = done("GET", "/connections/a").expect_err("no answer");
        assert_eq!(refused.kind, ErrorKind::InternalFailure);
    }
}
