//! The binary: `bitts serve` runs the broker, the other commands are its clients.
//!
//! Exit status: 0 done, 1 the server refused, cannot be reached or cannot start, 2 wrong usage.

mod cli;
mod failure;
mod manual;
mod output;
mod serve;

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
        Command::Completions { shell } => manual::completions(shell),
        Command::Man { dir } => manual::man_pages(&dir),
    }
}
