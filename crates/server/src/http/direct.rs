//! SendDirectMessage. Contract `delete-connection.md` §4.

use bitts_aws::api::{self, Operation, SendDirectMessage};
use bitts_aws::error::{ApiError, ErrorKind};
use bitts_broker::DirectMessage;
use bitts_broker::command::{Command, Reply};
use bytes::Bytes;

use super::Front;
use super::answer::{Answer, Trace};
use super::data_plane::{message_properties, refused};

impl Front {
    /// Answers when the client confirmed the message, where that is asked for.
    pub(super) async fn send_direct_message(
        &self,
        asked: SendDirectMessage,
        payload: Bytes,
        trace: &Trace,
    ) -> Result<Answer, ApiError> {
        let owner = self.mesh.placement.owner_of(&asked.client_id);
        let properties = message_properties(
            &asked.user_properties,
            asked.payload_format_indicator,
            (asked.content_type.as_deref(), asked.response_topic.as_deref()),
            asked.correlation_data.as_deref(),
        )?;
        let client_id = asked.client_id.clone();
        let command = Command::SendDirectMessage(DirectMessage {
            client_id: asked.client_id,
            topic: asked.topic,
            payload,
            properties,
            confirmation: asked.confirmation,
        });
        match self.mesh.call(owner, command).await {
            Some(Reply::Done) => Ok(Answer::json_bytes(api::published(trace.as_str()), trace)),
            Some(Reply::NotDelivered(why)) => Err(why.api_error(&client_id)),
            reply => Err(refused(Operation::SendDirectMessage, reply)),
        }
    }
}

/// The answer to a request that nobody looked at further. A sender who may not send direct messages
/// gets no body, unlike one whose receiver may not receive them (contract §3).
pub(super) fn refuse(operation: Operation, error: &ApiError, trace: &Trace) -> Answer {
    let answer = Answer::error(error, trace);
    let is_sender = operation == Operation::SendDirectMessage && error.kind == ErrorKind::Forbidden;
    if is_sender { answer.without_body() } else { answer }
}
