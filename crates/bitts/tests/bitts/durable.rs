//! What outlives a process that is killed, and what a bad data directory leads to.

use std::fs;
use std::path::Path;

use rustix::process::Signal;

use crate::process::{Served, bitts, run, run_bitts};

/// Runs a client command against a server; what it printed.
fn done(served: &Served, arguments: &[&str]) -> String {
    let mut command = bitts(arguments);
    command.env("AWS_ENDPOINT_URL", served.endpoint_url());
    let ended = run(command);
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""), "{arguments:?}");
    ended.stdout
}

/// The newest segment of the journal.
fn newest(data: &Path) -> std::path::PathBuf {
    let files = fs::read_dir(data.join("journal")).expect("readable");
    let names = files.map(|file| file.expect("readable").path());
    let segments = names.filter(|path| path.to_string_lossy().contains("/journal-"));
    segments.max().expect("a segment")
}

/// A server on a directory where another one was told to retain `on` and was killed.
fn killed() -> (tempfile::TempDir, String) {
    let data = tempfile::tempdir().expect("a directory");
    let flag = format!("--data-dir={}", data.path().display());
    let first = Served::start(&[&flag]);
    done(&first, &["publish", "lamps/1", "on", "--retain", "--qos=1"]);
    first.signal(Signal::KILL);
    assert!(!first.wait().0.success());
    (data, flag)
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let (_data, flag) = killed();
    for threads in ["--threads=1", "--threads=3"] {
        let next = Served::start(&[&flag, threads]);
        assert_eq!(done(&next, &["retained", "get", "lamps/1", "--raw"]), "on");
        next.signal(Signal::KILL);
        assert!(!next.wait().0.success());
    }
}

#[test]
fn a_directory_is_used_by_one_process() {
    let served = Served::start(&[]);
    let flag = format!("--data-dir={}", served.data.path().display());
    let ended = run_bitts(&["serve", "--mqtt=127.0.0.1:0", "--http=off", &flag]);
    assert_eq!(ended.status, Some(1));
    assert!(ended.stderr.contains("another process uses this directory"), "{}", ended.stderr);
}

#[test]
fn the_directory_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let served = Served::start(&[]);
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&served.data.path().join("journal")), 0o700);
    assert_eq!(mode(&newest(served.data.path())), 0o600);
}

/// Where the last frame of a segment ends.
fn end_of_frames(bytes: &[u8]) -> usize {
    let mut at = 64;
    while bytes[at..].starts_with(b"Bfrm") {
        let len = bytes[at + 8..at + 12].try_into().expect("four bytes");
        at += 24 + u32::from_le_bytes(len) as usize;
    }
    at
}

#[test]
fn a_torn_end_is_cut_off_and_reported() {
    let (data, flag) = killed();
    let mut bytes = fs::read(newest(data.path())).expect("readable");
    let end = end_of_frames(&bytes);
    bytes[end..][..16].copy_from_slice(b"Bfrm and no more");
    fs::write(newest(data.path()), bytes).expect("written");
    let mut next = Served::start(&[&flag]);
    let line = next.log_line("is cut off");
    assert!(line.contains("bytes=16"), "{line}");
    assert_eq!(done(&next, &["retained", "get", "lamps/1", "--raw"]), "on");
}

#[test]
fn damage_in_the_middle_is_refused_with_file_and_offset() {
    let (data, flag) = killed();
    let path = newest(data.path());
    let mut bytes = fs::read(&path).expect("readable");
    bytes[70] ^= 1;
    fs::write(&path, bytes).expect("written");
    let ended = run_bitts(&["serve", "--mqtt=127.0.0.1:0", "--http=off", &flag]);
    assert_eq!(ended.status, Some(1));
    let start = format!("error: {}: damaged at byte 64 ", path.display());
    assert!(ended.stderr.lines().any(|line| line.starts_with(&start)), "{}", ended.stderr);
}

/// Runs `bitts store` and gives what it printed.
fn store(arguments: &[&str]) -> serde_json::Value {
    let ended = run_bitts(&[&["store"], arguments].concat());
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""), "{arguments:?}");
    serde_json::from_str(&ended.stdout).expect("JSON")
}

