//! Runs scripts against a broker, and random worlds.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;

use bitts_broker::Profile;
use bitts_sim::scenario::{load, tcp};

const USAGE: &str = "\
Usage:
  bitts-sim scenarios --mqtt ADDR [--http ADDR] [--profile open|aws] [--only TEXT] [DIRECTORY]
      Plays scripts (default spec/scenarios) against a broker: those for its profile (default open).
  bitts-sim world [--seeds N] [--first SEED] [--seed SEED]
      Runs random worlds; --seed runs one and prints everything that happens.
  bitts-sim crash [--seeds N] [--first SEED] [--seed SEED]
      The same with worlds that die: their journal is on a disk that loses, tears and fails.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.split_first() {
        Some((command, rest)) if command == "scenarios" => scenarios(rest),
        Some((command, rest)) if command == "world" => {
            bitts_sim::world::command(rest, &mut |line| say(&mut io::stdout(), line))
        }
        Some((command, rest)) if command == "crash" => {
            bitts_sim::crash::command(rest, &mut |line| say(&mut io::stdout(), line))
        }
        _ => Err(USAGE.to_owned()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            say(&mut io::stderr(), &problem);
            ExitCode::from(2)
        }
    }
}

/// Prints a line; whoever closed the stream reads no more of them.
fn say(to: &mut impl io::Write, line: &str) {
    if writeln!(to, "{line}").is_err() {}
}

fn scenarios(arguments: &[String]) -> Result<bool, String> {
    let mut mqtt = None;
    let mut http = None;
    let mut profile = Profile::Open;
    let mut only = String::new();
    let mut directory = PathBuf::from("spec/scenarios");
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--mqtt" => mqtt = Some(address(value()?)?),
            "--http" => http = Some(address(value()?)?),
            "--profile" => profile = profile_of(value()?)?,
            "--only" => value()?.clone_into(&mut only),
            other if other.starts_with("--") => return Err(format!("{other}\n{USAGE}")),
            other => directory = PathBuf::from(other),
        }
    }
    let mqtt = mqtt.ok_or_else(|| format!("--mqtt is missing\n{USAGE}"))?;
    let found = load(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let chosen: Vec<_> = found
        .into_iter()
        .filter(|one| one.title.contains(&only) || one.file.contains(&only))
        .filter(|one| one.expect_fail.is_none())
        .collect();
    let mut out = io::stdout();
    let report = tcp::run_all(tcp::Broker { mqtt, http, profile }, &chosen, |_| {});
    for failure in &report.failures {
        say(&mut out, &failure.to_string());
    }
    say(
        &mut out,
        &format!(
            "{} passed, {} failed, {} skipped (they need the core or another profile)",
            report.passed,
            report.failures.len(),
            report.skipped
        ),
    );
    Ok(report.failures.is_empty() && report.passed > 0)
}

fn profile_of(text: &str) -> Result<Profile, String> {
    match text {
        "open" => Ok(Profile::Open),
        "aws" => Ok(Profile::Aws),
        other => Err(format!("--profile {other}: open or aws is expected")),
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let mut found = text.to_socket_addrs().map_err(|error| format!("{text}: {error}"))?;
    found.next().ok_or_else(|| format!("{text}: no address"))
}
