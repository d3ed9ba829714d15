//! `bitts connection send`: a message to one client.

use bitts_client::api::SendDirectMessage;
use bitts_client::data_plane::DataPlane;
use clap::Args;

use crate::endpoint::refused;
use crate::failure::Failure;
use crate::payload::Content;

#[derive(Args, Debug)]
pub(crate) struct Send {
    /// To whom.
    client_id: String,
    /// The Topic Name that it reads.
    topic: String,
    #[command(flatten)]
    content: Content,
    /// Send at QoS 1, and end with status 0 only if the client acknowledged it.
    #[arg(long)]
    confirm: bool,
    /// Seconds to wait for that.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, requires = "confirm",
          value_parser = clap::value_parser!(u8).range(1..=15))]
    timeout: u8,
}

impl Send {
    pub(crate) async fn run(mut self, data_plane: &DataPlane) -> Result<(), Failure> {
        let payload = self.content.take_payload()?;
        let request = SendDirectMessage {
            client_id: self.client_id,
            topic: self.topic,
            confirmation: self.confirm.then_some(self.timeout),
            properties: self.content.message_properties(),
        };
        data_plane.send_direct_message(&request, &payload).await.map_err(refused)
    }
}
