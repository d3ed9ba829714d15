//! `bitts shadow` and `bitts connection send` against a server.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::client::{Device, ask, done, done_json, refused};
use crate::process::{Served, bitts, in_time, run_bitts};

#[test]
fn a_shadow_is_made_looked_at_and_deleted() {
    let served = Served::start(&[]);
    let line = refused(&served, &["shadow", "get", "lamp"]);
    let message = "error: ResourceNotFoundException: No shadow exists with name: 'lamp'\n";
    assert_eq!(line, message);
    let update =
        ["shadow", "update", "lamp", "--desired", r#"{"led":"on","n":1.50}"#, "--reported", "null"];
    let accepted = done_json(&served, &update);
    assert_eq!((&accepted["version"], &accepted["state"]["reported"]), (&json!(1), &Value::Null));
    let text = done(&served, &["shadow", "get", "lamp"]);
    assert!(text.contains(r#""n":1.50"#), "numbers as they were written: {text}");
    let stale = ["shadow", "update", "lamp", "--reported", "{}", "--if-version", "7"];
    let line = refused(&served, &stale);
    assert_eq!(line, "error: ConflictException: Version conflict\n");
    let fresh = ["shadow", "update", "lamp", "--reported", r#"{"led":"on"}"#, "--if-version", "1"];
    assert_eq!(done_json(&served, &fresh)["version"], 2);
    let table = done(&served, &["shadow", "get", "lamp", "--output", "table"]);
    let mut lines = table.lines();
    assert!(lines.next().expect("a line").starts_with("version 2 at 20"), "{table}");
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split_whitespace().collect()).collect();
    let header = ["MEMBER", "DESIRED", "REPORTED", "DIFFERS"];
    assert_eq!(rows, [&header[..], &["led", "\"on\"", "\"on\""], &["n", "1.5", "yes"]]);
    let line = done(&served, &["shadow", "delete", "lamp", "--output", "table"]);
    assert!(line.starts_with("version 2 at 20") && line.lines().count() == 1, "{line}");
}

#[test]
fn named_shadows_are_listed() {
    let served = Served::start(&[]);
    for name in ["a", "b", "c"] {
        done(&served, &["shadow", "update", "lamp", "--name", name, "--desired", "{}"]);
    }
    let list = done_json(&served, &["shadow", "list", "lamp"]);
    assert_eq!(list, json!({ "results": ["a", "b", "c"] }));
    let list = done_json(&served, &["shadow", "list", "lamp", "--max-items", "2"]);
    assert_eq!(list, json!({ "results": ["a", "b"] }));
    let table = done(&served, &["shadow", "list", "lamp", "--output", "table"]);
    assert_eq!(table, "NAME\na\nb\nc\n");
}

#[test]
fn a_shadow_is_watched() {
    let served = Served::start(&[]);
    let address = served.address("mqtt").to_string();
    let watch = ["shadow", "watch", "lamp", "--name", "s", "--mqtt", &address, "--client-id", "w"];
    let mut command = bitts(&watch);
    command.args(["--count", "7", "--output", "json"]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it runs");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let served = in_time("it subscribes", move || {
        loop {
            let listed = ask(&served, &["connection", "subscriptions", "w"]);
            if listed.stdout.matches("topicFilter").count() == 3 {
                return served;
            }
        }
    });
    done(&served, &["shadow", "update", "lamp", "--name", "s", "--desired", r#"{"led":"on"}"#]);
    done(&served, &["shadow", "update", "lamp", "--desired", r#"{"led":"other"}"#]);
    done(&served, &["publish", "$aws/things/lamp/shadow/name/s/delete", ""]);
    let again = ["shadow", "update", "lamp", "--name", "s", "--desired", r#"{"led":"on"}"#];
    done(&served, &again);
    // A deletion over HTTP is published nowhere: what is next tells of it.
    done(&served, &["shadow", "delete", "lamp", "--name", "s"]);
    done(&served, &again);
    let read = move || {
        let text: Vec<String> = lines.by_ref().map(|line| line.expect("readable")).collect();
        (text, child.wait().expect("it is waited for"))
    };
    let (text, status) = in_time("seven messages", read);
    assert!(status.success());
    let events: Vec<Value> =
        text.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let names: Vec<&Value> = events.iter().map(|event| &event["event"]).collect();
    let update = ["update/delta", "update/documents"];
    assert_eq!(names, [&update[..], &["delete/accepted"], &update, &update].concat());
    assert_eq!(events[0]["message"]["state"], json!({ "led": "on" }));
    let told: Vec<_> = [&events[4], &events[6]]
        .map(|it| (&it["message"]["previous"], &it["message"]["current"]["version"]))
        .into();
    assert_eq!(told, [(&Value::Null, &json!(3)), (&Value::Null, &json!(5))]);
}

#[test]
fn what_is_no_shadow_and_no_json_is_wrong_usage() {
    for (arguments, line) in [
        (
            &["shadow", "update", "lamp", "--desired", "{"][..],
            "error: invalid value '{' for '--desired <JSON>': not JSON: ",
        ),
        (&["shadow", "get", "a b"], "error: The thing name is 1 to 128 of "),
        (&["shadow", "get", "a", "--name", "x/y"], "error: The shadow name is 1 to 64 of "),
        (&["shadow", "update", "lamp"], "error: the following required arguments "),
        (
            &["connection", "send", "lamp", "t", "x", "--timeout", "3"],
            "error: the following required arguments ",
        ),
    ] {
        let ended = run_bitts(arguments);
        assert_eq!(ended.status, Some(2), "{arguments:?}");
        assert!(ended.stderr.starts_with(line), "{}", ended.stderr);
    }
}

#[test]
fn a_message_goes_to_one_client() {
    let served = Served::start(&[]);
    let device = Device::connect(&served, "lamp-1", "none");
    let send = ["connection", "send", "lamp-1", "commands/reboot", "now", "--confirm"];
    assert_eq!(done(&served, &[&send[..], &["--content-type", "text/plain"]].concat()), "");
    let (_device, line) = device.next_line();
    assert_eq!((&line["topic"], &line["payload"]), (&json!("commands/reboot"), &json!("now")));
    assert_eq!((&line["qos"], &line["contentType"]), (&json!(1), &json!("text/plain")));
    let line = refused(&served, &["connection", "send", "nobody", "t", "x"]);
    assert!(line.starts_with("error: ResourceNotFoundException: "), "{line}");
}

/// Versions never go back or skip: neither those of shadows nor those of deleted ones.
#[test]
fn a_shadow_survives_a_kill() {
    let data = tempfile::tempdir().expect("a directory");
    let flag = format!("--data-dir={}", data.path().display());
    let update = |served: &Served, name: &str, value: u64| {
        let desired = format!("{{\"n\":{value}}}");
        let update = ["shadow", "update", "lamp", "--name", name, "--desired", &desired];
        done_json(served, &update)["version"].clone()
    };
    for (round, threads) in (0..3).zip(["--threads=1", "--threads=3", "--threads=2"]) {
        let served = Served::start(&[&flag, threads]);
        if round > 0 {
            let document = done_json(&served, &["shadow", "get", "lamp", "--name", "kept"]);
            let expected = (&json!(round), &json!({ "n": round - 1 }));
            assert_eq!((&document["version"], &document["state"]["desired"]), expected);
            let list = done_json(&served, &["shadow", "list", "lamp"]);
            assert_eq!(list, json!({ "results": ["kept"] }));
        }
        assert_eq!(update(&served, "kept", round), round + 1);
        // Creation and deletion take a version each.
        assert_eq!(update(&served, "gone", round), 2 * round + 1);
        done(&served, &["shadow", "delete", "lamp", "--name", "gone"]);
        served.signal(Signal::KILL);
        assert!(!served.wait().0.success());
    }
}
