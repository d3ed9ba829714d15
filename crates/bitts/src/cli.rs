//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use clap_complete::Shell;

use crate::certificate::CertificateCommand;
use crate::connection::ConnectionCommand;
use crate::credential::CredentialCommand;
use crate::policy::PolicyCommand;
use crate::publish::PublishCommand;
use crate::retained::RetainedCommand;
use crate::serve::Serve;
use crate::shadow::ShadowCommand;
use crate::store::StoreCommand;
use crate::subscribe::SubscribeCommand;
use crate::thing::ThingCommand;

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
    /// A setting comes from its flag, else from the environment (BITTS_READY_FILE for
    /// --ready-file), else from the TOML file that --config names, where the limits stand too.
    Serve(Serve),
    /// Put a device off and show what happens, on a server of its own
    ///
    /// A device with a will and a session connects, DeleteConnection ends its connection, then its
    /// session. Ends with status 0 if every step was as it must be.
    Demo,
    /// Look at clients, and put them off
    Connection(ConnectionCommand),
    /// Publish a message, over HTTP or MQTT
    Publish(PublishCommand),
    /// Print messages as they arrive, over MQTT
    Subscribe(SubscribeCommand),
    /// Look at retained messages, and remove them
    Retained(RetainedCommand),
    /// Look at device shadows, change them, and follow what happens to them
    Shadow(ShadowCommand),
    /// Make things, and say who speaks for them
    Thing(ThingCommand),
    /// Make certificates for devices, and say which are good
    Certificate(CertificateCommand),
    /// Write policies, attach them, and ask what they decide
    Policy(PolicyCommand),
    /// Make access keys, and users with a password
    Credential(CredentialCommand),
    /// Look at a data directory, copy it, and save what can be saved
    Store(StoreCommand),
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
