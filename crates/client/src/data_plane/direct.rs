//! Messages to one client.

use bitts_aws::api::SendDirectMessage;
use bytes::Bytes;
use tokio::time::timeout;

use super::error::Failure;
use super::{DataPlane, SendDirectMessageError};

impl DataPlane {
    /// Sends a message to one client. With a confirmation it returns when the client acknowledged
    /// it.
    ///
    /// It is sent once: again, it could arrive twice.
    pub async fn send_direct_message(
        &self,
        request: &SendDirectMessage,
        payload: &Bytes,
    ) -> Result<(), SendDirectMessageError> {
        let limit = self.inner.attempt_timeout;
        let parts = request.encode();
        let answer = match timeout(limit, self.inner.attempt(&parts, payload)).await {
            Ok(answer) => answer,
            Err(_) => Err(Failure::Timeout(limit)),
        };
        answer.map(drop).map_err(SendDirectMessageError::from_failure)
    }
}
