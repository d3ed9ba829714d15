//! Whether other clients notice that thousands are put off.
//!
//! Against a server that runs already: pairs of clients send messages of QoS 1 at a fixed pace, and
//! the time from sending to taking is told before, while and after the bulk disconnect puts
//! everybody else off.
//!
//! ```sh
//! bitts serve --ephemeral --mqtts off --https off
//! cargo run --release -p bitts-client --example bulk_disconnect -- clients=10000 rate=1000
//! ```
//!
//! Settings and their defaults: `mqtt=mqtt://127.0.0.1:1883`, `http=http://127.0.0.1:8830`,
//! `clients=10000`, `rate=1000` (clients put off a second), `pairs=20`, `interval=20` (milliseconds
//! between two messages of a pair), `seconds=10` (before and after).

use std::collections::HashMap;
use std::io::Write as _;
use std::time::{Duration, Instant};

use bitts_client::data_plane::{Config, ControlCall, DataPlane};
use bitts_client::mqtt::{self, ConnectOptions, Connected, Endpoint, Filter, Publish, QoS};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

/// CONNECTs that wait for their CONNACK at a time.
const CONNECTING: usize = 64;
/// How often the server is asked how far it is.
const ASKED_EVERY: Duration = Duration::from_millis(20);

/// What the command line says, by name.
struct Settings(HashMap<String, String>);

impl Settings {
    fn read() -> Self {
        let pairs = std::env::args().skip(1).map(|argument| {
            let (name, value) = argument.split_once('=').expect("NAME=VALUE");
            (name.to_owned(), value.to_owned())
        });
        Self(pairs.collect())
    }

    fn text(&self, name: &str, default: &str) -> String {
        self.0.get(name).map_or(default, String::as_str).to_owned()
    }

    fn number(&self, name: &str, default: u32) -> u32 {
        self.0.get(name).map_or(default, |value| value.parse().expect("a number"))
    }
}

/// A message: when it was due, and how long it took, both in microseconds.
type Taken = (u64, u64);

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).expect("not so long")
}

async fn connect(endpoint: &Endpoint, client_id: String) -> Connected {
    let options = ConnectOptions { client_id, keep_alive_seconds: 0, ..ConnectOptions::default() };
    mqtt::connect(endpoint, options).await.expect("a connection")
}

/// Connects those who are put off, says when all are, and counts who is told so.
async fn crowd(endpoint: Endpoint, clients: u32, ready: oneshot::Sender<()>) -> usize {
    let mut connecting = JoinSet::new();
    let mut connected = Vec::new();
    for number in 0..clients {
        if connecting.len() >= CONNECTING {
            connected.extend(connecting.join_next().await.map(|it| it.expect("it ends")));
        }
        let endpoint = endpoint.clone();
        connecting.spawn(async move { connect(&endpoint, format!("crowd-{number}")).await });
    }
    connected.extend(connecting.join_all().await);
    ready.send(()).expect("somebody waits");
    let mut told = 0;
    for Connected { client, .. } in connected {
        let end = client.ended().await.to_string();
        told += usize::from(end.contains("0x98"));
    }
    told
}

/// Sends messages at a fixed pace and takes them again, until it is told to end.
async fn pair(
    endpoint: Endpoint,
    (number, interval): (u32, Duration),
    begun: Instant,
    taken: mpsc::UnboundedSender<Taken>,
    end: watch::Receiver<bool>,
) {
    let topic = format!("pair/{number}");
    let mut subscriber = connect(&endpoint, format!("subscriber-{number}")).await;
    let filters = [Filter::new(&topic, QoS::One)];
    subscriber.client.subscribe(&filters).await.expect("a SUBACK");
    let publisher = connect(&endpoint, format!("publisher-{number}")).await;
    let taking = tokio::spawn(async move {
        while let Some(message) = subscriber.incoming.next().await {
            let due = std::str::from_utf8(&message.payload).expect("text").parse().expect("digits");
            if taken.send((due, micros(begun) - due)).is_err() {
                break;
            }
        }
    });
    // A pace of its own for each: not all at one moment.
    tokio::time::sleep(interval * number / 20).await;
    let mut due = Instant::now();
    while !*end.borrow() {
        // What is late counts from when it was due.
        let now = Instant::now();
        let at = if due > now {
            tokio::time::sleep_until(due.into()).await;
            micros(begun)
        } else {
            u64::try_from((due - begun).as_micros()).expect("not so long")
        };
        let publish = Publish::new(&topic, at.to_string()).qos(QoS::One);
        publisher.client.publish(publish).await.expect("a PUBACK");
        due += interval;
    }
    taking.abort();
}

