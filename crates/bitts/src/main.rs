//! The binary: `bitts serve` runs the broker, the other commands are its clients.
//!
//! Exit status: 0 done, 1 the server refused, cannot be reached or cannot start, 2 wrong usage.

mod certificate;
mod cli;
mod connection;
mod control;
mod credential;
mod demo;
mod disconnect;
mod endpoint;
mod failure;
mod manual;
mod output;
mod payload;
mod policy;
mod publish;
mod retained;
mod send;
mod serve;
mod shadow;
mod shadow_document;
mod store;
mod subscribe;
mod thing;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Command};
use crate::failure::Failure;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(command) => command.run(),
        Command::Connection(command) => block_on(command.run()),
        Command::Publish(command) => block_on(command.run()),
        Command::Retained(command) => block_on(command.run()),
        Command::Shadow(command) => block_on(command.run()),
        Command::Subscribe(command) => block_on(command.run()),
        Command::Thing(command) => block_on(command.run()),
        Command::Certificate(command) => block_on(command.run()),
        Command::Policy(command) => block_on(command.run()),
        Command::Credential(command) => block_on(command.run()),
        Command::Store(command) => command.run(),
        Command::Demo => demo::run(),
        Command::Completions { shell } => manual::completions(shell),
        Command::Man { dir } => manual::man_pages(&dir),
    }
}

/// Runs a client command, on this thread.
fn block_on(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Refused(format!("cannot start: {error}")))?
        .block_on(command)
}
