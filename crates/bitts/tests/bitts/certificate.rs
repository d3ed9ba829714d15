//! `bitts certificate create`: what it writes, what it says, what it refuses.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use bitts_server::pki;

use crate::process::{Ended, run_bitts};

/// `bitts certificate create NAME` with the folders `pki` and `out` below `dir`.
fn create(dir: &Path, name: &str, more: &[&str]) -> Ended {
    let folder = |folder: &str| dir.join(folder).to_str().expect("UTF-8").to_owned();
    let (pki, out) = (folder("pki"), folder("out"));
    fs::create_dir_all(&out).expect("made");
    let arguments = ["certificate", "create", name, "--pki-dir", &pki, "--out", &out];
    run_bitts(&[&arguments[..], more].concat())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it exists").permissions().mode() & 0o777
}

#[test]
fn certificate_key_and_ca_are_written_and_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let ended = create(dir.path(), "thermostat-7", &["--output", "json"]);
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""));
    let out = dir.path().join("out");
    let made: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON");
    for (key, name) in
        [("certificate", "thermostat-7.pem"), ("key", "thermostat-7.key"), ("ca", "ca.pem")]
    {
        assert_eq!(made[key].as_str(), out.join(name).to_str(), "{key}");
    }
    let id = pki::certificate_id_of(&out.join("thermostat-7.pem")).expect("a certificate");
    assert_eq!(made["certificateId"].as_str(), Some(id.as_str()));
    let read = |path| fs::read(path).expect("readable");
    assert_eq!(read(out.join("ca.pem")), read(dir.path().join("pki/ca.pem")));
}

#[test]
fn keys_are_readable_by_their_owner_only() {
    let dir = tempfile::tempdir().expect("a directory");
    assert_eq!(create(dir.path(), "lamp", &[]).status, Some(0));
    assert_eq!(mode(&dir.path().join("out/lamp.key")), 0o600);
    assert_eq!(mode(&dir.path().join("pki/ca.key")), 0o600);
    assert_eq!(mode(&dir.path().join("pki")), 0o700);
}

#[test]
fn a_second_certificate_is_of_the_same_ca() {
    let dir = tempfile::tempdir().expect("a directory");
    assert_eq!(create(dir.path(), "one", &[]).status, Some(0));
    let ca = fs::read(dir.path().join("pki/ca.pem")).expect("readable");
    assert_eq!(create(dir.path(), "two", &[]).status, Some(0));
    assert_eq!(fs::read(dir.path().join("pki/ca.pem")).expect("readable"), ca);
    let id = |name: &str| pki::certificate_id_of(&dir.path().join("out").join(name));
    assert_ne!(id("one.pem").expect("one"), id("two.pem").expect("another"));
}

#[test]
fn nothing_is_overwritten() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::create_dir_all(dir.path().join("out")).expect("made");
    fs::write(dir.path().join("out/lamp.key"), "precious").expect("written");
    let ended = create(dir.path(), "lamp", &[]);
    assert_eq!(ended.status, Some(1));
    assert!(ended.stderr.ends_with("lamp.key exists already\n"), "{}", ended.stderr);
    let left = fs::read_to_string(dir.path().join("out/lamp.key")).expect("readable");
    assert_eq!(left, "precious");
    assert!(!dir.path().join("out/lamp.pem").exists());
}

#[test]
fn a_name_that_is_a_path_or_the_ca_is_wrong_usage() {
    let dir = tempfile::tempdir().expect("a directory");
    for name in ["", "ca", "../lamp", "a/b", "a b", "lamp\u{e9}", &"x".repeat(65)] {
        let ended = create(dir.path(), name, &[]);
        assert_eq!(ended.status, Some(2), "{name:?}: {}", ended.stderr);
        assert!(ended.stderr.contains("NAME has 1 to 64 letters"), "{}", ended.stderr);
    }
    assert!(!dir.path().join("pki").exists(), "nothing is made");
    let ended = create(dir.path(), "lamp", &["--days", "0"]);
    assert_eq!(ended.status, Some(2), "{}", ended.stderr);
}

#[test]
fn a_ca_that_cannot_be_used_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let pki = dir.path().join("pki");
    fs::create_dir_all(&pki).expect("made");
    fs::write(pki.join("ca.pem"), "no certificate").expect("written");
    fs::write(pki.join("ca.key"), "no key").expect("written");
    let ended = create(dir.path(), "lamp", &[]);
    assert_eq!(ended.status, Some(1));
    assert!(ended.stderr.contains("ca.key"), "{}", ended.stderr);
    assert_eq!(fs::read_dir(dir.path().join("out")).expect("readable").count(), 0);
}