#[test]
fn a_check_says_what_a_directory_holds_and_needs_it_for_itself() {
    let (_data, flag) = killed();
    assert_eq!(store(&["check", &flag])["retainedMessages"], 1);
    let _served = Served::start(&[&flag]);
    let ended = run_bitts(&["store", "check", &flag]);
    assert_eq!(ended.status, Some(1));
    assert!(ended.stderr.contains("another process uses this directory"), "{}", ended.stderr);
}

#[test]
fn a_copy_that_was_made_while_a_server_writes_is_whole() {
    let served = Served::start(&[]);
    done(&served, &["publish", "lamps/1", "on", "--retain", "--qos=1"]);
    let folder = tempfile::tempdir().expect("a directory");
    let copy = folder.path().join("copy");
    let from = format!("--data-dir={}", served.data.path().display());
    let copied = store(&["backup", &from, "--to", copy.to_str().expect("UTF-8")]);
    assert!(copied["copiedBytes"].as_u64().is_some_and(|bytes| bytes > 128), "{copied}");
    done(&served, &["publish", "lamps/1", "off", "--retain", "--qos=1"]);
    let next = Served::start(&[&format!("--data-dir={}", copy.display())]);
    assert_eq!(done(&next, &["retained", "get", "lamps/1", "--raw"]), "on");
}

#[test]
fn what_stands_behind_damage_is_saved_into_a_new_directory() {
    let (data, flag) = killed();
    let path = newest(data.path());
    let mut bytes = fs::read(&path).expect("readable");
    bytes[70] ^= 1;
    fs::write(&path, &bytes).expect("written");
    let folder = tempfile::tempdir().expect("a directory");
    let to = folder.path().join("saved");
    let saved = store(&["repair", &flag, "--to", to.to_str().expect("UTF-8")]);
    assert_eq!(saved["damages"][0]["offset"], 64, "{saved}");
    assert_eq!(saved["retainedMessages"], 1, "{saved}");
    assert_eq!(fs::read(&path).expect("readable"), bytes, "nothing is changed");
    let next = Served::start(&[&format!("--data-dir={}", to.display())]);
    assert_eq!(done(&next, &["retained", "get", "lamps/1", "--raw"]), "on");
}

#[test]
fn an_export_is_imported_and_served_with_any_number_of_threads() {
    use std::os::unix::fs::PermissionsExt as _;
    let (data, flag) = killed();
    let folder = tempfile::tempdir().expect("a directory");
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let (first, second, new) = (path("first.jsonl"), path("second.jsonl"), path("new"));
    let before = fs::read(newest(data.path())).expect("readable");
    assert_eq!(store(&["export", &flag, "--to", &first])["retainedMessages"], 1);
    assert_eq!(fs::read(newest(data.path())).expect("readable"), before, "nothing is changed");
    let mode = fs::metadata(&first).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it has secrets");
    let to = format!("--data-dir={new}");
    assert_eq!(store(&["import", &to, "--from", &first])["retainedMessages"], 1);
    store(&["export", &to, "--to", &second]);
    let text = |path: &str| fs::read_to_string(path).expect("readable");
    assert_eq!(text(&second), text(&first));
    let again = run_bitts(&["store", "import", &to, "--from", &first]);
    assert_eq!(again.status, Some(1));
    assert!(again.stderr.contains("it is not empty: nothing is written"), "{}", again.stderr);
    let next = Served::start(&[&to, "--threads=3"]);
    assert_eq!(done(&next, &["retained", "get", "lamps/1", "--raw"]), "on");
}

#[test]
fn another_format_is_refused_with_the_way_on() {
    let (data, flag) = killed();
    let path = newest(data.path());
    let mut bytes = fs::read(&path).expect("readable");
    bytes[8] = 2;
    let crc = crc32c::crc32c(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, &bytes).expect("written");
    let ended = run_bitts(&["serve", "--mqtt=127.0.0.1:0", "--http=off", &flag]);
    assert_eq!(ended.status, Some(1));
    assert!(ended.stderr.contains("format 2 is unsupported"), "{}", ended.stderr);
    assert!(ended.stderr.contains("`bitts store export` of the version"), "{}", ended.stderr);
    assert_eq!(fs::read(&path).expect("readable"), bytes, "nothing is changed");
}
