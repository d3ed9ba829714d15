//! `bitts store`: look at a data directory, copy it, and save what can be saved.

use std::path::PathBuf;

use bitts_server::upkeep::{self, Holds};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::failure::Failure;
use crate::output::say_json;

/// `bitts store`.
#[derive(Args, Debug)]
pub(crate) struct StoreCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Read all of it, as a start would, and change nothing
    Check {
        /// The data directory; no server uses it
        #[arg(long, default_value = "./bitts-data")]
        data_dir: PathBuf,
    },
    /// Copy its journal, also while a server uses it
    Backup {
        /// The data directory
        #[arg(long, default_value = "./bitts-data")]
        data_dir: PathBuf,
        /// A data directory that is new
        #[arg(long)]
        to: PathBuf,
    },
    /// Write what can be read of a damaged journal into a new data directory
    ///
    /// What stood in the damaged places is lost, and so may be what later records say about it.
    Repair {
        /// The data directory; no server uses it
        #[arg(long, default_value = "./bitts-data")]
        data_dir: PathBuf,
        /// A data directory that is new
        #[arg(long)]
        to: PathBuf,
    },
}

impl StoreCommand {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let refused = |error: bitts_server::StoreError| Failure::Refused(error.to_string());
        match self.what {
            What::Check { data_dir } => say(&upkeep::check(&data_dir).map_err(refused)?),
            What::Backup { data_dir, to } => {
                let bytes = upkeep::backup(&data_dir, &to).map_err(refused)?;
                say_json(&json!({ "copiedBytes": bytes }))
            }
            What::Repair { data_dir, to } => say(&upkeep::repair(&data_dir, &to).map_err(refused)?),
        }
    }
}

fn say(holds: &Holds) -> Result<(), Failure> {
    let damages = holds.damages.iter().map(
        |damage| json!({ "file": damage.place, "offset": damage.offset, "bytes": damage.bytes }),
    );
    let damages: Vec<_> = damages.collect();
    say_json(&json!({
        "registryRows": holds.registry_rows,
        "sessions": holds.sessions,
        "owedMessages": holds.owed,
        "retainedMessages": holds.retained,
        "shadows": holds.shadows,
        "tornBytes": holds.torn_bytes,
        "damages": damages,
    }))
}
