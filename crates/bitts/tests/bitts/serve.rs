//! A server's life: ready, asked, reloaded, stopped.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use rustix::process::Signal;

use crate::process::{Served, run_bitts};

/// The status line's code of a GET.
fn get_status(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("accepted");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    answer.split(' ').nth(1).expect("a status line").to_owned()
}

#[test]
fn a_ready_server_is_in_its_ready_file_and_answers() {
    let served = Served::start(&[]);
    let http = served.address("http");
    assert_eq!(get_status(http, "/health/live"), "200");
    assert_eq!(get_status(http, "/health/ready"), "200");
    assert_eq!(get_status(http, "/metrics"), "200");
    TcpStream::connect(served.address("mqtt")).expect("accepted");
    for listener in ["mqtt", "http"] {
        let address = served.address(listener).to_string();
        assert!(served.announced.contains(&address), "{}", served.announced);
    }
    let files = fs::read_dir(served.directory.path()).expect("readable").count();
    assert_eq!(files, 1, "the temporary file is gone");
}

#[test]
fn the_first_line_says_what_is_kept() {
    let first = |served: &Served| served.announced.lines().next().expect("a line").to_owned();
    let unasked = first(&Served::start(&[]));
    assert!(unasked.ends_with("is acknowledged survives a crash and loss of power."), "{unasked}");
    let os = first(&Served::start(&["--durability=os"]));
    assert!(os.contains("loss of power may lose"), "{os}");
    let asked = first(&Served::start(&["--ephemeral"]));
    assert!(asked.starts_with("Ephemeral: everything is in memory"), "{asked}");
}

#[test]
fn a_listener_that_is_off_is_not_announced() {
    let served = Served::start(&["--mqtt=off"]);
    let ready = fs::read_to_string(served.ready_file()).expect("readable");
    assert_eq!(ready, format!("{{\"http\":\"{}\"}}\n", served.address("http")));
    assert!(!served.announced.contains("\n  mqtt"), "{}", served.announced);
}

#[test]
fn sigterm_and_sigint_drain_and_end_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let served = Served::start(&[]);
        let ready_file = served.ready_file();
        let directory = served.directory.path().to_owned();
        served.signal(signal);
        let (status, rest) = served.wait();
        assert_eq!(status.code(), Some(0), "{signal:?}");
        assert_eq!(rest, "");
        assert!(!fs::exists(&ready_file).expect("looked up"), "it is removed from {directory:?}");
    }
}

#[test]
fn a_second_signal_does_not_wait_for_clients() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = directory.path().join("bitts.toml");
    fs::write(&config, "[limits]\nlinger = '1m'\ndrain-timeout = '1h'\n").expect("written");
    let mut served = Served::start(&["--config", config.to_str().expect("UTF-8")]);
    // CONNECT of MQTT 3.1.1 with the client identifier "a", and a client that never closes.
    let mut client = TcpStream::connect(served.address("mqtt")).expect("accepted");
    client.write_all(b"\x10\x0D\x00\x04MQTT\x04\x02\x00\x00\x00\x01a").expect("written");
    let mut connack = [0; 4];
    client.read_exact(&mut connack).expect("CONNACK");
    assert_eq!(connack, [0x20, 2, 0, 0]);

    served.signal(Signal::TERM);
    served.log_line("stopping");
    served.signal(Signal::TERM);
    served.log_line("error: stopped at once, by a second signal");
    assert_eq!(served.wait().0.code(), Some(1));
}

#[test]
fn a_server_whose_output_nobody_reads_serves() {
    let mut served = Served::start(&[]);
    served.close_stdout();
    assert_eq!(get_status(served.address("http"), "/health/ready"), "200");
    served.signal(Signal::TERM);
    served.log_line("stopped");
}

#[test]
fn a_port_in_use_is_one_sentence_and_status_1() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    for (listener, other) in [("mqtt", "http"), ("http", "mqtt")] {
        let (listener_flag, other_flag) = (format!("--{listener}"), format!("--{other}"));
        let flags = ["--ephemeral", &listener_flag, &address, &other_flag, "127.0.0.1:0"];
        let ended = run_bitts(&[&["serve"], &flags[..]].concat());
        assert_eq!(ended.status, Some(1), "{}", ended.stderr);
        let start = format!("error: cannot listen for {listener} on {address}: ");
        assert!(ended.stderr.starts_with(&start), "{}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        assert_eq!(ended.stdout, "");
    }
}

#[test]
fn a_ready_file_that_cannot_be_written_is_status_1() {
    let ended = run_bitts(&[
        "serve",
        "--ephemeral",
        "--mqtt=127.0.0.1:0",
        "--http=off",
        "--ready-file=/nonexistent/ready.json",
    ]);
    assert_eq!(ended.status, Some(1));
    assert_eq!(
        ended.stderr.lines().last(),
        Some("error: /nonexistent/ready.json: No such file or directory (os error 2)")
    );
}

#[test]
fn sighup_changes_the_log_and_names_what_needs_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("bitts.toml");
    let config = path.to_str().expect("UTF-8").to_owned();
    fs::write(&path, "").expect("written");
    let mut served = Served::start(&["--config", &config]);

    fs::write(&path, "log = 'debug'\nregion = 'eu-west-1'\n").expect("written");
    served.signal(Signal::HUP);
    let line = served.log_line("needs a restart setting=\"region\"");
    assert!(line.contains("us-east-1") && line.contains("eu-west-1"), "{line}");
    served.log_line("configuration reloaded changes=2");

    fs::write(&path, "log = 'trace'\nregion = 3\n").expect("written");
    served.signal(Signal::HUP);
    let line = served.log_line("nothing is changed");
    assert!(line.contains("bitts.toml:2: region: expected a region"), "{line}");

    fs::write(&path, "log = 'info'\n").expect("written");
    served.signal(Signal::HUP);
    let line = served.log_line("changed setting=\"log\"");
    assert!(
        line.contains("before=\"debug\" after=\"info\""),
        "the bad file changed nothing: {line}"
    );
    served.signal(Signal::TERM);
    assert_eq!(served.wait().0.code(), Some(0));
}
