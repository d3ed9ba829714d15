//! `bitts publish`: one message, over the data plane or over MQTT.
//!
//! HTTP is the default, because it needs no session and works against AWS with an access key; MQTT
//! is for QoS 2, for payloads above 128 KiB, and for servers without HTTP.

use bitts_client::api;
use bitts_client::mqtt::{
    self, ConnectOptions, Connected, Disconnect, End, MessageProperties, QoS,
};
use bytes::Bytes;
use clap::Args;

use crate::endpoint::{Endpoint, mqtt_endpoint, not_connected, not_done, refused};
use crate::failure::Failure;
use crate::payload::Content;

#[derive(Args, Debug)]
pub(crate) struct PublishCommand {
    /// Publish over MQTT, to this server: 127.0.0.1:1883, mqtt://HOST:PORT.
    #[arg(long, value_name = "ADDR")]
    mqtt: Option<String>,
    /// Topic Name.
    topic: String,
    #[command(flatten)]
    content: Content,
    /// 0, 1 or, over MQTT, 2.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: u8,
    /// Keep it for those who subscribe later.
    #[arg(long)]
    retain: bool,
    /// Message Expiry Interval, in seconds.
    #[arg(long, value_name = "SECONDS")]
    message_expiry: Option<u32>,
    #[command(flatten)]
    endpoint: Endpoint,
}

/// A message of QoS 0 without properties.
pub(crate) fn to_topic(topic: String) -> api::Publish {
    api::Publish {
        topic,
        qos: 0,
        retain: false,
        message_expiry: None,
        properties: api::MessageProperties::default(),
    }
}

impl PublishCommand {
    pub(crate) async fn run(mut self) -> Result<(), Failure> {
        if self.qos == 2 && self.mqtt.is_none() {
            return Err(Failure::Usage(
                "QoS 2 needs --mqtt: the data plane has 0 and 1".to_owned(),
            ));
        }
        let payload = self.content.take_payload()?;
        match self.mqtt.take() {
            Some(address) => self.publish_over_mqtt(&address, payload).await,
            None => self.publish_over_http(payload).await,
        }
    }

    async fn publish_over_http(self, payload: Bytes) -> Result<(), Failure> {
        let request = api::Publish {
            topic: self.topic,
            qos: self.qos,
            retain: self.retain,
            message_expiry: self.message_expiry,
            properties: self.content.message_properties(),
        };
        self.endpoint.data_plane()?.publish(&request, payload).await.map_err(refused)
    }

    async fn publish_over_mqtt(self, address: &str, payload: Bytes) -> Result<(), Failure> {
        let publish = mqtt::Publish {
            topic: self.topic,
            payload,
            qos: QoS::from_number(self.qos).unwrap_or_default(),
            retain: self.retain,
            topic_alias: None,
            properties: MessageProperties {
                payload_format_indicator: self.content.payload_format_indicator(),
                message_expiry_interval: self.message_expiry,
                response_topic: self.content.response_topic,
                correlation_data: self.content.correlation_data.map(Bytes::from),
                content_type: self.content.content_type,
                user_properties: self.content.user_properties,
                subscription_identifier: None,
            },
        };
        let endpoint = mqtt_endpoint(address)?;
        let Connected { client, incoming, .. } =
            mqtt::connect(&endpoint, ConnectOptions::default()).await.map_err(not_connected)?;
        drop(incoming);
        let published = client.publish(publish).await;
        let end = client.disconnect(Disconnect::default()).await;
        published.map_err(not_done)?;
        match end {
            End::Disconnected => Ok(()),
            end => Err(Failure::Refused(format!("the connection ended: {end}"))),
        }
    }
}
