//! The client commands against a server, with `bitts subscribe` as the device.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdout, Stdio};

use serde_json::{Value, json};

use crate::process::{Ended, Served, bitts, in_time, run, run_bitts};

/// Runs a client command against a server.
pub(crate) fn ask(served: &Served, arguments: &[&str]) -> Ended {
    let mut command = bitts(arguments);
    command.env("AWS_ENDPOINT_URL", served.endpoint_url());
    run(command)
}

/// What a command that is done printed.
pub(crate) fn done(served: &Served, arguments: &[&str]) -> String {
    let ended = ask(served, arguments);
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""), "{arguments:?}");
    ended.stdout
}

pub(crate) fn done_json(served: &Served, arguments: &[&str]) -> Value {
    serde_json::from_str(&done(served, arguments)).expect("JSON")
}

/// What a command that was refused said.
pub(crate) fn refused(served: &Served, arguments: &[&str]) -> String {
    let ended = ask(served, arguments);
    assert_eq!((ended.status, ended.stdout.as_str()), (Some(1), ""), "{arguments:?}");
    ended.stderr
}

/// A `bitts subscribe` that has its first message, so it is connected and subscribed.
pub(crate) struct Device {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Device {
    pub(crate) fn connect(served: &Served, client_id: &str, filter: &str) -> Self {
        let topic = format!("ready/{client_id}");
        done(served, &["publish", &topic, "ready", "--retain"]);
        let address = served.address("mqtt").to_string();
        let arguments =
            ["subscribe", &topic, filter, "--client-id", client_id, "--mqtt", &address, "--qos=1"];
        let mut command = bitts(&arguments);
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (device, line) = Self { child, stdout }.next_line();
        assert_eq!(line["payload"], "ready");
        device
    }

    /// The next message.
    pub(crate) fn next_line(mut self) -> (Self, Value) {
        in_time("a message", move || {
            let mut line = String::new();
            self.stdout.read_line(&mut line).expect("readable");
            let line = serde_json::from_str(&line).expect("a line of JSON");
            (self, line)
        })
    }

