//! The steps that need a tool of their own: the simulator, fuzzing, cargo-deny.

use std::path::Path;
use std::process::Stdio;

use crate::steps::{Counting, Steps, cargo};

/// Runs the simulator over `seeds` seeds.
pub(crate) fn sim(steps: &mut Steps, seeds: &str) {
    let mut run = cargo(steps.root());
    run.args(["run", "--release", "--locked", "--package", "bitts-sim", "--", "world"]);
    run.args(["--seeds", seeds]);
    steps.command("simulator", &mut run, Counting::Step);
}

/// Runs one fuzz target for a while.
pub(crate) fn fuzz(steps: &mut Steps, target: &str, seconds: &str) {
    if !has(steps.root(), "fuzz") {
        steps.refuse("fuzz", "cargo-fuzz is missing: cargo install cargo-fuzz");
        return;
    }
    let mut run = cargo(steps.root());
    let limit = format!("-max_total_time={seconds}");
    // The sanitizer needs a nightly compiler; coverage alone does not.
    // What is found goes beside the corpus, which stays as small as it is.
    let (found, corpus) = (format!("fuzz/found/{target}"), format!("fuzz/corpus/{target}"));
    if let Err(error) = std::fs::create_dir_all(steps.root().join(&found)) {
        steps.refuse("fuzz", &format!("{found}: {error}"));
        return;
    }
    run.args(["fuzz", "run", "--sanitizer", "none", target, &found, &corpus, "--", &limit]);
    run.env("RUSTC_BOOTSTRAP", "1");
    steps.command(&format!("fuzz {target}"), &mut run, Counting::Step);
}

/// The version of cargo-deny that `deny.toml` was written for.
const CARGO_DENY: &str = "0.20.2";

/// Checks licences, bans and sources; installs cargo-deny when it is missing (about two minutes).
///
/// Advisories need their database from the network: `cargo deny check advisories`.
pub(crate) fn deny(steps: &mut Steps) {
    if !has(steps.root(), "deny") {
        let mut install = cargo(steps.root());
        install.args(["install", "cargo-deny", "--locked", "--version", CARGO_DENY]);
        if !steps.command("install cargo-deny", &mut install, Counting::Silent) {
            return;
        }
    }
    // cargo-deny looks at the crates of every platform, of which a build fetches only its own.
    let mut fetch = cargo(steps.root());
    fetch.args(["fetch", "--locked"]);
    if !steps.command("fetch crates (network)", &mut fetch, Counting::Silent) {
        return;
    }
    let mut run = cargo(steps.root());
    run.args(["deny", "--offline", "check", "bans", "licenses", "sources"]);
    steps.command("dependencies", &mut run, Counting::Step);
}

fn has(root: &Path, subcommand: &str) -> bool {
    let mut probe = cargo(root);
    probe.args([subcommand, "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}