async fn ask(data_plane: &DataPlane, method: &'static str, path: String, body: Value) -> Value {
    let call = ControlCall { method, path, body, ..ControlCall::default() };
    data_plane.control(call).await.expect("an answer")
}

/// Puts the crowd off; the last answer.
async fn put_off(data_plane: &DataPlane, rate: u32) -> Value {
    let body = json!({ "match": { "prefix": "crowd-" }, "ratePerSecond": rate });
    let path = "/bitts/v1/connections/disconnect".to_owned();
    let mut answer = ask(data_plane, "POST", path, body).await;
    while answer["state"] == "RUNNING" {
        tokio::time::sleep(ASKED_EVERY).await;
        let id = answer["operationId"].as_str().expect("an identifier");
        answer = ask(data_plane, "GET", format!("/bitts/v1/operations/{id}"), Value::Null).await;
    }
    answer
}

/// One line of the table: how many messages, and their latencies in microseconds.
fn row(name: &str, taken: &[Taken], from: u64, until: u64) -> String {
    let within = taken.iter().filter(|(due, _)| (from..until).contains(due));
    let mut latencies: Vec<u64> = within.map(|(_, latency)| *latency).collect();
    latencies.sort_unstable();
    let last = latencies.len().saturating_sub(1);
    let at = |per_mille: usize| latencies.get((latencies.len() * per_mille / 1_000).min(last));
    let cells: Vec<String> = [500, 900, 990, 999, 1_000]
        .map(|per_mille| at(per_mille).map_or_else(|| "–".to_owned(), u64::to_string))
        .into();
    format!("| {name} | {} | {} |\n", latencies.len(), cells.join(" | "))
}

async fn run(settings: &Settings) -> String {
    let endpoint = Endpoint::parse(&settings.text("mqtt", "mqtt://127.0.0.1:1883")).expect("a URL");
    let url = settings.text("http", "http://127.0.0.1:8830");
    let config = Config { endpoint_url: Some(url), ..Config::default() };
    let data_plane = DataPlane::new(config).expect("a client");
    let (clients, rate) = (settings.number("clients", 10_000), settings.number("rate", 1_000));
    let interval = Duration::from_millis(settings.number("interval", 20).into());
    let around = Duration::from_secs(settings.number("seconds", 10).into());

    // The crowd has a thread of its own, so that its ends are not in the way of the measurement.
    let (ready, is_ready) = oneshot::channel();
    let crowd_endpoint = endpoint.clone();
    let crowd =
        std::thread::spawn(move || runtime().block_on(crowd(crowd_endpoint, clients, ready)));
    is_ready.await.expect("the crowd is there");

    let begun = Instant::now();
    let (taken, mut all_taken) = mpsc::unbounded_channel();
    let (end, ended) = watch::channel(false);
    let mut pairs = JoinSet::new();
    for number in 0..settings.number("pairs", 20) {
        let pace = (number, interval);
        pairs.spawn(pair(endpoint.clone(), pace, begun, taken.clone(), ended.clone()));
    }
    drop((taken, ended));
    // Until every pair is at its pace.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = micros(begun);
    tokio::time::sleep(around).await;
    let during = micros(begun);
    let answer = put_off(&data_plane, rate).await;
    let after = micros(begun);
    tokio::time::sleep(around).await;
    let until = micros(begun);
    end.send(true).expect("the pairs go on");
    pairs.join_all().await;
    let told = crowd.join().expect("the crowd ends");

    let mut messages = Vec::new();
    while let Ok(message) = all_taken.try_recv() {
        messages.push(message);
    }
    let seconds = Duration::from_micros(after - during).as_secs_f64();
    let gone = answer["disconnected"].as_u64().unwrap_or_default();
    let mut report = format!(
        "{gone} of {clients} clients put off in {seconds:.1} s ({:.0} a second), {told} told 0x98\n\
         | | messages | p50, µs | p90 | p99 | p99.9 | max |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
        f64::from(u32::try_from(gone).expect("not so many")) / seconds
    );
    report += &row("before", &messages, before, during);
    report += &row("while", &messages, during, after);
    report += &row("after", &messages, after, until);
    report
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn main() {
    let report = runtime().block_on(run(&Settings::read()));
    std::io::stdout().write_all(report.as_bytes()).expect("standard output");
}
