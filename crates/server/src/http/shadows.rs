//! GetThingShadow, UpdateThingShadow, DeleteThingShadow and ListNamedShadowsForThing. Their bodies
//! are the shadow service's, as they are. Contract `device-shadow.md` §2.

use bitts_aws::api::{
    DeleteThingShadow, GetThingShadow, ListNamedShadowsForThing, UpdateThingShadow,
};
use bitts_aws::error::{ApiError, ErrorKind};
use bitts_aws::shadow::{ShadowId, ShadowOperation};
use bitts_broker::ShadowRequest;
use bitts_broker::command::{Command, Reply};
use bytes::Bytes;

use super::Front;
use super::answer::{Answer, Trace};
use super::data_plane::unavailable;

impl Front {
    pub(super) async fn get_thing_shadow(
        &self,
        asked: GetThingShadow,
        trace: &Trace,
    ) -> Result<Answer, ApiError> {
        self.ask_shadow(asked.shadow, ShadowOperation::Get, Bytes::new(), trace).await
    }

    pub(super) async fn update_thing_shadow(
        &self,
        asked: UpdateThingShadow,
        payload: Bytes,
        trace: &Trace,
    ) -> Result<Answer, ApiError> {
        self.ask_shadow(asked.shadow, ShadowOperation::Update, payload, trace).await
    }

    pub(super) async fn delete_thing_shadow(
        &self,
        asked: DeleteThingShadow,
        trace: &Trace,
    ) -> Result<Answer, ApiError> {
        self.ask_shadow(asked.shadow, ShadowOperation::Delete, Bytes::new(), trace).await
    }

    async fn ask_shadow(
        &self,
        id: ShadowId,
        operation: ShadowOperation,
        payload: Bytes,
        trace: &Trace,
    ) -> Result<Answer, ApiError> {
        let owner = self.mesh.placement.owner_of(id.thing());
        let request = ShadowRequest { id: id.clone(), operation, payload };
        match self.mesh.call(owner, Command::Shadow(request)).await {
            Some(Reply::Shadow(body)) => Ok(Answer::json_bytes(body, trace)),
            Some(Reply::ShadowRejected(rejection)) => Err(rejection.api_error(&id)),
            reply => Err(unexpected(reply)),
        }
    }

    pub(super) async fn list_named_shadows(
        &self,
        asked: ListNamedShadowsForThing,
        trace: &Trace,
    ) -> Result<Answer, ApiError> {
        let owner = self.mesh.placement.owner_of(&asked.thing_name);
        match self.mesh.call(owner, Command::ListNamedShadows(asked)).await {
            Some(Reply::NamedShadows(page)) => Ok(Answer::json(&page, trace)),
            reply => Err(unexpected(reply)),
        }
    }
}

fn unexpected(reply: Option<Reply>) -> ApiError {
    match reply {
        Some(_) => ApiError::new(ErrorKind::InternalFailure, "An unexpected reply"),
        None => unavailable(),
    }
}
