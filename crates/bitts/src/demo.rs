//! `bitts demo`: the main job, shown on a server of its own and checked at every step.

use std::net::SocketAddr;
use std::time::Duration;

use bitts_client::api::{DeleteConnection, GetConnection, Publish};
use bitts_client::data_plane::{CallError, Config, DataPlane, DeleteConnectionError};
use bitts_client::mqtt::{
    self, Client, ConnectOptions, Connected, End, Filter, Incoming, Message, QoS, ReasonCode, Will,
};
use bitts_server::Server;
use bytes::Bytes;
use clap::builder::styling::{AnsiColor, Style};

use crate::block_on;
use crate::endpoint::{not_connected, not_done, refused};
use crate::failure::Failure;
use crate::output::say;
use crate::publish::to_topic;

const DEVICE: &str = "thermostat-7";
const WILL_TOPIC: &str = "thermostats/7/status";
const COMMAND_FILTER: &str = "thermostats/7/set/+";
const COMMAND_TOPIC: &str = "thermostats/7/set/target";
const EVENT_FILTER: &str = "$aws/events/presence/disconnected/+";
const SESSION_EXPIRY_SECONDS: u32 = 3600;
/// For each thing that must happen.
const PATIENCE: Duration = Duration::from_secs(10);

const STEP: Style = Style::new().bold();
const DONE: Style = AnsiColor::Green.on_default();
const MISSED: Style = AnsiColor::Red.on_default().bold();

/// Starts a server on free ports and goes through the steps.
pub(crate) fn run() -> Result<(), Failure> {
    let loopback = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let config =
        bitts_server::Config { mqtt: loopback, http: loopback, threads: 2, ..Default::default() };
    let running = Server::start(&config).map_err(|error| Failure::Refused(error.to_string()))?;
    let listeners = running.listeners();
    let steps = async {
        let (Some(mqtt), Some(http)) = (listeners.mqtt, listeners.http) else {
            return Err(Failure::Refused("the server has no listeners".to_owned()));
        };
        Demo::new(mqtt, http)?.run().await
    };
    let result = block_on(steps);
    running.stop();
    result
}

struct Demo {
    mqtt: mqtt::Endpoint,
    data_plane: DataPlane,
}

/// Who sees the will and the event.
struct Watcher {
    /// Its connection is open as long as this is here.
    _client: Client,
    incoming: Incoming,
}

impl Demo {
    fn new(mqtt: SocketAddr, http: SocketAddr) -> Result<Self, Failure> {
        step(&format!("A server starts: MQTT on {mqtt}, the data plane on http://{http}"))?;
        let endpoint_url = Some(format!("http://{http}"));
        let data_plane = DataPlane::new(Config { endpoint_url, ..Config::default() })
            .map_err(|error| Failure::Refused(error.to_string()))?;
        let mqtt = mqtt::Endpoint { host: mqtt.ip().to_string(), port: mqtt.port(), tls: None };
        Ok(Self { mqtt, data_plane })
    }

    async fn run(&self) -> Result<(), Failure> {
        let mut watcher = self.watch().await?;
        self.put_off_and_keep_the_session(&mut watcher).await?;
        self.put_off_and_clear_the_session(&mut watcher).await?;
        self.put_off_nobody().await?;
        say("\nEverything was as it must be.")
    }

    async fn watch(&self) -> Result<Watcher, Failure> {
        step(&format!("A watcher subscribes to {WILL_TOPIC} and {EVENT_FILTER}"))?;
        let options = ConnectOptions { client_id: "watcher".into(), ..ConnectOptions::default() };
        let Connected { client, incoming, .. } =
            mqtt::connect(&self.mqtt, options).await.map_err(not_connected)?;
        subscribe(&client, &[WILL_TOPIC, EVENT_FILTER]).await?;
        Ok(Watcher { _client: client, incoming })
    }

    async fn connect(&self) -> Result<Connected, Failure> {
        let options = ConnectOptions {
            client_id: DEVICE.into(),
            clean_start: false,
            session_expiry_interval: Some(SESSION_EXPIRY_SECONDS),
            will: Some(Will {
                topic: WILL_TOPIC.into(),
                payload: Bytes::from_static(b"offline"),
                qos: QoS::One,
                ..Will::default()
            }),
            ..ConnectOptions::default()
        };
        mqtt::connect(&self.mqtt, options).await.map_err(not_connected)
    }

    /// Contract DC-4, GC-2, LS-4.
    async fn put_off_and_keep_the_session(&self, watcher: &mut Watcher) -> Result<(), Failure> {
        step(&format!(
            "{DEVICE} connects: MQTT 5, a will, a session for {SESSION_EXPIRY_SECONDS} s"
        ))?;
        let device = self.connect().await?;
        let is_new = !device.connack.session_present;
        check("Session Present is 0: the session is new", is_new)?;
        subscribe(&device.client, &[COMMAND_FILTER]).await?;
        check(&format!("it is subscribed to {COMMAND_FILTER}"), true)?;

        step(&format!("DELETE /connections/{DEVICE}"))?;
        self.delete(false, false).await?;
        self.sees_disconnect(&device.client).await?;
        let will = watcher.next("the will").await?;
        let is_will = will.topic == WILL_TOPIC && will.payload.as_ref() == b"offline";
        check(&format!("the will arrives: {}", shown(&will)), is_will)?;
        watcher.sees_event().await?;
        let state = GetConnection { client_id: DEVICE.into(), include_socket_information: false };
        let state = self.data_plane.get_connection(&state).await.map_err(refused)?;
        let reason = state.disconnect_reason.unwrap_or_default();
        let is_put_off = !state.connected && reason == "API_INITIATED_DISCONNECT";
        check(&format!("GetConnection: connected {}, {reason}", state.connected), is_put_off)?;

        step(&format!("While it is away, a command is published to {COMMAND_TOPIC}, QoS 1"))?;
        let command = Publish { qos: 1, ..to_topic(COMMAND_TOPIC.to_owned()) };
        let command = self.data_plane.publish(&command, Bytes::from_static(b"21.5"));
        command.await.map_err(refused)?;
        let listed = self.data_plane.list_subscriptions(DEVICE).all().await.map_err(refused)?;
        let is_listed = listed.iter().any(|one| one.topic_filter == COMMAND_FILTER);
        check("ListSubscriptions: the subscription is still there", is_listed)
    }

