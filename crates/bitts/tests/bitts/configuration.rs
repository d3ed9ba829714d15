//! What cannot be taken: status 2, one line that says where it stands, nothing opened.

use std::fs;

use crate::process::{Served, bitts, run, run_bitts};

/// The one line on stderr of a command that is used wrongly.
fn refusal(arguments: &[&str]) -> String {
    let ended = run_bitts(arguments);
    assert_eq!(ended.status, Some(2), "{}", ended.stderr);
    assert_eq!(ended.stdout, "");
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    ended.stderr.trim_end().to_owned()
}

#[test]
fn an_unknown_flag_is_wrong_usage() {
    let ended = run_bitts(&["serve", "--mqqt", "off"]);
    assert_eq!(ended.status, Some(2));
    assert!(ended.stderr.contains("--mqqt"), "{}", ended.stderr);
    assert!(ended.stderr.contains("--mqtt"), "the closest known one: {}", ended.stderr);
}

#[test]
fn a_bad_value_of_a_flag_names_the_flag() {
    assert_eq!(
        refusal(&["serve", "--threads", "many"]),
        "error: --threads: expected an integer from 0 to 63, found \"many\""
    );
}

#[test]
fn a_bad_key_names_file_and_line() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("bitts.toml");
    let path = path.to_str().expect("UTF-8");
    fs::write(path, "mqtt = 'off'\n\n[limits]\nreceive-maximum = 0\n").expect("written");
    assert_eq!(
        refusal(&["serve", "--config", path]),
        format!(
            "error: {path}:4: limits.receive-maximum: expected an integer from 1 to 65535, found 0"
        )
    );
    fs::write(path, "treads = 2\n").expect("written");
    assert_eq!(
        refusal(&["serve", "--config", path]),
        format!("error: {path}:1: treads: not a setting; did you mean threads?")
    );
}

#[test]
fn a_file_that_cannot_be_read_or_is_too_large_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("bitts.toml");
    let path = path.to_str().expect("UTF-8");
    assert_eq!(
        refusal(&["serve", "--config", path]),
        format!("error: --config: {path}: No such file or directory (os error 2)")
    );
    fs::write(path, "#".repeat((1 << 20) + 1)).expect("written");
    assert_eq!(
        refusal(&["serve", "--config", path]),
        format!("error: --config: {path}: expected a file of at most 1 MiB")
    );
}

#[test]
fn a_bad_variable_names_the_variable() {
    let mut command = bitts(&["serve"]);
    command.env("BITTS_HTTP", "8830");
    let ended = run(command);
    assert_eq!(ended.status, Some(2));
    assert_eq!(
        ended.stderr,
        "error: BITTS_HTTP: expected an address such as \"127.0.0.1:1883\", or \"off\", found \
         \"8830\"\n"
    );
}

/// The data directory has one server; nothing is changed on disk by a second one.
#[test]
fn a_data_directory_in_use_is_status_1() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().to_str().expect("UTF-8");
    let _first = Served::start(&["--data-dir", path]);
    let log = fs::read(directory.path().join("registry.log")).expect("a log");
    let all_off = ["--mqtt=off", "--mqtts=off", "--http=127.0.0.1:0", "--https=off"];
    let ended = run_bitts(&[&["serve", "--data-dir", path][..], &all_off].concat());
    assert_eq!(ended.status, Some(1));
    assert_eq!(
        ended.stderr,
        format!("error: {path}/journal: cannot open: another process uses this directory\n")
    );
    assert_eq!(fs::read(directory.path().join("registry.log")).expect("a log"), log);
}

#[test]
fn an_address_of_the_network_is_refused_without_a_second_word() {
    let line = refusal(&["serve", "--mqtt", "0.0.0.0:0", "--auth", "open"]);
    assert!(line.starts_with("error: --mqtt: 0.0.0.0:0 is not on loopback, "), "{line}");
    assert!(line.contains("--insecure-open-to-network"), "{line}");
}
