//! `bitts publish`: one message, over the data plane or over MQTT.
//!
//! HTTP is the default, because it needs no session and works against AWS with an access key; MQTT
//! is for QoS 2, for payloads above 128 KiB, and for servers without HTTP.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bitts_client::api;
use bitts_client::mqtt::{
    self, ConnectOptions, Connected, Disconnect, End, MessageProperties, QoS,
};
use bytes::Bytes;
use clap::{Args, ValueEnum};

use crate::endpoint::{Endpoint, mqtt_endpoint, not_connected, not_done, refused};
use crate::failure::Failure;

/// Bytes of the largest payload that fits into an MQTT packet.
const PAYLOAD_BYTES_MAX: u64 = 268_435_455;

#[derive(Args, Debug)]
pub(crate) struct PublishCommand {
    /// Publish over MQTT, to this server: 127.0.0.1:1883, mqtt://HOST:PORT.
    #[arg(long, value_name = "ADDR")]
    mqtt: Option<String>,
    /// Topic Name.
    topic: String,
    /// The payload, as text.
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    payload: Option<String>,
    /// Take the payload from a file; - is standard input.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// 0, 1 or, over MQTT, 2.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: u8,
    /// Keep it for those who subscribe later.
    #[arg(long)]
    retain: bool,
    /// Content Type.
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// Response Topic.
    #[arg(long, value_name = "TOPIC")]
    response_topic: Option<String>,
    /// Correlation Data, as text.
    #[arg(long, value_name = "TEXT")]
    correlation_data: Option<String>,
    /// Message Expiry Interval, in seconds.
    #[arg(long, value_name = "SECONDS")]
    message_expiry: Option<u32>,
    /// Payload Format Indicator.
    #[arg(long, value_name = "FORMAT")]
    payload_format: Option<PayloadFormat>,
    /// A User Property; may be repeated.
    #[arg(long = "user-property", value_name = "NAME=VALUE", value_parser = user_property)]
    user_properties: Vec<(String, String)>,
    #[command(flatten)]
    endpoint: Endpoint,
}

/// Payload Format Indicator.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum PayloadFormat {
    /// Not said.
    Bytes,
    /// UTF-8.
    Utf8,
}

fn user_property(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// A message of QoS 0 without properties.
pub(crate) fn to_topic(topic: String) -> api::Publish {
    api::Publish {
        topic,
        qos: 0,
        retain: false,
        content_type: None,
        response_topic: None,
        message_expiry: None,
        user_properties: Vec::new(),
        payload_format_indicator: None,
        correlation_data: None,
    }
}

impl PublishCommand {
    pub(crate) async fn run(mut self) -> Result<(), Failure> {
        if self.qos == 2 && self.mqtt.is_none() {
            return Err(Failure::Usage(
                "QoS 2 needs --mqtt: the data plane has 0 and 1".to_owned(),
            ));
        }
        let payload = self.payload()?;
        match self.mqtt.take() {
            Some(address) => self.publish_over_mqtt(&address, payload).await,
            None => self.publish_over_http(payload).await,
        }
    }

    fn payload(&mut self) -> Result<Bytes, Failure> {
        let Some(path) = &self.file else {
            return Ok(self.payload.take().unwrap_or_default().into());
        };
        let named = path.display().to_string();
        let payload = if path == Path::new("-") {
            read_payload(io::stdin().lock())
        } else {
            File::open(path).and_then(read_payload)
        };
        payload.map_err(|error| Failure::Usage(format!("--file: {named}: {error}")))
    }

    async fn publish_over_http(self, payload: Bytes) -> Result<(), Failure> {
        let request = api::Publish {
            qos: self.qos,
            retain: self.retain,
            content_type: self.content_type,
            response_topic: self.response_topic,
            message_expiry: self.message_expiry,
            user_properties: self.user_properties,
            payload_format_indicator: self.payload_format.map(PayloadFormat::is_utf8),
            correlation_data: self.correlation_data.map(String::into_bytes),
            ..to_topic(self.topic)
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
                payload_format_indicator: self.payload_format.map(PayloadFormat::is_utf8),
                message_expiry_interval: self.message_expiry,
                response_topic: self.response_topic,
                correlation_data: self.correlation_data.map(Bytes::from),
                content_type: self.content_type,
                user_properties: self.user_properties,
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

impl PayloadFormat {
    fn is_utf8(self) -> bool {
        matches!(self, Self::Utf8)
    }
}

fn read_payload(source: impl Read) -> io::Result<Bytes> {
    let mut payload = Vec::new();
    source.take(PAYLOAD_BYTES_MAX + 1).read_to_end(&mut payload)?;
    if payload.len() as u64 > PAYLOAD_BYTES_MAX {
        return Err(io::Error::other("larger than an MQTT packet"));
    }
    Ok(payload.into())
}