    fn wait(self) -> Ended {
        let ended = in_time("the device ends", move || self.child.wait_with_output());
        ended.expect("it is waited for").into()
    }
}

#[test]
fn a_connected_client_is_listed_looked_at_and_put_off() {
    let served = Served::start(&[]);
    let device = Device::connect(&served, "lamp-1", "lamps/#");

    let list = done_json(&served, &["connection", "list"]);
    assert_eq!(list["connections"][0]["clientId"], "lamp-1");
    assert_eq!(list["connections"][0]["connected"], true);
    let none = done_json(&served, &["connection", "list", "--prefix", "heater-"]);
    assert_eq!(none, json!({ "connections": [] }));
    let offline = done_json(&served, &["connection", "list", "--connected=false"]);
    assert_eq!(offline, json!({ "connections": [] }));
    let state = done_json(&served, &["connection", "get", "lamp-1"]);
    assert_eq!((&state["clientId"], &state["connected"]), (&json!("lamp-1"), &json!(true)));
    let subscriptions = done_json(&served, &["connection", "subscriptions", "lamp-1"]);
    let lamps = json!({ "topicFilter": "lamps/#", "qos": 1 });
    assert_eq!(subscriptions["subscriptions"][0], lamps);

    assert_eq!(done(&served, &["connection", "delete", "lamp-1"]), "");
    let ended = device.wait();
    assert_eq!(ended.status, Some(1));
    assert_eq!(ended.stderr, "error: the server disconnected: Administrative action (0x98)\n");
    let state = done_json(&served, &["connection", "get", "lamp-1"]);
    assert_eq!(state["connected"], false);
    assert_eq!(state["disconnectReason"], "API_INITIATED_DISCONNECT");

    // DC-13: nothing is left of a clean session.
    let line = refused(&served, &["connection", "delete", "lamp-1"]);
    assert!(line.starts_with("error: ResourceNotFoundException: "), "{line}");
}

#[test]
fn an_unknown_client_is_a_typed_refusal() {
    let served = Served::start(&[]);
    for action in ["get", "delete", "subscriptions"] {
        let line = refused(&served, &["connection", action, "nobody"]);
        assert!(line.starts_with("error: ResourceNotFoundException: "), "{action}: {line}");
    }
    let line = refused(&served, &["connection", "delete", "$x"]);
    assert!(line.starts_with("error: InvalidRequestException: "), "{line}");
}

#[test]
fn a_table_is_for_people() {
    let served = Served::start(&[]);
    let _device = Device::connect(&served, "lamp-1", "lamps/#");
    let table = done(&served, &["connection", "list", "--output", "table"]);
    let mut lines = table.lines();
    assert!(lines.next().expect("a header").starts_with("CLIENT ID  CONNECTED  PROTOCOL"));
    assert!(lines.next().expect("a row").starts_with("lamp-1     yes        MQTT5"), "{table}");
    let facts = done(&served, &["connection", "get", "lamp-1", "--output", "table"]);
    assert!(facts.starts_with("client ID        lamp-1\nconnected        yes\n"), "{facts}");
}

#[test]
fn a_message_arrives_with_its_properties_from_argument_file_and_stdin() {
    let served = Served::start(&[]);
    let device = Device::connect(&served, "lamp-1", "lamps/#");
    let properties = [
        "--qos=1",
        "--content-type=text/plain",
        "--response-topic=answers",
        "--correlation-data=1",
        "--user-property=a=b=c",
        "--user-property=a=",
    ];
    done(&served, &[&["publish", "lamps/1", "on"], properties.as_slice()].concat());
    let (device, line) = device.next_line();
    let expected = json!({
        "topic": "lamps/1",
        "payload": "on",
        "qos": 1,
        "retain": false,
        "contentType": "text/plain",
        "responseTopic": "answers",
        "correlationDataBase64": "MQ==",
        "userProperties": [["a", "b=c"], ["a", ""]],
    });
    assert_eq!(line, expected);

    let file = served.directory.path().join("payload");
    std::fs::write(&file, [0xFF, 0x00]).expect("written");
    done(&served, &["publish", "lamps/2", "--file", file.to_str().expect("UTF-8")]);
    let (device, line) = device.next_line();
    assert_eq!(line["payloadBase64"], "/wA=");

    let mut command = bitts(&["publish", "lamps/3", "--file", "-"]);
    command.env("AWS_ENDPOINT_URL", served.endpoint_url()).stdin(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    child.stdin.take().expect("piped").write_all(b"piped").expect("written");
    assert!(child.wait().expect("it ends").success());
    let (_, line) = device.next_line();
    assert_eq!((&line["topic"], &line["payload"]), (&json!("lamps/3"), &json!("piped")));
}

#[test]
fn qos_2_goes_over_mqtt() {
    let served = Served::start(&[]);
    let address = served.address("mqtt").to_string();
    done(&served, &["publish", "a", "x", "--qos=2", "--retain", "--mqtt", &address]);
    let arguments = ["subscribe", "a", "--qos=2", "--count=1", "--mqtt", &address];
    let line = done_json(&served, &arguments);
    assert_eq!((&line["payload"], &line["qos"]), (&json!("x"), &json!(2)));
}

#[test]
fn retained_messages_are_listed_printed_and_removed() {
    let served = Served::start(&[]);
    done(&served, &["publish", "a/1", "on\u{1b}[2J", "--retain"]);
    done(&served, &["publish", "a/2", "off", "--retain", "--qos=1"]);
    let list = done_json(&served, &["retained", "list"]);
    assert_eq!(list["retainedTopics"].as_array().map(Vec::len), Some(2));
    let list = done_json(&served, &["retained", "list", "--max-items=1"]);
    assert_eq!(list["retainedTopics"].as_array().map(Vec::len), Some(1));
    let message = done_json(&served, &["retained", "get", "a/2"]);
    assert_eq!((&message["payload"], &message["qos"]), (&json!("b2Zm"), &json!(1)));
    assert_eq!(done(&served, &["retained", "get", "a/1", "--raw"]), "on\u{1b}[2J");
    let table = done(&served, &["retained", "get", "a/1", "--output=table"]);
    assert!(table.contains("payload  on\\u{1b}[2J\n"), "{table:?}");

    done(&served, &["retained", "delete", "a/1"]);
    let line = refused(&served, &["retained", "get", "a/1"]);
    assert!(line.starts_with("error: ResourceNotFoundException: "), "{line}");
}

#[test]
fn messages_that_do_not_come_in_time_are_status_1() {
    let served = Served::start(&[]);
    let address = served.address("mqtt").to_string();
    let arguments = ["subscribe", "a", "--mqtt", &address, "--timeout=0"];
    assert_eq!(done(&served, &arguments), "");
    let line = refused(&served, &[arguments.as_slice(), &["--count=1"]].concat());
    assert_eq!(line, "error: 0 of 1 messages arrived in time\n");
}

#[test]
fn a_server_that_cannot_be_reached_is_status_1() {
    // Taken and given back: nobody listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = port.local_addr().expect("bound").to_string();
    drop(port);
    let url = format!("http://{address}");
    let ended = run_bitts(&["connection", "get", "lamp-1", "--endpoint-url", &url]);
    assert_eq!(ended.status, Some(1));
    assert!(ended.stderr.contains(&format!("no connection to {address}")), "{}", ended.stderr);
    let ended = run_bitts(&["subscribe", "a", "--mqtt", &address]);
    assert_eq!(ended.status, Some(1));
}

#[test]
fn a_default_profile_without_an_access_key_does_not_matter_on_this_machine() {
    let served = Served::start(&[]);
    let config = served.directory.path().join("config");
    std::fs::write(&config, "[default]\nsso_session = me\n").expect("written");
    let mut command = bitts(&["connection", "list", "--endpoint-url", &served.endpoint_url()]);
    command.env("AWS_CONFIG_FILE", &config);
    let ended = run(command);
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""));
    let mut command = bitts(&["connection", "list", "--profile", "nobody"]);
    command.env("AWS_CONFIG_FILE", &config).env("AWS_ENDPOINT_URL", served.endpoint_url());
    let ended = run(command);
    assert_eq!(ended.status, Some(2));
    assert!(ended.stderr.contains("no profile \"nobody\""), "{}", ended.stderr);
}

