//! `bitts connection delete --match …`: many clients put off, and how far that is.

use std::io::IsTerminal as _;
use std::time::Duration;

use bitts_client::data_plane::{ControlCall, DataPlane};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};

use crate::endpoint::refused;
use crate::failure::Failure;
use crate::output::{Format, say_facts, say_json};

/// How often the server is asked how far it is.
const ASKED_EVERY: Duration = Duration::from_millis(200);

/// Who is put off where no client is named, and how (Bitts only).
#[derive(Args, Debug, Default)]
pub(crate) struct Many {
    /// Client Identifiers with * for any characters and ? for one: every client that fits.
    #[arg(long = "match", value_name = "PATTERN", conflicts_with = "client_id")]
    pattern: Option<String>,
    /// Only clients of this address or network, such as 192.0.2.0/24.
    #[arg(long, value_name = "NETWORK", requires = "pattern")]
    address: Option<String>,
    /// Only clients that speak for this thing.
    #[arg(long, value_name = "NAME", requires = "pattern")]
    thing: Option<String>,
    /// Only say who it would be.
    #[arg(long, requires = "pattern")]
    dry_run: bool,
    /// At most so many a second.
    #[arg(long, value_name = "N", requires = "pattern")]
    rate: Option<u32>,
    /// From 0 to 1: how far each is early or late.
    #[arg(long, value_name = "PART", requires = "rate")]
    jitter: Option<f64>,
    /// They may not connect for so many seconds.
    #[arg(long, value_name = "SECONDS", requires = "pattern")]
    hold_off: Option<u32>,
    /// Tell MQTT 5 clients to go to this server.
    #[arg(long, value_name = "SERVER", requires = "pattern")]
    server_reference: Option<String>,
}

impl Many {
    /// The body of the request; none where one client is named.
    fn body(&self, clean_session: bool, prevent_will_message: bool) -> Option<Value> {
        let pattern = self.pattern.as_deref()?;
        let mut selector = Map::from_iter([("clientIdPattern".to_owned(), pattern.into())]);
        let mut select = |name: &str, text: &Option<String>| {
            selector.extend(text.as_deref().map(|text| (name.to_owned(), text.into())));
        };
        select("address", &self.address);
        select("thingName", &self.thing);
        let mut body = json!({
            "match": selector,
            "cleanSession": clean_session,
            "preventWillMessage": prevent_will_message,
            "dryRun": self.dry_run,
        });
        let further = [
            ("ratePerSecond", self.rate.map(Value::from)),
            ("jitter", self.jitter.map(Value::from)),
            ("holdOffSeconds", self.hold_off.map(Value::from)),
            ("serverReference", self.server_reference.clone().map(Value::from)),
        ];
        for (name, value) in further {
            if let (Some(members), Some(value)) = (body.as_object_mut(), value) {
                members.insert(name.to_owned(), value);
            }
        }
        Some(body)
    }

    /// Puts them off; `false` where one client is named.
    pub(crate) async fn run(
        &self,
        data_plane: &DataPlane,
        (clean_session, prevent_will_message): (bool, bool),
        format: Format,
    ) -> Result<bool, Failure> {
        let Some(body) = self.body(clean_session, prevent_will_message) else { return Ok(false) };
        let path = "/bitts/v1/connections/disconnect".to_owned();
        let call = ControlCall { method: "POST", path, body, ..ControlCall::default() };
        let begun = data_plane.control(call).await.map_err(refused)?;
        let answer = if self.dry_run { begun } else { follow(data_plane, begun).await? };
        show(&answer, format)?;
        Ok(true)
    }
}

/// Asks until it is over; an interrupt aborts it.
async fn follow(data_plane: &DataPlane, mut progress: Value) -> Result<Value, Failure> {
    let id = progress["operationId"].as_str().unwrap_or_default().to_owned();
    let matched = progress["matched"].as_u64().unwrap_or_default();
    let bar = bar(matched);
    let mut method = "GET";
    while progress["state"] == "RUNNING" {
        tokio::select! {
            () = tokio::time::sleep(ASKED_EVERY) => {}
            interrupted = tokio::signal::ctrl_c() => {
                if interrupted.is_ok() {
                    method = "DELETE";
                }
            }
        }
        let path = format!("/bitts/v1/operations/{id}");
        let call = ControlCall { method, path, ..ControlCall::default() };
        progress = data_plane.control(call).await.map_err(refused)?;
        bar.set_position(matched - progress["remaining"].as_u64().unwrap_or_default());
    }
    bar.finish_and_clear();
    Ok(progress)
}

/// On a terminal only.
fn bar(length: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {per_sec} {eta}");
    let bar = ProgressBar::new(length);
    style.map_or_else(|_| bar.clone(), |style| bar.clone().with_style(style))
}

fn show(answer: &Value, format: Format) -> Result<(), Failure> {
    match format {
        Format::Json => say_json(answer),
        Format::Table => {
            let members = answer.as_object().into_iter().flatten();
            let text = |value: &Value| match value {
                Value::String(text) => text.clone(),
                Value::Array(items) => {
                    items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
                }
                other => other.to_string(),
            };
            say_facts(members.map(|(name, value)| [name.clone(), text(value)]))
        }
    }
}
