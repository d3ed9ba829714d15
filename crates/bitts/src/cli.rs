//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use clap_complete::Shell;

use crate::serve::Serve;

/// The AWS IoT Core data plane that you run yourself.
#[derive(Debug, Parser)]
#[command(name = "bitts", version, max_term_width = 100, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the broker: MQTT and the data plane over HTTP
    ///
    /// A setting comes from its flag, else from the environment (BITTS_READY_FILE for --ready-file),
    /// else from the TOML file that --config names, where the limits can stand too.
    Serve(Serve),
    /// Print a completion script for a shell.
    Completions {
        /// Which shell.
        shell: Shell,
    },
    /// Write the man pages into a directory.
    Man {
        /// Where to; made if it is missing.
        dir: PathBuf,
    },
}