    /// Contract DC-6.
    async fn put_off_and_clear_the_session(&self, watcher: &mut Watcher) -> Result<(), Failure> {
        step(&format!("{DEVICE} connects again"))?;
        let mut device = self.connect().await?;
        let is_kept = device.connack.session_present;
        check("Session Present is 1: the session was kept", is_kept)?;
        let command = in_time("the command", device.incoming.next()).await?;
        let command = command.ok_or_else(|| Failure::Refused("the connection ended".into()))?;
        let is_command = command.topic == COMMAND_TOPIC && command.payload.as_ref() == b"21.5";
        check(&format!("the command arrives: {}", shown(&command)), is_command)?;

        let query = "cleanSession=true&preventWillMessage=true";
        step(&format!("DELETE /connections/{DEVICE}?{query}"))?;
        self.delete(true, true).await?;
        self.sees_disconnect(&device.client).await?;
        // A will would come before the event.
        watcher.sees_event().await?;
        check("no will arrives", watcher.incoming.try_next().is_none())?;

        step(&format!("{DEVICE} connects once more"))?;
        let device = self.connect().await?;
        let is_gone = !device.connack.session_present;
        check("Session Present is 0: the session was cleared", is_gone)?;
        let listed = self.data_plane.list_subscriptions(DEVICE).all().await.map_err(refused)?;
        check("ListSubscriptions: none", listed.is_empty())
    }

    /// Contract DC-10.
    async fn put_off_nobody(&self) -> Result<(), Failure> {
        step("DELETE /connections/nobody")?;
        let request = DeleteConnection {
            client_id: "nobody".into(),
            clean_session: false,
            prevent_will_message: false,
        };
        match self.data_plane.delete_connection(&request).await {
            Err(DeleteConnectionError::ResourceNotFound(refusal)) => {
                check(&format!("{}, {}", refusal.status, refusal.name), refusal.status == 404)
            }
            Ok(()) => check("404, ResourceNotFoundException: it answered 200", false),
            Err(error) => {
                let what = format!("404, ResourceNotFoundException: {}", CallError::from(error));
                check(&what, false)
            }
        }
    }

    async fn delete(&self, clean_session: bool, prevent_will_message: bool) -> Result<(), Failure> {
        let client_id = DEVICE.to_owned();
        let request = DeleteConnection { client_id, clean_session, prevent_will_message };
        self.data_plane.delete_connection(&request).await.map_err(refused)?;
        check("200", true)
    }

    /// The device's connection ends as contract §1.3 says.
    async fn sees_disconnect(&self, client: &Client) -> Result<(), Failure> {
        let end = in_time("the device's DISCONNECT", client.ended()).await?;
        let is_administrative = matches!(
            &end,
            End::ServerDisconnected(packet)
                if packet.reason_code == ReasonCode::AdministrativeAction
        );
        check(&format!("{DEVICE}: {end}"), is_administrative)
    }
}

impl Watcher {
    async fn next(&mut self, what: &str) -> Result<Message, Failure> {
        let message = in_time(what, self.incoming.next()).await?;
        message.ok_or_else(|| Failure::Refused("the watcher's connection ended".to_owned()))
    }

    async fn sees_event(&mut self) -> Result<(), Failure> {
        let event = self.next("the event").await?;
        let is_of_device = event.topic.ends_with(&format!("/disconnected/{DEVICE}"));
        let fields: serde_json::Value = serde_json::from_slice(&event.payload).unwrap_or_default();
        let reason = fields["disconnectReason"].as_str().unwrap_or_default();
        let is_ours = is_of_device && reason == "API_INITIATED_DISCONNECT";
        check(&format!("the event arrives: {}, {reason}", event.topic), is_ours)
    }
}

async fn subscribe(client: &Client, filters: &[&str]) -> Result<(), Failure> {
    let asked: Vec<_> = filters.iter().map(|filter| Filter::new(*filter, QoS::One)).collect();
    let answer = client.subscribe(&asked).await.map_err(not_done)?;
    if answer.codes.iter().any(|code| code.is_error()) {
        return check(&format!("a subscription to {}", filters.join(", ")), false);
    }
    Ok(())
}

async fn in_time<T>(what: &str, happens: impl Future<Output = T>) -> Result<T, Failure> {
    let missed = |_| Failure::Refused(format!("{what} did not come within {PATIENCE:?}"));
    tokio::time::timeout(PATIENCE, happens).await.map_err(missed)
}

fn shown(message: &Message) -> String {
    format!("{} {:?}", message.topic, String::from_utf8_lossy(&message.payload))
}

fn step(what: &str) -> Result<(), Failure> {
    say(&format!("\n{STEP}{what}{STEP:#}"))
}

/// Prints what must be so, and ends the demo if it is not.
fn check(what: &str, is_so: bool) -> Result<(), Failure> {
    if is_so {
        return say(&format!("  {DONE}✓{DONE:#} {what}"));
    }
    say(&format!("  {MISSED}✗{MISSED:#} {what}"))?;
    Err(Failure::Refused(format!("this is not as it must be: {what}")))
}
