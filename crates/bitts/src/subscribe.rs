//! `bitts subscribe`: messages as they arrive, a line each.

use std::time::Duration;

use bitts_client::mqtt::{
    self, ConnectOptions, Connected, Disconnect, Filter, Incoming, Message, QoS, ReasonCode,
};
use clap::Args;
use data_encoding::BASE64;
use serde::Serialize;
use tokio::time::{Instant, sleep_until};

use crate::endpoint::{mqtt_endpoint, not_connected, not_done};
use crate::failure::Failure;
use crate::output::{Format, escape, say};

#[derive(Args, Debug)]
pub(crate) struct SubscribeCommand {
    /// Topic Filters, such as lamps/+/state or $share/group/lamps/#.
    #[arg(required = true, value_name = "FILTER")]
    filters: Vec<String>,
    /// Maximum QoS.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: u8,
    #[command(flatten)]
    follow: Follow,
    /// How to print: topic and payload, or JSON lines [default: table on a terminal, else json].
    #[arg(long, value_name = "FORMAT")]
    output: Option<Format>,
}

/// Options of every command that prints messages as they arrive.
#[derive(Args, Debug)]
pub(crate) struct Follow {
    /// The server: 127.0.0.1:1883, mqtt://HOST:PORT, mqtts://HOST:PORT.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:1883")]
    mqtt: String,
    /// Client Identifier [default: the server assigns one].
    #[arg(long, default_value = "", hide_default_value = true)]
    client_id: String,
    /// End with status 0 after so many messages.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// End after so many seconds: with status 1 if --count is not reached, else with 0.
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
}

/// A message as a line of JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    topic: &'a str,
    /// A payload that is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    /// Any other payload.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
    qos: u8,
    retain: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_topic: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_data_base64: Option<String>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    user_properties: &'a [(String, String)],
}

impl SubscribeCommand {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let format = Format::or_by_terminal(self.output);
        let qos = QoS::from_number(self.qos).unwrap_or_default();
        self.follow.run(&self.filters, qos, |message| line(message, format)).await
    }
}

impl Follow {
    /// Subscribes, and prints a line for each message until there were enough.
    pub(crate) async fn run(
        self,
        filters: &[String],
        qos: QoS,
        line: impl Fn(&Message) -> Result<String, Failure>,
    ) -> Result<(), Failure> {
        let endpoint = mqtt_endpoint(&self.mqtt)?;
        let options = ConnectOptions { client_id: self.client_id, ..ConnectOptions::default() };
        let Connected { client, mut incoming, .. } =
            mqtt::connect(&endpoint, options).await.map_err(not_connected)?;
        let asked: Vec<_> = filters.iter().map(|text| Filter::new(text, qos)).collect();
        let answer = client.subscribe(&asked).await.map_err(not_done)?;
        check_granted(filters, &answer.codes)?;
        let deadline = self.timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        let count = self.count.unwrap_or(u64::MAX);
        match print(&mut incoming, count, deadline, line).await? {
            Printed::Enough => {}
            Printed::TimedOut(printed) => {
                if let Some(count) = self.count {
                    let what = format!("{printed} of {count} messages arrived in time");
                    return Err(Failure::Refused(what));
                }
            }
            Printed::Ended => {
                return Err(Failure::Refused(client.ended().await.to_string()));
            }
        }
        drop(client.disconnect(Disconnect::default()).await);
        Ok(())
    }
}

fn check_granted(filters: &[String], codes: &[ReasonCode]) -> Result<(), Failure> {
    let refused = filters.iter().zip(codes).find(|(_, code)| code.is_error());
    let Some((filter, code)) = refused else { return Ok(()) };
    let (phrase, number) = (code.phrase(), code.number());
    Err(Failure::Refused(format!("{filter:?} is refused: {phrase} ({number:#04X})")))
}

/// Why no more is printed.
enum Printed {
    Enough,
    /// After so many messages.
    TimedOut(u64),
    /// The connection ended.
    Ended,
}

async fn print(
    incoming: &mut Incoming,
    count: u64,
    deadline: Option<Instant>,
    line: impl Fn(&Message) -> Result<String, Failure>,
) -> Result<Printed, Failure> {
    let timeout = async {
        match deadline {
            Some(deadline) => sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(timeout);
    for printed in 0..count {
        let message = tokio::select! {
            message = incoming.next() => message,
            () = &mut timeout => return Ok(Printed::TimedOut(printed)),
        };
        let Some(message) = message else { return Ok(Printed::Ended) };
        say(&line(&message)?)?;
    }
    Ok(Printed::Enough)
}

fn line(message: &Message, format: Format) -> Result<String, Failure> {
    let payload = std::str::from_utf8(&message.payload).ok();
    let base64 = || BASE64.encode(&message.payload);
    if format == Format::Table {
        let payload = payload.map_or_else(base64, escape);
        return Ok(format!("{} {payload}", escape(&message.topic)));
    }
    let properties = &message.properties;
    let line = Line {
        topic: &message.topic,
        payload,
        payload_base64: if payload.is_none() { Some(base64()) } else { None },
        qos: message.qos as u8,
        retain: message.retain,
        content_type: properties.content_type.as_deref(),
        response_topic: properties.response_topic.as_deref(),
        correlation_data_base64: properties.correlation_data.as_ref().map(|d| BASE64.encode(d)),
        user_properties: &properties.user_properties,
    };
    Ok(serde_json::to_string(&line).map_err(std::io::Error::other)?)
}