#[test]
fn wrong_usage_is_status_2() {
    let wrong: [&[&str]; 9] = [
        &[],
        &["kick", "lamp-1"],
        &["connection", "delete"],
        &["connection", "delete", "lamp-1", "--clean"],
        &["connection", "list", "--endpoint-url", "lamp"],
        &["publish", "a"],
        &["publish", "a", "x", "--qos", "2"],
        &["publish", "a", "--file", "/nonexistent/payload"],
        &["subscribe", "a/#/b", "--qos", "3"],
    ];
    for arguments in wrong {
        let ended = run_bitts(arguments);
        assert_eq!(ended.status, Some(2), "{arguments:?}: {}", ended.stderr);
        assert_eq!(ended.stdout, "");
    }
    let served = Served::start(&[]);
    let address = served.address("mqtt").to_string();
    let ended = ask(&served, &["subscribe", "a/#/b", "--mqtt", &address]);
    assert_eq!(ended.status, Some(2), "{}", ended.stderr);
}

#[test]
fn manuals_are_written_for_every_command() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("man");
    let ended = run_bitts(&["man", path.to_str().expect("UTF-8")]);
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""));
    let page = std::fs::read_to_string(path.join("bitts-connection-delete.1")).expect("a page");
    assert!(page.contains("prevent\\-will\\-message"), "{page}");
    for shell in ["bash", "zsh", "fish"] {
        let ended = run_bitts(&["completions", shell]);
        assert_eq!(ended.status, Some(0));
        assert!(ended.stdout.contains("prevent-will-message"), "{shell}");
    }
}
